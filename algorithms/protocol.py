"""What a method is: a Config, a State, and two functions.

    init(config, model, params, rng) -> State
    step(config, model, state, batch, rng) -> (State, Info)

Both are pure: arguments are never changed, all that lives on is in the State, all that one may want to look at is in
the Info. A State is a frozen dataclass of arrays, numbers and (nested) dicts of them, so that one checkpoint writer
serves every method. What a method needs across batches (optimiser moments, a carried state, free hidden states, duals,
running averages) is a field of its own State; several updates inside one batch are the step's own business.

Legend of shapes: T time steps, B sequences side by side, S numbers in a state, D input size, O output size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal, Protocol, get_args

import numpy as np

from algorithms import readouts
from algorithms.blocks import border_states
from algorithms.measures import not_finite
from minigrad import averaging, optim
from minigrad.backend import Array, Params, get_xp
from minigrad.errors import InputError

Status = Literal["ok", "diverged"]
EndOf = Callable[[int], float]
"""end_of(n): the iteration with which the n-th pass through the data ends; infinite where data have no end."""
OptimizerName = Literal["sgd", "momentum", "nag", "adagrad", "adam", "rmsprop", "adadelta", "nt-asgd"]

READOUTS: tuple[readouts.Name, ...] = get_args(readouts.Name)
"""All that there are."""


class Batch(Protocol):
    """What a step is given: see datasets.task.Batch."""

    @property
    def x(self) -> Array:
        """Inputs: floats [T, B, D] or token ids [T, B]."""

    @property
    def y(self) -> Array:
        """Targets: [B] or [T, B] ids, [B, O] or [T, B, O] values."""

    @property
    def continues(self) -> bool:
        """Whether the sequences go on where those of the batch before ended."""

    @property
    def index(self) -> int:
        """Number of the batch within its split."""

    @property
    def consecutive(self) -> bool:
        """Whether every sequence goes on where the one before it ends."""

    @property
    def last(self) -> bool:
        """Whether a pass through the split ends with it."""

    @property
    def rows(self) -> Array | None:
        """Numbers [B] of the sequences within the data, where these have an end."""

    @property
    def of(self) -> int | None:
        """N, how many sequences the data have then."""


@dataclass(frozen=True)
class Info:
    """What a step computed besides the new state; nothing in it is needed to go on.

    No step looks at a number of its own: on a device that would wait for all that is still to be computed.
    """

    loss: Array
    """The loss on the batch before any update (0-d); of several updates, the mean of what each met. Where the parts
    of a sequence with one answer have losses, that of the last one trained on: the loss at the end, but for `slip`."""
    grads: Params
    """Gradients used for the (last) update, before clipping."""
    bounded: Params = field(default_factory=dict)
    """What else must be finite for training to go on, by the words for it."""
    arrays: dict[str, Array] = field(default_factory=dict)
    """Everything else worth a look: states, targets, local losses, residuals, by the names of the method's legend."""
    kernels: Mapping[str, str] = field(default_factory=dict)
    """Which twin of each fused recurrence ran."""
    kept_bytes: int = 0
    """The most that a tape of the step kept for the way back."""

    @cached_property
    def reason(self) -> str:
        """What is not finite: `loss`, `gradient of NAME` or other words; empty where everything is. Who asks waits."""
        gradients = {f"gradient of {name}": g for name, g in self.grads.items()}
        return not_finite({"loss": self.loss, **gradients, **self.bounded})

    @property
    def status(self) -> Status:
        """Whether training can go on."""
        return "diverged" if self.reason else "ok"


@dataclass(frozen=True)
class Method:
    """A training method as the registry knows it."""

    name: str
    summary: str
    """One line: what it does, as `list` prints it."""
    reference: str
    """BibTeX of the paper."""
    config: type[Any]
    """Its frozen, validated Config."""
    defaults: Mapping[str, Any]
    """Fields in which a named variant differs from the Config's own defaults."""
    state: type[Any]
    init: Callable[..., Any]
    step: Callable[..., tuple[Any, Info]]
    kernels: Callable[[Any, Any], tuple[str, ...]] = lambda config, model: ()
    """kernels(config, model): names of the kernels that a step calls, see `minigrad.kernels`."""
    least: Callable[[Any], int] = lambda config: 1
    """least(config): steps that a sequence must have."""
    trains: Callable[[Any, str], bool] = lambda config, name: name not in getattr(config, "frozen", ())
    """trains(config, name): whether a parameter of the network that is judged ever moves; where none does, a run is
    refused."""
    first_update: Callable[[Any, EndOf], float] = lambda config, end_of: 1
    """first_update(config, end_of): the iteration with which the parameters first move; shorter runs are refused."""
    forward_passes: Callable[[Any], float] = lambda config: 3.0
    """forward_passes(config): how many of them a step amounts to in arithmetic, about; a way back is two."""
    blocks: bool = False
    """Whether its batches are successive blocks of one text, side by side."""
    readouts: tuple[readouts.Name, ...] = ("linear",)
    """The readouts that it can train: READOUTS, all, where it asks for nothing but `score` and `readout`."""
    draws: bool = False
    """Whether its steps train the model as `Model.drawn` gives it, with dropout, AR and TAR."""
    validated: Callable[[Any, Any, float], Any] | None = None
    """validated(config, state, error): the state to go on with after a check that found this validation error."""
    judged: Callable[[Any, Any], Params] | None = None
    """judged(config, state): the parameters that checks and evaluations judge; None: those that are trained."""
    measure: Callable[..., dict[str, Any]] | None = None
    """measure(config, model, state, batch, info): the diagnostics, by name; `state`: before the step."""


@dataclass(frozen=True, kw_only=True)
class UpdateRule:
    """The options of the parameter update that all methods share; a method's Config extends it."""

    optimizer: OptimizerName = "sgd"
    """Update rule (momentum: PyTorch's form; nag: Lasagne's form; nt-asgd: sgd that averages its parameters once checks
    become worse)."""
    momentum: float = 0.9
    """Momentum of momentum and nag, in [0, 1)."""
    adagrad_eps: float = 1e-5
    """Added to the root in Adagrad, > 0."""
    adam_betas: tuple[float, float] = (0.9, 0.999)
    """Decay of Adam's two averages, in [0, 1)."""
    adam_eps: float = 1e-8
    """Added to the root in Adam, > 0."""
    wd: float = 0.0
    """Weight decay, >= 0: so much of a parameter is added to its gradient after clipping, before the update rule."""
    frozen: tuple[str, ...] = ()
    """Parameters that are not trained, such as W_hh b_h."""

    def __post_init__(self) -> None:
        at_least_zero(self, "momentum", "wd")
        if self.momentum >= 1:
            raise InputError(f"momentum must be below 1, got {self.momentum}")
        if not all(0 <= b < 1 for b in self.adam_betas):
            raise InputError(f"adam_betas must lie in [0, 1), got {self.adam_betas}")
        above_zero(self, "adagrad_eps", "adam_eps")

    def rule(self, lr: float) -> optim.Optimizer:
        """Weight decay where there is some, and the update rule at one learning rate."""
        rule = self._rule(lr)
        return optim.chain(optim.weight_decay(self.wd), rule) if self.wd else rule

    def _rule(self, lr: float) -> optim.Optimizer:
        match self.optimizer:
            case "sgd":
                return optim.sgd(lr)
            case "momentum":
                return optim.momentum(lr, self.momentum)
            case "nag":
                return optim.nag(lr, self.momentum)
            case "adagrad":
                return optim.adagrad(lr, self.adagrad_eps)
            case "adam":
                return optim.adam(lr, self.adam_betas, self.adam_eps)
            case "rmsprop":
                return optim.rmsprop(lr)
            case "adadelta":
                return optim.adadelta()
            case "nt-asgd":
                return averaging.nt_asgd(lr)
        raise InputError(f"unknown optimizer {self.optimizer!r}")


def clipped(threshold: float | None, rule: optim.Optimizer) -> optim.Optimizer:
    """An update rule that meets gradients whose global norm is at most the threshold, where there is one."""
    return rule if threshold is None else optim.chain(optim.clip_global_norm(threshold), rule)


def at_least_zero(config: Any, *names: str) -> None:
    """Raise InputError unless the named numbers are finite and not negative (None passes)."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not (value >= 0 and np.isfinite(value)):
            raise InputError(f"{name} must be at least 0 and finite, got {value}")


def above_zero(config: Any, *names: str) -> None:
    """Raise InputError unless the named numbers are finite and positive (None passes)."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not (value > 0 and np.isfinite(value)):
            (kind,) = (each.type for each in fields(config) if each.name == name)
            wanted = "at least 1" if kind in ("int", "int | None") else "above 0 and finite"  # annotations are text
            raise InputError(f"{name} must be {wanted}, got {value}")


def select(tree: Params, *names: str) -> Params:
    """The named entries of a dict of parameters, those that exist."""
    return {name: tree[name] for name in names if name in tree}


def without(tree: Params, *names: str) -> Params:
    """A dict of parameters less the named entries."""
    return {name: array for name, array in tree.items() if name not in names}


def check_names(params: Params, option: str, names: Iterable[str]) -> None:
    """Raise InputError if an option names a parameter that does not exist."""
    for name in names:
        if name not in params:
            raise InputError(f"{option}: there is no parameter {name!r}; there are {', '.join(params)}")


def check_layout(noisy: bool, blocks: bool) -> None:
    """Raise InputError if a model that is to be drawn is to be trained on successive blocks side by side."""
    if noisy and blocks:
        raise InputError("dropout, ar and tar are for texts in streams: leave them out, or the option layout")


def initial_state(model: Any, params: Params, batch: Batch, carry: Array | None) -> Array:
    """h_0 [B, S]: the carried state where the batch continues the one before, zeros elsewhere.

    Sequences that are successive blocks begin where the one before them ends, the first as above.

    Raises:
        InputError: if the batch continues sequences of another number, or is one of blocks and the model is one to be
            drawn: their first states come from a pass in which nothing is left out.
    """
    if not batch.continues:
        carry = None
    if batch.consecutive:
        check_layout(model.noisy, blocks=True)
        first = model.initial_state(params, 1) if carry is None else carry[-1:, ...]
        return border_states(model, params, batch.x, first[0, ...])[:-1, ...]
    if carry is None:
        return model.initial_state(params, batch.x.shape[1])
    if carry.shape[0] != batch.x.shape[1]:
        raise InputError(f"the batch continues {batch.x.shape[1]} sequences, the carried state has {carry.shape[0]}")
    return carry


def last_state(h: Array) -> Array:
    """h_T [B, S] as an array of its own: a view into h would keep all T states alive."""
    return get_xp(h).asarray(h[-1, ...], copy=True)
