"""The figure of a run."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from experiments import drawing
from experiments.errors import RunError
from experiments.run import figure, rundir
from experiments.run.figure import Caption

ROOT = Path(__file__).parents[3]

CAPTION = Caption("TPTT on temporal, T = 30, seed 1", "solved", {"error": 0.75}, solved_at=100)


def lines(count: int, names: int = 2, **changes: Any) -> list[dict[str, Any]]:
    """A log of `count` checks."""
    return [
        {
            "iteration": 100 * (n + 1),
            "loss": 1 / (n + 1),
            "grad_norms": {f"layer{i}/W_xh": 0.1 * i for i in range(names)},
            "error": 0.5,
            "scores": {"error": 0.5, "error_abs": 0.6},
            "spectral_radius": {"W_hh": 1.0},
        }
        | changes
        for n in range(count)
    ]


@pytest.mark.parametrize(
    "log",
    [
        [],
        lines(1),
        lines(3),
        lines(500),
        lines(3, names=12),
        lines(3, loss=None, grad_norms={"W_hh": None}),
        lines(3, loss=0.0, grad_norms={"W_hh": 0.0}),
        lines(3, spectral_radius={}),
        [{"iteration": 10, "loss": 1.0, "grad_norms": {}}],
    ],
    ids=["empty", "one", "three", "many", "names", "null", "zero", "no radii", "no check"],
)
def test_any_log_is_drawn(log: list[dict[str, Any]]) -> None:
    """Warnings are errors here: no empty logarithmic axis, no glyph that is missing."""
    png = figure.render(log, CAPTION)
    assert png.startswith(b"\x89PNG\r\n")
    width, height = struct.unpack(">II", png[16:24])
    assert width > height > 500
    assert figure.render(log, CAPTION) == png


TEXT = {"error": 5.0, "scores": {"nll": 5.0}, "spectral_radius": {}}
STATES = {"measures": {"residual": 0.1, "dual": 0.0, "state": 3.0}}


@pytest.mark.parametrize(
    "log",
    [
        lines(1, **TEXT),
        lines(40, **TEXT, **STATES),
        lines(30, **TEXT, measures={**STATES["measures"], "positions": [3.0, None, 2.0]}),
        [*lines(3, **TEXT | {"scores": {"nll": 2e3}}), *lines(3, **TEXT)],
        lines(3, **TEXT | {"scores": {"nll": None}}),
        lines(3, **TEXT, measures={"residual": None, "dual": 0.0, "state": 0.0}),
    ],
    ids=["one", "states", "positions", "huge", "null", "nothing to show"],
)
def test_any_log_of_a_text_is_drawn(log: list[dict[str, Any]]) -> None:
    """Perplexity takes the place of the error, and the states at borders that of spectral radii."""
    text = Caption("BTPROP on ptb-word, T = 20, seed 1", "ended", {"nll": 6.33})
    png = figure.render(log, text)
    assert png.startswith(b"\x89PNG\r\n")
    assert figure.render(log, text) == png


def test_a_curve_by_position_is_a_panel_more() -> None:
    text = Caption("a", "b", {"nll": 6.33}, of_a_pass=1_444)
    log = lines(30, **TEXT, **STATES)
    places = [line | {"measures": line["measures"] | {"positions": [3.0, 2.0, float(n)]}} for n, line in enumerate(log)]
    without, beside = (struct.unpack(">II", figure.render(each, text)[16:24]) for each in (log, places))
    assert (without[0], without[1] + round(130 * figure.BELOW)) == beside
    found = figure._by_position(places)
    assert found is not None
    assert found.tolist() == [3.0, 2.0, 24.5]  # of the last ten


def test_norms_that_are_zero_everywhere_have_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(drawing, "png", lambda made: seen.append(legend_of(made)) or b"")
    for dual in (0.0, 0.1):
        log = lines(3, **TEXT, measures={"residual": 0.1, "dual": dual, "state": 3.0})
        figure.render(log, Caption("a", "b", {"nll": 6.33}, of_a_pass=1_444))
    assert [("dual" in names, "free state" in names) for names in seen] == [(False, True), (True, True)]
    assert all("iteration (a pass through the data: 1,444)" in names for names in seen)


def legend_of(made: Any) -> list[str]:
    """Names in the legends of a figure, and those of its axes."""
    legends = [axes.get_legend() for axes in made.axes if axes.get_legend()]
    names = [text.get_text() for legend in legends for text in legend.get_texts()]
    return names + [axes.get_xlabel() for axes in made.axes]


def test_it_is_written_into_the_run(tmp_path: Path) -> None:
    run, lock = rundir.create(tmp_path, "a", {})
    with lock:
        run.metrics.write_text('{"iteration": 10, "loss": 1.0}\n{"iteration": 20, "lo')
        path = figure.draw(run, CAPTION)
        assert path == run.path / "figures" / "training.png"
        assert path.stat().st_size > 1000
        run.metrics.write_text('{"iteration": 10\n{}\n')
        with pytest.raises(RunError, match="damaged in line 1"):
            figure.draw(run, CAPTION)


def test_drawing_leaves_the_global_state_of_matplotlib_alone() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from experiments.run import figure\n"
        "figure.render([], figure.Caption('a', 'b', {}))\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
