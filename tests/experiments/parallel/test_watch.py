"""What is shown while many runs are computed."""

from __future__ import annotations

import io

import pytest

from experiments.parallel import watch


def test_plain_lines_come_at_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(watch.time, "monotonic", lambda: now)
    stream = io.StringIO()
    plain = watch.Plain("cells", stream)
    plain.moved(0, 9, {1: "b: iteration 5", 0: "a"})
    assert stream.getvalue() == ""  # nothing to tell yet
    now += watch.EVERY_PLAIN
    plain.moved(2, 9, {1: "b: iteration 5", 0: "a"})
    plain.moved(3, 9, {})
    plain.note("something")
    plain.finished()
    assert stream.getvalue() == "2 of 9 cells after 15 s; a; b: iteration 5\nsomething\n"


def test_moving_lines_show_every_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    stream.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    live = watch.suited("runs")
    assert isinstance(live, watch.Live)
    live.moved(1, 4, {0: "tptt, seed 1: iteration 300"})
    live.note("[not markup]")
    live.finished()
    assert "1 of 4 runs" in stream.getvalue()
    assert "tptt, seed 1: iteration 300" in stream.getvalue()
    assert "[not markup]" in stream.getvalue()


@pytest.mark.parametrize("term", ["dumb", "xterm"])
def test_without_a_terminal_lines_are_plain(term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert isinstance(watch.suited("runs"), watch.Plain)
