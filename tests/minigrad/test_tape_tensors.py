"""Tensors: what is watched, what is a constant, and what cannot be done with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from minigrad import ops
from minigrad.tape import Stats, Tape
from tests.minigrad.small_arrays import X, fresh

# --- watching ---


@pytest.mark.parametrize(
    "array", [np.arange(3), np.array([True]), 1.5, "words", None], ids=["integers", "booleans", "number", "str", "None"]
)
def test_only_floats_are_watched(array: Any) -> None:
    with Tape() as t, pytest.raises(TypeError):
        t.watch({"x": array})


def test_watching_is_for_open_tapes() -> None:
    t = Tape()
    with pytest.raises(TypeError, match="inside its `with` block"):
        t.watch(fresh())
    with t:
        t.watch(fresh())
    with pytest.raises(TypeError, match="inside its `with` block"):
        t.watch(fresh())


def test_a_tape_closes_when_something_fails() -> None:
    def fail() -> None:
        with t:
            tensors.append(t.watch(fresh()))
            raise ZeroDivisionError

    t, tensors = Tape(), []
    with pytest.raises(ZeroDivisionError):
        fail()
    assert type(tensors[0] * 2) is np.ndarray


# --- constants ---


def test_a_tensor_of_a_closed_tape_is_a_constant() -> None:
    with Tape() as first:
        x = first.watch(fresh())
        y = x * x
    assert type(y + 1) is np.ndarray
    assert type(ops.sum(y)) is np.float64
    with Tape() as second:
        w = second.watch(fresh())
        z = ops.sum(w * y)
    assert_array_equal(second.gradient(z, w), X**2)
    assert_array_equal(first.gradient(y, x, seed=np.ones(3)), 2 * X)
    assert first.stats().operations == 1


def test_arrays_alone_are_not_recorded() -> None:
    with Tape() as t:
        t.watch(fresh())
        assert type(ops.tanh(X)) is np.ndarray
        assert t.stats() == Stats()


def test_two_open_tapes_do_not_mix() -> None:
    with Tape() as outer:
        x = outer.watch(fresh())
        with Tape() as inner:
            w = inner.watch(fresh())
            with pytest.raises(TypeError, match=r"multiply: tensors of two open tapes do not mix; use \.value"):
                w * x
            y = ops.sum(w * x.value)
        z = ops.sum(x * w)
    assert_array_equal(inner.gradient(y, w), X)
    assert_array_equal(outer.gradient(z, x), X)


# --- writing in place ---


def test_recorded_arrays_cannot_be_written_to() -> None:
    array, constant, seed = fresh(), fresh(), np.ones(3)
    with Tape() as t:
        x = t.watch(array)
        y = ops.tanh(x * constant)
    g = t.gradient(y, x, seed=seed)
    for frozen in (array, constant, y.value, g, seed):
        with pytest.raises(ValueError, match="read-only"):
            frozen[0] = 5.0
        with pytest.raises(ValueError, match="read-only"):
            frozen *= 2


def test_tensors_cannot_be_written_to() -> None:
    with Tape() as t:
        x = t.watch(fresh())
        with pytest.raises(TypeError, match=r"cannot be written in place: .*ops\.where"):
            x[0] = 1.0
        before = x
        x += 1  # a new tensor under the old name
        assert x is not before
        assert_array_equal(before.value, X)
        with pytest.raises(AttributeError):
            x.data = fresh()


def test_zero_gradients_are_read_only_too() -> None:
    with Tape() as t:
        x, w = t.watch([fresh(), fresh()])
        y = ops.sum(x)
    with pytest.raises(ValueError, match="read-only"):
        t.gradient(y, w)[0] = 1


REFUSING: dict[str, Callable[[Any], Any]] = {
    "tanh": np.tanh,
    "sum": np.sum,
    "asarray": np.asarray,
    "float64": np.float64,
    "add": lambda x: np.add(X, x),
    "concatenate": lambda x: np.concatenate([x, x]),
    "stack": lambda x: np.stack([X, x]),
    "dot": lambda x: np.dot(X, x),
    "method": lambda x: X.dot(x),
    "where": lambda x: np.where(X > 1, x, 0.0),
    "out": lambda x: np.add(X, 1.0, out=x),
    "setitem": lambda x: np.zeros(3).__setitem__(slice(None), x),
    "fill": lambda x: np.zeros(3).fill(x),
}


@pytest.mark.parametrize("name", REFUSING)
def test_functions_of_numpy_refuse_tensors(name: str) -> None:
    """A gradient is never lost silently."""
    with Tape() as t:
        x = t.watch(fresh())
        with pytest.raises((TypeError, ValueError)):
            REFUSING[name](x)


def test_a_tensor_says_what_it_is() -> None:
    with Tape() as t:
        x = t.watch(np.ones((2, 3), "float32"))
        s = ops.sum(x)
    assert (x.shape, x.ndim, x.dtype, x.device, len(x)) == ((2, 3), 2, np.dtype("float32"), "cpu", 2)
    assert float(s) == 6
    assert bool(s > 5)
    assert bool(s)
    with pytest.raises(ValueError, match="ambiguous"):
        bool(x)
    assert repr(x).startswith("Tensor(shape=(2, 3), dtype=float32, value=array")
    assert repr(ops.tanh) == "<operation tanh>"
    assert ops.tanh.__doc__ == "Hyperbolic tangent."
