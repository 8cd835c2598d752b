"""Everything that is to run on a GPU, on what stands in for one."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest

import algorithms
from experiments.run import loop, population, settings
from experiments.run.population import Wish
from experiments.run.progress import Quiet
from minigrad import devices
from tests.gpu import harness
from tests.gpu.harness import CASES, RUNS, TOGETHER, Case


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> harness.Strict:
    """array-api-strict in the place of CuPy."""
    kind = harness.Strict()
    monkeypatch.setitem(devices.KINDS, "cuda", kind)
    monkeypatch.setenv("MINIGRAD_KERNELS", "reference")
    return kind


def test_nothing_is_left_out() -> None:
    """A new cell, readout or optimiser needs a case; a method has one as soon as it is registered."""
    for option in ("cell", "readout", "activation"):
        known = get_args(settings.type_hints(settings.Settings)[option])
        usual = getattr(settings.Settings(), option)
        assert {case.settings.get(option, usual) for case in CASES} == set(known), option
    optimizers = get_args(settings.type_hints(algorithms.method("bptt").config)["optimizer"])
    assert {case.config.get("optimizer", "sgd") for case in CASES if case.method == "bptt"} == set(optimizers)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_steps_agree(case: Case, tmp_path: Path) -> None:
    harness.steps_agree(case, tmp_path, harness.strict_traffic())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_steps_agree_in_single_precision(case: Case, tmp_path: Path) -> None:
    harness.single_steps_agree(case, tmp_path)


@pytest.mark.parametrize("case", RUNS, ids=str)
def test_runs_agree(case: Case, tmp_path: Path) -> None:
    harness.runs_agree(case, tmp_path, 1e-9)


@pytest.mark.parametrize("case", RUNS, ids=str)
def test_runs_go_on_elsewhere(case: Case, tmp_path: Path) -> None:
    harness.runs_go_on_elsewhere(case, tmp_path, 1e-9)


@pytest.mark.parametrize("case", RUNS, ids=str)
def test_resumed_to_the_same_bits(case: Case, tmp_path: Path) -> None:
    harness.resumed_to_the_same_bits(case, tmp_path)


def test_a_line_of_the_log_takes_three_reads(tmp_path: Path) -> None:
    harness.a_line_of_the_log_takes_three_reads(tmp_path, harness.strict_traffic())


def test_a_step_of_a_population_moves_its_batches_alone(tmp_path: Path) -> None:
    harness.a_step_of_a_population_moves_its_batches_alone(tmp_path, harness.strict_traffic())


def test_divergence_is_named(tmp_path: Path) -> None:
    harness.divergence_is_named(tmp_path)


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    harness.on_the_command_line(tmp_path, capsys)


def test_dynamic_evaluation_agrees(tmp_path: Path) -> None:
    harness.dynamic_evaluation_agrees(tmp_path, 1e-9)


def test_the_second_device_becomes_the_one_on_which_all_is_computed(stand_in: harness.Strict, tmp_path: Path) -> None:
    run = harness.trained(RUNS[0], tmp_path / "there", device="cuda:1", until=4)
    assert stand_in.used == [1]
    harness.resumed(run)
    assert stand_in.used == [1, 1]
    harness.logs_agree(run, harness.trained(RUNS[0], tmp_path / "here", device="cpu"), 1e-9)
    assert stand_in.used == [1, 1]


def test_each_population_computes_on_its_device(stand_in: harness.Strict, tmp_path: Path) -> None:
    """All runs are opened first: the device of the last one is not that of the first population."""
    ends: dict[str, Any] = {}
    wishes = [
        Wish(
            open=partial(loop.new, RUNS[0].made(tmp_path / device[-1], device=device), RUNS[0].method, None),
            until=3,
            display=Quiet(),
            done=partial(ends.__setitem__, device),
            refused=partial(ends.__setitem__, device),
        )
        for device in ("cuda:0", "cuda:1")
    ]
    population.train(wishes)
    assert [end.iterations for end in ends.values()] == [3, 3], ends
    assert stand_in.used == [0, 1, 0, 1]


@pytest.mark.parametrize("case", TOGETHER, ids=str)
def test_a_population_agrees(case: Case, tmp_path: Path) -> None:
    harness.a_population_agrees(case, tmp_path, 1e-9)
