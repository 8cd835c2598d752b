"""The gated recurrent unit by CUDA; the equations are those of `minigrad.kernels.gru`.

Arrays are those of a single run, or populations: then all of them are, weights too. Here they are [R, ...].
"""

from __future__ import annotations

from minigrad.backend import Array, get_xp
from minigrad.kernels.cuda.launch import Machine
from minigrad.kernels.cuda.sequences import (
    every_run,
    gradient_by_recurrent_weights,
    gradients_by_input,
    of_runs,
    projected,
    recur,
)
from minigrad.kernels.plain import row_sum


@of_runs
def forward(
    machine: Machine, x: Array, h0: Array, W_xh: Array, W_hh: Array, b_xh: Array, b_hh: Array
) -> tuple[Array, Array]:
    """`minigrad.kernels.gru.forward` for checked float32 arrays of at least one element, or for R runs of them."""
    xp = get_xp(x)
    (R, T, B, _), H = x.shape, W_hh.shape[1]
    u, h = projected(x, W_xh), xp.empty((R, T, B, H), dtype=x.dtype)
    gates = xp.empty((R, T, B, 4 * H), dtype=x.dtype)
    recur(machine, "gru forward", (R, T, B, H), W_hh, (u, h0, b_xh, b_hh, h, gates), start=h0)
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
    W_hh: Array,
    needs: tuple[bool, ...] = (True,) * 6,
) -> tuple[Array | None, ...]:
    """`minigrad.kernels.gru.backward` for checked float32 arrays of at least one element, or for R runs of them."""
    xp = get_xp(x)
    (R, T, B, H), g_h0 = h.shape, xp.empty_like(h0)
    d_u, d_v = (xp.empty((R, T, B, 3 * H), dtype=x.dtype) for _ in range(2))
    arguments = g, h, h0, gates, d_u, d_v, g_h0, g.shape[1]
    recur(machine, "gru backward", (R, T, B, H), W_hh, arguments)
    g_x, g_W_xh, g_b_xh = gradients_by_input(x, d_u, W_xh, (needs[0], needs[2], needs[4]))
    g_W_hh = gradient_by_recurrent_weights(h, h0, d_v) if needs[3] else None
    g_b_hh = every_run(row_sum, d_v) if needs[5] else None
    return g_x, g_h0 if needs[1] else None, g_W_xh, g_W_hh, g_b_xh, g_b_hh
