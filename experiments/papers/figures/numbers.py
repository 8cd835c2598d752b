"""Our numbers as dots beside the paper's."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from experiments import drawing
from experiments.drawing import FAINT, GRID, INK, MUTED
from experiments.papers import comparison
from experiments.papers.comparison import CONSTANT, Summary
from experiments.papers.entry import Entry
from experiments.papers.figures import parts
from experiments.papers.figures.view import View, row_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAPER_AT, OURS_AT = 1.105, 1.13
"""Where the numbers stand beside the dots, in parts of the panel."""


def dots(view: View) -> Figure:
    """A group of lines a row, a line an entrant: the paper's number hollow, ours filled with the range of the seeds."""
    found = [s for s in comparison.summarise(view.entry, view.preset, view.measured) if s.row in view.rows]
    if not view.preset.comparable:
        found = [replace(s, published=None, order="") for s in found]
    paper = any(s.published is not None for s in found)
    column = paper or any(s.order for s in found)
    figure, grid = parts.panels(1, 1, each=0.26 * (len(found) + 0.8 * len(view.rows)) + 0.1, left=1.75, right=2.95)
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
        _line(axes, view, summary, y)
        y += 1
    if column:
        axes.text(PAPER_AT, -0.15, "paper", transform=beside, color=MUTED, fontsize=9, va="center_baseline", ha="right")
    axes.text(OURS_AT, -0.15, "ours", transform=beside, color=MUTED, fontsize=9, va="center_baseline")
    _axis(axes, view.entry, found, y)
    several = any(s.seeds > 1 for s in found)
    more = [parts.line(label="paper", **parts.hollow(INK))] if paper else []
    more.append(parts.dot(INK, label="ours, median" if several else "ours"))
    if several:
        more.append(parts.line(linestyle="-", linewidth=2.2, alpha=0.5, color=INK, label="all seeds"))
    if any(s.at_least for s in found):
        more.append(
            parts.line(marker=r"$\rightarrow$", markersize=11, color=INK, label="or more: stopped by the budget")
        )
    if any(s.entrant == CONSTANT for s in found):
        more.append(parts.line(marker="|", markersize=9, color=INK, label=CONSTANT))
    parts.key(figure, more=more)
    return figure


def along(view: View) -> Figure:
    """Medians and ranges over the number that names a row, `name = number`; a line all along where that is 0."""
    found = [s for s in comparison.summarise(view.entry, view.preset, view.measured) if s.values]
    figure, grid = parts.panels(1, 1, each=3.2)
    axes, name = grid[0][0], view.rows[0].partition(" = ")[0]
    for entrant in view.entrants:
        style = view.colour(entrant)
        ours = {float(s.row.partition(" = ")[2]): s.values for s in found if s.entrant == entrant}
        if control := ours.pop(0.0, None):
            axes.axhline(statistics.median(control), linewidth=1.4, label=f"{entrant} ({name} = 0)", **style)
            axes.axhspan(min(control), max(control), color=style["color"], alpha=0.15, linewidth=0)
        if ours:
            x = sorted(ours)
            middle = [statistics.median(ours[at]) for at in x]
            axes.plot(x, middle, marker="o", markersize=6, linewidth=1.2, label=entrant, **style)
            axes.vlines(x, [min(ours[at]) for at in x], [max(ours[at]) for at in x], linewidth=2.2, alpha=0.5, **style)
    drawing.log_scale(axes, np.array([value for s in found for value in s.values]))
    drawing.dress(axes)
    numbers = sorted({float(row.partition(" = ")[2]) for row in view.rows} - {0.0})
    if numbers:
        axes.set_xscale("log")
        axes.set_xticks(numbers, [f"{number:g}" for number in numbers])
        axes.set_xticks([], minor=True)
    axes.set_ylabel(view.entry.unit, color=INK)
    axes.set_xlabel(f"{name} (logarithmic)", color=INK)
    parts.key(figure, axes)
    return figure


def _line(axes: Axes, view: View, summary: Summary, y: float) -> None:
    """One row and entrant."""
    constant = summary.entrant == CONSTANT
    colour = FAINT if constant else view.colour(summary.entrant)["color"]
    beside = axes.get_yaxis_transform()
    axes.axhline(y, color=GRID, linewidth=0.7, zorder=0)
    axes.text(-0.02, y, summary.entrant, transform=beside, ha="right", va="center_baseline", fontsize=9.5, color=INK)
    if summary.published is not None:
        axes.plot(summary.published, y, zorder=3, **parts.hollow(colour))
    if summary.published is not None or summary.order:
        paper = comparison.paper_text(summary, view.entry.unit)
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


def _axis(axes: Axes, entry: Entry, found: Sequence[Summary], lines: float) -> None:
    """One horizontal axis that holds all numbers: percent from 0 to 100, iterations logarithmic, lengths from 0,
    perplexities no wider than they lie apart.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    values = [v for s in found for v in (*s.values, s.published) if v is not None]
    drawing.dress(axes)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color=GRID, linewidth=0.7)
    if "%" in entry.unit:
        axes.set_xlim(0, 102)
    elif entry.plan().measure == "iterations" and values and min(values) > 0:
        parts.log_iterations(axes)
        axes.set_xlim(0.7 * min(values), 1.5 * max(values))
    elif entry.unit == "ppl" and values:
        if entry.plan().measure == "change":
            values.append(0.0)
            axes.axvline(0, color=FAINT, linewidth=0.9, zorder=1)
        apart = max(values) - min(values) or 1.0
        axes.set_xlim(min(values) - 0.12 * apart, max(values) + 0.12 * apart)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axes.set_xlim(0, 1.12 * max([*values, 1]))
    axes.set_ylim(lines - 0.3, -0.5)
    axes.set_yticks([])
    axes.spines[["left"]].set_visible(False)
    axes.set_xlabel(f"{entry.unit} (logarithmic)" if axes.get_xscale() == "log" else entry.unit, color=INK)
