"""The target recursion by CUDA; the equations are those of `minigrad.kernels.target`.

Arrays are those of a single run, or populations: then all of them are, weights too. Here they are [R, ...].
"""

from __future__ import annotations

from minigrad.backend import Array, get_xp
from minigrad.kernels.cuda.launch import Machine
from minigrad.kernels.cuda.sequences import of_runs, projected, recur


@of_runs
def targets(
    machine: Machine,
    x: Array,
    h: Array,
    target_T: Array,
    W_xh: Array,
    V_hh: Array,
    c_h: Array,
    activation: str,
) -> Array:
    """`minigrad.kernels.target.targets` for checked float32 arrays of at least one element, or for R runs of them."""
    xp = get_xp(x)
    found = xp.empty_like(h)
    found[:, -1, ...] = target_T
    if h.shape[1] > 1:
        arguments, start = (projected(x, W_xh), h, c_h, found), xp.concat((h[:, -1, ...], target_T), axis=1)
        steps = h.shape[1] - 1
        recur(machine, "target forward", h.shape, V_hh, arguments, start=start, steps=steps, activation=activation)
    return found
