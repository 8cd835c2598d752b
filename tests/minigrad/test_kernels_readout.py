"""The readout with softmax cross-entropy and the addition of rows: fused against reference, the edges, and the memory.

Legend: N tokens, H hidden units, V classes.
"""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from minigrad import ops
from minigrad.errors import InputError
from minigrad.kernels import readout
from minigrad.kernels.fused import threads
from minigrad.kernels.scatter import scatter_add
from minigrad.tape import Tape
from tests.minigrad.strategies import loose, random_arrays, strict

DTYPES = ("float32", "float64")
TOLERANCE = {"float32": 2e-6, "float64": 1e-14}
MANY = settings(max_examples=60, deadline=None, derandomize=True)

both = pytest.mark.parametrize("twin", ["reference", "fused"])


def problem(N: int, H: int, V: int, dtype: str = "float32", seed: int = 0) -> tuple[Any, ...]:
    """h [N, H], W [H, V], b [V] and ids y [N]."""
    h, W, b = random_arrays([(N, H), (H, V), (V,)], seed, dtype=dtype)
    return h, W, b, np.random.default_rng(seed).integers(0, V, N)


def run(h: Any, W: Any, b: Any, y: Any, twin: Any) -> tuple[Any, ...]:
    """The loss and its gradients by h, W and b."""
    E, (q, c) = readout.forward(h, W, b, y, twin)
    return E, *readout.backward(np.ones((), h.dtype), h, W, q, c, twin)


def exact(h: Any, W: Any, b: Any, y: Any) -> tuple[Any, ...]:
    """The same by the definitions, in float64."""
    h, W, b = (array.astype("float64") for array in (h, W, b))
    z = h @ W + b
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    own = np.arange(len(y)), y
    E, d = -np.mean(np.log(p[own])), p.copy()
    d[own] -= 1
    d /= len(y)
    return E, d @ W.T, h.T @ d, d.sum(axis=0)


def close(found: Any, expected: Any, tolerance: float) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        scale = max(1e-3, float(np.abs(other).max(initial=0)))
        assert_allclose(one, other, rtol=0, atol=tolerance * scale)


@MANY
@given(
    N=st.integers(1, 40),
    H=st.integers(1, 20),
    V=st.integers(1, 150),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 2**32 - 1),
)
def test_both_twins_are_the_definition(N: int, H: int, V: int, dtype: str, seed: int) -> None:
    p = problem(N, H, V, dtype, seed)
    expected = exact(*p)
    for twin in ("reference", "fused"):
        found = run(*p, twin)
        assert all(array.dtype == dtype for array in found)
        close(found, expected, (H + 10) * TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_large_vocabulary(dtype: str) -> None:
    p = problem(3, 4, 100_003, dtype)
    close(run(*p, "fused"), exact(*p), 20 * TOLERANCE[dtype])


def test_the_sum_over_a_large_vocabulary_is_precise() -> None:
    h, W, b, y = problem(2, 1, 100_003)
    E, _ = readout.forward(0 * h, W, 0 * b, y, "fused")
    assert_allclose(E, np.log(100_003), rtol=1e-7)


@both
def test_one_class_is_certain(twin: Any) -> None:
    E, *gradients = run(*problem(5, 3, 1), twin)
    assert E == 0
    assert not any(g.any() for g in gradients)


@both
@pytest.mark.parametrize("dtype", DTYPES)
def test_large_logits_do_not_overflow(dtype: str, twin: Any) -> None:
    logits = np.array([[1e4, -1e4, 0], [-1e4, -1e4, -1e4], [1e30, 0, 1], [-3e30, -3e30, -2e30]], dtype)
    h, b, y = np.eye(4, dtype=dtype), np.zeros(3, dtype), np.array([1, 0, 0, 2])
    E, g_h, g_W, _ = run(h, logits, b, y, twin)
    assert_allclose(E, (2e4 + np.log(3)) / 4, rtol=1e-6)
    third = 1 / 3
    assert_allclose(4 * g_W, [[1, -1, 0], [third - 1, third, third], [0, 0, 0], [0, 0, 0]], rtol=1e-6, atol=1e-6)
    assert np.isfinite(g_h).all()


@both
def test_a_class_may_be_impossible(twin: Any) -> None:
    h, W, b, y = np.zeros((2, 1)), np.zeros((1, 3)), np.array([0.0, -np.inf, np.log(3.0)]), np.array([2, 0])
    E, _, _, g_b = run(h, W, b, y, twin)
    assert_allclose(E, -np.log(0.75 * 0.25) / 2)
    assert_allclose(g_b, [(0.25 - 0.75) / 2, 0, (-0.25 + 0.75) / 2], atol=1e-16)
    assert readout.forward(h, W, b, np.array([1, 0]), twin)[0] == np.inf


@both
def test_nan_goes_through(twin: Any) -> None:
    h, W, b, y = problem(6, 4, 40)
    h[2, 1] = np.nan
    E, g_h, g_W, g_b = run(h, W, b, y, twin)
    assert np.isnan(E)
    assert np.isnan(g_h[2]).all()
    assert np.isfinite(np.delete(g_h, 2, axis=0)).all()
    assert np.isnan(g_W).all()
    assert np.isnan(g_b).all()
    b[7] = np.nan  # one logit of every token
    assert all(np.isnan(array).all() for array in run(*problem(6, 4, 40)[:2], b, y, twin))


@both
def test_only_what_is_asked_for_is_computed(twin: Any) -> None:
    h, W, b, y = problem(6, 4, 9)
    E, (q, c) = readout.forward(h, W, b, y, twin)
    assert readout.forward(h, W, b, y, twin, keep=False) == (E, (None, None))
    whole = readout.backward(np.float32(2), h, W, q, c, twin)
    for needs in [(True, False, False), (False, True, False), (False, False, True), (False, False, False)]:
        for asked, part, full in zip(
            needs, readout.backward(np.float32(2), h, W, q, c, twin, needs), whole, strict=True
        ):
            assert (part is not None) == asked
            if asked:
                assert_array_equal(part, full)


@pytest.mark.parametrize("N", [1, 2, 700])
def test_threads_share_the_work(N: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss is a sum over tokens, whose last bits may be others; the same every time."""
    monkeypatch.setattr(threads, "ALONE", 0)
    h, W, b, y = problem(N, 5, 3001)
    alone = run(h, W, b, y, "fused")
    monkeypatch.setenv("MINIGRAD_THREADS", "3")
    together = run(h, W, b, y, "fused")
    close(together, alone, 1e-6)
    for one, other in zip(together, run(h, W, b, y, "fused"), strict=True):
        assert_array_equal(one, other)
    assert readout.forward(h, W, b, y, "fused", keep=False)[0] == together[0]


@both
@pytest.mark.parametrize("kind", ["int64", "int32", "uint8", "uint64"])
def test_ids_of_any_kind_and_arrays_of_any_layout(kind: str, twin: Any) -> None:
    h, W, b, y = problem(9, 5, 333)
    y %= 256
    expected = run(h, W, b, y, "fused")
    ids = np.repeat(y.astype(kind), 2)[::2]
    ids.flags.writeable = False
    close(run(np.asfortranarray(h), W.T.copy().T, np.repeat(b, 2)[::2], ids, twin), expected, 5e-6)


# --- memory: tokens in several chunks ---

LONG = (600, 2, 20_000)
LOGITS = LONG[0] * LONG[2] * 4
"""Bytes."""


def peak(function: Any) -> tuple[Any, int]:
    """The answer, and the most bytes that were held at a time on the way."""
    tracemalloc.start()
    answer = function()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return answer, most


def recorded(h: Any, W: Any, b: Any, y: Any) -> tuple[Any, dict[str, Any], int]:
    with Tape() as tape:
        w = tape.watch({"h": h, "W": W, "b": b})
        E = ops.linear_cross_entropy(w["h"], w["W"], w["b"], y)
    return E.value, tape.gradient(E, w), tape.stats().bytes_kept


def test_one_matrix_with_a_tape_a_part_of_it_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINIGRAD_KERNELS", raising=False)
    p = problem(*LONG)
    run(*problem(1, 1, 1), "fused")  # what is compiled now is not counted below
    (E, gradients, kept), most = peak(lambda: recorded(*p))
    assert kept < 1.01 * LOGITS
    assert most < 1.1 * LOGITS
    close((E, *gradients.values()), exact(*p), 5e-6)
    value, most = peak(lambda: ops.linear_cross_entropy(*p))
    assert most < 0.5 * LOGITS
    assert_array_equal(value, E, strict=True)  # to the bit


def test_tensors_that_nothing_records_count_as_arrays() -> None:
    h, W, b, y = problem(6, 4, 9)
    with Tape() as tape:
        w = tape.watch(W)
    assert_array_equal(ops.linear_cross_entropy(h, w, b, y), ops.linear_cross_entropy(h, W, b, y), strict=True)


# --- what is refused ---


@both
@pytest.mark.parametrize("wrong", [-1, 9, 2**40, -(2**40)])
def test_a_class_that_does_not_exist(wrong: int, twin: Any) -> None:
    h, W, b, y = problem(6, 4, 9)
    y[3] = wrong
    with pytest.raises(IndexError, match=rf"class id {wrong} is out of bounds: there are 9"):
        readout.forward(h, W, b, y, twin)
    with pytest.raises(IndexError, match=rf"class id {wrong} is out of bounds: there are 9"):
        ops.linear_cross_entropy(h, W, b, y)


def test_wrong_shapes_dtypes_and_ids_are_refused() -> None:
    h, W, b, y = problem(6, 4, 9)
    for arrays in [(h[0], W, b, y), (h, W[:3], b, y), (h, W, b[:8], y), (h, W, b, y[:5]), (h, W, b[None], y)]:
        with pytest.raises(InputError, match="do not fit"):
            readout.forward(*arrays, "fused")
    with pytest.raises(InputError, match="one dtype"):
        readout.forward(h.astype("float64"), W, b, y, "fused")
    with pytest.raises(InputError, match="class ids are integers, got float64"):
        readout.forward(h, W, b, y.astype("float64"), "fused")
    with pytest.raises(TypeError, match="do not mix"):
        readout.forward(h, strict(W), b, y, "reference")


# --- rows added by number ---


@MANY
@given(
    ids=st.lists(st.integers(0, 5), max_size=9),
    rest=st.sampled_from([(), (1,), (7,), (2, 3), (40,), (0,)]),
    dtype=st.sampled_from(DTYPES),
    kind=st.sampled_from(["int64", "int32", "uint8"]),
)
def test_rows_are_added_in_one_order_by_both_twins(ids: list[int], rest: Any, dtype: str, kind: str) -> None:
    (values,) = random_arrays([(len(ids), *rest)], dtype=dtype)
    rows = np.array(ids, kind)
    fused = scatter_add((6, *rest), rows, values, "fused")
    assert_array_equal(fused, scatter_add((6, *rest), rows, values, "reference"), strict=True)
    there = scatter_add((6, *rest), strict(rows), strict(values), "reference")
    assert_allclose(loose(there), fused, rtol=1e-6, atol=1e-6)


def test_values_of_any_layout_are_added() -> None:
    (values,) = random_arrays([(4, 5)])
    ids = np.array([3, 0, 3, 1])
    expected = scatter_add((4, 5), ids, values, "fused")
    assert_array_equal(scatter_add((4, 5), np.repeat(ids, 2)[::2], np.asfortranarray(values), "fused"), expected)


@both
@pytest.mark.parametrize("wrong", [-1, 4])
def test_rows_that_do_not_exist(wrong: int, twin: Any) -> None:
    with pytest.raises(IndexError, match=f"row id {wrong} is out of bounds: there are 4"):
        scatter_add((4, 2), np.array([0, wrong]), np.ones((2, 2)), twin)


def test_values_that_do_not_fit_are_refused() -> None:
    for ids, values in [([0], np.ones((1, 3))), ([0, 1], np.ones((1, 2))), ([[0]], np.ones((1, 1, 2)))]:
        with pytest.raises(InputError, match="do not fit"):
            scatter_add((4, 2), np.array(ids), values, "fused")
    with pytest.raises(InputError, match="not int64"):
        scatter_add((4,), np.array([0]), np.array([1]), "fused")


def test_two_uses_of_an_embedding_share_one_gradient() -> None:
    (E,) = random_arrays([(50_000, 8)], dtype="float32")
    first, second = np.array([[3, 49_999], [3, 7]]), np.array([7, 8])
    with Tape() as tape:
        w = tape.watch(E)
        y = ops.add(ops.sum(ops.embedding(w, first)), ops.sum(ops.embedding(w, second)))
    g, most = peak(lambda: tape.gradient(y, w))
    assert most < 1.5 * E.nbytes
    expected = np.zeros_like(E)
    np.add.at(expected, np.concatenate([first.ravel(), second]), np.float32(1))
    assert_array_equal(g, expected, strict=True)
    assert_array_equal(tape.gradient(y, w), g)
