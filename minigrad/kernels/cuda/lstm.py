"""Long short-term memory by CUDA; the equations are those of `minigrad.kernels.lstm`.

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
def forward(machine: Machine, x: Array, s0: Array, W_xh: Array, W_hh: Array, b_h: Array) -> tuple[Array, Array]:
    """`minigrad.kernels.lstm.forward` for checked float32 arrays of at least one element, or for R runs of them."""
    xp = get_xp(x)
    (R, T, B, _), H = x.shape, W_hh.shape[1]
    gates, s = projected(x, W_xh), xp.empty((R, T, B, 2 * H), dtype=x.dtype)
    recur(machine, "lstm forward", (R, T, B, H), W_hh, (s0, b_h, gates, s), start=s0[..., :H])
    return s, gates


@of_runs
def backward(
    machine: Machine,
    g: Array,
    x: Array,
    s: Array,
    s0: Array,
    gates: Array,
    W_xh: Array,
    W_hh: Array,
    needs: tuple[bool, ...] = (True,) * 5,
) -> tuple[Array | None, ...]:
    """`minigrad.kernels.lstm.backward` for checked float32 arrays of at least one element, or for R runs of them."""
    xp = get_xp(x)
    (R, T, B, _), H = x.shape, W_hh.shape[1]
    d, g_s0 = xp.empty_like(gates), xp.empty_like(s0)
    arguments = g, s, s0, gates, d, g_s0, g.shape[1], g.shape[3] // H
    recur(machine, "lstm backward", (R, T, B, H), W_hh, arguments)
    g_x, g_W_xh, g_b_h = gradients_by_input(x, d, W_xh, (needs[0], needs[2], needs[4]))
    g_W_hh = gradient_by_recurrent_weights(s[..., :H], s0[..., :H], d) if needs[3] else None
    return g_x, g_s0 if needs[1] else None, g_W_xh, g_W_hh, g_b_h
