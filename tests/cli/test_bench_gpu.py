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
from minigrad import devices
from tests.gpu import harness

CELL = {"T": 5, "B": 3, "D": 2, "H": 4}
ITERATION = {"T": 10, "B": 3, "D": 6, "H": 5, "O": 4}
SIZES: dict[str, dict[str, int]] = {
    **dict.fromkeys(("lstm-100", "gru-100", "srn-100"), CELL),
    **dict.fromkeys(("tptt-iteration", "tptthx-iteration"), ITERATION),
    "words-iteration": {"T": 4, "B": 3, "D": 6, "H": 6, "V": 20},
    "fptt-update": {"T": 12, "K": 3, "B": 4, "D": 2, "H": 5, "O": 1},
}
ROWS = {name: replace(gpu.ROWS[name], sizes=sizes) for name, sizes in SIZES.items()}
TOGETHER = replace(gpu.ROWS["tptt-population"], sizes=SIZES["tptt-iteration"])


def clock(second: float) -> Callable[[Callable[[], Any], int], float]:
    """Every call takes so long, and one more the first time."""
    calls: list[int] = []

    def seconds(call: Callable[[], Any], repeats: int) -> float:
        call()
        calls.append(repeats)
        return second + (len(calls) == 1)

    return seconds


def contestants(torch: Any = None) -> dict[str, gpu.Contestant]:
    """Those of a GPU, on a CPU, each with a clock of its own."""
    pytest.importorskip("torch")
    return {
        "ours": gpu.Contestant(gpu.ours("cpu"), clock(0.001)),
        "alone": gpu.Contestant(gpu.alone("cpu"), clock(0.002)),
        "torch": gpu.Contestant(torch or gpu.theirs("cpu"), clock(0.004)),
    }


@pytest.mark.parametrize("name", ROWS)
def test_both_compute_the_same(name: str) -> None:
    found = gpu.measure(ROWS[name], contestants(), rounds=3)
    assert gpu.agreed(found), found["differences"]
    assert found["seconds"]["ours"] == {"median": 0.001, "quartiles": (0.001, 0.001)}
    assert found["ratios"] == {"torch": pytest.approx(4)}
    assert gpu.line(found).startswith(f"{name:16}    1.0000 ms   torch    4.0000 ms   ratio  4.00")


def test_a_population_is_timed_by_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "POPULATION", 3)
    found = gpu.measure(TOGETHER, contestants(), rounds=3)
    assert gpu.agreed(found), found["differences"]
    assert found["ratios"] == {"torch": pytest.approx(12), "alone": pytest.approx(6)}
    parts = [
        "tptt-population     0.3333 ms",
        "torch    4.0000 ms   ratio 12.00 (goal 1000)",
        "alone    2.0000 ms   ratio  6.00 (goal 50)",
    ]
    assert gpu.line(found) == "   ".join(parts)


@pytest.mark.parametrize("name", ["lstm-100", "tptt-iteration"])
def test_who_computes_something_else_is_not_timed(name: str) -> None:
    right = gpu.theirs("cpu")

    def planted(work: str, inputs: Inputs) -> Job:
        job = right(work, inputs)

        def wrong(result: Any) -> Any:
            found = job.answer(result)
            return found | {"W_hh": found["W_hh"] * 1.01}

        return Job(job.call, wrong)

    found = gpu.measure(ROWS[name], contestants(planted), rounds=3)
    assert not gpu.agreed(found)
    assert found["differences"]["torch"]["array"] == "W_hh"
    assert list(found["seconds"]) == ["ours"]
    assert "torch differs in W_hh: 10 of what is tolerated" in gpu.line(found)


def test_numbers_are_moved() -> None:
    """On a device of its own, ours makes all its arrays there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(devices.KINDS, "cuda", harness.Strict())
        patch.setenv("MINIGRAD_KERNELS", "reference")
        for name in ("lstm-100", "tptt-iteration", "words-iteration", "fptt-update"):
            row = ROWS[name]
            inputs = INPUTS[row.work](row.sizes)
            found, expected = (gpu.ours(device)(row.work, inputs) for device in ("cuda", "cpu"))
            there, here = found.answer(found.call()), expected.answer(expected.call())
            assert there.keys() == here.keys()
            for label, array in here.items():
                np.testing.assert_allclose(there[label], array, rtol=1e-3, atol=1e-5, err_msg=label)


def test_the_goals() -> None:
    assert gpu.ROWS["lstm-784"].sizes == {"T": 784, "B": 128, "D": 1, "H": 128}
    goals = {name: dict(row.peers) for name, row in gpu.ROWS.items()}
    assert goals["tptt-population"] == {"torch": 1000, "alone": 50}
    assert goals["tptt-iteration"] == {"torch": 5}
    assert {goals[f"{cell}-{size}"]["torch"] for cell in ("lstm", "gru", "srn") for size in (784, 100)} == {1.5}


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
    assert "device cuda is not usable (it needs CuPy" in refused([], capsys)


def test_without_pytorch_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(devices, "use", lambda device: None)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "torch cannot be imported" in refused([], capsys)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: False)))
    assert "this PyTorch sees no GPU" in refused([], capsys)


def test_unknown_rows_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown row 'lstm-785', did you mean lstm-784?" in refused(["lstm-785"], capsys)


def measured_on_a_cpu(monkeypatch: pytest.MonkeyPatch, made: dict[str, gpu.Contestant]) -> None:
    """The command with these contestants."""
    monkeypatch.setattr(gpu, "check", lambda: None)
    monkeypatch.setattr(gpu, "about", lambda: {"device": "none"})
    monkeypatch.setattr(gpu, "ROWS", ROWS)
    for name, who in (("ours", "ours"), ("alone", "alone"), ("theirs", "torch")):
        monkeypatch.setattr(gpu, name, lambda device, who=who: made[who].job)
    monkeypatch.setattr(gpu, "by_cupy", clock(0.001))
    monkeypatch.setattr(gpu, "by_torch", clock(0.004))


def test_figures_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured_on_a_cpu(monkeypatch, contestants())
    file = tmp_path / "figures.json"
    assert gpu.main(["lstm-100", "--out", str(file)]) == exits.FINISHED
    kept = json.loads(file.read_text())
    assert kept["device"] == "none"
    assert [row["name"] for row in kept["rows"]] == ["lstm-100"]
    assert np.isclose(kept["rows"][0]["ratios"]["torch"], 4)
    assert capsys.readouterr().out.startswith("lstm-100 ")


def test_a_row_that_fails_costs_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = gpu.theirs("cpu")

    def broken(work: str, inputs: Inputs) -> Job:
        if work == "gru":
            raise RuntimeError("no\nmemory")
        return right(work, inputs)

    measured_on_a_cpu(monkeypatch, contestants(broken))
    file = tmp_path / "figures.json"
    assert gpu.main(["lstm-100", "gru-100", "srn-100", "--out", str(file)]) == exits.FAILED
    assert [row.get("failed") for row in json.loads(file.read_text())["rows"]] == [
        None,
        "RuntimeError: no memory",
        None,
    ]
    assert "gru-100          failed: RuntimeError: no memory\n" in capsys.readouterr().out
