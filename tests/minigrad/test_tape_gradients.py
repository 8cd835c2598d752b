"""Gradients of a tape: sources and targets of any structure, seeds, and what has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from minigrad import ops
from minigrad.tape import Tape, Tensor
from tests.minigrad.small_arrays import X, fresh
from tests.minigrad.strategies import strict

# --- structures ---


class Pair(NamedTuple):
    """A tuple whose type takes its parts one by one."""

    a: Any
    b: Any


@pytest.mark.parametrize(
    "structure",
    [
        lambda a, b: a,
        lambda a, b: [a, b],
        lambda a, b: (a, b),
        lambda a, b: Pair(a, b),
        lambda a, b: {"a": a, "b": b},
        lambda a, b: {"layers": [{"W": a}, (b, [a])], "none": {}, "empty": ()},
    ],
    ids=["array", "list", "tuple", "named tuple", "dict", "nested"],
)
def test_gradients_have_the_structure_of_the_sources(structure: Callable[[Any, Any], Any]) -> None:
    arrays = structure(fresh(), fresh())
    with Tape() as t:
        watched = t.watch(arrays)
        total = ops.sum(np.zeros(1))
        for tensor in leaves(watched):
            total = total + ops.sum(tensor * tensor)
    found = t.gradient(total, watched)
    assert shape_of(found) == shape_of(arrays)
    for tensor, g in zip(leaves(watched), leaves(found), strict=True):
        assert type(tensor) is Tensor
        assert_array_equal(g, 2 * X)


def leaves(tree: Any) -> list[Any]:
    """The leaves from left to right."""
    if isinstance(tree, dict | list | tuple):
        return [leaf for part in (tree.values() if isinstance(tree, dict) else tree) for leaf in leaves(part)]
    return [tree]


def shape_of(tree: Any) -> Any:
    """The structure without its leaves."""
    if isinstance(tree, dict):
        return {name: shape_of(part) for name, part in tree.items()}
    return (type(tree), [shape_of(part) for part in tree]) if isinstance(tree, list | tuple) else "leaf"


def test_one_array_watched_twice_is_two_sources() -> None:
    x = fresh()
    with Tape() as t:
        a, b = t.watch([x, x])
        y = ops.sum(a * a * b)
    assert_array_equal(t.gradient(y, [a, b]), [2 * X * X, X * X])


def test_a_tensor_can_be_watched_again() -> None:
    """Watching a tensor starts anew from its value: nothing flows through."""
    with Tape() as t:
        x = t.watch(fresh())
        again = t.watch(x * 2)
        y = ops.sum(again * again)
    assert_array_equal(t.gradient(y, again), 4 * X)
    assert_array_equal(t.gradient(y, x), np.zeros(3))


# --- sources and targets ---


def test_intermediate_tensors_are_sources_too() -> None:
    with Tape() as t:
        x = t.watch(fresh())
        y = x * x
        z = y * y
        s = ops.sum(z)
    assert_array_equal(t.gradient(s, z), np.ones(3))
    assert_array_equal(t.gradient(s, y), 2 * X**2)
    assert_array_equal(t.gradient(s, x), 4 * X**3)
    together = t.gradient(s, {"x": x, "y": y, "z": z, "s": s})
    assert_array_equal(together["x"], 4 * X**3)
    assert_array_equal(together["y"], 2 * X**2)
    assert_array_equal(together["z"], np.ones(3))
    assert together["s"] == 1


def test_one_of_several_results_is_a_source() -> None:
    with Tape() as t:
        x = t.watch(fresh())
        a, b, c = ops.unstack(x)
        y = a * b * b
    g_a, g_b, g_c, g_x = t.gradient(y, [a, b, c, x])
    assert (g_a, g_b, g_c) == (4, 4, 0)
    assert_array_equal(g_x, [4, 4, 0])


def test_one_of_several_results_is_the_target() -> None:
    with Tape() as t:
        x = t.watch(fresh())
        parts = ops.unstack(x * x)
    for i in range(3):
        assert_array_equal(t.gradient(parts[i], x), 2 * X * (np.arange(3) == i))
        assert [float(g) for g in t.gradient(parts[i], list(parts))] == [float(i == j) for j in range(3)]


def test_a_single_result_of_a_splitting_operation() -> None:
    """Cutting into one piece is cutting all the same."""
    for cut in (lambda x: ops.unstack(x), lambda x: ops.split(x, 1, axis=0)):
        with Tape() as t:
            x = t.watch(np.array([[1.0, 2.0]]))
            (y,) = cut(x)
        assert t.gradient(y, x, seed=np.ones(y.shape)).shape == (1, 2)
        assert_array_equal(t.gradient(y, x, seed=np.full(y.shape, 3.0)), [[3, 3]])


def test_a_source_beside_the_target() -> None:
    """Results of one operation do not lead to each other, whichever of them is asked for."""
    with Tape() as t:
        x = t.watch(fresh())
        a, b, c = ops.unstack(x)
        y = b * b
    assert t.gradient(b, [a, b, c]) == [0, 1, 0]
    assert t.gradient(y, [c, b, a, y]) == [0, 4, 0, 1]


def test_the_target_may_be_watched_itself() -> None:
    with Tape() as t:
        x = t.watch(np.array(2.0))
    assert t.gradient(x, x) == 1


def test_what_leads_nowhere_has_zero_gradient() -> None:
    with Tape() as t:
        x, other, later = t.watch([fresh(), np.ones((2, 2), "float32"), fresh()])
        y = ops.sum(x)
        after = ops.sum(y * later)  # made after the target: no part of its past
        beside = ops.exp(other)
    found = t.gradient(y, [x, other, later, after, beside])
    assert_array_equal(found[0], np.ones(3))
    assert_array_equal(found[1], np.zeros((2, 2), "float32"), strict=True)
    assert_array_equal(found[2], np.zeros(3))
    assert found[3] == 0
    assert_array_equal(found[4], np.zeros((2, 2), "float32"), strict=True)


def test_gradients_can_be_asked_for_again_and_again() -> None:
    with Tape() as t:
        x = t.watch(fresh())
        y = ops.sum(ops.exp(x) * x)
        z = ops.sum(x * x)
        inside = t.gradient(z, x)
    first = t.gradient(y, x)
    assert_array_equal(t.gradient(z, x), 2 * X)
    assert_array_equal(inside, 2 * X)
    assert_array_equal(t.gradient(y, x), first)
    assert_array_equal(t.gradient(y, [x])[0], first)


def test_recording_can_go_on_after_a_gradient() -> None:
    """A loss of a gradient of a loss is not differentiated through: gradients are constants."""
    with Tape() as t:
        x = t.watch(fresh())
        y = ops.sum(x * x)
        g = t.gradient(y, x)
        assert type(g) is np.ndarray
        z = ops.sum(g * x)
    assert_array_equal(t.gradient(z, x), 2 * X)
    with t:
        z = z * 3
    assert_array_equal(t.gradient(z, x), 6 * X)


def test_seeds() -> None:
    with Tape() as t:
        x = t.watch(fresh())
        y = x * x
        one = ops.reshape(ops.sum(y), (1, 1))
    assert_array_equal(t.gradient(y, x, seed=np.array([1.0, 0.0, -1.0])), [2, 0, -6])
    assert_array_equal(t.gradient(one, x), 2 * X)
    assert_array_equal(t.gradient(one, x, seed=np.full((1, 1), 0.5)), X)


@pytest.mark.parametrize(
    ("seed", "error", "words"),
    [
        (None, ValueError, r"shape \(3,\): give a seed"),
        (np.ones(2), ValueError, r"shape \(2,\).*float64.*the target \(3,\)"),
        (np.ones((3, 1)), ValueError, "the seed has shape"),
        (np.ones(3, "float32"), ValueError, "dtype float32, the target .* float64"),
        (1.0, ValueError, r"the seed has shape \(\) and dtype float,"),
        ([1.0, 1.0, 1.0], TypeError, "expected an array or a number, got list"),
        (strict(np.ones(3)), TypeError, "numpy and of array_api_strict do not mix"),
    ],
    ids=["none", "shape", "axes", "dtype", "number", "list", "library"],
)
def test_seeds_that_do_not_fit(seed: Any, error: type[Exception], words: str) -> None:
    with Tape() as t:
        x = t.watch(fresh())
        y = x * x
    with pytest.raises(error, match=words):
        t.gradient(y, x, seed=seed)


def test_a_tensor_is_no_seed() -> None:
    with Tape() as t:
        x = t.watch(fresh())
        y = x * x
    with pytest.raises(TypeError, match="got Tensor"):
        t.gradient(y, x, seed=y)


def test_only_tensors_of_this_tape_have_gradients() -> None:
    with Tape() as other:
        foreign = other.watch(fresh())
    with Tape() as t:
        x = t.watch(fresh())
        y = ops.sum(x)
    with pytest.raises(TypeError, match=r"got ndarray; use tape\.watch first"):
        t.gradient(y, [x, X])
    with pytest.raises(TypeError, match="got NoneType"):
        t.gradient(y, {"x": x, "y": None})
    with pytest.raises(TypeError, match="not recorded: got float64"):
        t.gradient(ops.sum(X), x)
    with pytest.raises(TypeError, match="another tape"):
        t.gradient(y, foreign)
    with pytest.raises(TypeError, match="another tape"):
        other.gradient(y, foreign)
