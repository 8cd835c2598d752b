"""The functions of the array API standard that this package calls, for populations over one library."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from minigrad.backend import Array, get_xp
from minigrad.population.arrays import Place, Population, beside, is_population, leading
from minigrad.population.numbers import Numbers

KEPT = 64
"""Arrays of numbers that a library remembers."""

Axes = int | tuple[int, ...] | None


class Library:
    """The functions of the array API standard that this package calls, for populations over one library."""

    def __init__(self, inner: ModuleType) -> None:
        self.inner = inner
        self.__name__ = f"population of {inner.__name__}"
        self.made: dict[tuple[bytes, str, str], Array] = {}

    def __getattr__(self, name: str) -> Any:
        """Number types, and functions of one array, element by element."""
        if name in ("float32", "float64", "int32", "int64", "bool", "isdtype"):
            return getattr(self.inner, name)
        if name in (
            "abs",
            "atanh",
            "exp",
            "isfinite",
            "log",
            "real",
            "sign",
            "sqrt",
            "tanh",
            "zeros_like",
            "ones_like",
        ):
            return self._remember(name, lambda x: Population(getattr(self.inner, name)(x.data)))
        if name in ("sum", "mean", "max", "min", "any", "all"):
            return self._remember(name, functools.partial(self._reduced, name))
        if name in ("maximum", "minimum", "where", "clip"):
            return self._remember(name, functools.partial(self._elementwise, name))
        if name == "einsum" and hasattr(self.inner, name):
            return self._remember(name, self._einsum)
        raise AttributeError(f"{self.__name__} has no {name}")

    def _remember(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        setattr(self, name, function)
        return function

    def _reduced(self, name: str, x: Population, *, axis: Axes = None, keepdims: bool = False, **options: Any) -> Any:
        axes = _shifted(axis, x.ndim)
        if axes == ():  # a single number a run: nothing to reduce
            return x if name not in ("any", "all") else Population(self.inner.astype(x.data, self.inner.bool))
        found = getattr(self.inner, name)(x.data, axis=axes, keepdims=keepdims and axis is not None, **options)
        return Population(
            self.inner.reshape(found, (found.shape[0], *[1] * x.ndim)) if keepdims and axis is None else found
        )

    def _elementwise(self, name: str, *arguments: Any) -> Population:
        first = next(a for a in arguments if is_population(a))
        arguments = tuple(beside(first, a) if type(a) is Numbers else a for a in arguments)
        rank = max(len(a.data.shape) for a in arguments if is_population(a))
        return Population(
            getattr(self.inner, name)(*(leading(a.data, rank) if is_population(a) else a for a in arguments))
        )

    # --- making arrays: the device says how many runs ---

    def zeros(self, shape: int | tuple[int, ...], *, dtype: Any, device: Place) -> Population:
        """Zeros for every run."""
        return Population(self.inner.zeros((device.runs, *_tuple(shape)), dtype=dtype, device=device.inner))

    def ones(self, shape: int | tuple[int, ...], *, dtype: Any, device: Place) -> Population:
        """Ones for every run."""
        return Population(self.inner.ones((device.runs, *_tuple(shape)), dtype=dtype, device=device.inner))

    def full(self, shape: int | tuple[int, ...], value: Any, *, dtype: Any, device: Place) -> Population:
        """One number everywhere."""
        return Population(self.inner.full((device.runs, *_tuple(shape)), value, dtype=dtype, device=device.inner))

    def asarray(self, values: Any, *, dtype: Any = None, device: Place | None = None, copy: bool | None = None) -> Any:
        """A population as it is (copied on demand, or moved); anything else as the same numbers for every run."""
        if is_population(values):
            options = {} if device is None else {"device": device.inner}
            return Population(self.inner.asarray(_raw(values, self.inner), dtype=dtype, copy=copy, **options))
        if device is None:
            raise TypeError("asarray: a device says how many runs there are")
        return self._shared(self.inner.asarray(values, dtype=dtype, device=device.inner), device)

    def _shared(self, one: Array, device: Place) -> Population:
        return Population(self.inner.stack([one] * device.runs))

    def numbers(self, values: Sequence[float], dtype: Any, device: Place) -> Population:
        """A number of each run; those asked for before, such as rates in every step, are there already."""
        there = np.asarray(values)
        key = there.tobytes(), str(dtype), str(device.inner)
        if key not in self.made:
            if len(self.made) >= KEPT:
                self.made.clear()
            self.made[key] = self.inner.asarray(there, dtype=dtype, device=device.inner)
        return Population(self.made[key])

    def arange(self, *bounds: int, dtype: Any = None, device: Place) -> Population:
        """The same integers for every run."""
        return self._shared(self.inner.arange(*bounds, dtype=dtype, device=device.inner), device)

    def eye(self, n: int, *, dtype: Any, device: Place) -> Population:
        """The identity matrix for every run."""
        return self._shared(self.inner.eye(n, dtype=dtype, device=device.inner), device)

    # --- shapes ---

    def astype(self, x: Population, dtype: Any, **options: Any) -> Population:
        """The same numbers in another type."""
        return Population(self.inner.astype(x.data, dtype, **options))

    def reshape(self, x: Population, shape: int | tuple[int, ...]) -> Population:
        """The same elements in another shape."""
        return Population(self.inner.reshape(x.data, (x.data.shape[0], *_tuple(shape))))

    def broadcast_to(self, x: Population, shape: tuple[int, ...]) -> Population:
        """Repeated along axes of one element."""
        return Population(self.inner.broadcast_to(leading(x.data, len(shape) + 1), (x.data.shape[0], *shape)))

    def permute_dims(self, x: Population, axes: tuple[int, ...]) -> Population:
        """The axes in another order."""
        return Population(self.inner.permute_dims(x.data, (0, *(a % x.ndim + 1 for a in axes))))

    def moveaxis(self, x: Population, source: int, destination: int) -> Population:
        """One axis elsewhere."""
        return Population(self.inner.moveaxis(x.data, source % x.ndim + 1, destination % x.ndim + 1))

    def matrix_transpose(self, x: Population) -> Population:
        """The last two axes swapped."""
        return Population(self.inner.matrix_transpose(x.data))

    def concat(self, arrays: Sequence[Population], *, axis: int = 0) -> Population:
        """One after the other along an axis."""
        return Population(self.inner.concat([a.data for a in arrays], axis=_shifted(axis, 0)))

    def stack(self, arrays: Sequence[Population], *, axis: int = 0) -> Population:
        """Side by side along a new axis."""
        return Population(self.inner.stack([a.data for a in arrays], axis=_shifted(axis, 0)))

    # --- choosing ---

    def argmax(self, x: Population, *, axis: int) -> Population:
        """Where the largest element stands along an axis."""
        return Population(self.inner.argmax(x.data, axis=_shifted(axis, x.ndim)))

    def take_along_axis(self, x: Population, ids: Population, *, axis: int) -> Population:
        """Elements at ids along an axis."""
        return Population(self.inner.take_along_axis(x.data, ids.data, axis=_shifted(axis, x.ndim)))

    def take(self, x: Population, ids: Population, *, axis: int) -> Population:
        """Slices at ids [N] along an axis, which may differ between runs."""
        xp, rows = self.inner, x if axis % x.ndim == 0 else self.moveaxis(x, axis, 0)
        R, V, *rest = rows.data.shape
        offsets = xp.arange(R, dtype=ids.dtype, device=ids.data.device)[:, None] * V
        found = xp.take(xp.reshape(rows.data, (R * V, *rest)), xp.reshape(ids.data + offsets, (-1,)), axis=0)
        taken = Population(xp.reshape(found, (R, *ids.shape, *rest)))
        return taken if axis % x.ndim == 0 else self.moveaxis(taken, 0, axis)

    def _einsum(self, subscripts: str, *arrays: Population, optimize: bool = True) -> Population:
        """The runs are one more index of all."""
        terms, answer = subscripts.split("->")
        terms = ",".join(f"R{term}" for term in terms.split(","))
        return Population(self.inner.einsum(f"{terms}->R{answer}", *(a.data for a in arrays), optimize=optimize))


@functools.cache
def library(inner: ModuleType) -> Library:
    """The library of populations over another library: one for each, so that populations know their own kind."""
    return Library(inner)


def _shifted(axis: Axes, ndim: int) -> Axes:
    """An axis or axes of one run's array as those of the data; None as all but that of runs."""
    if axis is None:
        return tuple(range(1, ndim + 1))
    if isinstance(axis, int):
        return axis + 1 if axis >= 0 else axis
    return tuple(a + 1 if a >= 0 else a for a in axis)


def _tuple(shape: int | Iterable[int]) -> tuple[int, ...]:
    return (shape,) if isinstance(shape, int) else tuple(shape)


def _raw(values: Population, inner: ModuleType) -> Array:
    """The data, taken to the host where it lives in another library than wished: from there it moves."""
    return values.data if get_xp(values.data) is inner else values.get()
