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
    monkeypatch.setenv("COLUMNS", "80")
    live = watch.suited("runs")
    assert isinstance(live, watch.Live)
    live.moved(1, 4, {0: "tptt, seed 1: iteration 300"})
    live.note("[not markup]")
    live.finished()
    assert "1 of 4 runs" in stream.getvalue()
    assert "  iteration 300  tptt, seed 1" in stream.getvalue()
    assert "[not markup]" in stream.getvalue()


def test_on_a_narrow_terminal_what_moves_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    stream.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "50")
    live = watch.suited("runs to iteration 1,000,000, which is a long way to go")
    live.moved(0, 4, {0: "tptt, alpha_i 0.1, frozen W_hh b_h, temporal T=60, seed 1: iteration 12,300 error 0.1234"})
    live.finished()
    assert "  iteration 12,300 error 0.1234  tptt, al…, seed 1" in stream.getvalue()


def test_lines_fit_and_names_lose_their_middle() -> None:
    name = "tptt, alpha_i 0.1, temporal T=60, seed 1"
    running = [f"{name}: iteration 1,200 error 0.5", f"{name}: iteration 5", name]
    assert watch.in_width(running, 200) == [
        f"  iteration 1,200 error 0.5  {name}",
        f"  iteration 5                {name}",
        f"                             {name}",
    ]
    assert watch.in_width([name], 200) == [f"  {name}"]
    assert watch.in_width([], 80) == []
    for width in range(30, 80):
        lines = watch.in_width(running, width)
        assert all(len(line) <= width for line in lines)
        assert lines[0].startswith("  iteration 1,200 error 0.5  ")
    assert watch.in_width(running, 46)[0].endswith("  tptt, al…, seed 1")
    assert watch.in_width(running, 5)[0] == "  iteration 1,200 error 0.5  …"


@pytest.mark.parametrize("term", ["dumb", "xterm"])
def test_without_a_terminal_lines_are_plain(term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert isinstance(watch.suited("runs"), watch.Plain)
