"""Finding runs by what they compute."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.parallel.store import Store, job_of
from experiments.run import loop
from experiments.run.rundir import Run
from tests.experiments.parallel import small


def begin(folder: Path, until: int | None = None) -> Path:
    """A run of the small job; its directory."""
    job = small.job(folder)
    return loop.train(job.settings, job.method, job.config, loop.Quiet(), draw=False, until=until).run


def test_a_run_is_found_by_its_job_wherever_it_lies(tmp_path: Path) -> None:
    path = begin(tmp_path / "here")
    shutil.copytree(path.parent, tmp_path / "there")
    store, job = Store(tmp_path / "there"), small.job(tmp_path / "yonder")
    assert store.find(job) == Run(tmp_path / "there" / path.name)
    assert job_of(Run(path)).key == job.key
    done = store.result(job)
    assert done is not None
    assert (done.run, done.iterations) == (tmp_path / "there" / path.name, 30)
    assert store.find(small.job(tmp_path, seed=2)) is None
    assert store.result(small.job(tmp_path, seed=2)) is None


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert Store(tmp_path / "none").find(small.job(tmp_path)) is None


def test_a_finished_run_counts_before_one_that_is_begun_and_that_by_its_length(tmp_path: Path) -> None:
    job = small.job(tmp_path)
    further, begun = begin(tmp_path, until=20), begin(tmp_path, until=10)
    assert Store(tmp_path).find(job) == Run(further)
    assert Store(tmp_path).result(job) is None
    finished = begin(tmp_path)
    later = begin(tmp_path, until=5)
    assert Store(tmp_path).find(job) == Run(finished)
    assert len({further, begun, finished, later}) == 4


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"format": 1, "method": "tptt", "config": {}}',
        b'{"format": 99, "method": "tptt", "config": {}, "settings": {}}',
        b'{"format": 1, "method": "of tomorrow", "config": {}, "settings": {}}',
        b'{"format": 1, "method": "tptt", "config": {"alpha_i": [1]}, "settings": {}}',
        b'{"format": 1, "method": "tptt", "config": {}, "settings": {"task": 5}}',
        b'{"format": 1, "method": "tptt", "config": {}, "settings": {"of_tomorrow": true}}',
    ],
)
def test_a_directory_that_cannot_be_read_is_passed_over(tmp_path: Path, content: bytes) -> None:
    path = begin(tmp_path, until=10)
    for folder in (tmp_path / "foreign", tmp_path / "0"):
        folder.mkdir()
        (folder / "config.json").write_bytes(content)
    (tmp_path / "a file").write_text("no run")
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a folder of that name" / "config.json").mkdir(parents=True)
    assert Store(tmp_path).find(small.job(tmp_path)) == Run(path)


def test_a_directory_without_its_name_yet_is_passed_over(tmp_path: Path) -> None:
    """A run is made under a name that begins with a dot; a kill may leave it there."""
    path = begin(tmp_path)
    path.rename(tmp_path / f".{path.name}-123-abc.tmp")
    assert Store(tmp_path).find(small.job(tmp_path)) is None


def test_a_damaged_result_is_none(tmp_path: Path) -> None:
    path = begin(tmp_path)
    Run(path).result.write_text("{")
    assert Store(tmp_path).result(small.job(tmp_path)) is None


def test_what_is_added_later_is_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = begin(tmp_path)
    store.add(path)
    store.add(tmp_path / "none")
    assert store.find(replace(small.job(tmp_path), until=5)) == Run(path)


@pytest.mark.parametrize(("budget", "other", "there"), [(30, 30, True), (30, 40, False), (30, 20, False)])
def test_a_run_that_used_up_its_budget_answers_for_this_budget_alone(
    tmp_path: Path, budget: int, other: int, there: bool
) -> None:
    job = small.job(tmp_path, config=small.NEVER, max_iterations=budget)
    path = loop.train(job.settings, job.method, job.config, loop.Quiet(), draw=False).run
    wanted = small.job(tmp_path, config=small.NEVER, max_iterations=other)
    assert (Store(tmp_path).result(wanted) is not None) == there
    assert (Store(tmp_path).shorter(wanted) == Run(path)) == (other > budget)


def test_a_run_that_ended_otherwise_answers_for_every_budget_that_it_fits_into(tmp_path: Path) -> None:
    job = small.job(tmp_path, config=small.NEVER, patience=2, max_iterations=100)
    done = loop.train(job.settings, job.method, job.config, loop.Quiet(), draw=False)
    assert done.status == "patience"
    for budget, there in ((1_000, True), (done.iterations, True), (done.iterations - 1, False)):
        wanted = replace(job, settings=replace(job.settings, max_iterations=budget))
        assert (Store(tmp_path).result(wanted) == done) == there
        assert Store(tmp_path).shorter(wanted) is None


def test_a_last_check_that_no_longer_run_makes_is_nothing_to_go_on_from(tmp_path: Path) -> None:
    job = small.job(tmp_path, config=small.NEVER, max_iterations=25)  # checks are due every 10
    loop.train(job.settings, job.method, job.config, loop.Quiet(), draw=False)
    assert Store(tmp_path).shorter(small.job(tmp_path, config=small.NEVER, max_iterations=50)) is None
