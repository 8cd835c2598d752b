"""Training runs: how they end, what they write, and that they go on as if they had never stopped."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import threading
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.errors import RunError
from experiments.run import loop, rundir, standing
from experiments.run.build import Assemble, Parts
from experiments.run.loop import Quiet, Result
from experiments.run.settings import Settings
from minigrad.errors import InputError
from tests.experiments.run import toy


def train(folder: Path, config: Any = None, assemble: Assemble = toy.assemble, **changes: Any) -> Result:
    """A run of the toy, without a figure."""
    return loop.train(toy.settings(folder, **changes), "toy", config, Quiet(), assemble=assemble, draw=False)


def resume(run: Path, assemble: Assemble = toy.assemble) -> Result:
    return loop.resume(run, Quiet(), assemble=assemble, draw=False)


def log(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def checkpoints(run: Path) -> list[str]:
    return sorted(path.stem for path in (run / "checkpoints").iterdir())


class Killed(BaseException):
    """Ends the process, as far as a test in the same process can."""


def stopping_at(number: int, act: Callable[[], object]) -> Assemble:
    """Toys whose method calls `act` in step `number`, once it is in earnest."""
    calls = 0

    def assemble(values: Settings, name: str, config: Any = None) -> Parts:
        parts = toy.assemble(values, name, config)

        def step(config: Any, model: Any, state: Any, batch: Any, rng: Any) -> Any:
            nonlocal calls
            here = state.steps + 1 == number
            calls += here
            if here and (calls == 2 or number > 1):  # the first step is tried before the run begins
                act()
            return toy.step(config, model, state, batch, rng)

        return replace(parts, method=replace(parts.method, step=step))

    return assemble


def kill() -> None:
    raise Killed


# --- how runs end ---


def test_solved(tmp_path: Path) -> None:
    result = train(tmp_path, max_iterations=500)
    assert (result.status, result.solved) == ("solved", True)
    assert result.error is not None
    assert result.error < toy.Task.solved_below
    assert result.iterations % 10 == 0
    assert result.run == tmp_path / "toy-signs-5-1234-1"
    assert result.metric == {"error": result.error, "squared": pytest.approx(result.error**2, abs=1e-12)}
    assert result.kernels == {"toy": "reference"}
    assert result.iterations_per_second == pytest.approx(result.iterations / result.seconds)
    assert "below 0.03" in result.reason


def test_out_of_budget(tmp_path: Path) -> None:
    result = train(tmp_path, toy.NEVER, max_iterations=25)
    assert (result.status, result.solved, result.iterations) == ("budget", False, 25)
    assert log(result.run)[-1]["iteration"] == 25
    assert log(result.run)[-1]["error"] == result.error
    assert checkpoints(result.run) == ["00000021", "00000025", "best"]


def test_out_of_patience(tmp_path: Path) -> None:
    result = train(tmp_path, {"mode": "stuck"}, patience=3, max_iterations=1000)
    assert result.status == "patience"
    errors = [line["error"] for line in log(result.run) if "error" in line]
    assert min(errors[-3:]) >= min(errors[:-3])
    assert all(min(errors[n - 3 : n]) < min(errors[: n - 3]) for n in range(4, len(errors)))


def test_a_spectral_radius_that_explodes(tmp_path: Path) -> None:
    result = train(tmp_path, {"mode": "grow", "lr": 0.0})
    assert (result.status, result.iterations) == ("spectral_radius", 10)
    assert log(result.run)[-1]["spectral_radius"]["W_hh"] > 20


@pytest.mark.parametrize(
    ("mode", "found", "last", "reason"),
    [
        ("bad_step", 16, "00000014", "gradient of W_hh is not finite at iteration 16"),
        ("bad_loss", 16, "00000014", "loss is not finite at iteration 16"),
        ("bad_params", 17, "00000014", "is not finite at iteration 17"),
    ],
)
def test_divergence_keeps_and_names_the_last_good_checkpoint(
    tmp_path: Path, mode: str, found: int, last: str, reason: str
) -> None:
    result = train(tmp_path, toy.NEVER | {"mode": mode, "at": 15})
    assert (result.status, result.solved) == ("diverged", False)
    assert result.iterations == found
    assert reason in result.reason
    assert f"{last}.safetensors" in result.reason
    assert last in checkpoints(result.run)
    assert log(result.run)[-1]["status"] == "diverged"
    assert resume(result.run) == result


def test_parameters_that_are_not_finite_are_found_at_a_check(tmp_path: Path) -> None:
    """Infinite weights with a finite loss: nothing but a look at the parameters tells."""
    result = train(tmp_path, {"mode": "bad_params", "at": 9, "lr": 0.0})
    assert (result.status, result.iterations) == ("diverged", 10)
    assert result.reason.startswith("W_hh is not finite at iteration 10")
    assert checkpoints(result.run)[-1] in ("00000007", "best")


def test_divergence_before_the_first_checkpoint(tmp_path: Path) -> None:
    result = train(tmp_path, {"mode": "bad_step"})
    assert result.iterations == 1
    assert "00000000.safetensors" in result.reason
    assert checkpoints(result.run) == ["00000000"]


@pytest.mark.parametrize(("name", "config"), [("nought", None), ("toy", {"mode": "refuse"}), ("toy", {"lr": -1.0})])
def test_what_is_refused_leaves_nothing(tmp_path: Path, name: str, config: Any) -> None:
    with pytest.raises(InputError):
        loop.train(toy.settings(tmp_path / "runs"), name, config, Quiet(), assemble=toy.assemble)
    assert os.listdir(tmp_path) == []


# --- what runs write ---


def test_the_log(tmp_path: Path) -> None:
    run = train(tmp_path, toy.NEVER, max_iterations=20).run
    lines = log(run)
    assert [line["iteration"] for line in lines] == [0, 4, 8, 10, 12, 16, 20]
    assert set(lines[0]) == {"iteration", "error", "scores", "spectral_radius", "param_norms"}
    assert set(lines[1]) == {"iteration", "loss", "grad_norms"}
    assert set(lines[3]) == set(lines[0]) | set(lines[1]) | {"measures"}
    assert lines[3]["measures"] == {"steps_before": 9, "layers": [0.5, None]}
    assert set(lines[3]["scores"]) == {"error", "squared"}
    assert set(lines[3]["spectral_radius"]) == {"W_hh"}
    times = [json.loads(line) for line in (run / "timings.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in times] == [10, 20]


def test_the_mean_loss_spans_the_lines(tmp_path: Path) -> None:
    every = log(train(tmp_path, toy.NEVER, max_iterations=20, log_every=1).run)[1:]
    fourth = log(train(tmp_path, toy.NEVER, max_iterations=20).run)[1:]
    losses = [line["loss"] for line in every]
    assert fourth[0]["loss"] == pytest.approx(np.mean(losses[:4]))
    assert fourth[2]["loss"] == pytest.approx(np.mean(losses[8:10]))


def test_two_runs_are_equal_to_the_bit(tmp_path: Path) -> None:
    first, second = train(tmp_path), train(tmp_path)
    assert first.run != second.run
    assert toy.outcome(first.run) == toy.outcome(second.run)
    other = train(tmp_path, seed=1)
    assert toy.outcome(other.run) != toy.outcome(first.run)


def test_how_often_one_looks_changes_nothing(tmp_path: Path) -> None:
    """Checks, lines and checkpoints are taken from the run; they do not act on it."""
    often = train(tmp_path, toy.NEVER, validate_every=1, log_every=1, checkpoint_every=1).run
    seldom = train(tmp_path, toy.NEVER, validate_every=60, log_every=60, checkpoint_every=60).run
    states = [standing.load(rundir.Run(run).numbered(60), parts(run))[0].state for run in (often, seldom)]
    for name, array in states[0].params.items():
        assert array.tobytes() == states[1].params[name].tobytes()


def parts(run: Path) -> Parts:
    return standing.parts_of(rundir.open_run(run), toy.assemble)


def test_the_config_runs_again(tmp_path: Path) -> None:
    run = train(tmp_path, {"lr": 0.05, "rates": {"W_hh": 0.5}}).run
    again = parts(run)
    assert again.config == toy.Config(lr=0.05, rates={"W_hh": 0.5})
    assert again.settings == toy.settings(tmp_path)
    written = json.loads((run / "config.json").read_text())
    assert set(written["config"]) == {field.name for field in fields(toy.Config)}
    assert set(written["settings"]) == {field.name for field in fields(Settings)}


def test_the_manifest_names_every_process(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train(tmp_path, assemble=stopping_at(20, kill))
    run = next(tmp_path.iterdir())
    resume(run)
    entries = json.loads((run / "manifest.json").read_text())["processes"]
    assert [entry["from_iteration"] for entry in entries] == [0, 14]
    for key in ("python", "packages", "platform", "cpu", "cores", "threads", "MINIGRAD_KERNELS", "revision"):
        assert key in entries[0]
    assert entries[0]["packages"]["numpy"] == np.__version__
    assert entries[0]["kernels"] == {"toy": "reference"}
    assert entries[0]["task"] == "signs"


def test_best_and_last_checkpoints_are_kept(tmp_path: Path) -> None:
    result = train(tmp_path, max_iterations=500)
    assert len(checkpoints(result.run)) == 3
    best = standing.load(result.run / "checkpoints" / "best.safetensors", parts(result.run))[0]
    assert best.counters.error == result.error
    assert best.counters.iteration == result.iterations


def test_the_display_is_told(tmp_path: Path) -> None:
    told: list[Any] = []

    class Telling(Quiet):
        def started(self, run_dir: Path, facts: dict[str, Any]) -> None:
            told.append((run_dir, facts))

        def progress(self, iteration: int, cost: float, error: float, speed: float, left: float) -> None:
            told.append((iteration, cost, error, speed, left))

        def finished(self) -> None:
            told.append("finished")

    result = loop.train(toy.settings(tmp_path), "toy", None, Telling(), assemble=toy.assemble, draw=False)
    assert told[0][0] == result.run
    assert told[0][1] | {"method": "toy", "task": "signs", "iteration": 0, "parameters": 36} == told[0][1]
    assert all(np.isfinite(told[1]))
    assert told[-1] == "finished"


def test_the_figure_is_drawn(tmp_path: Path) -> None:
    result = loop.train(toy.settings(tmp_path), "toy", None, Quiet(), assemble=toy.assemble)
    assert result.figure == result.run / "figures" / "training.png"
    assert result.figure.read_bytes().startswith(b"\x89PNG")
    moved = tmp_path / "moved"
    shutil.move(result.run, moved)
    assert resume(moved) == replace(result, run=moved, figure=moved / "figures" / "training.png")


def test_a_run_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    notes: list[str] = []

    class Noting(Quiet):
        def note(self, line: str) -> None:
            notes.append(line)

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = loop.train(toy.settings(tmp_path), "toy", None, Noting(), assemble=toy.assemble)
    assert result.figure is None
    assert "pip install" in notes[-1]


# --- resuming ---


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a run without any accident writes."""
    return toy.outcome(train(tmp_path_factory.mktemp("runs"), toy.NEVER).run)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=3))
def test_cut_anywhere_and_resumed(undisturbed: dict[str, bytes], cuts: list[int]) -> None:
    """However often a run is killed, in whatever iteration, it ends in the same bits."""
    with TemporaryDirectory() as folder:
        with pytest.raises(Killed):
            train(Path(folder), toy.NEVER, assemble=stopping_at(cuts[0], kill))
        run = next(Path(folder).glob("toy-*"), None)
        if run is None:
            return
        for cut in cuts[1:]:
            try:
                resume(run, stopping_at(cut, kill))
            except Killed:
                continue
        assert resume(run).status == "budget"
        assert toy.outcome(run) == undisturbed


def test_interrupted_and_resumed(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    for number in (13, 14, 20, 31):
        result = train(tmp_path, toy.NEVER, assemble=stopping_at(number, lambda: os.kill(os.getpid(), signal.SIGTERM)))
        assert (result.status, result.iterations, result.solved) == ("interrupted", number, False)
        assert f"{number:08d}" in checkpoints(result.run)
        assert not (result.run / "result.json").exists()
        ended = resume(result.run)
        assert ended.seconds > result.seconds
        assert toy.outcome(result.run) == undisturbed


def test_control_c_is_heard_once_and_handlers_come_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    result = train(tmp_path, assemble=stopping_at(5, lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert result.status == "interrupted"
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before

    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, assemble=stopping_at(5, twice))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_training_in_a_thread_leaves_signals_alone(tmp_path: Path) -> None:
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(train(tmp_path)))
    thread.start()
    thread.join()
    assert results[0].status in ("solved", "budget")


def test_a_finished_run_says_so(tmp_path: Path) -> None:
    notes: list[str] = []

    class Noting(Quiet):
        def note(self, line: str) -> None:
            notes.append(line)

    result = train(tmp_path)
    before = toy.outcome(result.run)
    assert loop.resume(result.run, Noting(), assemble=toy.assemble) == result
    assert "is finished" in notes[0]
    assert toy.outcome(result.run) == before


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("result.json", "{", r"result.json is damaged .*: delete it and resume"),
        ("result.json", '{"format": 2}', "format 2, this program reads up to 1: update"),
        ("result.json", '{"format": 1, "run": 3}', "result.json: run: 3 is no Path"),
        ("config.json", '{"format": 2}', "format 2, this program reads up to 1: update"),
    ],
)
def test_a_finished_run_whose_files_are_damaged_or_newer(tmp_path: Path, name: str, text: str, match: str) -> None:
    run = train(tmp_path, max_iterations=10).run
    if name != "result.json":
        (run / "result.json").unlink()
    (run / name).write_text(text)
    with pytest.raises(RunError, match=match):
        resume(run)


def test_killed_between_the_last_checkpoint_and_the_result(tmp_path: Path) -> None:
    result = train(tmp_path)
    before = toy.outcome(result.run)
    (result.run / "result.json").unlink()
    again = resume(result.run)
    assert (again.status, again.iterations, again.error) == (result.status, result.iterations, result.error)
    assert toy.outcome(result.run) == before


def test_without_a_checkpoint_it_starts_again(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    with pytest.raises(Killed):
        train(tmp_path, toy.NEVER, assemble=stopping_at(20, kill))
    run = next(tmp_path.iterdir())
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").mkdir()
    resume(run)
    assert toy.outcome(run) == undisturbed


@pytest.fixture
def halted(tmp_path: Path) -> Path:
    """A run that was killed in iteration 20."""
    with pytest.raises(Killed):
        train(tmp_path, toy.NEVER, assemble=stopping_at(20, kill))
    return next(tmp_path.iterdir())


def test_a_damaged_checkpoint_can_be_deleted(halted: Path, undisturbed: dict[str, bytes]) -> None:
    newest = halted / "checkpoints" / "00000014.safetensors"
    newest.write_bytes(newest.read_bytes()[:-3])
    before = (halted / "metrics.jsonl").read_bytes()
    with pytest.raises(RunError, match=r"00000014.*damaged.*delete it to resume from the one before"):
        resume(halted)
    assert (halted / "metrics.jsonl").read_bytes() == before
    newest.unlink()
    resume(halted)
    assert toy.outcome(halted) == undisturbed


def test_a_log_that_is_too_short(halted: Path) -> None:
    (halted / "metrics.jsonl").write_bytes(b"")
    with pytest.raises(RunError, match=r"metrics.jsonl is damaged \(0 bytes, \d+ at the last checkpoint\)"):
        resume(halted)


def test_lines_cut_by_a_kill_are_cut_back(halted: Path, undisturbed: dict[str, bytes]) -> None:
    for name in ("metrics.jsonl", "timings.jsonl"):
        with (halted / name).open("ab") as file:
            file.write(b'{"iteration": 15, "lo')
    (halted / "checkpoints" / ".00000021.safetensors.77.tmp").write_bytes(b"half")
    resume(halted)
    assert toy.outcome(halted) == undisturbed
    assert not list(halted.rglob("*.tmp"))
    for line in (halted / "timings.jsonl").read_text().splitlines():
        json.loads(line)


@pytest.mark.parametrize(
    ("section", "change", "match"),
    [
        ("settings", {"hidden": 5}, r"does not fit config.json \(W_xh is float32 \[3, 4\], not float32 \[3, 5\]"),
        ("settings", {"dtype": "float64"}, r"does not fit config.json"),
        ("settings", {"seed": "x"}, "seed: 'x' is no int"),
        ("settings", {"cell": "lsmt"}, "cell: 'lsmt' is none of srn, gru"),
        ("settings", {"future": 1}, "unknown entry 'future'"),
        ("config", {"mode": "x"}, "mode: 'x' is none of learn"),
        ("config", {"lr": -1}, "lr must be at least 0"),
    ],
)
def test_a_config_that_was_changed(halted: Path, section: str, change: dict[str, Any], match: str) -> None:
    config = json.loads((halted / "config.json").read_text())
    config[section] |= change
    (halted / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=match):
        resume(halted)


def test_a_checkpoint_of_another_method(halted: Path) -> None:
    def other(values: Settings, name: str, config: Any = None) -> Parts:
        made = toy.assemble(values, name, config)
        return replace(made, method=replace(made.method, state=toy.Config))

    with pytest.raises(RunError, match="holds no state of toy"):
        resume(halted, other)


def test_checkpoints_with_other_parameters(halted: Path) -> None:
    def other(values: Settings, name: str, config: Any = None) -> Parts:
        made = toy.assemble(values, name, config)

        def init(config: Any, model: Any, params: Any, rng: Any) -> Any:
            return toy.init(config, model, params | {"V_hh": np.zeros(2)}, rng)

        return replace(made, method=replace(made.method, init=init))

    with pytest.raises(RunError, match=r"only one of them has V_hh"):
        resume(halted, other)


def test_no_two_processes_in_one_directory(halted: Path) -> None:
    with rundir.lock(rundir.open_run(halted)), pytest.raises(RunError, match="in use by process"):
        resume(halted)


@pytest.mark.parametrize(
    ("call", "number"),
    [
        *(("write", number) for number in range(1, 30, 4)),
        *(("fsync", number) for number in range(1, 24, 4)),
        *(("replace", number) for number in (1, 2, 9)),
    ],
)
def test_a_disk_that_is_full_at_any_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[str, bytes], call: str, number: int
) -> None:
    """Training stops with one line, the newest checkpoint is sound, and once there is room the run goes on."""
    real, calls = getattr(os, call), 0

    def failing(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls >= number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args, **options)

    class Filling(Quiet):
        def started(self, run_dir: Path, facts: dict[str, Any]) -> None:
            monkeypatch.setattr(os, call, failing)

    with pytest.raises(RunError, match="No space left on device") as caught:
        loop.train(toy.settings(tmp_path), "toy", toy.Config(**toy.NEVER), Filling(), assemble=toy.assemble, draw=False)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    run = next(tmp_path.glob("toy-*"))
    assert not list(run.rglob("*.tmp"))
    resume(run)
    assert toy.outcome(run) == undisturbed
