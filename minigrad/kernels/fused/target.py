"""The target recursion of TPTT, fused; the equations are those of `minigrad.kernels.target`."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.backend import Array
from minigrad.kernels.fused.arrays import inputs, weights_room
from minigrad.kernels.fused.tile import KINDS, activate, corrected, kernel, pack, product


def targets(x_proj: Array, h: Array, target_T: Array, V_hh: Array, activation: str) -> Array:
    """`minigrad.kernels.target.targets`, for checked arrays of at least one element."""
    x_proj, h, target_T, V_hh = inputs(x_proj, h, target_T, V_hh)
    out = np.empty_like(h)
    _targets(out, x_proj, h, target_T, V_hh, weights_room(V_hh), np.empty_like(target_T), KINDS[activation])
    return out


@kernel
def _targets(
    out: Any, x_proj: Any, h: Any, target_T: Any, V_hh: Any, room: Any, G_target: Any, act: int
) -> None:
    pack(room, V_hh)
    T, B, H = h.shape
    # G_{t+1}(h_{t+1}) has no recurrence: all of it first, into the place of target_t
    rows = (T - 1) * B
    G_h = out[:-1].reshape(rows, H)
    product(G_h, x_proj[1:].reshape(rows, H), h[1:].reshape(rows, H), room)
    activate(G_h, act)
    out[T - 1] = target_T
    for t in range(T - 2, -1, -1):
        product(G_target, x_proj[t + 1], out[t + 1], room)
        activate(G_target, act)
        corrected((out[t], G_target, h[t]))  # h_t - (G_{t+1}(h_{t+1}) - G_{t+1}(target_{t+1}))
