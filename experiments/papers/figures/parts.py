"""What the figures of entries are put together from: panels, title and legend, axes, styles, curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments import drawing
from experiments.drawing import COLOURS, DASHES, FAINT, INK, MUTED
from experiments.papers.entry import Entry, Preset
from experiments.papers.measures import Measured
from experiments.run import journal, rundir

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 10.5
"""Inches; all figures are equally wide."""

HEAD, FOOT = 1.15, 0.55
"""Inches above the panels, for title and legend, and below them."""

HEADING = 0.58
"""Inches of the head that title and source take up."""

SMALL = 9.0
"""Points of the letters of a legend."""

LEVEL: dict[str, Any] = {"color": FAINT, "linewidth": 0.9, "linestyle": (0, (4, 3))}
"""How the level is drawn that every curve is to leave behind."""

POINTS = 400
"""Points of a curve at most."""


def panels(
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


def used(grid: Any, count: int) -> list[Axes]:
    """The panels that are needed; the others are not shown."""
    for axes in grid.flat[count:]:
        axes.set_visible(False)
    return list(grid.flat[:count])


def head(figure: Figure, entry: Entry, preset: Preset) -> float:
    """What it is, where it is from, how much of it was computed; inches that this needs above the figure."""
    inch, left = 1 / figure.get_figheight(), 0.15
    what = f"{entry.label}: {entry.title}"
    about = f"{entry.paper}; computed: {preset.about}" if preset.about else entry.paper
    about += "" if preset.comparable else "; not comparable with the paper's numbers"
    room = 72 * (WIDTH - 2 * left)
    title = next((size for size in (13.0, 12.0, 11.0) if _width(what, size, bold=True) <= room), 10.0)
    size, lines = _fitting(about, room)
    step = 1.22 * size / 72
    top = HEADING - 0.06 - (len(lines) - 1) * step
    figure.text(left / WIDTH, 1 - (top - 0.22) * inch, what, fontsize=title, fontweight="bold", color=INK)
    for number, line in enumerate(lines):
        figure.text(left / WIDTH, 1 - (top + number * step) * inch, line, fontsize=size, color=MUTED)
    return (len(lines) - 1) * step


def _fitting(text: str, room: float) -> tuple[float, list[str]]:
    """The size at which a text takes few lines, two where it can, and these lines; no line is wider than the room."""
    for size, most in ((9.0, 1), (8.5, 2), (7.5, 2), (7.0, 3)):
        lines = wrapped(text, size, room)
        if len(lines) <= most:
            break
    return size, lines


def wrapped(text: str, size: float, room: float) -> list[str]:
    """Lines of a text no wider than so many points."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and _width(longer, size) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _width(text: str, size: float, bold: bool = False) -> float:
    """Points that a text takes up."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    properties = FontProperties(weight="bold" if bold else "normal")
    return float(TextPath((0, 0), text.replace("$", r"\$"), size=size, prop=properties).get_extents().x1)


def key(figure: Figure, *panels: Axes, more: Sequence[Any] = ()) -> None:
    """All names once, below the title; in two lines where they do not fit into one, for which the figure grows."""
    named: dict[str, Any] = {}
    for axes in panels:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            named.setdefault(name, handle)
    named |= {handle.get_label(): handle for handle in more}
    wide = sum(_width(name, SMALL) + (1.6 + 0.5 + 1.4) * SMALL for name in named)
    lines = 1 if wide <= 72 * (WIDTH - 0.3) else 2
    _grow(figure, (lines - 1) * 1.4 * SMALL / 72)
    figure.legend(
        named.values(), named.keys(), loc="upper left", ncols=-(-len(named) // lines), fontsize=SMALL, frameon=False,
        labelcolor=INK, bbox_to_anchor=(0.15 / WIDTH, 1 - (HEADING + 0.04) / figure.get_figheight()), borderaxespad=0,
        handlelength=1.6, handletextpad=0.5, columnspacing=1.4, labelspacing=0.25,
    )  # fmt: skip


def _grow(figure: Figure, more: float) -> None:
    """So many inches more above the panels, which stay as they are."""
    high, to = figure.get_figheight(), figure.subplotpars
    figure.set_figheight(high + more)
    figure.subplots_adjust(top=to.top * high / (high + more), bottom=to.bottom * high / (high + more))


def iterations(panels: Sequence[Axes], words: str = "iteration") -> None:
    for axes in panels:
        axes.set_xlabel(words, color=INK)


def log_iterations(axes: Axes) -> None:
    """Iterations on a logarithmic axis, as plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def cost_curve(axes: Axes, x: Any, y: Any, **style: Any) -> None:
    axes.plot(*thin(x, y), **{"linewidth": 1.3, **style})


def style(i: int) -> dict[str, Any]:
    """The i-th colour; after the last one they begin again with the next dashes."""
    n = len(COLOURS)
    return {"color": COLOURS[i % n], "linestyle": DASHES[i // n % len(DASHES)]}


def hollow(colour: str) -> dict[str, Any]:
    """How a number of the paper is marked."""
    return {
        "marker": "o", "markersize": 8.5, "markerfacecolor": "none", "markeredgecolor": colour,
        "markeredgewidth": 1.4, "linestyle": "none",
    }  # fmt: skip


def line(**style: Any) -> Any:
    """An entry of a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], **{"linestyle": "none", **style})


def dot(colour: str, label: str) -> Any:
    return line(marker="o", markersize=6, color=colour, label=label)


def log(measured: Measured) -> list[dict[str, Any]]:
    """The log of the (first) run of a cell."""
    return journal.read_metrics(rundir.Run(measured.runs[0].run).metrics)


def thin(x: Any, y: Any) -> tuple[Any, Any]:
    return drawing.thin(x, y, POINTS)
