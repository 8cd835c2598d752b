"""The activations as plain array code: values, and derivatives expressed through the values.

name      h = act(a)           act'(a), from h
tanh      tanh(a)              1 - h^2
sigmoid   1 / (1 + exp(-a))    h (1 - h)
relu      max(a, 0)            1 where h > 0, else 0
linear    a                    1
"""

from __future__ import annotations

from collections.abc import Callable

from minigrad.backend import Array, get_xp

TINY = 1e-30
"""Gradients smaller than this become zero: as subnormal numbers they would slow long sequences down up to 100 times."""


def tanh(a: Array) -> Array:
    """Hyperbolic tangent."""
    return get_xp(a).tanh(a)


def sigmoid(a: Array) -> Array:
    """1 / (1 + exp(-a)), by the exponential of -|a|, which neither overflows nor cancels; real or complex."""
    xp = get_xp(a)
    positive = _real(a) >= 0
    e = xp.exp(xp.where(positive, -a, a))
    return xp.where(positive, xp.ones_like(e), e) / (1 + e)


def relu(a: Array) -> Array:
    """max(a, 0), with NaN for NaN; of a complex number, by its real part."""
    return get_xp(a).where(_real(a) <= 0, get_xp(a).zeros_like(a), a)


def linear(a: Array) -> Array:
    """a itself."""
    return a


def tanh_derivative(h: Array) -> Array:
    """tanh'(a), from h = tanh(a)."""
    return 1 - h * h


def sigmoid_derivative(h: Array) -> Array:
    """sigmoid'(a), from h = sigmoid(a)."""
    return h * (1 - h)


def relu_derivative(h: Array) -> Array:
    """relu'(a), from h = relu(a); 0 * h rather than 0, so that NaN stays NaN."""
    return get_xp(h).where(_real(h) > 0, get_xp(h).ones_like(h), 0 * h)


def linear_derivative(h: Array) -> Array:
    """Ones."""
    return get_xp(h).ones_like(h)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": tanh,
    "sigmoid": sigmoid,
    "relu": relu,
    "linear": linear,
}
"""act(a) by name."""

DERIVATIVES: dict[str, Callable[[Array], Array]] = {
    "tanh": tanh_derivative,
    "sigmoid": sigmoid_derivative,
    "relu": relu_derivative,
    "linear": linear_derivative,
}
"""act'(a) as a function of h = act(a), by name."""


def flushed(d: Array) -> Array:
    """d, with zero where |d| < TINY."""
    xp = get_xp(d)
    return xp.where(xp.abs(d) < TINY, xp.zeros_like(d), d)


def _real(a: Array) -> Array:
    xp = get_xp(a)
    return xp.real(a) if xp.isdtype(a.dtype, "complex floating") else a
