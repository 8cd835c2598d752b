"""A small call of every fused kernel: with zeros it compiles one, with random numbers it holds one to its reference.

Numba compiles at a call, for the types of its arguments. So a case calls all that its kernel's module compiles, and
asks for all gradients; sizes, activations and flags are values, and compile nothing more.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minigrad.backend import Array
from minigrad.kernels import Twin, antisymmetric, gru, local, lstm, readout, scatter, srn, target, updates

T, B, D, H = 7, 3, 4, 17
"""Steps, rows, input size, hidden units: small, and no row a number of whole vectors."""

Draw = Callable[..., Array]
"""An array of one dtype, by its lengths: draw(B, H) is [B, H]."""

NUMBERS = 0.9, 0.1, 0.8, 0.2, 0.7, 0.3, 0.6
"""What the update rules take for rates, decays and offsets, as many as each wants: above 0, and all different."""


def _srn(draw: Draw, twin: Twin) -> list[Array]:
    x, h0, W_xh, W_hh, b_h = draw(T, B, D), draw(B, H), draw(D, H), draw(H, H), draw(H)
    h = srn.forward(x, h0, W_xh, W_hh, b_h, "tanh", twin)
    return [h, *srn.backward(draw(T, B, H), x, h, h0, W_xh, W_hh, "tanh", twin)]


def _lstm(draw: Draw, twin: Twin) -> list[Array]:
    x, s0, W_xh, W_hh, b_h = draw(T, B, D), draw(B, 2 * H), draw(D, 4 * H), draw(H, 4 * H), draw(4 * H)
    s, gates = lstm.forward(x, s0, W_xh, W_hh, b_h, twin)
    return [s, gates, *lstm.backward(draw(T, B, 2 * H), x, s, s0, gates, W_xh, W_hh, twin)]


def _gru(draw: Draw, twin: Twin) -> list[Array]:
    x, h0, W_xh, W_hh, b = draw(T, B, D), draw(B, H), draw(D, 3 * H), draw(H, 3 * H), draw(3 * H)
    h, gates = gru.forward(x, h0, W_xh, W_hh, b, draw(3 * H), twin)
    return [h, gates, *gru.backward(draw(T, B, H), x, h, h0, gates, W_xh, W_hh, twin)]


def _antisymmetric(draw: Draw, twin: Twin) -> list[Array]:
    x, h0, W_xh, W_hh, b_h = draw(T, B, D), draw(B, H), draw(D, 2 * H), draw(H, H), draw(2 * H)
    h, gates = antisymmetric.forward(x, h0, W_xh, W_hh, b_h, 0.1, 0.01, twin)
    return [h, gates, *antisymmetric.backward(draw(T, B, H), x, h, h0, gates, W_xh, W_hh, 0.1, 0.01, twin)]


def _target(draw: Draw, twin: Twin) -> list[Array]:
    x, h, target_T, W_xh, V_hh, c_h = draw(T, B, D), draw(T, B, H), draw(B, H), draw(D, H), draw(H, H), draw(H)
    return [target.targets(x, h, target_T, W_xh, V_hh, c_h, "tanh", twin)]


def _local(draw: Draw, twin: Twin) -> list[Array]:
    x, h, y, W_xh, W_hh, b_h = draw(T, B, D), draw(T, B, H), draw(T, B, H), draw(D, H), draw(H, H), draw(H)
    loss, gradients = local.loss(x, h, y, None, W_xh, W_hh, b_h, "tanh", twin)
    return [loss, *gradients]


def _readout(draw: Draw, twin: Twin) -> list[Array]:
    E, (q, c) = readout.forward(draw(B, H), draw(H, T), draw(T), np.arange(B), twin)
    return [E, q, c]


def _scatter(draw: Draw, twin: Twin) -> list[Array]:
    return [scatter.scatter_add((B, H), np.arange(T) % B, draw(T, H), twin)]


def _updates(draw: Draw, twin: Twin) -> list[Array]:
    p, g, m, v = draw(H, H), draw(H, H), draw(H, H) ** 2, draw(H, H) ** 2  # roots are taken of what rules remember
    one, two = (g, m), (g, m, v)
    return [
        *updates.step(updates.sgd, p, (g,), NUMBERS[:1], twin),
        *updates.step(updates.momentum, p, one, NUMBERS[:2], twin),
        *updates.step(updates.nag, p, one, NUMBERS[:2], twin),
        *updates.step(updates.adagrad, p, one, NUMBERS[:2], twin),
        *updates.step(updates.adam, p, two, NUMBERS[:7], twin),
        *updates.step(updates.rmsprop, p, one, NUMBERS[:4], twin),
        *updates.step(updates.adadelta, p, two, NUMBERS[:3], twin),
        updates.squares(g, twin),
    ]


CASES: dict[str, Callable[[Draw, Twin], list[Array]]] = {
    "srn": _srn,
    "lstm": _lstm,
    "gru": _gru,
    "antisymmetric": _antisymmetric,
    "target": _target,
    "local": _local,
    "readout": _readout,
    "scatter": _scatter,
    "updates": _updates,
}
"""By the name of the kernel, which is that of its module: what a twin makes of the arrays that it draws."""
