"""`reproduce` as a person types it: a table of the papers, killed and started again, and what it refuses."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import cli as command_line
from experiments.papers import entry as entries
from tests.experiments.run import blank

ROOT = Path(__file__).resolve().parents[2]

TABLE = """
paper = "Nobody 2000"
label = "Table 1"
title = "Something small"
kind = "table"
unit = "iterations"
columns = ["problem", "theirs"]
rows = [["temporal", 10], ["temporal3", 20]]
notes = ["A note."]
[run]
measure = "iterations"
row = "problem"
columns = { task = "problem" }
settings = { length = 10, hidden = 8, validate_every = 10, validate_size = 100, checkpoint_every = 10 }
[[run.entrants]]
name = "TPTT"
method = "tptt"
published = "theirs"
[[run.entrants]]
name = "control"
method = "bptt"
about = "a control"
rows = ["temporal"]
[presets.quick]
about = "two seeds"
seeds = [1, 2]
settings = { max_iterations = 30 }
[[claims]]
text = "TPTT is faster than the control"
more = "TPTT"
less = "control"
higher = false
"""


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A table of our own, the only one; its name."""
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "made-up-1.toml").write_text(TABLE)
    monkeypatch.setattr(entries, "FOLDER", folder)
    entries.load.cache_clear()
    monkeypatch.chdir(tmp_path)
    return "made-up-1"


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert command_line.main(["reproduce", *arguments, "--json"]) == 0
    values: dict[str, Any] = json.loads(capsys.readouterr().out)
    return values


def test_a_table_is_computed_once_and_shown_beside_the_paper(
    made_up: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.main(["reproduce", made_up, "--jobs", "2"]) == 0
    told = capsys.readouterr().out
    for words in ("made-up-1: Something small, iterations (Nobody 2000, Table 1)", "two seeds", "a control", "A note."):
        assert words in told
    assert "the paper's claim: TPTT is faster than the control." in told
    runs = sorted((tmp_path / "runs").glob("*/config.json"))
    assert len(runs) == 6

    found = printed(capsys, made_up)
    assert sorted((tmp_path / "runs").glob("*/config.json")) == runs
    assert [(c["row"], c["entrant"], c["seeds"]) for c in found["cells"]] == [
        ("temporal", "TPTT", 2),
        ("temporal", "control", 2),
        ("temporal3", "TPTT", 2),
    ]
    assert found["cells"][0]["paper"] == 10
    assert Path(found["figure"]).read_bytes().startswith(b"\x89PNG")
    assert [claim["seeds"] for claim in found["claims"]] == [[2, 2]]
    assert printed(capsys, made_up, "--show") == found


def test_rows_entrants_and_seeds_narrow_it_down(made_up: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(capsys, made_up, "--rows", "temporal", "--entrants", "control", "--seeds", "7")
    assert [(c["row"], c["entrant"], c["seeds"]) for c in found["cells"]] == [("temporal", "control", 1)]
    assert printed(capsys, made_up, "--show")["cells"][0]["seeds"] == 0
    assert command_line.main(["reproduce", made_up, "--seeds", "7", "--show"]) == 0
    told = capsys.readouterr().out
    assert "seed 7" in told
    assert "two seeds" not in told


def test_runs_side_by_side_in_a_process_come_to_the_same_table(
    made_up: str, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = printed(capsys, made_up, "--jobs", "1", "--runs-dir", "alone")
    together = printed(capsys, made_up, "--jobs", "1", "--population", "4", "--runs-dir", "together")
    for found in (alone, together):
        for cell in found["cells"]:
            cell["seconds"] = cell["runs"] = None
        found["figure"] = None
    assert together == alone


def test_the_list_says_what_there_is_and_how_long_it_takes(made_up: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["reproduce"]) == 0
    told = capsys.readouterr().out
    assert "made-up-1" in told
    assert "0 of 6" in told
    printed(capsys, made_up)
    assert command_line.main(["reproduce"]) == 0
    assert "6 of 6" in capsys.readouterr().out


def test_the_list_counts_what_is_damaged_as_missing_and_says_nothing_of_data(
    made_up: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed(capsys, made_up)
    next((tmp_path / "runs").glob("*/evaluations/moved.json")).write_text("{")
    assert command_line.main(["reproduce"]) == 0
    (quick,) = (line for line in capsys.readouterr().out.splitlines() if "quick" in line)
    assert "5 of 6" in quick
    assert "needs data" not in quick


IMAGES = """
paper = "Nobody 2000"
label = "Table 2"
title = "Images"
kind = "table"
unit = "percent"
columns = ["network", "theirs"]
rows = [["small", 10]]
notes = []
[run]
measure = "accuracy"
row = "network"
[run.settings]
task = "mnist-pixels"
task_options = { train_size = "10" }
hidden = 4
batch_size = 2
validate_every = 2
validate_size = 2
checkpoint_every = 2
[[run.entrants]]
name = "BPTT"
method = "bptt"
published = "theirs"
[presets.quick]
about = "two seeds"
seeds = [1, 2]
settings = { max_iterations = 2 }
"""


def test_data_are_needed_for_what_is_to_be_computed_and_for_nothing_else(
    made_up: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tables" / "made-up-2.toml").write_text(IMAGES)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    elsewhere = ("--data-dir", str(blank.mnist(tmp_path / "elsewhere", 12, 2)))

    def told(*arguments: str) -> str:
        assert command_line.main(["reproduce", *arguments]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    def listed(*arguments: str) -> str:
        return next(line for line in told(*arguments).splitlines() if "0 of 2" in line or "2 of 2" in line)

    assert "needs data" in listed()
    assert "needs data" not in listed(*elsewhere)
    assert command_line.main(["reproduce", "made-up-2"]) == 2
    refused = capsys.readouterr()
    assert refused.out == ""
    (line,) = refused.err.splitlines()
    assert line.startswith("cli.py reproduce: error: there is no file ")
    assert not (tmp_path / "runs").exists()
    computed = told("made-up-2", *elsewhere)
    assert "constant" in computed
    assert told("made-up-2") == told("made-up-2", "--show") == computed
    assert "2 of 2" in listed()
    assert command_line.main(["report", "runs", "--out", "page.html"]) == 0
    assert "made-up-2" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["made-up-2"], "did you mean made-up-1?"),
        (["made-up-1", "--preset", "quik"], "did you mean quick?"),
        (["made-up-1", "--rows", "temporel"], "did you mean temporal?"),
        (["made-up-1", "--entrants", "tptt"], "there are: TPTT, control"),
        (["made-up-1", "--jobs", "0"], "jobs must be at least 1"),
        (["made-up-1", "--population", "0"], "population must be at least 1"),
        (["made-up-1", "--show", "--population", "0"], "population must be at least 1"),
        (["--population", "0"], "population must be at least 1"),
        (["--rows", "temporal"], "--rows is about a table: name one"),
        (["--entrants", "TPTT"], "--entrants is about a table: name one"),
        (["--seeds", "7"], "--seeds is about a table: name one"),
        (["--preset", "nope"], "--preset is about a table: name one"),
        (["--preset", "paper", "--json"], "--preset is about a table: name one"),
        (["--population", "2"], "--population is about a table: name one"),
        (["--out", "figures"], "--out is about a table: name one"),
        (["made-up-1", "--device", "tpu"], "made-up-1, temporal, TPTT: unknown device 'tpu'"),
        (["made-up-1", "--seeds", "x"], "--seeds"),
    ],
)
def test_bad_input_is_one_line(
    made_up: str, tmp_path: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.main(["reproduce", *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    (line,) = told.err.splitlines()
    assert says in line
    assert not (tmp_path / "runs").exists()


def test_an_entry_that_asks_for_what_does_not_exist_is_named(
    made_up: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = TABLE.replace("hidden = 8", 'hidden = 8, task_options = { t2 = "nonsense" }')
    (tmp_path / "tables" / "made-up-1.toml").write_text(wrong)
    for arguments in ([], ["made-up-1"]):
        assert command_line.main(["reproduce", *arguments]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "made-up-1, temporal, TPTT: t2 must be" in line


def test_an_entry_without_a_plan_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["reproduce", "manchev-a2"]) == 2
    assert "manchev-a2 has nothing to run: it holds settings alone" in capsys.readouterr().err


def test_a_grid_of_settings_is_shown_beside_what_of_it_we_searched(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["reproduce", "wiseman-3"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    _, _, head, *rows = said.out.splitlines()
    assert head.split("  ")[0] == ""
    assert [word.strip() for word in head.split("  ") if word.strip()] == [
        "paper's grid", "searched on sample-char", "taken", "searched on PTB by words", "taken",
    ]  # fmt: skip
    words = {row[:21].strip(): row[21:].split() for row in rows if row}
    assert words["lambda"] == ["1,", "0.1,", "0.01", "1,", "0.1,", "0.01", "0.01", "-", "0.01"]
    assert words["blocks in a minibatch"] == ["-", "-", "-", "128,", "256", "128"]
    found = printed(capsys, "wiseman-3")
    assert found["paper"]["H steps"] == [1, 2, 5]
    assert found["searched"][0]["taken"]["lambda"] == 0.01


def reproduce(folder: Path, *more: str) -> subprocess.Popen[str]:
    """A real table, four runs of a second or two, in a process of its own."""
    command = [sys.executable, str(ROOT / "cli.py"), "reproduce", "manchev-figure-8", "--rows", "temporal T=60"]
    command += ["--entrants", "sync", "p(G)=1/2", "--seeds", "1", "2", "--jobs", "2", "--json", *more]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def outcome(folder: Path) -> dict[str, Any]:
    """What the table says in the end; times are no part of it."""
    with reproduce(folder) as process:
        told, _ = process.communicate()
    assert process.returncode == 0
    found: dict[str, Any] = json.loads(told)
    for cell in found["cells"]:
        del cell["seconds"]
    return found


@pytest.mark.slow
def test_killed_three_times_at_random_moments_it_comes_to_the_same_table(tmp_path: Path) -> None:
    for name in ("undisturbed", "killed"):
        (tmp_path / name).mkdir()
    expected = outcome(tmp_path / "undisturbed")
    seed = int.from_bytes(os.urandom(4), "big")
    moments = random.Random(seed)
    for _ in range(3):
        with reproduce(tmp_path / "killed") as process:
            time.sleep(moments.uniform(0.5, 4.0))
            process.send_signal(signal.SIGKILL)
        time.sleep(moments.uniform(0.0, 1.0))  # its workers may still be writing their checkpoints
    assert outcome(tmp_path / "killed") == expected, f"moments drawn from seed {seed}"
    runs = {name: sorted((tmp_path / name / "runs").glob("*/metrics.jsonl")) for name in ("undisturbed", "killed")}
    texts = {name: sorted(path.read_text() for path in paths) for name, paths in runs.items()}
    assert texts["killed"] == texts["undisturbed"], f"moments drawn from seed {seed}"
