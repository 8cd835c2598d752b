"""The figure of a run, in the manner of the TPTT paper: cost, error, gradients and spectral radii over iterations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments import drawing, files
from experiments.drawing import COLOURS, DASHES, FAINT, INK, TITLE, Line
from experiments.run.journal import read_metrics
from experiments.run.rundir import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes


HIGH, BELOW = 7.0, 2.9
"""Inches of the four panels with all around them, and of one more below them."""

LATEST = 10
"""Measurements of a batch each that a curve over positions is the mean of."""


@dataclass(frozen=True)
class Caption:
    """What a figure says besides its curves."""

    title: str
    """What was trained on what."""
    outcome: str
    """How it ended."""
    chance: Mapping[str, float]
    """Score of the best constant answer, by name."""
    solved_at: int | None = None
    """The iteration that solved the task."""
    of_a_pass: int | None = None
    """Iterations of a pass through the data, or about so many; None: they have no end."""


def draw(run: Run, caption: Caption) -> Path:
    """Draw `figures/training.png` from metrics.jsonl; its path.

    Raises:
        ImportError: without matplotlib.
        RunError: if the log is damaged.
        OSError: if the file cannot be written.
    """
    path = run.figures / "training.png"
    data = render(read_metrics(run.metrics), caption)
    path.parent.mkdir(exist_ok=True)
    files.write_atomic(path, data)
    return path


def render(lines: Sequence[Line], caption: Caption) -> bytes:
    """The figure as PNG.

    Args:
        lines: of the log.
        caption: title, outcome, chance levels.
    """
    positions = _by_position(lines)
    more = 0.0 if positions is None else BELOW
    part = HIGH / (HIGH + more)
    figure = drawing.canvas(11, HIGH + more)
    grid: Any = figure.subplots(2, 2, sharex=True)
    top, bottom = 1 - 0.145 * part, 1 - 0.925 * part
    figure.subplots_adjust(left=0.06, right=0.945, top=top, bottom=bottom, hspace=0.24, wspace=0.15)
    (cost, error), (gradients, radii) = grid
    colours = _colours(lines)
    _cost(cost, lines)
    if "nll" in drawing.names(lines, "scores"):
        _perplexity(error, lines, caption)
    else:
        _error(error, lines, caption)
    _named(gradients, lines, "grad_norms", "gradient norm", colours, log=True)
    if shown := _norms_of(drawing.names(lines, "measures")):
        _norms(radii, lines, shown)
    else:
        _named(radii, lines, "spectral_radius", "spectral radius", colours)
        radii.axhline(1, color=FAINT, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
    for axes in grid.flat:
        drawing.dress(axes)
    for axes in grid[1]:
        passes = "" if caption.of_a_pass is None else f" (a pass through the data: {caption.of_a_pass:,})"
        axes.set_xlabel(f"iteration{passes}", color=INK)
    if positions is not None:
        below = figure.add_axes((0.06, 0.5 / (HIGH + more), 0.885, (more - 1.0) / (HIGH + more)))
        _positions(below, positions)
    figure.text(0.06, 1 - 0.045 * part, caption.title, fontsize=14, fontweight="bold", color=INK)
    figure.text(0.06, 1 - 0.08 * part, caption.outcome, fontsize=10.5, color=INK)
    return drawing.png(figure)


def _by_position(lines: Sequence[Line]) -> Any:
    """Mean nats of the tokens at each place in a block, [T], over the last measurements; None where none was made."""
    found = [line["measures"]["positions"] for line in lines if "positions" in line.get("measures", {})]
    last = [[np.nan if value is None else value for value in each] for each in found[-LATEST:]]
    if not last or len({len(each) for each in last}) > 1 or not last[0]:
        return None
    return np.mean(last, axis=0)


def _positions(axes: Axes, nll: Any) -> None:
    """Perplexity by the place in a block: what a block does not know of the one before it shows at its beginning."""
    axes.set_title(f"training perplexity by position in a block, last {LATEST} measurements", **TITLE)
    with np.errstate(over="ignore"):
        y = np.exp(np.minimum(nll, 300.0))
    axes.plot(np.arange(1, len(y) + 1), y, color=COLOURS[0], linewidth=1.2, marker="o", markersize=3)
    drawing.log_scale(axes, y)
    drawing.dress(axes, ticks=12)
    axes.set_xlabel("position", color=INK)


def _colours(lines: Sequence[Line]) -> dict[str, dict[str, Any]]:
    """Colour and dashes of every parameter, the same in all panels; recurrent matrices first."""
    names = drawing.names(lines, "spectral_radius")
    names += [name for name in drawing.names(lines, "grad_norms") if name not in names]
    n = len(COLOURS)
    return {name: {"color": COLOURS[i % n], "linestyle": DASHES[i // n % len(DASHES)]} for i, name in enumerate(names)}


def _cost(axes: Axes, lines: Sequence[Line]) -> None:
    """Training cost; of many points also their running median."""
    x, y = drawing.series(lines, "loss")
    axes.set_title("training cost", **TITLE)
    middle_x, middle_y = drawing.running_median(x, y, len(y) // 40)
    if len(middle_y) < len(y):
        axes.plot(x, y, color=COLOURS[0], linewidth=0.6, alpha=0.35)
    drawing.plot(axes, middle_x, middle_y, color=COLOURS[0])
    drawing.log_scale(axes, y)


def _error(axes: Axes, lines: Sequence[Line], caption: Caption) -> None:
    """Validation scores with their chance levels."""
    names = drawing.names(lines, "scores")
    beside = axes.get_yaxis_transform()  # x in parts of the panel, y in numbers of the axis
    axes.set_title("validation error", **TITLE)
    for i, name in enumerate(names):
        style: dict[str, Any] = {"color": COLOURS[1 + i % (len(COLOURS) - 1)]}
        x, y = drawing.series(lines, "scores", name)
        drawing.plot(axes, x, y, label=drawing.label(name), **style)
        if name in caption.chance:
            axes.axhline(caption.chance[name], linewidth=0.9, linestyle=(0, (5, 3)), zorder=1, **style)
            axes.text(1.008, caption.chance[name], "chance", transform=beside, va="center", fontsize=8.5, **style)
    tops = [top for top in (axes.dataLim.y1, *caption.chance.values()) if math.isfinite(top) and top > 0]
    axes.set_ylim(0, 1.08 * max(tops, default=1.0))
    if caption.solved_at is not None:
        axes.axvline(caption.solved_at, color=COLOURS[2], linewidth=1.2, zorder=1)
        axes.annotate(
            "solved ", (caption.solved_at, 0.5), xycoords=("data", "axes fraction"), ha="right", va="center",
            fontsize=9, color=COLOURS[2],
        )  # fmt: skip
    if len(names) > 1:
        drawing.legend(axes, len(names))


def _perplexity(axes: Axes, lines: Sequence[Line], caption: Caption) -> None:
    """e^nll of the validation text, and that of the frequencies of its tokens."""
    axes.set_title("validation perplexity", **TITLE)
    x, nll = drawing.series(lines, "scores", "nll")
    with np.errstate(over="ignore"):
        y = np.exp(nll)
    drawing.plot(axes, x, y, color=COLOURS[1])
    chance = math.exp(caption.chance["nll"])
    axes.axhline(chance, linewidth=0.9, linestyle=(0, (5, 3)), zorder=1, color=COLOURS[1])
    beside: dict[str, Any] = {"va": "center", "fontsize": 8.5, "color": COLOURS[1]}
    axes.text(1.008, chance, "chance", transform=axes.get_yaxis_transform(), **beside)
    drawing.log_scale(axes, y)
    if np.isfinite(y).any():
        best = int(np.nanargmin(y))
        above: dict[str, Any] = {"xytext": (0, 7), "textcoords": "offset points", "ha": "center"}
        axes.annotate(f"{y[best]:,.4g}", (x[best], y[best]), **above, **beside)


NORMS = {
    "residual": {"residual": "free state - prediction", "dual": "dual", "state": "free state"},
    "distance": {
        "distance": r"$\|W - \bar W\|$",
        "lambda": r"$\|\lambda\|$",
        "last_grad": "last gradient",
        "mu": r"$\|\mu\|$",
    },
}
"""Norms that a method measures, by the first of them, and what they are called in a figure: of BTPROP, how far free
states are from what is predicted for them at the borders of blocks; of FPTT, how far parameters are from W_bar."""


def _norms_of(names: Sequence[str]) -> dict[str, str]:
    """Those of NORMS that were measured."""
    found = (shown for first, shown in NORMS.items() if first in names)
    return {name: label for name, label in next(found, {}).items() if name in names}


def _norms(axes: Axes, lines: Sequence[Line], shown: Mapping[str, str]) -> None:
    """What the method measures of itself."""
    axes.set_title("norms", **TITLE)
    values = [np.empty(0)]
    for i, (name, label) in enumerate(shown.items()):
        x, y = drawing.series(lines, "measures", name)
        if not np.nan_to_num(y).any():  # zero everywhere: no place on a logarithmic axis
            continue
        drawing.plot(axes, x, y, label=label, color=COLOURS[i], linestyle=DASHES[i % len(DASHES)])
        values.append(y)
    drawing.log_scale(axes, np.concatenate(values))
    if len(values) > 1:
        drawing.legend(axes, len(values) - 1)
    else:
        _nothing(axes)


def _named(
    axes: Axes, lines: Sequence[Line], key: str, title: str, styles: Mapping[str, Mapping[str, Any]], log: bool = False
) -> None:
    """One curve for every name below a key of the log; of very many points their running median."""
    axes.set_title(title, **TITLE)
    names, values = drawing.names(lines, key), [np.empty(0)]
    for name in names:
        x, y = drawing.series(lines, key, name)
        drawing.plot(axes, *drawing.running_median(x, y, len(y) // 100), label=drawing.label(name), **styles[name])
        values.append(y)
    if log:
        drawing.log_scale(axes, np.concatenate(values))
    if names:
        drawing.legend(axes, len(names))
    else:
        _nothing(axes)


def _nothing(axes: Axes) -> None:
    axes.text(0.5, 0.5, "none to show", transform=axes.transAxes, ha="center", va="center", color=FAINT)
