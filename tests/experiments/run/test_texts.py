"""Runs on texts: the state is carried through what is scored, resuming is exact, another vocabulary is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

import algorithms
from algorithms.dynamic import Config
from datasets import text
from experiments.parallel import job, store
from experiments.run import build, checks, loop, rundir, standing, stopping
from experiments.run.build import Parts
from experiments.run.evaluate import evaluate
from experiments.run.result import Result
from experiments.run.settings import Settings
from minigrad.errors import InputError
from minigrad.rng import stream
from tests.experiments.run import toy

ROWS = 62
"""Tokens of each of the 32 streams of the small validation text."""


def settings_of(folder: Path, **changes: Any) -> Settings:
    values: dict[str, Any] = {
        "task": "sample-char",
        "task_options": {"characters": "20000"},
        "cell": "gru",
        "hidden": 12,
        "dtype": "float64",
        "max_iterations": 30,
        "validate_every": 10,
        "checkpoint_every": 7,
        "runs_dir": folder,
    }
    return Settings(**values | changes)


def parts_of(**changes: Any) -> tuple[Parts, Any]:
    """Parts and random parameters whose answers differ from token to token."""
    parts = build.assemble(settings_of(Path(), **changes), "bptt")
    params = parts.model.init(stream(3, "init"), "uniform", parts.settings.dtype)
    return parts, {name: 3 * array for name, array in params.items()}


def unrolled(parts: Parts, params: Any) -> Any:
    """What every token of the validation text costs, [rows, streams], from one unroll over all of it."""
    task: Any = parts.task
    ids = np.asarray(task.corpus.valid, np.int64)
    rows = (len(ids) - 1) // 32
    x, y = (ids[shift : shift + 32 * rows].reshape(32, rows).T for shift in (0, 1))
    model: Any = parts.model
    logits = model.readout(params, model.unroll(params, x, model.initial_state(params, 32)))
    return -np.take_along_axis(log_softmax(logits, axis=2), y[..., None], 2)[..., 0]


# --- scores ---


@pytest.mark.parametrize(("cell", "layers"), [("srn", 1), ("gru", 1), ("lstm", 2)])
@pytest.mark.parametrize("layout", ["streams", "blocks"])
def test_a_check_is_one_unroll_of_the_whole_text(cell: str, layers: int, layout: str) -> None:
    options = {"characters": "20000", "layout": layout}
    parts, params = parts_of(cell=cell, layers=layers, length=10, task_options=options)
    costs = unrolled(parts, params)
    assert costs.shape == (ROWS, 32)
    for number in (1, 2):
        score = checks.check_scores(parts, params, number)
        assert list(score) == ["nll"]
        assert score["nll"] == pytest.approx(costs.mean(), rel=1e-12)
    assert checks.untrained_scores(parts, params) == score


@settings(deadline=None, max_examples=25)
@given(length=st.integers(1, 80), outputs=st.sampled_from([1, 1000, 1 << 22]))
def test_the_length_of_the_windows_leaves_the_score_alone(length: int, outputs: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "OUTPUTS", outputs)
        parts, params = parts_of(length=length)
        score = checks.check_scores(parts, params, 1)
    whole, params = parts_of(length=ROWS)
    assert score["nll"] == pytest.approx(unrolled(whole, params).mean(), rel=1e-12)


@settings(deadline=None, max_examples=25)
@given(size=st.integers(1, 300), length=st.sampled_from([7, 31, 62]))
def test_a_part_of_the_text_is_scored_by_windows_of_a_stream(size: int, length: int) -> None:
    parts, params = parts_of(length=length)
    size = checks.available(parts, "valid", size)
    assert size <= 32 * math.ceil(ROWS / length)
    scored = np.zeros((ROWS, 32), bool)
    for window in range(size):
        scored[window // 32 * length :][:length, window % 32] = True
    score = checks.score(parts, params, "valid", 0, size)
    assert score["nll"] == pytest.approx(unrolled(parts, params)[scored].mean(), rel=1e-12)


def test_the_state_matters() -> None:
    parts, params = parts_of(length=5)
    forgetful = replace(parts, task=Forgetful(parts.task))  # type: ignore[arg-type]
    carried, afresh = (checks.check_scores(each, params, 1)["nll"] for each in (parts, forgetful))
    assert abs(carried - afresh) > 1e-3


class Forgetful:
    """A text whose windows have nothing to do with each other."""

    def __init__(self, task: Any) -> None:
        self.task = task

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def batch(self, *arguments: Any) -> Any:
        return replace(self.task.batch(*arguments), continues=False)


def test_a_broken_network_is_no_success() -> None:
    parts, params = parts_of(length=10)
    params["b_y"][0] = np.nan
    scores = checks.check_scores(parts, params, 1)
    assert math.isnan(scores["nll"])
    begin = stopping.start({"nll": 5.0}, 10)
    after = stopping.after_check(begin, scores, {}, solved_below=parts.task.solved_below, patience=10)
    assert (after.status, after.best_error, after.is_best) == ("running", 5.0, False)


# --- runs ---


def train(folder: Path, config: Any = None, **changes: Any) -> Result:
    return loop.train(settings_of(folder, **changes), "bptt", config, loop.Quiet(), draw=False)


@pytest.mark.parametrize("changes", [{}, {"cell": "lstm", "layers": 2, "dtype": "float32"}])
def test_resumed_is_as_if_it_had_never_stopped(tmp_path: Path, changes: dict[str, Any]) -> None:
    """An epoch of 13 windows ends on both sides of the pause; the state goes through the checkpoint."""
    config = {"optimizer": "adam", "lr": 0.01}
    whole = train(tmp_path, config, **changes)
    wished = settings_of(tmp_path, **changes)
    cut = loop.train(wished, "bptt", config, loop.Quiet(), draw=False, until=17)
    assert cut.status == "interrupted"
    loop.resume(cut.run, loop.Quiet(), draw=False)
    assert toy.outcome(cut.run) == toy.outcome(whole.run)


def test_a_network_learns_the_sample(tmp_path: Path) -> None:
    config = {"optimizer": "adam", "lr": 0.01}
    done = train(tmp_path, config, hidden=32, dtype="float32", max_iterations=150, validate_every=50)
    assert done.error is not None
    assert done.error < 1.1  # the frequencies alone: 1.51; the last character too: 1.06
    assert not done.solved


def test_epochs_are_passes_through_the_text(tmp_path: Path) -> None:
    options: dict[str, Any] = {"task": "sample-char", "task_options": {"characters": "2000"}, "length": 10}
    for layout, batches in (("streams", 1_999 // 20 // 10), ("blocks", -(-199 // 20))):
        chosen = {**options, "task_options": {**options["task_options"], "layout": layout}}
        made = build.assemble(Settings(epochs=3, runs_dir=tmp_path, **chosen), "bptt").settings
        assert (made.max_iterations, made.validate_every, made.epochs) == (3 * batches, batches, None)
    with pytest.raises(InputError, match="epochs are passes through the data, those of temporal have no end"):
        build.assemble(Settings(epochs=3), "bptt")
    with pytest.raises(InputError, match="after each pass through the data, those of adding have no end"):
        build.assemble(Settings(task="adding", validate_every=0), "bptt")
    with pytest.raises(InputError, match="epochs must be at least 1"):
        Settings(epochs=0)


VARIABLE: dict[str, Any] = {
    "task_options": {"characters": "3000", "windows": "variable"},
    "length": 10,
    "batch_size": 6,
    "validate_every": 0,
}


def checks_of(done: Result) -> list[int]:
    """The iterations at which a run was checked."""
    lines = [json.loads(line) for line in (done.run / "metrics.jsonl").read_text().splitlines()]
    return [line["iteration"] for line in lines if "error" in line]


def test_passes_of_variable_windows_are_checked_where_they_end(tmp_path: Path) -> None:
    """However many windows each of them has."""
    done = train(tmp_path, epochs=4, **VARIABLE)
    parts = standing.parts_of(rundir.Run(done.run))
    task: Any = parts.task
    ends = [task.batches_of(1234, n, 6) for n in range(5)]
    assert len({b - a for a, b in pairwise(ends)}) > 1
    assert checks_of(done) == ends
    assert (parts.settings.max_iterations, parts.settings.validate_every, parts.settings.epochs) == (ends[4], 0, None)
    assert [build.checked_after(parts.settings, n) for n in (ends[1] - 1, ends[1], ends[2])] == [False, True, True]
    assert build.first_check(parts.settings) == ends[1]
    cut_short = train(tmp_path, **VARIABLE | {"max_iterations": ends[2] + 1})
    assert checks_of(cut_short) == [*ends[:3], ends[2] + 1]


def test_fixed_windows_are_checked_after_each_pass_too(tmp_path: Path) -> None:
    """A number of iterations and 0 are the same run."""
    options: dict[str, Any] = {"task_options": {"characters": "3000"}, "length": 10, "batch_size": 6}
    counted = train(tmp_path, epochs=2, **options)
    assert checks_of(counted) == [0, 49, 98]
    passes = train(tmp_path, **options | {"max_iterations": 98, "validate_every": 0})
    assert toy.outcome(counted.run) == toy.outcome(passes.run)


@pytest.mark.parametrize(("method", "config"), [("bptt", {"rate_window": 10}), ("fptt", {"parts": 3, "lr": 0.01})])
def test_variable_windows_resume_in_the_middle_of_a_pass(tmp_path: Path, method: str, config: dict[str, Any]) -> None:
    wished = settings_of(tmp_path, **VARIABLE, epochs=3)
    whole = loop.train(wished, method, config, loop.Quiet(), draw=False)
    cut = loop.train(wished, method, config, loop.Quiet(), draw=False, until=73)
    loop.resume(cut.run, loop.Quiet(), draw=False)
    assert toy.outcome(cut.run) == toy.outcome(whole.run)


def test_windows_that_may_be_too_short_for_a_method_are_refused_at_once() -> None:
    with pytest.raises(InputError, match="fptt with 6 parts needs as many steps, variable windows of sample-char may"):
        build.planned(settings_of(Path(), **VARIABLE), "fptt", {"parts": 6})
    build.planned(settings_of(Path(), **VARIABLE), "fptt", {"parts": 5})
    with pytest.raises(InputError, match="layout streams alone"):
        build.planned(settings_of(Path(), **VARIABLE), "btprop")


def test_a_run_in_passes_goes_on_where_a_shorter_one_ended(tmp_path: Path) -> None:
    """If that ended with a pass: otherwise its last check is one that the longer run does not make."""
    short, long = (job.Job("bptt", None, settings_of(tmp_path, **VARIABLE, epochs=n)) for n in (1, 2))
    short, long = (replace(each, settings=build.planned(each.settings, "bptt").settings) for each in (short, long))
    short, long = (replace(each, config=build.config_of(algorithms.method("bptt"), None)) for each in (short, long))
    done = loop.train(short.settings, "bptt", None, loop.Quiet(), draw=False)
    found = store.Store(tmp_path).shorter(long)
    assert found is not None
    assert found.path == done.run
    longer = loop.extend(done.run, long.settings.max_iterations, loop.Quiet(), draw=False)
    whole = loop.train(long.settings, "bptt", None, loop.Quiet(), draw=False)
    assert toy.outcome(longer.run) == toy.outcome(whole.run)
    odd = settings_of(tmp_path / "odd", **VARIABLE | {"max_iterations": short.settings.max_iterations - 1})
    loop.train(odd, "bptt", None, loop.Quiet(), draw=False)
    assert store.Store(tmp_path / "odd").shorter(long) is None


def test_what_is_told_of_a_run_counts_the_tokens_of_its_windows() -> None:
    fixed, varied = (parts_of(length=10, batch_size=6, task_options=o)[0] for o in ({}, VARIABLE["task_options"]))
    assert build.tokens_of(fixed.settings, fixed.task) == 60
    task: Any = varied.task
    mean = 6 * 499 / task.batches_of(1234, 1, 6)
    assert build.tokens_of(varied.settings, task) == round(mean)
    assert build.tokens_of(Settings(), build.make_task(Settings())) is None


def test_evaluation_tells_perplexity_and_bits(tmp_path: Path) -> None:
    done = train(tmp_path)
    answer = evaluate(done.run)
    nll = answer["scores"]["nll"]
    assert answer["error"] == nll
    expected = {"nll": nll, "perplexity": math.exp(nll), "bits": nll / math.log(2)}
    assert answer["scores"] == pytest.approx(expected, rel=1e-12)
    assert list(answer["chance"]) == ["nll", "perplexity", "bits"]
    assert (answer["sequences"], answer["of"], answer["solved"]) == (32, 32, None)
    other = evaluate(done.run, length=7)
    assert (other["length"], other["sequences"], other["of"]) == (7, 288, 288)
    assert other["error"] == pytest.approx(nll, rel=1e-12)
    assert evaluate(done.run, size=100, length=7)["sequences"] == 100
    assert evaluate(done.run, split="valid")["error"] == done.error


# --- dynamic evaluation ---


class Telling(loop.Quiet):
    """A display that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def started(self, run_dir: Path, facts: dict[str, Any]) -> None:
        self.told.append(facts["pass"])

    def progress(
        self, iteration: int, cost: float, error: float, iterations_per_second: float, seconds_left: float
    ) -> None:
        self.told.append(iteration)

    def finished(self) -> None:
        self.told.append("finished")


@pytest.mark.parametrize("changes", [{}, {"task_options": VARIABLE["task_options"]}])
def test_a_run_is_evaluated_dynamically(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Of the same tokens, in one stream: without rates, what the whole text costs in one unroll."""
    done = train(tmp_path, dtype="float32", **changes)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    parts = standing.parts_of(rundir.Run(done.run))
    task: Any = parts.task
    newest = rundir.Run(done.run).newest()
    assert newest is not None
    params = standing.load(newest, parts)[0].state.params
    ids = np.asarray(task.corpus.test, np.int64)[:, None]
    model: Any = parts.model
    cost = float(model.score(params, model.unroll(params, ids[:-1], model.initial_state(params, 1)), ids[1:]))
    display = Telling()
    answer = evaluate(done.run, dynamic=Config(lr=0.0, lam=0.0), display=display)
    assert answer["error"] == answer["scores"]["nll"] == pytest.approx(cost, rel=1e-5)
    assert answer["static"] == pytest.approx(answer["scores"], rel=1e-6)
    windows = -(-(len(ids) - 1) // 5)
    assert (answer["sequences"], answer["of"]) == (windows, windows)
    told = [word for word in display.told if isinstance(word, str)]
    assert told == ["statistics of the training text", "finished", "scores of the test text", "finished"]
    assert display.told[-2] == windows
    moved = evaluate(done.run, size=40, split="valid", dynamic=Config(window=3, statistic="mean"))
    assert (moved["sequences"], moved["static"]["nll"] != moved["error"]) == (40, True)
    assert moved["dynamic"] == {
        "lr": 0.002,
        "lam": 0.02,
        "eps": 0.001,
        "window": 3,
        "statistics_batch": 100,
        "statistic": "mean",
    }
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_impossible_dynamic_evaluations_are_refused(tmp_path: Path) -> None:
    done = train(tmp_path, max_iterations=1)
    with pytest.raises(InputError, match="windows of its own: use --window, and leave --length out"):
        evaluate(done.run, length=5, dynamic=Config())
    with pytest.raises(InputError, match="train has 20,000 tokens, 25,001 are needed"):
        evaluate(done.run, dynamic=Config(statistics_batch=5000))
    with pytest.raises(InputError, match=r"the parameters have run away .*: take a smaller --lr"):
        evaluate(done.run, dynamic=Config(lr=1e305))
    other = loop.train(Settings(max_iterations=1, hidden=4, runs_dir=tmp_path), "bptt", None, loop.Quiet(), draw=False)
    with pytest.raises(InputError, match="goes on learning from a text, temporal is none: leave --dynamic out"):
        evaluate(other.run, dynamic=Config())


# --- another vocabulary ---


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of data with a small text in the place of PTB."""
    return write(tmp_path / "data", "the cat sat on the mat\n")


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """Another one, whose text has as many words, in another order."""
    return write(tmp_path / "changed", "the mat sat on the cat\n")


def write(folder: Path, sentence: str) -> Path:
    """The same sentence in all files."""
    (folder / "ptb").mkdir(parents=True)
    for split in ("train", "valid", "test"):
        (folder / "ptb" / f"ptb.char.{split}.txt").write_text(20 * sentence)
    return folder


PTB: dict[str, Any] = {"task": "ptb-char", "length": 5, "task_options": {}, "batch_size": 4, "max_iterations": 10}


def test_a_run_keeps_its_vocabulary(tmp_path: Path, data: Path, changed: Path) -> None:
    done = train(tmp_path, data_dir=data, **PTB)
    config = json.loads((done.run / "config.json").read_text())
    assert config["vocabulary"] == text.PtbChar(data_dir=data).fingerprint
    assert evaluate(done.run)["error"] == pytest.approx(evaluate(done.run, length=3)["error"])
    with pytest.raises(InputError, match="the vocabulary has changed since") as caught:
        evaluate(done.run, data_dir=changed)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="the vocabulary has changed since"):
        loop.extend(done.run, 20, loop.Quiet(), draw=False, data_dir=changed)


def test_a_run_is_not_resumed_with_another_vocabulary(tmp_path: Path, data: Path, changed: Path) -> None:
    cut = loop.train(settings_of(tmp_path, data_dir=data, **PTB), "bptt", None, loop.Quiet(), draw=False, until=5)
    before = {path: path.read_bytes() for path in cut.run.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="the vocabulary has changed since"):
        loop.resume(cut.run, loop.Quiet(), draw=False, data_dir=changed)
    assert {path: path.read_bytes() for path in cut.run.rglob("*") if path.is_file() and path in before} == before
    elsewhere = write(tmp_path / "elsewhere", "the cat sat on the mat\n")
    assert loop.resume(cut.run, loop.Quiet(), draw=False, data_dir=elsewhere).status == "budget"


def test_a_job_can_be_described_without_its_text(tmp_path: Path) -> None:
    made = job.make("bptt", {}, {**PTB, "data_dir": str(tmp_path / "nowhere")})
    assert made.settings.length == 5
    with pytest.raises(InputError, match="there is no file"):
        made.look_for_data()


def test_too_short_a_text_is_refused_before_anything_is_written(tmp_path: Path, data: Path) -> None:
    with pytest.raises(InputError, match="train has 140 tokens, 201 are needed"):
        train(tmp_path / "runs", data_dir=data, **PTB | {"length": 10, "batch_size": 20})
    assert not (tmp_path / "runs").exists()
