"""What all figures share: colours, the dress of a panel, and curves from the lines of a log."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments import files

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#000000")
"""Okabe and Ito's, which colour-blind readers tell apart; without the yellow, which is faint on white."""

DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)))
"""Where there are more names than colours, the next style begins."""

INK, MUTED, FAINT, GRID = "#333333", "#6B6B6B", "#8A8A8A", "#E6E6E6"
"""Text, lesser text, lines that stand back, and the grid."""

HUGE = 1e150
"""Numbers beyond it overflow in the arithmetic of axes."""

Line = Mapping[str, Any]


def canvas(width: float, height: float) -> Figure:
    """An empty figure of so many inches, without the global state of pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=130, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure, without: float = 0) -> bytes:
    """The figure as PNG, without so many inches at its top, or with more; nothing tells when or by what it was made."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None}, bbox_inches=_part(figure, without))
    return buffer.getvalue()


def svg(figure: Figure, salt: str, without: float = 0) -> bytes:
    """The figure as SVG with its text as text; the same for the same figure and salt, which goes into its ids."""
    from matplotlib import rc_context

    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=nothing, bbox_inches=_part(figure, without))
    return buffer.getvalue()


def kept(make: Callable[[], bytes], path: Path) -> Path | None:
    """Draw a figure into a file; where matplotlib is missing, say so on standard error and go on without.

    Args:
        make: draws it.
        path: the file; its folder is made.

    Returns:
        the file, None where there is none.
    """
    try:
        data = make()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        print("no figure: it needs matplotlib, pip install '.[lab]'", file=sys.stderr)
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomic(path, data)
    return path


def _part(figure: Figure, without: float) -> Any:
    """All of a figure but so many inches at its top; less than none is a margin above it."""
    from matplotlib.transforms import Bbox

    width, height = figure.get_size_inches()
    return Bbox([[0, 0], [width, height - without]]) if without else None


_MISSING = object()


def series(lines: Sequence[Line], *keys: str) -> tuple[Any, Any]:
    """Iterations and values of one number in the log, where it stands; NaN for null and for what no axis can hold."""
    x, y = [], []
    for line in lines:
        value: Any = line
        for key in keys:
            value = value.get(key, _MISSING) if isinstance(value, Mapping) else _MISSING
        if value is not _MISSING:
            x.append(line["iteration"])
            y.append(np.nan if value is None else value)
    values = np.array(y, float)
    values[np.abs(values) > HUGE] = np.nan
    values[np.abs(values) < 1 / HUGE] = 0
    return np.array(x, float), values


def names(lines: Sequence[Line], key: str) -> list[str]:
    """Names below a key of the log, in the order in which they appear."""
    return list(dict.fromkeys(name for line in lines for name in line.get(key, ())))


def running_median(x: Any, y: Any, width: int) -> tuple[Any, Any]:
    """Median of `width` neighbours, at the middle of their places; the curve itself where that smoothes nothing."""
    if width < 3:
        return x, y
    windows = np.lib.stride_tricks.sliding_window_view(y, width)
    first = (width - 1) // 2
    return x[first : first + len(windows)], np.median(windows, axis=1)


def thin(x: Any, y: Any, most: int) -> tuple[Any, Any]:
    """A curve of about so many points at most: medians of neighbours, and the last point as it is."""
    step = -(-len(x) // most)
    if step <= 1:
        return x, y
    whole = len(x) // step * step
    places, values = x[:whole].reshape(-1, step).mean(axis=1), np.median(y[:whole].reshape(-1, step), axis=1)
    return np.append(places, x[-1]), np.append(values, y[-1])


def plot(axes: Axes, x: Any, y: Any, **style: Any) -> None:
    """A curve; few points are marked, or one could not see them."""
    few = np.isfinite(y).sum() <= 25
    axes.plot(x, y, linewidth=1.5 if few else 1.2, marker="o" if few else None, markersize=4, **style)


def log_scale(axes: Axes, values: Any) -> None:
    """A logarithmic axis, if what is positive spans enough for one; plain numbers on it if it does not span much."""
    from matplotlib.ticker import FuncFormatter

    positive = values[values > 0]
    if not len(positive):
        return
    low, high = positive.min(), positive.max()
    if high < 2 * low:  # noise around one value should look like it
        axes.set_ylim(0.7 * low, 1.3 * high)
        return
    axes.set_yscale("log", nonpositive="mask")
    if high < 100 * low:
        for side in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            side(FuncFormatter(lambda value, _: round_number(value)))


def round_number(value: float) -> str:
    """1, 2, 3 and 5 times a power of ten as plain numbers, nothing for the ticks between."""
    digit = round(value / 10 ** math.floor(math.log10(value)), 6)
    return f"{value:g}" if digit in (1, 2, 3, 5) else ""


def label(name: str) -> str:
    """A name as the papers set it: layer0/W_hh as W with index hh and the layer above it."""
    layer, _, symbol = name.rpartition("/")
    head, _, index = symbol.partition("_")
    if len(head) == 1 and index.isalnum():
        above = f"^{{({layer.removeprefix('layer')})}}" if layer else ""
        return f"${head}_{{{index}}}{above}$"
    return f"{symbol} {layer}".strip().replace("_", " ")


TITLE: dict[str, Any] = {"loc": "left", "fontsize": 11, "color": INK, "pad": 6}


def legend(axes: Axes, count: int) -> None:
    """Names above the panel, out of the curves' way, seven or fewer a row."""
    rows = -(-count // len(COLOURS))
    axes.legend(
        loc="lower right", bbox_to_anchor=(1, 0.99), ncols=-(-count // rows), fontsize=9 if rows < 3 else 7,
        frameon=False, handlelength=1.1, handletextpad=0.4, columnspacing=0.9, labelspacing=0.2, borderaxespad=0,
    )  # fmt: skip


def dress(axes: Axes, ticks: int = 6) -> None:
    """Quiet frame, light grid, thousands set apart; about so many marks on the axis of iterations."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9, which="both", color=FAINT)
    axes.grid(axis="y", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(ticks, integer=True, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
