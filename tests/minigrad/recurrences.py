"""What the tests of the fused recurrences share: each of them by name, random arguments for it, and all it computes.

Legend: T time, B batch, D input size, H hidden units.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from numpy.testing import assert_array_equal

from minigrad import kernels
from minigrad.kernels import antisymmetric, gru, local, lstm, srn, target
from minigrad.kernels.cases import CASES

Arrays = dict[str, Any]
"""Arrays by name."""

ACTIVATIONS = ("tanh", "sigmoid", "relu", "linear")
EPSILON, GAMMA = 0.1, 0.5

TOLERANCE = {"float32": 1e-5, "float64": 2e-14}
"""Largest difference from the reference in float64, in units of an array's largest number, which counts at least 1.

About 100 roundings; as many add up over the longest sequences here.
"""


@dataclass(frozen=True)
class Recurrence:
    """One recurrence, and whether `run` needs anything besides its arguments."""

    arguments: dict[str, str]
    """By name, in the order of the call: the axes as letters, a digit before a letter for a multiple of its size."""
    forward: Callable[..., Arrays]
    """Of the arguments and a twin; its states come first."""
    backward: Callable[..., Any] | None = None
    """Of g, the arguments, what `forward` returned, a twin, and which gradients are wanted."""
    states: str = "TBH"
    """The axes of the states, and of g."""

    @property
    def axes(self) -> dict[str, str]:
        """Of all arrays that a problem has."""
        return self.arguments | ({"g": self.states} if self.backward else {})


def _srn(activation: str) -> Recurrence:
    def forward(p: Arrays, twin: Any) -> Arrays:
        return {"h": srn.forward(p["x"], p["h0"], p["W_xh"], p["W_hh"], p["b_h"], activation, twin)}

    def backward(p: Arrays, f: Arrays, twin: Any, *needs: Any) -> Any:
        return srn.backward(p["g"], p["x"], f["h"], p["h0"], p["W_xh"], p["W_hh"], activation, twin, *needs)

    return Recurrence({"x": "TBD", "h0": "BH", "W_xh": "DH", "W_hh": "HH", "b_h": "H"}, forward, backward)


def _lstm() -> Recurrence:
    def forward(p: Arrays, twin: Any) -> Arrays:
        s, gates = lstm.forward(p["x"], p["s0"], p["W_xh"], p["W_hh"], p["b_h"], twin)
        return {"s": s, "gates": gates}

    def backward(p: Arrays, f: Arrays, twin: Any, *needs: Any) -> Any:
        return lstm.backward(p["g"], p["x"], f["s"], p["s0"], f["gates"], p["W_xh"], p["W_hh"], twin, *needs)

    arguments = {"x": "TBD", "s0": "B2H", "W_xh": "D4H", "W_hh": "H4H", "b_h": "4H"}
    return Recurrence(arguments, forward, backward, states="TB2H")


def _gru() -> Recurrence:
    def forward(p: Arrays, twin: Any) -> Arrays:
        h, gates = gru.forward(p["x"], p["h0"], p["W_xh"], p["W_hh"], p["b_xh"], p["b_hh"], twin)
        return {"h": h, "gates": gates}

    def backward(p: Arrays, f: Arrays, twin: Any, *needs: Any) -> Any:
        return gru.backward(p["g"], p["x"], f["h"], p["h0"], f["gates"], p["W_xh"], p["W_hh"], twin, *needs)

    arguments = {"x": "TBD", "h0": "BH", "W_xh": "D3H", "W_hh": "H3H", "b_xh": "3H", "b_hh": "3H"}
    return Recurrence(arguments, forward, backward)


def _antisymmetric() -> Recurrence:
    constants = EPSILON, GAMMA

    def forward(p: Arrays, twin: Any) -> Arrays:
        h, gates = antisymmetric.forward(p["x"], p["h0"], p["W_xh"], p["W_hh"], p["b_h"], *constants, twin)
        return {"h": h, "gates": gates}

    def backward(p: Arrays, f: Arrays, twin: Any, *needs: Any) -> Any:
        arrays = p["g"], p["x"], f["h"], p["h0"], f["gates"], p["W_xh"], p["W_hh"]
        return antisymmetric.backward(*arrays, *constants, twin, *needs)

    return Recurrence({"x": "TBD", "h0": "BH", "W_xh": "D2H", "W_hh": "HH", "b_h": "2H"}, forward, backward)


def _target(activation: str) -> Recurrence:
    def forward(p: Arrays, twin: Any) -> Arrays:
        arrays = p["x"], p["h"], p["target_T"], p["W_xh"], p["V_hh"], p["c_h"]
        return {"targets": target.targets(*arrays, activation, twin)}

    arguments = {"x": "TBD", "h": "TBH", "target_T": "BH", "W_xh": "DH", "V_hh": "HH", "c_h": "H"}
    return Recurrence(arguments, forward)


def _local(activation: str, known: bool) -> Recurrence:
    def forward(p: Arrays, twin: Any) -> Arrays:
        arrays = p["x"], p["h"], p["target"], p.get("known"), p["W_xh"], p["W_hh"], p["b_h"]
        L, (g_W_xh, g_W_hh, g_b_h) = local.loss(*arrays, activation, twin)
        return {"L": L, "dL/dW_xh": g_W_xh, "dL/dW_hh": g_W_hh, "dL/db_h": g_b_h}

    rows = {"x": "TBD", "h": "TBH", "target": "TBH"} | ({"known": "TBH"} if known else {})
    return Recurrence(rows | {"W_xh": "DH", "W_hh": "HH", "b_h": "H"}, forward)


RECURRENCES: dict[str, Recurrence] = {
    **{f"srn {act}": _srn(act) for act in ACTIVATIONS},
    "lstm": _lstm(),
    "gru": _gru(),
    "antisymmetric": _antisymmetric(),
    **{f"target {act}": _target(act) for act in ACTIVATIONS},
    **{f"local {act}": _local(act, known=False) for act in ACTIVATIONS},
    **{f"local {act}, known": _local(act, known=True) for act in ACTIVATIONS},
}
UNROLLED = [name for name, recurrence in RECURRENCES.items() if recurrence.backward]
"""Those with a state that goes through the sequence, and a gradient."""


def shape_of(axes: str, T: int, B: int, D: int, H: int) -> tuple[int, ...]:
    """`TB4H` -> (T, B, 4 H)."""
    sizes, shape, multiple = {"T": T, "B": B, "D": D, "H": H}, [], 1
    for character in axes:
        if character.isdigit():
            multiple = int(character)
        else:
            shape.append(multiple * sizes[character])
            multiple = 1
    return tuple(shape)


def problem(name: str, T: int, B: int, D: int, H: int, dtype: str = "float64", seed: int = 0, gain: float = 0.9) -> Any:
    """Random arrays for a recurrence, whose sums stay of size 1; `gain` is the 2-norm of a gate's recurrent weights."""
    rng = np.random.default_rng(seed)
    arrays: Arrays = {}
    for label, axes in RECURRENCES[name].axes.items():
        array = rng.standard_normal(shape_of(axes, T, B, D, H))
        if label.startswith("W_x"):
            array /= D**0.5
        elif label.endswith("_hh") and array.ndim == 2:
            array = np.hstack([gain * np.linalg.qr(block)[0] for block in np.split(array, array.shape[1] // H, axis=1)])
        arrays[label] = array.astype(dtype)
    return arrays


def run(name: str, p: Arrays, twin: Any, states: Arrays | None = None) -> Arrays:
    """All that a recurrence computes: states, gates, targets, the loss, gradients by all arguments.

    Args:
        name: in RECURRENCES.
        p: from `problem`.
        twin: reference or fused.
        states: what the gradients go back from instead of the states and gates that this twin finds. At the kink of a
            relu a rounding decides about a whole gradient, so two twins can be compared from the same states only.
    """
    recurrence = RECURRENCES[name]
    found = recurrence.forward(p, twin)
    if recurrence.backward is None:
        return found
    gradients = recurrence.backward(p, found if states is None else states, twin)
    return found | {f"dE/d{label}": g for label, g in zip(recurrence.arguments, gradients, strict=True)}


def wide(arrays: Arrays) -> Arrays:
    """The same numbers in float64."""
    return {label: np.asarray(array, "float64") for label, array in arrays.items()}


def difference(found: Any, expected: Any) -> float:
    """The largest difference of two arrays, in units of the largest number expected, which counts at least 1."""
    return float(np.abs(found - expected).max(initial=0) / max(1.0, np.abs(expected).max(initial=0)))


def assert_agrees(name: str, p: Arrays) -> None:
    """The fused twin computes what the reference does in float64, up to rounding."""
    dtype = p["x"].dtype
    found = run(name, p, "fused")
    expected = run(name, wide(p), "reference", wide(found))
    assert list(found) == list(expected)
    for label, array in expected.items():
        assert found[label].dtype == dtype, label
        assert found[label].shape == array.shape, label
        off = difference(found[label], array)
        assert off <= TOLERANCE[dtype.name], f"{name}: {label} is off by {off:.2g}"


def record_calls(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of the fused kernels that are called from now on: a set that grows."""
    called: set[str] = set()

    def prepare(kernel: str, dtype: Any) -> None:
        called.add(kernel)
        kernels.prepare(kernel, dtype)

    for kernel in CASES:
        monkeypatch.setattr(import_module(f"minigrad.kernels.fused.{kernel}"), "prepare", prepare)
    return called


DTYPES = ("float32", "float64")
MANY = settings(max_examples=150, deadline=None, derandomize=True)

every = pytest.mark.parametrize("name", RECURRENCES)
both = pytest.mark.parametrize("twin", ["reference", "fused"])


def assert_same_bits(found: Arrays, expected: Arrays) -> None:
    assert list(found) == list(expected)
    for label, array in expected.items():
        assert_array_equal(found[label], array, err_msg=label, strict=True)


BY_ROW = ("h", "s", "gates", "targets", "dE/dx", "dE/dh0", "dE/ds0")
"""What is computed for every sequence by itself: [..., B, n]."""


def of_rows(found: Arrays) -> Arrays:
    return {label: array for label, array in found.items() if label in BY_ROW}


def in_new_process(code: str, **environment: str) -> None:
    root = Path(__file__).parent.parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
