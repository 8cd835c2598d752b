"""The gated recurrent unit, fused; the equations are those of `minigrad.kernels.gru`."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.backend import Array
from minigrad.kernels.cache import prepare
from minigrad.kernels.fused.arrays import every_row, flat, inputs, room, sums, zeros
from minigrad.kernels.fused.compiler import kernel
from minigrad.kernels.fused.passes import gru_backward, gru_forward
from minigrad.kernels.fused.sequences import (
    add_gradient,
    chunk_buffers,
    chunk_steps,
    copy,
    gather,
    over_steps,
    part_of,
    parts,
)
from minigrad.kernels.fused.threads import added, share
from minigrad.kernels.fused.tile import pack, product, product_before


def forward(x: Array, h0: Array, W_xh: Array, W_hh: Array, b_xh: Array, b_hh: Array) -> tuple[Array, Array]:
    """`minigrad.kernels.gru.forward`, for checked arrays of at least one element."""
    prepare("gru", h0.dtype)
    T, (B, H), dtype = len(x), h0.shape, h0.dtype
    h, gates = np.empty((T, B, H), dtype), np.empty((T, B, 4 * H), dtype)
    bias = b_xh.copy()
    bias[: 2 * H] += b_hh[: 2 * H]  # in r and z the two only ever come as a sum
    arrays = flat(h), flat(gates), *inputs(x, h0, W_xh, W_hh), every_row(bias), every_row(b_hh[2 * H :])

    def work(top: int, bottom: int) -> None:
        rooms = room(W_xh.shape, dtype), room((H, 2 * H), dtype), room((H, H), dtype)
        _forward(*arrays, *rooms, top, bottom)

    share(B, 6 * h.size * (len(W_xh) + H), work)
    return h, gates


@kernel
def _forward(
    h: Any,
    gates: Any,
    x: Any,
    h0: Any,
    W_xh: Any,
    W_hh: Any,
    bias: Any,
    c_n: Any,
    packed_x: Any,
    packed_rz: Any,
    packed_n: Any,
    top: int,
    bottom: int,
) -> None:
    B, H = h0.shape
    pack(packed_x, W_xh)
    pack(packed_rz, W_hh[:, : 2 * H])
    pack(packed_n, W_hh[:, 2 * H :])
    T, C = len(h) // B, chunk_steps(bottom - top)
    for k in range(parts(bottom - top)):
        m, n = part_of(k, top, bottom)
        for first in range(0, T, C):
            last = min(first + C, T)
            # x_t @ (W_r, W_z, W_n) + biases
            over_steps(gates[:, : 3 * H], first * B + m, B, bias, x, first * B + m, B, last - first, n - m, packed_x)
            for t in range(first, last):
                h_t, a = h[t * B + m : t * B + n], gates[t * B + m : t * B + n]
                h_prev = h[(t - 1) * B + m : (t - 1) * B + n] if t else h0[m:n]
                rz, u, v = a[:, : 2 * H], a[:, 2 * H : 3 * H], a[:, 3 * H :]
                soon = gates[(t + 1) * B + m : (t + 1) * B + n]
                product_before(soon, rz, rz, h_prev, packed_rz)  # ... + h_{t-1} @ (R_r, R_z)
                product(v, c_n, h_prev, packed_n)  # h_{t-1} @ R_n + c_n
                gru_forward((a[:, :H], a[:, H : 2 * H], u, h_t), (a[:, :H], a[:, H : 2 * H], u, v, h_prev))


def backward(
    g: Array, x: Array, h: Array, h0: Array, gates: Array, W_xh: Array, W_hh: Array, wants_x: bool, wants_h0: bool
) -> tuple[Array, Array, Array, Array]:
    """Gradients by x, h0, [W_xh; b_xh] and [b_hh; W_hh] of `minigrad.kernels.gru.backward`, for arrays of T, B >= 1.

    Without `wants_x` the first holds nothing of worth, without `wants_h0` the second.
    """
    prepare("gru", h.dtype)
    (T, B, D), H, dtype = x.shape, len(W_hh), h.dtype
    g_x, g_h0 = np.empty(x.shape if wants_x else (0, 1, D), dtype), np.empty(h0.shape, dtype)
    arrays = flat(g_x), g_h0, *inputs(g, x, h, h0, gates, W_xh, W_hh), zeros(max(D, H), dtype)

    def work(top: int, bottom: int) -> Array:
        g_W, rooms = sums(D + 2 + H, 3 * H, dtype), (room((3 * H, D), dtype), room((3 * H, H), dtype))
        q, d, packed_d = chunk_buffers(T, bottom - top, D, H, 3 * H, dtype)
        _backward(g_W, *arrays, *rooms, q, d, packed_d, np.empty_like(d), wants_h0, top, bottom)
        return g_W

    g_W = added(share(B, 6 * h.size * (2 * H + D), work))
    return g_x, g_h0, g_W[: D + 1], g_W[D + 1 :]


@kernel
def _backward(
    g_W: Any,
    g_x: Any,
    g_h0: Any,
    g: Any,
    x: Any,
    h: Any,
    h0: Any,
    gates: Any,
    W_xh: Any,
    W_hh: Any,
    zero: Any,
    packed_x: Any,
    packed_h: Any,
    q: Any,
    d_v: Any,
    packed_d: Any,
    d_u: Any,
    wants_h0: bool,
    top: int,
    bottom: int,
) -> None:
    wants_x, every = len(g_x) > 0, len(g) == len(h)
    if wants_x:
        pack(packed_x, W_xh.T)
    if wants_h0 or len(h) > len(h0):
        pack(packed_h, W_hh.T)
    (B, H), D = h0.shape, x.shape[1]
    T, C = len(h) // B, chunk_steps(bottom - top)
    for k in range(parts(bottom - top)):
        m, n = part_of(k, top, bottom)
        R, dh = n - m, g_h0[m:n]
        copy(dh, g[len(g) - B + m : len(g) - B + n])
        for last in range(T, 0, -C):
            first = max(0, last - C)
            for t in range(last - 1, first - 1, -1):
                row, now, before = (t - first) * R, t * B + m, (t - 1) * B + m
                a, u, v = gates[now : now + R], d_u[row : row + R], d_v[row : row + R]
                h_prev = h[before : before + R] if t else h0[m:n]
                g_prev = g[before : before + R] if t and every else zero
                gru_backward(
                    (u[:, :H], v[:, :H], u[:, H : 2 * H], v[:, H : 2 * H], u[:, 2 * H :], v[:, 2 * H :], dh),
                    (a[:, :H], a[:, H : 2 * H], a[:, 2 * H : 3 * H], a[:, 3 * H :], h_prev, dh, g_prev[:, :H]),
                )
                if t or wants_h0:
                    soon = max(before, m)
                    # dE/dh_{t-1} = g_{t-1} + z_t dE/dh_t + d_v @ W_hh^T
                    product_before(gates[soon : soon + R], dh, dh, v, packed_h)
                gather(q[row : row + R], x[now : now + R], h_prev)
            rows = (last - first) * R
            add_gradient(g_W[D + 1 :], q[:rows, D:], d_v[:rows], packed_d)
            add_gradient(g_W[: D + 1], q[:rows, : D + 1], d_u[:rows], packed_d)
            if wants_x:
                over_steps(g_x, first * B + m, B, zero, d_u, 0, R, last - first, R, packed_x)
