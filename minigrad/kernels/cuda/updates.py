"""The update rules by CUDA: one launch a parameter; the formulas are those of `minigrad.kernels.updates`.

A formula is evaluated on pieces of text, which makes it a line of C. Nothing is contracted into multiply-adds, so each
operation is rounded once, as on the host.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from minigrad.backend import Array, get_xp
from minigrad.kernels.updates import Formula
from minigrad.population import Numbers, Population, is_population
from minigrad.population.arrays import beside

TYPES = {"float32": "float", "float64": "double"}
"""Number types, and their names in C."""


class _Text:
    """A number of a formula, as a piece of C."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __neg__(self) -> _Text:
        return _Text(f"(-{self.text})")

    def __add__(self, other: _Text) -> _Text:
        return _Text(f"({self.text} + {other.text})")

    def __sub__(self, other: _Text) -> _Text:
        return _Text(f"({self.text} - {other.text})")

    def __mul__(self, other: _Text) -> _Text:
        return _Text(f"({self.text} * {other.text})")

    def __truediv__(self, other: _Text) -> _Text:
        return _Text(f"({self.text} / {other.text})")

    @staticmethod
    def sqrt(a: _Text) -> _Text:
        """The square root."""
        return _Text(f"sqrt({a.text})")


@dataclass(frozen=True)
class Elementwise:
    """A function of elements, as `cupy.ElementwiseKernel` takes one."""

    name: str
    dtype: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operation: str
    """Lines of C that compute the outputs from the inputs."""


@functools.cache
def rule(formula: Formula, states: int, numbers: int, dtype: str) -> Elementwise:
    """A step of an update rule, see `minigrad.kernels.updates`.

    Args:
        formula: one of those there.
        states: arrays that it remembers.
        numbers: how many numbers it takes.
        dtype: float32 or float64.
    """
    state, given = [f"s{i}" for i in range(states)], [f"n{i}" for i in range(numbers)]
    u, *new = formula(_Text, *map(_Text, ["scaled", *state, *given]))
    lines = [
        f"const {TYPES[dtype]} scaled = before * g;",
        f"p_new = p + after * {u.text};",
        *(f"{name}_new = {found.text};" for name, found in zip(state, new, strict=True)),
    ]
    outputs = ("p_new", *(f"{name}_new" for name in state))
    return Elementwise(formula.__name__, dtype, ("p", "g", *state, *given, "before", "after"), outputs, " ".join(lines))


@functools.cache
def by_cupy(function: Elementwise) -> Callable[..., Any]:
    """The function, of arrays that broadcast and numbers; CuPy compiles it at its first call."""
    import cupy

    inputs, outputs = (
        ", ".join(f"{function.dtype} {name}" for name in names) for names in (function.inputs, function.outputs)
    )
    options = ("--fmad=false",)
    made: Callable[..., Any] = cupy.ElementwiseKernel(
        inputs, outputs, function.operation, function.name, options=options
    )
    return made


def step(
    formula: Formula,
    arrays: Sequence[Array],
    numbers: Sequence[float | Array],
) -> tuple[Array, ...]:
    """`minigrad.kernels.updates.step` for checked arrays of CuPy: parameter, gradient, state; or for populations.

    Args:
        formula: see `rule`.
        arrays: parameter, gradient and what the rule remembers.
        numbers: the formula's numbers, the factor of the gradient and that of the update; numbers or 0-d arrays.
    """
    p = arrays[0]
    function = rule(formula, len(arrays) - 2, len(numbers) - 2, str(p.dtype))
    found = by_cupy(function)(*map(_data, arrays), *(_number(number, p) for number in numbers))
    new = found if isinstance(found, tuple) else (found,)
    return tuple(Population(array) for array in new) if is_population(p) else tuple(new)


def _data(array: Array) -> Array:
    return array.data if is_population(array) else array


def _number(number: float | Array, p: Array) -> Any:
    """A number beside a parameter: of a population, one for each run, which broadcasts along its axes."""
    if type(number) is Numbers:
        number = beside(p, number)
    if isinstance(number, float | int):
        return float(number)
    xp, data = get_xp(_data(p)), _data(number)
    data = xp.astype(data, p.dtype, copy=False)
    return xp.reshape(data, (data.shape[0], *[1] * p.ndim)) if is_population(number) else data
