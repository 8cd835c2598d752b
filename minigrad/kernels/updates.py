"""The arithmetic of the update rules, element by element, and the sum of a gradient's squares.

A step of any rule, for one parameter p:

    g <- before g           such as the factor of clipping
    u, state <- formula(g, state, numbers)
    p <- p + after u        such as a rate of its own

A formula below stands for both twins: it is evaluated on whole arrays (reference), or on the lanes of one vector after
the other, in one compiled pass over memory (fused). The operations are the same, in the same order, and each is rounded
once, so the results are the same to the bit. What depends on numbers alone comes in as one number, because arrays of
float32 round every number that they meet.

The fused twin is for arrays that outgrow the caches, where plain array code takes as long as reading and writing memory
once for every operation.

Legend: p parameter, g gradient, u update, rate the factor of u; mu momentum; b1, b2, d decays and c1, c2, c one minus
these; eps a small constant. What the rules are and where they come from stands in `minigrad.optim`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from math import isfinite
from typing import Any, TypeAlias

from minigrad import kernels
from minigrad.backend import Array, get_xp
from minigrad.errors import InputError
from minigrad.kernels import Twin
from minigrad.kernels.libraries import on_cupy, why_not_fused

Formula: TypeAlias = Callable[..., tuple[Any, ...]]
"""formula(xp, g, *state, *numbers) -> (u, *new state), on arrays or lanes; xp holds the function sqrt."""

LEAST = 2**14
"""The fused twin is chosen where an array has at least so many elements.

Time of the reference / time of the fused twin for a step of one parameter in float32 whose gradient is scaled, measured
with one thread and AVX-512:

    elements      sgd   momentum   nag   adagrad   adam   rmsprop   adadelta   squares
       6,000      0.4        0.4   0.6       0.7    1.0       0.8        1.1       2
      20,000      0.7        0.7   1.0       1.3    1.4       1.3        1.7       4
     100,000      2.1        0.9   1.7       2.6    2.7       8.1        2.4       6
   2,560,000      2.3        1.8   2.6       4.0    3.6       4.4        4.9      10

For fewer elements the call itself takes longest, 8 us. In float64 the ratios are alike.
"""


def sgd(xp: Any, g: Any, rate: Any) -> tuple[Any, ...]:
    """u = rate g."""
    return (rate * g,)


def momentum(xp: Any, g: Any, v: Any, rate: Any, mu: Any) -> tuple[Any, ...]:
    """v <- mu v + g; u = rate v."""
    v = mu * v + g
    return rate * v, v


def nag(xp: Any, g: Any, v: Any, lr: Any, mu: Any) -> tuple[Any, ...]:
    """v <- mu v - lr g; u = mu v - lr g."""
    step = lr * g
    v = mu * v - step
    return mu * v - step, v


def adagrad(xp: Any, g: Any, G: Any, rate: Any, eps: Any) -> tuple[Any, ...]:
    """G <- G + g^2; u = rate g / (sqrt(G) + eps)."""
    G = G + g * g
    return rate * g / (xp.sqrt(G) + eps), G


def adam(
    xp: Any, g: Any, m: Any, v: Any, rate: Any, b1: Any, c1: Any, b2: Any, c2: Any, bias: Any, eps: Any
) -> tuple[Any, ...]:
    """m <- b1 m + c1 g; v <- b2 v + c2 g^2; u = rate m / (sqrt(v / bias) + eps)."""
    m = b1 * m + c1 * g
    v = b2 * v + c2 * (g * g)
    return rate * m / (xp.sqrt(v / bias) + eps), m, v


def rmsprop(xp: Any, g: Any, r: Any, rate: Any, d: Any, c: Any, eps: Any) -> tuple[Any, ...]:
    """r <- d r + c g^2; u = rate g / sqrt(r + eps)."""
    r = d * r + c * (g * g)
    return rate * g / xp.sqrt(r + eps), r


def adadelta(xp: Any, g: Any, r: Any, s: Any, d: Any, c: Any, eps: Any) -> tuple[Any, ...]:
    """r <- d r + c g^2; u = -g sqrt(s + eps) / sqrt(r + eps); s <- d s + c u^2."""
    r = d * r + c * (g * g)
    u = -g * xp.sqrt(s + eps) / xp.sqrt(r + eps)
    return u, r, d * s + c * (u * u)


def choose(*arrays: Array) -> Twin:
    """As `minigrad.kernels.choose`, but `auto` takes `fused` only where an array has at least LEAST elements, or is on
    a GPU, where every operation that is saved is a launch.

    To be asked once for all parameters: for small arrays the question costs as much as an update.
    """
    auto = os.environ.get("MINIGRAD_KERNELS", "auto") == "auto"
    if not arrays or (auto and all(array.size < LEAST for array in arrays) and not on_cupy(arrays[0])):
        return "reference"
    return kernels.choose(*arrays, kernel="updates")


def step(
    formula: Formula,
    p: Array,
    arrays: tuple[Array, ...],
    numbers: tuple[float, ...],
    twin: Twin,
    before: float | Array = 1.0,
    after: float = 1.0,
) -> tuple[Array, ...]:
    """One parameter after a step of a rule, and what the rule remembers.

    Args:
        formula: one of those above.
        p: the parameter; float (reference: or complex).
        arrays: the gradient and what the rule remembers so far, in the order of the formula; of p's shape and dtype.
        numbers: the formula's other arguments; Python numbers.
        twin: see `choose`.
        before: factor of the gradient; of arrays on a device, a number or 0-d there.
        after: factor of the update.

    Returns:
        New arrays of that shape and dtype: the parameter, and what the rule remembers from now on.

    Raises:
        InputError: if shapes or dtypes do not fit.
        TypeError: if the arrays belong to different libraries or devices.
    """
    if len({array.shape for array in (p, *arrays)}) > 1:
        shapes = ", ".join(str(tuple(array.shape)) for array in (p, *arrays))
        raise InputError(f"{formula.__name__}: parameter, gradient and state differ in shape: {shapes}")
    if twin == "reference":
        g, *state = arrays
        u, *state = formula(get_xp(p, *arrays), scaled(before, g), *state, *numbers)
        return p + (u if after == 1.0 else after * u), *state
    if obstacle := why_not_fused((p, *arrays), "updates"):
        raise InputError(f"{formula.__name__}: {obstacle}; use the reference twin")
    if on_cupy(p):
        from minigrad.kernels.cuda import updates as cuda

        return cuda.step(formula, (p, *arrays), (*numbers, before, after))
    from minigrad.kernels.fused import updates as fused

    return fused.step(formula.__name__, (p, *arrays), (*numbers, before, after))


def scaled(factor: float | Array, g: Array) -> Array:
    """factor g, in the dtype of g; a factor on a device (0-d, any float) is not looked at."""
    if isinstance(factor, float):
        return g if factor == 1.0 else factor * g
    return get_xp(g, factor).astype(factor, g.dtype) * g


def squares(g: Array, twin: Twin) -> Array:
    """The sum of g^2 in float64, where the squares of float32 numbers neither overflow nor vanish.

    Plain array code sums in an order of its own, so the twins may differ in the last bits; on a GPU they are the same.

    Args:
        g: floats, any shape. The reference makes copies in float64, the fused twin none.
        twin: see `choose`.

    Returns:
        0-d (reference) or a number (fused).

    Raises:
        InputError: if the fused twin does not take the array.
    """
    if twin == "reference" or on_cupy(g):
        xp = get_xp(g)
        wide = xp.astype(g, xp.float64)
        return xp.sum(wide * wide)
    if obstacle := why_not_fused((g,), "updates"):
        raise InputError(f"squares: {obstacle}; use the reference twin")
    from minigrad.kernels.fused import updates as fused

    return fused.squares(g)


def finite(g: Array, twin: Twin) -> bool:
    """Whether all elements of g are finite.

    Args:
        g: floats, any shape.
        twin: see `choose`.
    """
    # A sum is finite if all terms are, unless it overflows: then look at every element.
    xp = get_xp(g)
    total = squares(g, twin) if twin == "fused" else xp.sum(g)
    return isfinite(float(total)) or bool(xp.all(xp.isfinite(g)))
