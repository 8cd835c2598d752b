"""The activations and their derivatives, lane by lane.

Errors, in units in the last place of the exact value (tests/minigrad/test_kernels_activations.py holds them to it):

    float32   tanh 3, sigmoid 3
    float64   tanh 3, sigmoid 3

A sigmoid below the smallest normal number (x < -87.3 in float32, x < -708.3 in float64) is zero. Lanes holding NaN
stay NaN; infinities give the limits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from minigrad.kernels.activations import TINY
from minigrad.kernels.fused.lanes import Lanes


@dataclass(frozen=True)
class Exponential:
    """The numbers of exp in one precision."""

    least: float  # below this exp(y) is no normal number
    shift: float  # 1.5 * 2^(fraction bits)
    ln2_high: float  # ln 2, the part whose products with n are exact
    ln2_low: float  # ln 2, the rest
    degree: int  # of Taylor's series


SINGLE = Exponential(-87.33, 1.5 * 2.0**23, 0.693359375, -2.1219444005469057e-4, 7)
DOUBLE = Exponential(-708.39, 1.5 * 2.0**52, 6.93147180369123816490e-1, 1.90821492927058770002e-10, 13)


def tanh(x: Lanes) -> Lanes:
    """Hyperbolic tangent, by exp(-2|x|) - 1; in [-1, 1], so that 1 - h^2 is never negative, and 1 for large x."""
    e, _ = _exponential(x.magnitude() * -2.0)  # in (-1, 0]: no overflow, and full precision near 0
    return ((0.0 - e) / (e + 2.0)).with_sign_of(x)


def sigmoid(x: Lanes) -> Lanes:
    """1 / (1 + exp(-x)), by the exponential of -|x|, which neither overflows nor cancels."""
    y = 0.0 - x.magnitude()
    _, e = _exponential(y)
    return x.where(">=", 0.0, 1.0, e) / (e + 1.0)


def relu(x: Lanes) -> Lanes:
    """max(x, 0), with NaN for NaN."""
    return x.where("<=", 0.0, 0.0, x)


def tanh_backward(d: Lanes, h: Lanes) -> Lanes:
    """d tanh'(a), from h = tanh(a)."""
    return _flushed(d * (1.0 - h * h))


def sigmoid_backward(d: Lanes, h: Lanes) -> Lanes:
    """d sigmoid'(a), from h = sigmoid(a)."""
    return _flushed(d * (h * (1.0 - h)))


def relu_backward(d: Lanes, h: Lanes) -> Lanes:
    """d relu'(a), from h = relu(a); 0 * h rather than 0, so that NaN stays NaN."""
    return _flushed(d * h.where(">", 0.0, 1.0, h * 0.0))


def linear_backward(d: Lanes, h: Lanes) -> Lanes:
    """d itself."""
    return _flushed(d)


def corrected(g_h: Lanes, g_target: Lanes, h: Lanes) -> Lanes:
    """h - (G(h) - G(target))."""
    return h - (g_h - g_target)


def _flushed(d: Lanes) -> Lanes:
    return d.magnitude().where("<", TINY, 0.0, d)


def _polynomial(coefficients: Sequence[float], x: Lanes) -> Lanes:
    """c[0] + c[1] x + c[2] x^2 + ..., by Horner's rule."""
    *lower, highest = coefficients
    value = x.times_plus(highest, lower.pop())
    for c in reversed(lower):
        value = value.times_plus(x, c)
    return value


def _exponential(y: Lanes) -> tuple[Lanes, Lanes]:
    """(exp(y) - 1, exp(y)) for y <= 0, the second 0 where it is no normal number.

    y = n ln 2 + r with |r| <= ln(2) / 2; in r Taylor's series, up to a remainder below 0.15 units in the last place.
    """
    numbers = SINGLE if y.single else DOUBLE
    z = y.where("<", numbers.least, numbers.least, y)
    shifted = z.times_plus(1 / math.log(2), numbers.shift)  # adding the shift rounds to an integer
    n = shifted - numbers.shift
    r = n.times_plus(-numbers.ln2_low, n.times_plus(-numbers.ln2_high, z))
    series = _polynomial([1 / math.factorial(k) for k in range(2, numbers.degree + 1)], r)
    series = (r * r).times_plus(series, r)
    scale = shifted.power_of_two()
    exp = y.where("<", numbers.least, 0.0, scale.times_plus(series, scale))
    return scale.times_plus(series, scale - 1.0), exp
