"""A budget is refused if, and only if, the parameters do not move within it."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import algorithms
from experiments.run import build, standing
from experiments.run.build import Parts
from experiments.run.settings import Settings
from minigrad.errors import InputError
from minigrad.rng import stream

TEXT: dict[str, Any] = {"task": "sample-char", "length": 6, "task_options": {"characters": "400"}, "batch_size": 24}
IMAGES: dict[str, Any] = {"task": "digits-pixels", "task_options": {"train_size": "30"}, "batch_size": 8}

ORDERS = [
    *({"constraint": "pm", "h_steps": steps} for steps in (0, 2)),
    *(
        {"constraint": "admm", "order": order, "u_start": start, "h_init": first}
        for order in ("code", "paper")
        for start in (1, 2)
        for first in ("sequential", "zero")
    ),
    *({"constraint": "alm", "u_start": start, "h_init": first} for start in (1, 2) for first in ("sequential", "zero")),
]


def parts_of(method: str, config: dict[str, Any], **settings: Any) -> Parts:
    given = Settings(hidden=3, runs_dir=Path("nowhere"), **settings)
    return build.assemble(given, method, {**algorithms.method(method).defaults, **config})


def moves_at(parts: Parts) -> int:
    """The iteration with which the parameters of a run first move."""
    settings, state = parts.settings, standing.initial_state(parts)
    before = state.params
    for iteration in count(1):
        index = iteration - 1 + build.first_index(settings, parts.task)
        batch = parts.task.batch(settings.seed, "train", index, settings.batch_size, settings.dtype)
        state, _ = parts.method.step(parts.config, parts.model, state, batch, stream(settings.seed, "step", iteration))
        if any(np.any(array != before[name]) for name, array in state.params.items()):
            return iteration
    raise AssertionError


def refusal(parts: Parts, iterations: int) -> str:
    with pytest.raises(InputError) as error:
        build.require_an_update(replace(parts, settings=replace(parts.settings, max_iterations=iterations)))
    return str(error.value)


def check(parts: Parts) -> str:
    """The refusal of a budget that is one iteration too small; that of the next one is none."""
    needed = moves_at(parts)
    build.require_an_update(replace(parts, settings=replace(parts.settings, max_iterations=needed)))
    said = refusal(parts, needed - 1)
    assert f"use --max-iterations {needed} or more" in said
    return said


@pytest.mark.parametrize("config", ORDERS, ids=str)
def test_of_the_batch_regime(config: dict[str, Any]) -> None:
    parts = parts_of("btprop-batch", config, **TEXT)
    said = check(parts)
    passes = int(said.rpartition("--epochs ")[2])
    build.require_an_update(parts_of("btprop-batch", config, epochs=passes, **TEXT))
    with pytest.raises(InputError, match="make no update"):
        build.require_an_update(parts_of("btprop-batch", config, epochs=passes - 1, **TEXT))


def test_duals_that_move_first_cost_a_pass_and_joint_steps_save_one() -> None:
    """Three batches a pass: one sets the free states, then come h, u and theta, or theta and h at once."""
    wished = [{"constraint": "pm"}, {"constraint": "admm", "u_start": 1}, {"constraint": "alm"}]
    assert [moves_at(parts_of("btprop-batch", config, **TEXT)) for config in wished] == [9, 12, 6]


@pytest.mark.parametrize("update_freq", [0, 2, 3, 50])
@pytest.mark.parametrize("where", [{**TEXT, "length": 5}, IMAGES, {**IMAGES, "validate_every": 0}], ids=str)
def test_of_gradients_that_wait_for_others(where: dict[str, Any], update_freq: int) -> None:
    """Images are trained on from the second batch on, unless they are checked pass by pass."""
    parts = parts_of("bptt", {"update_freq": update_freq}, **where)
    assert "or --epochs 1" in check(parts)


def test_of_sequences_without_end() -> None:
    assert "--epochs" not in check(parts_of("bptt", {"update_freq": 5}, length=10))
    never = parts_of("bptt", {"update_freq": 0}, length=10)
    assert "and temporal has none: use other options" in refusal(never, 10**9)
