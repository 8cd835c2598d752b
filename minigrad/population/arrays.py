"""The arrays of several runs in one."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from minigrad.backend import Array, get_xp, to_numpy
from minigrad.errors import InputError
from minigrad.population.numbers import ARITHMETIC, ORDER, Numbers, agreed, bind


def stack(arrays: Sequence[Array]) -> Population:
    """One population of the arrays of R runs, equal in shape, dtype, library and device.

    Raises:
        InputError: without a single array, or if shapes or dtypes differ.
        TypeError: if the arrays belong to different libraries or devices.
    """
    kinds = {(tuple(a.shape), str(a.dtype)) for a in arrays}
    if len(kinds) != 1:
        found = " and ".join(f"{shape} {dtype}" for shape, dtype in sorted(kinds)) or "none at all"
        raise InputError(f"a population is made of arrays of one shape and dtype, got {found}")
    return Population(get_xp(*arrays).stack(list(arrays)))


def split(array: Population) -> list[Array]:
    """The array of each run, in order."""
    return [array.data[r, ...] for r in range(array.device.runs)]


def is_population(array: Any) -> bool:
    """Whether an array holds those of several runs."""
    return type(array) is Population


@dataclass(frozen=True)
class Place:
    """Where a population array lives: how many runs, and the device of its library."""

    runs: int
    inner: Any

    def __str__(self) -> str:
        return f"{self.inner}, {self.runs} runs"


class Population:
    """The arrays of R runs: `data` [R, ...]; everything else is as of the array of one run."""

    __slots__ = ("data",)
    __array_ufunc__ = None  # NumPy then leaves `array * population` to this class

    def __init__(self, data: Array) -> None:
        self.data = data

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        from minigrad.population.library import library

        return library(get_xp(self.data))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one run's array."""
        return tuple(self.data.shape[1:])

    @property
    def ndim(self) -> int:
        """Number of axes of one run's array."""
        return len(self.data.shape) - 1

    @property
    def size(self) -> int:
        """Number of elements of one run's array."""
        return prod(self.shape)

    @property
    def dtype(self) -> Any:
        """Number type, in the words of the library within."""
        return self.data.dtype

    @property
    def device(self) -> Place:
        """How many runs, and where."""
        return Place(self.data.shape[0], self.data.device)

    @property
    def nbytes(self) -> int:
        """Bytes of one run's array."""
        size: int = self.data.nbytes // self.data.shape[0]
        return size

    @property
    def T(self) -> Population:
        """The transpose of a matrix."""
        return Population(get_xp(self.data).matrix_transpose(self.data))

    def get(self) -> Any:
        """A copy on the host: NumPy [R, ...]."""
        return to_numpy(self.data)

    def __len__(self) -> int:
        return self.shape[0]

    def __bool__(self) -> bool:
        return agreed(bool(truth) for truth in split(self))

    def __float__(self) -> float:
        raise TypeError(f"a population holds {self.device.runs} numbers here: use split or .get()")

    def __repr__(self) -> str:
        return f"Population({self.device.runs} of {self.shape}, {self.data!r})"

    def __getitem__(self, key: Any) -> Population:
        return Population(self.data[_key(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        if is_population(value):
            value = leading(value.data, len(self.data[_key(key)].shape))
        self.data[_key(key)] = value

    def __neg__(self) -> Population:
        return Population(-self.data)

    def __invert__(self) -> Population:
        return Population(~self.data)

    def __matmul__(self, other: Population) -> Population:
        a, b = self.data, other.data
        row, column = self.ndim == 1, other.ndim == 1
        a, b = a[:, None, :] if row else a, b[:, :, None] if column else b
        rank = max(len(a.shape), len(b.shape))
        product = leading(a, rank) @ leading(b, rank)
        product = product[..., 0] if column else product
        return Population(product[..., 0, :] if row and not column else product[..., 0] if row else product)

    def __iadd__(self, other: Any) -> Population:
        other = beside(self, other) if type(other) is Numbers else other
        self.data += leading(other.data, len(self.data.shape)) if is_population(other) else other
        return self

    def _with(self, function: Callable[[Any, Any], Any], other: Any) -> Any:
        if type(other) is Numbers:
            other = beside(self, other)
        if is_population(other):
            rank = max(len(self.data.shape), len(other.data.shape))
            return Population(function(leading(self.data, rank), leading(other.data, rank)))
        return Population(function(self.data, other)) if isinstance(other, int | float | complex) else NotImplemented


for _name, _function in ARITHMETIC.items():
    bind(Population, "_with", _name, _function, swapped=True)
for _name, _function in {"and": operator.and_, "or": operator.or_}.items():
    bind(Population, "_with", _name, _function, swapped=True)
for _name, _function in {**ORDER, "eq": operator.eq, "ne": operator.ne}.items():
    bind(Population, "_with", _name, _function, swapped=False)
Population.__hash__ = None  # type: ignore[assignment]  # as of any array


def beside(array: Population, numbers: Numbers) -> Population:
    """Numbers as arrays without axes, in the type and at the place of another population."""
    found: Population = array.__array_namespace__().numbers(numbers.values, array.dtype, array.device)
    return found


def leading(data: Array, rank: int) -> Array:
    """[R, ...] with axes of one element after the runs, so that it broadcasts as the arrays of its runs would."""
    missing = rank - len(data.shape)
    if not missing:
        return data
    return get_xp(data).reshape(data, (data.shape[0], *[1] * missing, *data.shape[1:]))


def _key(key: Any) -> tuple[Any, ...]:
    """Integers, slices, ... and None read the same of every run; ids that differ between runs are for `take`."""
    key = key if type(key) is tuple else (key,)
    if any(is_population(part) for part in key):
        raise TypeError("a population is read at integers and slices, the same for all runs; at ids with xp.take")
    return (slice(None), *key)
