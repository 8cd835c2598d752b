"""Grids of options: which points, in which order they are given up, and that a second call computes nothing."""

from __future__ import annotations

import json
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import algorithms
import cli as command_line
from algorithms.model import Model
from experiments import record
from experiments.run import rundir
from experiments.run.settings import Settings
from experiments.sweeps import grid as grids
from experiments.sweeps import search
from experiments.sweeps.command import Request, command, job_of, sweep
from experiments.sweeps.search import Score, SeedOutcome
from minigrad.errors import InputError

SMALL = Settings(
    length=10, hidden=8, max_iterations=60, validate_every=10, validate_size=100, checkpoint_every=20, log_every=10
)


def request(*grid: str, **more: Any) -> Request:
    method = algorithms.method("tptt")
    return Request("tptt", method.config(), SMALL, grid, **{"seeds": (1,), **more})


def points(wanted: Request) -> list[grids.Point]:
    return grids.points(wanted.grid, wanted.sample, wanted.sample_seed)


def test_a_grid_is_every_combination_in_order() -> None:
    found = points(request("alpha_i=0.1,0.01", "--alpha-f=1e-3..1e-2", 'frozen=[],["W_hh","b_h"]'))
    assert len(found) == 8
    assert found[0] == (("alpha_i", 0.1), ("alpha_f", 0.001), ("frozen", []))
    assert found[-1] == (("alpha_i", 0.01), ("alpha_f", 0.01), ("frozen", ["W_hh", "b_h"]))


def test_the_papers_grid_has_216_points() -> None:
    assert len(points(request("alpha_i=1e-6..1e-1", "alpha_f=1e-6..1e-1", "alpha_g=1e-6..1e-1"))) == 216


@given(size=st.integers(1, 40), seed=st.integers(0, 2**32))
def test_a_random_part_is_a_part_and_depends_on_the_seed_alone(size: int, seed: int) -> None:
    grid = ("alpha_i=1e-6..1e-1", "alpha_f=1e-6..1e-1")
    every = points(request(*grid))
    part = points(request(*grid, sample=size, sample_seed=seed))
    assert len(part) == min(size, 36)
    assert [point for point in every if point in part] == part
    assert part == points(request(*grid, sample=size, sample_seed=seed))


@pytest.mark.parametrize(
    ("grid", "names"),
    [
        ((), "--grid"),
        (("alpha_i",), "alpha_i"),
        (("alpha_i=",), "alpha_i"),
        (("alpha_i=1..2",), "powers of ten"),
        (("alpha_i=1e-1..1e-3",), "smaller one first"),
        (("alpha_i=0.1", "alpha_i=0.2"), "once"),
        (("alpha=0.1",), "alpha_i"),
        (("seed=1,2",), "seed"),
        (("runs_dir=a,b",), "runs_dir says where files lie.*--runs-dir"),
        (("--data-dir=a,b",), "data_dir says where files lie.*--data-dir"),
        (("alpha_i=wrong",), "^grid: alpha_i: .wrong. is no float$"),
        (("hidden=x",), "^grid: hidden: .x. is no int$"),
        (("frozen=W_hh",), r"^grid: frozen: .W_hh. is no JSON list \[str, \.\.\.\]$"),
        (("task_options=t2",), r"^grid: task_options: .t2. is no JSON object \{str: "),
        (("alpha_i=-1",), "alpha_i"),
        (("task=temporal,adding",), "^grid: errors of different tasks cannot be ranked: one sweep a task.*--task$"),
        (("alpha_i=0.1,0.2,0.1",), "^grid: alpha_i: 0.1 twice$"),
        (("alpha_i=1,1.0",), "^grid: alpha_i: 1.0 twice$"),
        (('frozen=["W_hh"],["W_hh"]',), r'^grid: frozen: \["W_hh"\] twice$'),
        (('task_options={"t2":"paper","t2":"code"}',), "^grid: task_options: .* has a name twice$"),
        (("length=null,60",), "^grid: length None is the same run as length 60: leave one out$"),
        (('frozen=["W_hh","nope"],[]',), "^grid: frozen: there is no parameter 'nope'; there are W_xh"),
        (
            ('frozen=["W_xh","W_hh","b_h","W_hy","b_y","V_hh","c_h"],[]',),
            "^grid: --frozen .*: nothing would be trained, leave one of them out$",
        ),
        (
            ("optimizer=nag,sgd", "momentum=0.9,0.5"),
            "^grid: --momentum 0.5 does nothing with --optimizer sgd: leave it",
        ),
        (("cell=srn,lstm",), "^grid: cell lstm: tptt is defined for one SRN layer"),
    ],
)
def test_an_impossible_grid_is_refused_before_anything_runs(
    grid: tuple[str, ...], names: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.parallel.pool._Worker", None)  # a process would be a mistake
    with pytest.raises(InputError, match=names):
        sweep(replace(request(*grid), settings=replace(SMALL, runs_dir=tmp_path / "runs")))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "grid", "says"),
    [
        ({"epochs": 1}, "max_iterations=5,6", "grid: --epochs 1 is in place of --max-iterations 5: give one of them"),
        ({"max_iterations": 5}, "epochs=1,2", "grid: --epochs 1 is in place of --max-iterations 5: give one of them"),
        (
            {"epochs": 1, "validate_every": 7},
            "lr=1,2",
            "--epochs 1 is in place of --validate-every 7: give one of them",
        ),
        (
            {"max_iterations": 5},
            "batch_size=20,5000",
            "grid: a batch of 5,000 is larger than the 1,000 images that digits-pixels is trained on: use --batch-size "
            "1000 or less, or train on more images",
        ),
        ({"max_iterations": 5, "init": "identity"}, "cell=srn,gru", "grid: init identity is for the srn cell: use"),
        ({"max_iterations": 5, "init": "identity", "cell": "gru"}, "lr=1,2", "init identity is for the srn cell"),
    ],
)
def test_every_point_is_refused_as_training_with_it_would_be(
    changes: dict[str, Any], grid: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of the grid, but where all points share the fault."""
    monkeypatch.setattr("experiments.parallel.pool._Worker", None)  # a process would be a mistake
    settings = Settings(task="digits-pixels", hidden=8, runs_dir=tmp_path / "runs")
    wanted = Request("bptt", algorithms.method("bptt").config(), replace(settings, **changes), (grid,), (1, 2))
    with pytest.raises(InputError) as error:
        sweep(wanted)
    assert str(error.value).startswith(says)
    assert list(tmp_path.iterdir()) == []


def test_a_network_is_drawn_once_for_points_that_differ_in_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large one takes seconds, and a text or images their time too. What has begun is not tried at all."""
    drawn: list[int] = []

    def init(model: Model, *given: Any) -> Any:
        drawn.append(model.cell.hidden)
        return genuine(model, *given)

    genuine = Model.init
    monkeypatch.setattr(Model, "init", init)
    settings = replace(SMALL, runs_dir=tmp_path, max_iterations=10)
    wanted = replace(request("alpha_f=1e-4..1e-2", "hidden=4,5", seeds=(1, 2)), settings=settings)
    assert sweep(wanted) == 0
    assert sorted(drawn) == [4, 5]
    assert sweep(replace(wanted, grid=("alpha_f=1e-4..1e-1", "hidden=5"))) == 0
    assert sorted(drawn) == [4, 5, 5]
    assert sweep(wanted) == 0
    assert sorted(drawn) == [4, 5, 5]


@pytest.mark.parametrize(
    ("method", "settings", "grid", "budgets"),
    [
        ("tptt", replace(SMALL, max_iterations=10), "max_iterations=30,60", [10, 20, 40, None]),
        ("bptt", Settings(task="digits-pixels", batch_size=100), "epochs=3,6", [10, 20, 40, None]),
    ],
)
def test_rungs_go_as_far_as_the_longest_point(
    method: str,
    settings: Settings,
    grid: str,
    budgets: list[int | None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever --max-iterations is: the grid says something else, or passes through the data do."""
    found: list[Any] = []

    def search_of(store: Any, points: Any, made: Any, budgets: list[int | None], *_: Any) -> Any:
        found.append(budgets)
        return [], {}

    monkeypatch.setattr(search, "search", search_of)
    config, settings = algorithms.method(method).config(), replace(settings, runs_dir=tmp_path)
    assert sweep(Request(method, config, settings, (grid,), (1,), first=10, eta=2)) == 0
    assert found == [budgets]


@pytest.mark.parametrize(
    ("first", "eta", "budgets"),
    [
        (None, None, [None]),
        (10, None, [10, 30, None]),
        (10, 3, [10, 30, None]),
        (20, 3, [20, None]),
        (15, 2, [15, 30, None]),
        (60, 3, [None]),
    ],
)
def test_rungs_grow_up_to_the_budget(first: int | None, eta: int | None, budgets: list[int | None]) -> None:
    assert search.rungs(first, eta, SMALL.max_iterations, check_every=10) == budgets


@pytest.mark.parametrize(("first", "eta", "says"), [(9, 3, "at least 10 iterations, got 9"), (10, 1, "eta .* got 1")])
def test_a_rung_without_a_check_is_refused(first: int, eta: int, says: str) -> None:
    with pytest.raises(InputError, match=says):
        sweep(request("alpha_f=0.1,0.2", first=first, eta=eta))


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"sample": 0}, "--sample must be at least 1, got 0"),
        ({"sample": 1, "sample_seed": -1}, "--sample-seed must be at least 0, got -1"),
        ({"sample_seed": 0}, "--sample-seed 0 is the seed of a draw: give --sample, or leave it out"),
        ({"eta": 3}, "--eta 3 is for halving: say by --first when it begins, or leave it out"),
        ({"together": 0}, "population must be at least 1, got 0"),
    ],
)
def test_numbers_that_cannot_be_or_are_for_nothing_are_refused(
    more: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.parallel.pool._Worker", None)  # a process would be a mistake
    with pytest.raises(InputError) as error:
        sweep(request("alpha_f=0.1,0.2", **more))
    assert str(error.value) == says


def test_every_point_is_checked_within_the_first_rung() -> None:
    with pytest.raises(InputError, match="at least 30 iterations, got 20"):
        sweep(request("validate_every=30,10", first=20))


def test_where_checks_come_after_passes_the_first_rung_holds_one() -> None:
    images = replace(SMALL, task="digits-pixels", length=None, batch_size=100, validate_every=0)
    with pytest.raises(InputError, match="at least 10 iterations, got 9"):
        sweep(replace(request("alpha_f=0.1,0.2", first=9), settings=images))


def test_points_rank_by_seeds_solved_then_speed_then_error() -> None:
    def score(*outcomes: tuple[int | None, float]) -> Score:
        return Score((), tuple(SeedOutcome(at, error, 100, 1.0) for at, error in outcomes))

    best = score((300, 0.0), (500, 0.0))
    slower = score((300, 0.0), (700, 0.0))
    one = score((100, 0.0), (None, 0.01))
    none = score((None, 0.2), (None, 0.3))
    worse = score((None, 0.2), (None, float("inf")))
    assert sorted([worse, none, one, slower, best], key=lambda s: s.rank) == [best, slower, one, none, worse]


def test_a_sweep_halves_and_a_second_one_computes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = request("alpha_f=1e-4..1e-2", seeds=(1, 2), first=20, workers=2, out=tmp_path / "ranking.json")
    wanted = replace(wanted, settings=replace(SMALL, runs_dir=tmp_path / "runs"))
    assert sweep(wanted) == 0
    told = capsys.readouterr().out
    ranking = json.loads((tmp_path / "ranking.json").read_text())["points"]
    assert sorted(point["point"]["alpha_f"] for point in ranking) == [1e-4, 1e-3, 1e-2]
    assert [point["iterations"] for point in ranking] == [60, 20, 20]  # only the best third went on
    assert f"--alpha-f {ranking[0]['point']['alpha_f']:g}" in told or ranking[0]["point"]["alpha_f"] == 0.01
    assert (tmp_path / "ranking.png").read_bytes().startswith(b"\x89PNG")
    unfinished = [run for run in (tmp_path / "runs").glob("*/") if not rundir.Run(run).result.exists()]
    assert len(unfinished) == 4

    monkeypatch.setattr("experiments.parallel.pool._Worker", None)  # a process would be a mistake
    assert sweep(wanted) == 0
    assert json.loads((tmp_path / "ranking.json").read_text())["points"] == ranking


def test_a_first_rung_of_one_check_ranks_by_it(tmp_path: Path) -> None:
    settings = replace(SMALL, runs_dir=tmp_path, max_iterations=20)
    wanted = replace(request("alpha_f=1e-2,1e-4", first=10, out=tmp_path / "ranking.json"), settings=settings)
    assert sweep(wanted) == 0
    ranking = json.loads(wanted.out.read_text())["points"]  # type: ignore[union-attr]
    assert [point["iterations"] for point in ranking] == [20, 10]
    assert all(point["median_lowest_error"] is not None for point in ranking)


def test_a_seed_counts_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = replace(SMALL, runs_dir=tmp_path, max_iterations=10)
    assert sweep(replace(request("alpha_f=0.01", seeds=(2, 1, 2), json=True), settings=settings)) == 0
    assert json.loads(capsys.readouterr().out)["points"][0]["seeds"] == 2


def test_where_the_ranking_cannot_be_written_nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.parallel.pool._Worker", None)  # a process would be a mistake
    with pytest.raises(InputError, match=r"cannot write .*x\.json \(there is no folder .*nowhere\): .*--out"):
        sweep(request("alpha_f=0.01", out=tmp_path / "nowhere" / "x.json"))
    with pytest.raises(InputError, match=r"cannot write .*not a regular file.*--out"):
        sweep(request("alpha_f=0.01", out=tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match=r"cannot write .*may not be written in.*--out"):
        sweep(request("alpha_f=0.01", out=tmp_path / "x.json"))


def test_without_matplotlib_there_is_a_table_and_a_hint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    settings = replace(SMALL, runs_dir=tmp_path, max_iterations=10)
    assert sweep(replace(request("alpha_f=0.01"), settings=settings)) == 0
    told = capsys.readouterr()
    assert "best: python cli.py train" in told.out
    assert "figure" not in told.out
    assert told.err.splitlines()[-1] == "no figure: it needs matplotlib, pip install '.[lab]'"


EXACT: dict[str, Any] = {
    "alpha_i": 0.30000000000000004,
    "alpha_f": 1.2345678901234567e-05,
    "noise": 2,
    "frozen": ["W_hh", "b_h"],
    "p_g": 0.123456789,
    "task_options": {"t2": "paper"},
    "batch_size": 3,
    "optimizer": "adagrad",
    "adagrad_eps": 1.2345678901234567e-300,
}


@pytest.mark.parametrize(
    ("method", "given", "point"),
    [
        ("tptt", {}, EXACT),
        ("bptt", {}, {"optimizer": "adam", "adam_betas": [0.1234567890123456, 0.9], "rates": {"W_hh": 1 / 3}}),
        ("tptt", {"frozen": ("W_hh",), "p_g": 0.5}, {"frozen": [], "p_g": None, "length": None, "hidden": 100}),
        ("tptt", {"frozen": ("W_hh",), "p_g": 1 / 3, "alpha_g": 1e-300}, {"hidden": 9, "measure_every": 3}),
    ],
)
def test_the_best_command_is_the_run_to_the_last_bit(
    method: str, given: dict[str, Any], point: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is run, and its config.json is that of the run of the sweep."""
    config = replace(algorithms.method(method).config(), **given)
    settings = replace(SMALL, max_iterations=1, runs_dir=tmp_path)
    wanted = Request(method, config, settings, (), seeds=(7, 8))
    pairs = tuple(point.items())
    python, cli, *line = shlex.split(command(wanted, pairs))
    assert (python, cli) == ("python", "cli.py")
    assert command_line.main([*line, "--runs-dir", str(tmp_path), "--json"]) == 0
    trained = json.loads((Path(json.loads(capsys.readouterr().out)["run"]) / "config.json").read_text())
    swept = job_of(wanted, pairs, 7)
    assert trained["config"] == record.plain(swept.config)
    assert trained["settings"] == record.plain(swept.settings)


def test_a_word_with_a_blank_stays_one_word() -> None:
    wanted = request("hidden=8")
    wanted = replace(wanted, settings=replace(SMALL, data_dir=Path("my data")))
    line = command(wanted, (("hidden", 8), ("frozen", [])))
    assert "--data-dir 'my data'" in line
    assert shlex.split(line)[-2:] == ["--data-dir", "my data"]
    assert "--frozen" not in line


def test_the_command_line_takes_grid_and_every_option_of_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = [
        "--length",
        "10",
        "--hidden",
        "8",
        "--validate-every",
        "10",
        "--validate-size",
        "100",
        "--max-iterations",
        "20",
        "--lr",
        "0.02",
    ]
    where = ["--runs-dir", str(tmp_path), "--jobs", "1"]
    line = [
        "sweep",
        "bptt",
        "--grid",
        "cell=srn,lstm",
        "momentum=0.5,0.9",
        "--optimizer",
        "nag",
        "--seeds",
        "3",
        *small,
        *where,
    ]
    assert command_line.main([*line, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["points"]) == 4
    assert found["config"]["lr"] == 0.02
    assert found["settings"]["hidden"] == 8
    assert command_line.main(line) == 0
    told = capsys.readouterr().out
    assert "best: python cli.py train bptt" in told
    assert " --lr 0.02" in told
    assert Path(told.rpartition("figure: ")[2].strip()).exists()


def test_the_figure_never_takes_the_place_of_the_ranking(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="another ending"):
        sweep(request("alpha_i=0.1", out=tmp_path / "ranking.png"))


def test_a_bad_sweep_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["sweep", "tptt", "--grid", "alpha_x=1"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("cli.py sweep: error: grid: unknown option 'alpha_x', did you mean alpha_")
