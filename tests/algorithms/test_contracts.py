"""What every registered method keeps to, and the method of docs/adding-a-method.md with them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest

import algorithms
from algorithms.protocol import Info, Method
from datasets.task import Batch
from experiments import catalogue
from experiments.run import build, standing, states
from experiments.run.build import Parts
from experiments.run.settings import Settings
from minigrad.errors import InputError
from minigrad.rng import stream
from tests import guide

METHODS: dict[str, Method] = {name: algorithms.method(name) for name in algorithms.names()}
METHODS["the guide's"] = guide.method()

CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in METHODS),
    ("bptt", {"update_freq": 4, "optimizer": "adam", "clip": 0.1}),
    ("bptt", {"parts": 3}),
    ("btprop", {"constraint": "admm", "u_start": 1, "h_steps": 2}),
    ("btprop", {"constraint": "alm", "u_start": 1}),
    ("btprop-batch", {"constraint": "admm", "u_start": 1}),
    ("btprop-batch", {"constraint": "alm", "u_start": 1}),
    ("fptt", {"form": "algorithm2", "parts": 3}),
    ("fptt", {"form": "debias", "parts": 3, "inner_steps": 2}),
    ("tptt", {"noise": 0.1, "p_g": 0.5}),
]
"""Every method with its defaults, and with options under which more lives on from batch to batch."""

STEPS = 15
"""Five passes through the text below: a pass each to set free states, move them, move duals, and move parameters."""
TEXT = {"task": "sample-char", "length": 6, "batch_size": 24, "task_options": {"characters": "400", "layout": "blocks"}}
SEQUENCES = {"task": "temporal", "length": 10, "batch_size": 4}

every_case = pytest.mark.parametrize(("name", "options"), CASES, ids=str)
every_method = pytest.mark.parametrize("name", METHODS)


def parts_of(name: str, options: dict[str, Any], dtype: Any = "float32") -> Parts:
    """A tiny network and task for a method, in its own layout."""
    method = METHODS[name]
    given: dict[str, Any] = TEXT if method.blocks else SEQUENCES
    settings = Settings(hidden=4, dtype=dtype, runs_dir=Path("nowhere"), **given)
    task = build.make_task(settings)
    config = method.config(**{**method.defaults, **options})
    return Parts(settings, method, config, task, build.make_model(settings, task))


def batches(parts: Parts) -> Iterator[tuple[int, Batch]]:
    settings = parts.settings
    for number in range(STEPS):
        yield number, parts.task.batch(settings.seed, "train", number, settings.batch_size, settings.dtype)


def steps(parts: Parts, stored: bool = False) -> Iterator[tuple[Any, Info]]:
    """The state after each step, and what the step told; stored: every state goes through a checkpoint."""
    state = standing.initial_state(parts)
    for number, batch in batches(parts):
        if stored:
            node, arrays = states.pack(states.fields_of(state))
            state = type(state)(**states.unpack(json.loads(json.dumps(node)), arrays, "cpu"))
        state, info = parts.method.step(parts.config, parts.model, state, batch, stream(7, "step", number))
        yield state, info


def arrays_in(*values: Any) -> dict[str, Any]:
    """Every array of states, batches and dicts, by its path."""
    plain = [states.fields_of(each) if dataclasses.is_dataclass(each) else each for each in values]
    return states.pack(plain)[1]


def bits(*values: Any) -> Any:
    """All that states, batches and dicts hold, as one can compare it."""
    plain = [states.fields_of(each) if dataclasses.is_dataclass(each) else each for each in values]
    node, arrays = states.pack(plain)
    return node, {path: (array.dtype.str, array.shape, array.tobytes()) for path, array in arrays.items()}


def told(info: Info) -> dict[str, Any]:
    return {"loss": info.loss, "grads": info.grads, "bounded": info.bounded, "arrays": info.arrays}


@every_case
def test_the_same_seed_gives_the_same_bits_and_every_array_keeps_its_dtype(name: str, options: dict[str, Any]) -> None:
    for dtype in ("float32", "float64"):
        twice = zip(*(steps(parts_of(name, options, dtype)) for _ in range(2)), strict=True)
        for (state, info), (again, same) in twice:
            assert bits(state, told(info)) == bits(again, told(same))
            assert info.status == "ok", info.reason
            floats = {path: a.dtype for path, a in arrays_in(state, told(info)).items() if a.dtype.kind == "f"}
            assert set(floats.values()) == {np.dtype(dtype)}, floats


@every_case
def test_init_and_step_leave_their_arguments_as_they_were(name: str, options: dict[str, Any]) -> None:
    parts = parts_of(name, options)
    params = parts.model.init(stream(1, "init"), "orthogonal", "float32")
    before = bits(params)
    state = parts.method.init(parts.config, parts.model, params, stream(1, "method"))
    assert bits(params) == before
    for number, batch in batches(parts):
        before = bits(state, batch)
        after, _ = parts.method.step(parts.config, parts.model, state, batch, stream(1, "step", number))
        assert bits(state, batch) == before
        state = after


@every_case
def test_a_state_that_was_stored_goes_on_to_the_same_bits(name: str, options: dict[str, Any]) -> None:
    parts = parts_of(name, options)
    for (state, _), (again, _) in zip(steps(parts), steps(parts, stored=True), strict=True):
        assert bits(again) == bits(state)


@every_case
def test_what_is_frozen_stays_to_the_bit_and_something_else_moves(name: str, options: dict[str, Any]) -> None:
    for frozen in standing.initial_state(parts_of(name, options)).params:
        parts = parts_of(name, {**options, "frozen": (frozen,)})
        first = standing.initial_state(parts).params
        *_, (last, _) = steps(parts)
        moved = {each for each, array in last.params.items() if not np.array_equal(array, first[each])}
        assert moved, frozen
        assert frozen not in moved


@every_case
def test_the_parameters_first_move_with_the_iteration_that_the_method_says(name: str, options: dict[str, Any]) -> None:
    parts = parts_of(name, options)
    first = standing.initial_state(parts).params
    ends = [number for number, batch in batches(parts) if batch.last]
    moved = [any(np.any(a != first[each]) for each, a in state.params.items()) for state, _ in steps(parts)]
    says = parts.method.first_update(parts.config, lambda passes: ends[passes - 1] + 1 if ends else np.inf)
    assert moved.index(True) + 1 == says


@every_method
def test_a_frozen_name_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"^frozen: there is no parameter 'W_zz'; there are W_xh, .*W_hy"):
        standing.initial_state(parts_of(name, {"frozen": ("W_zz",)}))


@every_method
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_options_that_are_not_finite_are_refused(name: str, number: float) -> None:
    config = METHODS[name].config
    options = [option for option, kind in get_type_hints(config).items() if kind in (float, float | None)]
    assert len(options) > 3
    for option in options:
        with pytest.raises(InputError, match=option) as refusal:
            config(**{option: number})
        assert "\n" not in str(refusal.value)


@every_method
def test_the_reference_names_author_title_and_year(name: str) -> None:
    fields = catalogue.bibtex_fields(METHODS[name].reference)
    assert {"author", "title", "year"} <= {field for field, value in fields.items() if value}
    assert METHODS[name].summary
