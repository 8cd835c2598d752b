"""What passes and checks change: the rate, averaged parameters, and FPTT's end of a pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from algorithms import bptt, fptt, schedule
from algorithms.model import Model
from datasets.task import Batch
from minigrad.backend import Params
from minigrad.errors import InputError
from minigrad.rng import stream

METHODS = pytest.mark.parametrize("method", [bptt, fptt])


def network() -> tuple[Model, Params]:
    model = Model.make(cell="srn", input_size=2, hidden=4, output_size=3)
    return model, model.init(stream(1, "init"), "uniform", "float64")


def batch(last: bool) -> Batch:
    rng = np.random.default_rng(3)
    return Batch(rng.standard_normal((6, 5, 2)), rng.integers(3, size=5), last=last)


def begun(method: Any, **options: Any) -> tuple[Any, Model, Any]:
    model, params = network()
    plain = {"optimizer": "sgd", "lr": 0.5} | ({"alpha": 0.0, "parts": 1} if method is fptt else {})
    config = method.Config(**plain | options)
    return config, model, method.init(config, model, params, stream(1, "method"))


def stepped(method: Any, config: Any, model: Model, state: Any, last: bool = False) -> tuple[Any, Any]:
    return method.step(config, model, state, batch(last), stream(1, "step"))


@METHODS
def test_the_rate_falls_after_passes(method: Any) -> None:
    config, model, state = begun(method, decay=10.0, decay_at=(1, 3))
    rates = []
    for _ in range(4):
        for last in (False, True):
            after, info = stepped(method, config, model, state, last)
            moved = np.linalg.norm(after.params["W_hh"] - state.params["W_hh"])
            rates.append(moved / np.linalg.norm(info.grads["W_hh"]))
            state = after
    assert_allclose(rates, [0.5, 0.5, 0.05, 0.05, 0.05, 0.05, 0.005, 0.005], rtol=1e-9)


@METHODS
def test_the_rate_falls_at_every_check_that_is_not_better(method: Any) -> None:
    config, _, state = begun(method, decay=4.0, decay_after=0)
    rates = []
    for error in (3.0, 2.0, 2.0, 1.5, 1.6, 1.7):
        state = schedule.validated(config, state, error)
        rates.append(config.rate(state.schedule))
    assert_allclose(rates, [0.5, 0.5, 0.125, 0.125, 0.125 / 4, 0.125 / 16])


@METHODS
def test_an_error_that_is_no_number_is_never_the_best(method: Any) -> None:
    config, _, state = begun(method, decay=2.0, decay_after=1)
    rates = []
    for error in (float("nan"), 3.0, 2.0, float("nan"), 2.5, 1.0):
        state = schedule.validated(config, state, error)
        rates.append(config.rate(state.schedule))
    assert_allclose(rates, [0.5, 0.5, 0.5, 0.5, 0.25, 0.25])
    assert state.schedule == schedule.fresh() | {"falls": 1, "best": 1.0}


@METHODS
def test_parameters_are_averaged_once_checks_become_worse(method: Any) -> None:
    """From the check on that is worse than the best of all but the last two; training goes on from the others."""
    config, model, state = begun(method, optimizer="nt-asgd", nonmono=2)
    for error in (3.0, 2.0, 2.5):
        state, _ = stepped(method, config, model, state)
        state = schedule.validated(config, state, error)
        assert schedule.judged(config, state) is state.params
    state = schedule.validated(config, state, 2.6)  # above the 2.0 before the last two
    seen = []
    for _ in range(4):
        state, _ = stepped(method, config, model, state)
        seen.append(state.params["W_hh"])
    assert_allclose(schedule.judged(config, state)["W_hh"], np.mean(seen[1:], axis=0), rtol=1e-12)
    plain, _, other = begun(method)
    for _ in range(7):
        other, _ = stepped(method, plain, model, other)
    assert_array_equal(state.params["W_hh"], other.params["W_hh"])


def test_averages_are_of_parameters_that_were_trained_at_rates_of_their_own() -> None:
    config, model, state = begun(bptt, optimizer="nt-asgd", nonmono=1, wd=0.1, rates={"W_hh": 0.3, "b_h": 0.0})
    for error in (1.0, 2.0):
        state = schedule.validated(config, state, error)
    seen = []
    for _ in range(4):
        state, _ = stepped(bptt, config, model, state)
        seen.append(state.params)
    for name, mean in schedule.judged(config, state).items():
        assert_allclose(mean, np.mean([p[name] for p in seen[1:]], axis=0), rtol=1e-12)
    plain, _, other = begun(bptt, wd=0.1, rates={"W_hh": 0.3, "b_h": 0.0})
    for _ in range(4):
        other, _ = stepped(bptt, plain, model, other)
    for name, p in other.params.items():
        assert_allclose(state.params[name], p, rtol=1e-12)


@pytest.mark.parametrize(
    ("rule", "W", "kept"),
    [("average", "W_bar", False), ("keep-lambda", "W_bar", True), ("none", "W", True), (None, "W_bar", False)],
)
def test_the_end_of_a_pass(rule: str | None, W: str, kept: bool) -> None:
    """Unless told otherwise form running ends it as the released code does."""
    config, model, state = begun(fptt, alpha=0.5, parts=3, pass_end=rule)
    before, _ = stepped(fptt, config, model, state)
    mid, _ = stepped(fptt, config, model, before)
    after, _ = stepped(fptt, config, model, before, last=True)
    expected = mid.params if W == "W" else mid.regulariser["W_bar"]
    for name in mid.params:
        assert_array_equal(after.params[name], expected[name])
        assert_array_equal(after.regulariser["W_bar"][name], mid.regulariser["W_bar"][name])
        assert_array_equal(after.regulariser["lambda"][name], mid.regulariser["lambda"][name] * kept)
    assert np.abs(mid.params["W_hh"] - mid.regulariser["W_bar"]["W_hh"]).max() > 1e-6


@pytest.mark.parametrize("form", ["algorithm2", "equation6", "debias"])
def test_the_other_forms_do_nothing_at_the_end_of_a_pass(form: Any) -> None:
    config, model, state = begun(fptt, alpha=0.5, parts=3, form=form)
    states = [stepped(fptt, config, model, state, last)[0] for last in (False, True)]
    assert_array_equal(states[0].params["W_hh"], states[1].params["W_hh"])


def test_without_regulariser_there_is_nothing_to_average() -> None:
    config, model, state = begun(fptt, parts=2)
    states = [stepped(fptt, config, model, state, last)[0] for last in (False, True)]
    assert_array_equal(states[0].params["W_hh"], states[1].params["W_hh"])
    assert states[1].schedule == states[0].schedule | {"passes": 1}


@METHODS
def test_what_was_frozen_stays(method: Any) -> None:
    config, model, state = begun(method, frozen=("W_hh",), **({"alpha": 0.5, "parts": 2} if method is fptt else {}))
    after, _ = stepped(method, config, model, state, last=True)
    assert_array_equal(after.params["W_hh"], state.params["W_hh"])
    assert set(after.params) == set(state.params)


@METHODS
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"decay": 0.5}, "decay must be at least 1"),
        ({"decay_at": (0,)}, "passes are counted from 1, got 0"),
        ({"decay_after": -1}, "decay_after must be at least 0"),
        ({"nonmono": 0, "optimizer": "nt-asgd"}, "nonmono must be at least 1"),
        ({"nonmono": 3}, "nonmono belongs to optimizer nt-asgd"),
        ({"decay": 4.0}, "say when with decay_at or decay_after"),
        ({"lr": -1.0}, "lr must be at least 0"),
    ],
)
def test_impossible_options_are_refused(method: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        method.Config(**options)


def test_debias_steps_along_the_corrected_gradient() -> None:
    """W_bar and mu move by b = 1 / (1 + number of the pass); where W = W_bar a step goes along mu, at first nowhere."""
    config, model, state = begun(fptt, form="debias", alpha=1.0)
    one, first = stepped(fptt, config, model, state)
    g0 = first.grads["W_hh"]  # at W = W_bar: grad l - lambda + mu = mu = 0
    assert_array_equal(g0, np.zeros_like(g0))
    assert_array_equal(one.params["W_hh"], state.params["W_hh"])
    assert np.linalg.norm(one.regulariser["mu"]["W_hh"]) > 0
    two, second = stepped(fptt, config, model, one, last=True)
    assert_allclose(second.grads["W_hh"], one.regulariser["mu"]["W_hh"], rtol=1e-12)
    expected = 0.5 * one.params["W_hh"] + 0.5 * two.params["W_hh"]
    assert_allclose(two.regulariser["W_bar"]["W_hh"], expected, rtol=1e-12)
    assert np.linalg.norm(two.params["W_hh"] - one.params["W_hh"]) > 0
    later = replace(two, schedule=two.schedule | {"passes": 3})
    three, _ = stepped(fptt, config, model, later)
    expected = 0.8 * two.regulariser["W_bar"]["W_hh"] + 0.2 * three.params["W_hh"]
    assert_allclose(three.regulariser["W_bar"]["W_hh"], expected, rtol=1e-12)
