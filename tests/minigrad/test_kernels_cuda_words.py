"""The CUDA twins of the readout and of rows added by number, on a stand-in for a GPU.

Legend: N tokens, H hidden units, V classes or rows, E columns, R runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from minigrad import kernels, ops
from minigrad.errors import InputError
from minigrad.kernels import readout
from minigrad.kernels.cuda import readout as cuda_readout
from minigrad.kernels.cuda import scatter as cuda_scatter
from minigrad.kernels.scatter import scatter_add
from minigrad.population import split, stack
from minigrad.tape import Tape
from tests.minigrad import cuda_host
from tests.minigrad.cuda_host import HOPPER, Host
from tests.minigrad.strategies import random_arrays

pytestmark = pytest.mark.skipif(
    not cuda_host.COMPILER, reason="g++ is missing, which compiles the kernels for the host"
)
SOME = settings(max_examples=30, deadline=None, derandomize=True)

Use = Callable[..., None]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Makes NumPy arrays count as CuPy's from now on, and a stand-in as their GPU."""

    def use(order: int = 0) -> None:
        cuda_host.take_the_place_of_cupy(monkeypatch, Host(HOPPER, order))

    return use


def problem(N: int, H: int, V: int, seed: int = 0) -> tuple[Any, ...]:
    """h [N, H], W [H, V], b [V] and ids y [N]."""
    h, W, b = random_arrays([(N, H), (H, V), (V,)], seed, dtype="float32")
    return h, W, b, np.random.default_rng(seed).integers(0, V, N)


def loss_and_gradients(h: Any, W: Any, b: Any, y: Any, twin: Any) -> list[Any]:
    E, (q, c) = readout.forward(h, W, b, y, twin)
    return [E, *readout.backward(np.ones((), h.dtype), h, W, q, c, twin)]


# --- the readout ---


@pytest.mark.parametrize("V", [1, 2, 31, 33, 255, 256, 257, 513, 5000])
def test_the_readout_equals_the_reference(V: int, use: Use) -> None:
    p = problem(5, 4, V)
    wide = [array.astype("float64") for array in p[:3]]
    expected = loss_and_gradients(*wide, p[3], "reference")
    use()
    for found, array in zip(loss_and_gradients(*p, "fused"), expected, strict=True):
        assert found.dtype == np.float32
        assert found.shape == array.shape
        assert_allclose(found, array, rtol=1e-5, atol=1e-6 * max(1, float(np.abs(array).max())))


def test_every_class_can_be_the_own_one(use: Use) -> None:
    h, W, b, _ = problem(70, 3, 70)
    y = np.arange(70)[::-1].copy()
    expected = loss_and_gradients(h, W, b, y, "reference")
    use()
    for found, array in zip(loss_and_gradients(h, W, b, y, "fused"), expected, strict=True):
        assert_allclose(found, array, rtol=1e-4, atol=1e-6)


def test_large_logits_do_not_overflow(use: Use) -> None:
    h, W, b, y = problem(4, 3, 40)
    h, expected = 1000 * h, readout.forward(1000 * h.astype("float64"), W.astype("float64"), b, y, "reference")[0]
    use()
    assert_allclose(readout.forward(h, W, b, y, "fused")[0], expected, rtol=1e-5)


@pytest.mark.parametrize("place", [0, 39])
def test_nan_stays_with_its_token(place: int, use: Use) -> None:
    h, W, b, y = problem(4, 3, 40)
    use()
    _, (clean, c) = readout.forward(h, W, b, y, "fused")
    h[2, 1] = np.nan
    E, (q, c_nan) = readout.forward(h, W, b, y, "fused")
    others = [0, 1, 3]
    assert np.isnan(E)
    assert np.isnan(q[2]).all()
    assert_array_equal(q[others], clean[others])
    assert_array_equal(c_nan[others], c[others])
    h[2, 1], b[place] = 0, np.nan  # a class is NaN for all tokens
    E, (q, c) = readout.forward(h, W, b, y, "fused")
    assert np.isnan([E, *q.ravel(), *c]).all()


def test_the_order_of_the_threads_does_not_matter_to_the_readout(use: Use) -> None:
    p = problem(3, 4, 300)
    use()
    first = loss_and_gradients(*p, "fused")
    for order in (1, 2, 3):
        use(order)
        for found, expected in zip(loss_and_gradients(*p, "fused"), first, strict=True):
            assert_array_equal(found, expected, strict=True)


def test_a_token_does_not_depend_on_the_others(use: Use) -> None:
    h, W, b, y = problem(6, 1, 300)
    use()
    _, (q, c) = readout.forward(h, W, b, y, "fused")
    _, (q_one, c_one) = readout.forward(h[4:5], W, b, y[4:5], "fused")
    assert_array_equal(q[4:5], q_one)
    assert_allclose(6 * c[4:5], c_one, rtol=1e-6)


def test_the_loss_alone(use: Use) -> None:
    h, W, b, y = problem(3, 4, 9)
    use()
    E, kept = readout.forward(h, W, b, y, "fused", keep=False)
    assert kept == (None, None)
    assert_array_equal(E, readout.forward(h, W, b, y, "fused")[0], strict=True)


def test_no_tokens_are_left_to_the_reference(use: Use) -> None:
    h, W, b, y = problem(0, 4, 9)
    use()
    with pytest.warns(RuntimeWarning, match="empty slice|invalid value"):
        assert np.isnan(readout.forward(h, W, b, y, "fused")[0])


def test_runs_of_a_population_read_out_as_alone() -> None:
    runs, machine = [problem(5, 4, 70, seed) for seed in range(3)], Host()
    together = cuda_readout.forward(*(stack(list(arrays)) for arrays in zip(*runs, strict=True)), machine=machine)
    for number, p in enumerate(runs):
        for found, expected in zip(together, cuda_readout.forward(*p, machine=machine), strict=True):
            assert_allclose(split(found)[number], expected, rtol=1e-5, atol=1e-6, strict=True)


def test_a_class_that_does_not_exist_makes_the_loss_nan_and_touches_nothing_else() -> None:
    """On a GPU nobody looks at ids before they are used."""
    (h, W, b, y), machine = problem(5, 4, 70), Host()
    _, clean, c = cuda_readout.forward(h, W, b, y, machine=machine)
    for wrong in (-1, -70, 70, 71, 2**31 - 1):
        ids = np.where(np.arange(5) == 2, wrong, y)
        E, q, c_found = cuda_readout.forward(h, W, b, ids, machine=machine)
        assert np.isnan(E)
        others = np.arange(5) != 2
        assert_array_equal(q[others], clean[others])
        assert_array_equal(c_found, c)


def test_the_operation_takes_it(use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    h, W, b, y = problem(6, 4, 9)
    with Tape() as tape:
        w = tape.watch(W)
        expected = ops.linear_cross_entropy(h, w, b, y)
    gradient = tape.gradient(expected, w)
    monkeypatch.setenv("MINIGRAD_KERNELS", "auto")
    use()
    assert kernels.choose(h, W, b, kernel="readout") == "fused"
    with Tape() as tape:
        w = tape.watch(W)
        E = ops.linear_cross_entropy(h, w, b, y)
    assert_allclose(E.value, expected.value, rtol=1e-6)
    assert_allclose(tape.gradient(E, w), gradient, rtol=1e-4, atol=1e-6)


# --- rows added by number ---


@SOME
@given(
    ids=st.lists(st.integers(0, 5), max_size=9),
    rest=st.sampled_from([(), (1,), (7,), (2, 3), (40,), (0,)]),
    kind=st.sampled_from(["int64", "int32", "uint8"]),
)
def test_rows_are_added_to_the_bits_of_the_host(ids: list[int], rest: Any, kind: str) -> None:
    (values,) = random_arrays([(len(ids), *rest)], dtype="float32")
    rows = np.array(ids, kind)
    expected = scatter_add((6, *rest), rows, values, "reference")
    with pytest.MonkeyPatch.context() as patch:
        cuda_host.take_the_place_of_cupy(patch, Host())
        assert_array_equal(scatter_add((6, *rest), rows, values, "fused"), expected, strict=True)


@pytest.mark.parametrize(("N", "V", "E"), [(127, 1, 3), (128, 3, 1), (129, 400, 2), (300, 2, 5), (260, 90, 129)])
def test_numbers_that_come_again_much_later(N: int, V: int, E: int, use: Use) -> None:
    """In other stretches of the ids, and more columns than threads."""
    (values,), rows = random_arrays([(N, E)], dtype="float32"), np.random.default_rng(1).integers(0, V, N)
    rows[-1] = rows[0]
    expected = scatter_add((V, E), rows, values, "reference")
    for order in (0, 1, 2):
        use(order)
        assert_array_equal(scatter_add((V, E), rows, values, "fused"), expected, strict=True)


def test_nan_stays_in_its_row(use: Use) -> None:
    (values,), rows = random_arrays([(6, 3)], dtype="float32"), np.array([1, 0, 1, 3, 0, 1])
    values[2, 1] = np.nan
    use()
    found = scatter_add((5, 3), rows, values, "fused")
    assert np.isnan(found[1, 1])
    assert np.isnan(found).sum() == 1


def test_runs_of_a_population_add_rows_as_alone() -> None:
    runs = [(random_arrays([(140, 3)], seed, dtype="float32")[0], np.arange(140) % (seed + 2)) for seed in range(3)]
    values, ids = (stack(list(arrays)) for arrays in zip(*runs, strict=True))
    together = split(cuda_scatter.added(values, ids, 5, machine=Host()))
    for found, (own_values, own_ids) in zip(together, runs, strict=True):
        expected = cuda_scatter.added(own_values, own_ids, 5, machine=Host())
        assert_array_equal(found, expected, strict=True)


def test_the_gradient_of_an_embedding_takes_it(use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGRAD_KERNELS", "auto")
    (E,), ids = random_arrays([(7, 4)], dtype="float32"), np.array([[3, 0, 3], [6, 3, 0], [1, 2, 4]])

    def gradient() -> Any:
        with Tape() as tape:
            w = tape.watch(E)
            rows = ops.embedding(w, ids)
            y = ops.sum(rows * rows)
        return tape.gradient(y, w)

    expected = gradient()
    use()
    assert_array_equal(gradient(), expected)


def test_double_precision_is_refused(use: Use) -> None:
    use()
    with pytest.raises(InputError, match=r"scatter_add: .* of dtype float32, not float64; use the reference"):
        scatter_add((2, 1), np.array([0]), np.ones((1, 1)), "fused")
    h, W, b, y = (array.astype("float64") if array.dtype.kind == "f" else array for array in problem(2, 3, 4))
    with pytest.raises(InputError, match=r"readout\.forward: .* of dtype float32, not float64; use the reference"):
        readout.forward(h, W, b, y, "fused")


def test_rows_that_do_not_exist_get_nothing() -> None:
    (values,) = random_arrays([(5, 3)], dtype="float32")
    ids = np.array([1, -1, 4, 1, 2**31 - 1])
    found = cuda_scatter.added(values, ids, 4, machine=Host())
    assert_array_equal(found[1], values[0] + values[3])
    assert not found[[0, 2, 3]].any()
