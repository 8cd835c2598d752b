"""Operations of one's own: rules of gradients, and those that are found out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from minigrad import tape
from minigrad.tape import Indexed, Operation, Tape, operation, unbroadcast
from tests.minigrad.small_arrays import fresh


def test_an_operation_without_a_rule() -> None:
    @operation
    def floor(x: Any, /) -> tape.Forward:
        return np.floor(x), ()

    with Tape() as t:
        x = t.watch(fresh())
        y = floor(x) + x
    with pytest.raises(NotImplementedError, match="floor has no gradient"):
        t.gradient(y, x, seed=np.ones(3))


def test_a_rule_that_changes_the_dtype_is_found_out() -> None:
    @operation
    def widened(x: Any, /) -> tape.Forward:
        return x * 1, ()

    @widened.vjp
    def _(g: Any, needs: Any) -> Any:
        return (g.astype("float64"),)

    with Tape() as t:
        x = t.watch(np.ones(3, "float32"))
        y = widened(x)
    with pytest.raises(TypeError, match="the gradient of widened turned float32 into float64"):
        t.gradient(y, x, seed=np.ones(3, "float32"))


def test_a_rule_may_leave_arguments_out() -> None:
    @operation
    def scaled(x: Any, factor: Any, /) -> tape.Forward:
        return x * factor, (factor,)

    @scaled.vjp
    def _(g: Any, needs: Any, factor: Any) -> Any:
        return (g * factor,)

    with Tape() as t:
        x, factor = t.watch([fresh(), np.array(2.0)])
        y = scaled(x, factor)
    assert_array_equal(t.gradient(y, x, seed=np.ones(3)), np.full(3, 2.0))
    with pytest.raises(TypeError, match="scaled: argument 2 is a constant and has no gradient"):
        t.gradient(y, [x, factor], seed=np.ones(3))


def test_a_rule_may_answer_at_an_index() -> None:
    @operation
    def second(x: Any, /) -> tape.Forward:
        return x[1], ()

    @second.vjp
    def _(g: Any, needs: Any) -> Any:
        return (Indexed(1, g),)

    assert isinstance(second, Operation)
    with Tape() as t:
        x = t.watch(fresh())
        y = second(x) * 2.0 + second(x * x)
    assert_array_equal(t.gradient(y, x), [0, 2 + 4, 0])


def test_unbroadcast() -> None:
    g = np.arange(24.0).reshape(2, 3, 4)
    assert_array_equal(unbroadcast(g, (2, 3, 4)), g)
    assert_array_equal(unbroadcast(g, (3, 4)), g.sum(0))
    assert_array_equal(unbroadcast(g, (3, 1)), g.sum((0, 2))[:, None])
    assert_array_equal(unbroadcast(g, (2, 1, 4)), g.sum(1, keepdims=True))
    assert_allclose(unbroadcast(g, ()), g.sum())
    assert_array_equal(unbroadcast(np.zeros((0, 3)), (1, 3)), np.zeros((1, 3)))
    assert_array_equal(unbroadcast(g[:1], (3, 4)), g[0])
    assert_array_equal(unbroadcast(g[:1], (1, 1, 4)), g[:1].sum(1, keepdims=True))
    assert_array_equal(unbroadcast(g[:, :1], (4,)), g[:, 0].sum(0))
    assert unbroadcast(g, ()).shape == ()


def test_a_rule_of_the_wrong_shape_is_found_out() -> None:
    @operation
    def shortened(x: Any, /) -> tape.Forward:
        return x * 1, ()

    @shortened.vjp
    def _(g: Any, needs: Any) -> Any:
        return (g[:2],)

    with Tape() as t:
        x = t.watch(fresh())
        y = shortened(x)
    with pytest.raises(ValueError, match="reshape"):
        t.gradient(y, x, seed=np.ones(3))


def test_an_indexed_gradient_reaches_a_rule_that_takes_it_as_it_is() -> None:
    seen = []

    @operation
    def double(x: Any) -> Any:
        return 2 * x, ()

    @double.vjp
    def _(g: Any, needs: Any) -> Any:
        seen.append(type(g))
        return (2 * (g.dense((3,)) if isinstance(g, Indexed) else g),)

    for takes, uses, kind in ((False, 1, np.ndarray), (True, 1, Indexed), (True, 2, np.ndarray)):
        double.takes_indexed = takes
        with Tape() as tape:
            x = tape.watch(np.arange(3.0))
            y = double(x)
            z = y[1] if uses == 1 else y[1] + y[2]
        g_x, g_y = tape.gradient(z, (x, y))
        assert_array_equal(g_y, [0, 1, uses - 1])
        assert_array_equal(g_x, 2 * g_y)
        assert seen.pop() is kind
