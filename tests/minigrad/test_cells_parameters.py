"""Parameters of cells: names, shapes, first values; cells by name.

Legend: D input size, H hidden units.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from minigrad import cells
from minigrad.backend import Params
from minigrad.cells import GRU, LSTM, SRN, Antisymmetric, Stack
from minigrad.errors import InputError
from minigrad.rng import stream
from tests.minigrad.small_cells import CELLS, D, H, every

# --- parameters ---


def count(p: Params) -> int:
    """How many numbers."""
    return sum(array.size for array in p.values())


NAMES: dict[str, dict[str, tuple[int, ...]]] = {
    "srn tanh": {"W_xh": (D, H), "W_hh": (H, H), "b_h": (H,)},
    "gru": {"W_xh": (D, 3 * H), "W_hh": (H, 3 * H), "b_xh": (3 * H,), "b_hh": (3 * H,)},
    "gru-cho": {"W_xh": (D, 3 * H), "W_hh": (H, 3 * H), "b_h": (3 * H,)},
    "lstm": {"W_xh": (D, 4 * H), "W_hh": (H, 4 * H), "b_h": (4 * H,)},
    "antisymmetric": {"W_xh": (D, 2 * H), "W_hh": (H, H), "b_h": (2 * H,)},
    "two srn": {
        "layer0/W_xh": (D, H),
        "layer0/W_hh": (H, H),
        "layer0/b_h": (H,),
        "layer1/W_xh": (H, H),
        "layer1/W_hh": (H, H),
        "layer1/b_h": (H,),
    },
    "mixed": {
        "layer0/W_xh": (D, 16),
        "layer0/W_hh": (4, 16),
        "layer0/b_h": (16,),
        "layer1/W_xh": (4, 3 * H),
        "layer1/W_hh": (H, 3 * H),
        "layer1/b_xh": (3 * H,),
        "layer1/b_hh": (3 * H,),
        "layer2/W_xh": (H, 2),
        "layer2/W_hh": (2, 2),
        "layer2/b_h": (2,),
    },
}


@pytest.mark.parametrize("name", NAMES)
def test_names_and_shapes(name: str) -> None:
    p = CELLS[name].init(stream(0, "init"), "orthogonal", "float32")
    assert {n: a.shape for n, a in p.items()} == NAMES[name]
    assert list(p) == list(NAMES[name])
    assert {a.dtype for a in p.values()} == {np.dtype("float32")}


@settings(max_examples=20, deadline=None)
@given(d=st.integers(1, 9), h=st.integers(1, 9))
def test_counts(d: int, h: int) -> None:
    formulas = {
        "srn": h * (d + h + 1),
        "gru": 3 * h * (d + h + 2),
        "gru-cho": 3 * h * (d + h + 1),
        "lstm": 4 * h * (d + h + 1),
    }
    for name, number in formulas.items():
        assert count(cells.make(name, d, h).init(stream(0), "normal", "float64")) == number
    antisymmetric = count(cells.make("antisymmetric", d, h).init(stream(0), "normal", "float64"))
    assert (
        antisymmetric - h * (h + 1) // 2 == 2 * h * (d + 1) + h * (h - 1) // 2
    )  # W_hh acts through h (h-1) / 2 numbers


def test_counts_of_published_models() -> None:
    """H = 128 on pixels of one and of three colours; an AntisymmetricRNN of 256 units without its readout."""
    numbers = {("lstm", 1): 66_560, ("lstm", 3): 67_584, ("gru", 3): 51_072}
    for (name, d), number in numbers.items():
        assert count(cells.make(name, d, 128).init(stream(0), "uniform", "float32")) == number
    stored = count(cells.make("antisymmetric", 3, 256).init(stream(0), "uniform", "float32"))
    assert stored - 256 * 257 // 2 == 37_258 - 2_570


@every
@pytest.mark.parametrize("scheme", ["orthogonal", "normal", "sigmoid", "uniform"])
def test_first_values_follow_from_the_generator(name: str, scheme: Any) -> None:
    cell = CELLS[name]
    first, again = (cell.init(stream(7, "init"), scheme, "float64") for _ in range(2))
    other = cell.init(stream(8, "init"), scheme, "float64")
    narrow = cell.init(stream(7, "init"), scheme, "float32")
    for n, array in first.items():
        assert_array_equal(array, again[n])
        assert_array_equal(array.astype("float32"), narrow[n], strict=True)
        bias = n.rpartition("/")[2].startswith("b_")
        if bias and scheme != "uniform":
            assert not array.any()
        else:
            assert np.any(array != other[n])


def test_schemes() -> None:
    """Each gate's block is drawn by itself; spreads and bounds are those of the names."""
    h = 20
    cell = LSTM(30, h)
    p = cell.init(stream(0, "init"), "orthogonal", "float64")
    for gate in range(4):
        block = p["W_hh"][:, gate * h : (gate + 1) * h]
        assert_allclose(block @ block.T, np.eye(h), atol=1e-12)
        block = p["W_xh"][:, gate * h : (gate + 1) * h]
        assert_allclose(block.T @ block, np.eye(h), atol=1e-12)
    for scheme, spread in (("normal", 0.1), ("sigmoid", 0.01)):
        p = cell.init(stream(0, "init"), scheme, "float64")
        assert_allclose(np.std(p["W_xh"]), spread, rtol=0.1)
    p = cell.init(stream(0, "init"), "uniform", "float64")
    for array in p.values():
        assert 0.8 * h**-0.5 < np.max(np.abs(array)) <= h**-0.5


def test_identity_makes_an_irnn() -> None:
    """Le, Jaitly & Hinton 2015: W_hh = 1, no bias, other weights N(0, 0.001^2)."""
    cell = SRN(40, 30, "relu")
    p = cell.init(stream(3, "init"), "identity", "float64")
    narrow = cell.init(stream(3, "init"), "identity", "float32")
    assert_array_equal(p["W_hh"], np.eye(30))
    assert not p["b_h"].any()
    assert abs(np.mean(p["W_xh"])) < 5 * 0.001 / 1200**0.5
    assert_allclose(np.std(p["W_xh"]), 0.001, rtol=0.1)
    for name, array in p.items():
        assert_array_equal(array.astype("float32"), narrow[name], strict=True)
    stack = cells.make("srn", 2, 3, layers=2).init(stream(3, "init"), "identity", "float32")
    assert_array_equal(stack["layer1/W_hh"], np.eye(3))


@pytest.mark.parametrize("name", ["gru", "lstm", "antisymmetric"])
def test_identity_is_for_one_cell(name: str) -> None:
    with pytest.raises(InputError, match="init identity is for the srn cell"):
        cells.make(name, 2, 3).init(stream(0), "identity", "float32")


# --- by name ---


def test_cells_by_name() -> None:
    assert cells.make("srn", 2, 3) == SRN(2, 3)
    assert cells.make("srn", 2, 3, "relu") == SRN(2, 3, "relu")
    assert cells.make("gru", 2, 3) == GRU(2, 3)
    assert cells.make("lstm", 2, 3, layers=2) == Stack((LSTM(2, 3), LSTM(3, 3)))
    assert cells.make("lstm", 2, 3, layers=3, top=5) == Stack((LSTM(2, 3), LSTM(3, 3), LSTM(3, 5)))
    assert cells.make("antisymmetric", 2, 3) == Antisymmetric(2, 3, epsilon=0.01, gamma=0.01)
    stack = CELLS["mixed"]
    assert (stack.input_size, stack.hidden, stack.state_size) == (D, 2, 8 + H + 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "elman"}, "unknown cell 'elman': use srn, gru, gru-cho, lstm, antisymmetric"),
        ({"hidden": 0}, "sizes of at least 1, got input 2, hidden 0"),
        ({"input_size": 0}, "sizes of at least 1, got input 0"),
        ({"layers": 0}, "layers 0"),
        ({"layers": 2, "top": 0}, "sizes of at least 1, got top 0"),
        ({"top": 4}, "highest of several layers: with one layer use hidden 4"),
        ({"activation": "softplus"}, "unknown activation 'softplus': use tanh, sigmoid, relu, linear"),
        ({"name": "lstm", "activation": "relu"}, "the activation of lstm is fixed"),
    ],
)
def test_impossible_cells(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        cells.make(**({"name": "srn", "input_size": 2, "hidden": 3} | arguments))


@every
def test_cells_are_values(name: str) -> None:
    """Equal and hashable by their sizes, and not to be changed."""
    cell = CELLS[name]
    assert hash(cell) == hash(dataclasses.replace(cell))
    field = dataclasses.fields(cell)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(cell, field, getattr(cell, field))


def test_unknown_schemes() -> None:
    with pytest.raises(InputError, match="unknown initialisation 'zeros': use orthogonal"):
        SRN(2, 3).init(stream(0), "zeros", "float64")
