"""A task, a network and a method that are tiny but complete: what the run machinery asks for, in a few lines of NumPy.

Legend: T time, B sequences, D = 3 channels, H = 4 hidden units.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from algorithms.protocol import Info, Method
from datasets.task import Batch
from experiments.run import build
from experiments.run.build import Parts
from experiments.run.settings import Settings
from minigrad.errors import InputError
from minigrad.rng import stream

D, H = 3, 4


@dataclass(frozen=True)
class Task:
    """Which sign the mean of channel 0 has."""

    length: int
    name: ClassVar[str] = "signs"
    input_size: ClassVar[int] = D
    output_size: ClassVar[int] = 2
    tokens: ClassVar[bool] = False
    loss: ClassVar[Literal["softmax", "mse"]] = "softmax"
    loss_at: ClassVar[Literal["last", "every"]] = "last"
    streams: ClassVar[int | None] = None
    fingerprint: ClassVar[str | None] = None
    solved_below: ClassVar[float] = 0.03
    chance: ClassVar[dict[str, float]] = {"error": 0.5, "squared": 0.25}

    def size_of(self, split: str) -> None:
        """Without end."""

    def batch(self, seed: int, split: str, index: int, size: int, dtype: str = "float32") -> Batch:
        rng = stream(seed, split, index, size, self.length)
        x = rng.standard_normal((self.length, size, D)).astype(dtype)
        y = (x[..., 0].sum(axis=0) > 0).astype(np.int64)
        return Batch(x, y, index=index)

    def scores(self, output: Any, y: Any) -> dict[str, float]:
        wrong = float(np.mean(output.argmax(axis=1) != y))
        return {"error": wrong, "squared": wrong**2}


@dataclass(frozen=True)
class Model:
    """logits = tanh(tanh(sum_t x_t W_xh) W_hh) W_hy."""

    hidden: int = H

    def init(self, rng: np.random.Generator, scheme: str, dtype: str) -> dict[str, Any]:
        shapes = {"W_xh": (D, self.hidden), "W_hh": (self.hidden, self.hidden), "W_hy": (self.hidden, 2)}
        return {name: 0.5 * rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}

    def layers(self, p: dict[str, Any], x: Any) -> tuple[Any, Any, Any, Any]:
        f = x.sum(axis=0)
        a = np.tanh(f @ p["W_xh"])
        b = np.tanh(a @ p["W_hh"])
        return f, a, b, b @ p["W_hy"]

    def output(self, p: dict[str, Any], x: Any) -> Any:
        return self.layers(p, x)[-1]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the toy method."""

    lr: float = 0.1
    noise: float = 0.01
    mode: Literal["learn", "stuck", "grow", "bad_step", "bad_params", "bad_loss", "refuse"] = "learn"
    at: int = 0
    """Iteration from which the mode acts."""
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float | None = None
    rates: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.lr >= 0:
            raise InputError(f"lr must be at least 0, got {self.lr}")


@dataclass(frozen=True)
class State:
    """Some of everything that a state may hold."""

    params: dict[str, Any]
    velocity: dict[str, dict[str, Any]]
    steps: int
    decay: float
    carry: Any = None
    pair: tuple[Any, ...] = ()
    nested: dict[int, list[Any]] = field(default_factory=dict)


def init(config: Config, model: Model, params: dict[str, Any], rng: np.random.Generator) -> State:
    velocity = {name: np.zeros_like(array) for name, array in params.items()}
    return State(dict(params), {"velocity": velocity}, 0, config.betas[0])


def step(config: Config, model: Model, state: State, batch: Batch, rng: np.random.Generator) -> tuple[State, Info]:
    """Momentum on the exact gradient, with noise."""
    if config.mode == "refuse":
        raise InputError("the toy refuses to train")
    p, number = state.params, state.steps + 1
    acts = number > config.at
    f, a, b, logits = model.layers(p, batch.x)
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    prob = e / e.sum(axis=1, keepdims=True)
    rows = np.arange(len(batch.y))
    loss = -np.log(prob[rows, batch.y]).mean()
    d = prob.copy()
    d[rows, batch.y] -= 1
    d /= len(rows)
    d_b = d @ p["W_hy"].T * (1 - b * b)
    d_a = d_b @ p["W_hh"].T * (1 - a * a)
    grads = {"W_xh": f.T @ d_a, "W_hh": a.T @ d_b, "W_hy": b.T @ d}
    moments, after = {}, {}
    for name, g in grads.items():
        drawn = rng.standard_normal(g.shape).astype(g.dtype)
        moments[name] = state.decay * state.velocity["velocity"][name] + g + config.noise * drawn
        after[name] = p[name] - (0 if config.mode == "stuck" else config.lr) * moments[name]
    # A view with its axes turned round: it must not come back from a checkpoint as another sum.
    after["W_hh"] = np.asfortranarray(after["W_hh"])
    info = Info(loss=loss, grads=grads, kernels={"toy": "reference"})
    if acts and config.mode == "grow":
        after["W_hh"] = after["W_hh"] * 3
    if acts and config.mode == "bad_params":
        after["W_hh"] = after["W_hh"] * np.inf
    if acts and config.mode == "bad_loss":
        info = Info(loss=np.float32(np.nan), grads=grads)
    if acts and config.mode == "bad_step":
        info = Info(loss=loss, grads=grads | {"W_hh": grads["W_hh"] * np.inf})
    new = State(
        after,
        {"velocity": moments},
        number,
        state.decay,
        carry=b[-1],
        pair=(number, a[0], None),
        nested={number % 3: [np.float32(number), "word", True]},
    )
    return new, info


def measure(config: Config, model: Model, state: State, batch: Batch, info: Info) -> dict[str, Any]:
    return {"steps_before": state.steps, "layers": [0.5, float("nan")]}


METHOD = Method(
    name="toy",
    summary="momentum",
    reference="",
    config=Config,
    defaults={},
    state=State,
    init=init,
    step=step,
    measure=measure,
)


def assemble(settings: Settings, method_name: str, config: Any = None) -> Parts:
    """What `build.assemble` does, with the toys."""
    if method_name != "toy":
        raise InputError(f"unknown method {method_name!r}")
    return Parts(settings, METHOD, build.config_of(METHOD, config), Task(settings.length), Model(settings.hidden))


def settings(folder: Path, **changes: Any) -> Settings:
    """A run of some tens of milliseconds."""
    values: dict[str, Any] = {
        "task": "signs",
        "length": 5,
        "hidden": H,
        "batch_size": 8,
        "max_iterations": 60,
        "validate_every": 10,
        "validate_size": 50,
        "checkpoint_every": 7,
        "log_every": 4,
        "runs_dir": folder,
    }
    return Settings(**values | changes)


NEVER = {"lr": 0.0001}
"""A config that does not solve the task within the budget."""


def outcome(run: Path) -> dict[str, bytes]:
    """The files that two equal runs must have in common, bit for bit."""
    names = [run / "metrics.jsonl", max((run / "checkpoints").glob("0*.safetensors"))]
    best = run / "checkpoints" / "best.safetensors"
    return {path.name: path.read_bytes() for path in [*names, best] if path.exists()}
