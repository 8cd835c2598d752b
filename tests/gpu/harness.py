"""What a GPU and what stands in for one have to do alike: the cases, and the bodies of their tests.

The stand-in is array-api-strict on a device that is not its default one, put in the place of CuPy: it allows what the
array API standard allows, and does not mix with NumPy's arrays.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest

import algorithms
from experiments import build, checks, standing, states
from experiments.settings import Settings
from minigrad import backend
from minigrad.rng import stream

CUDA = "cuda"
"""The device of all tests here, whatever stands behind it."""


@dataclass
class Traffic:
    """How often numbers crossed between host and device."""

    reads: int = 0
    """Times that the host waited for numbers."""
    sends: int = 0
    """Host arrays that were moved."""
    inside: bool = field(default=False, repr=False)
    """Whether a counted call is under way: what it calls itself counts no more."""

    def counting(self, call: Callable[..., Any], counts: Callable[..., tuple[int, int]]) -> Callable[..., Any]:
        """The same function, which adds counts(*arguments) = (reads, sends)."""

        def counted(*arguments: Any, **options: Any) -> Any:
            if self.inside:
                return call(*arguments, **options)
            reads, sends = counts(*arguments)
            self.reads, self.sends, self.inside = self.reads + reads, self.sends + sends, True
            try:
                return call(*arguments, **options)
            finally:
                self.inside = False

        return counted


def one_read(*_: Any) -> tuple[int, int]:
    return 1, 0


def one_send(values: Any, *_: Any) -> tuple[int, int]:
    return 0, int(isinstance(values, np.ndarray))


class Counter(Protocol):
    """Counts what crosses while it is open."""

    def __call__(self) -> contextlib.AbstractContextManager[Traffic]: ...


def strict_traffic() -> Counter:
    """Of array-api-strict."""
    import array_api_strict

    array: Any = type(array_api_strict.ones(1))
    reading = ("__float__", "__bool__", "__int__", "__index__", "__complex__", "__iter__", "to_device")
    return _counter(array, reading, array_api_strict, ("asarray",))


def cupy_traffic() -> Counter:
    """Of CuPy."""
    import cupy  # type: ignore[import-not-found, unused-ignore]

    reading = ("__float__", "__bool__", "__int__", "__complex__", "item", "tolist", "get")
    return _counter(cupy.ndarray, reading, cupy, ("asarray", "array"))


def _counter(array: Any, reading: tuple[str, ...], library: Any, sending: tuple[str, ...]) -> Counter:
    @contextlib.contextmanager
    def counted() -> Iterator[Traffic]:
        traffic = Traffic()
        with pytest.MonkeyPatch.context() as patch:
            for name in reading:
                patch.setattr(array, name, traffic.counting(getattr(array, name), one_read))
            for name in sending:
                patch.setattr(library, name, traffic.counting(getattr(library, name), one_send))
            yield traffic

    return counted


class Strict:
    """array-api-strict as a kind of device: see `minigrad.devices.Kind`."""

    def count(self) -> int:
        return 1

    def use(self, number: int) -> None:
        pass

    def put(self, array: Any, number: int) -> Any:
        import array_api_strict

        return array_api_strict.asarray(np.array(array), device=array_api_strict.Device("device1"))

    def describe(self, number: int) -> str:
        return "array-api-strict"


# --- cases ---


@dataclass(frozen=True)
class Case:
    """A method on a tiny network."""

    method: str
    config: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    reads: int = 0
    """Times that a step waits for the device."""
    masks: int = 0
    """Host arrays that a step moves beside its batch: random numbers."""
    steps: int = 3

    def __str__(self) -> str:
        given = {**self.config, **self.settings}
        return "-".join([self.method, *(f"{name}={value}" for name, value in given.items() if name not in _SHAPE)])

    def made(self, folder: Path, **changes: Any) -> Settings:
        """The settings of a run."""
        return Settings(**{**_TINY, "runs_dir": folder, **self.settings, **changes})


_SHAPE = ("task", "length", "task_options", "batch_size")
_TINY: dict[str, Any] = {
    "length": 10,
    "hidden": 5,
    "batch_size": 4,
    "validate_size": 8,
    "validate_every": 4,
    "max_iterations": 8,
    "log_every": 2,
    "checkpoint_every": 3,
    "device": CUDA,
    "dtype": "float64",
}
TEXT = {"task": "sample-char", "length": 6, "task_options": {"characters": "400"}}
DIGITS = {"task": "digits-pixels", "length": None}
NOISE: dict[str, Any] = {
    **{f"dropout_{name}": 0.2 for name in ("embedding", "inputs", "between", "recurrent", "outputs")},
    **{"layers": 2, "ar": 1.0, "tar": 1.0},
}

CELLS = ("srn", "lstm", "gru", "gru-cho", "antisymmetric")
CASES = [
    *(Case("bptt", {"clip": 0.05}, {"cell": cell}) for cell in CELLS),
    *(Case("bptt", {"clip": 0.05}, {"cell": cell, "layers": 2, **TEXT}) for cell in CELLS),
    *(Case("bptt", {}, {"activation": activation}) for activation in ("sigmoid", "relu", "linear")),
    *(
        Case("bptt", {"optimizer": optimizer, "clip": 0.05, "wd": 0.01, "rates": {"W_hh": 0.5}})
        for optimizer in ("sgd", "momentum", "nag", "adagrad", "adam", "rmsprop", "adadelta", "nt-asgd")
    ),
    Case("bptt", {"update_freq": 2}),
    Case("bptt", {}, {"task": "adding"}),
    Case("bptt", {"parts": 3}),
    Case("bptt", {"parts": 5, "divergence": "code"}, DIGITS),
    Case("bptt", {}, {"readout": "two-linear", "readout_width": 3}),
    Case("bptt", {"rate_window": 5}, {"readout": "tied", **TEXT}),
    Case("bptt", {}, {"readout": "mos", "experts": 2, "embedding": 3, "dropout_latent": 0.2, **TEXT}, masks=1),
    Case("bptt", {}, {**NOISE, **TEXT}, masks=6),
    Case("bptt", {}, {**NOISE, "dropout_kind": "elements", "dropout_logits": 0.2, **TEXT}, masks=7),
    Case("tptt"),
    Case("tptt", {"noise": 0.1, "p_g": 0.5}, masks=1),
    Case("tptt", {"feedback": "transpose", "reduction": "sum_h", "g_sum": "paper"}),
    Case("tptt", {"optimizer": "adagrad"}, {"task": "adding", "activation": "sigmoid"}),
    Case("tptthx", {}, {"task": "permutation"}),
    *(Case("btprop", {"constraint": c, "u_start": 1, "alm_steps": 1}, {"cell": "gru", **TEXT}) for c in ("pm", "admm")),
    Case("btprop", {"constraint": "alm", "u_start": 1}, {"cell": "lstm", **TEXT}, reads=4),
    Case("btprop", {"h_steps": 3, "opt_arctanh": True, "h_clip": 0.01}, TEXT, reads=2),
    Case("btprop", {"constraint": "admm", "u_start": 1, "h_init": "zero", "first_state": "fixed"}, TEXT),
    Case("btprop", {"h_init": "restart", "dual": "scaled", "h_optimizer": "sgd"}, {**TEXT, "length": 1}),
    *(Case("btprop", {}, {"cell": cell, "layers": 2, **TEXT}) for cell in CELLS),
    *(
        Case("btprop-batch", {"u_start": 1, "constraint": c}, {**TEXT, "batch_size": 30}, steps=9)
        for c in ("pm", "admm", "alm")
    ),
    *(Case("fptt", {"form": f, "parts": 3}) for f in ("running", "algorithm2", "equation6", "debias")),
    *(Case("fptt", {"parts": 2, "clip": 0.05}, {"cell": cell, **TEXT}) for cell in CELLS),
    *(
        Case("fptt", {"parts": 4, "divergence": d, "inner_steps": 2}, {**DIGITS, "batch_size": 500})
        for d in ("class-mean", "code", "per-example")
    ),
    Case("fptt", {"parts": 2, "part_weight": "slip", "optimizer": "nt-asgd"}, {"task": "adding"}),
    Case("fptt", {"parts": 2}, {**NOISE, **TEXT, "readout": "tied", "layers": 1, "dropout_between": 0.0}, masks=12),
]


# --- bodies ---


@dataclass(frozen=True)
class Step:
    """What came of some steps, on the host."""

    tree: Any
    """The State without its arrays."""
    arrays: dict[str, Any]
    traffic: Traffic
    """Of the last step."""


def taken(case: Case, folder: Path, counter: Counter | None = None, **changes: Any) -> Step:
    """The state after the steps of a case, with loss, gradients and whatever else the last step tells of."""
    config = {**algorithms.method(case.method).defaults, **case.config}
    parts = build.assemble(case.made(folder, **changes), case.method, config)
    state, settings = standing.initial_state(parts), parts.settings
    traffic = Traffic()
    for number in range(1, case.steps + 1):
        index = number - 1 + build.first_index(settings, parts.task)
        batch = checks.batch_on_device(parts, "train", index, settings.batch_size)
        rng = stream(settings.seed, "step", number)
        with counter() if counter else contextlib.nullcontext(traffic) as traffic, np.errstate(all="ignore"):
            state, info = parts.method.step(parts.config, parts.model, state, batch, rng)
    assert info.status == "ok", info.reason
    tree, arrays = states.pack({"state": states.fields_of(state), "loss": info.loss, "told": info.arrays})
    told = {f"grads/{name}": backend.to_numpy(g) for name, g in info.grads.items()}
    return Step(tree, {**arrays, **told}, traffic)


def difference(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, float]:
    """The largest relative error of each array, relative to the largest number in it."""
    assert found.keys() == expected.keys()
    errors = {}
    for name, right in expected.items():
        left = np.asarray(found[name], "float64")
        assert left.shape == np.shape(right), name
        if left.size:
            scale = max(float(np.max(np.abs(right))), 1e-30)
            errors[name] = float(np.max(np.abs(left - right))) / scale
    return errors


def steps_agree(case: Case, folder: Path, counter: Counter, dtype: str, tolerance: float) -> None:
    """Steps on the device and steps on the host in float64 come to the same, and wait and move as often as known."""
    expected = taken(case, folder, device="cpu")
    found = taken(case, folder, counter, dtype=dtype)
    errors = difference(found.arrays, expected.arrays)
    assert max(errors.values()) <= tolerance, {name: e for name, e in errors.items() if e > tolerance}
    assert (found.traffic.reads, found.traffic.sends) == (case.reads, case.masks), found.traffic
