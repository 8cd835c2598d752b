"""The target recursion of TPTT, fused; the equations are those of `minigrad.kernels.target`."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.backend import Array
from minigrad.kernels.cache import prepare
from minigrad.kernels.fused.arrays import every_row, flat, inputs, room
from minigrad.kernels.fused.compiler import kernel
from minigrad.kernels.fused.passes import KINDS, activate, corrected
from minigrad.kernels.fused.sequences import PART, copy, part_of, parts
from minigrad.kernels.fused.threads import share
from minigrad.kernels.fused.tile import pack, product


def targets(x: Array, h: Array, target_T: Array, W_xh: Array, V_hh: Array, c_h: Array, activation: str) -> Array:
    """`minigrad.kernels.target.targets`, for checked arrays of at least one element."""
    prepare("target", h.dtype)
    out, dtype = np.empty(h.shape, h.dtype), h.dtype
    arrays = flat(out), *inputs(x, h, target_T, W_xh, V_hh), every_row(c_h)

    def work(top: int, bottom: int) -> None:
        buffer = np.empty((2 * min(bottom - top, PART), len(V_hh)), dtype)
        _targets(*arrays, room(W_xh.shape, dtype), room(V_hh.shape, dtype), buffer, KINDS[activation], top, bottom)

    share(len(target_T), 2 * h.size * (len(W_xh) + 2 * len(V_hh)), work)
    return out


@kernel
def _targets(
    out: Any,
    x: Any,
    h: Any,
    target_T: Any,
    W_xh: Any,
    V_hh: Any,
    c_h: Any,
    packed_x: Any,
    packed_h: Any,
    buffer: Any,
    act: int,
    top: int,
    bottom: int,
) -> None:
    pack(packed_x, W_xh)
    pack(packed_h, V_hh)
    B = len(target_T)
    T = len(h) // B
    for k in range(parts(bottom - top)):
        m, n = part_of(k, top, bottom)
        copy(out[(T - 1) * B + m : (T - 1) * B + n], target_T[m:n])
        for t in range(T - 2, -1, -1):
            now, later, R = t * B + m, (t + 1) * B + m, n - m
            u, a, b = out[now : now + R], buffer[:R], buffer[R : 2 * R]  # u waits in the place of target_t
            product(u, c_h, x[later : later + R], packed_x)  # x_{t+1} @ W_xh + c_h
            product(a, u, h[later : later + R], packed_h)
            product(b, u, out[later : later + R], packed_h)
            activate(a, act)  # G_{t+1}(h_{t+1})
            activate(b, act)  # G_{t+1}(target_{t+1})
            corrected((u,), (a, b, h[now : now + R]))  # h_t - (G_{t+1}(h_{t+1}) - G_{t+1}(target_{t+1}))
