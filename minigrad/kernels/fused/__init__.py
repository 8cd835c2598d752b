"""The fused twins: recurrences compiled by Numba around one vector micro-kernel.

lanes.py     arithmetic on one 64-byte vector, written like arithmetic on a number
formulas.py  the activations and their derivatives in that arithmetic
tile.py      the micro-kernel, the packed product and the elementwise pass, generated from LLVM vectors
srn.py, ...  a recurrence a file, written as its equations

Importing a module of this folder imports Numba; nothing outside imports one before it needs a fused twin.
"""
