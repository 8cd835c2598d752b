"""The CUDA twins: recurrences of CuPy arrays, a whole sequence in one launch.

geometry.py    how a recurrence is laid out on a GPU: plain arithmetic
launch.py      programs, and CuPy, which compiles and launches them
sequences.py   what the recurrences share around a launch: plain array code
srn.py, ...    a recurrence a file
sources/       the kernels, in CUDA C++

How they work and what limits them: docs/kernels.md, "On a GPU". A function takes arrays as its reference does, or the
same arrays with a leading axis of runs. What runs programs can be handed in: tests hand in a stand-in for a GPU.
"""
