"""Chains of runs side by side: killed at any moment and started again, they come to the same end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from experiments.errors import RunError
from experiments.parallel import job, pool
from experiments.parallel.job import Chain, Derived, Job
from experiments.parallel.store import Store
from experiments.run import loop
from experiments.run.result import Result
from experiments.run.rundir import Lock
from minigrad.errors import InputError
from tests.experiments.parallel import compute, small
from tests.experiments.run import blank

ROOT = Path(__file__).parents[3]


def run(
    folder: Path, chains: Mapping[Any, Chain[Any]], workers: int = 1, watcher: small.Watcher | None = None
) -> tuple[dict[Any, Any], dict[Any, str]]:
    return pool.run(chains, Store(folder), workers, watcher or small.Watcher())


def runs(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob("*/config.json"))


@pytest.fixture
def nobody_works(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, to start a process is an error."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("a process was started")

    return lambda: monkeypatch.setattr(subprocess, "Popen", refuse)


class Striker:
    """Signals the process that trains with a seed, as soon as it does; again its next one, `times` in all."""

    def __init__(self, seed: int, number: signal.Signals, times: int = 1) -> None:
        self._seed, self._number, self._times = seed, number, times
        self.struck: set[int] = set()

    def __call__(self, folder: Path, running: Mapping[int, str]) -> None:
        if len(self.struck) < self._times and any(f"seed {self._seed}: iteration" in x for x in running.values()):
            (lock,) = folder.glob(f"tptt-*-{self._seed}-1/.lock")
            process = int(lock.read_text())
            if process not in self.struck:
                self.struck.add(process)
                os.kill(process, self._number)


def derived(job: Job, compute: Callable[[], dict[str, Any]], optional: bool) -> Chain[Any]:
    """What follows from a run."""
    done = yield job
    return (yield Derived(done.run, "thing", compute, optional))


def test_what_follows_from_a_run_is_computed_once_and_never_by_a_replay(tmp_path: Path) -> None:
    job, times = small.job(tmp_path), []

    def compute() -> dict[str, Any]:
        times.append(1)
        return {"value": len(times)}

    small.alone(job, tmp_path)
    store = Store(tmp_path)
    for optional in (False, True):
        found = pool.replay(derived(job, compute, optional), store)
        assert (found.value, found.complete, times) == (None, optional, [])
    for _ in range(2):
        assert run(tmp_path, {0: derived(job, compute, False)})[0] == {0: {"value": 1}}
        assert pool.replay(derived(job, compute, False), store).value == {"value": 1}
    assert times == [1]


def test_a_chain_that_cannot_derive_what_it_wants_fails_alone(tmp_path: Path) -> None:
    def refuse() -> dict[str, Any]:
        raise PermissionError(13, "Permission denied", "somewhere")

    jobs = [small.job(tmp_path, seed=seed) for seed in (1, 2)]
    outcomes, failures = run(tmp_path, {0: derived(jobs[0], refuse, False), 1: job.single(jobs[1])})
    assert list(outcomes) == [1]
    assert "Permission denied" in failures[0]


def test_a_replay_shows_where_a_smaller_budget_ended_a_run_and_that_it_did(tmp_path: Path) -> None:
    short = small.job(tmp_path, config=small.NEVER)
    long = replace(short, settings=replace(short.settings, max_iterations=60))
    done = small.alone(short, tmp_path)
    found = pool.replay(job.single(long), Store(tmp_path))
    assert (found.value, found.complete) == (done, False)


def test_data_that_moved_are_found_where_the_call_says(tmp_path: Path) -> None:
    """A run keeps the folder of its data, by its whole path; a later call may know better."""
    old = blank.mnist(tmp_path / "old", 24, 2)
    images = {"task": "mnist-pixels", "length": None, "batch_size": 2, "validate_size": 2, "data_dir": str(old)}
    settings = images | {"max_iterations": 20, "validate_every": 10}
    folder = tmp_path / "runs"
    assert not run(folder, {0: job.single(small.job(folder, until=10, **settings))})[1]
    old.rename(tmp_path / "new")
    moved = settings | {"data_dir": str(tmp_path / "new")}
    (done,) = run(folder, {0: job.single(small.job(folder, **moved))})[0].values()
    assert (done.status, done.iterations, len(runs(folder))) == ("budget", 20, 1)
    # Beyond its budget too, in a copy that knows where they are now.
    (longer,) = run(folder, {0: job.single(small.job(folder, **moved | {"max_iterations": 30}))})[0].values()
    assert longer.iterations == 30
    assert json.loads((longer.run / "config.json").read_text())["settings"]["data_dir"] == str(tmp_path / "new")


def test_runs_that_cannot_be_read_are_named_once_they_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    watcher = small.Watcher()
    run(tmp_path, {0: job.single(small.job(tmp_path))}, watcher=watcher)
    assert any("cannot be read" in note and "broken" in note for note in watcher.notes)


# --- what comes out ---


def test_a_larger_budget_goes_on_where_a_smaller_one_ended(tmp_path: Path) -> None:
    """To the same bits as a run that had it from the beginning, and the shorter run stays as it is."""
    short = small.job(tmp_path / "pool", config=small.NEVER)
    long = replace(short, settings=replace(short.settings, max_iterations=60))
    (first,) = run(tmp_path / "pool", {0: job.single(short)})[0].values()
    before = (first.run / "metrics.jsonl").read_bytes()
    (second,) = run(tmp_path / "pool", {0: job.single(long)})[0].values()
    assert small.same(second, small.alone(long, tmp_path / "alone"))
    entries = json.loads((second.run / "manifest.json").read_text())
    assert [entry["from_iteration"] for entry in entries["processes"]] == [0, 30]
    assert (first.run / "metrics.jsonl").read_bytes() == before
    assert run(tmp_path / "pool", {0: job.single(short)})[0][0].run == first.run


def test_chains_come_to_what_their_runs_come_to_alone(tmp_path: Path) -> None:
    """Two chains on two workers; the second job of a chain depends on the result of the first."""
    chains = {seed: small.dependent(small.job(tmp_path / "pool", seed=seed)) for seed in (1, 2)}
    watcher = small.Watcher()
    outcomes, failures = run(tmp_path / "pool", chains, 2, watcher)
    assert failures == {}
    assert watcher.last == (2, 2)
    assert outcomes.keys() == {1, 2}
    for seed, results in outcomes.items():
        assert [done.seed for done in results] == [seed, 100 * seed + 30]
        for done in results:
            assert small.same(done, small.alone(small.job(tmp_path, seed=done.seed), tmp_path / "alone"))


def test_what_is_finished_is_not_computed_again(tmp_path: Path, nobody_works: Callable[[], None]) -> None:
    first, _ = run(tmp_path, {"a": small.dependent(small.job(tmp_path))})
    before = runs(tmp_path)
    nobody_works()
    again, failures = run(tmp_path, {"a": small.dependent(small.job(tmp_path))})
    assert (again, failures) == (first, {})
    assert runs(tmp_path) == before


def test_what_another_call_finished_meanwhile_is_found(tmp_path: Path, nobody_works: Callable[[], None]) -> None:
    store, what = Store(tmp_path), small.job(tmp_path)
    done = small.alone(what, tmp_path)
    nobody_works()
    assert pool.run({1: job.single(what)}, store, 1, small.Watcher()) == ({1: done}, {})


def test_without_anything_to_compute_nothing_is_written(tmp_path: Path, nobody_works: Callable[[], None]) -> None:
    def empty() -> Chain[str]:
        return "nothing"
        yield

    nobody_works()
    assert run(tmp_path / "none", {}) == ({}, {})
    assert run(tmp_path / "none", {1: empty()}) == ({1: "nothing"}, {})
    assert not (tmp_path / "none").exists()


def test_what_several_chains_ask_for_is_computed_once(tmp_path: Path) -> None:
    """At the same time, paused by one of them, and again in the middle of a chain."""
    what = small.long(tmp_path)
    chains = [small.several(what), small.several(replace(what, until=60), what), small.several(what, what)]
    outcomes, failures = run(tmp_path, dict(enumerate(chains)), 3)
    assert failures == {}
    assert [done.iterations for done in outcomes[0] + outcomes[2]] == [200, 200, 200]
    assert outcomes[1][-1].iterations == 200
    assert len(runs(tmp_path)) == 1


def test_what_was_begun_goes_on(tmp_path: Path) -> None:
    what = small.job(tmp_path / "pool")
    begun = loop.train(what.settings, what.method, what.config, loop.Quiet(), draw=False, until=15)
    outcomes, _ = run(tmp_path / "pool", {1: job.single(what)})
    assert outcomes[1].run == begun.run
    assert small.same(outcomes[1], small.alone(what, tmp_path / "alone"))


def test_a_pause_changes_nothing(tmp_path: Path) -> None:
    """A job that is to pause ends there, and one that is not goes on with the same run."""
    what = small.job(tmp_path / "pool")
    outcomes, _ = run(tmp_path / "pool", {1: small.several(replace(what, until=15), what)})
    paused, ended = outcomes[1]
    assert (paused.status, paused.iterations) == ("interrupted", 15)
    assert paused.run == ended.run
    assert small.same(ended, small.alone(what, tmp_path / "alone"))


# --- what goes wrong ---


def test_a_job_that_is_refused_ends_its_chain_alone(tmp_path: Path) -> None:
    good = small.job(tmp_path)
    bad = replace(good, settings=replace(good.settings, task_options={"colour": "red"}))
    watcher = small.Watcher()
    outcomes, failures = run(tmp_path, {"bad": small.several(bad, good), "good": small.dependent(good)}, 1, watcher)
    assert outcomes.keys() == {"good"}
    assert failures.keys() == {"bad"}
    assert "colour" in failures["bad"]
    assert any("colour" in note for note in watcher.notes)
    assert watcher.last == (2, 2)


def test_a_chain_that_refuses_its_result_ends_alone(tmp_path: Path) -> None:
    def picky(what: Job) -> Chain[Result]:
        done = yield what
        raise InputError(f"{done.iterations} iterations are no good")

    outcomes, failures = run(tmp_path, {1: picky(small.job(tmp_path)), 2: job.single(small.job(tmp_path, seed=2))})
    assert outcomes.keys() == {2}
    assert failures == {1: "30 iterations are no good"}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_is_killed_or_stopped_is_made_up_for(tmp_path: Path, number: signal.Signals) -> None:
    what, strike = small.long(tmp_path / "pool", max_iterations=1_000), Striker(1, number)
    watcher = small.Watcher(lambda running: strike(tmp_path / "pool", running))
    outcomes, failures = run(tmp_path / "pool", {1: job.single(what)}, 1, watcher)
    assert len(strike.struck) == 1
    assert failures == {}
    assert runs(tmp_path / "pool") == [outcomes[1].run.name]
    assert small.same(outcomes[1], small.alone(what, tmp_path / "alone"))


def test_a_job_whose_workers_are_killed_twice_is_given_up_and_the_others_go_on(tmp_path: Path) -> None:
    """The other chain has a job left when the dead worker's place is empty."""
    strike = Striker(1, signal.SIGKILL, times=2)
    endless = small.long(tmp_path, max_iterations=1_000_000, patience=1_000_000)
    watcher = small.Watcher(lambda running: strike(tmp_path, running))
    others = small.several(small.long(tmp_path, seed=2, max_iterations=800), small.job(tmp_path, seed=3))
    outcomes, failures = run(tmp_path, {1: job.single(endless), 2: others}, 2, watcher)
    assert len(strike.struck) == 2
    assert [done.iterations for done in outcomes[2]] == [800, 30]
    assert failures.keys() == {1}
    assert "-9" in failures[1]


def test_a_job_that_kills_its_process_takes_those_beside_it_along_once(tmp_path: Path) -> None:
    """Three jobs share a process; the second time the one that killed it has a process to itself."""
    strike = Striker(1, signal.SIGKILL, times=2)
    endless = small.long(tmp_path, max_iterations=1_000_000, patience=1_000_000)
    others = {seed: small.long(tmp_path, seed=seed, max_iterations=600, patience=1_000_000) for seed in (2, 3)}
    chains = {1: job.single(endless)} | {seed: job.single(other) for seed, other in others.items()}
    watcher = small.Watcher(lambda running: strike(tmp_path, running))
    outcomes, failures = pool.run(chains, Store(tmp_path), 1, watcher, together=3)
    assert len(strike.struck) == 2
    assert failures.keys() == {1}
    assert {seed: done.iterations for seed, done in outcomes.items()} == {2: 600, 3: 600}


def test_two_pools_in_one_folder_are_one_too_many(tmp_path: Path) -> None:
    with Lock(tmp_path), pytest.raises(RunError, match="in use by process") as refusal:
        run(tmp_path, {1: job.single(small.job(tmp_path))})
    assert "\n" not in str(refusal.value)
    assert runs(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"file/runs.*--runs-dir"):
        run(tmp_path / "file" / "runs", {1: job.single(small.job(tmp_path))})


# --- the pool itself is killed ---


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Result]]:
    """What the chains of `compute` come to without a pool."""
    folder = tmp_path_factory.mktemp("alone")
    return {key: [small.alone(what, folder) for what in chained] for key, chained in compute.jobs(folder)}


@pytest.mark.parametrize(
    "moments", [[("asked", 0.2), ("started", 0.0)], [("asked", 0.4)], [("started", 0.1)], [("started", 0.3)]]
)
def test_a_pool_that_is_killed_leaves_nothing_running_and_nothing_lost(
    tmp_path: Path, undisturbed: dict[str, list[Result]], moments: list[tuple[str, float]]
) -> None:
    """Killed at moments that nothing inside knows, and started again at once."""
    killed = [kill_a_pool(tmp_path, *moment) for moment in moments]
    outcomes, failures = run(tmp_path, compute.chains(tmp_path), 2)
    assert failures == {}
    assert outcomes.keys() == undisturbed.keys()
    for key, results in outcomes.items():
        assert all(small.same(*pair) for pair in zip(results, undisturbed[key], strict=True))
    for process in killed:
        process.communicate(timeout=60)  # ends when nobody holds the other end of its pipes: it, and all its workers


def kill_a_pool(folder: Path, sign: str, seconds: float) -> subprocess.Popen[str]:
    """A process that computes, killed some seconds after a sign of it; its workers may live on for a moment."""
    command = [sys.executable, "-m", "tests.experiments.parallel.compute", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert f"{sign}\n" in iter(process.stdout.readline, "")
    time.sleep(seconds)
    process.kill()
    process.wait()
    return process


# --- a replay ---


def test_a_replay_takes_what_is_finished_and_computes_nothing(tmp_path: Path, nobody_works: Callable[[], None]) -> None:
    half, whole = tmp_path / "half", tmp_path / "whole"
    for folder, seeds in ((half, [1]), (whole, [1, 130])):
        for seed in seeds:
            small.alone(small.job(folder, seed=seed), folder)
    nobody_works()
    before = [runs(folder) for folder in (half, whole)]
    for folder, seeds in ((tmp_path / "none", []), (half, [1]), (whole, [1, 130])):
        found = pool.replay(small.dependent(small.job(folder)), Store(folder))
        assert [done.seed for done in found.runs] == seeds
        assert found.value == (found.runs if folder == whole else None)
        assert found.complete == (folder == whole)
    assert [runs(folder) for folder in (half, whole)] == before
