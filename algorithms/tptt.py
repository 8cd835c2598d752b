"""Target propagation through time (Manchev & Spratling 2020): TPTT, and TPTThx of its appendix A.

A second network G learns to undo the transition F. From a target for the last state, G sets a target for every state
before it, and F learns each transition locally: the loss is backpropagated one step, never through time. An iteration
learns G first and sets targets with the G just learnt, as the authors' released code does; the paper's text names the
targets first.

Legend, the paper's symbols (row vectors here: x @ W where the paper writes W x):
    T time, B batch, D input size, H hidden units, O outputs
    x_t [B, D], h_t [B, H]      input and state; h_0 = 0
    F, G                        transition and its learnt inverse; W_xh serves both
    W_xh W_hh b_h W_hy b_y      parameters of F and of the readout
    V_hh [H, H], c_h [H]        parameters of G
    h^_t                        target of h_t (`targets`)
    alpha_i alpha_f alpha_g     rates: of the first target, of F, of G
    E                           loss of the network at the last step
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from algorithms.measures import angle
from algorithms.model import Model
from algorithms.protocol import (
    Batch,
    Info,
    Method,
    UpdateRule,
    at_least_zero,
    check_names,
    initial_state,
    last_state,
    select,
    without,
)
from minigrad import init as initialisers
from minigrad import kernels, ops
from minigrad.backend import Array, Params, get_xp, like, to_numpy
from minigrad.cells import SRN
from minigrad.errors import InputError
from minigrad.kernels import target
from minigrad.kernels.plain import before
from minigrad.tape import Tape


@dataclass(frozen=True, kw_only=True)
class Config(UpdateRule):
    """Options of TPTT."""

    alpha_i: float = 0.1
    """Rate of the first target (alpha_i, >= 0)."""
    alpha_f: float = 0.01
    """Learning rate of F and the readout (alpha_f, >= 0)."""
    alpha_g: float = 0.001
    """Learning rate of G (alpha_g, >= 0)."""
    w_xh: Literal["bptt", "local"] = "bptt"
    """How W_xh learns: bptt (Eq. 12, TPTT) or local (Eq. 13, TPTThx)."""
    reduction: Literal["mean_bh", "sum_h", "sum"] = "mean_bh"
    """Local squared errors: mean over batch and units, sum over units and mean over the batch, or sum."""
    g_sum: Literal["all", "paper"] = "all"
    """Steps in the sum of Eq. 9: all t = 1..T (released code), or t = 1..T-1 (paper)."""
    feedback: Literal["learned", "fixed", "transpose"] = "learned"
    """V_hh: learned (Eq. 9), fixed as drawn, or the transpose of W_hh throughout."""
    noise: float = 0.0
    """Standard deviation of the noise on the states that G learns to restore (section 3.1.2, >= 0)."""
    p_g: float | None = None
    """Asynchronous phases: an iteration updates G with this probability, F otherwise (None: both, G first)."""
    optimizer: Literal["sgd", "momentum", "nag", "adagrad"] = "nag"
    """Update rule (momentum: PyTorch's form; nag: Lasagne's form, as in the paper)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_zero(self, "alpha_i", "alpha_f", "alpha_g", "noise")
        if self.p_g is not None and not 0 <= self.p_g <= 1:
            raise InputError(f"p_g is a probability, got {self.p_g}")
        if self.feedback != "learned" and self.p_g is not None:
            raise InputError(f"p_g: with {self.feedback} feedback there is no G phase to choose")

    def learns(self, name: str) -> bool:
        """Whether a parameter is trained at all."""
        if name in ("V_hh", "c_h") and self.feedback != "learned":
            return False
        return name not in self.frozen


@dataclass(frozen=True)
class State:
    """What lives across batches."""

    params: Params
    optimizer_f: dict[str, Any]
    optimizer_g: dict[str, Any]
    carry: Array | None = None
    """Last states [B, H] of the batch before, for batches that continue."""


FORWARD = ("W_xh", "W_hh", "b_h", "W_hy", "b_y")
FEEDBACK = ("V_hh", "c_h")


def init(config: Config, model: Model, params: Params, rng: np.random.Generator) -> State:
    """A fresh state around given parameters; V_hh (orthogonal) and c_h (zeros) are drawn unless they are given.

    Raises:
        InputError: for a cell other than the SRN, several layers, token inputs, or a loss at every step.
    """
    if not isinstance(model.cell, SRN) or model.vocabulary is not None or model.loss_at != "last":
        raise InputError("tptt is defined for one SRN layer, vector inputs and a loss at the last step")
    H, dtype = model.cell.hidden, params["W_hh"].dtype
    params = dict(params)
    if "V_hh" not in params:
        name = str(dtype).rpartition(".")[2]
        params["V_hh"] = like(params["W_hh"], initialisers.rand_ortho(rng, H, H, name))
        params["c_h"] = get_xp(params["b_h"]).zeros_like(params["b_h"])
    check_names(params, "frozen", config.frozen)
    learning = {name: array for name, array in params.items() if config.learns(name)}
    return State(
        tied(config, params),
        optimizer_f=config.rule(config.alpha_f).init(select(learning, *FORWARD)),
        optimizer_g=config.rule(config.alpha_g).init(select(learning, *FEEDBACK)),
    )


def F(model: Model, p: Params, x: Array, h: Array) -> Array:
    """F(x_t, h_{t-1}) = act(x_t W_xh + h_{t-1} W_hh + b_h), Eq. 1."""
    return model.step(p, x, h)


def G(model: Model, p: Params, x: Array, h: Array) -> Array:
    """G(x_t, h_t) = act(x_t W_xh + h_t V_hh + c_h), Eq. 7: F's form with weights of its own."""
    return model.step({**p, "W_hh": p["V_hh"], "b_h": p["c_h"]}, x, h)


def step(config: Config, model: Model, state: State, batch: Batch, rng: np.random.Generator) -> tuple[State, Info]:
    """One iteration of TPTT: learn G (Eq. 9), set targets (Eqs. 3, 8), learn F locally (Eqs. 10-13)."""
    p, x, y = state.params, batch.x, batch.y
    h_0 = initial_state(model, p, batch, state.carry)
    learn_g, learn_f = phases(config, rng)
    grads: Params = {}
    losses: dict[str, Array] = {}
    optimizer_g, optimizer_f = state.optimizer_g, state.optimizer_f

    with Tape() as tape:
        w = tape.watch(p)
        h = model.unroll(w, x, h_0)  # h_t = F(x_t, h_{t-1})  (1)
        h_T = h[-1, ...]
        E = model.score(w, h_T, y)  # (2)
    readout = ("W_hy", "b_y", "W_xh") if config.w_xh == "bptt" else ("W_hy", "b_y")  # (11, 12)
    dE_dhT, dE_dW = tape.gradient(E, (h_T, without(select(w, *readout), *config.frozen)))
    h = h.value
    h_prev = before(h, h_0)

    if learn_g:
        losses["loss_g"], dL_dV = feedback_loss(config, model, p, x, h, h_prev, rng)  # (9)
        p, optimizer_g = config.rule(config.alpha_g).step(dL_dV, optimizer_g, p)
        grads |= dL_dV

    target_T = h[-1, ...] - config.alpha_i * dE_dhT  # h^_T = h_T - alpha_i dE/dh_T  (3)
    targets = targets_before(model, p, x, h, target_T)  # h^_t = h_t - G(x, h_{t+1}) + G(x, h^_{t+1})  (8)

    if learn_f:
        losses["loss_f"], dL_dW = local_loss(config, model, p, x, h, h_prev, targets)  # (10, 13)
        p, optimizer_f = config.rule(config.alpha_f).step({**dE_dW, **dL_dW}, optimizer_f, p)
        grads |= {**dE_dW, **dL_dW}

    info = Info(
        loss=E.value,
        grads=grads,
        arrays={"h": h, "targets": targets, **losses},
        kernels=model.twins(called(config, model), p, h.shape[1]),
    )
    return State(tied(config, p), optimizer_f, optimizer_g, last_state(h)), info


def feedback_loss(
    config: Config, model: Model, p: Params, x: Array, h: Array, h_prev: Array, rng: np.random.Generator
) -> tuple[Array, Params]:
    """L_G = sum_t MSE(G(x_t, F(x_t, q_t)), q_t) and its gradient by V_hh, c_h, all else constant (Eq. 9).

    q_t = h_{t-1}, with noise on it where the config says so (section 3.1.2).
    """
    q, f = h_prev, h  # F(x_t, h_{t-1}) is h_t
    if config.noise:
        q = q + like(h, rng.normal(0.0, config.noise, h.shape))
        f = F(model, p, x, q)
    t = slice(None) if config.g_sum == "all" else slice(-1)
    x, f, q = x[t, ...], f[t, ...], q[t, ...]
    with Tape() as tape:
        w = {**p, **tape.watch(select(p, *FEEDBACK))}
        weights = w["W_xh"], w["V_hh"], w["c_h"]  # of G
        L_G = share(config, h) * ops.srn_local_loss(*weights, x, f, q, activation=activation(model))
    return L_G.value, tape.gradient(L_G, without(select(w, *FEEDBACK), *config.frozen))


def targets_before(model: Model, p: Params, x: Array, h: Array, target_T: Array) -> Array:
    """h^_t = h_t - G(x_{t+1}, h_{t+1}) + G(x_{t+1}, h^_{t+1}) for t = T-1..1 (Eq. 8), with h^_T: [T, B, H]."""
    twin = kernels.choose(x, h, p["V_hh"], kernel="target", size=h.shape[1:])
    return target.targets(x, h, target_T, p["W_xh"], p["V_hh"], p["c_h"], activation(model), twin)


def local_loss(
    config: Config, model: Model, p: Params, x: Array, h: Array, h_prev: Array, targets: Array
) -> tuple[Array, Params]:
    """L_F = sum_t MSE(F(x_t, h_{t-1}), h^_t) and its gradient, h_{t-1} and h^_t constant (Eq. 10; W_xh: Eq. 13)."""
    names = ("W_hh", "b_h", "W_xh") if config.w_xh == "local" else ("W_hh", "b_h")
    with Tape() as tape:
        w = tape.watch(select(p, "W_xh", "W_hh", "b_h"))
        weights = w["W_xh"], w["W_hh"], w["b_h"]  # of F
        L_F = share(config, h) * ops.srn_local_loss(*weights, x, h_prev, targets, activation=activation(model), known=h)
    return L_F.value, tape.gradient(L_F, without(select(w, *names), *config.frozen))


def activation(model: Model) -> str:
    """Name of the SRN's activation."""
    name: str = model.cell.activation  # type: ignore[attr-defined]
    return name


def tied(config: Config, p: Params) -> Params:
    """The parameters, with V_hh = W_hh^T where the feedback is the transpose."""
    if config.feedback != "transpose":
        return p
    return {**p, "V_hh": get_xp(p["W_hh"]).matrix_transpose(p["W_hh"])}


def phases(config: Config, rng: np.random.Generator) -> tuple[bool, bool]:
    """Whether this iteration learns G and whether it learns F."""
    chosen = config.p_g is None or rng.random() < config.p_g
    return chosen and config.feedback == "learned", config.p_g is None or not chosen


def share(config: Config, h: Array) -> float:
    """What each squared error counts in a local loss, by the reduction."""
    B: int = h.shape[1]
    H: int = h.shape[2]
    return 1.0 / {"mean_bh": B * H, "sum_h": B, "sum": 1}[config.reduction]


def measure(config: Config, model: Model, state: State, batch: Batch, info: Info) -> dict[str, Any]:
    """The paper's diagnostics at one batch, `state` being the one before the step (section 4.3 of the experiments).

    `angle`: between the local and the backpropagated update of W_hh, in degrees (figure 5). `layers_f`, `layers_g`: the
    terms of the two local losses at every step t = 1..T, means over batch and units, without noise (figure 6).
    """
    p, x = state.params, batch.x
    h_0 = initial_state(model, p, batch, state.carry)
    with Tape() as tape:
        w = tape.watch(select(p, "W_hh"))
        E = model.score(p, model.unroll({**p, **w}, x, h_0)[-1, ...], batch.y)
    bptt = tape.gradient(E, w["W_hh"])

    xp, h = get_xp(bptt), info.arrays["h"]
    error_f = h - info.arrays["targets"]
    error_g = G(model, p, x, h) - before(h, h_0)
    return {
        "angle": angle(info.grads["W_hh"], bptt) if "W_hh" in info.grads else math.nan,
        "layers_f": to_numpy(xp.mean(error_f * error_f, axis=(1, 2))).tolist(),
        "layers_g": to_numpy(xp.mean(error_g * error_g, axis=(1, 2))).tolist(),
    }


def forward_passes(config: Config) -> float:
    """To unroll, to learn G, to set targets and to learn locally; the way back through time for W_xh is one more."""
    return 7.0 if config.w_xh == "bptt" else 6.0


def called(config: Config, model: Model) -> tuple[str, ...]:
    """The kernels that a step calls."""
    return (*model.kernels, "local", "target")


_REFERENCE = """@article{manchev2020target,
  title   = {Target Propagation in Recurrent Neural Networks},
  author  = {Manchev, Nikolay and Spratling, Michael},
  journal = {Journal of Machine Learning Research},
  volume  = {21},
  number  = {7},
  pages   = {1--33},
  year    = {2020}
}"""

METHODS = {
    name: Method(
        name=name,
        summary=summary,
        reference=_REFERENCE,
        config=Config,
        defaults=defaults,
        state=State,
        init=init,
        step=step,
        kernels=called,
        trains=lambda config, name: name in FORWARD and config.learns(name),
        forward_passes=forward_passes,
        measure=measure,
    )
    for name, summary, defaults in (
        ("tptt", "target propagation through time (Manchev & Spratling 2020), W_xh by backpropagation", {}),
        (
            "tptthx",
            "TPTT with the local rule for W_xh too (the paper's appendix A): no gradient passes through time",
            {"w_xh": "local"},
        ),
    )
}
