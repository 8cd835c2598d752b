"""The figure of an entry: as the paper draws it where it draws one, otherwise its numbers as dots beside the paper's.

The paper's numbers are always hollow, ours filled. Curves are read from the logs of the runs that were measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

from experiments import drawing
from experiments.papers.entry import Cell, Entry, Preset
from experiments.papers.figures import curves, numbers, parts, pictures
from experiments.papers.figures.view import View, row_label
from experiments.papers.measures import Measured
from minigrad.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "Form", "View", "draw", "row_label"]

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
    without = -parts.head(figure, entry, preset) if heading else parts.HEADING
    return drawing.png(figure, without) if form == "png" else drawing.svg(figure, entry.id, without)


FIGURES: dict[str | None, Callable[[View], Figure]] = {
    None: numbers.dots,
    "along": numbers.along,
    "norms": curves.norms,
    "cost": curves.cost,
    "angle": pictures.angle,
    "layers": pictures.layers,
    "accuracy": curves.accuracy,
    "perplexity": curves.perplexity,
    "errors": curves.errors,
}
"""By the name that an entry's file calls it."""
