"""What was measured on the way: the angle between updates, and the local costs of layers as colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments import drawing
from experiments.drawing import COLOURS, FAINT, INK, TITLE, Line
from experiments.papers.figures import parts
from experiments.papers.figures.view import View
from experiments.papers.measures import Measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BARS = 60
"""Error bars of a panel at most."""


def angle(view: View) -> Figure:
    """A panel a row: means over ten measurements with bars of two standard deviations."""
    figure, grid = parts.panels(1, len(view.rows), each=3.0, wspace=0.3, head=0.95, sharey=True)
    for row, axes in zip(view.rows, grid[0], strict=True):
        axes.set_title(row, **TITLE)
        for level in (45, 90):
            axes.axhline(level, color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        cells = [seed for r, entrant in view.pairs if r == row for seed in view.seeds(r, entrant)]
        for i, seed in enumerate(cells):
            _angle_curve(axes, seed, BARS // len(cells), color=COLOURS[i % len(COLOURS)])
        drawing.dress(axes, ticks=4)
        axes.set_yticks(range(0, 181, 15))
    low, high = grid[0][0].dataLim.y0, max(axes.dataLim.y1 for axes in grid[0])
    low = min(low, *(axes.dataLim.y0 for axes in grid[0]), 45)
    grid[0][0].set_ylim(max(0, low - 8), max(96, high + 6))
    grid[0][0].set_ylabel("angle between the updates (degrees)", color=INK)
    parts.iterations(grid[0])
    return figure


def _angle_curve(axes: Axes, seed: Measured, bars: int, color: str) -> None:
    """The angle of one run; of the many bars a few."""
    x, y = drawing.series(parts.log(seed), "measures", "angle")
    means, deviations, places = [], [], []
    for i in range(0, len(y), 10):
        known = y[i : i + 10][np.isfinite(y[i : i + 10])]
        if len(known):
            means.append(known.mean())
            deviations.append(known.std())
            places.append(x[i : i + 10].mean())
    axes.plot(*parts.thin(np.array(places), np.array(means)), linewidth=0.9, color=color, alpha=0.6)
    step = max(1, -(-len(means) // max(1, bars)))
    chosen = slice(step // 2, None, step)
    axes.errorbar(
        places[chosen], means[chosen], 2 * np.array(deviations[chosen]), fmt="o", markersize=2.4, color=color,
        elinewidth=0.8, capsize=1.6, capthick=0.8,
    )  # fmt: skip


def layers(view: View) -> Figure:
    """A row a case: the local costs of G and of F, a line of the picture a step, and the global cost; first seed."""
    figure, grid = parts.panels(len(view.pairs), 3, each=1.9, left=1.0, right=0.3, hspace=0.45, wspace=0.85, head=0.95)
    for (row, entrant), (of_g, of_f, cost) in zip(view.pairs, grid, strict=True):
        lines = parts.log(view.seeds(row, entrant)[0])
        of_g.set_ylabel(row, fontweight="bold", labelpad=20, color=INK)
        for axes, name in ((of_g, "layers_g"), (of_f, "layers_f")):
            _heat(figure, axes, *_matrix(lines, name))
            axes.text(-0.115, 0.5, "step", transform=axes.transAxes, rotation=90, va="center", ha="right", color=INK)
        parts.cost_curve(cost, *drawing.series(lines, "loss"), color=COLOURS[0])
        drawing.log_scale(cost, np.asarray(cost.lines[0].get_ydata(), float))
        drawing.dress(cost, ticks=4)
        cost.set_xlim(of_g.get_xlim())
    titles = ("local cost of G (for $V_{hh}$, $c_h$)", "local cost of F (for $W_{hh}$, $b_h$)", "global cost E")
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, **TITLE)
    parts.iterations(grid[-1])
    return figure


def _matrix(lines: Sequence[Line], name: str) -> tuple[Any, Any]:
    """Iterations, and a number for every step and iteration; geometric means of neighbours where there are very many.

    Sequences may be of different lengths: beyond its end a short one has no number.
    """
    found = [(line["iteration"], line["measures"][name]) for line in lines if name in line.get("measures", ())]
    x = np.array([iteration for iteration, _ in found], float)
    values = np.full((len(found), max((len(row) for _, row in found), default=1)), np.nan)
    for i, (_, row) in enumerate(found):
        values[i, : len(row)] = [v if v else np.nan for v in row]
    step = -(-len(x) // parts.POINTS) or 1
    logs = np.ma.masked_invalid(np.log(values))[: len(x) // step * step]
    return x, np.ma.exp(logs.reshape(len(logs) // step, step, values.shape[1]).mean(axis=1)).T


def _heat(figure: Figure, axes: Axes, x: Any, values: Any) -> None:
    """Costs as colours on a logarithmic scale, with its key."""
    from matplotlib.colors import LogNorm

    drawing.dress(axes, ticks=4)
    axes.grid(visible=False)
    if not values.count():
        axes.text(0.5, 0.5, "none to show", transform=axes.transAxes, ha="center", va="center", color=FAINT)
        return
    low, high = np.percentile(values.compressed(), [1, 99])
    picture = axes.imshow(
        values, norm=LogNorm(low, max(high, 1.01 * low), clip=True), cmap="viridis", aspect="auto", origin="lower",
        extent=(0, x[-1], 0.5, len(values) + 0.5), interpolation="nearest",
    )  # fmt: skip
    bar = figure.colorbar(picture, ax=axes, fraction=0.05, pad=0.03)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, colors=INK, color=FAINT, which="both")
    bar.ax.minorticks_off()
