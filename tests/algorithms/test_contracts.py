"""The contracts carry what the other papers need: a sketch of a method yet to come, and a small language model.

The sketch is written against nothing but the public contracts: a State of its own, a step, a Model, a tape. It is
untuned; what is asserted are identities that it must satisfy if the contracts bend nowhere.
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
from minigrad import optim
from minigrad.backend import Params
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
