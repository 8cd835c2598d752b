"""The gated antisymmetric network by CUDA; the equations are those of `minigrad.kernels.antisymmetric`.

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
def forward(
    machine: Machine, x: Array, h0: Array, W_xh: Array, A: Array, b_h: Array, epsilon: float
) -> tuple[Array, Array]:
    """`minigrad.kernels.antisymmetric.forward` with A in the place of W_hh, for checked float32 arrays of at least one
    element, or for R runs of them."""
    xp = get_xp(x)
    (R, T, B, _), H = x.shape, A.shape[1]
    gates, h = projected(x, W_xh), xp.empty((R, T, B, H), dtype=x.dtype)
    recur(machine, "antisymmetric forward", (R, T, B, H), A, (h0, b_h, h, gates, float(epsilon)), start=h0)
    return h, gates


@of_runs
def backward(
    machine: Machine,
    g: Array,
    x: Array,
    h: Array,
    h0: Array,
    gates: Array,
    W_xh: Array,
    A: Array,
    epsilon: float,
    needs: tuple[bool, ...] = (True,) * 5,
) -> tuple[Array | None, ...]:
    """`minigrad.kernels.antisymmetric.backward` with A in the place of W_hh, for checked float32 arrays of at least one
    element, or for R runs of them."""
    xp = get_xp(x)
    d_u, d_v, g_h0 = xp.empty_like(gates), xp.empty_like(h), xp.empty_like(h0)
    arguments = g, gates, d_u, d_v, g_h0, g.shape[1], float(epsilon)
    recur(machine, "antisymmetric backward", h.shape, A, arguments)
    g_x, g_W_xh, g_b_h = gradients_by_input(x, d_u, W_xh, (needs[0], needs[2], needs[4]))
    g_A = gradient_by_recurrent_weights(h, h0, d_v) if needs[3] else None
    g_W_hh = None if g_A is None else g_A - xp.matrix_transpose(g_A)
    return g_x, g_h0 if needs[1] else None, g_W_xh, g_W_hh, g_b_h
