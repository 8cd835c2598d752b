"""The local loss of target propagation, fused; the equations are those of `minigrad.kernels.local`."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.backend import Array
from minigrad.kernels.cache import prepare
from minigrad.kernels.fused.arrays import every_row, inputs, room, sums, zeros
from minigrad.kernels.fused.compiler import kernel
from minigrad.kernels.fused.passes import KINDS, activate, activate_backward, error
from minigrad.kernels.fused.sequences import CHUNK, add_gradient, copy, gather
from minigrad.kernels.fused.threads import added, share
from minigrad.kernels.fused.tile import pack, product


def loss(
    x: Array,
    h: Array,
    target: Array,
    known: Array | None,
    W_xh: Array,
    W_hh: Array,
    b_h: Array,
    activation: str,
) -> tuple[float, Array]:
    """The loss, and its gradient by [W_xh; b_h; W_hh], of `minigrad.kernels.local.loss`, for checked arrays."""
    prepare("local", h.dtype)
    D, H, dtype = x.shape[-1], len(W_hh), h.dtype
    arrays = *inputs(x, h, target, h if known is None else known, W_xh, W_hh), every_row(b_h)

    def work(top: int, bottom: int) -> tuple[float, Array]:
        g_W, rows = sums(D + 1 + H, H, dtype), min(CHUNK, bottom - top)
        rooms = room(W_xh.shape, dtype), room(W_hh.shape, dtype), room((rows, H), dtype)
        buffers = np.empty((rows, D + 1 + H), dtype), np.empty((rows, H), dtype), np.empty((rows, H), dtype)
        squares = zeros(H, dtype)  # to which all rows are added
        total = _loss(g_W, *arrays, *rooms, *buffers, squares, known is not None, KINDS[activation], top, bottom)
        return total, g_W

    products = 2 if known is None else 1
    losses, gradients = zip(*share(h.size // H, 2 * h.size * (D + H) * products, work), strict=True)
    return sum(losses), added(list(gradients))


@kernel
def _loss(
    g_W: Any,
    x: Any,
    h: Any,
    target: Any,
    known: Any,
    W_xh: Any,
    W_hh: Any,
    b_h: Any,
    packed_x: Any,
    packed_h: Any,
    packed_d: Any,
    q: Any,
    y: Any,
    d: Any,
    squares: Any,
    is_known: bool,
    act: int,
    top: int,
    bottom: int,
) -> float:
    pack(packed_x, W_xh)
    pack(packed_h, W_hh)
    R, total = len(q), 0.0
    for m in range(top, bottom, R):
        n = min(m + R, bottom)
        y_m, d_m = y[: n - m], d[: n - m]
        if is_known:
            copy(y_m, known[m:n])
        else:
            product(y_m, b_h, x[m:n], packed_x)
            product(y_m, y_m, h[m:n], packed_h)  # x @ W_xh + h @ W_hh + b_h
            activate(y_m, act)
        error((d_m, squares), (y_m, target[m:n], squares))  # summed over the rows
        activate_backward(d_m, d_m, y_m, act)
        gather(q[: n - m], x[m:n], h[m:n])
        add_gradient(g_W, q[: n - m], d_m, packed_d)
        for j in range(squares.shape[1]):  # in double precision from chunk to chunk
            total += squares[0, j]
            squares[0, j] = 0
    return total
