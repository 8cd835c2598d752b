"""Rows of a batch, or whatever else does not depend on each other, shared out among threads.

A row's states do not depend on other rows, so threads meet only at the end of a sequence. The gradients of the weights
are sums over rows: every thread has a sum of its own, and these are added in the order of the rows, so that the same
number of threads gives the same bits every time (and another number other last bits).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from minigrad.errors import InputError

Found = TypeVar("Found")

ALONE = 4e7
"""Work of fewer floating-point operations of products than this, 0.2 ms, is done sooner by one thread than shared out:
others wake up first, and each has the weights to pack and a sum of its own."""


def wished() -> int:
    """The number of threads that the environment variable MINIGRAD_THREADS asks for; 1 without it.

    Raises:
        InputError: if it is no number above 0.
    """
    wish = os.environ.get("MINIGRAD_THREADS", "1")
    if not (wish.isascii() and wish.isdigit() and int(wish) > 0):
        raise InputError(f"MINIGRAD_THREADS={wish!r} is no number of threads: use 1, 2, ...")
    return int(wish)


def share(rows: int, flop: float, work: Callable[[int, int], Found]) -> list[Found]:
    """What work(first, last) returns for ranges of rows that together are all rows, in their order.

    Args:
        rows: how many there are, at least 1.
        flop: floating-point operations of products that all rows take, or that would take as long.
        work: does rows first to last - 1; it must not touch what other rows are made of, and should release the
            interpreter.
    """
    count = min(wished(), rows) if flop > ALONE else 1
    ranges = [(rows * i // count, rows * (i + 1) // count) for i in range(count)]
    others = [_pool(count - 1).submit(work, *each) for each in ranges[1:]]
    return [work(*ranges[0]), *(other.result() for other in others)]


def added(parts: list[Any]) -> Any:
    """The sum of arrays, in their order, in the place of the first."""
    total, *others = parts
    for part in others:
        total += part
    return total


@functools.cache
def _pool(size: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(size, thread_name_prefix="minigrad")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked child has the pool's memory, but not its threads
