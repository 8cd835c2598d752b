"""What a tape costs: arrays that a walk back makes, bytes that are kept, and when they are let go."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from minigrad import ops
from minigrad.tape import Stats, Tape
from tests.minigrad.small_arrays import fresh
from tests.minigrad.strategies import random_arrays, strict


@pytest.fixture
def arrays_made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of all the arrays of zeros, and of all the copies, that are made."""
    made: list[int] = []

    def counting(make: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            array = make(*args, **kwargs)
            made.append(array.size)
            return array

        return counted

    for name in ("zeros", "zeros_like", "asarray"):
        monkeypatch.setattr(np, name, counting(getattr(np, name)))
    return made


@pytest.mark.parametrize("T", [10, 100])
def test_slices_in_a_loop_cost_one_array(T: int, arrays_made: list[int]) -> None:
    """T slices of a [T, 4] tensor: their gradients fall into one array, not into T of its size."""
    (array,) = random_arrays([(T, 4)])
    with Tape() as t:
        x = t.watch(array)
        h: Any = np.ones(4)
        for i in range(T):
            h = ops.tanh(h * x[i])
        y = ops.sum(h)
    kept = t.stats().bytes_kept
    arrays_made.clear()
    g = t.gradient(y, x)
    assert arrays_made == [T * 4]
    assert kept <= 3 * T * 4 * 8  # h, x_t and tanh of each step
    with Tape() as t:
        x = t.watch(array)
        h = np.ones(4)
        for x_i in ops.unstack(x):
            h = ops.tanh(h * x_i)
        y = ops.sum(h)
    arrays_made.clear()
    assert_array_equal(t.gradient(y, x), g)
    assert sum(arrays_made) <= 4  # the slice of zeros that would stand in for an unused one


def test_memory_of_a_backward_pass_does_not_grow_with_the_square() -> None:
    def peak(T: int) -> int:
        with Tape() as t:
            x = t.watch(np.ones((T, 100)))
            y: Any = np.zeros(100)
            for i in range(T):
                y = y + x[i] * 2.0
            y = ops.sum(y)
        tracemalloc.start()
        t.gradient(y, x)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)
    assert peak(400) < 8 * peak(100)  # 16 times, if every slice cost an array of its own


def test_gradients_are_let_go_as_the_walk_goes() -> None:
    """A chain of 200 operations on 80 kB needs a few arrays backwards, not 200."""
    with Tape() as t:
        x = y = t.watch(np.ones(10_000))
        for _ in range(200):
            y = y * 1.01
    seed = np.ones(10_000)
    tracemalloc.start()
    t.gradient(y, x, seed=seed)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 6 * 80_000


def test_stats_count_what_is_kept_and_nothing_else() -> None:
    x_array, constant = np.ones((4, 5)), np.ones((4, 5))
    with Tape() as t:
        x = t.watch(x_array)
        assert t.stats() == Stats(0, 0, {})
        y = ops.tanh(x)  # keeps its value
        assert t.stats() == Stats(1, 160, {"tanh": 160})
        z = y + x  # keeps nothing
        assert t.stats() == Stats(2, 160, {"tanh": 160})
        z = z * y  # keeps both: z is new, y is counted already
        assert t.stats() == Stats(3, 320, {"tanh": 160, "multiply": 160})
        z = z * x * constant  # x is watched; the product before and the constant are new
        assert t.stats().by_operation == {"tanh": 160, "multiply": 160 + 160 + 160 + 160}
        ops.sum(z)
    assert t.stats().bytes_kept == 5 * 160
    assert t.stats().operations == 6


def test_a_view_counts_as_the_buffer_it_holds() -> None:
    with Tape() as t:
        x = t.watch(np.ones((4, 5)))
        y = ops.exp(x)
        ops.transpose(y)[1:3] * ops.reshape(y, (2, 10))[:, :4]
    assert t.stats().by_operation == {"exp": 160}


def test_sums_of_products_are_counted() -> None:
    with Tape() as t:
        x = t.watch(np.ones((4, 5)))
        ops.einsum("ij,jk->ik", ops.exp(x), np.ones((5, 2)))
    assert t.stats().by_operation == {"exp": 160, "einsum": 80}


def test_other_libraries_are_counted_alike() -> None:
    def record(array: Any) -> Stats:
        with Tape() as t:
            x = t.watch(array)
            y = ops.tanh(ops.getitem(ops.exp(x), (slice(0, 2), ...)))
            ops.multiply(y, ops.getitem(y, (0, ...)))
        return t.stats()

    assert record(strict(np.ones((4, 5)))) == record(np.ones((4, 5)))


def test_a_tape_over_one_part_keeps_one_part() -> None:
    """A sequence cut into K parts with a tape each: no tape holds more than 1/K of what one tape would."""
    T, K, B, H = 60, 6, 4, 16
    x, W = random_arrays([(T, B, H), (H, H)])
    W *= 0.1

    def states(t: Tape, part: Any, h: Any) -> Any:
        w = t.watch(W)
        for x_t in ops.unstack(part):
            h = ops.tanh(ops.add(x_t, ops.matmul(h, w)))
        return h

    with Tape() as whole:
        h = states(whole, x, np.zeros((B, H)))
    held, carried = [], np.zeros((B, H))
    for part in np.split(x, K):
        with Tape() as t:
            carried = states(t, part, carried).value
        held.append(t.stats().bytes_kept)
    assert_array_equal(carried, h.value)
    assert whole.stats().bytes_kept == (T + 1) * B * H * 8
    assert set(held) == {(T // K + 1) * B * H * 8}


def test_memory_is_released_with_the_tape() -> None:
    class Marked(np.ndarray):
        """An array that can be told from all others."""

    def run() -> weakref.ref[Any]:
        kept = np.ones(3).view(Marked)
        with Tape() as t:
            x = t.watch(fresh())
            y = ops.sum(x * kept)
        t.gradient(y, x)
        return weakref.ref(kept)

    gc.disable()  # no cycles: reference counts suffice
    try:
        kept = run()
        assert kept() is None
    finally:
        gc.enable()
