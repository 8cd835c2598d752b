"""Reductions over any axes, and over nothing possible."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal

from minigrad import ops
from minigrad.check import check_gradient
from tests.minigrad.ops.cases import some
from tests.minigrad.strategies import random_arrays, seeds


@st.composite
def shapes_with_axes(draw: st.DrawFn) -> tuple[tuple[int, ...], Any]:
    """A shape and an axis, several, or None for all."""
    shape = draw(hnp.array_shapes(max_dims=3, max_side=3))
    n = len(shape)
    return shape, draw(st.none() | st.integers(-n, n - 1) | hnp.valid_tuple_axes(n, min_size=1))


@pytest.mark.parametrize("name", ["sum", "mean", "max", "logsumexp"])
@some
@given(shape_axis=shapes_with_axes(), keepdims=st.booleans(), seed=seeds)
def test_reductions_over_any_axes(name: str, shape_axis: Any, keepdims: bool, seed: int) -> None:
    shape, axis = shape_axis
    (x,) = random_arrays([shape], seed)
    function = getattr(ops, name)
    plain = getattr(np, name, lambda x, **kw: np.log(np.sum(np.exp(x), **kw)))
    assert_allclose(function(x, axis=axis, keepdims=keepdims), plain(x, axis=axis, keepdims=keepdims), rtol=1e-12)
    if name != "max":
        check_gradient(lambda x: function(x, axis=axis, keepdims=keepdims), x)


def test_logsumexp_of_nothing_possible() -> None:
    z = np.full((2, 3), -np.inf)
    assert_array_equal(ops.logsumexp(z, axis=-1), [-np.inf, -np.inf])
    assert ops.logsumexp(z) == -np.inf
