"""First values of parameters: distributions, shapes and the same numbers in every dtype."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigrad import init
from minigrad.errors import InputError
from minigrad.rng import stream

SIZES = st.integers(1, 12)

ALL: dict[str, Callable[[np.random.Generator, Any], Any]] = {
    "rand_ortho": lambda rng, dtype: init.rand_ortho(rng, 4, 6, dtype),
    "normal": lambda rng, dtype: init.normal(rng, 4, 6, dtype, 0.1),
    "uniform": lambda rng, dtype: init.uniform(rng, (4, 6), dtype, 0.1),
    "xavier_normal": lambda rng, dtype: init.xavier_normal(rng, 4, 6, dtype),
    "linear": lambda rng, dtype: init.linear(rng, 4, 6, dtype)[0],
    "recurrent": lambda rng, dtype: init.recurrent(rng, (4, 6), dtype, 4),
}


@settings(deadline=None)
@given(SIZES, SIZES, st.integers(0, 2**32))
def test_rand_ortho_has_orthonormal_rows_or_columns(rows: int, cols: int, seed: int) -> None:
    w = init.rand_ortho(stream(seed), rows, cols, "float64")
    assert w.shape == (rows, cols)
    product = w @ w.T if rows <= cols else w.T @ w
    np.testing.assert_allclose(product, np.eye(min(rows, cols)), atol=1e-12)


@settings(deadline=None)
@given(SIZES, SIZES, st.integers(0, 2**32))
def test_rand_ortho_is_the_full_decomposition_with_ones_for_singular_values(rows: int, cols: int, seed: int) -> None:
    u, _, vt = np.linalg.svd(init.uniform(stream(seed), (rows, cols), "float64", 1.0))
    expected = u @ np.eye(rows, cols) @ vt
    np.testing.assert_allclose(init.rand_ortho(stream(seed), rows, cols, "float64"), expected, atol=1e-12)


def test_an_orthogonal_square_matrix_keeps_the_length_of_a_state() -> None:
    w = init.rand_ortho(stream(0), 50, 50, "float64")
    h = stream(1).standard_normal((7, 50))
    np.testing.assert_allclose(np.linalg.norm(h @ w, axis=1), np.linalg.norm(h, axis=1), rtol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_every_dtype_starts_from_the_same_numbers(name: str) -> None:
    wide, narrow = ALL[name](stream(0), np.float64), ALL[name](stream(0), "float32")
    assert wide.shape == narrow.shape == (4, 6)
    assert wide.dtype == np.float64
    assert narrow.dtype == np.float32
    assert np.array_equal(narrow, wide.astype(np.float32))
    assert narrow.flags.writeable
    assert narrow.flags.c_contiguous


@pytest.mark.parametrize("name", ALL)
def test_only_floating_point_types_are_possible(name: str) -> None:
    with pytest.raises(InputError, match="int64"):
        ALL[name](stream(0), "int64")


@pytest.mark.parametrize(
    ("draw", "std"),
    [
        (lambda rng: init.normal(rng, 300, 200, "float64", 0.1), 0.1),
        (lambda rng: init.xavier_normal(rng, 300, 200, "float64"), np.sqrt(2 / 500)),
    ],
)
def test_normal_numbers_have_the_stated_moments(draw: Callable[[np.random.Generator], Any], std: float) -> None:
    z = draw(stream(3)).ravel() / std
    assert abs(z.mean()) < 5 / np.sqrt(z.size)
    assert abs((z**2).mean() - 1) < 5 * np.sqrt(2 / z.size)
    assert abs((z**4).mean() - 3) < 5 * np.sqrt(96 / z.size)


def linear_arrays(rng: np.random.Generator) -> Any:
    return np.concatenate([a.ravel() for a in init.linear(rng, 100, 500, "float64")])


@pytest.mark.parametrize(
    ("draw", "bound"),
    [
        (lambda rng: init.uniform(rng, (300, 200), "float64", 0.3), 0.3),
        (lambda rng: init.recurrent(rng, (30, 1000), "float64", 250), 1 / np.sqrt(250)),
        (linear_arrays, 0.1),
    ],
)
def test_uniform_numbers_fill_their_interval(draw: Callable[[np.random.Generator], Any], bound: float) -> None:
    z = draw(stream(4)).ravel() / bound
    assert np.abs(z).max() <= 1
    assert z.max() > 1 - 20 / z.size
    assert z.min() < -1 + 20 / z.size
    assert abs(z.mean()) < 5 * np.sqrt(1 / 3 / z.size)
    assert abs((z**2).mean() - 1 / 3) < 5 * np.sqrt(4 / 45 / z.size)


def test_linear_gives_a_weight_and_a_bias() -> None:
    w, b = init.linear(stream(0), 3, 5, "float32")
    assert (w.shape, b.shape) == ((3, 5), (5,))
    assert not np.array_equal(w[0], b)


@pytest.mark.parametrize(
    "call",
    [
        lambda rng: init.rand_ortho(rng, 0, 3, "float32"),
        lambda rng: init.normal(rng, 3, 0, "float32", 1.0),
        lambda rng: init.normal(rng, 3, 3, "float32", -1.0),
        lambda rng: init.normal(rng, 3, 3, "float32", float("nan")),
        lambda rng: init.uniform(rng, (3,), "float32", float("inf")),
        lambda rng: init.uniform(rng, (3, 0), "float32", 1.0),
        lambda rng: init.xavier_normal(rng, 0, 0, "float32"),
        lambda rng: init.linear(rng, 0, 3, "float32"),
        lambda rng: init.recurrent(rng, (3,), "float32", 0),
    ],
)
def test_what_is_impossible_is_refused(call: Callable[[np.random.Generator], Any]) -> None:
    with pytest.raises(InputError):
        call(stream(0))
