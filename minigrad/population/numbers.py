"""A number of each run, where a config has one."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

ARITHMETIC = {name: getattr(operator, name) for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow")}
"""Operators that have a twin with swapped sides."""

ORDER = {name: getattr(operator, name) for name in ("lt", "le", "gt", "ge")}


class Numbers(float):
    """A number of each run, [R]: a Python number to all that asks, and NaN to what takes it for a single one."""

    values: tuple[float, ...]

    def __new__(cls, values: Iterable[float]) -> Numbers:
        self = super().__new__(cls, "nan")
        self.values = tuple(float(value) for value in values)
        return self

    def __repr__(self) -> str:
        return f"Numbers({self.values})"

    def __bool__(self) -> bool:
        return agreed(bool(value) for value in self.values)

    def __float__(self) -> float:
        raise TypeError(f"there are {len(self.values)} numbers here, one a run")

    def __neg__(self) -> Numbers:
        return Numbers(-value for value in self.values)

    def __eq__(self, other: object) -> bool:
        return all(value == one for value, one in zip(self.values, self._of(other), strict=True))

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.values)

    def _of(self, other: Any) -> tuple[Any, ...]:
        return other.values if type(other) is Numbers else (other,) * len(self.values)

    def _with(self, function: Callable[[Any, Any], Any], other: Any) -> Any:
        if not isinstance(other, int | float):
            return NotImplemented
        return Numbers(function(value, one) for value, one in zip(self.values, self._of(other), strict=True))

    def _ordered(self, function: Callable[[Any, Any], Any], other: Any) -> bool:
        return agreed(function(value, one) for value, one in zip(self.values, self._of(other), strict=True))


def agreed(truths: Iterable[bool]) -> bool:
    """The truth that all runs share.

    Raises:
        TypeError: if they do not.
    """
    found = set(truths)
    if len(found) != 1:
        raise TypeError("the runs of a population do not agree here: what they do must be the same for all")
    return found.pop()


def bind(kind: type, method: str, name: str, function: Callable[[Any, Any], Any], swapped: bool) -> None:
    """Give a class the operator `name` by a method of its own, and where wished the one of swapped sides."""
    setattr(kind, f"__{name}__", lambda self, other: getattr(self, method)(function, other))
    if swapped:
        setattr(kind, f"__r{name}__", lambda self, other: getattr(self, method)(lambda a, b: function(b, a), other))


for _name, _function in ARITHMETIC.items():
    bind(Numbers, "_with", _name, _function, swapped=True)
for _name, _function in ORDER.items():
    bind(Numbers, "_ordered", _name, _function, swapped=False)
