"""A gradient checker for operations and for whole losses.

Where a function is analytic, its derivative is the imaginary part of f(x + i e) / e with e = 1e-20: exact to rounding,
for nothing is subtracted. Elsewhere (absolute values, maxima, comparisons) central differences with two steps h and
h/2 are extrapolated (Richardson). The slopes ahead and behind differ by h f'' where a function is smooth, so half the
step must halve the difference: where it does not, the function has no derivative there, and the answer says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from minigrad.backend import Array
from minigrad.tape import Tape, Tensor

COMPLEX_STEP = 1e-20
COMPLEX_TOLERANCE = 1e-10
CENTRAL_STEP = 1e-3
CENTRAL_TOLERANCE = 1e-6
SMOOTH = 1e-6


class GradientError(AssertionError):
    """A gradient differs from the numerical one."""


def check_gradient(
    function: Callable[..., Array],
    *arrays: Array,
    analytic: bool = True,
    rtol: float | None = None,
    directions: int = 64,
    seed: int = 0,
) -> None:
    """Compare the tape's gradient of a function with a numerical derivative.

    The value is contracted with random numbers; then every element of every argument is moved if there are at most
    `directions` of them, otherwise as many random directions of length one are taken.

    Args:
        function: of as many arguments as `arrays`, made of minigrad operations; returns one array.
        arrays: float64 NumPy arrays.
        analytic: whether complex numbers may be sent through (complex step); otherwise central differences.
        rtol: largest |difference| / max(1, |derivative|) (default: 1e-10 by complex step, 1e-6 by differences).
        directions: how many derivatives at most.
        seed: of the random numbers.

    Raises:
        GradientError: naming argument, element and both numbers.
        TypeError: if an argument is no float64 NumPy array.
    """
    for array in arrays:
        if not isinstance(array, np.ndarray) or array.dtype != np.float64:
            raise TypeError("check_gradient works on float64 NumPy arrays")
    rng = np.random.Generator(np.random.Philox(seed))
    with Tape() as tape:
        watched = tape.watch([array.copy() for array in arrays])
        y = function(*watched)
    if not isinstance(y, Tensor):
        raise GradientError("the value does not depend on the arguments")
    cotangent = np.asarray(rng.standard_normal(y.shape))
    found = tape.gradient(y, watched, seed=cotangent)

    def contracted(*moved: Array) -> complex:
        value = np.asarray(function(*moved))
        if value.shape != cotangent.shape:
            raise GradientError(f"the value's shape changes: {cotangent.shape} with a tape, {value.shape} without")
        return complex(np.sum(value * cotangent))

    tolerance = rtol if rtol is not None else COMPLEX_TOLERANCE if analytic else CENTRAL_TOLERANCE
    for where, direction in _directions(arrays, directions, rng):
        expected = (_complex_step if analytic else _central)(contracted, arrays, direction, where)
        got = float(sum(np.sum(g * d) for g, d in zip(found, direction, strict=True)))
        if not abs(got - expected) <= tolerance * max(1.0, abs(expected)):
            raise GradientError(f"{where}: the gradient says {got:.15g}, the numbers say {expected:.15g}")


def _directions(arrays: tuple[Array, ...], most: int, rng: np.random.Generator) -> Iterator[tuple[str, list[Array]]]:
    if sum(a.size for a in arrays) > most:
        for i in range(most):
            direction = [np.asarray(rng.standard_normal(a.shape)) for a in arrays]
            length = np.sqrt(sum(np.sum(d * d) for d in direction))
            yield f"random direction {i}", [d / length for d in direction]
        return
    for i, array in enumerate(arrays):
        for index in np.ndindex(array.shape):
            direction = [np.zeros(a.shape) for a in arrays]
            direction[i][index] = 1.0
            yield f"argument {i} at {index}", direction


def _complex_step(f: Callable[..., complex], arrays: tuple[Array, ...], direction: list[Array], where: str) -> float:
    moved = [a + 1j * COMPLEX_STEP * d for a, d in zip(arrays, direction, strict=True)]
    return f(*moved).imag / COMPLEX_STEP


def _central(f: Callable[..., complex], arrays: tuple[Array, ...], direction: list[Array], where: str) -> float:
    here = f(*arrays).real

    def slope(h: float) -> float:
        return (f(*[a + h * d for a, d in zip(arrays, direction, strict=True)]).real - here) / h

    ahead, behind = slope(CENTRAL_STEP), slope(-CENTRAL_STEP)
    ahead_half, behind_half = slope(CENTRAL_STEP / 2), slope(-CENTRAL_STEP / 2)
    bend, bend_half = ahead - behind, ahead_half - behind_half
    if not abs(2 * bend_half - bend) <= 0.01 * abs(bend) + SMOOTH * max(1.0, abs(ahead_half)):
        raise GradientError(
            f"{where}: not differentiable here (slopes {behind_half:.6g} behind, {ahead_half:.6g} ahead)"
        )
    return (4 * (ahead_half + behind_half) - (ahead + behind)) / 6
