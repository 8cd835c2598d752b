"""Rows added by number, by CUDA: one launch, to the bits of the host.

Arrays are those of a single run, or populations. Here they are [R, ...].
"""

from __future__ import annotations

from minigrad.backend import Array, get_xp
from minigrad.kernels.cuda.launch import Machine, by_blocks
from minigrad.kernels.cuda.sequences import of_runs

THREADS = 128


@of_runs
def added(machine: Machine, values: Array, ids: Array, V: int) -> Array:
    """`minigrad.kernels.scatter.scatter_add` of checked float32 values [N, E], at least one, to rows [V, E]."""
    xp, (R, N, E) = get_xp(values), values.shape
    out = xp.zeros((R, V, E), dtype=values.dtype)
    program = by_blocks("scatter", THREADS, shared=4 * (2 * THREADS // 32 + THREADS))
    grid = (N, -(-E // THREADS), R)
    machine.launch(program, grid, (xp.astype(ids, xp.int32, copy=False), values, out, N, V, E))
    return out
