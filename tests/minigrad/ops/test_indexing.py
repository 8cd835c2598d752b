"""Indices and ids: any, repeated, and those that are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_array_equal

from minigrad import ops
from minigrad.check import check_gradient
from tests.minigrad.ops.cases import Refusal, assert_refused, some
from tests.minigrad.strategies import random_arrays, seeds, value_and_gradients


@some
@given(data=st.data(), shape=hnp.array_shapes(max_dims=3, max_side=4), seed=seeds)
def test_basic_indices(data: st.DataObject, shape: tuple[int, ...], seed: int) -> None:
    key = data.draw(hnp.basic_indices(shape, allow_newaxis=True))
    (x,) = random_arrays([shape], seed)
    assert_array_equal(ops.getitem(x, key), x[key])
    check_gradient(lambda x: ops.getitem(x, key), x)


@some
@given(data=st.data(), shape=hnp.array_shapes(max_dims=3, max_side=4), seed=seeds)
def test_taking_with_repeats(data: st.DataObject, shape: tuple[int, ...], seed: int) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    ids = np.array(data.draw(st.lists(st.integers(0, shape[axis] - 1), max_size=6)), int)
    (x,) = random_arrays([shape], seed)
    assert_array_equal(ops.take(x, ids, axis=axis), np.take(x, ids, axis))
    check_gradient(lambda x: ops.take(x, ids, axis=axis), x)


def test_repeated_ids_add_up() -> None:
    ids = np.array([1, 1, 1, 0])
    _, (g,) = value_and_gradients(lambda E: ops.embedding(E, ids), [np.ones((3, 2))], np.ones((4, 2)))
    assert_array_equal(g, [[1, 1], [3, 3], [0, 0]])
    _, (g,) = value_and_gradients(lambda x: ops.take(x, ids, axis=1), [np.ones((2, 3))], np.ones((2, 4)))
    assert_array_equal(g, [[1, 3, 0], [1, 3, 0]])
    value, (g, g_v) = value_and_gradients(
        lambda x, v: ops.scatter_add(x, ids, v), [np.ones(3), np.array([1.0, 2, 3, 4])], np.array([5.0, 6, 7])
    )
    assert_array_equal(value, [5, 7, 1])
    assert_array_equal(g, [5, 6, 7])
    assert_array_equal(g_v, [6, 6, 6, 5])


REFUSED: dict[str, Refusal] = {
    "an array of indices": (lambda x: x[np.array([0, 0])], TypeError, r"ops\.take"),
    "a list of indices": (lambda x: x[[0, 0]], TypeError, r"ops\.take"),
    "a mask as an index": (lambda x: x[x.value > 0], TypeError, r"ops\.take"),
    "take of a table of ids": (lambda x: ops.take(x, np.array([[0, 1]])), ValueError, r"ops\.embedding"),
    "an id that does not exist": (lambda x: ops.take(x, np.array([2])), IndexError, "row id 2 is out of bounds: .* 2"),
    "a negative id": (lambda x: ops.take(x, np.array([0, -1])), IndexError, "row id -1 is out of bounds"),
    "a row that does not exist": (lambda x: ops.embedding(x, np.array([[0, 2]])), IndexError, "id 2 is out of bounds"),
    "a negative row": (lambda x: ops.embedding(x, np.array([[0, -2]])), IndexError, "row id -2 is out of bounds"),
    "adding to no row": (lambda x: ops.scatter_add(x, np.array([-1]), x[:1]), IndexError, "id -1 is out of bounds"),
    "ids that are no integers": (lambda x: ops.embedding(x, np.array([0.0])), ValueError, "integers, got float64"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_is_refused(what: str) -> None:
    assert_refused(*REFUSED[what])
