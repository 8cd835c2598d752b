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

`running` is the released code's and the default: it asks for no gradient at W_{t+1}. With alpha = 0 there is no
regulariser, and what is left is one step of truncated BPTT a part, the control "online TBPTT". The model is drawn anew
for every part: dropout, AR and TAR (see `algorithms.model`). A tensor in two places, such as the embedding of a tied
readout, is one parameter, and the regulariser has it once.

Legend:
    T, K, P'        steps of a sequence; parts asked for (`parts`); parts that there are, K or K + 1
    l_t             loss of part t: the mean over its tokens; where a sequence has one answer, that scored at its end
    W, W_bar        parameters and their running estimate, of every trained parameter
    lambda          running estimate of the gradient (`lambda`); c is `penalty_factor`
    h, S            states, numbers in a state; a part begins in the state in which the one before it ended
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

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
from minigrad.backend import Array, Params, get_xp
from minigrad.errors import InputError
from minigrad.tape import Tape


@dataclass(frozen=True, kw_only=True)
class Config(UpdateRule):
    """Options of FPTT."""

    form: Literal["running", "algorithm2", "equation6"] = "running"
    """Which form: the running estimate of the released code, Algorithm 2, or Eq. 6."""
    parts: int = 10
    """Parts of a sequence (the paper's K, >= 1); 1: one update a sequence."""
    alpha: float = 0.5
    """Weight of the regulariser (>= 0); 0: none, which is online truncated BPTT."""
    beta: float = 0.5
    """Weight of the newest parameters in the running estimate, in [0, 1] (running)."""
    penalty_factor: float = 1.0
    """c, factor of the squared distance (>= 0; running): 1 in the released code for images, 2 for texts."""
    rho: float = 0.0
    """Part of the inner product that is left out, in [0, 1] (running)."""
    inner_steps: int = 1
    """Steps on each part from the state in which it begins (>= 1)."""
    part_weight: Literal["none", "linear"] = "none"
    """Weight of a part's loss: 1, or (p + 1) / P' for p = 0, 1, ..."""
    lr: float = 1e-3
    """Learning rate, >= 0."""
    clip: float | None = None
    """Largest norm of the gradient, regulariser included, > 0 (None: no clipping)."""
    frozen: tuple[str, ...] = ()
    """Parameters that are not trained, such as W_hh b_h."""
    optimizer: Literal["sgd", "momentum", "nag", "adagrad", "adam", "rmsprop", "adadelta"] = "adam"
    """Update rule."""
    carry: Literal["recomputed", "last"] = "recomputed"
    """State that the next window of a text begins in: that of one more pass through this one with the new parameters
    (released code), or the one in which the last part ended."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_zero(self, "alpha", "beta", "penalty_factor", "rho", "lr")
        above_zero(self, "clip", "parts", "inner_steps")
        if self.beta > 1 or self.rho > 1:
            raise InputError(f"beta and rho must be at most 1, got {self.beta} and {self.rho}")
        if self.form != "running" and (self.beta, self.penalty_factor, self.rho) != (0.5, 1.0, 0.0):
            raise InputError(f"beta, penalty_factor and rho belong to form running: leave them out with {self.form}")

    def update_rule(self) -> optim.Optimizer:
        """Clipping, then the optimiser."""
        rule = self.rule(self.lr)
        return rule if self.clip is None else optim.chain(optim.clip_global_norm(self.clip), rule)


@dataclass(frozen=True)
class State:
    """What lives across batches."""

    params: Params
    optimizer: dict[str, Any]
    regulariser: dict[str, Params] = field(default_factory=dict)
    """`W_bar` and `lambda` (running) or `last_grad`, of the trained parameters; empty where alpha is 0."""
    carry: Array | None = None
    """Last state [B, S] of the window before; where it is to be recomputed, the state in which that window began."""
    window: Array | None = None
    """Tokens [T, B] of the window before, where its last state is to be recomputed."""


def init(config: Config, model: Model, params: Params, rng: np.random.Generator) -> State:
    """A fresh state around given parameters: W_bar_1 = W_1, and zeros."""
    check_names(params, "frozen", config.frozen)
    trained = without(params, *config.frozen)
    zeros = {name: get_xp(p).zeros_like(p) for name, p in trained.items()}
    kept = {} if config.alpha == 0 else {"W_bar": trained, _memory(config): zeros}
    return State(params, config.update_rule().init(trained), kept)


def _memory(config: Config) -> str:
    """What the form remembers beside W_bar."""
    return "lambda" if config.form == "running" else "last_grad"


def step(config: Config, model: Model, state: State, batch: Batch, rng: np.random.Generator) -> tuple[State, Info]:
    """One sequence: `inner_steps` updates after each of its parts.

    Raises:
        InputError: if the sequences have fewer steps than there are to be parts.
    """
    spans = parts(batch.x.shape[0], config.parts)
    entered = h = initial_state(model, state.params, batch, carried(model, state, rng) if batch.continues else None)
    losses: list[Array] = []
    grads: Params = {}
    at = state
    for p, (first, last) in enumerate(spans):
        drawn = model.drawn(rng, at.params, last - first, batch.x.shape[1])
        part = Part(config, drawn, batch, first, last, (p + 1) / len(spans))
        at, l, grads, h = update(part, at, h)
        losses.append(l)

    recompute = config.carry == "recomputed" and model.vocabulary is not None
    at = replace(at, carry=entered if recompute else h, window=batch.x if recompute else None)
    xp = get_xp(h)
    part_losses = xp.stack(losses)
    reason = divergence(xp.mean(part_losses), grads)
    info = Info(
        loss=xp.mean(part_losses),
        grads=grads,
        status="diverged" if reason else "ok",
        reason=reason,
        arrays={"part_losses": part_losses},
        kernels=model.twins(called(model), at.params, batch.x.shape[1]),
    )
    return at, info


def loss(config: Config, model: Model, W: Params, batch: Batch, h: Array) -> Array:
    """The mean over parts of l_t, all at the same parameters, from the state h [B, S] that is carried on."""
    spans = parts(batch.x.shape[0], config.parts)
    losses: list[Array] = []
    for p, (first, last) in enumerate(spans):
        l, s = Part(config, model, batch, first, last, (p + 1) / len(spans)).loss(W, h)
        losses.append(l)
        h = s[-1, ...]
    xp = get_xp(h)
    return xp.mean(xp.stack(losses))


def parts(T: int, K: int) -> list[tuple[int, int]]:
    """First steps of the parts and the steps after their last ones.

    Raises:
        InputError: if there are more parts than steps.
    """
    if K > T:
        raise InputError(f"parts must be at most the {T} steps of a sequence, got {K}")
    S = T // K
    rest = [(K * S, T)] if K * S < T else []
    return [(p * S, (p + 1) * S) for p in range(K)] + rest


def carried(model: Model, state: State, rng: np.random.Generator) -> Array | None:
    """The state in which the window before ended, under the parameters of today where it is to be recomputed.

    That pass is one of the model as it is drawn for it, as in the released code.
    """
    if state.window is None or state.carry is None:
        return state.carry
    model = model.drawn(rng, state.params, *state.window.shape[:2])
    return last_state(model.unroll(state.params, state.window, state.carry))


@dataclass(frozen=True)
class Part:
    """One part of a batch, and its loss."""

    config: Config
    model: Model
    batch: Batch
    first: int
    last: int
    progress: float
    """(p + 1) / P'."""

    def loss(self, W: Params, h: Array) -> tuple[Array, Array]:
        """l_t, and the states of the part [., B, S], from its first state h."""
        y = self.batch.y[self.first : self.last, ...] if self.model.loss_at == "every" else self.batch.y
        s = self.model.unroll(W, self.batch.x[self.first : self.last, ...], h)
        l = self.model.score(W, self.model.scored(s), y)
        return (l * self.progress if self.config.part_weight == "linear" else l), s

    def gradient(self, W: Params, h: Array) -> tuple[Array, Params, Array]:
        """l_t, its gradient by the trained parameters, and the state in which the part ends."""
        with Tape() as tape:
            w = tape.watch(W)
            l, s = self.loss(w, h)
        return l.value, tape.gradient(l, without(w, *self.config.frozen)), last_state(s.value)


def update(part: Part, at: State, h: Array) -> tuple[State, Array, Params, Array]:
    """The state after a part, l_t, the gradient that moved W last (before clipping), and the last state of the part."""
    config, kept = part.config, at.regulariser
    first_loss: Array | None = None
    for _ in range(config.inner_steps):
        l, g, ended = part.gradient(at.params, h)
        first_loss = l if first_loss is None else first_loss
        g = regularised(config, kept, at.params, g) if kept else g
        W, optimizer = config.update_rule().step(g, at.optimizer, at.params)
        at = replace(at, params=W, optimizer=optimizer)
    assert first_loss is not None
    if not kept:
        return at, first_loss, g, ended
    if config.form == "running":
        kept = running(config, kept, at.params)
    else:
        kept = averaged(config, kept, at.params, part.gradient(at.params, h)[1])
    return replace(at, regulariser=kept), first_loss, g, ended


def regularised(config: Config, kept: dict[str, Params], W: Params, g: Params) -> Params:
    """grad l_t + grad R at W."""
    alpha, W_bar, memory = config.alpha, kept["W_bar"], kept[_memory(config)]
    if config.form == "running":
        c, left = config.penalty_factor * alpha, 1 - config.rho
        return {name: g[name] - left * memory[name] + c * (W[name] - W_bar[name]) for name in g}
    share = 0.5 if config.form == "algorithm2" else 1.0
    return {name: g[name] - share * memory[name] + alpha * (W[name] - W_bar[name]) for name in g}


def running(config: Config, kept: dict[str, Params], W: Params) -> dict[str, Params]:
    """lambda and W_bar after a part, from the new parameters."""
    alpha, beta, W_bar, lam = config.alpha, config.beta, kept["W_bar"], kept["lambda"]
    lam = {name: lam[name] - alpha * (W[name] - W_bar[name]) for name in lam}
    W_bar = {name: (1 - beta) * W_bar[name] + beta * W[name] - (beta / alpha) * lam[name] for name in lam}
    return {"W_bar": W_bar, "lambda": lam}


def averaged(config: Config, kept: dict[str, Params], W: Params, g: Params) -> dict[str, Params]:
    """W_bar after a part, from the new parameters and the part's gradient there, which is remembered."""
    half, W_bar = 1 / (2 * config.alpha), kept["W_bar"]
    return {"W_bar": {name: (W_bar[name] + W[name]) / 2 - half * g[name] for name in g}, "last_grad": g}


def called(model: Model) -> tuple[str, ...]:
    """The kernels that a step calls."""
    return model.kernels


METHODS = {
    "fptt": Method(
        name="fptt",
        summary="forward propagation through time: an update after each part of a sequence, held by a running estimate",
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
        kernels=called,
        readouts=READOUTS,
        draws=True,
    )
}
