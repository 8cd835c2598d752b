"""Grids of options: which points, in which order they are given up, and that a second call computes nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import algorithms
import cli as command_line
from experiments import rundir
from experiments.settings import Settings
from experiments.sweeps import grid as grids
from experiments.sweeps import search
from experiments.sweeps.command import Request, sweep
from experiments.sweeps.search import Score, Standing
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
        (("alpha_i=wrong",), "alpha_i"),
        (("alpha_i=-1",), "alpha_i"),
        (("task=temprl",), "temporal"),
    ],
)
def test_an_impossible_grid_is_refused_before_anything_runs(grid: tuple[str, ...], names: str) -> None:
    with pytest.raises(InputError, match=names):
        sweep(request(*grid))


@pytest.mark.parametrize(
    ("first", "eta", "budgets"),
    [(None, 3, [None]), (10, 3, [10, 30, None]), (20, 3, [20, None]), (15, 2, [15, 30, None]), (60, 3, [None])],
)
def test_rungs_grow_up_to_the_budget(first: int | None, eta: int, budgets: list[int | None]) -> None:
    assert search.rungs(first, eta, SMALL.max_iterations) == budgets


def test_points_rank_by_seeds_solved_then_speed_then_error() -> None:
    def score(*standings: tuple[int | None, float]) -> Score:
        return Score((), tuple(Standing(at, error, 100, 1.0) for at, error in standings))

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
    line = ["sweep", "bptt", "--grid", "cell=srn,lstm", "momentum=0.5,0.9", "--seeds", "3", *small, *where]
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


def test_a_bad_sweep_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["sweep", "tptt", "--grid", "alpha_x=1"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("cli.py sweep: error: grid: unknown option 'alpha_x', did you mean alpha_")
