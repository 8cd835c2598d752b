"""What BPTT does beyond one gradient: blocks of a text, updates after several batches, a rate that halves."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from algorithms import bptt, schedule
from algorithms.model import Model
from algorithms.protocol import Info
from datasets.task import Batch
from minigrad.backend import Params
from minigrad.errors import InputError
from minigrad.rng import stream

T, B, V = 4, 3, 5


def network() -> tuple[Model, Params]:
    model = Model.make(cell="gru", input_size=V, hidden=6, output_size=V, loss_at="every", tokens=True)
    return model, model.init(stream(1, "init"), "uniform", "float64")


def batches(count: int, **changes: Any) -> list[Batch]:
    """A pass of so many batches of one text."""
    ids = np.random.default_rng(3).integers(V, size=count * T * B + 1)
    x, y = (ids[i : len(ids) - 1 + i].reshape(count, B, T).transpose(0, 2, 1) for i in (0, 1))
    return [Batch(x[i], y[i], continues=i > 0, index=i, last=i == count - 1, **changes) for i in range(count)]


def train(given: list[Batch], **options: Any) -> tuple[list[bptt.State], list[Info]]:
    model, params = network()
    config = bptt.Config(**options)
    state = bptt.init(config, model, params, stream(1, "method"))
    states, infos = [], []
    for batch in given:
        state, info = bptt.step(config, model, state, batch, stream(1, "step"))
        states.append(state)
        infos.append(info)
    return states, infos


def test_blocks_begin_where_the_one_before_ends() -> None:
    _, infos = train(batches(3, consecutive=True), lr=0.0)
    model, params = network()
    ids = np.concatenate([batch.x.T.ravel() for batch in batches(3)])
    h = model.unroll(params, ids[:, None], model.initial_state(params, 1))[:, 0]
    found = np.concatenate([info.arrays["h"].transpose(1, 0, 2).reshape(T * B, -1) for info in infos])
    assert_allclose(found, h, rtol=1e-12)


def test_gradients_of_several_batches_make_one_update() -> None:
    text = batches(5)
    states, infos = train(text, update_freq=2, lr=0.5)
    _, params = network()
    moved = [not np.array_equal(a.params["W_hh"], b.params["W_hh"]) for a, b in pairwise(states)]
    assert_array_equal(states[0].params["W_hh"], params["W_hh"])
    assert moved == [True, False, True, True]  # the last one waits for nobody: the pass ends
    for name, p in states[1].params.items():
        assert_allclose(p, params[name] - 0.5 * (infos[0].grads[name] + infos[1].grads[name]) / 2, rtol=1e-12)
    assert (states[-1].total, states[-1].count) == (None, 0)


def test_one_update_a_pass() -> None:
    states, infos = train(batches(3) * 2, update_freq=0, lr=0.5, clip=0.01)
    first, second = states[2].params["W_hh"], states[5].params["W_hh"]
    assert_array_equal(states[1].params["W_hh"], network()[1]["W_hh"])
    assert_array_equal(states[4].params["W_hh"], first)
    assert np.any(second != first)
    mean = {name: sum(info.grads[name] for info in infos[:3]) / 3 for name in infos[0].grads}
    norm = np.sqrt(sum((g**2).sum() for g in mean.values()))
    assert_allclose(first, network()[1]["W_hh"] - 0.5 * 0.01 / norm * mean["W_hh"], rtol=1e-12)


def test_every_batch_counts_by_itself_unless_asked_otherwise() -> None:
    states, infos = train(batches(2), lr=0.5)
    assert_allclose(states[0].params["W_hh"], network()[1]["W_hh"] - 0.5 * infos[0].grads["W_hh"], rtol=1e-12)


def test_the_rate_halves_when_checks_stop_becoming_better() -> None:
    model, params = network()
    config = bptt.Config(lr=1.0, decay_after=1)
    state = bptt.init(config, model, params, stream(1, "method"))
    halved = []
    for error in (5.0, 4.0, 4.0, 4.5, 3.0, 3.5, float("nan"), 3.2, 3.1):
        state = schedule.validated(config, state, error)
        halved.append(state.schedule["falls"])
    assert halved == [0, 0, 0, 1, 1, 1, 2, 2, 3]
    after, info = bptt.step(config, model, state, batches(1)[0], stream(1, "step"))
    assert_allclose(after.params["W_hh"], params["W_hh"] - info.grads["W_hh"] / 8, rtol=1e-12)
    assert (after.schedule["falls"], after.schedule["best"]) == (3, 3.0)
    plain = bptt.Config(lr=1.0)
    assert schedule.validated(plain, state, 1.0) is state


@pytest.mark.parametrize("length", [1, 3, 4])
def test_the_rate_of_a_window_follows_its_length(length: int) -> None:
    """To the last digit; every window in proportion to how long it is."""
    (whole,) = batches(1)
    window = replace(whole, x=whole.x[:length], y=whole.y[:length])
    (state,), (info,) = train([window], lr=0.3, rate_window=7)
    for name, p in network()[1].items():
        assert_array_equal(state.params[name], p - 0.3 * length / 7 * info.grads[name])
    (same,), _ = train([whole], lr=0.3, rate_window=T)
    assert_array_equal(same.params["W_hh"], train([whole], lr=0.3)[0][0].params["W_hh"])


def test_impossible_options() -> None:
    with pytest.raises(InputError, match="rate_window must be at least 1"):
        bptt.Config(rate_window=0)
    with pytest.raises(InputError, match="rate_window is the rate of one window: leave update_freq at 1"):
        bptt.Config(rate_window=70, update_freq=2)
    for options in ({"update_freq": -1}, {"decay_after": -1}):
        with pytest.raises(InputError, match="must be at least 0"):
            bptt.Config(**options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="continues 2 sequences, the carried state has 3"):
        train([batches(1)[0], replace(batches(2)[1], x=np.zeros((T, 2), int), y=np.zeros((T, 2), int))])
