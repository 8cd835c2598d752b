"""Recurrences as operations on whole sequences, through the fused kernels; their equations: `minigrad.kernels`.

T time, B batch, D input size, H hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minigrad import kernels
from minigrad.backend import Array
from minigrad.kernels import antisymmetric, gru, local, lstm, srn
from minigrad.tape import Forward, Indexed, operation


@operation
def srn_unroll(x: Array, h0: Array, W_xh: Array, W_hh: Array, b_h: Array, /, *, activation: str) -> Forward:
    """h_t = act(x_t @ W_xh + h_{t-1} @ W_hh + b_h) for all t: x [T, B, D], h0 [B, H] -> [T, B, H]."""
    twin = kernels.choose(x, h0, W_xh, W_hh, b_h, kernel="srn", size=(h0.shape[0], W_hh.shape[0]))
    h = srn.forward(x, h0, W_xh, W_hh, b_h, activation, twin)
    return h, (x, h, h0, W_xh, W_hh, activation, twin)


@srn_unroll.vjp
def _(
    g: Array,
    needs: Sequence[bool],
    x: Array,
    h: Array,
    h0: Array,
    W_xh: Array,
    W_hh: Array,
    activation: str,
    twin: kernels.Twin,
) -> Sequence[Any]:
    return srn.backward(_by_states(g, h), x, h, h0, W_xh, W_hh, activation, twin, tuple(needs))


@operation
def lstm_unroll(x: Array, s0: Array, W_xh: Array, W_hh: Array, b_h: Array, /) -> Forward:
    """States [h | c] of an LSTM after each step: x [T, B, D], s0 [B, 2H], W_xh [D, 4H], W_hh [H, 4H] -> [T, B, 2H]."""
    twin = kernels.choose(x, s0, W_xh, W_hh, b_h, kernel="lstm", size=(s0.shape[0], W_hh.shape[0]))
    s, gates = lstm.forward(x, s0, W_xh, W_hh, b_h, twin)
    return s, (x, s, s0, gates, W_xh, W_hh, twin)


@lstm_unroll.vjp
def _(
    g: Array,
    needs: Sequence[bool],
    x: Array,
    s: Array,
    s0: Array,
    gates: Array,
    W_xh: Array,
    W_hh: Array,
    twin: kernels.Twin,
) -> Sequence[Any]:
    if type(g) is Indexed and g.key and g.key[0] is ... and g.key[1:] == (slice(None, W_hh.shape[0]),):
        g = g.value  # a readout sees h alone
    g = _by_states(g, s)
    return lstm.backward(g, x, s, s0, gates, W_xh, W_hh, twin, tuple(needs))


@operation
def gru_unroll(x: Array, h0: Array, W_xh: Array, W_hh: Array, b_xh: Array, b_hh: Array, /) -> Forward:
    """States of a GRU after each step: x [T, B, D], h0 [B, H], W_xh [D, 3H], W_hh [H, 3H] -> [T, B, H]."""
    twin = kernels.choose(x, h0, W_xh, W_hh, b_xh, b_hh, kernel="gru", size=(h0.shape[0], W_hh.shape[0]))
    h, gates = gru.forward(x, h0, W_xh, W_hh, b_xh, b_hh, twin)
    return h, (x, h, h0, gates, W_xh, W_hh, twin)


@gru_unroll.vjp
def _(
    g: Array,
    needs: Sequence[bool],
    x: Array,
    h: Array,
    h0: Array,
    gates: Array,
    W_xh: Array,
    W_hh: Array,
    twin: kernels.Twin,
) -> Sequence[Any]:
    return gru.backward(_by_states(g, h), x, h, h0, gates, W_xh, W_hh, twin, tuple(needs))


@operation
def antisymmetric_unroll(
    x: Array, h0: Array, W_xh: Array, W_hh: Array, b_h: Array, /, *, epsilon: float, gamma: float
) -> Forward:
    """States of a gated antisymmetric network: x [T, B, D], h0 [B, H], W_xh [D, 2H], W_hh [H, H] -> [T, B, H]."""
    twin = kernels.choose(x, h0, W_xh, W_hh, b_h, kernel="antisymmetric", size=(h0.shape[0], W_hh.shape[0]))
    h, gates = antisymmetric.forward(x, h0, W_xh, W_hh, b_h, epsilon, gamma, twin)
    return h, (x, h, h0, gates, W_xh, W_hh, epsilon, gamma, twin)


@antisymmetric_unroll.vjp
def _(
    g: Array,
    needs: Sequence[bool],
    x: Array,
    h: Array,
    h0: Array,
    gates: Array,
    W_xh: Array,
    W_hh: Array,
    epsilon: float,
    gamma: float,
    twin: kernels.Twin,
) -> Sequence[Any]:
    return antisymmetric.backward(_by_states(g, h), x, h, h0, gates, W_xh, W_hh, epsilon, gamma, twin, tuple(needs))


for _unroll in (srn_unroll, lstm_unroll, gru_unroll, antisymmetric_unroll):
    _unroll.takes_indexed = True


def _by_states(g: Any, h: Array) -> Array:
    """The gradient by all states, or by the last one alone [1, ...] where nothing else was used."""
    if type(g) is not Indexed:
        return g
    at, *rest = g.key or (...,)  # h[None] and h[()] have no index
    alone = type(at) is int and at in (-1, h.shape[0] - 1) and all(part is ... for part in rest)
    return g.value[None, ...] if alone else g.dense(h.shape)


@operation
def srn_local_loss(
    W_xh: Array,
    W_hh: Array,
    b_h: Array,
    x: Array,
    h: Array,
    target: Array,
    /,
    *,
    activation: str,
    known: Array | None = None,
) -> Forward:
    """Sum of (act(x @ W_xh + h @ W_hh + b_h) - target)^2 (0-d): x [T, B, D], h and target [T, B, H], all constant.

    Where the activations were computed before, `known` [T, B, H] hands them in, and only the gradient is left to do.
    """
    twin = kernels.choose(W_xh, W_hh, b_h, x, h, target, kernel="local", size=h.shape[1:])
    return local.loss(x, h, target, known, W_xh, W_hh, b_h, activation, twin)


@srn_local_loss.vjp
def _(g: Array, needs: Sequence[bool], *gradients: Array) -> Sequence[Any]:
    return tuple(g * gradient if needed else None for gradient, needed in zip(gradients, needs, strict=False))
