"""The target recursion of TPTT, fused; the equations are those of `minigrad.kernels.target`."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.backend import Array
from minigrad.kernels.fused.arrays import inputs, weights_room
from minigrad.kernels.fused.compiler import kernel
from minigrad.kernels.fused.tile import KINDS, activate, corrected, pack, product


def targets(x_proj: Array, h: Array, target_T: Array, V_hh: Array, activation: str) -> Array:
    """`minigrad.kernels.target.targets`, for checked arrays of at least one element."""
    x_proj, h, target_T, V_hh = inputs(x_proj, h, target_T, V_hh)
    out = np.empty_like(h)
    out[-1] = target_T
    flat = (-1, h.shape[2])
    later = out[:-1].reshape(flat), x_proj[1:].reshape(flat), h[1:].reshape(flat)
    _targets(out, x_proj, h, *later, V_hh, weights_room(V_hh), np.empty_like(target_T), KINDS[activation])
    return out


@kernel
def _targets(
    out: Any, x_proj: Any, h: Any, G_h: Any, x_later: Any, h_later: Any, V_hh: Any, room: Any, G_target: Any, act: int
) -> None:
    """G_h is `out` without its last step; x_later, h_later lack their first; time and batch are one axis in these."""
    pack(room, V_hh)
    product(G_h, x_later, h_later, room)  # G_{t+1}(h_{t+1}) for all t: no recurrence; it waits in the place of target_t
    activate(G_h, act)
    for t in range(len(out) - 2, -1, -1):
        product(G_target, x_proj[t + 1], out[t + 1], room)
        activate(G_target, act)
        corrected((out[t], G_target, h[t]))  # h_t - (G_{t+1}(h_{t+1}) - G_{t+1}(target_{t+1}))
