"""Progress and results, as lines and as JSON."""

from __future__ import annotations

import io
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from experiments import display
from experiments.display import LiveDisplay, PlainDisplay
from experiments.run.result import Result

FACTS = {"method": "tptt", "task": "temporal", "length": 20, "iteration": 0, "max_iterations": 500}


class Terminal(io.StringIO):
    """Something that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def result(**changes: Any) -> Result:
    values: dict[str, Any] = {
        "run": Path("runs/one"),
        "method": "tptt",
        "task": "adding",
        "seed": 1,
        "solved": False,
        "iterations": 1200,
        "error": 0.5,
        "loss": 0.25,
        "metric": {"error": 0.5, "mse": math.nan},
        "seconds": 61.0,
        "iterations_per_second": 19.7,
        "status": "budget",
        "kernels": {"srn": "fused"},
        "figure": Path("runs/one/figures/training.png"),
        "reason": "all 1,200 iterations are done",
    }
    return Result(**(values | changes))


def test_plain_lines_are_few_and_the_last_state_is_told() -> None:
    now = 0.0
    stream = io.StringIO()
    plain = PlainDisplay(stream, every=5, clock=lambda: now)
    plain.started(Path("runs/one"), FACTS)
    for iteration in range(1, 121):
        now = iteration / 10
        plain.progress(iteration, 1.5, 0.75, 10.0, 60.0)
    plain.finished()
    plain.finished()
    lines = stream.getvalue().splitlines()
    assert lines[:2] == ["run runs/one", "method tptt, task temporal, length 20, max iterations 500"]
    assert [line.split("  ")[0] for line in lines[2:]] == [f"iteration {n} of 500" for n in (1, 51, 101, 120)]
    assert lines[3] == "iteration 51 of 500  cost 1.5  error 0.75  10 it/s  1 min 0 s left"


def test_of_a_text_perplexity_and_tokens_a_second_are_told() -> None:
    stream = io.StringIO()
    plain = PlainDisplay(stream, every=0)
    plain.started(Path("runs/one"), {**FACTS, "tokens": 640})
    plain.progress(50, 4.9, 4.605170186, 12.0, 30.0)
    plain.progress(51, 4.9, 1e9, 12.0, 30.0)
    lines = stream.getvalue().splitlines()
    told = "training cost 4.9  validation perplexity 100  12 it/s  7,680 tokens/s  30 s left"
    assert lines[2] == f"iteration 50 of 500  {told}"
    assert "perplexity inf" in lines[3]


def test_passes_are_told_where_data_have_an_end() -> None:
    stream = io.StringIO()
    plain = PlainDisplay(stream, every=0)
    plain.started(Path("runs/one"), {**FACTS, "iterations_of_a_pass": 200})
    plain.progress(50, 4.9, 0.5, 12.0, 30.0)
    assert stream.getvalue().splitlines()[2].startswith("iteration 50 of 500, pass 0.25 of 2.5  cost 4.9  error 0.5")


def test_what_cannot_be_solved_is_not_said_to_be_unsolved(capsys: pytest.CaptureFixture[str]) -> None:
    given_up = {"status": "patience", "reason": "no error below 0.9 in 3 checks"}
    assert display.ending(result(**given_up))[0].split(None, 1)[1].startswith("not solved: no error below")
    for task in ("sample-char", "digits-pixels"):
        assert "solved" not in "\n".join(display.ending(result(task=task, **given_up)))
        display.print_result(result(task=task), as_json=True)
        assert json.loads(capsys.readouterr().out)["solved"] is None
    display.print_scores({"task": "sample-char", "solved": None}, as_json=False)
    assert "solved" not in capsys.readouterr().out


def test_the_first_iteration_says_nothing_about_speed() -> None:
    stream = io.StringIO()
    plain = PlainDisplay(stream)
    plain.progress(1, 1.5, math.nan, 0.2, 1e6)
    assert stream.getvalue() == "iteration 1  cost 1.5\n"


def test_the_live_line_shows_the_numbers_and_leaves_the_last_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    live = LiveDisplay(stream)
    live.note("a word [before]")
    live.started(Path("runs/one"), FACTS)
    live.progress(100, 1.25, 0.75, 345.6, 3.0)
    live.note("a word between")
    live.progress(250, 1.0, 0.5, 345.6, 2.0)
    live.finished()
    live.finished()
    text = stream.getvalue()
    for words in ("a word [before]", "a word between", "cost 1.25  error 0.75  346 it/s  3.0 s left"):
        assert words in text
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.replace("\r", "\n"))
    assert plain.split("\n")[-2] == "iteration 250 of 500  cost 1  error 0.5  346 it/s  2.0 s left"


def test_no_colour_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    live = LiveDisplay(stream)
    live.started(Path("runs/one"), FACTS)
    live.progress(100, 1.25, 0.75, 345.6, 3.0)
    live.finished()
    assert "\x1b[3" not in stream.getvalue()
    assert "\x1b[9" not in stream.getvalue()


@pytest.mark.parametrize(("term", "kind"), [("xterm", LiveDisplay), ("dumb", PlainDisplay)])
def test_the_display_suits_standard_error(term: str, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr("sys.stderr", Terminal())
    assert isinstance(display.suited(), kind)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert isinstance(display.suited(), PlainDisplay)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.7, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_durations(seconds: float, words: str) -> None:
    assert display.duration(seconds) == words


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"solved": True, "status": "solved"}, "solved adding at iteration 1,200 after 1 min 1 s"),
        ({}, "all 1,200 iterations are done (1,200 iterations in 1 min 1 s)"),
        ({"status": "diverged", "reason": "loss is nan"}, "diverged: loss is nan (1,200 iterations in 1 min 1 s)"),
        ({"status": "interrupted", "reason": ""}, "interrupted (1,200 iterations in 1 min 1 s)"),
    ],
)
def test_the_ending_says_how_it_ended_and_where_it_lies(changes: dict[str, Any], outcome: str) -> None:
    lines = display.ending(result(**changes))
    assert lines[0].split(None, 1) == ["result", outcome]
    text = "\n".join(lines)
    assert "error 0.5, loss 0.25" in text
    assert "nan" not in text.splitlines()[1]
    assert any(line.split() == ["run", "runs/one"] for line in lines)
    assert any(line.split() == ["figure", "runs/one/figures/training.png"] for line in lines)
    assert ("python cli.py evaluate runs/one" in text) == (changes.get("status") != "interrupted")


def test_the_ending_names_scores_that_are_beyond_all_numbers() -> None:
    """And leaves out those that nobody knows."""
    rows = display.ending(result(metric={"nll": 4e30, "perplexity": math.inf, "bits": math.nan}, loss=None))
    assert "nll 4e+30, perplexity inf" in "\n".join(rows)
    assert "bits" not in "\n".join(rows)


def test_json_has_exactly_the_promised_keys_and_null_for_nan(capsys: pytest.CaptureFixture[str]) -> None:
    display.print_result(result(status="interrupted", loss=math.inf), as_json=True)
    out, err = capsys.readouterr()
    (line,) = out.splitlines()
    entries = json.loads(line)
    keys = "run method task seed solved iterations error loss metric seconds iterations_per_second status kernels"
    assert " ".join(entries) == keys
    assert entries["metric"] == {"error": 0.5, "mse": None}
    assert entries["loss"] is None
    assert err == "resume with: python cli.py resume runs/one\n"
