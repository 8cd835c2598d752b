"""The fused twins: recurrences compiled by Numba around one vector micro-kernel.

lanes.py      arithmetic on one 64-byte vector, written like arithmetic on a number
formulas.py   the activations, the gates and their derivatives in that arithmetic
memory.py     vectors in memory
tile.py       the micro-kernel and the packed product, generated from LLVM vectors
passes.py     a formula along every row of some matrices, likewise
sequences.py  parts of a batch, chunks of a sequence, the weights' gradients: what all recurrences share
threads.py    rows shared out among threads
arrays.py     how arrays are handed over
srn.py, ...   a kernel a file, written as its equations

How they work and what limits them: docs/kernels.md. Importing a module of this folder imports Numba;
nothing outside imports one before it needs a fused twin.
"""
