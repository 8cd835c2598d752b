"""The numbers that every contestant of a row starts from: float32 arrays, always the same for the same sizes.

T time, B batch, D input size, H hidden units, O outputs, V vocabulary, N tokens, K parts. Parameters have the names and
layouts of `minigrad.cells` and `algorithms.model`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from algorithms.model import Model
from benchmarks.contestant import Arrays, Inputs
from benchmarks.rows import Sizes
from datasets.synthetic import AddingSum, Temporal
from minigrad import cells, init
from minigrad.rng import stream


def _normal(name: str, *shape: int) -> Any:
    return stream(0, "bench", name).standard_normal(shape, dtype=np.float32)


def _iteration(s: Sizes) -> Inputs:
    """params (with V_hh, c_h of TPTT's feedback), x [T, B, D], y ids [B]: temporal order."""
    batch = Temporal(s["T"]).batch(0, "train", 0, s["B"])
    model = Model.make(input_size=s["D"], hidden=s["H"], output_size=s["O"])
    params = model.init(stream(0, "bench", "init"), "orthogonal", "float32")
    params["V_hh"] = init.rand_ortho(stream(0, "bench", "V_hh"), s["H"], s["H"], "float32")
    params["c_h"] = np.zeros(s["H"], np.float32)
    return {"params": params, "x": batch.x, "y": batch.y}


def _parts(s: Sizes) -> Inputs:
    """params of an LSTM; x [T, B, D], y [B, O]: the sum of two marked numbers; K parts."""
    batch = AddingSum(s["T"]).batch(0, "train", 0, s["B"])
    model = Model.make(cell="lstm", input_size=s["D"], hidden=s["H"], output_size=s["O"], loss="mse")
    return {
        "params": model.init(stream(0, "bench", "init"), "uniform", "float32"),
        "x": batch.x,
        "y": batch.y,
        "K": s["K"],
    }


def _words(s: Sizes) -> Inputs:
    """params of a GRU that reads words (D = H); x and y ids [T, B], y the word after x."""
    model = Model.make(cell="gru", input_size=s["V"], hidden=s["H"], output_size=s["V"], loss_at="every", tokens=True)
    ids = stream(0, "bench", "ids").integers(s["V"], size=(s["T"] + 1, s["B"]))
    return {"params": model.init(stream(0, "bench", "init"), "uniform", "float32"), "x": ids[:-1], "y": ids[1:]}


def _cell(name: str) -> Callable[[Sizes], Inputs]:
    """params, x [T, B, D], h0 [B, S] = 0, and g [T, B, H], the cotangent of the output states."""

    def make(s: Sizes) -> Inputs:
        cell = cells.make(name, s["D"], s["H"])
        return {
            "params": cell.init(stream(0, "bench", "init"), "uniform", "float32"),
            "x": _normal("x", s["T"], s["B"], s["D"]),
            "h0": np.zeros((s["B"], cell.state_size), np.float32),
            "g": _normal("g", s["T"], s["B"], s["H"]),
        }

    return make


def _recurrence(s: Sizes) -> Inputs:
    """params of an SRN; x [T, B, D], h and g [T, B, H], h0 and target_T [B, H].

    Only the last step has a direct gradient g. W_hh has singular values 1; 0.5 beyond 100 steps, so that g vanishes.
    """
    p = cells.make("srn", s["D"], s["H"]).init(stream(0, "bench", "init"), "orthogonal", "float32")
    if s["T"] > 100:
        p["W_hh"] *= np.float32(0.5)
    x = _normal("x", s["T"], s["B"], s["D"])
    h0 = np.zeros((s["B"], s["H"]), np.float32)
    h, state = np.empty((s["T"], s["B"], s["H"]), np.float32), h0
    for t, u_t in enumerate(x @ p["W_xh"] + p["b_h"]):
        h[t] = state = np.tanh(u_t + state @ p["W_hh"])
    g = np.zeros_like(h)
    g[-1] = _normal("g", s["B"], s["H"])
    return {"params": p, "x": x, "h": h, "g": g, "h0": h0, "target_T": h[-1] + np.float32(0.1)}


def _readout(s: Sizes) -> Inputs:
    """params W_hy [H, V], b_y [V]; h [T, B, H] within (-1, 1), y ids [T, B]."""
    rng = stream(0, "bench", "y")
    params = {"W_hy": init.uniform(rng, (s["H"], s["V"]), "float32", bound=0.1), "b_y": np.zeros(s["V"], np.float32)}
    h = np.tanh(_normal("h", s["T"], s["B"], s["H"]))
    return {"params": params, "h": h, "y": rng.integers(s["V"], size=(s["T"], s["B"]))}


def _embedding(s: Sizes) -> Inputs:
    """params E [V, D]; ids [N], g [N, D]."""
    ids = stream(0, "bench", "ids").integers(s["V"], size=s["N"])
    return {"params": {"E": _normal("E", s["V"], s["D"])}, "ids": ids, "g": _normal("g", s["N"], s["D"])}


def _graph(s: Sizes) -> Inputs:
    """params of an SRN; x [T, B, D], h0 [B, H] = 0, y [B, H], what the last state is to be."""
    return {**_cell("srn")(s), "y": _normal("y", s["B"], s["H"])}


def _update(cell: str) -> Callable[[Sizes], Inputs]:
    """params of a model, and grads, gradients of some 0.01 by each of them."""

    def make(s: Sizes) -> Inputs:
        model = Model.make(cell=cell, input_size=s["D"], hidden=s["H"], output_size=s["O"])
        params = model.init(stream(0, "bench", "init"), "uniform", "float32")
        grads: Arrays = {name: np.float32(0.01) * _normal(name, *p.shape) for name, p in params.items()}
        return {"params": params, "grads": grads}

    return make


INPUTS: dict[str, Callable[[Sizes], Inputs]] = {
    **dict.fromkeys(("tptthx", "tptt", "bptt"), _iteration),
    "fptt": _parts,
    **dict.fromkeys(("words", "words-default"), _words),
    **{cell: _cell(cell) for cell in ("srn", "lstm", "gru", "antisymmetric")},
    "srn-training": _cell("srn"),
    **{f"{cell}-by-x": _cell(cell) for cell in ("lstm", "gru")},
    **dict.fromkeys(("backward", "targets"), _recurrence),
    "readout": _readout,
    "embedding": _embedding,
    "graph": _graph,
    **{f"{rule}-{cell}": _update(cell) for rule in ("nag", "adam") for cell in ("srn", "lstm")},
}
"""By work."""
