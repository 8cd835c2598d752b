"""The operators of tensors, and the value behind one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.testing import assert_array_equal

from minigrad import ops
from minigrad.tape import Tape
from tests.minigrad.strategies import random_arrays, value_and_gradients


def test_operators_are_the_operations() -> None:
    a, b, W = random_arrays([(2, 3), (2, 3), (3, 3)], low=0.5)

    def by_operators(a: Any, b: Any, W: Any) -> Any:
        y = (2.0 + a) * 3 - b / 2 + (1 - a) / b
        y = (y @ W.T) ** 2 - (-a) + abs(b) * np.full(3, 0.5)
        first, second = np.ones((2, 2)) @ y
        return 1 / first + second[::-1] * y[0, 1]

    def by_names(a: Any, b: Any, W: Any) -> Any:
        y = ops.subtract(ops.multiply(ops.add(2.0, a), 3), ops.divide(b, 2))
        y = ops.add(y, ops.divide(ops.subtract(1, a), b))
        y = ops.subtract(ops.power(ops.matmul(y, ops.transpose(W)), 2), ops.negative(a))
        y = ops.add(y, ops.multiply(ops.abs(b), np.full(3, 0.5)))
        first, second = ops.unstack(ops.matmul(np.ones((2, 2)), y))
        return ops.add(
            ops.divide(1, first), ops.multiply(ops.getitem(second, slice(None, None, -1)), ops.getitem(y, (0, 1)))
        )

    left = value_and_gradients(by_operators, [a, b, W], np.ones(3))
    right = value_and_gradients(by_names, [a, b, W], np.ones(3))
    assert_array_equal(left[0], right[0])
    for found, expected in zip(left[1], right[1], strict=True):
        assert_array_equal(found, expected)


def test_comparisons_answer_with_arrays() -> None:
    x = np.array([1.0, 2.0, 3.0])
    with Tape() as tape:
        w = tape.watch(x)
        assert_array_equal(w < 2, [True, False, False])
        assert_array_equal(w <= w, [True, True, True])
        assert_array_equal(w > 2.0, [False, False, True])
        assert_array_equal(w >= np.array([2.0, 2.0, 2.0]), [False, True, True])
        assert ops.sum(w) > 5
        assert not ops.sum(w) > 6


def test_value_cuts_the_gradient() -> None:
    value, (g,) = value_and_gradients(lambda x: ops.value(x) * x, [np.array([2.0, 3.0])], np.ones(2))
    assert_array_equal(value, [4, 9])
    assert_array_equal(g, [2, 3])
    assert ops.value(value) is value
