"""BPTT trains a language model: token inputs, a loss at every step, a state that goes on from window to window."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from algorithms import bptt
from algorithms.model import Model
from datasets import task
from minigrad.rng import stream

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
