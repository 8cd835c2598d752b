"""Which runs and tables a report is about."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.errors import RunError
from experiments.papers import entry as entries
from experiments.papers.comparison import Verdict
from experiments.papers.entry import Cell, Claim
from experiments.parallel import job as jobs
from experiments.report import words
from experiments.report.collect import collect
from experiments.run import loop
from experiments.run.result import Result
from tests.experiments.report import fakes


def snapshot(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_tables_are_found_by_what_the_runs_compute(runs: Path) -> None:
    found = collect([runs])
    tables = {table.entry.id: table for table in found.tables}
    assert {"manchev-1", "manchev-4", "manchev-figure-6"} <= {*tables}
    first = tables["manchev-1"]
    assert (first.preset_name, len(first.measured), first.cells) == ("quick", 6, 20)
    assert first.measured[Cell("adding", "TPTT", 1)].value == 30
    assert len(tables["manchev-4"].measured) == 4
    assert [item.name for item in found.items if item.result is None] == ["unfinished"]
    assert [one.name for one in found.damaged] == ["broken"]


def test_reading_writes_nothing(runs: Path) -> None:
    before = snapshot(runs)
    collect([runs])
    assert snapshot(runs) == before


def test_a_network_that_was_not_looked_at_is_not_looked_at_now(runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(runs, folder)
    for path in folder.glob("*/evaluations"):
        shutil.rmtree(path)
    before = snapshot(folder)
    found = {table.entry.id: table for table in collect([folder]).tables}
    assert "manchev-4" not in found
    (layers,) = found["manchev-figure-6"].measured.values()
    assert layers.value is not None
    assert snapshot(folder) == before


def test_single_runs_and_folders_may_be_mixed(runs: Path, one: Path) -> None:
    alone = collect([one / "alone"])
    assert [item.name for item in alone.items] == ["alone"]
    both = collect([one / "alone", one, runs])
    assert len(both.items) == len(collect([runs]).items) + 1


def test_a_link_to_a_run_is_that_run(one: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(one / "alone")
    assert len(collect([one, tmp_path / "link"]).items) == 1


def test_cells_that_are_begun_are_told(tmp_path: Path) -> None:
    """Two lengths of a cell are finished, the third is not there."""
    entry = entries.load("manchev-1")
    preset = entry.presets["quick"]
    fakes.fill(tmp_path, entry, preset, lambda job: (job.settings.length or 0) < 20, [Cell("adding", "BPTT", 1)])
    fakes.fill(tmp_path, entry, preset, lambda job: (job.settings.length or 0) < 30, [Cell("adding", "TPTT", 1)])
    (last,) = (path for path in tmp_path.glob("tptt-adding-30-*"))
    shutil.rmtree(last)
    (table,) = (table for table in collect([tmp_path]).tables if table.entry.id == "manchev-1")
    assert table.begun == {Cell("adding", "TPTT", 1): 2}


@pytest.mark.parametrize("make", [lambda path: path / "none", lambda path: path, lambda path: path / "file"])
def test_a_path_without_a_run_is_refused(make: Callable[[Path], Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"there is no|is no folder"):
        collect([make(tmp_path)])


def test_no_path_is_refused() -> None:
    with pytest.raises(RunError, match="no run is given"):
        collect([])


def trained(folder: Path, **changes: Any) -> Result:
    """A real run of some iterations that solves nothing."""
    values = {"task": "temporal", "length": 10, "hidden": 4, "max_iterations": 4, "runs_dir": str(folder)}
    checks = {"validate_every": 2, "validate_size": 50, "log_every": 1}
    job = jobs.make("tptt", {"alpha_i": 0.0, "alpha_f": 0.0, "alpha_g": 0.0}, values | checks | changes)
    return loop.train(job.settings, job.method, job.config, loop.Quiet(), draw=False)


def test_a_run_and_its_continuation_are_one(tmp_path: Path) -> None:
    """The copy with the larger budget tells of both: their logs, and the time of both together."""
    short = trained(tmp_path)
    middle = loop.extend(short.run, 6, loop.Quiet(), draw=False)
    (one,) = collect([tmp_path]).items
    assert (one.name, one.iterations) == (middle.run.name, 6)
    long = loop.extend(middle.run, 8, loop.Quiet(), draw=False)
    other = trained(tmp_path, seed=2)
    found = collect([tmp_path])
    assert {item.name for item in found.items} == {long.run.name, other.run.name}
    assert len(found.items) == 2
    assert found.seconds == long.seconds + other.seconds


def test_a_continuation_that_is_not_finished_counts_for_both(tmp_path: Path) -> None:
    short = trained(tmp_path)
    long = loop.extend(short.run, 8, loop.Quiet(), draw=False, until=6)
    (one,) = collect([tmp_path]).items
    assert (one.name, one.result) == (long.run.name, None)


def test_two_runs_from_the_beginning_are_two(tmp_path: Path) -> None:
    """However alike their numbers: each took its own time."""
    trained(tmp_path)
    trained(tmp_path, max_iterations=8)
    assert len(collect([tmp_path]).items) == 2


def test_the_shorter_run_still_counts_for_the_table_that_asks_for_it(tmp_path: Path) -> None:
    """A preset with the smaller budget has its cell, one with a larger budget than both has it not."""
    entry = entries.load("manchev-figure-8")
    preset = entry.presets["quick"]
    cell = entries.cells(entry, preset)[0]
    job = entries.first_job(entry, preset, cell, {})
    budget = job.settings.max_iterations
    short = fakes.make(tmp_path, job, solved=False, iterations=budget, name="short", status="budget")
    longer = replace(job, settings=replace(job.settings, max_iterations=2 * budget))
    fakes.make(tmp_path, longer, solved=False, iterations=2 * budget, name="long", status="budget")
    for name in ("metrics.jsonl", "timings.jsonl"):
        logs = [tmp_path / which / name for which in ("short", "long")]
        logs[1].write_bytes(logs[0].read_bytes() + b'{"iteration": 30000, "seconds": 900.0}\n')
    found = collect([tmp_path])
    assert [item.name for item in found.items] == ["long"]
    (table,) = found.tables
    assert (table.entry.id, table.preset_name, {*table.measured}) == ("manchev-figure-8", "quick", {cell})
    assert table.measured[cell].runs == [short]


def damage(run: Path, name: str, text: str) -> None:
    (run / name).write_text(text)


LINE = '{"iteration": 10, "loss": 1.0}\n'


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", "[]"),
        ("config.json", "[" * 100_000),
        ("config.json", '{"format": 1, "method": "none", "config": {}, "settings": {}}'),
        ("config.json", '{"format": 9, "method": "bptt", "config": {}, "settings": {}}'),
        ("config.json", '{"format": 1, "method": "bptt", "config": {"lr": "x"}, "settings": {}}'),
        ("result.json", "{}"),
        ("result.json", "\x00"),
        ("metrics.jsonl", "no\n"),
        ("metrics.jsonl", '{"iteration": -5}\n'),
        ("metrics.jsonl", '{"iteration": 1e999}\n'),
        ("metrics.jsonl", '{"iteration": "x"}\n'),
        ("metrics.jsonl", LINE + '{"iteration": 20, "loss": "x"}\n'),
        ("metrics.jsonl", LINE + '{"iteration": 20, "loss": [1, 2]}\n'),
        ("metrics.jsonl", LINE + '{"iteration": 20, "scores": {"error": {}}, "error": {}}\n'),
    ],
)
def test_a_damaged_run_is_left_out(name: str, text: str, one: Path, tmp_path: Path) -> None:
    """It is named with the reason; alone, it is refused."""
    shutil.copytree(one / "alone", tmp_path / "good")
    shutil.copytree(one / "alone", tmp_path / "bad")
    damage(tmp_path / "bad", name, text)
    found = collect([tmp_path])
    assert [item.name for item in found.items] == ["good"]
    assert [one.name for one in found.damaged] == ["bad"]
    assert str(tmp_path) not in found.damaged[0].why
    assert "\n" not in found.damaged[0].why
    with pytest.raises(RunError, match="none of 1 runs can be read: bad: "):
        collect([tmp_path / "bad"])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metrics.jsonl", ""),
        ("metrics.jsonl", LINE + '{"iteration": 20, "lo'),
        ("metrics.jsonl", '{"iteration": 0, "loss": 1e308}\n{"iteration": 5, "loss": -1e308}\n'),
        ("metrics.jsonl", '{"iteration": 3, "loss": 5e-324, "error": NaN, "scores": {"error": NaN}}\n'),
        ("metrics.jsonl", '{"iteration": 3, "loss": null, "scores": "abc", "grad_norms": ["a", "b"]}\n'),
        ("manifest.json", "no"),
        ("manifest.json", '{"processes": [1, null, {"a": [1, {"b": 2}]}]}'),
        ("timings.jsonl", "no"),
    ],
)
def test_what_is_odd_but_readable_is_shown(name: str, text: str, one: Path, tmp_path: Path) -> None:
    from experiments.report.page import page

    shutil.copytree(one / "alone", tmp_path / "odd")
    damage(tmp_path / "odd", name, text)
    found = collect([tmp_path])
    assert [item.name for item in found.items] == ["odd"]
    assert page(found)


def test_a_time_that_is_no_number_is_damage(one: Path, tmp_path: Path) -> None:
    shutil.copytree(one / "alone", tmp_path / "odd")
    path = tmp_path / "odd" / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"seconds": math.nan}))
    with pytest.raises(RunError, match="time that is no number"):
        collect([tmp_path])


def test_a_log_that_is_short_of_checks_costs_a_cell_and_not_the_report(runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(runs, folder)
    entry = entries.load("manchev-figure-6")
    job = entries.first_job(entry, entry.presets["quick"], entries.cells(entry, entry.presets["quick"])[0], {})
    for path in folder.glob(f"tptt-adding-{job.settings.length}-*/metrics.jsonl"):
        path.write_text("")
    assert collect([folder]).items


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o000)
    with pytest.raises((RunError, PermissionError)):
        collect([tmp_path / "closed"])


def test_findings_are_sentences(runs: Path) -> None:
    found = collect([runs])
    (table,) = (table for table in found.tables if table.entry.id == "manchev-1")
    told = {v.claim.text: words.verdict(table, v) for v in table.verdicts}
    assert told["TPTT solves longer sequences than BPTT"] == (
        "no clear difference: temporal; not computed: temporal3, permutation (1 against 1 seeds: a hint, no more)."
        " temporal: TPTT 30, BPTT 30."
    )
    assert words.compared(table) == "Of 4 published numbers to compare with, ours is lower than 4."
    text = " ".join(words.summary(found))
    assert f"{len(found.items)} runs, " in text
    assert "1 is not finished." in text
    assert "1 could not be read and is left out." in text


def test_a_claim_may_compare_with_another_row(tmp_path: Path) -> None:
    """BPTT of a sequence in one part stands beside FPTT of several."""
    entry = entries.load("kag-figure-2")
    preset = entry.presets["quick"]
    wanted = [cell for cell in entries.cells(entry, preset) if cell.row in ("K=1", "K=10")]
    fakes.fill(tmp_path, entry, preset, cells=wanted)
    (table,) = collect([tmp_path]).tables
    (told,) = [words.verdict(table, v) for v in table.verdicts if v.claim.less_row == "K=1"]
    assert "K=10: FPTT " in told
    assert ", BPTT " in told


@pytest.mark.parametrize(
    ("status", "word", "tone"),
    [("holds", "holds", "good"), ("does not hold", "does not hold", "bad"), ("neither got there",) * 2 + ("even",)],
)
def test_a_verdict_of_few_seeds_is_neither_good_nor_bad(status: Any, word: str, tone: str) -> None:
    claim = Claim("one is ahead of another", "one", "another")
    assert words.badge(Verdict(claim, {"temporal": status}, (3, 3))) == (word, tone)
    assert words.badge(Verdict(claim, {"temporal": status}, (3, 1))) == (word, "even")


def test_tasks_that_nobody_solves_are_not_called_unsolved(tmp_path: Path) -> None:
    """Of a text or of images the lowest error is told."""
    text = jobs.make("bptt", {}, {"task": "sample-char"})
    fakes.make(tmp_path, text, name="text", solved=False)
    told = " ".join(words.summary(collect([tmp_path])))
    assert "solve" not in told
    (item,) = collect([tmp_path]).items
    assert words.standing([item]) == f"1 run, lowest error {item.error:.4g}"
    fakes.make(tmp_path, jobs.make("bptt", {}, {"length": 20}), name="temporal")
    assert "1 of 1 solved its task" in " ".join(words.summary(collect([tmp_path])))
