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


def exp(y: Lanes) -> Lanes:
    """exp(y) for y <= 0; 0 where that is no normal number."""
    return _exponential(y)[1]


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


def error(y: Lanes, target: Lanes, total: Lanes) -> tuple[Lanes, Lanes]:
    """e = y - target, and the total of the squares so far."""
    e = y - target
    return e, e.times_plus(e, total)


def lstm_forward(i: Lanes, f: Lanes, g: Lanes, o: Lanes, c_prev: Lanes) -> tuple[Lanes, ...]:
    """(i, f, g, o, h, c) from what goes into the gates."""
    i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
    c = f * c_prev + i * g
    return i, f, g, o, o * tanh(c), c


def lstm_backward(
    i: Lanes, f: Lanes, g: Lanes, o: Lanes, c_prev: Lanes, c: Lanes, dh: Lanes, dc: Lanes, g_c_prev: Lanes
) -> tuple[Lanes, ...]:
    """(d_i, d_f, d_g, d_o, dc_prev): gradients by what goes into the gates and by the cell before."""
    y = tanh(c)
    dc = dc + dh * o * (1.0 - y * y)
    return (
        sigmoid_backward(dc * g, i),
        sigmoid_backward(dc * c_prev, f),
        tanh_backward(dc * i, g),
        sigmoid_backward(dh * y, o),
        _flushed(dc * f) + g_c_prev,
    )


def gru_forward(r: Lanes, z: Lanes, u: Lanes, v: Lanes, h_prev: Lanes) -> tuple[Lanes, ...]:
    """(r, z, n, h) from what goes into the gates; n = tanh(u + r v)."""
    r, z = sigmoid(r), sigmoid(z)
    n = tanh(u + r * v)
    return r, z, n, n - z * (n - h_prev)


def gru_backward(r: Lanes, z: Lanes, n: Lanes, v: Lanes, h_prev: Lanes, dh: Lanes, g_prev: Lanes) -> tuple[Lanes, ...]:
    """(d_r, d_r, d_z, d_z, d_u, d_v, the part of the gradient by the state before that passes no product)."""
    d_u = tanh_backward(dh * (1.0 - z), n)
    d_r, d_z = sigmoid_backward(d_u * v, r), sigmoid_backward(dh * (h_prev - n), z)
    return d_r, d_r, d_z, d_z, d_u, _flushed(d_u * r), _flushed(dh * z) + g_prev


def antisymmetric_forward(z: Lanes, n: Lanes, v: Lanes, h_prev: Lanes, epsilon: Lanes) -> tuple[Lanes, ...]:
    """(z, n, h) from the input's parts and v = h_prev @ A."""
    z, n = sigmoid(z + v), tanh(n + v)
    return z, n, epsilon * (z * n) + h_prev


def antisymmetric_backward(z: Lanes, n: Lanes, dh: Lanes, g_prev: Lanes, epsilon: Lanes) -> tuple[Lanes, ...]:
    """(d_z, d_n, d_v, the part of the gradient by the state before that passes no product)."""
    d = dh * epsilon
    d_z, d_n = sigmoid_backward(d * n, z), tanh_backward(d * z, n)
    return d_z, d_n, d_z + d_n, dh + g_prev


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
