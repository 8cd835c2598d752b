"""Scores of a trained network on fresh sequences."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from experiments.errors import RunError
from experiments.run import loop
from experiments.run.evaluate import evaluate as evaluate_run
from minigrad.errors import InputError
from tests.experiments.run import toy


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that solved its task."""
    settings = toy.settings(tmp_path_factory.mktemp("runs"), max_iterations=500)
    return loop.train(settings, "toy", None, loop.Quiet(), assemble=toy.assemble, draw=False).run


def evaluate(path: Path, *arguments: Any, **options: Any) -> dict[str, Any]:
    return evaluate_run(path, *arguments, assemble=toy.assemble, **options)


def test_a_run_is_scored(run: Path) -> None:
    before = sorted(os.listdir(run))
    answer = evaluate(run, size=2500)
    expected = {
        "run": str(run),
        "method": "toy",
        "task": "signs",
        "length": 5,
        "seed": 1234,
        "split": "test",
        "sequences": 2500,
        "chance": toy.Task.chance,
    }
    assert answer | expected == answer
    assert answer["error"] == answer["scores"]["error"] < 0.2
    assert Path(answer["checkpoint"]).name == f"{answer['iteration']:08d}.safetensors"
    assert evaluate(run, size=2500) == answer
    assert sorted(os.listdir(run)) == before


def test_other_sequences_give_other_scores(run: Path) -> None:
    errors = {evaluate(run, "last", split, size=700, length=n)["error"] for split in ("valid", "test") for n in (5, 8)}
    assert len(errors) > 1
    assert evaluate(run, length=8)["length"] == 8


def test_the_best_checkpoint(run: Path) -> None:
    assert evaluate(run, "best")["checkpoint"].endswith("best.safetensors")


def test_what_is_missing_is_said(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "checkpoints" / "best.safetensors").unlink()
    with pytest.raises(RunError, match="no best checkpoint"):
        evaluate(copy, "best")
    for path in (copy / "checkpoints").iterdir():
        path.write_bytes(b"")
    with pytest.raises(RunError, match="damaged"):
        evaluate(copy)
    for path in (copy / "checkpoints").iterdir():
        path.unlink()
    with pytest.raises(RunError, match="no checkpoint yet"):
        evaluate(copy)
    with pytest.raises(RunError, match="no run directory"):
        evaluate(tmp_path / "none")


@pytest.mark.parametrize("options", [{"size": 0}, {"length": 0}])
def test_impossible_wishes(run: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        evaluate(run, **options)
