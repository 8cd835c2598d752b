"""Operations on shapes: rearranging, nothing to cut, no steps, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_array_equal

from minigrad import ops
from minigrad.tape import Tape
from tests.minigrad.ops.cases import Refusal, assert_refused, some
from tests.minigrad.strategies import random_arrays, seeds, value_and_gradients


@some
@given(data=st.data(), shape=hnp.array_shapes(max_dims=4, max_side=3), seed=seeds)
def test_rearranging(data: st.DataObject, shape: tuple[int, ...], seed: int) -> None:
    """Transposing, splitting and joining, stacking and unstacking give every element its own gradient back."""
    (x,) = random_arrays([shape], seed)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    order = tuple(data.draw(st.permutations(range(len(shape)))))
    cut = data.draw(st.integers(0, shape[axis]))

    def there_and_back(x: Any) -> Any:
        x = ops.concatenate(ops.split(x, (cut, shape[axis] - cut), axis=axis), axis=axis)
        x = ops.stack(ops.unstack(x, axis=axis), axis=axis)
        x = ops.transpose(ops.transpose(x, order), tuple(np.argsort(order)))
        return ops.reshape(ops.reshape(x, (-1,)), shape)

    seed_array = random_arrays([shape], seed + 1)[0]
    value, (gradient,) = value_and_gradients(there_and_back, [x], seed_array)
    assert_array_equal(value, x)
    assert_array_equal(gradient, seed_array)


def test_an_empty_axis_falls_into_nothing() -> None:
    """No pieces: nothing is recorded, and nothing recorded later is taken for one of them."""
    for cut in (lambda x: ops.unstack(x), lambda x: ops.split(x, 0, axis=0), lambda x: ops.split(x, (), axis=0)):
        with Tape() as tape:
            x, w = tape.watch([np.zeros((0, 2)), np.ones(3)])
            assert cut(x) == ()
            y = ops.sum(w)
        g_x, g_w = tape.gradient(y, [x, w])
        assert g_x.shape == (0, 2)
        assert_array_equal(g_w, np.ones(3))
        assert tape.stats().operations == 1


def test_no_steps() -> None:
    """A sequence of length zero goes through everything that sequences go through."""
    x = np.zeros((0, 2, 3), "float32")

    def loss(x: Any, W: Any, h: Any) -> Any:
        h = ops.broadcast_to(h, (0, 2, 3))
        assert ops.unstack(x) == ()
        return ops.sum(ops.tanh(x @ W + h), axis=0)

    value, gradients = value_and_gradients(
        loss, [x, np.ones((3, 3), "float32"), np.ones((2, 3), "float32")], np.ones((2, 3), "float32")
    )
    assert_array_equal(value, np.zeros((2, 3)))
    assert [g.shape for g in gradients] == [(0, 2, 3), (3, 3), (2, 3)]
    assert all(g.dtype == "float32" and not g.any() for g in gradients)


REFUSED: dict[str, Refusal] = {
    "split into unequal parts": (lambda x: ops.split(x, 2), ValueError, "length 3"),
    "split into no parts": (lambda x: ops.split(x, 0), ValueError, "length 3"),
    "split into a negative part": (lambda x: ops.split(x, (4, -1)), ValueError, "length 3"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_is_refused(what: str) -> None:
    assert_refused(*REFUSED[what])
