"""Losses of large logits and of impossible classes, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from minigrad import ops
from tests.minigrad.ops.cases import Refusal, assert_refused
from tests.minigrad.strategies import value_and_gradients


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_losses_of_large_logits_are_finite(dtype: str) -> None:
    z = np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4], [3e38, 0.0, 1.0]], dtype)
    value, (g,) = value_and_gradients(ops.logsumexp, [z], None)
    assert_allclose(value, z.max(), rtol=1e-6)
    assert_array_equal(g, [[0, 0, 0], [0, 0, 0], [1, 0, 0]])
    value, (g,) = value_and_gradients(lambda z: ops.logsumexp(z, axis=-1), [z], np.ones(3, dtype))
    assert_allclose(value, np.array([1e4, -1e4 + np.log(3), 3e38], dtype), rtol=1e-6)
    assert_allclose(g, [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3], [1, 0, 0]], rtol=1e-6)
    y = np.array([1, 0, 0])
    value, (g,) = value_and_gradients(lambda z: ops.cross_entropy(z, y), [z])
    assert_allclose(value, (2e4 + np.log(3)) / 3, rtol=1e-6)
    assert_allclose(g, np.array([[1, -1, 0], [1 / 3 - 1, 1 / 3, 1 / 3], [0, 0, 0]]) / 3, rtol=1e-6)
    value, (g,) = value_and_gradients(ops.log_softmax, [z], np.ones((3, 3), dtype))
    assert np.all(np.isfinite(value))
    assert_allclose(g, [[-2, 1, 1], [0, 0, 0], [-2, 1, 1]], atol=1e-6)
    value, (g,) = value_and_gradients(ops.softmax, [z], z / np.array(3e38, dtype))
    assert_allclose(value, [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3], [1, 0, 0]], rtol=1e-6)
    assert_allclose(g, np.zeros((3, 3)), atol=1e-6)


def test_a_class_may_be_impossible() -> None:
    """A logit of -inf: probability zero, and finite losses and gradients for the other classes."""
    z = np.array([[0.0, -np.inf, np.log(3.0)], [-np.inf, 5.0, -np.inf]])
    y = np.array([2, 1])
    value, (g,) = value_and_gradients(lambda z: ops.cross_entropy(z, y), [z])
    assert_allclose(value, -np.log(0.75) / 2)
    assert_allclose(g, np.array([[0.25, 0, -0.25], [0, 0, 0]]) / 2, atol=1e-16)
    value, (g,) = value_and_gradients(ops.softmax, [z], np.ones((2, 3)))
    assert_allclose(value, [[0.25, 0, 0.75], [0, 1, 0]])
    assert_array_equal(g, np.zeros((2, 3)))
    value, (g,) = value_and_gradients(ops.log_softmax, [z], np.array([[1.0, 0, 0], [0, 1, 0]]))
    assert_allclose(value, [[np.log(0.25), -np.inf, np.log(0.75)], [-np.inf, 0, -np.inf]])
    assert_allclose(g, [[0.75, 0, -0.75], [0, 0, 0]])
    value, (g,) = value_and_gradients(lambda z: ops.logsumexp(z, axis=1), [z], np.ones(2))
    assert_allclose(value, [np.log(4), 5])
    assert_allclose(g, [[0.25, 0, 0.75], [0, 1, 0]])


def test_the_wrong_class_may_be_chosen_with_certainty() -> None:
    """An infinite loss stays infinite: nothing hides it."""
    value = ops.cross_entropy(np.array([[0.0, -np.inf]]), np.array([1]))
    assert value == np.inf


REFUSED: dict[str, Refusal] = {
    "squared_error with broadcasting": (lambda x: ops.squared_error(x, np.ones(3)), ValueError, "differ"),
    "mse with broadcasting": (lambda x: ops.mse(x, np.ones(3)), ValueError, "differ"),
    "cross_entropy with broadcasting": (lambda x: ops.cross_entropy(x, np.array(1)), ValueError, "do not fit"),
    "linear_cross_entropy with broadcasting": (
        lambda x: ops.linear_cross_entropy(x, np.ones((3, 2)), np.ones(2), np.array(1)),
        ValueError,
        "do not fit",
    ),
    "a class that does not exist": (lambda x: ops.cross_entropy(x, np.array([0, 3])), IndexError, "out of bounds"),
    "a negative class": (lambda x: ops.cross_entropy(x, np.array([0, -1])), IndexError, "class id -1 is out of bounds"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_is_refused(what: str) -> None:
    assert_refused(*REFUSED[what])
