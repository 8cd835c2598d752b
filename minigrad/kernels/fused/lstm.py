"""Long short-term memory, fused; the equations are those of `minigrad.kernels.lstm`."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.backend import Array
from minigrad.kernels.cache import prepare
from minigrad.kernels.fused.arrays import every_row, flat, inputs, room, sums, zeros
from minigrad.kernels.fused.compiler import kernel
from minigrad.kernels.fused.passes import lstm_backward, lstm_forward
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
from minigrad.kernels.fused.tile import pack, product_before


def forward(x: Array, s0: Array, W_xh: Array, W_hh: Array, b_h: Array) -> tuple[Array, Array]:
    """`minigrad.kernels.lstm.forward`, for checked arrays of at least one element."""
    prepare("lstm", s0.dtype)
    T, (B, S), dtype = len(x), s0.shape, s0.dtype
    s, gates = np.empty((T, B, S), dtype), np.empty((T, B, 2 * S), dtype)
    arrays = flat(s), flat(gates), *inputs(x, s0, W_xh, W_hh), every_row(b_h)

    def work(top: int, bottom: int) -> None:
        _forward(*arrays, room(W_xh.shape, dtype), room(W_hh.shape, dtype), top, bottom)

    share(B, 2 * gates.size * (len(W_xh) + len(W_hh)), work)
    return s, gates


@kernel
def _forward(
    s: Any,
    gates: Any,
    x: Any,
    s0: Any,
    W_xh: Any,
    W_hh: Any,
    b_h: Any,
    packed_x: Any,
    packed_h: Any,
    top: int,
    bottom: int,
) -> None:
    pack(packed_x, W_xh)
    pack(packed_h, W_hh)
    B, H = len(s0), len(W_hh)
    T, C = len(s) // B, chunk_steps(bottom - top)
    for k in range(parts(bottom - top)):
        m, n = part_of(k, top, bottom)
        for first in range(0, T, C):
            last = min(first + C, T)
            # x_t @ W_xh + b_h
            over_steps(gates, first * B + m, B, b_h, x, first * B + m, B, last - first, n - m, packed_x)
            for t in range(first, last):
                s_t, a = s[t * B + m : t * B + n], gates[t * B + m : t * B + n]
                s_prev = s[(t - 1) * B + m : (t - 1) * B + n] if t else s0[m:n]
                soon = gates[(t + 1) * B + m : (t + 1) * B + n]
                product_before(soon, a, a, s_prev[:, :H], packed_h)  # ... + h_{t-1} @ W_hh
                i, f, g, o = a[:, :H], a[:, H : 2 * H], a[:, 2 * H : 3 * H], a[:, 3 * H :]
                lstm_forward((i, f, g, o, s_t[:, :H], s_t[:, H:]), (i, f, g, o, s_prev[:, H:]))


def backward(
    g: Array, x: Array, s: Array, s0: Array, gates: Array, W_xh: Array, W_hh: Array, wants_x: bool, wants_s0: bool
) -> tuple[Array, Array, Array]:
    """Gradients by x, s0 and [W_xh; b_h; W_hh] of `minigrad.kernels.lstm.backward`, for checked arrays of T, B >= 1.

    Without `wants_x` the first holds nothing of worth, without `wants_s0` the second.
    """
    prepare("lstm", s.dtype)
    (T, B, D), H, dtype = x.shape, len(W_hh), s.dtype
    g_x, g_s0 = np.empty(x.shape if wants_x else (0, 1, D), dtype), np.empty(s0.shape, dtype)
    arrays = flat(g_x), g_s0, *inputs(g, x, s, s0, gates, W_xh, W_hh), zeros(max(D, 2 * H), dtype)

    def work(top: int, bottom: int) -> Array:
        g_W, rooms = sums(D + 1 + H, 4 * H, dtype), (room((4 * H, D), dtype), room((4 * H, H), dtype))
        _backward(g_W, *arrays, *rooms, *chunk_buffers(T, bottom - top, D, H, 4 * H, dtype), wants_s0, top, bottom)
        return g_W

    return g_x, g_s0, added(share(B, 2 * gates.size * (2 * H + D), work))


@kernel
def _backward(
    g_W: Any,
    g_x: Any,
    g_s0: Any,
    g: Any,
    x: Any,
    s: Any,
    s0: Any,
    gates: Any,
    W_xh: Any,
    W_hh: Any,
    zero: Any,
    packed_x: Any,
    packed_h: Any,
    q: Any,
    d: Any,
    packed_d: Any,
    wants_s0: bool,
    top: int,
    bottom: int,
) -> None:
    wants_x, by_c, every = len(g_x) > 0, g.shape[1] > len(W_hh), len(g) == len(s)
    if wants_x:
        pack(packed_x, W_xh.T)
    if wants_s0 or len(s) > len(s0):
        pack(packed_h, W_hh.T)
    B, H = len(s0), len(W_hh)
    T, C = len(s) // B, chunk_steps(bottom - top)
    for k in range(parts(bottom - top)):
        m, n = part_of(k, top, bottom)
        R, dh, dc = n - m, g_s0[m:n, :H], g_s0[m:n, H:]
        g_T = g[len(g) - B + m : len(g) - B + n]
        copy(dh, g_T[:, :H])
        if by_c:
            copy(dc, g_T[:, H:])
        else:
            dc.fill(0)
        for last in range(T, 0, -C):
            first = max(0, last - C)
            for t in range(last - 1, first - 1, -1):
                row, now, before = (t - first) * R, t * B + m, (t - 1) * B + m
                d_t, a, c = d[row : row + R], gates[now : now + R], s[now : now + R, H:]
                s_prev = s[before : before + R] if t else s0[m:n]
                g_prev = g[before : before + R] if t and every else zero
                lstm_backward(
                    (d_t[:, :H], d_t[:, H : 2 * H], d_t[:, 2 * H : 3 * H], d_t[:, 3 * H :], dc),
                    (
                        a[:, :H],
                        a[:, H : 2 * H],
                        a[:, 2 * H : 3 * H],
                        a[:, 3 * H :],
                        s_prev[:, H:],
                        c,
                        dh,
                        dc,
                        g_prev[:, H : 2 * H] if by_c else zero[:, :H],
                    ),
                )
                if t or wants_s0:
                    soon = max(before, m)
                    # dE/dh_{t-1} = g_{t-1} + d_t @ W_hh^T
                    product_before(gates[soon : soon + R], dh, g_prev, d_t, packed_h)
                gather(q[row : row + R], x[now : now + R], s_prev)
            rows = (last - first) * R
            add_gradient(g_W, q[:rows], d[:rows], packed_d)
            if wants_x:
                over_steps(g_x, first * B + m, B, zero, d, 0, R, last - first, R, packed_x)
