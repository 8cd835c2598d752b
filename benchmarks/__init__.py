"""How fast this program is beside others that compute the same: `python cli.py bench`.

rows.py         what is compared, as data: sizes, peers, goals
inputs.py       the numbers that every contestant starts from
ours.py, with_*.py
                the contestants: what a row asks for, written with one library each
contestant.py   what a contestant is
measure.py      agreement first, then interleaved timing, and the machine's peak
report.py       JSON and table
threads.py      one number of threads for every library
twins.py        the two twins of every kernel beside each other, for `auto` to choose by
command.py      from the command line to a process of its own, whose entry is __main__.py
"""
