"""Array libraries and devices: which one an array belongs to, what does not mix, and what each library spells anew."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from minigrad import backend
from tests.minigrad.strategies import DEVICE, loose, random_arrays, seeds, strict

OTHER = array_api_strict.Device("device2")


def test_arrays_decide() -> None:
    x = np.ones(2)
    assert backend.get_xp() is np
    assert backend.get_xp(x) is np
    assert backend.get_xp(x[0], 1.0, True, 2, x) is np
    assert backend.get_xp(1.0) is np
    assert backend.get_xp(strict(x)) is array_api_strict
    assert backend.get_xp(2, strict(x), strict(x), 1j) is array_api_strict


def test_libraries_do_not_mix() -> None:
    x = np.ones(2)
    both = "arrays of numpy and of array_api_strict do not mix: move one with .*to_device"
    with pytest.raises(TypeError, match=both):
        backend.get_xp(x, strict(x))
    with pytest.raises(TypeError, match="arrays of array_api_strict and of numpy do not mix"):
        backend.get_xp(strict(x), 1.0, x)
    with pytest.raises(TypeError, match=both):
        backend.get_xp(x[0], strict(x))


def test_devices_do_not_mix() -> None:
    x = strict(np.ones(2))
    with pytest.raises(TypeError, match=r"arrays on .*device1.* and on .*device2.* do not mix: move one"):
        backend.get_xp(x, x.to_device(OTHER))
    with pytest.raises(TypeError, match=r"arrays on .*CPU_DEVICE.* and on .*device1.* do not mix"):
        backend.get_xp(array_api_strict.ones(2), x)


@pytest.mark.parametrize("what", [None, "1.0", [1.0], (1.0,), {}, object], ids=repr)
def test_other_things_are_no_arrays(what: Any) -> None:
    with pytest.raises(TypeError, match=f"expected an array or a number, got {type(what).__name__}"):
        backend.get_xp(np.ones(2), what)


def test_where_an_array_lives() -> None:
    assert backend.device_of(np.ones(2)) == "cpu"
    assert backend.device_of(np.float32(1)) == "cpu"
    assert "device1" in backend.device_of(strict(np.ones(2)))


# --- moving ---


def test_to_the_host() -> None:
    x = np.ones((2, 3), "float32")
    assert backend.to_device(x, "cpu") is x
    assert backend.to_numpy(x) is x
    assert_array_equal(backend.to_numpy(strict(x)), x, strict=True)
    assert_array_equal(backend.to_device(strict(x), "cpu"), x, strict=True)
    assert_array_equal(backend.to_numpy(np.float32(2)), np.array(2, "float32"), strict=True)
    assert_array_equal(backend.to_numpy([1, 2]), np.array([1, 2]), strict=True)
    assert backend.to_numpy(SimpleNamespace(get=lambda: x)) is x  # as CuPy copies


# --- what is made to fit ---


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "values",
    [[1.5, 2.5], np.array([1.5, 2.5]), np.array([1.5, 2.5], "float32"), 0.5, [[1, 2]], [True, False], np.zeros((0, 2))],
    ids=["list", "float64", "float32", "number", "integers", "booleans", "empty"],
)
def test_host_numbers_fit_a_reference(values: Any, dtype: str) -> None:
    reference = np.ones(2, dtype)
    made = backend.like(reference, values)
    expected = np.asarray(values)
    assert_array_equal(made, expected)
    assert made.dtype == (dtype if expected.dtype.kind == "f" else expected.dtype)
    there = backend.like(strict(reference), values)
    assert there.device == DEVICE
    assert_array_equal(loose(there), made, strict=True)
    assert_array_equal(backend.like(reference[0], values), made, strict=True)


def test_floats_are_told_from_other_numbers() -> None:
    for dtype, answer in (
        ("float32", True),
        ("float64", True),
        ("complex128", True),
        ("int64", False),
        ("bool", False),
    ):
        assert backend.is_float(np.ones(2, dtype)) is answer
        assert backend.is_float(strict(np.ones(2, dtype))) is answer


def test_numbers_of_many_arrays() -> None:
    found = backend.numbers([np.float32(0.1), np.array(2.0), 3.0])
    assert found == [float(np.float32(0.1)), 2.0, 3.0]
    assert all(type(number) is float for number in found)
    assert backend.numbers([strict(np.array(0.5)), strict(np.array(2.0))]) == [0.5, 2.0]
    assert backend.numbers([strict(np.array(True)), strict(np.array(False))]) == [True, False]
    assert backend.numbers([]) == []


def test_frozen_arrays_are_read_only() -> None:
    x = np.ones(3)
    assert backend.frozen(x) is x
    with pytest.raises(ValueError, match="read-only"):
        x[0] = 2
    other = strict(x)
    assert backend.frozen(other) is other
    assert backend.frozen(1.0) == 1.0


# --- what the libraries spell differently ---


def test_signs_in_every_library() -> None:
    x = np.array([-2.0, -0.0, 0.0, 1e-300, np.inf, -np.inf, np.nan])
    assert_array_equal(backend.sign(x), [-1, 0, 0, 1, 1, -1, np.nan])
    assert_array_equal(loose(backend.sign(strict(x))), np.sign(x), strict=True)


@settings(max_examples=40, deadline=None)
@given(
    ids=st.lists(st.integers(0, 3), max_size=8),
    rest=st.sampled_from([(), (1,), (3,), (2, 3), (0,)]),
    seed=seeds,
    int_type=st.sampled_from(["int32", "int64"]),
)
def test_rows_add_up_in_every_library(ids: list[int], rest: tuple[int, ...], seed: int, int_type: str) -> None:
    rows = np.array(ids, int_type)
    (values,) = random_arrays([(len(ids), *rest)], seed, dtype="float32")
    expected = np.zeros((4, *rest), "float32")
    for i, value in zip(ids, values, strict=True):
        expected[i] += value
    found = backend.scatter_add((4, *rest), rows, values)
    assert_array_equal(found, expected, strict=True)
    there = backend.scatter_add((4, *rest), strict(rows), strict(values))
    assert_allclose(loose(there), expected, rtol=1e-6, atol=1e-6, strict=True)


def test_rows_that_do_not_exist() -> None:
    with pytest.raises(IndexError):
        backend.scatter_add((2, 1), np.array([2]), np.ones((1, 1)))


@pytest.mark.parametrize(
    ("subscripts", "shapes"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)]),
        ("ij,jk->ki", [(2, 3), (3, 4)]),
        ("tbi,ij->tbj", [(2, 3, 4), (4, 2)]),
        ("tbi,tbj->ij", [(2, 3, 4), (2, 3, 2)]),
        ("ij->", [(2, 3)]),
        ("ij->ji", [(2, 3)]),
        ("i,j->ij", [(2,), (3,)]),
        ("i,i->", [(3,), (3,)]),
        ("ab,b,bc->ca", [(2, 3), (3,), (3, 4)]),
        ("->", [()]),
        (",i->i", [(), (3,)]),
        ("ij,jk->ik", [(0, 3), (3, 4)]),
        ("ij,jk->ik", [(2, 0), (0, 4)]),
    ],
)
def test_einstein_sums_in_every_library(subscripts: str, shapes: list[tuple[int, ...]]) -> None:
    arrays = random_arrays(shapes)
    expected = np.einsum(subscripts, *arrays)
    assert_allclose(backend.einsum(subscripts, *arrays), expected, rtol=1e-12, atol=1e-14)
    there = backend.einsum(subscripts, *[strict(a) for a in arrays])
    assert_allclose(loose(there), expected, rtol=1e-12, atol=1e-14)
