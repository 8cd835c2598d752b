"""Recurrences as operations: one transition, and whole sequences through the fused kernels.

T time, B batch, H hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minigrad import kernels
from minigrad.backend import Array, get_xp
from minigrad.kernels import activations, srn
from minigrad.ops.linalg import rows_matmul
from minigrad.tape import Forward, operation


@operation
def srn_unroll(u: Array, h0: Array, W_hh: Array, /, *, activation: str) -> Forward:
    """h_t = act(u_t + h_{t-1} @ W_hh) for all t: u [T, B, H], h0 [B, H], W_hh [H, H] -> [T, B, H].

    u holds the input projections with the bias, x_t @ W_xh + b_h.
    """
    twin = kernels.choose(u, h0, W_hh)
    h = srn.forward(u, h0, W_hh, activation, twin)
    return h, (h, h0, W_hh, activation, twin)


@srn_unroll.vjp
def _(
    g: Array, needs: Sequence[bool], h: Array, h0: Array, W_hh: Array, activation: str, twin: kernels.Twin
) -> Sequence[Any]:
    return srn.backward(g, h, h0, W_hh, activation, twin, tuple(needs))


@operation
def srn_step(u: Array, h: Array, W_hh: Array, b: Array, /, *, activation: str, known: Array | None = None) -> Forward:
    """act(u + h @ W_hh + b) on any leading axes: u, h [..., H], W_hh [H, H], b [H] -> [..., H].

    Where the value was computed before, `known` hands it in, and only the gradient is left to compute.
    """
    y = activations.ACTIVATIONS[activation](u + rows_matmul(h, W_hh) + b) if known is None else known
    return y, (y, h, W_hh, activation)


@srn_step.vjp
def _(g: Array, needs: Sequence[bool], y: Array, h: Array, W_hh: Array, activation: str) -> Sequence[Any]:
    xp = get_xp(g)
    d = g * activations.DERIVATIVES[activation](y)
    flat = xp.reshape(d, (-1, d.shape[-1]))
    return (
        d,
        rows_matmul(d, xp.matrix_transpose(W_hh)) if needs[1] else None,
        xp.matrix_transpose(xp.reshape(h, (-1, h.shape[-1]))) @ flat if needs[2] else None,
        xp.sum(flat, axis=0) if needs[3] else None,
    )
