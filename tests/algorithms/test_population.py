"""A step of a population is a step of each of its runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import algorithms
from algorithms.model import Model
from algorithms.population import Draws, joined, parted
from algorithms.protocol import Method
from datasets.task import Batch
from minigrad.errors import InputError
from minigrad.rng import stream
from tests.minigrad import cuda_host

T, B, D, H, O = 6, 3, 4, 5, 2
RUNS = 3

CONFIGS: dict[str, tuple[str, str, Callable[[int], dict[str, Any]]]] = {
    "rates": ("tptt", "srn", lambda r: {"alpha_i": (1.0, 0.1, 0.0)[r], "alpha_f": 0.1 / (1 + r), "alpha_g": 0.01}),
    "noise": ("tptt", "srn", lambda r: {"noise": 0.1 * (r + 1)}),
    "local": ("tptthx", "srn", lambda r: {"momentum": 0.3 * r}),
    "plain": ("bptt", "srn", lambda r: {"lr": 0.1 * (r + 1)}),
    "clipped adam": ("bptt", "lstm", lambda r: {"optimizer": "adam", "lr": 10.0**-r, "clip": 0.01}),
    "parts": ("fptt", "gru", lambda r: {"parts": 3, "alpha": 0.1 * (r + 1), "lr": 0.1}),
    "antisymmetric": ("fptt", "antisymmetric", lambda r: {"parts": 2, "alpha": 0.5, "lr": 0.01 * (r + 1)}),
}
"""Method, cell, and the options of run r, by what they are about."""


@pytest.mark.parametrize(("method", "cell", "options"), CONFIGS.values(), ids=CONFIGS)
def test_a_population_steps_as_its_runs_do_alone(
    method: str, cell: str, options: Callable[[int], dict[str, Any]]
) -> None:
    chosen = algorithms.method(method)
    model = Model.make(cell=cell, input_size=D, hidden=H, output_size=O, loss_at="last")
    configs, states = begun(chosen, model, options, "float64")
    config, together = joined(configs), joined(states)
    for i in range(3):
        batches = [batch(r, i) for r in range(RUNS)]
        together, info = chosen.step(
            config, model, together, joined(batches), Draws([stream(r, "step", i) for r in range(RUNS)])
        )
        for r, found in enumerate(parted((together, info), RUNS)):
            states[r], alone = chosen.step(configs[r], model, states[r], batches[r], stream(r, "step", i))
            same(found[0].params, states[r].params)
            same(found[1].grads, alone.grads)
            assert_allclose(found[1].loss, alone.loss, rtol=1e-12)
            assert found[1].status == alone.status


def begun(
    chosen: Method, model: Model, options: Callable[[int], dict[str, Any]], dtype: str
) -> tuple[list[Any], list[Any]]:
    """The Config and the first State of each run."""
    configs = [chosen.config(**{**chosen.defaults, **options(r)}) for r in range(RUNS)]
    params = [model.init(stream(r, "init"), "uniform", dtype) for r in range(RUNS)]
    return configs, [chosen.init(configs[r], model, params[r], stream(r, "method")) for r in range(RUNS)]


def batch(seed: int, index: int, dtype: str = "float64") -> Batch:
    """Random sequences and classes."""
    rng = stream(seed, "batch", index)
    return Batch(rng.standard_normal((T, B, D)).astype(dtype), rng.integers(0, O, B), index=index)


def same(found: dict[str, Any], alone: dict[str, Any]) -> None:
    """Parameters or gradients agree."""
    assert found.keys() == alone.keys()
    for name, array in alone.items():
        assert_allclose(np.asarray(found[name]), array, rtol=1e-10, atol=1e-13, err_msg=name)


def test_what_may_not_differ_is_named() -> None:
    config = algorithms.method("tptt").config
    with pytest.raises(InputError, match="the runs of a population differ in reduction: 'mean_bh', 'sum'"):
        joined([config(reduction="sum"), config()])


@pytest.mark.skipif(not cuda_host.COMPILER, reason="g++ is missing, which compiles the kernels for the host")
@pytest.mark.parametrize("about", ["rates", "clipped adam", "parts", "antisymmetric"])
def test_a_population_steps_through_the_kernels_of_a_gpu(about: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method, cell, options = CONFIGS[about]
    chosen = algorithms.method(method)
    model = Model.make(cell=cell, input_size=D, hidden=H, output_size=O, loss_at="last")
    configs, states = begun(chosen, model, options, "float32")
    batches, streams = [batch(r, 0, "float32") for r in range(RUNS)], [stream(r, "step", 0) for r in range(RUNS)]
    alone = [chosen.step(*each) for each in zip(configs, [model] * RUNS, states, batches, streams, strict=True)]
    cuda_host.take_the_place_of_cupy(monkeypatch, cuda_host.Host())
    draws = Draws([stream(r, "step", 0) for r in range(RUNS)])
    state, info = chosen.step(joined(configs), model, joined(states), joined(batches), draws)
    assert {info.kernels[name] for name in (cell, "target") if name in info.kernels} == {"fused"}
    for found, (its_state, its_info) in zip(parted((state, info), RUNS), alone, strict=True):
        for own, one in ((found[0].params, its_state.params), (found[1].grads, its_info.grads)):
            for name, array in one.items():
                assert own[name].dtype == np.float32
                assert_allclose(own[name], array, rtol=1e-3, atol=1e-5, err_msg=name)
