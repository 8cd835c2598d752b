"""The antisymmetric network, fused; the equations are those of `minigrad.kernels.antisymmetric`."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.backend import Array
from minigrad.kernels.cache import prepare
from minigrad.kernels.fused.arrays import every_row, flat, inputs, room, sums, zeros
from minigrad.kernels.fused.compiler import kernel
from minigrad.kernels.fused.passes import antisymmetric_backward, antisymmetric_forward
from minigrad.kernels.fused.sequences import (
    PART,
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
from minigrad.kernels.fused.tile import pack, product_before


def forward(x: Array, h0: Array, W_xh: Array, A: Array, b_h: Array, epsilon: float) -> tuple[Array, Array]:
    """`minigrad.kernels.antisymmetric.forward`, for checked arrays of at least one element; A [H, H] in full."""
    prepare("antisymmetric", h0.dtype)
    T, (B, H), dtype = len(x), h0.shape, h0.dtype
    h, gates = np.empty((T, B, H), dtype), np.empty((T, B, 2 * H), dtype)
    arrays = flat(h), flat(gates), *inputs(x, h0, W_xh, A), every_row(b_h), zeros(H, dtype), float(epsilon)

    def work(top: int, bottom: int) -> None:
        v = np.empty((min(bottom - top, PART), H), dtype)
        _forward(*arrays, room(W_xh.shape, dtype), room((H, H), dtype), v, top, bottom)

    share(B, 2 * h.size * (2 * len(W_xh) + H), work)
    return h, gates


@kernel
def _forward(
    h: Any,
    gates: Any,
    x: Any,
    h0: Any,
    W_xh: Any,
    A: Any,
    b_h: Any,
    zero: Any,
    epsilon: float,
    packed_x: Any,
    packed_A: Any,
    v: Any,
    top: int,
    bottom: int,
) -> None:
    pack(packed_x, W_xh)
    pack(packed_A, A)
    B, H = h0.shape
    T, C = len(h) // B, chunk_steps(bottom - top)
    for k in range(parts(bottom - top)):
        m, n = part_of(k, top, bottom)
        for first in range(0, T, C):
            last = min(first + C, T)
            # x_t @ (V_z, V_h) + b_h
            over_steps(gates, first * B + m, B, b_h, x, first * B + m, B, last - first, n - m, packed_x)
            for t in range(first, last):
                h_t, a, v_t = h[t * B + m : t * B + n], gates[t * B + m : t * B + n], v[: n - m]
                h_prev = h[(t - 1) * B + m : (t - 1) * B + n] if t else h0[m:n]
                soon = gates[(t + 1) * B + m : (t + 1) * B + n]
                product_before(soon, v_t, zero, h_prev, packed_A)  # h_{t-1} @ A
                antisymmetric_forward((a[:, :H], a[:, H:], h_t), (a[:, :H], a[:, H:], v_t, h_prev, epsilon))


def backward(
    g: Array,
    x: Array,
    h: Array,
    h0: Array,
    gates: Array,
    W_xh: Array,
    A: Array,
    epsilon: float,
    wants_x: bool,
    wants_h0: bool,
) -> tuple[Array, Array, Array, Array]:
    """Gradients by x, h0, [W_xh; b_h] and A of `minigrad.kernels.antisymmetric.backward`, for arrays of T, B >= 1.

    Without `wants_x` the first holds nothing of worth, without `wants_h0` the second.
    """
    prepare("antisymmetric", h.dtype)
    (T, B, D), H, dtype = x.shape, len(A), h.dtype
    g_x, g_h0 = np.empty(x.shape if wants_x else (0, 1, D), dtype), np.empty(h0.shape, dtype)
    arrays = flat(g_x), g_h0, *inputs(g, x, h, h0, gates, W_xh, A), zeros(max(D, H), dtype), float(epsilon)

    def work(top: int, bottom: int) -> Array:
        # [W_xh; b_h] in the first 2H columns, A in the last H, and as many rows as either needs
        g_W, rooms = sums(max(D + 1, H), 3 * H, dtype), (room((2 * H, D), dtype), room((H, H), dtype))
        q, d_u, packed_d = chunk_buffers(T, bottom - top, D, H, 2 * H, dtype)
        _backward(g_W, *arrays, *rooms, q, d_u, packed_d, np.empty((len(q), H), dtype), wants_h0, top, bottom)
        return g_W

    g_W = added(share(B, 2 * h.size * (2 * H + 2 * D), work))
    return g_x, g_h0, g_W[: D + 1, : 2 * H], g_W[:H, 2 * H :]


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
    A: Any,
    zero: Any,
    epsilon: float,
    packed_x: Any,
    packed_A: Any,
    q: Any,
    d_u: Any,
    packed_d: Any,
    d_v: Any,
    wants_h0: bool,
    top: int,
    bottom: int,
) -> None:
    wants_x, every = len(g_x) > 0, len(g) == len(h)
    if wants_x:
        pack(packed_x, W_xh.T)
    if wants_h0 or len(h) > len(h0):
        pack(packed_A, A.T)
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
                antisymmetric_backward((u[:, :H], u[:, H:], v, dh), (a[:, :H], a[:, H:], dh, g_prev[:, :H], epsilon))
                if t or wants_h0:
                    soon = max(before, m)
                    # dE/dh_{t-1} = g_{t-1} + dE/dh_t + d_v @ A^T
                    product_before(gates[soon : soon + R], dh, dh, v, packed_A)
                gather(q[row : row + R], x[now : now + R], h_prev)
            rows = (last - first) * R
            add_gradient(g_W[:H, 2 * H :], q[:rows, D + 1 :], d_v[:rows], packed_d)
            add_gradient(g_W[: D + 1, : 2 * H], q[:rows, : D + 1], d_u[:rows], packed_d)
            if wants_x:
                over_steps(g_x, first * B + m, B, zero, d_u, 0, R, last - first, R, packed_x)
