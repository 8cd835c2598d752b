"""Random networks with data, for claims that hold for all of them.

Legend: T time, B batch, D input size, H hidden units, S numbers in a state, O outputs. Whatever is drawn is small and
follows from the fields of a `Net`, so that a counterexample is one line that can be built again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from unittest import mock

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from algorithms import bptt, tptt
from algorithms.model import Model
from algorithms.protocol import Info, without
from datasets.task import Batch
from minigrad.backend import Array, Params
from minigrad.tape import Tape

ACT: dict[str, Callable[[Array], Array]] = {
    "tanh": np.tanh,
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "relu": lambda a: np.where(a.real > 0, a, 0),
    "linear": lambda a: a,
}
"""act(a), real or complex."""

SLOPE: dict[str, Callable[[Array], Array]] = {
    "tanh": lambda a: 1 - np.tanh(a) ** 2,
    "sigmoid": lambda a: np.exp(-a) / (1 + np.exp(-a)) ** 2,
    "relu": lambda a: np.where(a > 0, 1.0, 0.0),
    "linear": np.ones_like,
}
"""act'(a)."""

STEEPEST = {"tanh": 1.0, "sigmoid": 0.25, "relu": 1.0, "linear": 1.0}
"""gamma: the largest |act'(a)| of all a."""

BENT = {"tanh": 4 / 27**0.5, "sigmoid": 1 / 108**0.5, "linear": 0.0}
"""The largest |act''(a)| of all a."""


def for_all(examples: int = 50, **strategies: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Any]:
    """Decorator: a property of everything that the strategies draw, tried on so many examples."""
    chosen = settings(max_examples=examples, deadline=None, report_multiple_bugs=False)
    return lambda test: chosen(given(**strategies)(test))


@contextmanager
def kernels_set(twin: str) -> Iterator[None]:
    """Force one twin of the fused recurrences."""
    with mock.patch.dict(os.environ, MINIGRAD_KERNELS=twin):
        yield


@dataclass(frozen=True)
class Net:
    """One random network, its h_0, and a batch for it; all float64 unless `dtype` says otherwise."""

    seed: int
    T: int = 4
    B: int = 3
    D: int = 2
    H: int = 5
    O: int = 3
    activation: str = "tanh"
    loss: str = "softmax"
    gain: float = 1.0
    """Entries of weights are N(0, gain^2 / rows), with W_hh and V_hh scaled to 2-norm `gain`; of biases N(0, 0.3^2)."""
    carried: bool = False
    """Whether the batch continues another, whose last states are h_0; zeros otherwise."""
    dtype: str = "float64"
    twin: str = "reference"
    cell: str = "srn"
    layers: int = 1
    loss_at: str = "last"
    tokens: bool = False
    readout: str = "linear"

    @cached_property
    def model(self) -> Model:
        return Model.make(
            cell=self.cell,
            activation=self.activation,  # type: ignore[arg-type]
            input_size=self.D,
            hidden=self.H,
            layers=self.layers,
            output_size=self.O,
            loss=self.loss,  # type: ignore[arg-type]
            loss_at=self.loss_at,  # type: ignore[arg-type]
            tokens=self.tokens,
            readout=self.readout,  # type: ignore[arg-type]
        )

    def _normal(self, name: str, *shape: int) -> Array:
        rng = np.random.default_rng([self.seed, *name.encode()])
        return rng.standard_normal(shape)

    @cached_property
    def params(self) -> Params:
        """The model's parameters."""
        p = self.model.init(np.random.default_rng(0), "uniform", "float64")
        return {name: self._drawn(name, *array.shape) for name, array in p.items()}

    @cached_property
    def all_params(self) -> Params:
        """The model's parameters and V_hh, c_h of the feedback G."""
        return {**self.params, "V_hh": self._drawn("V_hh", self.H, self.H), "c_h": self._drawn("c_h", self.H)}

    def _drawn(self, name: str, *shape: int) -> Array:
        drawn = self._normal(name, *shape)
        if len(shape) == 1:
            return (0.3 * drawn).astype(self.dtype)
        size = np.linalg.norm(drawn, 2) if name.endswith(("W_hh", "V_hh")) else shape[0] ** 0.5
        return (self.gain / size * drawn).astype(self.dtype)

    @cached_property
    def h_0(self) -> Array:
        """[B, S]."""
        drawn = 0.5 * self._normal("h_0", self.B, self.model.cell.state_size)
        return (drawn if self.carried else 0 * drawn).astype(self.dtype)

    @cached_property
    def batch(self) -> Batch:
        leading = (self.T, self.B) if self.loss_at == "every" else (self.B,)
        ids = np.random.default_rng([self.seed, 1])
        x: Array
        if self.tokens:
            x = ids.integers(self.D, size=(self.T, self.B))
        else:
            x = self._normal("x", self.T, self.B, self.D).astype(self.dtype)
        if self.loss == "softmax":
            y = ids.integers(self.O, size=leading)
        else:
            y = self._normal("y", *leading, self.O).astype(self.dtype)
        return Batch(x, y, continues=self.carried)

    # --- one step of a method ---

    def start(self, method: Any, config: Any, params: Params | None = None) -> Any:
        """The method's state before the batch."""
        known = self.all_params if method is tptt else self.params
        state = method.init(config, self.model, {**known, **(params or {})}, np.random.default_rng(0))
        return replace(state, carry=self.h_0)

    def step(self, method: Any, config: Any, state: Any, rng: Any = None) -> tuple[Any, Info]:
        """One step on the batch; without an `rng` nothing random may happen."""
        with kernels_set(self.twin):
            after, info = method.step(config, self.model, state, self.batch, rng)
        return replace(after, carry=self.h_0), info

    def tptt(self, params: Params | None = None, rng: Any = None, **options: Any) -> Info:
        """What one step of TPTT computes; some parameters may be given."""
        config = tptt.Config(**options)
        return self.step(tptt, config, self.start(tptt, config, params), rng)[1]

    def bptt(self, params: Params | None = None, **options: Any) -> Info:
        """What one step of BPTT computes; some parameters may be given."""
        config = bptt.Config(**options)
        given = without(params or {}, "V_hh", "c_h")
        return self.step(bptt, config, self.start(bptt, config, given))[1]

    # --- what the claims compare with ---

    def E(self, params: Params) -> Array:
        """The loss as a function of the parameters, which may be complex."""
        with kernels_set("reference"):
            h = self.model.unroll(params, self.batch.x, self.h_0)
            return self.model.score(params, self.model.scored(h), self.batch.y)

    def errors(self, params: Params | None = None) -> Array:
        """dE/dh_t for t = 1..T, backpropagated a step at a time: [T, B, S]."""
        p = {**self.params, **(params or {})}
        states = []
        with Tape() as tape:
            h = tape.watch(self.h_0.copy())
            for x_t in self.batch.x:
                h = self.model.step(p, x_t, h)
                states.append(h)
            E = self.model.score(p, h, self.batch.y)
        return np.stack(tape.gradient(E, states))

    def arguments(self, p: Params, h: Array) -> Array:
        """a_t = x_t W_xh + h_{t-1} W_hh + b_h for t = 1..T, from h [T, B, H]."""
        a: Array = self.batch.x @ p["W_xh"] + self.before(h) @ p["W_hh"] + p["b_h"]
        return a

    def before(self, h: Array) -> Array:
        """h_{t-1} for t = 1..T."""
        return np.concatenate([self.h_0[None], h[:-1]])


def nets(**fixed: Any) -> st.SearchStrategy[Net]:
    """Random networks of one SRN layer; fields may be fixed, or drawn by another strategy."""
    fields: dict[str, st.SearchStrategy[Any]] = {
        "seed": st.integers(0, 2**32 - 1),
        "T": st.integers(1, 12),
        "B": st.integers(1, 5),
        "D": st.integers(1, 4),
        "H": st.integers(1, 12),
        "O": st.integers(2, 4),
        "activation": st.sampled_from(sorted(ACT)),
        "loss": st.sampled_from(["softmax", "mse"]),
        "gain": st.sampled_from([1.0, 0.5, 1.5]),
        "carried": st.booleans(),
        "twin": st.sampled_from(["reference", "fused"]),
    }
    for name, value in fixed.items():
        fields[name] = value if isinstance(value, st.SearchStrategy) else st.just(value)
    return st.builds(Net, **fields)


bounded = nets(activation=st.sampled_from(["tanh", "sigmoid"]))
"""Networks whose states cannot grow without limit while they learn."""

rates = st.sampled_from([0.1, 0.01, 1.0, 10.0])
"""alpha_i."""


def norm(array: Array) -> float:
    """Euclidean norm of all entries, in float64."""
    return float(np.linalg.norm(np.asarray(array, np.float64).ravel()))


def assert_close(found: Array, expected: Array, rtol: float = 1e-10, size: float = 1.0) -> None:
    """||found - expected|| <= rtol ||expected||, up to float64's rounding of numbers of the given size."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape, f"shapes {found.shape} and {expected.shape}"
    off, whole = norm(found - expected), norm(expected)
    assert off <= rtol * whole + 1e-13 * size, f"off by {off:.3g} of {whole:.3g}"


def assert_first_order(error: Callable[[float], float], rounding: float) -> None:
    """error(alpha) = O(alpha): at 1e-4 a hundredth of that at 1e-2, or of that at 2e-2 if two orders cancel there."""
    assert error(1e-4) <= 0.05 * max(error(1e-2), error(2e-2)) + rounding


def slope(f: Callable[[Params], Array], p: Params, name: str, direction: Array) -> float:
    """df/d(parameter) along a direction by a complex step, exact to rounding: Im f(p + i e d) / e."""
    return float((f({**p, name: p[name] + 1e-20j * direction})).imag / 1e-20)
