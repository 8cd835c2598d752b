"""Cells of every kind, small ones, with parameters and inputs.

Legend: T time, B batch, D input size, H hidden units, S numbers in a state.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minigrad import cells
from minigrad.backend import Params
from minigrad.cells import GRU, LSTM, SRN, Antisymmetric, Cell, ChoGRU, Stack
from minigrad.rng import stream
from tests.minigrad.strategies import random_arrays

D, H, T, B = 2, 3, 4, 2

CELLS: dict[str, Cell] = {
    "srn tanh": SRN(D, H),
    "srn sigmoid": SRN(D, H, "sigmoid"),
    "srn relu": SRN(D, H, "relu"),
    "srn linear": SRN(D, H, "linear"),
    "gru": GRU(D, H),
    "gru-cho": ChoGRU(D, H),
    "lstm": LSTM(D, H),
    "antisymmetric": Antisymmetric(D, H, epsilon=0.5, gamma=0.2),
    "two srn": cells.make("srn", D, H, "sigmoid", layers=2),
    "two lstm": cells.make("lstm", D, H, layers=2),
    "three gru": cells.make("gru", D, H, layers=3),
    "narrow top": cells.make("lstm", D, 5, layers=3, top=H),
    "mixed": Stack((LSTM(D, 4), GRU(4, H), SRN(H, 2))),
}

every = pytest.mark.parametrize("name", CELLS)


def parameters(cell: Cell, dtype: str = "float64", seed: int = 0) -> Params:
    """Parameters of which none is zero."""
    p = cell.init(stream(seed, "init"), "uniform", dtype)
    return {name: array * np.array(1.5, dtype) for name, array in p.items()}


def sequence(cell: Cell, steps: int = T, dtype: str = "float64", seed: int = 1) -> tuple[Any, Any]:
    """Inputs [T, B, D] and a first state [B, S]."""
    x, h0 = random_arrays([(steps, B, cell.input_size), (B, cell.state_size)], seed, dtype=dtype)
    return x, h0
