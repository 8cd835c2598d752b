"""The figure of an entry: as the paper draws it where it draws one, otherwise its numbers as dots beside the paper's.

The paper's numbers are always hollow, ours filled. Curves are read from the logs of the runs that were measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from experiments import drawing, journal, rundir
from experiments.drawing import COLOURS, DASHES, FAINT, GRID, INK, MUTED, TITLE, Line
from experiments.papers import comparison
from experiments.papers import entry as entries
from experiments.papers.comparison import CONSTANT, Summary
from experiments.papers.entry import Cell, Entry, Preset
from experiments.papers.measures import PERCENT, Measured
from minigrad.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 10.5
"""Inches; all figures are equally wide."""

HEAD, FOOT = 1.15, 0.55
"""Inches above the panels, for title and legend, and below them."""

HEADING = 0.58
"""Inches of the head that title and source take up."""

POINTS = 400
"""Points of a curve at most."""

BARS = 60
"""Error bars of a panel at most."""

PAPER_AT, OURS_AT = 1.105, 1.13
"""Where the numbers stand beside the dots, in parts of the panel."""

MEAN_OVER = 100
"""Iterations that a point of a training cost is the mean of, as in the paper."""

FAR_APART = 5
"""Where the longest run takes so many times the iterations of the shortest, the axis of iterations is logarithmic."""


@dataclass(frozen=True)
class View:
    """What there is to draw."""

    entry: Entry
    preset: Preset
    measured: Mapping[Cell, Measured]

    @cached_property
    def rows(self) -> list[str]:
        """Rows with something in them."""
        return list(dict.fromkeys(cell.row for cell in self._cells))

    @cached_property
    def entrants(self) -> list[str]:
        """Entrants with something in them."""
        found = {cell.entrant for cell in self._cells}
        return [entrant.name for entrant in self.entry.plan().entrants if entrant.name in found]

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """Rows and entrants that were computed, row by row."""
        found = {(cell.row, cell.entrant) for cell in self._cells}
        return [(row, entrant) for row in self.rows for entrant in self.entrants if (row, entrant) in found]

    @cached_property
    def _cells(self) -> list[Cell]:
        return [cell for cell in entries.cells(self.entry, self.preset) if cell in self.measured]

    def seeds(self, row: str, entrant: str) -> list[Measured]:
        """What was measured for all seeds."""
        return [self.measured[cell] for cell in self._cells if (cell.row, cell.entrant) == (row, entrant)]

    def colour(self, entrant: str) -> dict[str, Any]:
        """Colour and dashes of an entrant, the same whether or not the others are there."""
        return _style([e.name for e in self.entry.plan().entrants].index(entrant))


Form = Literal["png", "svg"]


def draw(
    entry: Entry, preset: Preset, measured: Mapping[Cell, Measured], form: Form = "png", heading: bool = True
) -> bytes:
    """The figure of an entry.

    Args:
        entry: with a plan.
        preset: how much of it.
        measured: what there is of it; the logs of the runs are read.
        form: PNG, or SVG with text as text and nothing outside of it.
        heading: whether it says what it is.

    Raises:
        ImportError: without matplotlib.
        InputError: if nothing is measured, or a log is damaged.
    """
    view = View(entry, preset, measured)
    if not view.rows:
        raise InputError(f"{entry.id}: nothing to draw, no cell is computed")
    figure = FIGURES[entry.plan().draw](view)
    if heading:
        _head(figure, entry, preset)
    without = 0 if heading else HEADING
    return drawing.png(figure, without) if form == "png" else drawing.svg(figure, entry.id, without)


def row_label(entry: Entry, row: str) -> str:
    """A row as people are told of it: a bare number says what it counts."""
    symbol = _SYMBOLS.get(entry.plan().row or "")
    return f"{symbol} = {row}" if symbol and row.isdigit() else row


_SYMBOLS = {"tmax": "T", "hidden": "H"}
"""Columns that name rows, as the papers' symbols."""


def _norms(view: View) -> Figure:
    """A row an entrant: gradient norms, spectral radius of W_hh, cost; of the first seed."""
    figure, grid = _panels(len(view.pairs), 3, each=1.75, left=1.0, hspace=0.42, wspace=0.6)
    logs = [_log(view.seeds(*pair)[0]) for pair in view.pairs]
    names = list(dict.fromkeys(name for lines in logs for name in drawing.names(lines, "grad_norms")))
    for (row, entrant), lines, (gradients, radius, cost) in zip(view.pairs, logs, grid, strict=True):
        for i, name in enumerate(names):
            x, y = drawing.series(lines, "grad_norms", name)
            gradients.plot(*_thin(*_smooth(x, y, 150)), linewidth=1.1, label=drawing.label(name), **_style(i))
        drawing.log_scale(gradients, np.array([v for line in gradients.lines for v in line.get_ydata()], float))
        radius.plot(*_thin(*drawing.series(lines, "spectral_radius", "W_hh")), linewidth=1.3, color=INK)
        radius.axhline(1, color=FAINT, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
        radius.ticklabel_format(axis="y", useOffset=False)
        _cost_curve(cost, *_cost_means(lines), color=INK)
        drawing.log_scale(cost, cost.lines[0].get_ydata())
        gradients.set_ylabel(
            entrant if len(view.rows) == 1 else f"{row}, {entrant}", fontweight="bold", labelpad=8, color=INK
        )
        for axes in (gradients, radius, cost):
            drawing.dress(axes, ticks=4)
            axes.set_xlim(0, 1.02 * lines[-1]["iteration"])
    for axes, title in zip(grid[0], ("gradient norms", "spectral radius of $W_{hh}$", "training cost"), strict=True):
        axes.set_title(title, **TITLE)
    _iterations(grid[-1])
    _key(figure, grid[0][0])
    return figure


def _cost(view: View) -> Figure:
    """A panel a row, a colour an entrant: thin lines the seeds, the bold one their median as far as all of them go."""
    columns = min(2, len(view.rows))
    figure, grid = _panels(-(-len(view.rows) // columns), columns, each=2.6, hspace=0.65, wspace=0.6)
    panels = _used(grid, len(view.rows))
    runs = [seed.runs[0] for pair in view.pairs for seed in view.seeds(*pair)]
    ends = [run.iterations for run in runs]
    log_axis = max(ends) >= FAR_APART * max(1, min(ends))
    for row, axes in zip(view.rows, panels, strict=True):
        axes.set_title(row, **TITLE)
        for entrant in (entrant for r, entrant in view.pairs if r == row):
            _cost_of_seeds(axes, view.seeds(row, entrant), label=entrant, **view.colour(entrant))
        drawing.log_scale(axes, np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines]))
        drawing.dress(axes)
        if log_axis:
            _log_iterations(axes)
    _iterations(panels[-columns:], "iteration (logarithmic)" if log_axis else "iteration")
    for axes in grid[:, 0]:
        axes.set_ylabel("training cost", color=INK)
    _key(figure, *panels, more=[_dot(INK, label="solved")] * any(run.solved for run in runs))
    return figure


def _cost_of_seeds(axes: Axes, seeds: Sequence[Measured], label: str, **style: Any) -> None:
    """The training cost of one entrant in one row."""
    curves = [_cost_means(_log(seed)) for seed in seeds]
    alone = len(curves) == 1
    for (x, y), seed in zip(curves, seeds, strict=True):
        _cost_curve(axes, x, y, linewidth=1.5 if alone else 0.7, alpha=1 if alone else 0.55, **style)
        if seed.runs[0].solved and len(x):
            axes.plot(x[-1:], y[-1:], "o", markersize=4.5, color=style["color"], zorder=3)
    shortest = min(len(x) for x, _ in curves)
    if not alone and shortest:
        middle = np.median([y[:shortest] for _, y in curves], axis=0)
        _cost_curve(axes, curves[0][0][:shortest], middle, linewidth=1.9, **style)
    axes.plot([], [], linewidth=1.9, label=label, **style)


def _cost_curve(axes: Axes, x: Any, y: Any, **style: Any) -> None:
    axes.plot(*_thin(x, y), **{"linewidth": 1.3, **style})


def _angle(view: View) -> Figure:
    """A panel a row: means over ten measurements with bars of two standard deviations."""
    figure, grid = _panels(1, len(view.rows), each=3.0, wspace=0.3, head=0.95, sharey=True)
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
    _iterations(grid[0])
    return figure


def _angle_curve(axes: Axes, seed: Measured, bars: int, color: str) -> None:
    """The angle of one run; of the many bars a few."""
    x, y = drawing.series(_log(seed), "measures", "angle")
    means, deviations, places = [], [], []
    for i in range(0, len(y), 10):
        known = y[i : i + 10][np.isfinite(y[i : i + 10])]
        if len(known):
            means.append(known.mean())
            deviations.append(known.std())
            places.append(x[i : i + 10].mean())
    axes.plot(*_thin(np.array(places), np.array(means)), linewidth=0.9, color=color, alpha=0.6)
    step = max(1, -(-len(means) // max(1, bars)))
    chosen = slice(step // 2, None, step)
    axes.errorbar(
        places[chosen], means[chosen], 2 * np.array(deviations[chosen]), fmt="o", markersize=2.4, color=color,
        elinewidth=0.8, capsize=1.6, capthick=0.8,
    )  # fmt: skip


def _layers(view: View) -> Figure:
    """A row a case: the local costs of G and of F, a line of the picture a step, and the global cost; first seed."""
    figure, grid = _panels(len(view.pairs), 3, each=1.9, left=1.0, right=0.3, hspace=0.45, wspace=0.85, head=0.95)
    for (row, entrant), (of_g, of_f, cost) in zip(view.pairs, grid, strict=True):
        lines = _log(view.seeds(row, entrant)[0])
        of_g.set_ylabel(row, fontweight="bold", labelpad=20, color=INK)
        for axes, name in ((of_g, "layers_g"), (of_f, "layers_f")):
            _heat(figure, axes, *_matrix(lines, name))
            axes.text(-0.115, 0.5, "step", transform=axes.transAxes, rotation=90, va="center", ha="right", color=INK)
        _cost_curve(cost, *drawing.series(lines, "loss"), color=COLOURS[0])
        drawing.log_scale(cost, np.asarray(cost.lines[0].get_ydata(), float))
        drawing.dress(cost, ticks=4)
        cost.set_xlim(of_g.get_xlim())
    titles = ("local cost of G (for $V_{hh}$, $c_h$)", "local cost of F (for $W_{hh}$, $b_h$)", "global cost E")
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, **TITLE)
    _iterations(grid[-1])
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
    step = -(-len(x) // POINTS) or 1
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


def _accuracy(view: View) -> Figure:
    """Accuracy over iterations: one panel, or one an entrant where there are many curves."""
    together = len(view.pairs) <= len(COLOURS)
    groups = [view.entrants] if together else [[entrant] for entrant in view.entrants]
    figure, grid = _panels(1, len(groups), each=3.4, wspace=0.3, sharey=True, left=0.75, right=0.5)
    found = {(s.row, s.entrant): s for s in comparison.summarise(view.entry, view.preset, view.measured)}
    rows = view.entry.row_names()
    for entrants, axes in zip(groups, grid[0], strict=True):
        for row, entrant in (pair for pair in view.pairs if pair[1] in entrants):
            dashes = DASHES[view.entrants.index(entrant) % len(DASHES)] if together else "-"
            colour = COLOURS[rows.index(row) % len(COLOURS)]
            label = row_label(view.entry, row)
            name = label if not together or entrant == view.entrants[0] else f"{label}, {entrant}"
            _accuracy_curves(axes, view.seeds(row, entrant), name, color=colour, linestyle=dashes)
            published = found[row, entrant].published
            if published is not None and view.preset.comparable:
                axes.plot(1.02, published, transform=axes.get_yaxis_transform(), clip_on=False, **_hollow(colour))
        drawing.dress(axes)
        if not together:
            axes.set_title(entrants[0], **TITLE)
    _constant_line(grid[0], found)
    grid[0][0].set_ylabel("accuracy (%)", color=INK)
    _iterations(grid[0])
    paper = any(s.published is not None for s in found.values()) and view.preset.comparable
    _key(figure, *grid[0], more=[_line(label="the paper's best", **_hollow(INK))] if paper else [])
    return figure


def _accuracy_curves(axes: Axes, seeds: Sequence[Measured], label: str, **style: Any) -> None:
    """Accuracy of one entrant in one row, a curve a seed."""
    for i, seed in enumerate(seeds):
        x, y = drawing.series(_log(seed), "scores", "error")
        width = 1.5 if len(seeds) == 1 else 0.9
        axes.plot(*_thin(x, PERCENT * (1 - y)), linewidth=width, label=None if i else label, **style)


def _constant_line(panels: Any, found: Mapping[tuple[str, str], Summary]) -> None:
    """What the best constant answer scores, where all rows share it."""
    levels = {s.values[0] for s in found.values() if s.entrant == CONSTANT}
    if len(levels) != 1:
        return
    (level,) = levels
    for axes in panels:
        axes.axhline(level, color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    panels[-1].annotate(
        CONSTANT, (1, level), xycoords=("axes fraction", "data"), xytext=(-2, 3), textcoords="offset points",
        ha="right", fontsize=8.5, color=MUTED,
    )  # fmt: skip


def _numbers(view: View) -> Figure:
    """A group of lines a row, a line an entrant: the paper's number hollow, ours filled with the range of the seeds."""
    found = [s for s in comparison.summarise(view.entry, view.preset, view.measured) if s.row in view.rows]
    found = [s for s in found if s.seeds or s.published is not None]
    figure, grid = _panels(1, 1, each=0.26 * (len(found) + 0.8 * len(view.rows)) + 0.1, left=1.75, right=2.95)
    axes, y, before = grid[0][0], 0.0, None
    beside = axes.get_yaxis_transform()
    for summary in found:
        if summary.row != before:
            axes.text(
                -0.25,
                y + 0.1,
                row_label(view.entry, summary.row),
                transform=beside,
                fontweight="bold",
                color=INK,
                va="center_baseline",
            )
            before, y = summary.row, y + 0.95
        _number_line(axes, view, summary, y)
        y += 1
    axes.text(PAPER_AT, -0.15, "paper", transform=beside, color=MUTED, fontsize=9, va="center_baseline", ha="right")
    axes.text(OURS_AT, -0.15, "ours", transform=beside, color=MUTED, fontsize=9, va="center_baseline")
    _number_axis(axes, view.entry, found, y)
    several = any(s.seeds > 1 for s in found)
    more = [_line(label="paper", **_hollow(INK)), _dot(INK, label="ours, median" if several else "ours")]
    more += [_line(linestyle="-", linewidth=2.2, alpha=0.5, color=INK, label="all seeds")] * several
    more += [_line(marker=r"$\rightarrow$", markersize=11, color=INK, label="or more: stopped by the budget")] * any(
        s.at_least for s in found
    )
    more += [_line(marker="|", markersize=9, color=INK, label=CONSTANT)] * any(s.entrant == CONSTANT for s in found)
    _key(figure, more=more)
    return figure


def _number_line(axes: Axes, view: View, summary: Summary, y: float) -> None:
    """One row and entrant."""
    constant = summary.entrant == CONSTANT
    colour = FAINT if constant else view.colour(summary.entrant)["color"]
    beside = axes.get_yaxis_transform()
    axes.axhline(y, color=GRID, linewidth=0.7, zorder=0)
    axes.text(-0.02, y, summary.entrant, transform=beside, ha="right", va="center_baseline", fontsize=9.5, color=INK)
    if summary.published is not None:
        axes.plot(summary.published, y, zorder=3, **_hollow(colour))
        paper = comparison.number(summary.published, view.entry.unit)
        axes.text(PAPER_AT, y, paper, transform=beside, va="center_baseline", ha="right", fontsize=9, color=INK)
    ours = comparison.ours_text(summary, view.entry.unit)
    axes.text(
        OURS_AT, y, ours, transform=beside, va="center_baseline", fontsize=9, color=INK if summary.values else MUTED
    )
    if summary.range is not None:
        axes.plot(summary.range, (y, y), color=colour, linewidth=2.2, alpha=0.5, solid_capstyle="round", zorder=2)
    if summary.median is None:
        return
    if constant:
        axes.plot(summary.median, y, marker="|", markersize=9, color=colour, markeredgewidth=1.6)
        return
    axes.plot(summary.median, y, marker="o", markersize=6, color=colour, zorder=4)
    if summary.at_least:
        axes.annotate(
            "→", (summary.median, y), xytext=(5, 0), textcoords="offset points", va="center_baseline", fontsize=13,
            color=colour,
        )  # fmt: skip


def _number_axis(axes: Axes, entry: Entry, found: Sequence[Summary], lines: float) -> None:
    """One horizontal axis that holds all numbers: percent from 0 to 100, iterations logarithmic, lengths from 0."""
    values = [v for s in found for v in (*s.values, s.published) if v is not None]
    drawing.dress(axes)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color=GRID, linewidth=0.7)
    if "%" in entry.unit:
        axes.set_xlim(0, 102)
    elif entry.plan().measure == "iterations" and values and min(values) > 0:
        _log_iterations(axes)
        axes.set_xlim(0.7 * min(values), 1.5 * max(values))
    else:
        axes.set_xlim(0, 1.12 * max([*values, 1]))
    axes.set_ylim(lines - 0.3, -0.5)
    axes.set_yticks([])
    axes.spines[["left"]].set_visible(False)
    axes.set_xlabel(f"{entry.unit} (logarithmic)" if axes.get_xscale() == "log" else entry.unit, color=INK)


FIGURES: dict[str | None, Callable[[View], Figure]] = {
    None: _numbers,
    "norms": _norms,
    "cost": _cost,
    "angle": _angle,
    "layers": _layers,
    "accuracy": _accuracy,
}
"""By the name that an entry's file calls it."""


def _panels(
    rows: int, columns: int, *, each: float, left: float = 0.7, right: float = 0.25, hspace: float = 0.5,
    wspace: float = 0.5, head: float = HEAD, **options: Any
) -> tuple[Figure, Any]:  # fmt: skip
    """A figure with rows of panels, all sizes in inches: the height of a panel, the margins, the gaps."""
    high = head + FOOT + rows * each + (rows - 1) * hspace
    figure = drawing.canvas(WIDTH, high)
    wide = (WIDTH - left - right - (columns - 1) * wspace) / columns  # gaps are counted in parts of a panel
    figure.subplots_adjust(
        left=left / WIDTH, right=1 - right / WIDTH, top=1 - head / high, bottom=FOOT / high, hspace=hspace / each,
        wspace=wspace / wide,
    )  # fmt: skip
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def _used(grid: Any, count: int) -> list[Axes]:
    """The panels that are needed; the others are not shown."""
    for axes in grid.flat[count:]:
        axes.set_visible(False)
    return list(grid.flat[:count])


def _head(figure: Figure, entry: Entry, preset: Preset) -> None:
    """What it is, where it is from, how much of it was computed."""
    inch = 1 / figure.get_figheight()
    what = f"{entry.label}: {entry.title}"
    size = 13 if len(what) < 80 else 11
    figure.text(0.15 / WIDTH, 1 - 0.30 * inch, what, fontsize=size, fontweight="bold", color=INK)
    about = f"{entry.paper}; computed: {preset.about}" if preset.about else entry.paper
    about += "" if preset.comparable else "; not comparable with the paper's numbers"
    figure.text(0.15 / WIDTH, 1 - 0.52 * inch, about, fontsize=9, color=MUTED)


def _key(figure: Figure, *panels: Axes, more: Sequence[Any] = ()) -> None:
    """All names once, below the title."""
    named: dict[str, Any] = {}
    for axes in panels:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            named.setdefault(name, handle)
    named |= {handle.get_label(): handle for handle in more}
    figure.legend(
        named.values(), named.keys(), loc="upper left", ncols=len(named), fontsize=9, frameon=False, labelcolor=INK,
        bbox_to_anchor=(0.15 / WIDTH, 1 - (HEADING + 0.04) / figure.get_figheight()), borderaxespad=0, handlelength=1.6,
        handletextpad=0.5, columnspacing=1.4,
    )  # fmt: skip


def _iterations(panels: Sequence[Axes], words: str = "iteration") -> None:
    for axes in panels:
        axes.set_xlabel(words, color=INK)


def _log_iterations(axes: Axes) -> None:
    """Iterations on a logarithmic axis, as plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _style(i: int) -> dict[str, Any]:
    """The i-th colour; after the last one they begin again with the next dashes."""
    n = len(COLOURS)
    return {"color": COLOURS[i % n], "linestyle": DASHES[i // n % len(DASHES)]}


def _hollow(colour: str) -> dict[str, Any]:
    """How a number of the paper is marked."""
    return {
        "marker": "o", "markersize": 8.5, "markerfacecolor": "none", "markeredgecolor": colour,
        "markeredgewidth": 1.4, "linestyle": "none",
    }  # fmt: skip


def _line(**style: Any) -> Any:
    """An entry of a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], **{"linestyle": "none", **style})


def _dot(colour: str, label: str) -> Any:
    return _line(marker="o", markersize=6, color=colour, label=label)


def _log(measured: Measured) -> list[dict[str, Any]]:
    """The log of the (first) run of a cell."""
    return journal.read_metrics(rundir.Run(measured.runs[0].run).metrics)


def _cost_means(lines: Sequence[Line]) -> tuple[Any, Any]:
    """Iterations and means of the training cost over MEAN_OVER of them; what is left over at the end is left out."""
    x, y = drawing.series(lines, "loss")
    if len(x) < 2:
        return x, y
    step = max(1, round(MEAN_OVER / (x[1] - x[0])))
    whole = len(x) // step * step
    return (x, y) if not whole else (x[step - 1 : whole : step], y[:whole].reshape(-1, step).mean(axis=1))


def _smooth(x: Any, y: Any, parts: int) -> tuple[Any, Any]:
    """Running median over so small a part of the curve."""
    return drawing.running_median(x, y, len(y) // parts)


def _thin(x: Any, y: Any) -> tuple[Any, Any]:
    return drawing.thin(x, y, POINTS)
