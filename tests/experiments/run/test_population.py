"""Runs side by side in one process: each comes to what it comes to alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import algorithms
from experiments.run import checkpoint, loop, population, rundir
from experiments.run.population import Wish
from experiments.run.progress import Quiet
from experiments.run.result import Result
from experiments.run.settings import Settings

SMALL: dict[str, Any] = {
    "task": "temporal",
    "length": 10,
    "hidden": 8,
    "max_iterations": 30,
    "validate_every": 10,
    "validate_size": 50,
    "checkpoint_every": 7,
    "log_every": 3,
}


def settings(folder: Path, **changes: Any) -> Settings:
    """A few iterations of a small network."""
    return Settings(**{**SMALL, "runs_dir": folder, **changes})


def together(wanted: list[tuple[Settings, Any]], until: int | None = None) -> list[Result | str]:
    """How runs of TPTT ended that were trained side by side."""
    ends: dict[int, Result | str] = {}
    wishes = [
        wish(partial(loop.new, one, "tptt", config), ends, number, until) for number, (one, config) in enumerate(wanted)
    ]
    population.train(wishes)
    return [ends[number] for number in range(len(wanted))]


def wish(open_run: Callable[..., Any], ends: dict[int, Result | str], number: int, until: int | None = None) -> Wish:
    """A run whose end is noted."""
    note: Callable[[Any], None] = partial(ends.__setitem__, number)
    return Wish(open=open_run, until=until, display=Quiet(), done=note, refused=note)


def config(**changes: Any) -> Any:
    """Options of TPTT."""
    return algorithms.method("tptt").config(**changes)


def wanted(folder: Path) -> list[tuple[Settings, Any]]:
    """Runs of two kinds: rates and seeds that differ, and another length."""
    return [
        (settings(folder, seed=1), config(alpha_f=0.1)),
        (settings(folder, seed=2), config(alpha_f=0.01)),
        (settings(folder, seed=2), config(alpha_f=0.01, noise=0.1)),
        (settings(folder, seed=1, length=12, max_iterations=20), config()),
    ]


def test_each_comes_to_the_same_bits_as_alone(tmp_path: Path) -> None:
    for end, (one, its_config) in zip(together(wanted(tmp_path / "many")), wanted(tmp_path / "one"), strict=True):
        assert isinstance(end, Result)
        alone = loop.train(one, "tptt", its_config, Quiet(), draw=False)
        same(end.run, alone.run)
        assert (end.iterations, end.error, end.status) == (alone.iterations, alone.error, alone.status)


def same(one: Path, other: Path) -> None:
    """Two run directories hold the same numbers."""
    assert (one / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
    newest = [rundir.open_run(path).newest() for path in (one, other)]
    assert newest[0] is not None
    assert newest[1] is not None
    assert newest[0].name == newest[1].name
    assert checkpoint.load(newest[0]).counters == checkpoint.load(newest[1]).counters
    assert newest[0].read_bytes() == newest[1].read_bytes()


def test_on_a_cpu_runs_of_every_kind_go_side_by_side(tmp_path: Path) -> None:
    """The one with fewest iterations ends first, though it is of another kind than the first one."""
    ends: dict[int, Any] = {}
    population.train(
        [
            wish(partial(loop.new, one, "tptt", its_config), ends, number)
            for number, (one, its_config) in enumerate(wanted(tmp_path))
        ]
    )
    assert [ends[number].iterations for number in ends] == [20, 30, 30, 30]


def test_they_pause_and_go_on(tmp_path: Path) -> None:
    paused = together(wanted(tmp_path), until=15)
    assert all(isinstance(end, Result) and (end.iterations, end.status) == (15, "interrupted") for end in paused)
    ends: dict[int, Result | str] = {}
    population.train(
        [wish(partial(loop.again, end.run), ends, i) for i, end in enumerate(paused) if isinstance(end, Result)]
    )
    for number, (one, its_config) in enumerate(wanted(tmp_path / "one")):
        end = ends[number]
        assert isinstance(end, Result)
        same(end.run, loop.train(one, "tptt", its_config, Quiet(), draw=False).run)


def test_what_is_finished_or_cannot_be_keeps_nobody_from_training(tmp_path: Path) -> None:
    finished = loop.train(settings(tmp_path), "tptt", config(), Quiet(), draw=False)
    ends: dict[int, Result | str] = {}
    population.train(
        [
            wish(partial(loop.again, finished.run), ends, 0),
            wish(partial(loop.again, tmp_path / "none"), ends, 1),
            wish(partial(loop.new, settings(tmp_path, seed=5), "tptt", config()), ends, 2),
        ]
    )
    assert ends[0] == finished
    assert "none" in str(ends[1])
    assert isinstance(ends[2], Result)
    assert ends[2].iterations == 30


def test_one_that_diverges_leaves_the_others_alone(tmp_path: Path) -> None:
    wild, tame = together(
        [(settings(tmp_path, seed=1), config(alpha_f=1e38)), (settings(tmp_path, seed=1), config(alpha_f=0.01))]
    )
    assert isinstance(wild, Result)
    assert isinstance(tame, Result)
    assert (wild.status, tame.status, tame.iterations) == ("diverged", "budget", 30)


@pytest.mark.parametrize("runs", [1, 2])
def test_nothing_is_left_locked(runs: int, tmp_path: Path) -> None:
    for end in together(wanted(tmp_path)[:runs]):
        assert isinstance(end, Result)
        with rundir.lock(rundir.open_run(end.run)):
            pass
