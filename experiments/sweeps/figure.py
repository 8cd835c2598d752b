"""How the options of a sweep matter: a panel an option, a dot a point of the grid."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments import drawing
from experiments.drawing import COLOURS, FAINT, INK, MUTED
from experiments.parallel.job import shown
from experiments.sweeps.search import Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 0.6
"""Part of the distance between two values over which the dots of one are spread."""


def draw(ranked: Sequence[Score], title: str) -> bytes:
    """The figure of a sweep as PNG.

    Args:
        ranked: all points, the best first.
        title: what was trained on what.
    """
    names = [name for name, _ in ranked[0].point]
    heights: list[tuple[str, Callable[[Score], float | None]]] = [("lowest error", _error)]
    if any(score.solved for score in ranked):
        heights.append(("iterations until solved", _iterations))
    figure = drawing.canvas(1.2 + 3.2 * len(names), 1.0 + 2.8 * len(heights))
    grid = figure.subplots(len(heights), len(names), squeeze=False, sharey="row", sharex="col")
    figure.subplots_adjust(left=0.9 / (1.2 + 3.2 * len(names)), right=0.98, top=1 - 0.75 / (1 + 2.8 * len(heights)))
    for row, (label, height) in zip(grid, heights, strict=True):
        for axes, name in zip(row, names, strict=True):
            _panel(axes, ranked, name, height)
        row[0].set_ylabel(label, color=INK)
    for axes, name in zip(grid[-1], names, strict=True):
        axes.set_xlabel(name, color=INK)
    figure.text(0.02, 1 - 0.3 / figure.get_figheight(), title, fontsize=12, fontweight="bold", color=INK)
    about = "a dot a combination, medians over seeds; hollow: given up early; large: the best"
    figure.text(0.02, 1 - 0.52 / figure.get_figheight(), about, fontsize=8.5, color=MUTED)
    return drawing.png(figure)


def _error(score: Score) -> float | None:
    return score.error if math.isfinite(score.error) else None


def _iterations(score: Score) -> float | None:
    return statistics.median(score.solved) if score.solved else None


def _panel(axes: Axes, ranked: Sequence[Score], name: str, height: Callable[[Score], float | None]) -> None:
    """All points over the values of one option."""
    values = [dict(score.point)[name] for score in ranked]
    places = _in_order(values)
    heights = []
    for place, text in enumerate(places):
        mine = [(number, score) for number, score in enumerate(ranked) if shown(values[number]) == text]
        xs = place + (np.linspace(-WIDTH / 2, WIDTH / 2, len(mine)) if len(mine) > 1 else np.zeros(1))
        for x, (number, score) in zip(xs, mine, strict=True):
            y = height(score)
            if y is not None:
                heights.append(y)
                _dot(axes, x, y, best=number == 0, hollow=score.given_up)
    drawing.dress(axes)
    _log_from_zero(axes, np.array(heights, float))
    axes.set_xticks(range(len(places)), places, rotation=30 if len(places) > 4 else 0, fontsize=8.5)
    axes.set_xlim(-0.6, len(places) - 0.4)
    axes.axhline(0, color=FAINT, linewidth=0.6, zorder=0)


def _dot(axes: Axes, x: float, y: float, best: bool, hollow: bool) -> None:
    """A point of the grid."""
    colour, size = (COLOURS[1], 9) if best else (COLOURS[0], 5)
    face = "white" if hollow else colour
    axes.plot(x, y, "o", color=colour, markerfacecolor=face, markersize=size, alpha=0.85, clip_on=False, zorder=3)


def _log_from_zero(axes: Axes, heights: Any) -> None:
    """A logarithmic axis where numbers span decades; zero, which a solved task reaches, stays on it."""
    positive = heights[heights > 0]
    if len(positive) and positive.max() > 20 * positive.min():
        axes.set_yscale("symlog", linthresh=positive.min())
    axes.set_ylim(bottom=0)


def _in_order(values: Sequence[Any]) -> list[str]:
    """The different values, numbers by size, others as they come first."""
    different = {shown(value): value for value in values}
    numbers = all(isinstance(value, int | float) for value in different.values())
    return sorted(different, key=lambda text: different[text]) if numbers else list(different)
