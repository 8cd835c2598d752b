"""The command `report`, as a person types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.papers import entry as entries
from experiments.papers.entry import Cell
from tests.experiments.report import fakes

ROOT = Path(__file__).resolve().parents[2]

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Runs `cli.py report` in a folder with a folder of runs, warnings being errors."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", str(ROOT / "cli.py"), "report", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)

    return run


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two cells of table 1: TPTT is ahead."""
    entry, folder = entries.load("manchev-1"), tmp_path / "runs"
    for name, longest in (("BPTT", 10), ("TPTT", 30)):
        cell = Cell("temporal", name, 1)
        fakes.fill(folder, entry, entry.presets["quick"], lambda job, n=longest: job.settings.length <= n, [cell])
    return folder


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """What the one line of a refusal says."""
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("cli.py report: error: ")
    return line.removeprefix("cli.py report: error: ")


def test_it_says_where_the_page_is_and_what_became_of_the_claims(cli: Cli, runs: Path, tmp_path: Path) -> None:
    done = cli("runs")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "report: report.html"
    assert lines[1].startswith("6 runs, ")
    assert "manchev-1 (Largest solved length): 2 of 20 cells" in lines
    assert "  holds: claim: TPTT solves longer sequences than BPTT" in lines
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".tmp")] == []


def test_machines_get_one_object(cli: Cli, runs: Path, tmp_path: Path) -> None:
    (runs / "broken").mkdir()
    (runs / "broken" / "config.json").write_text("{")
    done = cli("runs", "--out", "other.html", "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert (found["report"], found["runs"], found["solved"]) == ("other.html", 6, 4)
    (table,) = (table for table in found["tables"] if table["table"] == "manchev-1")
    assert (table["preset"], table["computed"], table["cells"]) == ("quick", 2, 20)
    assert table["claims"][0]["rows"]["temporal"] == "holds"
    assert [one["name"] for one in found["damaged"]] == ["broken"]
    assert done.stderr.startswith("left out: broken: config.json is damaged")
    assert (tmp_path / "other.html").exists()


def test_the_page_is_replaced_whole(cli: Cli, runs: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert cli("runs").returncode == 0
    first = (tmp_path / "report.html").read_bytes()
    assert cli(*sorted(runs.iterdir())).returncode == 0
    assert (tmp_path / "report.html").read_bytes() == first


def test_what_cannot_be_is_one_line(cli: Cli, runs: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert refusal(cli()).startswith("no run is given: ")
    assert refusal(cli("none")) == "there is no none"
    assert refusal(cli("empty")).startswith("there is no run in empty: ")
    assert refusal(cli("runs", "--out", "nowhere/page.html")).startswith("cannot write nowhere/page.html (there is no ")
    assert refusal(cli("runs", "--out", "empty")).startswith("cannot write empty (")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_one_line(cli: Cli, runs: Path, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    assert refusal(cli("runs", "--out", "closed/page.html")).startswith("cannot write closed/page.html (")
