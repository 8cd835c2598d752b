"""The training methods, one a file, and the registry that finds them by name.

Adding a method is a file with `Config`, `State`, `init`, `step` and `METHODS`, and its name in the table below.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from minigrad.errors import InputError, unknown

if TYPE_CHECKING:
    from algorithms.protocol import Method

_HOMES = {
    "bptt": "bptt",
    "btprop": "btprop",
    "btprop-batch": "btprop_batch",
    "fptt": "fptt",
    "tptt": "tptt",
    "tptthx": "tptt",
}
"""Every method by its name, and the file that defines it: methods are known without importing one."""


def names() -> list[str]:
    """The names of all methods."""
    return list(_HOMES)


def method(name: str) -> Method:
    """The method of a name.

    Raises:
        InputError: for an unknown name; says what is close, and what there is.
    """
    if name not in _HOMES:
        raise InputError(unknown("method", name, names()))
    found: Method = import_module(f"algorithms.{_HOMES[name]}").METHODS[name]
    return found
