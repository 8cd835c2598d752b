"""The activations of the fused kernels: how far they are from the exact values, and what they do at the edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from minigrad.kernels import srn

DTYPES = ("float32", "float64")
EXACT = {
    "tanh": np.tanh,
    "sigmoid": lambda a: np.where(a >= 0, 1, np.exp(-np.abs(a))) / (1 + np.exp(-np.abs(a))),
    "relu": lambda a: np.maximum(a, 0),
    "linear": lambda a: a,
}


def activate(a: Any, activation: str) -> Any:
    """act(a) [N] as the fused recurrence computes it: one step of N sequences of one unit, a * 1 + 0 * 0 + 0."""
    one, zero, h0 = np.ones((1, 1), a.dtype), np.zeros((1, 1), a.dtype), np.zeros((len(a), 1), a.dtype)
    return srn.forward(a[None, :, None], h0, one, zero, zero[0], activation, "fused").ravel()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_at_most_three_units_in_the_last_place(activation: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    sizes = np.concatenate([10.0 ** rng.uniform(-8, 2, 20_000), rng.uniform(0, 20, 20_000)])
    a = (sizes * rng.choice([-1, 1], sizes.shape)).astype(dtype)
    exact = EXACT[activation](a.astype(np.longdouble))
    found = activate(a, activation)
    normal = np.abs(exact) > np.finfo(dtype).tiny
    ulp = np.spacing(np.abs(exact[normal]).astype(dtype)).astype(np.longdouble)
    assert float((np.abs(found[normal] - exact[normal]) / ulp).max()) <= 3
    assert np.abs(found[~normal]).max(initial=0) <= np.finfo(dtype).tiny


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", list(EXACT))
def test_zeros_infinities_and_nan(activation: str, dtype: str) -> None:
    a = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e30, -1e30, 100.0, -1000.0], dtype)
    found = activate(a, activation)
    with np.errstate(all="ignore"):
        exact = EXACT[activation](a.astype(np.longdouble)).astype(dtype)
    assert_array_equal(found, exact)


@pytest.mark.parametrize("dtype", DTYPES)
def test_tanh_stays_within_one_and_is_odd(dtype: str) -> None:
    a = np.linspace(0, 12, 4001).astype(dtype)
    found = activate(a, "tanh")
    assert np.abs(found).max() <= 1
    assert_array_equal(activate(-a, "tanh"), -found)
