"""Operations that act on each element, with broadcasting (undone by the tape).

Each entry is the value, what is kept, and the vector-Jacobian product; `g` is the gradient of the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minigrad.backend import Array, get_xp, sign
from minigrad.kernels import activations
from minigrad.tape import Forward, operation


@operation
def add(x: Array, y: Array, /) -> Forward:
    """x + y."""
    return x + y, ()


@add.vjp
def _(g: Array, needs: Sequence[bool]) -> Sequence[Any]:
    return g, g


@operation
def subtract(x: Array, y: Array, /) -> Forward:
    """x - y."""
    return x - y, ()


@subtract.vjp
def _(g: Array, needs: Sequence[bool]) -> Sequence[Any]:
    return g, -g if needs[1] else None


@operation
def multiply(x: Array, y: Array, /) -> Forward:
    """x * y."""
    return x * y, (x, y)


@multiply.vjp
def _(g: Array, needs: Sequence[bool], x: Array, y: Array) -> Sequence[Any]:
    return g * y if needs[0] else None, g * x if needs[1] else None


@operation
def divide(x: Array, y: Array, /) -> Forward:
    """x / y."""
    z = x / y
    return z, (y, z)


@divide.vjp
def _(g: Array, needs: Sequence[bool], y: Array, z: Array) -> Sequence[Any]:
    return g / y if needs[0] else None, -g * z / y if needs[1] else None


@operation
def negative(x: Array, /) -> Forward:
    """-x."""
    return -x, ()


@negative.vjp
def _(g: Array, needs: Sequence[bool]) -> Sequence[Any]:
    return (-g,)


@operation
def power(x: Array, /, exponent: float) -> Forward:
    """x to a constant power (a Python number); for a variable one write exp(y * log(x))."""
    return x**exponent, (x, exponent)


@power.vjp
def _(g: Array, needs: Sequence[bool], x: Array, exponent: float) -> Sequence[Any]:
    if exponent == 0:  # x ** -1 would be infinite at x = 0, the derivative is zero all the same
        return (get_xp(g).zeros_like(g),)
    return (g * (exponent * x ** (exponent - 1)),)


@operation
def exp(x: Array, /) -> Forward:
    """e to the power x."""
    y = get_xp(x).exp(x)
    return y, (y,)


@exp.vjp
def _(g: Array, needs: Sequence[bool], y: Array) -> Sequence[Any]:
    return (g * y,)


@operation
def log(x: Array, /) -> Forward:
    """Natural logarithm."""
    return get_xp(x).log(x), (x,)


@log.vjp
def _(g: Array, needs: Sequence[bool], x: Array) -> Sequence[Any]:
    return (g / x,)


@operation
def sqrt(x: Array, /) -> Forward:
    """Square root."""
    y = get_xp(x).sqrt(x)
    return y, (y,)


@sqrt.vjp
def _(g: Array, needs: Sequence[bool], y: Array) -> Sequence[Any]:
    return (0.5 * g / y,)


@operation
def tanh(x: Array, /) -> Forward:
    """Hyperbolic tangent."""
    y = activations.tanh(x)
    return y, (y,)


@tanh.vjp
def _(g: Array, needs: Sequence[bool], y: Array) -> Sequence[Any]:
    return (g * activations.tanh_derivative(y),)


@operation
def sigmoid(x: Array, /) -> Forward:
    """1 / (1 + exp(-x)); it overflows nowhere."""
    y = activations.sigmoid(x)
    return y, (y,)


@sigmoid.vjp
def _(g: Array, needs: Sequence[bool], y: Array) -> Sequence[Any]:
    return (g * activations.sigmoid_derivative(y),)


@operation
def relu(x: Array, /) -> Forward:
    """max(x, 0); the gradient at 0 is 0. NaN stays NaN, in the gradient too."""
    y = activations.relu(x)
    return y, (y,)


@relu.vjp
def _(g: Array, needs: Sequence[bool], y: Array) -> Sequence[Any]:
    return (g * activations.relu_derivative(y),)


@operation
def linear(x: Array, /) -> Forward:
    """x itself: the activation of linear units."""
    return x, ()


@linear.vjp
def _(g: Array, needs: Sequence[bool]) -> Sequence[Any]:
    return (g,)


@operation
def abs(x: Array, /) -> Forward:
    """|x|; the gradient at 0 is 0."""
    xp = get_xp(x)
    return xp.abs(x), (x,)


@abs.vjp
def _(g: Array, needs: Sequence[bool], x: Array) -> Sequence[Any]:
    return (g * sign(x),)


@operation
def clip(x: Array, /, low: float, high: float) -> Forward:
    """x cut to [low, high]; the gradient is 1 inside and on the border, 0 outside."""
    xp = get_xp(x)
    return xp.minimum(xp.maximum(x, low), high), (x, low, high)


@clip.vjp
def _(g: Array, needs: Sequence[bool], x: Array, low: float, high: float) -> Sequence[Any]:
    xp = get_xp(x)
    return (xp.where((x >= low) & (x <= high), g, xp.zeros_like(g)),)


@operation
def maximum(x: Array, y: Array, /) -> Forward:
    """The larger of two; ties share the gradient."""
    return get_xp(x, y).maximum(x, y), (x, y)


@maximum.vjp
def _(g: Array, needs: Sequence[bool], x: Array, y: Array) -> Sequence[Any]:
    return _share(g, x > y, x == y)


@operation
def minimum(x: Array, y: Array, /) -> Forward:
    """The smaller of two; ties share the gradient."""
    return get_xp(x, y).minimum(x, y), (x, y)


@minimum.vjp
def _(g: Array, needs: Sequence[bool], x: Array, y: Array) -> Sequence[Any]:
    return _share(g, x < y, x == y)


def _share(g: Array, first: Array, tie: Array) -> Sequence[Any]:
    xp = get_xp(g)
    to_first = xp.where(tie, 0.5 * g, xp.where(first, g, xp.zeros_like(g)))
    return to_first, g - to_first


@operation
def where(condition: Array, x: Array, y: Array, /) -> Forward:
    """x where the condition (an array of booleans) holds, y elsewhere."""
    return get_xp(condition).where(condition, x, y), (condition,)


@where.vjp
def _(g: Array, needs: Sequence[bool], condition: Array) -> Sequence[Any]:
    xp = get_xp(g)
    zero = xp.zeros_like(g)
    return (
        None,
        xp.where(condition, g, zero) if needs[1] else None,
        xp.where(condition, zero, g) if needs[2] else None,
    )


@operation
def dropout(x: Array, /, mask: Array) -> Forward:
    """x times a given mask (0, or 1/(1-p) where kept): whoever draws the mask owns the randomness."""
    return x * mask, (mask,)


@dropout.vjp
def _(g: Array, needs: Sequence[bool], mask: Array) -> Sequence[Any]:
    return (g * mask,)
