"""Graphs of awkward shapes: deep ones, nodes used many times, and what the walk back leaves alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.testing import assert_array_equal

from minigrad import ops, tape
from minigrad.tape import Tape, operation
from tests.minigrad.small_arrays import fresh


def test_depth_has_no_limit() -> None:
    depth = 20_000
    with Tape() as t:
        x = y = t.watch(np.array(1.0))
        for _ in range(depth):
            y = y + 1.0
    assert y.value == depth + 1
    assert t.gradient(y, x) == 1
    del t, x, y  # letting go of it must not recurse either


def test_a_node_counts_once_per_use() -> None:
    with Tape() as t:
        a = t.watch(np.array(3.0))
        b = a + a  # both arguments are one node
        c = b * b * b
        d = c + b + a
    assert t.gradient(d, a) == 3 * b.value**2 * 2 + 2 + 1
    assert t.gradient(c, b) == 3 * b.value**2
    with Tape() as t:
        a, b = t.watch([np.array(-2.0), np.array(3.0)])
        d = a * b
        e = a + b
        f = d * e
    assert t.gradient(f, [a, b]) == [-3, -8]


def test_a_ladder_of_shared_nodes_is_walked_once() -> None:
    """2^60 paths lead down, 60 operations are walked."""
    calls = []

    @operation
    def double(x: Any, y: Any, /) -> tape.Forward:
        return x + y, ()

    @double.vjp
    def _(g: Any, needs: Any) -> Any:
        calls.append(1)
        return g, g

    with Tape() as t:
        x = y = t.watch(np.array(1.0))
        for _ in range(60):
            y = double(y, y)
    assert t.gradient(y, x) == 2.0**60
    assert len(calls) == 60


def test_only_what_lies_between_is_walked() -> None:
    called = []

    @operation
    def watched(x: Any, /, name: str) -> tape.Forward:
        return x * 1, (name,)

    @watched.vjp
    def _(g: Any, needs: Any, name: str) -> Any:
        called.append(name)
        return (g,)

    with Tape() as t:
        x, w = t.watch([np.array(1.0), np.array(1.0)])
        before = watched(x, name="before")
        y = watched(before, name="between") * watched(w, name="beside")
        watched(y, name="after")
    t.gradient(y, before)
    assert called == ["between"]


def test_what_is_kept_is_not_shared_between_gradients() -> None:
    """Sums of gradients go into buffers of their own: neither the seed nor another gradient is changed."""
    seed = np.ones(3)
    with Tape() as t:
        x = t.watch(fresh())
        y = x + 0.0
        z = y + y + y + x  # seed, y's and x's gradients begin as one array
    g_z, g_y, g_x = t.gradient(z, [z, y, x], seed=seed)
    assert_array_equal(seed, np.ones(3))
    assert_array_equal(g_z, np.ones(3))
    assert_array_equal(g_y, np.full(3, 3.0))
    assert_array_equal(g_x, np.full(3, 4.0))
    with Tape() as t:
        x = t.watch(fresh())
        y = x * 1.0
        z = ops.concatenate([y, y[1:], y[:2], y])
    g_y, g_x = t.gradient(z, [y, x], seed=np.arange(10.0))
    assert_array_equal(g_y, [0 + 5 + 7, 1 + 3 + 6 + 8, 2 + 4 + 9])
    assert_array_equal(g_x, g_y)
    seed = np.ones(3)
    with Tape() as t:
        x = t.watch(fresh())
        part = x[1:]
        z = x + ops.concatenate([part, part[:1]])  # a slice falls into what is the seed so far
    g_x, g_z = t.gradient(z, [x, z], seed=seed)
    assert_array_equal(g_x, [1, 3, 2])
    assert_array_equal(g_z, np.ones(3))
    assert_array_equal(seed, np.ones(3))


def test_sums_of_gradients_allocate_once() -> None:
    """A node used n times: the first gradient is taken as it is, the second allocates, the rest is added in place."""
    calls = []

    class Counting(np.ndarray):
        """An array that tells how it is added to."""

        def __add__(self, other: Any) -> Any:
            calls.append("new")
            return super().__add__(other)

        def __iadd__(self, other: Any) -> Any:
            calls.append("in place")
            return super().__iadd__(other)

    with Tape() as t:
        x = t.watch(fresh())
        y = ops.concatenate([x] * 5)
    assert_array_equal(t.gradient(y, x, seed=np.ones(15).view(Counting)), np.full(3, 5.0))
    assert calls == ["new", "in place", "in place", "in place"]
