"""The chains of jobs that cells of tables are, driven by hand with results that were never computed."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.papers.measures import Measured, depth, iterations, measure, window_means
from experiments.parallel import job
from experiments.parallel.job import Job
from experiments.result import Result
from minigrad.errors import InputError

JOB = job.make("tptt", {}, {"length": 50})

ENDED = Result(
    run=Path("nowhere"),
    method="tptt",
    task="temporal",
    seed=1,
    solved=True,
    iterations=300,
    error=0.0,
    loss=0.1,
    metric={"error": 0.0},
    seconds=2.0,
    iterations_per_second=150.0,
    status="solved",
    kernels={},
    figure=None,
    reason="",
)
UNSOLVED = replace(ENDED, solved=False, status="budget", error=0.25, iterations=1_000)


def drive(chain: Generator[Job, Result, Measured], answer: Callable[[Job], Result]) -> tuple[Measured, list[Job]]:
    """Answer every job until the chain is done: what it returns, and the jobs."""
    asked: list[Job] = []
    try:
        wanted = next(chain)
        while True:
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
    assert not found.at_least
    assert [wanted.settings.length for wanted in asked] == list(range(10, longest + 11, 10))
    assert found.note == f"at {longest + 10} not solved after 1,000, 25.00 % wrong"
    assert found.seconds == 2.0 * len(asked)


def test_the_lengths_of_a_depth_differ_in_nothing_else() -> None:
    _, asked = drive(depth(JOB), solves_up_to(30))
    for wanted in asked:
        assert replace(wanted.settings, length=50) == JOB.settings
        assert (wanted.method, wanted.config, wanted.until) == (JOB.method, JOB.config, None)


def test_depth_that_ends_by_its_budget_is_a_lower_bound() -> None:
    # 300 iterations at 10, 20, 30, ...: 3,000, 9,000, 18,000 time steps
    found, asked = drive(depth(JOB, work=9_500), solves_up_to(1_000))
    assert (found.value, found.at_least, len(asked)) == (30, True, 3)
    found, asked = drive(depth(JOB, longest=40), solves_up_to(1_000))
    assert (found.value, found.at_least, len(asked)) == (40, True, 4)
    found, asked = drive(depth(JOB, start=20, step=5, longest=30), solves_up_to(1_000))
    assert [wanted.settings.length for wanted in asked] == [20, 25, 30]


def test_iterations_of_a_task_that_was_not_solved_are_no_number() -> None:
    assert drive(iterations(JOB), lambda _: ENDED)[0].value == 300
    found, _ = drive(iterations(JOB), lambda _: replace(UNSOLVED, status="patience"))
    assert found.value is None
    assert found.note == "gave up after 1,000, 25.00 % wrong"


def test_means_of_windows_leave_out_what_is_no_number() -> None:
    assert window_means([1.0, 3.0, None, 5.0, None, None, 7.0], 2) == [2.0, 5.0, 7.0]


@pytest.mark.parametrize(("name", "options"), [("depht", {}), ("depth", {"stp": 1}), ("transfer", {})])
def test_what_a_file_asks_for_must_exist(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="measure"):
        measure(name, JOB, options)
