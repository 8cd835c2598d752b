"""A State as named arrays and a tree, and back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from experiments.run import states

DTYPES = [np.float32, np.float64, np.int64, np.int32, np.uint8, np.bool_]
ARRAYS = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), ARRAYS, ARRAYS.map(np.asfortranarray)
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.one_of(st.text("a/~b0", max_size=3), st.integers(0, 3)), inner, max_size=3),
    ),
    max_leaves=8,
)


def same(a: Any, b: Any) -> bool:
    """Equal in kind and to the bit, NaN included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray | np.generic):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return repr(a) == repr(b)


@settings(deadline=None)
@given(TREES)
def test_what_is_packed_comes_back_to_the_bit(value: Any) -> None:
    tree, arrays = states.pack(value)
    text = json.dumps(tree, allow_nan=False)
    assert same(states.unpack(json.loads(text), arrays, "cpu"), value)


def test_names_are_paths() -> None:
    _, arrays = states.pack({"params": {"W_hh": np.zeros(2), "layer0/W_xh": np.zeros(3)}, "pair": (np.ones(1), 2)})
    assert sorted(arrays) == ["pair/0", "params/W_hh", "params/layer0/W_xh"]


def test_paths_that_spell_alike_stay_apart() -> None:
    value = {"a": {"b/c": np.array([1.0])}, "a/b": {"c": np.array([2.0])}, "x": {0: np.zeros(1), "0": np.ones(1)}}
    tree, arrays = states.pack(value)
    assert len(arrays) == 4
    assert same(states.unpack(tree, arrays, "cpu"), value)


def test_numpy_scalars_stay_scalars() -> None:
    value = {"t": np.float32(0.1), "n": np.int64(3)}
    tree, arrays = states.pack(value)
    assert same(states.unpack(json.loads(json.dumps(tree)), arrays, "cpu"), value)


class Pair(NamedTuple):
    a: int
    b: int


@pytest.mark.parametrize("value", [{1, 2}, object(), Pair(1, 2), b"bytes", 1j, {(1, 2): 3}, {True: 1}, {None: 1}])
def test_what_would_not_come_back_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="state"):
        states.pack({"inner": value})


@pytest.mark.parametrize(
    "node",
    [{}, {"array": "missing"}, {"new": 1}, {"dict": 3}, {"dict": [[1]]}, [], None, {"scalar": "x"}, {"float": {}}],
)
def test_a_tree_that_is_none_is_refused(node: Any) -> None:
    with pytest.raises((KeyError, ValueError, TypeError)):
        states.unpack(node, {}, "cpu")


@dataclass(frozen=True)
class Holder:
    """A state with arrays at several depths."""

    a: Any
    inner: Any


def test_owned_lays_arrays_out_in_rows_and_keeps_what_is_so_already() -> None:
    rows, columns = np.arange(6.0).reshape(2, 3), np.arange(6.0).reshape(2, 3).T
    state = Holder(rows, {"x": [columns, 1], "y": (None, "s")})
    owned = states.owned(state)
    assert owned.a is rows
    assert owned.inner["y"] is state.inner["y"]
    assert owned.inner["x"][0].flags.c_contiguous
    np.testing.assert_array_equal(owned.inner["x"][0], columns)
    assert states.owned(owned) is owned
