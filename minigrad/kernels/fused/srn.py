"""The simple recurrent network, fused; the equations are those of `minigrad.kernels.srn`."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.backend import Array
from minigrad.kernels.cache import prepare
from minigrad.kernels.fused.arrays import every_row, flat, inputs, room, sums, zeros
from minigrad.kernels.fused.compiler import kernel
from minigrad.kernels.fused.passes import KINDS, activate, activate_backward
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
from minigrad.kernels.fused.tile import pack, product


def forward(x: Array, h0: Array, W_xh: Array, W_hh: Array, b_h: Array, activation: str) -> Array:
    """`minigrad.kernels.srn.forward`, for checked arrays of at least one element."""
    prepare("srn", h0.dtype)
    h = np.empty((len(x), *h0.shape), h0.dtype)
    arrays = flat(h), *inputs(x, h0, W_xh, W_hh), every_row(b_h)

    def work(top: int, bottom: int) -> None:
        rooms = room(W_xh.shape, h.dtype), room(W_hh.shape, h.dtype)
        _forward(*arrays, *rooms, KINDS[activation], top, bottom)

    share(len(h0), 2 * h.size * (len(W_xh) + len(W_hh)), work)
    return h


@kernel
def _forward(
    h: Any,
    x: Any,
    h0: Any,
    W_xh: Any,
    W_hh: Any,
    b_h: Any,
    packed_x: Any,
    packed_h: Any,
    act: int,
    top: int,
    bottom: int,
) -> None:
    pack(packed_x, W_xh)
    pack(packed_h, W_hh)
    B = len(h0)
    T, C = len(h) // B, chunk_steps(bottom - top)
    for k in range(parts(bottom - top)):
        m, n = part_of(k, top, bottom)
        for first in range(0, T, C):
            last = min(first + C, T)
            # x_t @ W_xh + b_h
            over_steps(h, first * B + m, B, b_h, x, first * B + m, B, last - first, n - m, packed_x)
            for t in range(first, last):
                h_t = h[t * B + m : t * B + n]
                h_prev = h[(t - 1) * B + m : (t - 1) * B + n] if t else h0[m:n]
                product(h_t, h_t, h_prev, packed_h)  # ... + h_{t-1} @ W_hh
                activate(h_t, act)


def backward(
    g: Array,
    x: Array,
    h: Array,
    h0: Array,
    W_xh: Array,
    W_hh: Array,
    activation: str,
    wants_x: bool,
    wants_h0: bool,
    wants_W_hh: bool,
) -> tuple[Array, Array, Array]:
    """Gradients by x, h0 and [W_xh; b_h; W_hh] of `minigrad.kernels.srn.backward`, for checked arrays of T, B >= 1.

    Without `wants_x` the first holds nothing of worth, without `wants_h0` the second; without `wants_W_hh` the last
    lacks its third part.
    """
    prepare("srn", h.dtype)
    (T, B, D), H, dtype = x.shape, len(W_hh), h.dtype
    g_x, g_h0 = np.empty(x.shape if wants_x else (0, 1, D), dtype), np.empty(h0.shape, dtype)
    arrays = flat(g_x), g_h0, *inputs(g, x, h, h0, W_xh, W_hh), zeros(max(D, H), dtype)
    inner = H if wants_W_hh else 0

    def work(top: int, bottom: int) -> Array:
        g_W, rooms = sums(D + 1 + inner, H, dtype), (room((H, D), dtype), room((H, H), dtype))
        buffers = chunk_buffers(T, bottom - top, D, inner, H, dtype)
        _backward(g_W, *arrays, *rooms, *buffers, KINDS[activation], wants_h0, top, bottom)
        return g_W

    return g_x, g_h0, added(share(B, 2 * h.size * (2 * H + D), work))


@kernel
def _backward(
    g_W: Any,
    g_x: Any,
    g_h0: Any,
    g: Any,
    x: Any,
    h: Any,
    h0: Any,
    W_xh: Any,
    W_hh: Any,
    zero: Any,
    packed_x: Any,
    packed_h: Any,
    q: Any,
    d: Any,
    packed_d: Any,
    act: int,
    wants_h0: bool,
    top: int,
    bottom: int,
) -> None:
    wants_x, every = len(g_x) > 0, len(g) == len(h)
    if wants_x:
        pack(packed_x, W_xh.T)
    if wants_h0 or len(h) > len(h0):
        pack(packed_h, W_hh.T)
    B = len(h0)
    T, C = len(h) // B, chunk_steps(bottom - top)
    for k in range(parts(bottom - top)):
        m, n = part_of(k, top, bottom)
        R, dh = n - m, g_h0[m:n]
        copy(dh, g[len(g) - B + m : len(g) - B + n])
        for last in range(T, 0, -C):
            first = max(0, last - C)
            for t in range(last - 1, first - 1, -1):
                row, now, before = (t - first) * R, t * B + m, (t - 1) * B + m
                d_t, h_prev = d[row : row + R], h[before : before + R] if t else h0[m:n]
                activate_backward(d_t, dh, h[now : now + R], act)
                if t or wants_h0:
                    g_prev = g[before : before + R] if t and every else zero
                    product(dh, g_prev, d_t, packed_h)  # dE/dh_{t-1} = g_{t-1} + d_t @ W_hh^T
                gather(q[row : row + R], x[now : now + R], h_prev)
            rows = (last - first) * R
            add_gradient(g_W, q[:rows], d[:rows], packed_d)
            if wants_x:
                over_steps(g_x, first * B + m, B, zero, d, 0, R, last - first, R, packed_x)
