"""Runs on images: the length is the task's own, checks and evaluation look at all images, networks learn."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets import catalogue, cifar
from experiments.run import build, loop
from experiments.run.evaluate import evaluate
from experiments.run.result import Result
from experiments.run.settings import Settings
from minigrad.errors import InputError


def train(folder: Path, method: str = "bptt", config: Any = None, **changes: Any) -> Result:
    values: dict[str, Any] = {
        "task": "digits-pixels",
        "hidden": 16,
        "max_iterations": 20,
        "validate_every": 10,
        "runs_dir": folder,
    }
    return loop.train(Settings(**values | changes), method, config, loop.Quiet(), draw=False)


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("bptt", {}),
        ("bptt", {"cell": "lstm", "task_options": {"scale": "standard", "train_size": "100"}}),
        ("bptt", {"activation": "relu", "init": "identity"}),
        ("tptt", {"task_options": {"shuffle": "false", "valid": "test"}}),
        ("tptt", {"activation": "relu"}),
        ("tptthx", {}),
    ],
)
def test_methods_train_on_images(tmp_path: Path, method: str, changes: dict[str, Any]) -> None:
    done = train(tmp_path, method, **changes)
    assert (done.status, done.iterations) == ("budget", 20)
    assert done.metric.keys() == {"error"}
    settings = json.loads((done.run / "config.json").read_text())["settings"]
    assert settings["length"] == 64
    assert done.run.name == f"{method}-digits-pixels-64-1234-1"
    errors = [json.loads(line).get("error") for line in (done.run / "metrics.jsonl").read_text().splitlines()]
    checked = 597 if changes.get("task_options", {}).get("valid") == "test" else 200
    for error in (e for e in errors if e is not None):
        assert error * checked == pytest.approx(round(error * checked))


@pytest.mark.parametrize("method", ["bptt", "tptt", "fptt"])
def test_methods_train_on_images_of_three_colours(tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is black on the left and red, green or blue on the right."""
    monkeypatch.setattr(cifar, "IMAGES", 20)
    anything = [replace(file, size=None, checksum="") for file in catalogue.SETS["cifar10"].files]
    monkeypatch.setitem(catalogue.SETS, "cifar10", replace(catalogue.SETS["cifar10"], files=tuple(anything)))
    images = np.zeros((20, 3, 32, 32), np.uint8)
    labels = np.arange(20) % 3
    images[np.arange(20), labels, :, 16:] = 200
    (tmp_path / "cifar10").mkdir()
    for name in (cifar.TRAIN[0], cifar.TEST):
        records = np.column_stack((labels.astype(np.uint8), images.reshape(20, -1)))
        (tmp_path / "cifar10" / name).write_bytes(records.tobytes())
    changes = {"data_dir": tmp_path, "max_iterations": 2, "validate_every": 1, "batch_size": 5, "hidden": 4}
    done = train(tmp_path / "runs", method, task="cifar-pixels", task_options={"train_files": "1"}, **changes)
    assert (done.status, done.iterations) == ("budget", 2)
    answer = evaluate(done.run)
    assert (answer["sequences"], answer["length"], answer["chance"]) == (20, 1024, {"error": 0.9})
    assert json.loads((done.run / "config.json").read_text())["settings"]["task_options"] == {"train_files": "1"}


def test_epochs_are_passes_through_the_images(tmp_path: Path) -> None:
    """100 images in batches of 16: passes end within the batches 7, 13, 19."""
    options: dict[str, Any] = {"task_options": {"train_size": "100"}, "batch_size": 16}
    done = train(tmp_path, epochs=3, **options)
    settings = json.loads((done.run / "config.json").read_text())["settings"]
    assert (settings["max_iterations"], settings["validate_every"], settings["epochs"]) == (19, 0, None)
    lines = [json.loads(line) for line in (done.run / "metrics.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines if "error" in line] == [0, 7, 13, 19]
    parts = build.assemble(Settings(task="digits-pixels", epochs=3, **options), "bptt")
    assert build.first_index(parts.settings, parts.task) == 0
    # Runs that are checked every so many iterations begin where they always did.
    assert build.first_index(Settings(task="digits-pixels"), parts.task) == 1


def test_evaluation_covers_the_test_images_once_and_knows_one_length(tmp_path: Path) -> None:
    done = train(tmp_path)
    answer = evaluate(done.run)
    assert (answer["sequences"], answer["length"], answer["chance"]) == (597, 64, {"error": 1 - 62 / 597})
    assert answer["error"] * 597 == pytest.approx(round(answer["error"] * 597))
    assert evaluate(done.run, split="valid")["sequences"] == 200
    assert evaluate(done.run, size=50)["sequences"] == 50
    assert evaluate(done.run, length=64) == answer
    with pytest.raises(InputError, match="digits-pixels has 64 time steps"):
        evaluate(done.run, length=60)


def test_a_network_learns_the_digits(tmp_path: Path) -> None:
    config = {"optimizer": "adam", "lr": 0.01, "clip": 1.0}
    done = train(tmp_path, "bptt", config, cell="gru", hidden=32, batch_size=32, max_iterations=300, validate_every=100)
    assert done.error is not None
    assert done.error < 0.6  # a constant: 0.9


def test_the_length_of_a_run_is_that_of_its_task() -> None:
    for changes, length in (({}, 60), ({"length": 30}, 30), ({"task": "digits-pixels"}, 64), ({"task": "adding"}, 60)):
        parts = build.assemble(Settings(**changes), "bptt")  # type: ignore[arg-type]
        assert parts.settings.length == parts.task.length == length
    with pytest.raises(InputError, match="length must be at least 1"):
        Settings(length=0)


def test_data_are_looked_for_before_anything_else(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no file .*train-images"):
        loop.train(
            Settings(task="mnist-permuted", data_dir=tmp_path, runs_dir=tmp_path / "runs"), "bptt", None, loop.Quiet()
        )
    assert not (tmp_path / "runs").exists()
