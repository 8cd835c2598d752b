"""What the recurrences share: how a batch is cut into parts and a sequence into chunks, and the weights' gradients.

Rows of a batch do not depend on each other, so a batch is done in parts of up to PART rows, each through the whole
sequence: what a part touches at one time step fits into the caches. A sequence is done in chunks of so many steps that
steps times rows come to CHUNK. What needs no state takes a chunk in one product: the input projections on the way
forth, and on the way back the gradients of all weights,

    [x | 1 | h_prev]^T @ d                      x [R, D], h_prev [R, H], d [R, N], R rows of all steps of a chunk

while its deltas d are still in the cache.

In compiled code the arrays of a sequence are matrices, time and batch one axis: row t B + b.

Legend: T time, B batch, D input size, H hidden units, N columns of the deltas (H times the number of gates).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.backend import Array
from minigrad.kernels.fused.arrays import room
from minigrad.kernels.fused.compiler import part, phrase
from minigrad.kernels.fused.tile import pack, product

PART = 128
"""Rows of a batch that go through a sequence together, at most."""

CHUNK = 128
"""Rows of all steps that a chunk has, at least where there are so many, and at most one step more."""


@part
def parts(rows: int) -> int:
    """Into how many parts rows of a batch are cut."""
    return -(-rows // PART)


@part
def part_of(k: int, first: int, last: int) -> tuple[int, int]:
    """The k-th part of the rows from first to last - 1: from the one number to the other, less one."""
    rows, count = last - first, parts(last - first)
    return first + rows * k // count, first + rows * (k + 1) // count


@part
def chunk_steps(rows: int) -> int:
    """How many time steps of a part of these many rows make a chunk, where the parts are cut from them."""
    return -(-CHUNK // min(rows, PART))


def chunk_buffers(steps: int, rows: int, inputs: int, hidden: int, columns: int, dtype: Any) -> tuple[Array, ...]:
    """(q, d, packed d) for one chunk of a part: [x | 1 | h_prev], the deltas, and these once more, packed."""
    R = min(rows, PART)
    size = min(-(-CHUNK // R), steps) * R
    return np.empty((size, inputs + 1 + hidden), dtype), np.empty((size, columns), dtype), room((size, columns), dtype)


@part
def over_steps(
    c: Any, c_row: int, c_step: int, init: Any, a: Any, a_row: int, a_step: int, steps: int, rows: int, packed: Any
) -> None:
    """c = init + a @ w for some rows of some steps: from row c_row of c and a_row of a on, every c_step and a_step.

    Where the rows of all steps are adjacent (a part is the whole batch) that is one product.
    """
    if c_step == rows and a_step == rows:
        steps, rows = 1, steps * rows
    for i in range(steps):
        m, n = c_row + i * c_step, a_row + i * a_step
        product(c[m : m + rows], init, a[n : n + rows], packed)


@part
def copy(a: Any, b: Any) -> None:
    """a = b, both [M, N]; `a[:] = b` would compile Numba's formatting of error messages too, which takes seconds."""
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            a[i, j] = b[i, j]


@part
def gather(q: Any, x: Any, h_prev: Any) -> None:
    """q = [x | 1 | h_prev], row by row; without the last part if q has no room for it."""
    rows, inputs = x.shape
    hidden = q.shape[1] - inputs - 1
    for b in range(rows):
        for i in range(inputs):
            q[b, i] = x[b, i]
        q[b, inputs] = 1
        for i in range(hidden):
            q[b, inputs + 1 + i] = h_prev[b, i]


@phrase
def add_gradient(g_W: Any, q: Any, d: Any, packed_d: Any) -> None:
    """g_W += q^T @ d."""
    pack(packed_d, d)
    product(g_W, g_W, q.T, packed_d)
