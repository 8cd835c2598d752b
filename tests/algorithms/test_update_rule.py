"""The options of the parameter update that all methods share: weight decay against PyTorch's definition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from algorithms import bptt, fptt
from algorithms.model import Model
from algorithms.protocol import UpdateRule
from datasets.task import Batch
from minigrad.errors import InputError
from minigrad.rng import stream
from tests.minigrad.strategies import seeds

LR = 0.05
MANY = settings(max_examples=40, deadline=None, derandomize=True)


def sgd(p: Any, grads: list[Any], wd: float) -> Any:
    for g in grads:
        p = p - LR * (g + wd * p)
    return p


def momentum(p: Any, grads: list[Any], wd: float) -> Any:
    v = np.zeros_like(p)
    for g in grads:
        v = 0.9 * v + (g + wd * p)
        p = p - LR * v
    return p


def adam(p: Any, grads: list[Any], wd: float) -> Any:
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads, 1):
        g = g + wd * p
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        p = p - LR * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return p


PYTORCH: dict[str, Callable[..., Any]] = {"sgd": sgd, "momentum": momentum, "adam": adam}


@pytest.mark.parametrize("name", PYTORCH)
@MANY
@given(st.floats(0, 0.5), seeds, st.integers(1, 4))
def test_weight_decay_is_pytorchs(name: Any, wd: float, seed: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    start, *grads = rng.standard_normal((steps + 1, 3, 2))
    rule = UpdateRule(optimizer=name, wd=wd).rule(LR)
    params = {"W": start, "fixed": np.ones(2)}
    state = rule.init({"W": start})
    for g in grads:
        params, state = rule.step({"W": g}, state, params)
    assert_allclose(params["W"], PYTORCH[name](start, grads, wd), rtol=1e-12, atol=1e-14)
    assert_array_equal(params["fixed"], 1.0)  # what is not trained does not decay


@pytest.mark.parametrize("method", [bptt, fptt])
def test_it_comes_after_clipping(method: Any) -> None:
    """And frozen parameters stay as they are."""
    model = Model.make(input_size=2, hidden=4, output_size=3)
    params = model.init(stream(1, "init"), "uniform", "float64")
    rng = np.random.default_rng(0)
    batch = Batch(rng.standard_normal((6, 5, 2)), rng.integers(0, 3, 5))
    more = {"alpha": 0.0, "parts": 1} if method is fptt else {}
    config = method.Config(lr=0.5, optimizer="sgd", clip=0.01, wd=0.1, frozen=("W_hh",), **more)
    after, info = method.step(config, model, method.init(config, model, params, stream(1)), batch, stream(1))
    norm = np.sqrt(sum(np.sum(g**2) for g in info.grads.values()))
    assert norm > 0.01
    for name, p in params.items():
        g = 0.0 if name == "W_hh" else info.grads[name] * 0.01 / norm + 0.1 * p
        assert_allclose(after.params[name], p - 0.5 * g, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("wd", [-1e-6, float("nan"), float("inf")])
def test_impossible_decay(wd: float) -> None:
    with pytest.raises(InputError, match="wd must be at least 0"):
        UpdateRule(wd=wd)
