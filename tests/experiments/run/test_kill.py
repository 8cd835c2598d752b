"""kill -9 at any moment, then resume: the same bits as without."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.run import loop
from tests.experiments.run import toy

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a run without any accident writes."""
    settings = toy.settings(tmp_path_factory.mktemp("runs"))
    return toy.outcome(loop.train(settings, "toy", toy.NEVER, loop.Quiet(), assemble=toy.assemble, draw=False).run)


def start(*arguments: object) -> subprocess.Popen[str]:
    """A process that has begun to train, or to go on."""
    command = [sys.executable, "-m", "tests.experiments.run.train_toy", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    return process


def finish(folder: Path) -> Path:
    """Resume in this process; the run directory."""
    (run,) = folder.glob("toy-*")
    assert loop.resume(run, loop.Quiet(), assemble=toy.assemble, draw=False).status == "budget"
    return run


@pytest.mark.parametrize("moments", [(0.0, 0.11), (0.05, 0.02), (0.17, 0.09)])
def test_killed_from_outside(tmp_path: Path, undisturbed: dict[str, bytes], moments: tuple[float, ...]) -> None:
    """60 steps of 4 ms, killed twice at moments that nothing inside knows."""
    for moment in moments:
        with start(tmp_path, 0.004) as process:
            time.sleep(moment)
            process.kill()
    assert toy.outcome(finish(tmp_path)) == undisturbed


@pytest.mark.parametrize(
    ("call", "number"),
    [
        ("write", 1),
        ("write", 3),
        ("write", 8),
        ("fsync", 2),
        ("fsync", 9),
        ("replace", 1),
        ("replace", 3),
        ("replace", 9),
    ],
)
def test_killed_in_the_middle_of_a_write(tmp_path: Path, undisturbed: dict[str, bytes], call: str, number: int) -> None:
    with start(tmp_path, call, number) as process:
        pass
    assert process.returncode == -9
    assert toy.outcome(finish(tmp_path)) == undisturbed
