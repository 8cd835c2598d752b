"""Elementwise operations: broadcasting, what is far out, kinks, NaN, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_array_equal

from minigrad import ops
from minigrad.check import check_gradient
from tests.minigrad.ops.cases import Refusal, assert_refused, some
from tests.minigrad.strategies import random_arrays, seeds, value_and_gradients

FAR = np.array([-1e4, -800.0, -40.0, -1e-300, 0.0, 1e-300, 40.0, 800.0, 1e4])


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide", "maximum", "minimum", "where"])
@some
@given(shapes=hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3, min_side=0), seed=seeds)
def test_broadcasting_is_undone(name: str, shapes: Any, seed: int) -> None:
    low = 0.5 if name == "divide" else -1.5
    arrays = random_arrays(shapes.input_shapes, seed, low)
    function: Callable[..., Any] = getattr(ops, name)
    if name == "where":
        condition = random_arrays([shapes.result_shape], seed)[0] > 0

        def function(x: Any, y: Any) -> Any:
            return ops.where(condition, x, y)

    value, gradients = value_and_gradients(function, arrays, np.ones(shapes.result_shape))
    assert value.shape == shapes.result_shape
    assert [g.shape for g in gradients] == [a.shape for a in arrays]
    if name not in ("maximum", "minimum"):
        check_gradient(function, *arrays)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sigmoid_and_tanh_saturate_without_overflow(dtype: str) -> None:
    x = FAR.astype(dtype)
    for function, ends in ((ops.sigmoid, (0, 1)), (ops.tanh, (-1, 1))):
        value, (g,) = value_and_gradients(function, [x], np.ones_like(x))
        assert_array_equal(value[[0, -1]], ends)
        assert np.all(np.diff(value) >= 0)
        assert_array_equal(g[[0, -1]], 0)
        assert np.all(np.isfinite(g))
        assert np.all(g >= 0)


@pytest.mark.parametrize("power", [0, 1, 2, 3])
def test_powers_at_zero(power: int) -> None:
    value, (g,) = value_and_gradients(lambda x: ops.power(x, power), [np.zeros(2)], np.ones(2))
    assert_array_equal(value, 0.0**power)
    assert_array_equal(g, 1.0 if power == 1 else 0.0)


def test_kinks_have_the_stated_gradients() -> None:
    x = np.array([-1.0, 0.0, 2.0])
    one = np.ones(3)
    assert_array_equal(value_and_gradients(ops.relu, [x], one)[1][0], [0, 0, 1])
    assert_array_equal(value_and_gradients(ops.abs, [x], one)[1][0], [-1, 0, 1])
    assert_array_equal(value_and_gradients(lambda x: ops.clip(x, 0.0, 2.0), [x], one)[1][0], [0, 1, 1])
    for function in (ops.maximum, ops.minimum):  # ties share
        assert_array_equal(value_and_gradients(function, [x, x.copy()], one)[1], [one / 2, one / 2])
    assert_array_equal(value_and_gradients(ops.max, [np.array([1.0, 3.0, 3.0])])[1][0], [0, 0.5, 0.5])


def test_nan_is_not_hidden() -> None:
    x = np.array([np.nan, -1.0, 1.0])
    value, (g,) = value_and_gradients(ops.relu, [x], np.ones(3))
    assert_array_equal(value, [np.nan, 0, 1])
    assert_array_equal(g, [np.nan, 0, 1])
    for function in (ops.tanh, ops.sigmoid, ops.exp, ops.abs):
        value, (g,) = value_and_gradients(function, [x], np.ones(3))
        assert_array_equal(np.isnan(value), [True, False, False])
        assert_array_equal(np.isnan(g), [True, False, False])
    for function in (ops.maximum, ops.minimum):
        assert np.isnan(function(x, np.zeros(3))[0])
    assert np.isnan(ops.max(x))
    assert np.isnan(ops.cross_entropy(x[None], np.array([2])))


def test_where_keeps_the_other_branch_out() -> None:
    """No gradient reaches the branch not taken, not even NaN; a branch made safe beforehand gives finite gradients."""
    x = np.array([-1.0, 0.0, 4.0])
    y = np.array([np.nan, np.inf, 1.0])
    value, gradients = value_and_gradients(lambda x, y: ops.where(x.value < 1, x, y), [x, y], np.ones(3))
    assert_array_equal(value, [-1, 0, 1])
    assert_array_equal(gradients, [[1, 1, 0], [0, 0, 1]])

    def safe_root(x: Any) -> Any:
        positive = x > 0
        return ops.where(positive, ops.sqrt(ops.where(positive, x, 1.0)), 0.0)

    value, (g,) = value_and_gradients(safe_root, [x], np.ones(3))
    assert_array_equal(value, [0, 0, 2])
    assert_array_equal(g, [0, 0, 0.25])


REFUSED: dict[str, Refusal] = {
    "an array by name": (lambda x: ops.add(x, y=x), TypeError, "positional"),
    "a variable exponent": (lambda x: 2**x, TypeError, "unsupported operand"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_is_refused(what: str) -> None:
    assert_refused(*REFUSED[what])
