"""TPROP and BTPROP (Wiseman, Chopra, Ranzato, Szlam, Sun, Chintala & Vasilache 2017): recurrent networks trained as a
constrained optimisation over their hidden states.

A text is cut into blocks of B steps. The state in which a block begins is free: an unknown of its own beside the
parameters theta, held near what the block before predicts for it by a penalty. Gradients never leave a block, and
blocks are computed side by side: the batch axis is time. TPROP is B = 1. The objective for n successive blocks, as the
authors' released code scales it (Eqs. 6 and 7 of the paper over the number of tokens, n B, with lambda B for lambda):

    s_{0,j} = h_j,   s_{k,j} = g(x_{k,j}, s_{k-1,j})  for k = 1..B,   hh_j = s_{B,j}
    J = (1/n) sum_j [ (1/B) sum_k nll(s_{k,j}, y_{k,j}) + (lambda/2) ||hh_j + u_j - h_{j+1}||^2 ]

The three ways of holding the constraint differ in nothing but the order of a few phases (`phases`):

    pm      penalty method                  h down J;  theta down J                          u = 0
    admm    alternating directions          h down J;  u up J;  theta down J
    alm     augmented Lagrangian            h and theta down J at once;  u up J

The sign of u is the code's: u here is -u of the paper. A free state may be optimised as h = tanh(z) (`opt_arctanh`).

Legend:
    B, n                 steps of a block; blocks side by side
    S                    numbers in a state (LSTM: hidden and cell, both are free and both are held)
    x, y [B, n]          tokens and the tokens after them
    h [n+1, S]           free states h_0 .. h_n; h_0 begins the batch, h_n is what its last block is held to
    hh [n, S]            predictions (`h_hat`)
    u [n, S]             duals, one for each constraint
    theta, lam           parameters; lambda
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from algorithms.blocks import border_states
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
    clipped,
    last_state,
    without,
)
from minigrad import ops, optim
from minigrad.backend import Array, Params, get_xp, numbers, sign
from minigrad.cells import GRU, SRN, ChoGRU
from minigrad.errors import InputError
from minigrad.tape import Tape, Tensor

CONVERGED = 1e-5
"""Norm of a gradient below which a phase has nothing left to do. It is asked for between two steps of a phase, and
nothing else in a step looks at a number: a phase of k steps waits k - 1 times for a device."""

LARGEST_Z = 18.0
"""atanh(h) is cut here: tanh(18) is the last number below 1, nearly."""


@dataclass(frozen=True, kw_only=True)
class Config(UpdateRule):
    """Options of TPROP and BTPROP."""

    constraint: Literal["pm", "admm", "alm"] = "pm"
    """How the states are held to what is predicted: penalty method, ADMM, or augmented Lagrangian."""
    lam: float = 1.0
    """Weight of the penalty (lambda, >= 0), as in the released code; 0: states are free of each other."""
    per_token: bool = False
    """Whether lambda is counted as in the paper, beside a sum over tokens: B times as large for the same training."""
    h_steps: int = 1
    """H-steps: steps on the free states of a batch (>= 0; pm and admm)."""
    h_lr: float = 0.1
    """Learning rate of the free states (>= 0)."""
    h_optimizer: Literal["adagrad", "sgd"] = "adagrad"
    """Update rule of the free states: Adagrad, which starts afresh with every batch, or plain gradient descent."""
    h_clip: float | None = None
    """Largest norm of the gradient by the free states, > 0 (None: no clipping)."""
    theta_steps: int = 1
    """Theta-steps: steps on the parameters with the same free states (>= 1; pm and admm)."""
    theta_lr: float = 0.1
    """Learning rate of the parameters (>= 0)."""
    clip: float | None = 0.5
    """Largest global norm of the gradient by the parameters, > 0 (None: no clipping)."""
    u_lr: float = 0.1
    """Learning rate of the duals (>= 0; admm and alm)."""
    u_start: int = 3
    """First epoch in which the duals move, >= 1 (released code: 3; the paper does not say)."""
    dual: Literal["literal", "scaled"] = "literal"
    """Dual step: literal, by the gradient of J, in which u itself is; or scaled, by the residual alone, as in ADMM."""
    alm_steps: int = 5
    """Joint steps on states and parameters, in place of H-steps and theta-steps (>= 1; alm)."""
    h_init: Literal["sequential", "restart", "zero"] = "sequential"
    """First free states: sequential, what the network predicts (paper); restart, what each block predicts from a zero
    state, and zero for the last (released code, flag mb_init); zero (released code, default)."""
    first_state: Literal["free", "fixed"] = "free"
    """Whether h_0, carried in from the batch before, is optimised too, as the released code does."""
    order: Literal["code", "paper"] = "code"
    """When duals move: before the theta-steps, as in the released code, or after them (admm)."""
    opt_arctanh: bool = False
    """Whether to optimise z with h = tanh(z) in place of h."""
    optimizer: Literal["sgd", "momentum", "nag", "adagrad", "adam", "rmsprop", "adadelta"] = "adagrad"
    """Update rule of the parameters."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_zero(self, "lam", "h_steps", "h_lr", "theta_lr", "u_lr")
        above_zero(self, "h_clip", "clip", "theta_steps", "alm_steps", "u_start")
        if self.constraint == "alm" and (self.h_steps, self.theta_steps) != (1, 1):
            raise InputError("h_steps and theta_steps belong to pm and admm, alm has alm_steps: leave them out")
        if self.constraint != "alm" and self.alm_steps != 5:
            raise InputError(f"alm_steps belongs to alm: leave it out with {self.constraint}")

    def update_rule(self) -> optim.Optimizer:
        """Of the parameters."""
        return clipped(self.clip, self.rule(self.theta_lr))

    def h_rule(self) -> optim.Optimizer:
        """Of the free states."""
        rule = optim.sgd(self.h_lr) if self.h_optimizer == "sgd" else optim.adagrad(self.h_lr, self.adagrad_eps)
        return clipped(self.h_clip, rule)

    def penalty(self, block: int) -> float:
        """lambda as J counts it, for blocks of so many steps."""
        return self.lam / block if self.per_token else self.lam


@dataclass(frozen=True)
class State:
    """What lives across batches; free states, their Adagrad sums and duals do not."""

    params: Params
    optimizer: dict[str, Any]
    carry: Array
    """The last prediction of the batch before [S], in which the next one begins; zero at first, never reset."""
    u: Array | None = None
    """Duals to begin the next batch with [n, S]; None: zeros."""
    epoch: int = 0
    """Passes through the text that were begun."""


def init(config: Config, model: Model, params: Params, rng: np.random.Generator) -> State:
    """A fresh state around given parameters.

    Raises:
        InputError: if the loss is not at every step, or for tanh in front of states that it does not reach.
    """
    if model.loss_at != "every":
        raise InputError("btprop is defined for a loss at every step: use a text task, such as sample-char")
    cell = model.cell
    bounded = isinstance(cell, GRU | ChoGRU) or (isinstance(cell, SRN) and cell.activation == "tanh")
    if config.opt_arctanh and not bounded:
        raise InputError("opt_arctanh needs states between -1 and 1: gru, gru-cho, or srn with tanh, one layer")
    check_names(params, "frozen", config.frozen)
    carry = last_state(model.initial_state(params, 1))
    return State(params, config.update_rule().init(without(params, *config.frozen)), carry)


@dataclass(frozen=True)
class Problem:
    """One batch, and J on it."""

    config: Config
    model: Model
    x: Array
    y: Array

    @property
    def n(self) -> int:
        """Blocks side by side."""
        return int(self.x.shape[1])

    @property
    def weight(self) -> float:
        """lambda / n."""
        return self.config.penalty(int(self.x.shape[0])) / self.n

    def objective(self, theta: Params, h: Array, u: Array) -> tuple[Array, Array]:
        """J (Eq. 7), and the predictions hh [n, S] that it rests on."""
        s = self.model.unroll(theta, self.x, h[:-1, ...])  # s_{k,j} from s_{0,j} = h_j
        hh = s[-1, ...]  # hh_j = s_{B,j}
        nll = self.model.score(theta, s, self.y)  # the mean over n B tokens: (1/n) sum_j (1/B) sum_k
        return nll + (self.weight / 2) * ops.squared_error(hh + u, h[1:, ...]), hh

    def predictions(self, theta: Params, h: Array) -> Array:
        """hh [n, S]."""
        return self.model.unroll(theta, self.x, h[:-1, ...])[-1, ...]


@dataclass(frozen=True)
class Point:
    """Where the optimisation of one batch stands."""

    theta: Params
    h: Array
    u: Array
    optimizer: dict[str, Any]
    """Memory of the parameters' update rule."""
    hh: Array | None = None
    """Predictions of the last forward pass that moved theta."""
    grads: Params | None = None
    """Gradient that moved theta last."""
    loss: Array | None = None
    """J before anything moved."""

    def seen(self, J: Array) -> Array:
        """The loss, once J was evaluated here."""
        return J if self.loss is None else self.loss


Phase = Callable[[Problem, Point], Point]


def phases(config: Config, epoch: int) -> tuple[Phase, ...]:
    """What is done with a batch, in this order: all that the three kinds of constraint differ in."""
    moves: tuple[Phase, ...] = (joint_steps,) if config.constraint == "alm" else (h_steps, theta_steps)
    if config.constraint == "pm" or epoch < config.u_start:
        return moves
    if config.h_init == "zero":
        return (dual_step, *moves)
    if config.constraint == "alm" or config.order == "paper":
        return (*moves, dual_step)
    return (h_steps, dual_step, theta_steps)


def step(config: Config, model: Model, state: State, batch: Batch, rng: np.random.Generator) -> tuple[State, Info]:
    """One batch: set the free states to what is predicted, then take the phases of the constraint.

    Raises:
        InputError: if the columns of the batch are no successive blocks of a text.
    """
    check_blocks(batch)
    problem = Problem(config, model, batch.x, batch.y)
    epoch = state.epoch + (not batch.continues)
    h = first_states(problem, state.params, state.carry)
    u = get_xp(h).zeros_like(h[1:, ...]) if state.u is None else state.u

    at = Point(state.params, h, u, state.optimizer)
    for phase in phases(config, epoch):
        at = phase(problem, at)
    assert at.loss is not None
    assert at.hh is not None
    assert at.grads is not None
    info = Info(
        loss=at.loss,
        grads=at.grads,
        bounded={"the free states": at.h},
        arrays={"h": at.h, "h_hat": at.hh, "u": at.u, "carry": at.hh[-1, ...]},
        kernels=model.twins(called(config, model), at.theta, problem.n),
    )
    return State(at.theta, at.optimizer, last_state(at.hh), epoch=epoch), info


def check_blocks(batch: Batch) -> None:
    """Raise InputError if the columns of a batch are no successive blocks of a text."""
    if not batch.consecutive:
        raise InputError("btprop needs successive blocks of one text side by side: use --task-options layout blocks")


def first_states(problem: Problem, theta: Params, carry: Array) -> Array:
    """h_0 .. h_n [n+1, S] before anything is optimised, by `h_init`; carry [S]."""
    model, x, n, xp = problem.model, problem.x, problem.n, get_xp(carry)
    match problem.config.h_init:
        case "sequential":  # h_0 = carry, h_{j+1} = hh_j: the blocks one after the other
            return border_states(model, theta, x, carry)
        case "restart":  # h_0 = carry, h_{j+1} = hh_j from a zero state, h_n = 0
            alone = model.unroll(theta, x, model.initial_state(theta, n))[-1, ...]
            return xp.concat([carry[None, ...], alone[:-1, ...], xp.zeros_like(carry[None, ...])])
    return xp.zeros((n + 1, carry.shape[0]), dtype=carry.dtype, device=carry.device)


def h_steps(problem: Problem, at: Point) -> Point:
    """h down J, theta and u constant: up to `h_steps` steps.

    n dJ/dh_j = (1/B) d(sum_k nll_{k,j})/dh_j + lambda (hh_j + u_j - h_{j+1}) d hh_j/dh_j       for j < n
                - lambda (hh_{j-1} + u_{j-1} - h_j)                                             for j > 0
    """
    rule = problem.config.h_rule()
    z, loss = to_z(problem.config, at.h), at.loss
    memory = rule.init({"h": z})
    for left in reversed(range(problem.config.h_steps)):
        with Tape() as tape:
            w = tape.watch(z)
            J, _ = problem.objective(at.theta, to_h(problem.config, w), at.u)
        loss = J.value if loss is None else loss
        dJ_dz = {"h": held(problem.config, tape.gradient(J, w))}
        moved, memory = rule.step(dJ_dz, memory, {"h": z})
        z = moved["h"]
        if left and optim.global_norm(dJ_dz) < CONVERGED:
            break
    return replace(at, h=to_h(problem.config, z) if problem.config.h_steps else at.h, loss=loss)


def dual_step(problem: Problem, at: Point) -> Point:
    """u up J, hh with the states and parameters of the moment.

    literal: u_j += u_lr dJ/du_j = u_lr (lambda/n) (hh_j + u_j - h_{j+1});  scaled: the same without u_j.
    """
    config, loss = problem.config, at.loss
    if loss is None:
        J, hh = problem.objective(at.theta, at.h, at.u)
        loss = J
    else:
        hh = problem.predictions(at.theta, at.h)
    r = hh - at.h[1:, ...] + (at.u if config.dual == "literal" else 0.0)
    return replace(at, u=at.u + config.u_lr * problem.weight * r, loss=loss)


def theta_steps(problem: Problem, at: Point) -> Point:
    """theta down J, h and u constant: `theta_steps` steps.

    dJ/dtheta: back through each block from its constant first state, with lambda/n (hh_j + u_j - h_{j+1}) on hh_j.
    """
    config = problem.config
    for _ in range(config.theta_steps):
        with Tape() as tape:
            theta = tape.watch(at.theta)
            J, hh = problem.objective(theta, at.h, at.u)
        dJ_dtheta = tape.gradient(J, without(theta, *config.frozen))
        moved, optimizer = config.update_rule().step(dJ_dtheta, at.optimizer, at.theta)
        at = replace(at, theta=moved, optimizer=optimizer, hh=hh.value, grads=dJ_dtheta, loss=at.seen(J.value))
    return at


def joint_steps(problem: Problem, at: Point) -> Point:
    """h and theta down J by gradients at the same point, u constant: up to `alm_steps` steps."""
    config = problem.config
    rule, z = config.h_rule(), to_z(config, at.h)
    memory = rule.init({"h": z})
    for left in reversed(range(config.alm_steps)):
        with Tape() as tape:
            theta, w = tape.watch(at.theta), tape.watch(z)
            J, hh = problem.objective(theta, to_h(config, w), at.u)
        dJ_dz, dJ_dtheta = tape.gradient(J, (w, without(theta, *config.frozen)))
        dJ_dh = {"h": held(config, dJ_dz)}
        free, memory = rule.step(dJ_dh, memory, {"h": z})
        z = free["h"]
        moved, optimizer = config.update_rule().step(dJ_dtheta, at.optimizer, at.theta)
        at = replace(at, theta=moved, optimizer=optimizer, hh=hh.value, grads=dJ_dtheta, loss=at.seen(J.value))
        if left and optim.global_norm(dJ_dh | dJ_dtheta) < CONVERGED:
            break
    return replace(at, h=to_h(config, z))


def held(config: Config, dJ_dh: Array) -> Array:
    """The gradient by the free states, none for a first state that is fixed."""
    if config.first_state == "free":
        return dJ_dh
    xp = get_xp(dJ_dh)
    return xp.concat([xp.zeros_like(dJ_dh[:1, ...]), dJ_dh[1:, ...]])


def to_z(config: Config, h: Array) -> Array:
    """What is optimised in place of h."""
    if not config.opt_arctanh:
        return h
    xp = get_xp(h)
    inside = xp.abs(h) < 1
    return xp.where(inside, xp.atanh(xp.where(inside, h, xp.zeros_like(h))), LARGEST_Z * sign(h))


def to_h(config: Config, z: Array | Tensor) -> Any:
    """h from what is optimised."""
    return ops.tanh(z) if config.opt_arctanh else z


WORK: dict[Phase, float] = {h_steps: 2.0, theta_steps: 3.0, joint_steps: 3.0, dual_step: 1.0}
"""Forward passes that a step of each phase amounts to: its own, the way back to states, and that to parameters."""


def steps_of(config: Config, phase: Phase) -> int:
    """How many steps a phase takes, at most."""
    steps: dict[Phase, int] = {h_steps: config.h_steps, theta_steps: config.theta_steps}
    return (steps | {joint_steps: config.alm_steps, dual_step: 1})[phase]


def forward_passes(config: Config) -> float:
    """Those of all phases, once duals move, and the one that sets the first states."""
    each = [WORK[phase] * steps_of(config, phase) for phase in phases(config, config.u_start)]
    return sum(each) + (config.h_init != "zero")


def called(config: Config, model: Model) -> tuple[str, ...]:
    """The kernels that a step calls."""
    return model.kernels


def measure(config: Config, model: Model, state: State, batch: Batch, info: Info) -> dict[str, Any]:
    """How far the free states are from what is predicted for them: root mean squares over blocks of norms over a state.

    `residual`: ||hh_j - h_{j+1}||;  `dual`: ||u_j||;  `state`: ||h_j||, to compare with;  `positions`: mean of
    nll(s_{k,j}, y_{k,j}) over j, nats a token, for k = 1..B, from the free states and the parameters before the step.
    """
    h, hh, u = info.arrays["h"], info.arrays["h_hat"], info.arrays["u"]
    s = model.unroll(state.params, batch.x, h[:-1, ...])
    nll = [model.score(state.params, s[k : k + 1, ...], batch.y[k : k + 1, ...]) for k in range(s.shape[0])]
    return {"residual": _rms(hh - h[1:, ...]), "dual": _rms(u), "state": _rms(h), "positions": numbers(nll)}


def _rms(rows: Array) -> float:
    """Root mean square of the norms of rows [., S]."""
    return optim.global_norm({"rows": rows}) / math.sqrt(rows.shape[0])


METHODS = {
    "btprop": Method(
        name="btprop",
        summary="block target propagation, TPROP with blocks of one step: penalty method, ADMM, augmented Lagrangian "
        "(Wiseman et al. 2017)",
        reference="""@article{wiseman2017training,
  title   = {Training Language Models Using Target-Propagation},
  author  = {Wiseman, Sam and Chopra, Sumit and Ranzato, Marc'Aurelio and Szlam, Arthur and Sun, Ruoyu and Chintala,
             Soumith and Vasilache, Nicolas},
  journal = {arXiv preprint arXiv:1702.04770},
  year    = {2017}
}""",
        config=Config,
        defaults={},
        state=State,
        init=init,
        step=step,
        forward_passes=forward_passes,
        kernels=called,
        blocks=True,
        readouts=READOUTS,
        measure=measure,
    )
}
