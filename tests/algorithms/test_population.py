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
from datasets.task import Batch
from minigrad.errors import InputError
from minigrad.rng import stream

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
    configs = [chosen.config(**{**chosen.defaults, **options(r)}) for r in range(RUNS)]
    states = [
        chosen.init(configs[r], model, model.init(stream(r, "init"), "uniform", "float64"), stream(r, "method"))
        for r in range(RUNS)
    ]
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


def batch(seed: int, index: int) -> Batch:
    """Random sequences and classes."""
    rng = stream(seed, "batch", index)
    return Batch(rng.standard_normal((T, B, D)), rng.integers(0, O, B), index=index)


def same(found: dict[str, Any], alone: dict[str, Any]) -> None:
    """Parameters or gradients agree."""
    assert found.keys() == alone.keys()
    for name, array in alone.items():
        assert_allclose(np.asarray(found[name]), array, rtol=1e-10, atol=1e-13, err_msg=name)


def test_what_may_not_differ_is_named() -> None:
    config = algorithms.method("tptt").config
    with pytest.raises(InputError, match="the runs of a population differ in reduction: 'mean_bh', 'sum'"):
        joined([config(reduction="sum"), config()])
