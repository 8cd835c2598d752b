"""The benchmark on a GPU, without one: its jobs on a CPU, its arithmetic with a clock that is made up, its refusals."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks import gpu
from benchmarks.contestant import Inputs, Job
from benchmarks.inputs import INPUTS
from experiments import exits
from minigrad import backend

TINY = {"T": 5, "B": 3, "D": 2, "H": 4}
ROWS = {cell: replace(gpu.ROWS[f"{cell}-100"], sizes=TINY) for cell in ("srn", "lstm", "gru")}


def clock(second: float) -> Callable[[Callable[[], Any], int], float]:
    """Every call takes so long, and one more the first time."""
    calls: list[int] = []

    def seconds(call: Callable[[], Any], repeats: int) -> float:
        call()
        calls.append(repeats)
        return second + (len(calls) == 1)

    return seconds


def contestants(torch: Any = None) -> dict[str, gpu.Contestant]:
    pytest.importorskip("torch")
    return {
        "ours": gpu.Contestant(gpu.ours("cpu"), clock(0.001)),
        "torch": gpu.Contestant(torch or gpu.theirs("cpu"), clock(0.004)),
    }


@pytest.mark.parametrize("cell", ROWS)
def test_both_compute_the_same(cell: str) -> None:
    found = gpu.measure(ROWS[cell], contestants(), rounds=3)
    assert found["agreed"]
    assert found["difference"]["of_tolerated"] < 0.01
    assert found["seconds"]["ours"] == {"median": 0.001, "quartiles": (0.001, 0.001)}
    assert found["ratio"] == pytest.approx(4)
    assert gpu.line(found).split() == f"{ROWS[cell].name} 1.000 ms torch 4.000 ms ratio 4.00 (goal 1.5)".split()


@pytest.mark.parametrize("cell", ROWS)
def test_who_computes_something_else_is_not_timed(cell: str) -> None:
    right = gpu.theirs("cpu")

    def planted(cell: str, inputs: Inputs) -> Job:
        job = right(cell, inputs)

        def wrong(result: Any) -> Any:
            found = job.answer(result)
            return found | {"W_hh": found["W_hh"] * 1.01}

        return Job(job.call, wrong)

    found = gpu.measure(ROWS[cell], contestants(planted), rounds=3)
    assert not found["agreed"]
    assert found["difference"]["array"] == "W_hh"
    assert list(found["seconds"]) == ["ours"]
    assert "torch differs in W_hh: 10 of what is tolerated" in gpu.line(found)


def test_every_gradient_but_that_by_the_inputs_is_compared() -> None:
    for cell, row in ROWS.items():
        inputs = INPUTS[cell](row.sizes)
        job = gpu.ours("cpu")(cell, inputs)
        assert job.answer(job.call()).keys() == {"h", *inputs["params"]}


def test_rows_are_those_of_cudnn() -> None:
    assert list(gpu.ROWS) == [f"{cell}-{size}" for size in ("784", "100") for cell in ("lstm", "gru", "srn")]
    assert gpu.ROWS["lstm-784"].sizes == {"T": 784, "B": 128, "D": 1, "H": 128}


class Event:
    """Of a queue in which every record happens 6 ms after the one before."""

    now = 0.0

    def __init__(self, enable_timing: bool = True) -> None:
        assert enable_timing
        self.at = -1.0

    def record(self) -> None:
        Event.now += 6.0
        self.at = Event.now

    def synchronize(self) -> None:
        assert self.at > 0

    def elapsed_time(self, last: Event) -> float:
        return last.at - self.at


def test_time_is_that_between_two_events(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = SimpleNamespace(Event=Event, get_elapsed_time=lambda first, last: first.elapsed_time(last))
    for library, seconds in (("cupy", gpu.by_cupy), ("torch", gpu.by_torch)):
        monkeypatch.setitem(sys.modules, library, SimpleNamespace(cuda=cuda))
        calls: list[int] = []
        assert seconds(lambda calls=calls: calls.append(1), 3) == pytest.approx(0.002)  # type: ignore[misc]
        assert len(calls) == 3


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert gpu.main(arguments) == exits.BAD_INPUT
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    assert err.startswith(f"{gpu.NAME}: error: ")
    return err


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert "device cuda needs CuPy" in refused([], capsys)


def test_without_pytorch_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(backend, "check_device", lambda device: None)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "torch cannot be imported" in refused([], capsys)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: False)))
    assert "this PyTorch sees no GPU" in refused([], capsys)


def test_unknown_rows_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown row 'lstm-785', did you mean lstm-784?" in refused(["lstm-785"], capsys)


def test_figures_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = contestants()
    monkeypatch.setattr(gpu, "check", lambda: None)
    monkeypatch.setattr(gpu, "about", lambda: {"gpu": "none"})
    monkeypatch.setattr(gpu, "ROWS", ROWS)
    for name in ("ours", "theirs"):
        monkeypatch.setattr(gpu, name, lambda device, name=name: made["ours" if name == "ours" else "torch"].job)
    monkeypatch.setattr(gpu, "by_cupy", clock(0.001))
    monkeypatch.setattr(gpu, "by_torch", clock(0.004))
    file = tmp_path / "figures.json"
    assert gpu.main(["lstm", "--out", str(file)]) == exits.FINISHED
    kept = json.loads(file.read_text())
    assert kept["gpu"] == "none"
    assert [row["name"] for row in kept["rows"]] == ["lstm-100"]
    assert np.isclose(kept["rows"][0]["ratio"], 4)
    assert capsys.readouterr().out.startswith("lstm-100 ")
