"""About how long a table takes, and the list that says it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import cli as command_line
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
    assert seconds(max_iterations=2_000) == pytest.approx(2 * seconds() - estimate.PER_RUN)
    assert seconds("bptt") < seconds("tptthx") < seconds()
    for more in ({"length": 200}, {"hidden": 200}, {"validate_every": 10}, {"task": "permutation"}, {"batch_size": 40}):
        assert seconds(**more) > 1.2 * seconds()
    assert seconds("bptt", cell="lstm") > 2 * seconds("bptt")


def test_methods_take_as_long_as_what_they_are_asked_for() -> None:
    """Every inner step, step on states and gradient at other parameters counts."""

    def work(method: str, **config: Any) -> float:
        text = {"task": "sample-char", "length": 20, "task_options": {"characters": "4000"}, "max_iterations": 1_000}
        return estimate.job_seconds(job.make(method, config, text))

    assert work("bptt") < work("btprop") < work("btprop", h_steps=3) < work("btprop", h_steps=3, theta_steps=2)
    assert work("btprop", constraint="alm", alm_steps=2) < work("btprop", constraint="alm", alm_steps=9)
    assert work("btprop-batch") < work("bptt")
    assert work("fptt", parts=2) < work("fptt", parts=2, form="equation6") < work("fptt", parts=2, inner_steps=3)


def test_an_iteration_of_the_paper_takes_milliseconds() -> None:
    """254 MFLOP forward and backward three and a half times over, and a hundredth of a check of 21 GFLOP."""
    assert 0.5 < seconds() / 1_000 / (0.3e9 / 4e10 + 0.21e9 / 4e10) < 2


def test_side_by_side_takes_less_but_not_less_than_a_cell() -> None:
    entry = entries.load("manchev-figure-5")
    preset = entry.preset("quick")
    cells = entries.cells(entry, preset)
    start = estimate.START
    each = [estimate.about(entry, preset, [cell], 1) - start for cell in cells]
    assert max(each) > 1.1 * min(each)
    assert estimate.about(entry, preset, cells, 1) == pytest.approx(start + sum(each))
    assert estimate.about(entry, preset, cells, 2) == pytest.approx(start + max(*each, sum(each) / 2))
    assert estimate.about(entry, preset, cells, 64) == pytest.approx(start + max(each))
    assert estimate.about(entry, preset, [], 2) == 0


def test_a_limit_of_work_bounds_a_depth() -> None:
    entry = entries.load("manchev-1")
    cell = entries.cells(entry, entry.preset("quick"))[1]
    quick, paper = (estimate.about(entry, entry.preset(name), [cell], 1) for name in ("quick", "paper"))
    assert quick < paper / 2
    assert estimate.peak() > 0


def test_the_last_run_of_a_depth_is_begun_however_little_work_is_left() -> None:
    """Its work allows for a tenth of the first run: the whole of it is counted."""
    entry = entries.load("manchev-1")
    preset = entry.preset("quick")
    cell = entries.cells(entry, preset)[0]
    first = entries.first_job(entry, preset, cell, {})
    first = replace(first, settings=replace(first.settings, length=10))
    tight = replace(preset, options={**preset.options, "work": first.settings.max_iterations})
    assert estimate.job_seconds(first) <= estimate.about(entry, tight, [cell], 1) < 1.2 * estimate.job_seconds(first)


@pytest.fixture(scope="module")
def few_entries() -> list[str]:
    """With a long title, with three presets, with a cost, and two that cannot be run."""
    return ["kag-1", "kag-figure-1", "manchev-2", "manchev-7", "manchev-a2", "wiseman-1", "wiseman-3"]


@pytest.mark.parametrize("columns", [60, 100, 120, 400])
def test_the_list_fits_the_terminal(
    columns: int,
    few_entries: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(entries, "names", lambda: few_entries)
    if columns == 120:
        monkeypatch.delenv("COLUMNS", raising=False)  # standard output is no terminal here
    else:
        monkeypatch.setenv("COLUMNS", str(columns))
    assert command_line.main(["reproduce", "--runs-dir", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    assert "if every run uses up its budget" in " ".join(lines)
    table = [line for line in lines if line.startswith("manchev-2 ")]
    assert len(table) == 1
    assert " quick " in table[0]
    assert "0 of " in table[0]
    preset = entries.load("manchev-2").preset("quick")
    assert (preset.about in table[0]) is (columns == 400)
    assert (entries.load("manchev-2").title in table[0]) is (columns >= 120)
    assert "nothing to run, they hold settings alone: manchev-a2, wiseman-3" in " ".join(lines)
    assert not any(line.startswith("manchev-a2 ") for line in lines)


def test_the_list_for_machines_says_what_presets_are(
    few_entries: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(entries, "names", lambda: few_entries)
    assert command_line.main(["reproduce", "--runs-dir", str(tmp_path), "--json"]) == 0
    found = {one["table"]: one for one in json.loads(capsys.readouterr().out)}
    assert list(found) == few_entries
    assert found["manchev-2"]["presets"]["quick"]["about"] == entries.load("manchev-2").preset("quick").about
    assert found["manchev-a2"]["presets"] == {}


def test_short_runs_take_their_start_and_a_check_and_both_runs_of_a_comparison() -> None:
    """However few iterations: kag-1 has one each, and a run beside it to compare with."""
    entry = entries.load("kag-1")
    preset = entry.preset("quick")
    cell = entries.cells(entry, preset)[0]
    one = estimate.job_seconds(entries.first_job(entry, preset, cell, {}))
    assert one > estimate.PER_RUN
    assert estimate.about(entry, preset, [cell], 1) == pytest.approx(estimate.START + 2 * one)
