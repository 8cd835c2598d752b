"""Everything that is to run on a GPU, on a GPU: the same bodies as in test_stand_in, and what only a GPU can show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import cli
from tests.gpu import harness
from tests.gpu.harness import CASES, RUNS, TOGETHER, Case

harness.require_gpu()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_steps_agree(case: Case, tmp_path: Path) -> None:
    harness.steps_agree(case, tmp_path, harness.cupy_traffic())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_steps_agree_in_single_precision(case: Case, tmp_path: Path) -> None:
    harness.single_steps_agree(case, tmp_path)


@pytest.mark.parametrize("case", RUNS, ids=str)
def test_runs_agree(case: Case, tmp_path: Path) -> None:
    harness.runs_agree(case, tmp_path, 1e-7)


@pytest.mark.parametrize("case", RUNS, ids=str)
def test_runs_go_on_elsewhere(case: Case, tmp_path: Path) -> None:
    harness.runs_go_on_elsewhere(case, tmp_path, 1e-7)


@pytest.mark.parametrize("case", RUNS, ids=str)
def test_resumed_to_the_same_bits(case: Case, tmp_path: Path) -> None:
    harness.resumed_to_the_same_bits(case, tmp_path)


def test_a_line_of_the_log_takes_three_reads(tmp_path: Path) -> None:
    harness.a_line_of_the_log_takes_three_reads(tmp_path, harness.cupy_traffic())


def test_a_step_of_a_population_moves_its_batches_alone(tmp_path: Path) -> None:
    harness.a_step_of_a_population_moves_its_batches_alone(tmp_path, harness.cupy_traffic())


def test_divergence_is_named(tmp_path: Path) -> None:
    harness.divergence_is_named(tmp_path)


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    harness.on_the_command_line(tmp_path, capsys)


def test_dynamic_evaluation_agrees(tmp_path: Path) -> None:
    harness.dynamic_evaluation_agrees(tmp_path, 1e-7)


def test_a_sweep_trains_in_processes_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = "--length 10 --hidden 5 --batch-size 4 --validate-size 8 --validate-every 2 --max-iterations 4 --jobs 2"
    options = [*tiny.split(), "--device", "cuda", "--runs-dir", str(tmp_path), "--json"]
    assert cli.main(["sweep", "tptt", "--grid", "alpha_i=0.1,0.01", *options]) == 0
    assert json.loads(capsys.readouterr().out)
    entries = [json.loads(path.read_text())["processes"][0] for path in tmp_path.rglob("manifest.json")]
    assert [entry["device"].partition(":")[0] for entry in entries] == ["cuda", "cuda"]


@pytest.mark.parametrize("case", TOGETHER, ids=str)
def test_a_population_agrees(case: Case, tmp_path: Path) -> None:
    harness.a_population_agrees(case, tmp_path, 1e-7)
