"""Run directories: named, made whole, locked, read."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from experiments.errors import RunError
from experiments.run import rundir

ROOT = Path(__file__).parents[3]

CONFIG = {"method": "toy", "config": {"lr": 0.1}, "settings": {"seed": 1}}


def made(parent: Path, stem: str = "tptt-temporal-30-1234") -> Path:
    run, lock = rundir.create(parent, stem, CONFIG)
    with lock:
        return run.path


def test_names_count_up(tmp_path: Path) -> None:
    parent = tmp_path / "deep" / "runs"
    assert [made(parent).name for _ in range(3)] == [f"tptt-temporal-30-1234-{n}" for n in (1, 2, 3)]
    assert made(parent, "tptt-temporal-30").name == "tptt-temporal-30-1"


def test_a_name_that_is_taken_is_not_given_again(tmp_path: Path) -> None:
    (tmp_path / "a-1").write_text("a file")
    (tmp_path / "a-x").mkdir()
    (tmp_path / "a-7").mkdir()
    assert made(tmp_path, "a").name == "a-8"


def test_what_a_new_directory_holds(tmp_path: Path) -> None:
    run = rundir.open_run(made(tmp_path))
    assert sorted(os.listdir(run.path)) == [
        ".lock", "checkpoints", "config.json", "figures", "metrics.jsonl", "timings.jsonl",
    ]  # fmt: skip
    assert rundir.read_config(run) == {"format": 1} | CONFIG
    assert os.listdir(tmp_path) == [run.path.name]


def test_many_at_once_get_a_name_each(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda _: made(tmp_path, "a").name, range(40)))
    assert sorted(names) == sorted(f"a-{n}" for n in range(1, 41))
    assert len(os.listdir(tmp_path)) == 40


def test_processes_at_once_get_a_name_each(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from experiments.run import rundir\n"
        "for _ in range(10): print(rundir.create(Path(sys.argv[1]), 'a', {})[0].path.name)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(3)]
    names = [name for process in processes for name in process.communicate()[0].split()]
    assert sorted(names) == sorted(f"a-{n}" for n in range(1, 31))


@pytest.mark.parametrize(
    ("call", "number"),
    [
        *((call, number) for call in ("mkdir", "open", "write") for number in (1, 2)),
        *(("fsync", 1), ("fsync", 3), ("replace", 1), ("rename", 1)),
    ],
)
def test_a_directory_that_cannot_be_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    real, calls = getattr(os, call), 0

    def failing(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args, **options)

    parent = tmp_path / "runs"
    parent.mkdir()
    monkeypatch.setattr(os, call, failing)
    with pytest.raises(RunError, match=r"No space left on device.*--runs-dir"):
        rundir.create(parent, "a", CONFIG)
    monkeypatch.undo()
    assert os.listdir(parent) == []


def test_a_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(RunError, match="--runs-dir"):
        rundir.create(tmp_path / "runs", "a", CONFIG)


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    run, lock = rundir.create(tmp_path, "a", CONFIG)
    with lock, pytest.raises(RunError, match=f"in use by process {os.getpid()}: wait"):
        rundir.lock(run)
    with rundir.lock(run):
        pass


@pytest.mark.parametrize(("name", "match"), [("none", "there is no run directory"), ("empty", "has no config.json")])
def test_what_is_no_run_directory(tmp_path: Path, name: str, match: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match=match):
        rundir.open_run(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "damaged"),
        ('{"format": 1, "met', "damaged"),
        ("[]", "not a JSON object"),
        ("\0\0", "damaged"),
        ("[" * 100_000, "damaged"),
        (json.dumps({"format": 2} | CONFIG), "format 2, this program reads up to 1: update"),
        (json.dumps({"format": "1"} | CONFIG), "format 1"),
        (json.dumps({"format": 1, "method": "toy"}), "no config"),
        (json.dumps({"format": 1, "method": 3, "config": {}, "settings": {}}), "no method"),
    ],
)
def test_a_config_that_is_damaged_or_newer(tmp_path: Path, text: str, match: str) -> None:
    run = rundir.open_run(made(tmp_path))
    run.config.write_text(text)
    with pytest.raises(RunError, match=match) as caught:
        rundir.read_config(run)
    assert str(run.config) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_checkpoints_are_listed_and_pruned(tmp_path: Path) -> None:
    run = rundir.open_run(made(tmp_path))
    assert run.newest() is None
    for name in ("00000500", "123456789", "00001000", "best", "x1"):
        (run.checkpoints / f"{name}.safetensors").touch()
    assert [path.stem for path in run.all_numbered()] == ["00000500", "00001000", "123456789"]
    run.prune()
    assert sorted(path.stem for path in run.checkpoints.iterdir()) == ["00001000", "123456789", "best", "x1"]
    assert run.newest() == run.numbered(123456789)
