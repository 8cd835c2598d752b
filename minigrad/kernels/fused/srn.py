"""The simple recurrent network, fused; the equations are those of `minigrad.kernels.srn`."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.backend import Array
from minigrad.kernels.fused.arrays import inputs, weights_room
from minigrad.kernels.fused.compiler import kernel
from minigrad.kernels.fused.tile import KINDS, activate, activate_backward, pack, product


def forward(x_proj: Array, h0: Array, W_hh: Array, activation: str) -> Array:
    """`minigrad.kernels.srn.forward`, for checked arrays of at least one element."""
    x_proj, h0, W_hh = inputs(x_proj, h0, W_hh)
    h = np.empty_like(x_proj)
    _forward(h, x_proj, h0, W_hh, weights_room(W_hh), KINDS[activation])
    return h


@kernel
def _forward(h: Any, x_proj: Any, h0: Any, W_hh: Any, room: Any, act: int) -> None:
    pack(room, W_hh)
    for t in range(len(h)):
        product(h[t], x_proj[t], h[t - 1] if t else h0, room)  # x_proj_t + h_{t-1} @ W_hh
        activate(h[t], act)


def backward(g: Array, h: Array, W_hh: Array, activation: str) -> tuple[Array, Array]:
    """(d, gradient by h0) of `minigrad.kernels.srn.backward`, for checked arrays of at least one element."""
    g, h, W_hh = inputs(g, h, W_hh)
    d, g_h0 = np.empty_like(g), np.zeros_like(g[0])
    d[-1] = g[-1]
    _backward(d, g_h0, g, h, W_hh, weights_room(W_hh), KINDS[activation])
    return d, g_h0


@kernel
def _backward(d: Any, g_h0: Any, g: Any, h: Any, W_hh: Any, room: Any, act: int) -> None:
    pack(room, W_hh.T)
    T = len(d)
    for t in range(T - 1, -1, -1):
        if t < T - 1:
            product(d[t], g[t], d[t + 1], room)  # g_t + d_{t+1} @ W_hh^T
        activate_backward(d[t], h[t], act)
    product(g_h0, g_h0, d[0], room)
