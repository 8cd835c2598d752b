"""The simple recurrent network by CUDA; the equations are those of `minigrad.kernels.srn`.

Arrays may have a leading axis of R runs, independent networks, or be populations: then all of them are, weights too.
"""

from __future__ import annotations

from minigrad.backend import Array, get_xp
from minigrad.kernels.cuda.launch import Machine
from minigrad.kernels.cuda.sequences import (
    gradient_by_recurrent_weights,
    gradients_by_input,
    machine_of,
    of_populations,
    projected,
    recur,
    with_runs,
    without_runs,
)


@of_populations
def forward(
    x: Array, h0: Array, W_xh: Array, W_hh: Array, b_h: Array, activation: str, machine: Machine | None = None
) -> Array:
    """`minigrad.kernels.srn.forward` for checked float32 arrays of at least one element, or for R runs of them."""
    machine = machine or machine_of(x)
    with machine.on(x):
        runs = x.ndim == 4
        x, h0, W_xh, W_hh, b_h = with_runs(runs, x, h0, W_xh, W_hh, b_h)
        h = projected(x, W_xh)
        recur(machine, "srn forward", h.shape, W_hh, (h0, b_h, h), start=h0, activation=activation)
        return h if runs else h[0, ...]


@of_populations
def backward(
    g: Array,
    x: Array,
    h: Array,
    h0: Array,
    W_xh: Array,
    W_hh: Array,
    activation: str,
    needs: tuple[bool, ...] = (True,) * 5,
    machine: Machine | None = None,
) -> tuple[Array | None, ...]:
    """`minigrad.kernels.srn.backward` for checked float32 arrays of at least one element, or for R runs of them."""
    machine = machine or machine_of(x)
    with machine.on(x):
        xp, runs = get_xp(x), x.ndim == 4
        g, x, h, h0, W_xh, W_hh = with_runs(runs, g, x, h, h0, W_xh, W_hh)
        d, g_h0 = xp.empty_like(h), xp.empty_like(h0)
        arguments = g, h, d, g_h0, g.shape[1]
        recur(machine, "srn backward", h.shape, W_hh, arguments, activation=activation)
        g_x, g_W_xh, g_b_h = gradients_by_input(x, d, W_xh, (needs[0], needs[2], needs[4]))
        g_W_hh = gradient_by_recurrent_weights(h, h0, d) if needs[3] else None
        return without_runs(runs, (g_x, g_h0 if needs[1] else None, g_W_xh, g_W_hh, g_b_h))
