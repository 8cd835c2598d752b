"""The chains of jobs that cells of tables are, driven by hand with results that were never computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.papers.measures import (
    Measured,
    accuracy,
    change,
    depth,
    iterations,
    measure,
    perplexity,
    transfer,
    window_means,
)
from experiments.parallel import job
from experiments.parallel.job import Derived, Job
from experiments.run import evaluate, journal, loop
from experiments.run.result import Result
from minigrad.errors import InputError
from tests.experiments.papers.results import ENDED, UNSOLVED

JOB = job.make("tptt", {}, {"length": 50})


def drive(
    chain: Generator[Job | Derived, Any, Measured], answer: Callable[[Job], Result]
) -> tuple[Measured, list[Job]]:
    """Answer every job, and compute what is to be derived, until the chain is done: what it returns, and the jobs."""
    asked: list[Job] = []
    try:
        wanted = next(chain)
        while True:
            if isinstance(wanted, Derived):
                wanted = chain.send(wanted.value())
                continue
            asked.append(wanted)
            wanted = chain.send(answer(wanted))
    except StopIteration as end:
        return end.value, asked


def solves_up_to(length: int) -> Callable[[Job], Result]:
    """A method that fails beyond a length."""
    return lambda wanted: ENDED if (wanted.settings.length or 0) <= length else UNSOLVED


@pytest.mark.parametrize("longest", [0, 10, 70])
def test_depth_grows_by_ten_until_a_failure(longest: int) -> None:
    found, asked = drive(depth(JOB), solves_up_to(longest))
    assert found.value == longest
    assert found.interval == (longest, longest)
    assert [wanted.settings.length for wanted in asked] == list(range(10, longest + 11, 10))
    assert found.note == f"at {longest + 10} gave up after 1,000, 25.00 % wrong"
    assert found.seconds == 2.0 * len(asked)


@pytest.mark.parametrize(("iterations", "at_least"), [(1_000, True), (100_000, False)])
def test_a_run_that_was_stopped_before_the_protocol_would_is_no_failure(iterations: int, at_least: bool) -> None:
    stopped = replace(UNSOLVED, status="budget", iterations=iterations)
    found, _ = drive(depth(JOB), lambda job: ENDED if (job.settings.length or 0) <= 30 else stopped)
    assert found.interval == (30, math.inf if at_least else 30)


def test_the_lengths_of_a_depth_differ_in_nothing_else() -> None:
    _, asked = drive(depth(JOB), solves_up_to(30))
    for wanted in asked:
        assert replace(wanted.settings, length=50) == JOB.settings
        assert (wanted.method, wanted.config, wanted.until) == (JOB.method, JOB.config, None)


def test_depth_that_ends_by_its_budget_is_a_lower_bound() -> None:
    # 300 iterations at 10, 20, 30, ...: 3,000, 9,000, 18,000 time steps
    found, asked = drive(depth(JOB, work=9_500), solves_up_to(1_000))
    assert (found.value, found.interval, len(asked)) == (30, (30, math.inf), 3)
    found, asked = drive(depth(JOB, longest=40), solves_up_to(1_000))
    assert (found.value, found.interval, len(asked)) == (40, (40, math.inf), 4)
    found, asked = drive(depth(JOB, start=20, step=5, longest=30), solves_up_to(1_000))
    assert [wanted.settings.length for wanted in asked] == [20, 25, 30]


@pytest.fixture
def trained(tmp_path: Path) -> Callable[[Job], Result]:
    """Answers with a real run of a few iterations."""
    small = {"hidden": 8, "length": 10, "validate_every": 10, "validate_size": 100, "max_iterations": 10}

    def train(wanted: Job) -> Result:
        settings = replace(wanted.settings, **small, runs_dir=tmp_path)
        return loop.train(settings, wanted.method, wanted.config, loop.Quiet(), draw=False)

    return train


def test_iterations_of_a_task_that_was_not_solved_are_no_number(trained: Callable[[Job], Result]) -> None:
    found, _ = drive(iterations(JOB), lambda wanted: replace(trained(wanted), solved=True, iterations=300))
    assert found.value == 300
    assert found.note.startswith("solved; ||W_hh - W_hh(0)|| / ||W_hh(0)|| = ")
    found, _ = drive(iterations(JOB), trained)
    assert (found.value, found.budget) == (None, 10)
    assert found.interval == (10, math.inf)  # a larger budget might do it
    assert found.note.startswith("not solved after 10, ")
    found, _ = drive(iterations(JOB, patience=10), trained)
    assert found.interval == (math.inf, math.inf)


def test_a_frozen_matrix_has_not_moved_and_a_trained_one_has(trained: Callable[[Job], Result]) -> None:
    frozen = job.make("tptt", {"frozen": ["W_hh", "b_h"]}, {"length": 10})
    assert drive(iterations(frozen), trained)[0].note.endswith("= 0")
    learns = job.make("bptt", {"lr": 0.1}, {"length": 10})
    moved = float(drive(iterations(learns), trained)[0].note.rpartition(" = ")[2])
    assert 1e-4 < moved < 1


def test_a_network_is_tested_at_another_length_once(
    trained: Callable[[Job], Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = trained(JOB)
    found, _ = drive(transfer(JOB, length=20, size=200), lambda _: done)
    assert found.value is not None
    assert 0 <= found.value <= 100
    assert found.note.startswith("at 50: not solved after 10")
    monkeypatch.setattr("experiments.run.evaluate.evaluate", _refuse)
    assert drive(transfer(JOB, length=20, size=200), lambda _: done)[0] == found


def _refuse(*_: object, **__: object) -> None:
    raise AssertionError("evaluated a second time")


def test_accuracy_is_the_best_of_all_checks(trained: Callable[[Job], Result]) -> None:
    done = trained(JOB)
    lines = journal.read_metrics(done.run / "metrics.jsonl")
    found, _ = drive(accuracy(JOB), lambda _: done)
    best = 100 * (1 - min(line["error"] for line in lines if "error" in line))
    assert found.interval == (pytest.approx(best), 100)
    assert drive(accuracy(JOB, patience=10), lambda _: done)[0].interval == (pytest.approx(best), pytest.approx(best))


def test_means_of_windows_leave_out_what_is_no_number() -> None:
    assert window_means([1.0, 3.0, None, 5.0, None, None, 7.0], 2) == [2.0, 5.0, 7.0]


@pytest.mark.parametrize(("name", "options"), [("depht", {}), ("depth", {"stp": 1}), ("transfer", {})])
def test_what_a_file_asks_for_must_exist(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="measure"):
        measure(name, JOB, options)


# --- texts ---


@pytest.fixture
def on_a_text(tmp_path: Path) -> Callable[[Job], Result]:
    """Answers with a real run of three passes through a small text."""

    def train(wanted: Job) -> Result:
        settings = replace(wanted.settings, runs_dir=tmp_path)
        return loop.train(settings, wanted.method, wanted.config, loop.Quiet(), draw=False)

    return train


TEXT: dict[str, Any] = {
    "task": "sample-char",
    "task_options": {"characters": "2000"},
    "length": 10,
    "hidden": 8,
    "max_iterations": 30,
    "validate_every": 10,
}


def test_perplexity_is_the_lowest_of_all_checks(on_a_text: Callable[[Job], Result]) -> None:
    found, (asked,) = drive(perplexity(job.make("btprop", {"theta_lr": 1.0}, TEXT)), on_a_text)
    checks = [line for line in journal.read_metrics(found.runs[0].run / "metrics.jsonl") if "error" in line]
    best = min(checks, key=lambda line: line["error"])
    assert asked.method == "btprop"
    assert found.value == pytest.approx(math.exp(best["error"]))
    assert found.interval == (found.value, found.value)
    assert found.note == f"at iteration {best['iteration']} of 30"


def test_perplexity_of_the_other_texts(on_a_text: Callable[[Job], Result]) -> None:
    """Of the text of the test, by an evaluation of the best checkpoint; of that of training, by its log."""
    wanted = job.make("bptt", {"lr": 0.5}, TEXT)
    found, _ = drive(perplexity(wanted, of="test"), on_a_text)
    run = found.runs[0].run
    whole = evaluate.evaluate(run, "best", "test", 10**6)
    assert found.value == pytest.approx(whole["scores"]["perplexity"])
    assert found.note == f"at iteration {whole['iteration']}"
    log = [line for line in journal.read_metrics(run / "metrics.jsonl") if "loss" in line and line["iteration"] > 20]
    cost = sum(line["loss"] for line in log) / len(log)
    assert drive(perplexity(wanted, of="train"), on_a_text)[0].value == pytest.approx(math.exp(cost))
    assert drive(perplexity(wanted, of="train", bits=True), on_a_text)[0].value == pytest.approx(cost / math.log(2))


def test_the_last_pass_is_what_follows_the_last_check_but_one(on_a_text: Callable[[Job], Result]) -> None:
    """Where checks come after passes, of which no two need to be equally long."""
    passes = {"length": 10, "validate_every": 0, "max_iterations": 300, "batch_size": 20, "log_every": 7}
    options = {"task_options": {"characters": "20000", "windows": "variable"}}
    wanted = job.make("bptt", {"lr": 0.5}, {**TEXT, **passes, **options})
    found = drive(perplexity(wanted, of="train"), on_a_text)[0]
    lines = list(journal.read_metrics(found.runs[0].run / "metrics.jsonl"))
    *_, begun, ended = (line["iteration"] for line in lines if "error" in line)
    costs = [line["loss"] for line in lines if begun < line["iteration"] <= ended]
    assert 150 < begun < ended == 300
    assert found.value == pytest.approx(math.exp(sum(costs) / len(costs)))


def test_a_change_of_perplexity_is_against_a_run_that_differs_in_what_is_named(
    on_a_text: Callable[[Job], Result],
) -> None:
    wished = job.make("btprop", {"h_steps": 0, "h_init": "restart"}, TEXT)
    found, asked = drive(change(wished, baseline={"h_steps": 1}), on_a_text)
    assert [wanted.config.h_steps for wanted in asked] == [0, 1]
    assert replace(asked[1], config=asked[0].config) == asked[0]
    each = [drive(perplexity(wanted), on_a_text)[0].value or math.nan for wanted in asked]
    assert found.value == pytest.approx(each[0] - each[1])
    assert found.note == f"{each[0]:.2f} against {each[1]:.2f}"
    assert len(found.runs) == 2
