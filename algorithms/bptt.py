"""Backpropagation through time: the gradient of the loss over the whole sequence (Werbos 1990), or over windows of a
long text through which the state is carried (truncated BPTT).

    h_t = F(x_t, h_{t-1}),  t = 1..T,  h_0 = 0 or the last state of the batch before
    E   = loss(h_T) or the mean of loss(h_t) over t
    W  <- W - lr dE/dW

Where the sequences of a batch are successive blocks of one text, each begins in the state in which the one before ends,
and gradients end at the borders. The forward pass of a batch is one of the model as it is drawn for it: dropout, AR and
TAR (see `algorithms.model`).

Legend: T time, B batch, S numbers in a state; E loss, h states [T, B, S].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from algorithms.measures import divergence
from algorithms.model import Model
from algorithms.protocol import (
    READOUTS,
    Batch,
    Info,
    Method,
    UpdateRule,
    above_zero,
    at_least_zero,
    check_names,
    initial_state,
    last_state,
    without,
)
from minigrad import optim
from minigrad.backend import Array, Params
from minigrad.errors import InputError
from minigrad.tape import Tape


@dataclass(frozen=True, kw_only=True)
class Config(UpdateRule):
    """Options of BPTT."""

    lr: float = 0.01
    """Learning rate, >= 0."""
    clip: float | None = None
    """Largest global norm of the gradient, > 0 (None: no clipping)."""
    frozen: tuple[str, ...] = ()
    """Parameters that are not trained, such as W_hh b_h."""
    rates: Mapping[str, float] = field(default_factory=dict)
    """Factors on the learning rate of single parameters, >= 0, such as W_hh 1e-4 b_h 1e-4 (the control BPTT-split)."""
    halve_after: int | None = None
    """Checks in a row without a better validation error, more than which halve the learning rate (released code of
    Wiseman et al.: `tol`, with sgd); None: it stays."""
    update_freq: int = 1
    """Batches whose mean gradient makes one update, at the latest at the end of a pass through the data; 0: all batches
    of a pass (the batch regime of Wiseman et al.)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_zero(self, "lr", "update_freq", "halve_after")
        above_zero(self, "clip")
        for name, factor in self.rates.items():
            if not (factor >= 0 and np.isfinite(factor)):
                raise InputError(f"rates: the factor of {name} must be at least 0 and finite, got {factor}")

    def update_rule(self, halved: int = 0) -> optim.Optimizer:
        """Clipping, the optimiser at a rate that was halved so often, the rates: in this order."""
        stages = [self.rule(self.lr / 2**halved), optim.scale(self.rates)]
        return optim.chain(*([optim.clip_global_norm(self.clip)] if self.clip is not None else []), *stages)


@dataclass(frozen=True)
class State:
    """What lives across batches."""

    params: Params
    optimizer: dict[str, Any]
    carry: Array | None = None
    """Last states [B, S] of the batch before, for batches that continue."""
    total: Params | None = None
    """Sum of the gradients since the last update; None: nothing waits."""
    count: int = 0
    """How many gradients that are."""
    best: float | None = None
    """Lowest validation error so far; None: there was no check, or it is not asked for."""
    worse: int = 0
    """Checks since then, or since the rate was halved."""
    halved: int = 0
    """How often the rate was halved."""


def init(config: Config, model: Model, params: Params, rng: np.random.Generator) -> State:
    """A fresh state around given parameters."""
    check_names(params, "frozen", config.frozen)
    check_names(params, "rates", config.rates)
    return State(params, config.update_rule().init(without(params, *config.frozen)))


def step(config: Config, model: Model, state: State, batch: Batch, rng: np.random.Generator) -> tuple[State, Info]:
    """One update by the gradient of the loss on one batch."""
    p, x, y = state.params, batch.x, batch.y
    h0 = initial_state(model, p, batch, state.carry)
    model = model.drawn(rng, p, *x.shape[:2])

    with Tape() as tape:
        w = tape.watch(p)
        h = model.unroll(w, x, h0)
        E = model.score(w, model.scored(h), y)
    dE_dW = tape.gradient(E, without(w, *config.frozen))

    total = dE_dW if state.total is None else {name: g + state.total[name] for name, g in dE_dW.items()}
    count = state.count + 1
    if due := count == config.update_freq or batch.last:
        mean = {name: g / count for name, g in total.items()} if count > 1 else total
        W, optimizer = config.update_rule(state.halved).step(mean, state.optimizer, p)
    else:
        W, optimizer = p, state.optimizer
    reason = divergence(E.value, dE_dW)
    info = Info(
        loss=E.value,
        grads=dE_dW,
        status="diverged" if reason else "ok",
        reason=reason,
        arrays={"h": h.value},
        kernels=model.twins(called(model), p, x.shape[1]),
    )
    waiting: dict[str, Any] = {"total": None, "count": 0} if due else {"total": total, "count": count}
    return replace(state, params=W, optimizer=optimizer, carry=last_state(h.value), **waiting), info


def validated(config: Config, state: State, error: float) -> State:
    """Halve the learning rate when the validation error has not become better for long."""
    if config.halve_after is None:
        return state
    if state.best is None or error < state.best:
        return replace(state, best=error, worse=0)
    if state.worse < config.halve_after:
        return replace(state, worse=state.worse + 1)
    return replace(state, worse=0, halved=state.halved + 1)


def called(model: Model) -> tuple[str, ...]:
    """The kernels that a step calls."""
    return model.kernels


METHODS = {
    "bptt": Method(
        name="bptt",
        summary="backpropagation through time",
        reference="""@article{werbos1990backpropagation,
  title   = {Backpropagation through time: what it does and how to do it},
  author  = {Werbos, Paul J.},
  journal = {Proceedings of the IEEE},
  volume  = {78},
  number  = {10},
  pages   = {1550--1560},
  year    = {1990}
}""",
        config=Config,
        defaults={},
        state=State,
        init=init,
        step=step,
        kernels=called,
        readouts=READOUTS,
        draws=True,
        validated=validated,
    )
}
