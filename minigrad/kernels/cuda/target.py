"""The target recursion by CUDA; the equations are those of `minigrad.kernels.target`.

Arrays may have a leading axis of R runs, independent networks, or be populations: then all of them are, weights too.
"""

from __future__ import annotations

from minigrad.backend import Array, get_xp
from minigrad.kernels.cuda.launch import Machine
from minigrad.kernels.cuda.sequences import machine_of, of_populations, projected, recur, with_runs


@of_populations
def targets(
    x: Array,
    h: Array,
    target_T: Array,
    W_xh: Array,
    V_hh: Array,
    c_h: Array,
    activation: str,
    machine: Machine | None = None,
) -> Array:
    """`minigrad.kernels.target.targets` for checked float32 arrays of at least one element, or for R runs of them."""
    machine = machine or machine_of(x)
    with machine.on(x):
        xp, runs = get_xp(x), x.ndim == 4
        x, h, target_T, W_xh, V_hh, c_h = with_runs(runs, x, h, target_T, W_xh, V_hh, c_h)
        found = xp.empty_like(h)
        found[:, -1, ...] = target_T
        if h.shape[1] > 1:
            arguments, start = (projected(x, W_xh), h, c_h, found), xp.concat((h[:, -1, ...], target_T), axis=1)
            steps = h.shape[1] - 1
            recur(machine, "target forward", h.shape, V_hh, arguments, start=start, steps=steps, activation=activation)
        return found if runs else found[0, ...]
