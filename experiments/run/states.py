"""A method's State as named arrays and a JSON tree that puts them together again; no pickle, no imports by name.

array -> {"array": NAME}          (of whatever device: where it is to live, who unpacks it says)
NumPy scalar -> {"scalar": NAME}
float -> {"float": REPR}          (JSON has no NaN, and REPR is exact)
None, bool, int, str -> {"plain": VALUE}
dict -> {"dict": [[KEY, NODE], ...]}    (order matters: sums over a dict follow it)
tuple, list -> {"tuple": [NODE, ...]}, {"list": [NODE, ...]}
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeAlias

import numpy as np

from minigrad.backend import to_device, to_numpy

Node: TypeAlias = dict[str, Any]
"""JSON tree that describes a value."""


def fields_of(state: Any) -> dict[str, Any]:
    """The fields of a State, by name."""
    return {item.name: getattr(state, item.name) for item in fields(state)}


def owned(value: Any) -> Any:
    """The same state with every array laid out row by row, as it will come back from a checkpoint.

    A transposed view holds the same numbers, but a product with it adds them up in another order: without this, a
    resumed run would differ in the last bits. Values that need no change are returned as they are.
    """
    if isinstance(value, np.ndarray):
        return value if value.flags.c_contiguous else np.ascontiguousarray(value)
    if isinstance(value, dict):
        items: Any = {key: owned(item) for key, item in value.items()}
        return value if all(items[key] is item for key, item in value.items()) else items
    if isinstance(value, tuple | list):
        items = type(value)(owned(item) for item in value)
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    if is_dataclass(value) and not isinstance(value, type):
        old = fields_of(value)
        new = owned(old)
        return value if new is old else type(value)(**new)
    flags = getattr(value, "flags", None)  # of a CuPy array
    return value if flags is None or flags.c_contiguous else value.copy(order="C")


@dataclass
class _Packing:
    arrays: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, array: Any) -> str:
        """Store an array under `name`, or under the next free name where two paths spell alike."""
        free, number = name, 1
        while free in self.arrays:
            number += 1
            free = f"{name}~{number}"
        self.arrays[free] = np.ascontiguousarray(to_numpy(array)).reshape(array.shape)
        return free


def pack(value: Any) -> tuple[Node, dict[str, Any]]:
    """A value of nested dicts, tuples and lists as (tree, host arrays by name).

    Raises:
        TypeError: for anything but arrays, numbers, strings and None at the leaves.
    """
    packing = _Packing()
    return _pack(value, "", packing), packing.arrays


def _pack(value: Any, name: str, packing: _Packing) -> Node:
    if isinstance(value, np.generic):
        return {"scalar": packing.add(name, value)}
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return {"array": packing.add(name, value)}
    if isinstance(value, float):
        return {"float": repr(value)}
    if value is None or isinstance(value, bool | int | str):
        return {"plain": value}
    if type(value) is dict:
        return {"dict": [[_key(key), _pack(item, _join(name, key), packing)] for key, item in value.items()]}
    if type(value) in (tuple, list):
        return {type(value).__name__: [_pack(item, _join(name, i), packing) for i, item in enumerate(value)]}
    raise TypeError(
        f"a state holds arrays, numbers, strings, dicts, tuples and lists; {name} is a {type(value).__name__}"
    )


def _key(key: Any) -> str | int:
    if isinstance(key, bool) or not isinstance(key, str | int):
        raise TypeError(f"a dict of a state has strings or integers as keys, not {key!r}")
    return key


def _join(name: str, part: Any) -> str:
    return f"{name}/{part}" if name else str(part)


def unpack(node: Node, arrays: dict[str, Any], device: str) -> Any:
    """The value again, its arrays on `device`.

    Raises:
        KeyError, ValueError, TypeError: if the tree is no tree of `pack`, or names an array that is missing.
    """
    match node:
        case {"array": name}:
            return to_device(arrays[name], device)
        case {"scalar": name}:
            return arrays[name][()]
        case {"float": text}:
            return float(text)
        case {"plain": value}:
            return value
        case {"dict": items}:
            return {key: unpack(item, arrays, device) for key, item in items}
        case {"tuple": items}:
            return tuple(unpack(item, arrays, device) for item in items)
        case {"list": items}:
            return [unpack(item, arrays, device) for item in items]
    raise ValueError(f"no part of a state: {str(node)[:60]}")
