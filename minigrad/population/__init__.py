"""Independent runs as one: arrays of an array library of their own, with an axis that nobody sees.

A population array holds the arrays of R runs in one [R, ...] of NumPy, CuPy or another library, and looks like the
array of a single run: its shape leaves the axis of runs out, and every function does to each run what it would do to
its array alone. So methods, models and operations, which ask an array for its library, train R networks by the very
code that trains one, and what takes a launch on a GPU takes one launch for all of them.

    W = stack([W_1, W_2, W_3])          # shape [H, H], in memory [3, H, H]
    h = xp.tanh(x @ W)                  # xp = get_xp(x, W): three products, three tanh
    split(h)                            # [h_1, h_2, h_3]

Numbers of a config that differ between runs, such as learning rates, are `Numbers`: like Python's own they take the
type of the array that they meet. What decides which operations run has to be the same for all: where a truth is asked
for and the runs do not agree, a TypeError says so.

    arrays      what populations are
    numbers     a Python number of each run
    library     the functions of the array API standard for populations

Legend: R runs; every shape in a docstring is that of one run.
"""

from minigrad.population.arrays import Place, Population, is_population, split, stack
from minigrad.population.numbers import Numbers

__all__ = ["Numbers", "Place", "Population", "is_population", "split", "stack"]
