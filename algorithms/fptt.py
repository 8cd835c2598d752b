"""Forward propagation through time (Kag & Saligrama 2021): the parameters move within a sequence, after each of its
parts, by the loss of that part and a regulariser that ties one part's solution to the next.

A sequence of T steps is cut into parts of floor(T / K) steps, and one more with what remains; gradients never leave a
part, so that no more than one is kept. For part t = 1, 2, ..., with W_bar_1 = W_1 and lambda_1 = 0, the three forms in
which paper and released code state the method are

    running       R(W) = -(1 - rho) <W, lambda_t> + c (alpha/2) ||W - W_bar_t||^2
                  W_{t+1}      a step on l_t + R
                  lambda_{t+1} = lambda_t - alpha (W_{t+1} - W_bar_t)
                  W_bar_{t+1}  = (1 - beta) W_bar_t + beta W_{t+1} - (beta/alpha) lambda_{t+1}

    algorithm2    R(W) = (alpha/2) ||W - W_bar_t - (1 / (2 alpha)) grad l_{t-1}(W_t)||^2            Algorithm 2
                  W_bar_{t+1} = (W_bar_t + W_{t+1}) / 2 - (1 / (2 alpha)) grad l_t(W_{t+1})

    equation6     R(W) = (alpha/2) ||W - W_bar_t - (1 / alpha) grad l_{t-1}(W_t)||^2                Eq. 6
                  W_bar as in algorithm2

    debias        R(W) = -<W, lambda_t> + <W, mu_t>,  lambda_t = grad l_t(W_bar_t)               an option of the code
                  W_bar_{t+1} = (1 - b) W_bar_t + b W_{t+1},  mu_{t+1} = (1 - b) mu_t + b lambda_t
                  b           = 1 / (1 + number of the pass through the data, from 1)

`running` is the released code's and the default: it asks for no gradient at W_{t+1}. With alpha = 0 there is no
regulariser, and what is left is one step of truncated BPTT a part, the control "online TBPTT". The model is drawn anew
for every part: dropout, AR and TAR (see `algorithms.model`). A tensor in two places, such as the embedding of a tied
readout, is one parameter, and the regulariser has it once.

After each pass through data that have an end, the released code goes on from W_bar, which is also what it returns:
W <- W_bar, and, but for two of its tasks, lambda <- 0. Neither does the paper, nor the code with debias (`pass_end`).

Legend:
    T, K, P'        steps of a sequence; parts asked for (`parts`); parts that there are, K or K + 1
    l_t             loss of part t: the mean over its tokens; for sequences with one answer see algorithms.part_losses
    W, W_bar        parameters and their running estimate, of every trained parameter
    lambda          running estimate of the gradient (`lambda`); c is `penalty_factor`
    h, S            states, numbers in a state; a part begins in the state in which the one before it ended
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from algorithms import part_losses
from algorithms import schedule as schedules
from algorithms.model import Model
from algorithms.part_losses import PartLosses, Span, spans
from algorithms.protocol import (
    READOUTS,
    Batch,
    Info,
    Method,
    OptimizerName,
    above_zero,
    at_least_zero,
    check_names,
    initial_state,
    last_state,
    without,
)
from minigrad import optim
from minigrad.backend import Array, Params, get_xp
from minigrad.errors import InputError
from minigrad.tape import Tape


@dataclass(frozen=True, kw_only=True)
class Config(PartLosses):
    """Options of FPTT."""

    form: Literal["running", "algorithm2", "equation6", "debias"] = "running"
    """Which form: the running estimate of the released code, Algorithm 2, Eq. 6, or that code's option `debias`."""
    parts: int = 10
    """Parts of a sequence (the paper's K), >= 1; 1: one update a sequence."""
    alpha: float = 0.5
    """Weight of the regulariser, 0 or at least 1e-30; 0: none, which is online truncated BPTT, and nothing for the next
    three and `pass_end` to shape. (debias has no weight: 0, or not.)"""
    beta: float = 0.5
    """Weight of the newest parameters in the running estimate, in [0, 1] (running)."""
    penalty_factor: float = 1.0
    """c, factor of the squared distance (>= 0; running): 1 in the released code for images, 2 for texts."""
    rho: float = 0.0
    """Part of the inner product that is left out, in [0, 1] (running)."""
    inner_steps: int = 1
    """Steps on each part from the state in which it begins (>= 1)."""
    lr: float = 1e-3
    """Learning rate, >= 0."""
    rate_window: int | None = None
    """Steps that windows are measured by (>= 1): one of T steps in P' parts has the rate lr T / (2 rate_window P')
    (released code for PTB-char and PTB-word, whose windows vary around that length); None: all have lr."""
    optimizer: OptimizerName = "adam"
    """Update rule (nt-asgd: sgd that averages its parameters once checks become worse)."""
    carry: Literal["recomputed", "last"] = "recomputed"
    """State that the next window of a text begins in: that of one more pass through this one with the new parameters
    (released code), or the one in which the last part ended."""

    pass_end: Literal["average", "keep-lambda", "none"] | None = None
    """After each pass through the data: W <- W_bar and lambda <- 0 (released code), W <- W_bar only (released code for
    Penn Treebank in sequences of 300 and by characters), or nothing (paper, and debias); None: average with form
    running, nothing with the others."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_zero(self, "alpha", "beta", "penalty_factor", "rho")
        above_zero(self, "inner_steps", "rate_window")
        if self.beta > 1 or self.rho > 1:
            raise InputError(f"beta and rho must be at most 1, got {self.beta} and {self.rho}")
        shaped = (self.beta, self.penalty_factor, self.rho) != (0.5, 1.0, 0.0)
        if self.form != "running" and shaped:
            raise InputError(f"beta, penalty_factor and rho belong to form running: leave them out with {self.form}")
        if 0 < self.alpha < 1e-30:
            raise InputError(f"alpha must be 0 or at least 1e-30, got {self.alpha}")

    def for_window(self, T: int, parts: int) -> Config:
        """With the learning rate of a window of T steps in so many parts."""
        if self.rate_window is None:
            return self
        return replace(self, lr=self.lr * T / (2 * self.rate_window * parts))


@dataclass(frozen=True)
class State:
    """What lives across batches."""

    params: Params
    optimizer: dict[str, Any]
    regulariser: dict[str, Params] = field(default_factory=dict)
    """`W_bar` and, by the form, `lambda`, `last_grad` or `mu`, of the trained parameters; empty where alpha is 0."""
    carry: Array | None = None
    """Last state [B, S] of the window before; where it is to be recomputed, the state in which that window began."""
    window: Array | None = None
    """Tokens [T, B] of the window before, where its last state is to be recomputed."""
    schedule: schedules.Schedule = field(default_factory=schedules.fresh)
    """Passes and checks, see `algorithms.schedule`."""
    estimate: part_losses.Estimate = field(default_factory=dict)
    """What earlier passes made of the answers to parts, see `algorithms.part_losses`."""


def init(config: Config, model: Model, params: Params, rng: np.random.Generator) -> State:
    """A fresh state around given parameters: W_bar_1 = W_1, and zeros.

    Raises:
        InputError: if there is no parameter of a name, or as `algorithms.part_losses.kind_of`.
    """
    check_names(params, "frozen", config.frozen)
    part_losses.kind_of(config, model)
    if config.carry == "last" and model.vocabulary is None:
        raise InputError("carry is about the windows of a text: leave it out for this task")
    trained = without(params, *config.frozen)
    kept = {} if config.alpha == 0 else {"W_bar": trained, MEMORY[config.form]: zeros(trained)}
    return State(params, config.update_rule(schedules.fresh()).init(trained), kept)


MEMORY = {"running": "lambda", "algorithm2": "last_grad", "equation6": "last_grad", "debias": "mu"}
"""What each form remembers beside W_bar."""


def zeros(params: Params) -> Params:
    """Zeros in the shapes of parameters."""
    return {name: get_xp(p).zeros_like(p) for name, p in params.items()}


def step(config: Config, model: Model, state: State, batch: Batch, rng: np.random.Generator) -> tuple[State, Info]:
    """One sequence: `inner_steps` updates after each of its parts.

    Raises:
        InputError: if the sequences have fewer steps than there are to be parts.
    """
    cut = spans(batch.x.shape[0], config.parts)
    config = config.for_window(batch.x.shape[0], len(cut))
    before = carried(config, model, state, rng) if batch.continues else None
    entered = h = initial_state(model, state.params, batch, before)
    at = replace(state, estimate=state.estimate or part_losses.fresh(config, model, batch, h))
    met: list[Array] = []
    moved_by: Params = {}
    kept_bytes = 0
    for span in cut:
        if part_losses.trained_on(config, span):
            drawn = model.drawn(rng, at.params, span.last - span.first, batch.x.shape[1])
            at, update = updated(Part(config, drawn, batch, span), at, h)
            h, moved_by, kept_bytes = update.ended, update.moved_by, max(kept_bytes, update.kept_bytes)
            met.append(update.loss)

    recompute = config.carry == "recomputed" and model.vocabulary is not None
    at = replace(at, carry=entered if recompute else h, window=batch.x if recompute else None)
    losses = get_xp(h).stack(met)
    info = Info(
        loss=losses[-1, ...] if model.loss_at == "last" else get_xp(h).mean(losses),
        grads=moved_by,
        arrays={"part_losses": losses},
        kernels=model.twins(called(config, model), at.params, batch.x.shape[1]),
        kept_bytes=kept_bytes,
    )
    return (ended(config, model, at) if batch.last else at), info


def ended(config: Config, model: Model, at: State) -> State:
    """The state after a pass through the data."""
    estimate = part_losses.turned(config, model, at.estimate)
    at = replace(at, schedule=schedules.passed(at.schedule), estimate=estimate)
    rule = config.pass_end or ("average" if config.form == "running" else "none")
    if not at.regulariser or rule == "none":
        return at
    W_bar, memory = at.regulariser["W_bar"], MEMORY[config.form]
    kept = at.regulariser if rule == "keep-lambda" else {"W_bar": W_bar, memory: zeros(W_bar)}
    return replace(at, params=at.params | W_bar, regulariser=kept)


def loss(config: Config, model: Model, W: Params, batch: Batch, h: Array) -> Array:
    """The mean over parts of l_t without divergence, all at the same parameters, from the state h [B, S] carried on:
    what the command `trace` writes, no part of the method."""
    losses: list[Array] = []
    for span in spans(batch.x.shape[0], config.parts):
        l, s, _ = Part(config, model, batch, span).loss(W, h)
        losses.append(l)
        h = s[-1, ...]
    xp = get_xp(h)
    return xp.mean(xp.stack(losses))


def carried(config: Config, model: Model, state: State, rng: np.random.Generator) -> Array | None:
    """The state in which the window before ended, under the parameters of today where it is to be recomputed.

    That pass is one of the model as it is drawn for the whole window, as in the released code; its states are there a
    part at a time.
    """
    if state.window is None or state.carry is None:
        return state.carry
    drawn, h = model.drawn(rng, state.params, *state.window.shape[:2]), state.carry
    for first, last, *_ in spans(state.window.shape[0], config.parts):
        h = last_state(drawn.during(first, last).unroll(state.params, state.window[first:last, ...], h))
    return h


class Met(NamedTuple):
    """What a part came to at some parameters."""

    loss: Array
    """l_t (0-d)."""
    gradient: Params
    """grad l_t."""
    ended: Array
    """The state [B, S] in which the part ends."""
    z: Array | None
    """Logits [B, C] at its end, where there is a divergence."""
    kept_bytes: int
    """What the tape kept for the way back."""


@dataclass(frozen=True)
class Part:
    """One part of a batch, and its loss."""

    config: Config
    model: Model
    batch: Batch
    span: Span
    Q: Array | None = None
    """The estimate [B, C] that its divergence is taken from; None: there is none."""

    def loss(self, W: Params, h: Array) -> tuple[Array, Array, Array | None]:
        """l_t, the states of the part [., B, S] from its first state h, and logits, see `Met`."""
        s = self.model.unroll(W, self.batch.x[self.span.first : self.span.last, ...], h)
        l, z = part_losses.loss(self.config, self.model, W, self.model.scored(s), self.batch, self.span, self.Q)
        return l, s, z

    def at(self, W: Params, h: Array) -> Met:
        """What it comes to at W, with the gradient by the trained parameters, from its first state h."""
        with Tape() as tape:
            w = tape.watch(W)
            l, s, z = self.loss(w, h)
        gradient = tape.gradient(l, without(w, *self.config.frozen))
        return Met(l.value, gradient, last_state(s.value), None if z is None else z.value, tape.stats().bytes_kept)


class Taken(NamedTuple):
    """What an update tells."""

    loss: Array
    """l_t (0-d) before the first of its steps."""
    moved_by: Params
    """grad l_t + grad R of the last one, before clipping."""
    ended: Array
    """The state [B, S] in which the part ends, before the last one."""
    kept_bytes: int
    """What the tape of a step kept for the way back."""


def updated(part: Part, at: State, h: Array) -> tuple[State, Taken]:
    """The state after a part that begins in h [B, S], and what its update tells."""
    config, kept, passes = part.config, at.regulariser, at.schedule["passes"]
    rule = config.update_rule(at.schedule)
    part = replace(part, Q=part_losses.estimated(config, part.model, at.estimate, part.batch, part.span, passes))
    if kept and config.form == "debias":
        kept = kept | {"lambda": part.at(at.params | kept["W_bar"], h).gradient}
    first = last = part.at(at.params, h)
    for number in range(config.inner_steps):
        last = part.at(at.params, h) if number else first
        g = regularised(config, kept, at.params, last.gradient) if kept else last.gradient
        W, optimizer = rule.step(g, at.optimizer, at.params)
        at = replace(at, params=W, optimizer=optimizer)
    match config.form if kept else "none":
        case "running":
            kept = running(config, kept, at.params)
        case "algorithm2" | "equation6":
            kept = averaged(config, kept, at.params, part.at(at.params, h).gradient)
        case "debias":
            kept = unbiased(kept, at.params, 1 / (2 + passes))
    estimate = part_losses.told(config, part.model, at.estimate, part.batch, part.span, passes, first.z)
    return replace(at, regulariser=kept, estimate=estimate), Taken(first.loss, g, last.ended, first.kept_bytes)


def regularised(config: Config, kept: dict[str, Params], W: Params, g: Params) -> Params:
    """grad l_t + grad R at W."""
    if config.form == "debias":  # R = -<W, lambda_t> + <W, mu_t>
        return {name: g[name] - kept["lambda"][name] + kept["mu"][name] for name in g}
    alpha, W_bar, memory = config.alpha, kept["W_bar"], kept[MEMORY[config.form]]
    if config.form == "running":  # R = -(1 - rho) <W, lambda_t> + c (alpha/2) ||W - W_bar_t||^2
        c, left = config.penalty_factor * alpha, 1 - config.rho
        return {name: g[name] - left * memory[name] + c * (W[name] - W_bar[name]) for name in g}
    share = 0.5 if config.form == "algorithm2" else 1.0  # 1 / (2 alpha) in Algorithm 2 and Eq. 4, 1 / alpha in Eq. 6
    return {name: g[name] - share * memory[name] + alpha * (W[name] - W_bar[name]) for name in g}


def running(config: Config, kept: dict[str, Params], W: Params) -> dict[str, Params]:
    """lambda and W_bar after a part, from the new parameters: released code."""
    alpha, beta, W_bar, lam = config.alpha, config.beta, kept["W_bar"], kept["lambda"]
    # lambda_{t+1} = lambda_t - alpha (W_{t+1} - W_bar_t)
    lam = {name: lam[name] - alpha * (W[name] - W_bar[name]) for name in lam}
    # W_bar_{t+1} = (1 - beta) W_bar_t + beta W_{t+1} - (beta/alpha) lambda_{t+1}
    W_bar = {name: (1 - beta) * W_bar[name] + beta * W[name] - (beta / alpha) * lam[name] for name in lam}
    return {"W_bar": W_bar, "lambda": lam}


def averaged(config: Config, kept: dict[str, Params], W: Params, g: Params) -> dict[str, Params]:
    """W_bar after a part, from the new parameters and the part's gradient there, which is remembered: Algorithm 2."""
    half, W_bar = 1 / (2 * config.alpha), kept["W_bar"]
    # W_bar_{t+1} = (W_bar_t + W_{t+1}) / 2 - (1 / (2 alpha)) grad l_t(W_{t+1})
    return {"W_bar": {name: (W_bar[name] + W[name]) / 2 - half * g[name] for name in g}, "last_grad": g}


def unbiased(kept: dict[str, Params], W: Params, b: float) -> dict[str, Params]:
    """W_bar and mu after a part, from the new parameters and lambda, the part's gradient at W_bar: an option of the
    released code."""
    W_bar, lam, mu = kept["W_bar"], kept["lambda"], kept["mu"]
    # W_bar_{t+1} = (1 - b) W_bar_t + b W_{t+1},  mu_{t+1} = (1 - b) mu_t + b lambda_t
    return {
        "W_bar": {name: (1 - b) * W_bar[name] + b * W[name] for name in W_bar},
        "mu": {name: (1 - b) * mu[name] + b * lam[name] for name in mu},
    }


def measure(config: Config, model: Model, state: State, batch: Batch, info: Info) -> dict[str, Any]:
    """`tape_bytes`: the most that the tape of a part kept for the way back. Where there is a regulariser, `distance`:
    ||W - W_bar||, and the norm of what else it remembers, by its name, all parameters taken as one vector."""
    found: dict[str, Any] = {"tape_bytes": info.kept_bytes}
    if not state.regulariser:
        return found
    W_bar, memory = state.regulariser["W_bar"], MEMORY[config.form]
    found["distance"] = optim.global_norm({name: state.params[name] - W_bar[name] for name in W_bar})
    return found | {memory: optim.global_norm(state.regulariser[memory])}


def forward_passes(config: Config) -> float:
    """There and back for each step on a part, and once more for what the form asks for at other parameters."""
    elsewhere = config.alpha > 0 and config.form != "running"
    return 3.0 * (config.inner_steps + elsewhere)


def called(config: Config, model: Model) -> tuple[str, ...]:
    """The kernels that a step calls."""
    return part_losses.called(config, model)


METHODS = {
    "fptt": Method(
        name="fptt",
        summary="forward propagation through time (Kag & Saligrama 2021): an update after each part of a sequence",
        reference="""@inproceedings{kag2021training,
  title     = {Training Recurrent Neural Networks via Forward Propagation Through Time},
  author    = {Kag, Anil and Saligrama, Venkatesh},
  booktitle = {International Conference on Machine Learning},
  year      = {2021}
}""",
        config=Config,
        defaults={},
        state=State,
        init=init,
        step=step,
        least=lambda config: config.parts,
        forward_passes=forward_passes,
        kernels=called,
        readouts=READOUTS,
        draws=True,
        validated=schedules.validated,
        judged=schedules.judged,
        measure=measure,
    )
}
