"""The CUDA twins: of CuPy arrays, a recurrence's whole sequence in one launch, and what is around it.

geometry.py    how a recurrence is laid out on a GPU: plain arithmetic
launch.py      programs, and CuPy, which compiles and launches them
sequences.py   what the recurrences share around a launch: plain array code
srn.py, ...    a recurrence a file, readout.py, scatter.py, updates.py
sources/       the kernels, in CUDA C++

How they work and what limits them: docs/kernels.md, "On a GPU". A function takes arrays as its reference does, or the
same arrays with a leading axis of runs. What runs programs can be handed in: tests hand in a stand-in for a GPU.
"""
