"""NT-ASGD: when averaging starts, and what is averaged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigrad import averaging, optim
from minigrad.errors import InputError
from tests.minigrad.updates import SHAPES, draw, triggered


def by_hand_triggered(losses: list[float], nonmono: int) -> bool:
    if len(losses) <= nonmono:
        return False
    return any(losses[-1] > earlier and earlier == min(losses[: len(losses) - nonmono]) for earlier in losses)


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), max_size=12), st.integers(1, 6))
def test_the_trigger_looks_past_the_last_losses(losses: list[int], nonmono: int) -> None:
    values = [float(x) for x in losses]
    assert averaging.nt_asgd_triggered(values, nonmono) == by_hand_triggered(values, nonmono)


def test_the_trigger_by_hand() -> None:
    assert not averaging.nt_asgd_triggered([])
    assert not averaging.nt_asgd_triggered([1, 2, 3, 4, 5])  # five are not more than five
    assert averaging.nt_asgd_triggered([1, 2, 3, 4, 5, 6])
    assert not averaging.nt_asgd_triggered([7, 2, 3, 4, 5, 6])  # the best is among the last five
    assert not averaging.nt_asgd_triggered([6, 2, 3, 4, 5, 6])  # equal is not worse
    assert averaging.nt_asgd_triggered([1, 2], nonmono=1)
    nan = float("nan")
    assert averaging.nt_asgd_triggered([nan, 1, 2, 9, 9, 9], nonmono=1)  # what is no number is not the best
    assert not averaging.nt_asgd_triggered([nan, nan, 9], nonmono=1)


def test_averaging_starts_when_validation_stops_improving() -> None:
    optimizer = averaging.nt_asgd(0.5)
    params = {"p": np.array([8.0], np.float32)}
    state = optimizer.init(params)
    for loss in (1.0, 2.0, 3.0, 4.0, 5.0):
        updates, state = optimizer.update({"p": np.array([1.0], np.float32)}, state, params)
        params = optim.apply(params, updates)
        state = averaging.nt_asgd_validated(state, params, loss)
        assert averaging.nt_asgd_weights(state, params) is params
    state = averaging.nt_asgd_validated(state, params, 6.0)
    again = averaging.nt_asgd_validated(state | {"asgd_losses": np.array([1.0, 2.0])}, params, 3.0)
    assert again["asgd_losses"] == [1.0, 2.0, 3.0]  # as older checkpoints hold them
    assert state["asgd_losses"] == [1, 2, 3, 4, 5, 6]
    assert averaging.nt_asgd_weights(state, params)["p"] is params["p"]

    seen = []
    for g in (2.0, 4.0, -6.0, 8.0):
        updates, state = optimizer.update({"p": np.array([g], np.float32)}, state, params)
        params = optim.apply(params, updates)
        seen.append((float(params["p"][0]), float(averaging.nt_asgd_weights(state, params)["p"][0])))
    # p = 5.5 - 1, - 2, + 3, - 4; its average starts with the second of them
    assert seen == [(4.5, 4.5), (2.5, 2.5), (5.5, 4.0), (1.5, pytest.approx((2.5 + 5.5 + 1.5) / 3, rel=1e-6))]
    assert averaging.nt_asgd_weights(state, params)["p"].dtype == np.float32

    later = averaging.nt_asgd_validated(state, params, 100.0)
    assert later["ax"] is state["ax"]  # it starts once
    assert later["asgd_k"] == 4


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 8))
def test_averaged_weights_are_the_mean_since_the_second_step(seed: int, steps: int) -> None:
    params = draw(seed)
    optimizer = optim.chain(optim.weight_decay(0.01), triggered(0.1))
    state, visited = optimizer.init(params), []
    for t in range(steps):
        updates, state = optimizer.update(draw(seed + t), state, params)
        params = optim.apply(params, updates)
        visited.append(params)
    for key in SHAPES:
        expected = np.mean([p[key] for p in visited[1:]], axis=0)
        np.testing.assert_allclose(averaging.nt_asgd_weights(state, params)[key], expected, rtol=1e-12, atol=1e-12)


def test_weights_that_are_not_trained_are_validated_as_they_are() -> None:
    optimizer = averaging.nt_asgd(0.1)
    trained = {"b": draw(0)["b"]}
    state = averaging.nt_asgd_validated(optimizer.init(trained), draw(0), 2.0, nonmono=1)
    state = averaging.nt_asgd_validated(state, draw(0), 3.0, nonmono=1)
    params = draw(0)
    weights = averaging.nt_asgd_weights(state, params)
    assert weights["W"] is params["W"]
    assert weights.keys() == params.keys()


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: averaging.nt_asgd(-1.0), "lr"),
        (lambda: averaging.nt_asgd_triggered([1.0], 0), "nonmono"),
    ],
)
def test_impossible_hyper_parameters_are_refused(call: Callable[[], Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        call()
