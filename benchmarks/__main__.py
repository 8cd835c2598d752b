"""The process that measures; `python cli.py bench` starts it with a request as its one argument."""

from __future__ import annotations

import json
import sys

from benchmarks import threads
from benchmarks.command import NAME, Request
from experiments import exits, process
from experiments.record import dump, load
from minigrad.errors import InputError


def run(request: Request) -> int:
    """Measure every row, print and keep the figures; 1 if a peer computes something else, otherwise 0."""
    process.keep_memory()  # as for every command; all contestants have it
    cores = threads.pin(request.threads)

    # Only now: libraries count the cores when they are imported.
    from benchmarks import contestant, measure, report
    from benchmarks.rows import ROWS
    from experiments import display, files

    shown = display.suited()
    contestants = {name: contestant.load(name) for name in (measure.OURS, *request.peers)}
    peak = measure.peak(request.threads)
    settle = measure.SETTLE if request.threads > 1 else 0.0
    rows = []
    for number, name in enumerate(request.rows, start=1):
        shown.note(f"{number} of {len(request.rows)}  {name}: {ROWS[name].title}")
        rows.append(measure.measure(ROWS[name], contestants, request.runs, settle))
        peak = max(peak, measure.peak(request.threads))  # a machine that was busy before may show its best only now
    found = report.document(rows, peak, settings(request), cores)
    if request.out:
        files.write_atomic(request.out, (dump(found) + "\n").encode())
    print(dump(found) if request.json else "\n".join(report.lines(found)), flush=True)
    if not request.out and not request.json:
        shown.note("--out FILE.json keeps these figures")
    return exits.FINISHED if found["agreed"] else exits.FAILED


def settings(request: Request) -> dict[str, object]:
    """What was asked for, and what measuring adds to it."""
    from benchmarks import measure

    return {
        "threads": request.threads,
        "runs": request.runs,
        "peers": request.peers,
        "seconds_a_row": measure.BUDGET,
        "least_rounds": measure.LEAST_ROUNDS,
        "seconds_a_turn": measure.SLOT,
        "seconds_not_timed": measure.SETTLE if request.threads > 1 else 0.0,
    }


def main(arguments: list[str]) -> int:
    """Read the request; whatever goes wrong is said as the command line says it."""

    def call() -> int:
        if len(arguments) != 1 or not arguments[0].startswith("{"):
            raise InputError("the measuring process is started by: python cli.py bench")
        return run(load(Request, json.loads(arguments[0]), "request"))

    return exits.guard(NAME, call)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
