"""Everything that is to run on a GPU, on what stands in for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from minigrad import devices
from tests.gpu import harness
from tests.gpu.harness import CASES, RUNS, Case


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """array-api-strict in the place of CuPy."""
    monkeypatch.setitem(devices.KINDS, "cuda", harness.Strict())
    monkeypatch.setenv("MINIGRAD_KERNELS", "reference")


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


def test_divergence_is_named(tmp_path: Path) -> None:
    harness.divergence_is_named(tmp_path)


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    harness.on_the_command_line(tmp_path, capsys)


def test_dynamic_evaluation_agrees(tmp_path: Path) -> None:
    harness.dynamic_evaluation_agrees(tmp_path, 1e-9)
