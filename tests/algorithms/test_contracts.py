"""The contracts carry what the other papers need: two sketches of methods yet to come, and a small language model.

The sketches are written against nothing but the public contracts: a State of their own, a step, a Model, a tape. They
are untuned; what is asserted are identities that they must satisfy if the contracts bend nowhere.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from algorithms import bptt
from algorithms.model import Model
from algorithms.protocol import Batch, Info
from datasets import task
from experiments import states
from minigrad import ops, optim
from minigrad.backend import Array, Params
from minigrad.rng import stream
from minigrad.tape import Tape

TEXT = "the cat sat on the mat and the dog sat on the log. " * 20


def characters(streams: int, window: int) -> tuple[int, list[task.Batch]]:
    """The text as parallel contiguous streams, cut into windows: vocabulary and batches of one epoch."""
    alphabet = sorted(set(TEXT))
    ids = np.array([alphabet.index(c) for c in TEXT])
    rows = len(ids) // streams
    laid = ids[: rows * streams].reshape(streams, rows).T
    starts = range(0, rows - 1 - window, window)
    return len(alphabet), [
        task.Batch(laid[i : i + window], laid[i + 1 : i + 1 + window], continues=i > 0, index=k)
        for k, i in enumerate(starts)
    ]


def through_a_checkpoint(state: Any) -> Any:
    """A State after it was taken apart for a checkpoint and put together again."""
    node, arrays = states.pack(states.fields_of(state))
    return type(state)(**states.unpack(json.loads(json.dumps(node)), arrays, "cpu"))


def language_model(cell: str, vocabulary: int, layers: int = 1, hidden: int = 24, dtype: str = "float64") -> Any:
    model = Model.make(
        cell=cell,
        input_size=vocabulary,
        hidden=hidden,
        layers=layers,
        output_size=vocabulary,
        loss_at="every",
        tokens=True,
    )
    return model, model.init(stream(7, "init"), "uniform", dtype)


@pytest.mark.parametrize(("cell", "layers"), [("srn", 1), ("gru", 1), ("lstm", 2)])
def test_truncated_bptt_with_carried_state_learns_a_text(cell: str, layers: int) -> None:
    """A character model: token inputs, a loss at every step, state carried across windows, stacked cells."""
    vocabulary, batches = characters(streams=4, window=10)
    model, params = language_model(cell, vocabulary, layers, dtype="float32")
    config = bptt.Config(lr=0.01, optimizer="adam", clip=0.5)
    state = bptt.init(config, model, params, stream(7, "method"))
    epochs = []
    for epoch in range(6):
        losses = []
        for batch in batches:
            state, info = bptt.step(config, model, state, batch, stream(7, "step", epoch, batch.index))
            losses.append(float(info.loss))
        epochs.append(np.mean(losses))
    assert epochs[0] > 2.0
    assert epochs[-1] < 1.3
    assert all(array.dtype == np.float32 for array in state.params.values())


def test_the_carried_state_is_what_one_long_unroll_passes_through() -> None:
    vocabulary, batches = characters(streams=3, window=8)
    model, params = language_model("lstm", vocabulary, layers=2)
    config = bptt.Config(lr=0.0)
    state = bptt.init(config, model, params, stream(7, "method"))
    total = 0.0
    for batch in batches[:4]:
        state, info = bptt.step(config, model, state, batch, stream(7, "step"))
        total += float(info.loss)
    x = np.concatenate([batch.x for batch in batches[:4]])
    y = np.concatenate([batch.y for batch in batches[:4]])
    h = model.unroll(params, x, model.initial_state(params, 3))
    assert_allclose(total / 4, model.score(params, h, y), rtol=1e-12)
    assert_allclose(state.carry, h[-1], rtol=1e-12)


# --- BTPROP (Wiseman et al. 2017): free states and duals that live across minibatches ---


@dataclass(frozen=True)
class BtpropConfig:
    lam: float = 0.1
    h_steps: int = 1
    h_lr: float = 0.1
    u_lr: float = 0.1
    theta_lr: float = 0.02


@dataclass(frozen=True)
class BtpropState:
    params: Params
    optimizer: dict[str, Any]
    carry: Array
    free: dict[str, Array]  # states at the block boundaries, by minibatch: they persist between epochs
    duals: dict[str, Array]


def btprop_objective(model: Model, w: Params, h: Array, u: Array, batch: Batch, lam: float) -> tuple[Array, Array]:
    """J = (1/n) sum_j [(1/B) nll_j + lam/2 ||hh_j + u_j - h_{j+1}||^2], and hh."""
    n = batch.x.shape[1]
    s = model.unroll(w, batch.x, h[:-1])
    hh = s[-1]
    return model.score(w, s, batch.y) + lam / (2 * n) * ops.squared_error(hh + u, h[1:]), hh


def sequential(model: Model, p: Params, carry: Array, batch: Batch) -> Array:
    states = [carry]
    for j in range(batch.x.shape[1]):
        states.append(model.unroll(p, batch.x[:, j : j + 1], states[-1][None])[-1][0])
    return np.stack(states)


def btprop_step(
    config: BtpropConfig, model: Model, state: BtpropState, batch: Batch, rng: Any
) -> tuple[BtpropState, Info]:
    key, p = str(batch.index), state.params
    h = state.free.get(key)
    h = sequential(model, p, state.carry, batch) if h is None else h
    u = state.duals.get(key, np.zeros_like(h[1:]))
    for _ in range(config.h_steps):
        with Tape() as tape:
            free = tape.watch(h)
            J, _ = btprop_objective(model, p, free, u, batch, config.lam)
        h = h - config.h_lr * tape.gradient(J, free)
    hh = model.unroll(p, batch.x, h[:-1])[-1]
    u = u + config.u_lr * config.lam / len(u) * (hh - h[1:])
    with Tape() as tape:
        w = tape.watch(p)
        J, hh = btprop_objective(model, w, h, u, batch, config.lam)
    grads = tape.gradient(J, w)
    rule = optim.chain(optim.clip_global_norm(0.5), optim.adagrad(config.theta_lr))
    updates, optimizer = rule.update(grads, state.optimizer, p)
    after = BtpropState(
        optim.apply(p, updates), optimizer, hh.value[-1], {**state.free, key: h}, {**state.duals, key: u}
    )
    return after, Info(loss=J.value, grads=grads, arrays={"h": h, "h_hat": hh.value, "u": u})


def blocks(length: int, n: int, count: int) -> tuple[int, list[task.Batch]]:
    """n consecutive blocks of a text side by side: the batch axis is time."""
    alphabet = sorted(set(TEXT))
    ids = np.array([alphabet.index(c) for c in TEXT])
    x = ids[: length * n * count].reshape(-1, length).T
    y = ids[1 : length * n * count + 1].reshape(-1, length).T
    return len(alphabet), [
        task.Batch(x[:, m * n : (m + 1) * n], y[:, m * n : (m + 1) * n], continues=m > 0, index=m) for m in range(count)
    ]


def start_btprop(model: Model, params: Params) -> BtpropState:
    return BtpropState(params, optim.adagrad(0.1).init(params), np.zeros(model.cell.state_size), {}, {})


def test_free_states_and_duals_persist_across_minibatches_and_epochs() -> None:
    vocabulary, batches = blocks(length=5, n=6, count=3)
    model, params = language_model("lstm", vocabulary)
    config, state, losses = BtpropConfig(), start_btprop(model, params), []
    for epoch in range(12):
        for batch in batches:
            state, info = btprop_step(config, model, state, batch, stream(1, "step", epoch, batch.index))
            losses.append(float(info.loss))
    assert set(state.free) == {"0", "1", "2"}
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.5
    again = through_a_checkpoint(state)
    assert all(np.array_equal(again.duals[key], state.duals[key]) for key in state.duals)


def test_btprop_without_penalty_is_truncated_bptt_over_its_blocks() -> None:
    """B3: lambda = 0 with sequential states gives BPTT truncated at the blocks, one theta for all of them."""
    vocabulary, (batch, *_) = blocks(length=5, n=6, count=2)
    model, params = language_model("gru", vocabulary)
    config = BtpropConfig(lam=0.0, h_steps=0)
    _, info = btprop_step(config, model, start_btprop(model, params), batch, None)

    expected = {name: np.zeros_like(p) for name, p in params.items()}
    carry = np.zeros((1, model.cell.state_size))
    for j in range(6):
        with Tape() as tape:
            w = tape.watch(params)
            s = model.unroll(w, batch.x[:, j : j + 1], carry)
            E = model.score(w, s, batch.y[:, j : j + 1])
        for name, g in tape.gradient(E, w).items():
            expected[name] += g / 6
        carry = s.value[-1]
    for name, g in info.grads.items():
        assert_allclose(g, expected[name], rtol=1e-10, atol=1e-14)


# --- FPTT (Kag & Saligrama 2021): several updates inside one batch ---


@dataclass(frozen=True)
class FpttState:
    params: Params
    optimizer: dict[str, Any]
    W_bar: Params
    lam: Params


def fptt_step(
    config: dict[str, float], model: Model, state: FpttState, batch: Batch, rng: Any
) -> tuple[FpttState, Info]:
    alpha, beta, lr, parts = config["alpha"], config["beta"], config["lr"], int(config["parts"])
    p, W_bar, lam = state.params, state.W_bar, state.lam
    h = model.initial_state(p, batch.x.shape[1])
    kept, losses = [], []
    for x, y in zip(np.array_split(batch.x, parts), np.array_split(batch.y, parts), strict=True):
        with Tape() as tape:
            w = tape.watch(p)
            s = model.unroll(w, x, h)
            loss = model.score(w, s, y)
        kept.append(tape.stats().bytes_kept)
        h = s.value[-1].copy()  # detached, and no view that would hold on to the whole part
        g = tape.gradient(loss, w)
        g = {k: g[k] - lam[k] + alpha * (p[k] - W_bar[k]) for k in g}
        updates, _ = optim.sgd(lr).update(g, {}, p)
        new = optim.apply(p, updates)
        if alpha:
            lam = {k: lam[k] - alpha * (new[k] - W_bar[k]) for k in lam}
            W_bar = {k: (1 - beta) * W_bar[k] + beta * new[k] - beta / alpha * lam[k] for k in lam}
        p = new
        losses.append(loss.value)
    info = Info(loss=sum(losses) / parts, grads=g, arrays={"part_losses": np.array(losses), "kept": np.array(kept)})
    return FpttState(p, state.optimizer, W_bar, lam), info


def start_fptt(params: Params) -> FpttState:
    return FpttState(params, {}, params, {k: np.zeros_like(p) for k, p in params.items()})


@pytest.mark.parametrize("parts", [1, 3, 10])
def test_fptt_without_regulariser_is_one_online_step_a_part(parts: int) -> None:
    vocabulary, batches = characters(streams=4, window=30)
    model, params = language_model("lstm", vocabulary)
    config = {"alpha": 0.0, "beta": 0.5, "lr": 0.1, "parts": parts}
    state, info = fptt_step(config, model, start_fptt(params), batches[0], None)

    online = bptt.Config(lr=0.1)
    expected = bptt.init(online, model, params, stream(1, "method"))
    x_parts, y_parts = np.array_split(batches[0].x, parts), np.array_split(batches[0].y, parts)
    for k, (x, y) in enumerate(zip(x_parts, y_parts, strict=True)):
        expected, part = bptt.step(online, model, expected, task.Batch(x, y, continues=k > 0), stream(1, "step"))
        assert_allclose(info.arrays["part_losses"][k], part.loss, rtol=1e-12)
    for name in params:
        assert_allclose(state.params[name], expected.params[name], rtol=1e-12)


def test_the_running_average_of_fptt_is_what_the_closed_form_says() -> None:
    """F2: with beta = 1/2, W_bar_{t+1} = W_{t+1} - lambda_t / (2 alpha)."""
    vocabulary, batches = characters(streams=4, window=10)
    model, params = language_model("srn", vocabulary)
    config = {"alpha": 0.4, "beta": 0.5, "lr": 0.1, "parts": 1}
    state = start_fptt(params)
    for batch in batches[:5]:
        before = state
        state, _ = fptt_step(config, model, state, batch, None)
        for name in params:
            closed = state.params[name] - before.lam[name] / (2 * 0.4)
            assert_allclose(state.W_bar[name], closed, rtol=1e-12, atol=1e-14)


def test_a_tape_over_one_part_keeps_one_part() -> None:
    """F14: what FPTT holds at once is what one part needs."""
    vocabulary, batches = characters(streams=4, window=120)
    model, params = language_model("lstm", vocabulary)
    peak = {}
    for parts in (1, 4, 12):
        config = {"alpha": 0.5, "beta": 0.5, "lr": 0.1, "parts": parts}
        _, info = fptt_step(config, model, start_fptt(params), batches[0], None)
        peak[parts] = int(info.arrays["kept"].max())
    ids = batches[0].x.nbytes + batches[0].y.nbytes  # of the whole batch: those of a part are views
    for parts in (4, 12):
        assert peak[parts] - ids < 1.05 * (peak[1] - ids) / parts


def test_every_state_is_arrays_and_numbers() -> None:
    """One checkpoint writer serves all methods: a State goes through it and comes back the same."""
    vocabulary, batches = characters(streams=4, window=10)
    model, params = language_model("lstm", vocabulary)
    config = bptt.Config(optimizer="adam")
    state = bptt.init(config, model, params, stream(1, "method"))
    for batch in batches[:3]:
        state, _ = bptt.step(config, model, state, batch, stream(1, "step"))
    again = through_a_checkpoint(state)
    assert again.optimizer["t"] == 3
    for field in dataclasses.fields(state):
        assert type(getattr(again, field.name)) is type(getattr(state, field.name))
    assert np.array_equal(again.carry, state.carry)
