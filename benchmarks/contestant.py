"""What a contestant is: for every work that it knows, a function from inputs to a job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeAlias

from minigrad.errors import InputError

Arrays: TypeAlias = dict[str, Any]
"""NumPy arrays by name."""
Inputs: TypeAlias = dict[str, Any]
"""What a job starts from: arrays, dicts of arrays, and numbers, by name. Nothing in it may be written to."""


@dataclass(frozen=True)
class Job:
    """A piece of work, ready to be done again and again."""

    call: Callable[[], Any]
    """Does it once, and returns when it is done. A job that trains goes on from where the call before ended."""
    answer: Callable[[Any], Arrays]
    """The numbers in what the first call returned, under names and in shapes that all contestants share."""


Table: TypeAlias = Mapping[str, Callable[[Inputs], Job]]
"""By work."""


def load(name: str) -> Table:
    """The table of `ours` or of a peer.

    Raises:
        InputError: if the peer's package cannot be imported.
    """
    try:
        table: Table = import_module(f"benchmarks.{name if name == 'ours' else f'with_{name}'}").JOBS
    except ImportError as error:
        raise InputError(f"{name} cannot be imported ({error}): pip install '.[bench]'") from error
    return table
