"""The figure of a run, in the manner of the TPTT paper: cost, error, gradients and spectral radii over iterations."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments import files
from experiments.journal import read_metrics
from experiments.rundir import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#000000")
"""Okabe and Ito's, which colour-blind readers tell apart; without the yellow, which is faint on white."""

DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)))
"""Where there are more names than colours, the next style begins."""

INK, FAINT = "#333333", "#8A8A8A"

Line = Mapping[str, Any]


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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), dpi=130, facecolor="white")
    FigureCanvasAgg(figure)
    grid: Any = figure.subplots(2, 2, sharex=True)
    figure.subplots_adjust(left=0.06, right=0.945, top=0.855, bottom=0.075, hspace=0.24, wspace=0.15)
    (cost, error), (gradients, radii) = grid
    colours = _colours(lines)
    _cost(cost, lines)
    _error(error, lines, caption)
    _named(gradients, lines, "grad_norms", "gradient norm", colours, log=True)
    _named(radii, lines, "spectral_radius", "spectral radius", colours)
    radii.axhline(1, color=FAINT, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
    for axes in grid.flat:
        _dress(axes)
    for axes in grid[1]:
        axes.set_xlabel("iteration", color=INK)
    figure.text(0.06, 0.955, caption.title, fontsize=14, fontweight="bold", color=INK)
    figure.text(0.06, 0.92, caption.outcome, fontsize=10.5, color=INK)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _series(lines: Sequence[Line], *keys: str) -> tuple[Any, Any]:
    """Iterations and values of one number in the log, where it stands; null is NaN."""
    x, y = [], []
    for line in lines:
        value: Any = line
        for key in keys:
            value = value.get(key, _MISSING) if isinstance(value, Mapping) else _MISSING
        if value is not _MISSING:
            x.append(line["iteration"])
            y.append(np.nan if value is None else value)
    return np.array(x, float), np.array(y, float)


_MISSING = object()


def _names(lines: Sequence[Line], key: str) -> list[str]:
    """Names below a key of the log, in the order in which they appear."""
    return list(dict.fromkeys(name for line in lines for name in line.get(key, ())))


def _colours(lines: Sequence[Line]) -> dict[str, dict[str, Any]]:
    """Colour and dashes of every parameter, the same in all panels; recurrent matrices first."""
    names = _names(lines, "spectral_radius")
    names += [name for name in _names(lines, "grad_norms") if name not in names]
    n = len(COLOURS)
    return {name: {"color": COLOURS[i % n], "linestyle": DASHES[i // n % len(DASHES)]} for i, name in enumerate(names)}


def _cost(axes: Axes, lines: Sequence[Line]) -> None:
    """Training cost; of many points also their running median."""
    x, y = _series(lines, "loss")
    axes.set_title("training cost", **_TITLE)
    middle_x, middle_y = _running_median(x, y, len(y) // 40)
    if len(middle_y) < len(y):
        axes.plot(x, y, color=COLOURS[0], linewidth=0.6, alpha=0.35)
    _plot(axes, middle_x, middle_y, color=COLOURS[0])
    _log_scale(axes, y)


def _running_median(x: Any, y: Any, width: int) -> tuple[Any, Any]:
    """Median of `width` neighbours, at the middle of their places; the curve itself where that smoothes nothing."""
    if width < 3:
        return x, y
    windows = np.lib.stride_tricks.sliding_window_view(y, width)
    first = (width - 1) // 2
    return x[first : first + len(windows)], np.median(windows, axis=1)


def _error(axes: Axes, lines: Sequence[Line], caption: Caption) -> None:
    """Validation scores with their chance levels."""
    names = _names(lines, "scores")
    beside = axes.get_yaxis_transform()  # x in parts of the panel, y in numbers of the axis
    axes.set_title("validation error", **_TITLE)
    for i, name in enumerate(names):
        style: dict[str, Any] = {"color": COLOURS[1 + i % (len(COLOURS) - 1)]}
        x, y = _series(lines, "scores", name)
        _plot(axes, x, y, label=_label(name), **style)
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
        _legend(axes, len(names))


def _named(
    axes: Axes, lines: Sequence[Line], key: str, title: str, styles: Mapping[str, Mapping[str, Any]], log: bool = False
) -> None:
    """One curve for every name below a key of the log; of very many points their running median."""
    axes.set_title(title, **_TITLE)
    names, values = _names(lines, key), [np.empty(0)]
    for name in names:
        x, y = _series(lines, key, name)
        _plot(axes, *_running_median(x, y, len(y) // 100), label=_label(name), **styles[name])
        values.append(y)
    if log:
        _log_scale(axes, np.concatenate(values))
    if names:
        _legend(axes, len(names))
    else:
        axes.text(0.5, 0.5, "none to show", transform=axes.transAxes, ha="center", va="center", color=FAINT)


def _plot(axes: Axes, x: Any, y: Any, **style: Any) -> None:
    """A curve; few points are marked, or one could not see them."""
    few = np.isfinite(y).sum() <= 25
    axes.plot(x, y, linewidth=1.5 if few else 1.2, marker="o" if few else None, markersize=4, **style)


def _log_scale(axes: Axes, values: Any) -> None:
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
            side(FuncFormatter(lambda value, _: _round_number(value)))


def _round_number(value: float) -> str:
    """1, 2, 3 and 5 times a power of ten as plain numbers, nothing for the ticks between."""
    digit = round(value / 10 ** math.floor(math.log10(value)), 6)
    return f"{value:g}" if digit in (1, 2, 3, 5) else ""


def _label(name: str) -> str:
    """A name as the papers set it: layer0/W_hh as W with index hh and the layer above it."""
    layer, _, symbol = name.rpartition("/")
    head, _, index = symbol.partition("_")
    if len(head) == 1 and index.isalnum():
        above = f"^{{({layer.removeprefix('layer')})}}" if layer else ""
        return f"${head}_{{{index}}}{above}$"
    return f"{symbol} {layer}".strip().replace("_", " ")


_TITLE: dict[str, Any] = {"loc": "left", "fontsize": 11, "color": INK, "pad": 6}


def _legend(axes: Axes, count: int) -> None:
    """Names above the panel, out of the curves' way, seven or fewer a row."""
    rows = -(-count // len(COLOURS))
    axes.legend(
        loc="lower right", bbox_to_anchor=(1, 0.99), ncols=-(-count // rows), fontsize=9 if rows < 3 else 7,
        frameon=False, handlelength=1.1, handletextpad=0.4, columnspacing=0.9, labelspacing=0.2, borderaxespad=0,
    )  # fmt: skip


def _dress(axes: Axes) -> None:
    """Quiet frame, light grid, thousands set apart."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9, which="both", color=FAINT)
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
