"""How long a table takes, at most."""

from __future__ import annotations

from typing import Any

import pytest

from experiments.papers import entry as entries
from experiments.papers import estimate
from experiments.parallel import job


@pytest.fixture(autouse=True)
def steady_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 100 GFLOP/s a core."""
    monkeypatch.setattr(estimate, "peak", lambda: 1e11)


def seconds(method: str = "tptt", **settings: Any) -> float:
    return estimate.job_seconds(job.make(method, {}, {"length": 100, "max_iterations": 1_000} | settings))


def test_more_work_takes_longer() -> None:
    assert seconds(max_iterations=2_000) == pytest.approx(2 * seconds())
    assert seconds("bptt") < seconds("tptthx") < seconds()
    for more in ({"length": 200}, {"hidden": 200}, {"validate_every": 10}, {"task": "permutation"}, {"batch_size": 40}):
        assert seconds(**more) > 1.2 * seconds()
    assert seconds("bptt", cell="lstm") > 2 * seconds("bptt")


def test_an_iteration_of_the_paper_takes_milliseconds() -> None:
    """254 MFLOP forward and backward three and a half times over, and a hundredth of a check of 21 GFLOP."""
    assert 0.5 < seconds() / 1_000 / (0.3e9 / 4e10 + 0.21e9 / 4e10) < 2


def test_side_by_side_takes_less_but_not_less_than_a_cell() -> None:
    entry = entries.load("manchev-figure-5")
    preset = entry.preset("quick")
    cells = entries.cells(entry, preset)
    alone = estimate.at_most(entry, preset, cells, 1)
    assert estimate.at_most(entry, preset, cells, 2) == pytest.approx(alone / 2)
    assert estimate.at_most(entry, preset, cells, 64) == pytest.approx(alone / len(cells))
    assert estimate.at_most(entry, preset, [], 2) == 0


def test_a_limit_of_work_bounds_a_depth() -> None:
    entry = entries.load("manchev-1")
    cell = entries.cells(entry, entry.preset("quick"))[1]
    quick, paper = (estimate.at_most(entry, entry.preset(name), [cell], 1) for name in ("quick", "paper"))
    assert quick < paper / 3
    assert estimate.peak() > 0
