"""Backpropagation through time: the gradient of the loss over the whole sequence (Werbos 1990), or over windows of a
long text through which the state is carried (truncated BPTT).

    h_t = F(x_t, h_{t-1}),  t = 1..T,  h_0 = 0 or the last state of the batch before
    E   = loss(h_T) or the mean of loss(h_t) over t
    W  <- W - lr dE/dW

Where the sequences of a batch are successive blocks of one text, each begins in the state in which the one before ends,
and gradients end at the borders. The forward pass of a batch is one of the model as it is drawn for it: dropout, AR and
TAR (see `algorithms.model`). With `parts` above 1, E is the sum of the losses of so many parts of a sequence, as
`algorithms.part_losses` has them: the auxiliary losses of Kag & Saligrama 2021, table 3.

Legend: T time, B batch, S numbers in a state; E loss, h states [T, B, S].
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from algorithms import part_losses
from algorithms import schedule as schedules
from algorithms.model import Model
from algorithms.part_losses import PartLosses
from algorithms.protocol import (
    READOUTS,
    Batch,
    EndOf,
    Info,
    Method,
    above_zero,
    at_least_zero,
    check_names,
    initial_state,
    last_state,
    without,
)
from minigrad import ops, optim
from minigrad.backend import Array, Params
from minigrad.errors import InputError
from minigrad.tape import Tape


@dataclass(frozen=True, kw_only=True)
class Config(PartLosses):
    """Options of BPTT."""

    rate_window: int | None = None
    """Steps of a window that has the learning rate lr (>= 1): one of T steps has lr T / rate_window (Merity et al.
    2018, whose windows vary around that length); None: all have lr."""
    rates: Mapping[str, float] = field(default_factory=dict)
    """Factors on the learning rate of single parameters, >= 0, such as W_hh 1e-4 b_h 1e-4 (the control BPTT-split)."""
    update_freq: int = 1
    """Batches whose mean gradient makes one update, at the latest at the end of a pass through the data; 0: all batches
    of a pass (the batch regime of Wiseman et al.)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_zero(self, "update_freq")
        above_zero(self, "rate_window")
        if self.rate_window is not None and self.update_freq != 1:
            raise InputError("rate_window is the rate of one window: leave update_freq at 1 with it")
        for name, factor in self.rates.items():
            if not (factor >= 0 and np.isfinite(factor)):
                raise InputError(f"rates: the factor of {name} must be at least 0 and finite, got {factor}")
        if self.parts == 1 and (self.part_weight, self.divergence) != (None, None):
            raise InputError("part_weight and divergence are for parts: ask for more than 1")

    def for_window(self, T: int) -> Config:
        """With the learning rate of a window of T steps."""
        return self if self.rate_window is None else replace(self, lr=self.lr * T / self.rate_window)

    def _rule(self, lr: float) -> optim.Optimizer:
        """The update rule, then the rates. They come before nt-asgd, whose update is linear in the gradient and which
        averages the parameters as its own updates leave them."""
        rule, rates = super()._rule(lr), optim.scale(self.rates)
        return optim.chain(rates, rule) if self.optimizer == "nt-asgd" else optim.chain(rule, rates)


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
    schedule: schedules.Schedule = field(default_factory=schedules.fresh)
    """Passes and checks, see `algorithms.schedule`."""
    estimate: part_losses.Estimate = field(default_factory=dict)
    """What earlier passes made of the answers to parts, see `algorithms.part_losses`."""


def init(config: Config, model: Model, params: Params, rng: np.random.Generator) -> State:
    """A fresh state around given parameters.

    Raises:
        InputError: if there is no parameter of a name; if there are to be parts where every step has an answer, or as
            `algorithms.part_losses.kind_of`.
    """
    check_names(params, "frozen", config.frozen)
    check_names(params, "rates", config.rates)
    if config.parts > 1:
        part_losses.kind_of(config, model)
        if model.loss_at == "every":
            raise InputError("parts are for sequences with one answer: where every step has one, they add nothing")
    return State(params, config.update_rule(schedules.fresh()).init(without(params, *config.frozen)))


def step(config: Config, model: Model, state: State, batch: Batch, rng: np.random.Generator) -> tuple[State, Info]:
    """One update by the gradient of the loss on one batch.

    Raises:
        InputError: if the sequences have fewer steps than there are to be parts, or need numbers and have none, or the
            batch does not fit the carried state.
    """
    p, x = state.params, batch.x
    h0 = initial_state(model, p, batch, state.carry)
    model = model.drawn(rng, p, *x.shape[:2])

    with Tape() as tape:
        w = tape.watch(p)
        h = model.unroll(w, x, h0)
        E, parts, estimate = _loss(config, model, state, w, h, batch)
    dE_dW = tape.gradient(E, without(w, *config.frozen))

    total = dE_dW if state.total is None else {name: g + state.total[name] for name, g in dE_dW.items()}
    count = state.count + 1
    if due := count == config.update_freq or batch.last:
        mean = {name: g / count for name, g in total.items()} if count > 1 else total
        W, optimizer = config.for_window(x.shape[0]).update_rule(state.schedule).step(mean, state.optimizer, p)
    else:
        W, optimizer = p, state.optimizer
    info = Info(
        loss=E.value if parts is None else parts.value[-1, ...],
        grads=dE_dW,
        arrays={"h": h.value} if parts is None else {"h": h.value, "part_losses": parts.value},
        kernels=model.twins(called(config, model), p, x.shape[1]),
        kept_bytes=tape.stats().bytes_kept,
    )
    waiting: dict[str, Any] = {"total": None, "count": 0} if due else {"total": total, "count": count}
    after = replace(state, params=W, optimizer=optimizer, carry=last_state(h.value), estimate=estimate, **waiting)
    return (ended(config, model, after) if batch.last else after), info


def _loss(
    config: Config, model: Model, state: State, w: Params, h: Array, batch: Batch
) -> tuple[Array, Array | None, part_losses.Estimate]:
    """E (0-d), the loss at the end or the sum over parts; the losses of these; what is remembered of their answers."""
    if config.parts == 1:
        return model.score(w, model.scored(h), batch.y), None, {}
    kept = state.estimate or part_losses.fresh(config, model, batch, h.value)
    losses, passes = [], state.schedule["passes"]
    for span in part_losses.spans(batch.x.shape[0], config.parts):
        if not part_losses.trained_on(config, span):
            continue
        Q = part_losses.estimated(config, model, kept, batch, span, passes)
        l, z = part_losses.loss(config, model, w, h[span.last - 1, ...], batch, span, Q)
        kept = part_losses.told(config, model, kept, batch, span, passes, None if z is None else z.value)
        losses.append(l)
    each = ops.stack(losses)
    return ops.sum(each), each, kept


def ended(config: Config, model: Model, state: State) -> State:
    """The state after a pass through the data."""
    estimate = part_losses.turned(config, model, state.estimate)
    return replace(state, schedule=schedules.passed(state.schedule), estimate=estimate)


def measure(config: Config, model: Model, state: State, batch: Batch, info: Info) -> dict[str, Any]:
    """`tape_bytes`: what the tape of the step kept for the way back."""
    return {"tape_bytes": info.kept_bytes}


def first_update(config: Config, end_of: EndOf) -> float:
    """After `update_freq` batches, or at the end of a pass. `end_of` may look at the data: it is not asked in vain."""
    return 1 if config.update_freq == 1 else min(config.update_freq or math.inf, end_of(1))


def called(config: Config, model: Model) -> tuple[str, ...]:
    """The kernels that a step calls."""
    return model.kernels if config.parts == 1 else part_losses.called(config, model)


METHODS = {
    "bptt": Method(
        name="bptt",
        summary="backpropagation through time: the gradient of the loss, over the whole sequence or carried windows",
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
        least=lambda config: config.parts,
        first_update=first_update,
        kernels=called,
        readouts=READOUTS,
        draws=True,
        validated=schedules.validated,
        judged=schedules.judged,
        measure=measure,
    )
}
