"""The benchmark: rows as data, refusals, agreement before time, the table, figures as JSON. Nothing is timed."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cli as command_line
from benchmarks import __main__ as child
from benchmarks import command, contestant, gpu, measure, ours, report, threads, with_numpy
from benchmarks.contestant import Inputs, Job
from benchmarks.inputs import INPUTS
from benchmarks.rows import PEERS, ROWS, Row
from experiments import process
from experiments.record import dump, load

ROOT = Path(__file__).resolve().parents[2]
TINY = Row("tiny", "a tiny forward pass", "srn", {"T": 3, "B": 2, "D": 2, "H": 4}, {"numpy": 2.0}, 1e3, steps=3)


def planted(inputs: Inputs) -> Job:
    """A peer that computes something else, by one part in a hundred of one number."""
    right = with_numpy.JOBS["srn"](inputs)

    def wrong(result: Any) -> dict[str, Any]:
        h = np.array(right.answer(result)["h"])
        h[-1, 0, 0] += 0.01 * np.max(np.abs(h))
        return {"h": h}

    return Job(right.call, wrong)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    """Command and environment of every process that would have been started."""
    calls: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(command, "_run", lambda words, environment: calls.append((words, environment)) or 7)
    return calls


def requested(started: list[tuple[list[str], dict[str, str]]]) -> command.Request:
    """What the one process was asked for."""
    ((words, _),) = started
    return load(command.Request, json.loads(words[-1]), "request")


# ----------------------------------------------------------------------------------------------------------------------
# Rows


def test_rows_are_complete() -> None:
    for name, row in ROWS.items():
        assert row.name == name
        assert row.title
        assert row.work in INPUTS, name
        assert row.work in ours.JOBS, name
        assert row.peers, name
        assert set(row.peers) <= set(PEERS), name
        assert all(goal is None or goal > 0 for goal in row.peers.values()), name
        assert "numpy" not in row.peers or row.work in with_numpy.JOBS, name
        assert row.flop >= 0
    on_a_gpu = {row.work.removesuffix("-population") for row in gpu.ROWS.values()}
    assert set(INPUTS) == set(ours.JOBS) == {row.work for row in ROWS.values()} | on_a_gpu


@pytest.mark.parametrize("peer", [name for name in PEERS if name != "numpy"])
def test_peers_know_the_rows_that_name_them(peer: str) -> None:
    if importlib.util.find_spec(peer) is None:
        pytest.skip(f"{peer} is not installed")
    # In a process of its own: these libraries start threads, which forking tests would not bear.
    code = f"from benchmarks import contestant; print(*contestant.load({peer!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    rows = [*ROWS.values(), *gpu.ROWS.values()]
    known = {row.work.removesuffix("-population") for row in rows if peer in row.peers}
    assert known == set(done.stdout.split())


@pytest.mark.parametrize("peer", ["torch", "jax"])
@pytest.mark.parametrize("parts", [3, 12])
def test_peers_end_a_sequence_of_parts_in_the_same_parameters(peer: str, parts: int) -> None:
    """Parameters, their running estimates and the optimiser's averages, after all updates, that of a part of one step
    too."""
    if importlib.util.find_spec(peer) is None:
        pytest.skip(f"{peer} is not installed")
    code = f"""
from benchmarks import contestant, measure
from benchmarks.inputs import INPUTS
from benchmarks.rows import ROWS

row, inputs = ROWS["fptt-update"], INPUTS["fptt"]({{"T": 12, "B": 5, "D": 2, "H": 7, "O": 1, "K": {parts}}})
jobs = [contestant.load(name)["fptt"](inputs) for name in ("ours", {peer!r})]
ours, theirs = (job.answer(job.call()) for job in jobs)
print(len(ours), *measure.compare(row, ours, theirs))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    arrays, worst, gap = done.stdout.split()
    assert int(arrays) == 1 + 5 * 5
    assert float(gap) < 1, worst


def test_arithmetic_of_an_lstm() -> None:
    """Forward, by the state, by the weights; nothing by x."""
    T, B, D, H = 100, 20, 6, 100
    assert ROWS["lstm-100"].flop == 2 * T * B * 4 * H * (3 * H + 2 * D)


# ----------------------------------------------------------------------------------------------------------------------
# The command line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("lstm-748", ["unknown row 'lstm-748', did you mean lstm-784?", "there are: tptthx-iteration, "]),
        ("graph --peers touch", ["unknown peer 'touch', did you mean torch?", "jax"]),
        ("graph --threads 0", ["--threads must lie between 1 and", "got 0"]),
        ("graph --threads 4096", ["--threads must lie between 1 and", "got 4096"]),
        ("graph --threads two", ["--threads: expected a whole number"]),
        ("graph --runs 0", ["--runs must be at least 1, got 0"]),
        ("graph --out nowhere/figures.json", ["--out: there is no folder"]),
        ("graph --out .", ["--out: . is not a regular file"]),
        ("graph --thread 1", ["unknown option --thread, did you mean --threads?"]),
    ],
)
def test_bad_input_is_one_line_and_starts_nothing(
    arguments: str, words: list[str], started: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.main(["bench", *arguments.split()]) == 2
    out, err = capsys.readouterr()
    assert (out, started) == ("", [])
    (line,) = err.splitlines()
    assert line.startswith("cli.py bench: error: ")
    for word in words:
        assert word in line


def without(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if all peers but one were installed."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else object())


def test_a_peer_that_is_missing_is_left_out(
    started: list[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    without("mygrad", monkeypatch)
    assert command_line.main(["bench", "graph"]) == 7
    assert capsys.readouterr() == ("", "left out: mygrad is not installed: pip install '.[bench]'\n")
    assert requested(started).peers == ("torch", "jax", "numpy", "autograd")


def test_a_peer_that_is_missing_but_wanted_is_refused(
    started: list[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    without("mygrad", monkeypatch)
    assert command_line.main(["bench", "graph", "--peers", "mygrad", "numpy"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "cli.py bench: error: --peers: mygrad is not installed: pip install '.[bench]'"
    assert not started


def test_defaults_and_order(started: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    without("", monkeypatch)
    assert command_line.main(["bench"]) == 7
    assert requested(started) == command.Request(tuple(ROWS), PEERS, 1, None, None, False)
    started.clear()
    arguments = ["graph", "readout", "graph", "--peers", "mygrad", "torch", "--runs", "2", "--out", "x.json", "--json"]
    assert command_line.main(["bench", *arguments]) == 7
    wanted = command.Request(("readout", "graph"), ("torch", "mygrad"), 1, 2, Path("x.json"), True)
    assert requested(started) == wanted


def test_every_library_gets_the_same_number_of_threads(started: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "available", lambda: 3)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # as the command line itself sets it
    assert command_line.main(["bench", "graph", "--threads", "3", "--peers", "numpy"]) == 7
    ((_, environment),) = started
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "MINIGRAD_THREADS")
    assert [environment[name] for name in names] == ["3"] * 3
    assert environment["OPENBLAS_NUM_THREADS"] == "1"  # large products are shared out by this program
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs a system that keeps processes on cores")
def test_a_process_is_kept_on_as_many_cores_as_it_has_threads() -> None:
    code = "import os; from benchmarks import threads; print(threads.pin(1), sorted(os.sched_getaffinity(0)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    chosen, kept = done.stdout.split(" ", 1)
    assert json.loads(chosen) == json.loads(kept)
    assert len(json.loads(kept)) == 1


def test_no_goal_is_reached_on_a_busy_machine() -> None:
    times = {"ours": measure.Times([1.0], 1), "numpy": measure.Times([100.0], 1)}
    for others, reached in ((0.0, True), (math.nan, True), (0.5, None)):
        found = measure.Measured(TINY, times, {"numpy": 0.0}, others=others)
        (row,) = report.document([found], 1e9, {}, [0])["rows"]
        assert (row["peers"]["numpy"]["ratio"], row["peers"]["numpy"]["reached"]) == (100, reached)


def test_what_cores_do_is_counted_or_not_known() -> None:
    before = threads.worked()
    assert math.isnan(before) or 0 < before <= threads.worked()


def test_help_names_every_row_and_peer(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "2000")
    with pytest.raises(SystemExit):
        command_line.main(["bench", "--help"])
    out = capsys.readouterr().out
    assert f"{', '.join(ROWS)}." in " ".join(out.split())
    for peer in PEERS:
        assert peer in out


def test_the_exit_code_of_the_measuring_process_is_handed_on() -> None:
    assert command._run([sys.executable, "-c", "raise SystemExit(3)"], dict(os.environ)) == 3


def test_ctrl_c_ends_both_processes() -> None:
    words = [sys.executable, str(ROOT / "cli.py"), "bench", "graph", "--peers", "numpy", "--runs", "100000"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stderr is not None
        assert any("1 of 1" in line for line in iter(process.stderr.readline, ""))
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        assert process.stderr.read() == "cli.py bench: interrupted\n"
    assert process.returncode == 130


def test_the_measuring_process_by_hand_says_how_to_start_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert child.main([]) == 2
    assert "python cli.py bench" in capsys.readouterr().err


# ----------------------------------------------------------------------------------------------------------------------
# Measuring


def test_a_peer_that_agrees_is_timed() -> None:
    found = measure.measure(TINY, {"ours": ours.JOBS, "numpy": with_numpy.JOBS, "torch": {}}, runs=2)
    assert found.errors == {}
    assert found.differences["numpy"] < 1
    assert {name: len(times.seconds) for name, times in found.times.items()} == {"ours": 2, "numpy": 2}


def test_a_peer_that_computes_something_else_is_not_timed() -> None:
    found = measure.measure(TINY, {"ours": ours.JOBS, "numpy": {"srn": planted}}, runs=1)
    assert found.errors == {"numpy": "h differs by 10 of what is tolerated"}
    assert set(found.times) == {"ours"}


@pytest.mark.parametrize(
    "wrong",
    [{}, {"h": np.ones(3), "more": np.ones(1)}, {"h": np.ones(4)}, {"h": np.full(3, np.nan)}, {"h": -np.ones(3)}],
    ids=["nothing", "more", "shape", "NaN", "sign"],
)
def test_what_disagreement_is(wrong: dict[str, Any]) -> None:
    _, gap = measure.compare(TINY, {"h": np.ones(3)}, wrong)
    assert not gap <= 1


def test_tolerances_of_single_arrays() -> None:
    theirs = {"h": np.array([1.0, 1.005])}
    loose = replace(TINY, loose={"h": 0.01})
    assert measure.compare(loose, {"h": np.ones(2)}, theirs)[1] == pytest.approx(0.5)
    assert measure.compare(TINY, {"h": np.ones(2)}, theirs)[1] == pytest.approx(5)
    assert measure.compare(TINY, {"h": np.zeros(2)}, {"h": np.zeros(2)})[1] == 0
    assert measure.compare(TINY, {"h": np.zeros(2)}, {"h": np.ones(2)})[1] == np.inf


@pytest.mark.parametrize(("runs", "rounds"), [(3, 3), (None, measure.LEAST_ROUNDS)])
def test_contestants_take_turns(runs: int | None, rounds: int) -> None:
    turns: list[str] = []

    def turn(name: str) -> Callable[[], None]:
        return lambda: turns.append(name)

    times = measure.interleaved({name: turn(name) for name in "abc"}, runs, budget=0.0)
    assert {name: len(found.seconds) for name, found in times.items()} == dict.fromkeys("abc", rounds)
    order = [name for at, name in enumerate(turns) if at == 0 or turns[at - 1] != name]
    assert "".join(order).startswith("abc" + "abc" + "bca" + "cab")  # to see how long each takes, then three rounds


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the measuring process's work be done here, on a tiny row, without the machine's peak."""
    monkeypatch.setattr(threads, "pin", lambda count: [0])
    monkeypatch.setattr(process, "keep_memory", lambda: None)
    monkeypatch.setattr(measure, "peak", lambda threads: 1e9)
    monkeypatch.setitem(ROWS, "tiny", TINY)  # type: ignore[arg-type]


def measured(request: command.Request) -> int:
    return child.main([dump(request)])


REQUEST = command.Request(("tiny",), ("numpy",), 1, 1, None, False)


def test_a_planted_error_ends_with_exit_code_1(
    in_this_process: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    genuine = contestant.load
    monkeypatch.setattr(contestant, "load", lambda name: {"srn": planted} if name == "numpy" else genuine(name))
    assert measured(REQUEST) == 1
    lines = capsys.readouterr().out.splitlines()
    (row,) = [line.split() for line in lines if line.startswith("tiny ")]
    assert row[3:6] == ["numpy", "ERROR", "2"]
    assert lines[-1] == "ERROR tiny: numpy computes something else: h differs by 10 of what is tolerated"


def test_json_and_file(in_this_process: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "figures.json"
    assert measured(replace(REQUEST, out=out, json=True)) == 0
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert json.loads(out.read_text()) == found
    assert [file.name for file in tmp_path.iterdir()] == ["figures.json"]
    assert found["settings"]["threads"] == 1
    assert (found["agreed"], found["peak_flops"], found["dtype"]) == (True, 1e9, "float32")
    machine = found["machine"]
    assert {"cpu", "cores", "packages", "environment", "kernels", "revision", "pinned_to"} <= set(machine)
    assert "numpy" in machine["packages"]
    assert {"twin", "vector_bytes", "target"} <= set(machine["kernels"])
    (row,) = found["rows"]
    assert (row["name"], row["sizes"], row["flop"]) == ("tiny", dict(TINY.sizes), 1e3)
    peer = row["peers"]["numpy"]
    assert (peer["goal"], peer["error"], peer["rounds"]) == (2.0, None, 1)
    assert peer["ratio"] == pytest.approx(peer["median"] / row["ours"]["median"])
    assert peer["reached"] == (None if (row["others"] or 0) > report.BUSY else peer["ratio"] >= 2)
    assert peer["limit"] == pytest.approx(peer["median"] / 1e-6)
    assert row["share_of_peak"] == pytest.approx(1e-6 / row["ours"]["median"])


def test_a_whole_run_through_the_command_line(tmp_path: Path) -> None:
    words = ["bench", "srn-forward", "--peers", "numpy", "--runs", "1"]
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "cli.py"), *words], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split()[:3] == ["row", "ours", "peer"]
    assert lines[1].startswith("srn-forward  ")
    assert " us/step  numpy " in lines[1]
    assert "1 of 1  srn-forward: " in done.stderr
    assert "--out FILE.json keeps these figures" in done.stderr
    assert not list(tmp_path.iterdir())


# ----------------------------------------------------------------------------------------------------------------------
# The table


def entry(median: float, **more: Any) -> dict[str, Any]:
    return {"median": median, "error": None, "goal": None, "ratio": 1.0, "reached": None, "limit": None, **more}


def test_the_table_tells_what_was_reached_and_what_is_beyond() -> None:
    peers = {
        "torch": entry(0.02, goal=7.0, ratio=2.0, reached=False, limit=6.54),
        "jax": entry(0.03, goal=3.0, ratio=3.0, reached=True, limit=123.4),
        "numpy": entry(0.01, goal=3.0, ratio=1.0, reached=False, limit=4.0),
        "mygrad": {"goal": 2.0, "error": "W differs"},
    }
    others = {"jax": entry(0.2, goal=3.0, ratio=20.0, limit=30.0)}
    plain = {"steps": None, "share_of_peak": None, "others": math.nan}
    rows = [
        {**plain, "name": "one", "ours": {"median": 0.01}, "share_of_peak": 0.256, "peers": peers, "others": 0.0},
        {**plain, "name": "two", "ours": {"median": 1e-3}, "steps": 100, "peers": {}},
        {**plain, "name": "three", "ours": {"median": 1e-2}, "peers": others, "others": 0.3},
    ]
    machine = {"cores": 4, "cpu": "Some Processor", "packages": {"numpy": "2", "torch": "3"}}
    machine["kernels"] = {"twin": "fused", "vector_bytes": 64}  # type: ignore[assignment]
    lines = report.lines({"rows": rows, "machine": machine, "settings": {"threads": 2}, "peak_flops": 2e11})
    cells = [line.split() for line in lines]
    assert cells[1] == ["one", "10.0", "ms", "torch", "20.0", "ms", "2.00", "7", "beyond", "6.5", "26%"]
    assert cells[2] == ["jax", "30.0", "ms", "3.00", "3", "yes", "123"]
    assert cells[3] == ["numpy", "10.0", "ms", "1.00", "3", "no", "4.0"]
    assert cells[4] == ["mygrad", "ERROR", "2"]
    assert cells[5] == ["two", "10.0", "us/step"]
    assert cells[6] == ["three", "10.0", "ms", "jax", "200", "ms", "20.00", "3", "busy", "30.0"]
    assert "float32, 2 threads each of 4 cores, Some Processor" in lines
    assert lines[-2] == "BUSY MACHINE, measure again: part of our cores' time that others had: three 30%"
    assert lines[-1] == "ERROR one: mygrad computes something else: W differs"
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize(
    ("seconds", "steps", "text"),
    [
        (1.306, None, "1306 ms"),
        (0.0123, None, "12.3 ms"),
        (0.00123, None, "1.23 ms"),
        (5e-5, None, "50.0 us"),
        (1e-3, 100, "10.0 us/step"),
    ],
)
def test_times_for_people(seconds: float, steps: int | None, text: str) -> None:
    assert report._time({"median": seconds}, steps) == text
