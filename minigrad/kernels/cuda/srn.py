"""The simple recurrent network by CUDA; the equations are those of `minigrad.kernels.srn`.

Arrays are those of a single run, or populations: then all of them are, weights too. Here they are [R, ...].
"""

from __future__ import annotations

from minigrad.backend import Array, get_xp
from minigrad.kernels.cuda.launch import Machine
from minigrad.kernels.cuda.sequences import (
    gradient_by_recurrent_weights,
    gradients_by_input,
    of_runs,
    projected,
    recur,
)


@of_runs
def forward(machine: Machine, x: Array, h0: Array, W_xh: Array, W_hh: Array, b_h: Array, activation: str) -> Array:
    """`minigrad.kernels.srn.forward` for checked float32 arrays of at least one element, or for R runs of them."""
    h = projected(x, W_xh)
    recur(machine, "srn forward", h.shape, W_hh, (h0, b_h, h), start=h0, activation=activation)
    return h


@of_runs
def backward(
    machine: Machine,
    g: Array,
    x: Array,
    h: Array,
    h0: Array,
    W_xh: Array,
    W_hh: Array,
    activation: str,
    needs: tuple[bool, ...] = (True,) * 5,
) -> tuple[Array | None, ...]:
    """`minigrad.kernels.srn.backward` for checked float32 arrays of at least one element, or for R runs of them."""
    xp = get_xp(x)
    d, g_h0 = xp.empty_like(h), xp.empty_like(h0)
    arguments = g, h, d, g_h0, g.shape[1]
    recur(machine, "srn backward", h.shape, W_hh, arguments, activation=activation)
    g_x, g_W_xh, g_b_h = gradients_by_input(x, d, W_xh, (needs[0], needs[2], needs[4]))
    g_W_hh = gradient_by_recurrent_weights(h, h0, d) if needs[3] else None
    return g_x, g_h0 if needs[1] else None, g_W_xh, g_W_hh, g_b_h
