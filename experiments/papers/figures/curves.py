"""Curves over iterations, passes or tokens: norms, training cost, errors, accuracy, perplexity."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.task import Finite, Windowed
from experiments import drawing
from experiments.drawing import FAINT, INK, TITLE, Line
from experiments.papers import comparison
from experiments.papers.comparison import CONSTANT
from experiments.papers.figures import parts
from experiments.papers.figures.view import View, row_label
from experiments.papers.measures import PERCENT, Measured
from minigrad.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEAN_OVER = 100
"""Iterations that a point of a training cost is the mean of, as in the paper."""

MANY = 1_000
"""Passes that the iterations of one are the mean of."""

FAR_APART = 5
"""Where the longest run takes so many times the iterations of the shortest, the axis of iterations is logarithmic."""


def norms(view: View) -> Figure:
    """A row an entrant: gradient norms, spectral radius of W_hh, cost; of the first seed."""
    figure, grid = parts.panels(len(view.pairs), 3, each=1.75, left=1.0, hspace=0.42, wspace=0.6)
    logs = [parts.log(view.seeds(*pair)[0]) for pair in view.pairs]
    names = list(dict.fromkeys(name for lines in logs for name in drawing.names(lines, "grad_norms")))
    for (row, entrant), lines, (gradients, radius, cost) in zip(view.pairs, logs, grid, strict=True):
        for i, name in enumerate(names):
            x, y = drawing.series(lines, "grad_norms", name)
            gradients.plot(*parts.thin(*_smooth(x, y, 150)), linewidth=1.1, label=drawing.label(name), **parts.style(i))
        drawing.log_scale(gradients, np.array([v for line in gradients.lines for v in line.get_ydata()], float))
        radius.plot(*parts.thin(*drawing.series(lines, "spectral_radius", "W_hh")), linewidth=1.3, color=INK)
        radius.axhline(1, color=FAINT, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
        radius.ticklabel_format(axis="y", useOffset=False)
        parts.cost_curve(cost, *_cost_means(lines), color=INK)
        drawing.log_scale(cost, cost.lines[0].get_ydata())
        gradients.set_ylabel(
            entrant if len(view.rows) == 1 else f"{row}, {entrant}", fontweight="bold", labelpad=8, color=INK
        )
        for axes in (gradients, radius, cost):
            drawing.dress(axes, ticks=4)
            axes.set_xlim(0, 1.02 * lines[-1]["iteration"])
    for axes, title in zip(grid[0], ("gradient norms", "spectral radius of $W_{hh}$", "training cost"), strict=True):
        axes.set_title(title, **TITLE)
    parts.iterations(grid[-1])
    parts.key(figure, grid[0][0])
    return figure


def cost(view: View) -> Figure:
    """A panel a row, a colour an entrant: thin lines the seeds, the bold one their median as far as all of them go."""
    columns = min(2, len(view.rows))
    figure, grid = parts.panels(-(-len(view.rows) // columns), columns, each=2.6, hspace=0.65, wspace=0.6)
    panels = parts.used(grid, len(view.rows))
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
            parts.log_iterations(axes)
    parts.iterations(panels[-columns:], "iteration (logarithmic)" if log_axis else "iteration")
    for axes in grid[:, 0]:
        axes.set_ylabel("training cost", color=INK)
    parts.key(figure, *panels, more=[parts.dot(INK, label="solved")] * any(run.solved for run in runs))
    return figure


def _cost_of_seeds(axes: Axes, seeds: Sequence[Measured], label: str, **style: Any) -> None:
    """The training cost of one entrant in one row."""
    curves = [_cost_means(parts.log(seed)) for seed in seeds]
    alone = len(curves) == 1
    for (x, y), seed in zip(curves, seeds, strict=True):
        parts.cost_curve(axes, x, y, linewidth=1.5 if alone else 0.7, alpha=1 if alone else 0.55, **style)
        if seed.runs[0].solved and len(x):
            axes.plot(x[-1:], y[-1:], "o", markersize=4.5, color=style["color"], zorder=3)
    shortest = min(len(x) for x, _ in curves)
    if not alone and shortest:
        middle = np.median([y[:shortest] for _, y in curves], axis=0)
        parts.cost_curve(axes, curves[0][0][:shortest], middle, linewidth=1.9, **style)
    axes.plot([], [], linewidth=1.9, label=label, **style)


def errors(view: View) -> Figure:
    """Error of the checks over iterations; a dot where the task was solved, a line at the best constant answer."""
    first = view.seeds(*view.pairs[0])[0]
    _, task = first.told()
    name, level = next(iter(task.chance.items()))

    def curve(row: str, seed: Measured) -> tuple[Any, Any]:
        x, y = drawing.series(parts.log(seed), "error")
        return x[1:], y[1:]  # without that of the untrained network

    words = {"mse": "mean squared error"}.get(name, "error")
    return _checks(view, curve, lambda row: words, "iteration", level)


def perplexity(view: View) -> Figure:
    """Perplexity of the checks over the tokens that were read; bits where the table has bits."""
    ends = [x[-1] for pair in view.pairs for seed in view.seeds(*pair) if len(x := _nats_over_tokens(seed)[0])]
    size, name = _unit(max(ends, default=0.0))
    bits = {row: any(view.options(*pair).get("bits") for pair in view.pairs if pair[0] == row) for row in view.rows}

    def curve(row: str, seed: Measured) -> tuple[Any, Any]:
        x, nll = _nats_over_tokens(seed)
        return x / size, nll / math.log(2) if bits[row] else np.exp(nll)

    return _checks(view, curve, lambda row: "bits a character" if bits[row] else "perplexity", f"tokens read{name}")


def _checks(
    view: View,
    curve: Callable[[str, Measured], tuple[Any, Any]],
    of: Callable[[str], str],
    over: str,
    level: float | None = None,
) -> Figure:
    """A panel a row, a colour an entrant, a curve a seed, on a logarithmic axis; a dot where the task was solved.

    Args:
        view: what there is.
        curve: of a row and a seed.
        of: what a row's curves are of.
        over: what the other axis counts.
        level: that of the best constant answer, for a line.
    """
    columns = min(3, len(view.rows))
    alike = len({of(row) for row in view.rows}) == 1
    figure, grid = parts.panels(
        -(-len(view.rows) // columns), columns, each=2.6, hspace=0.65, wspace=0.45 if alike else 0.7
    )
    panels = parts.used(grid, len(view.rows))
    for row, axes in zip(view.rows, panels, strict=True):
        axes.set_title(row_label(view.entry, row), **TITLE)
        for entrant in (entrant for r, entrant in view.pairs if r == row):
            style = view.colour(entrant)
            for i, seed in enumerate(view.seeds(row, entrant)):
                x, y = curve(row, seed)
                axes.plot(*parts.thin(x, y), linewidth=1.4, label=None if i else entrant, **style)
                if seed.runs[0].solved:
                    axes.plot(x[-1:], y[-1:], "o", markersize=4.5, color=style["color"], zorder=3)
        drawing.log_scale(axes, np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines]))
        drawing.dress(axes)
        if level is not None:
            axes.axhline(level, zorder=2.5, **parts.LEVEL)
        if not alike or axes in grid[:, 0]:
            axes.set_ylabel(of(row), color=INK)
    parts.iterations(panels[-columns:], over)
    solved = any(seed.runs[0].solved for pair in view.pairs for seed in view.seeds(*pair))
    more = [parts.dot(INK, label="solved")] * solved
    if level is not None:
        more.append(parts.line(label=f"{CONSTANT}: {level:.3g}", **parts.LEVEL))
    parts.key(figure, *panels, more=more)
    return figure


def accuracy(view: View) -> Figure:
    """Accuracy of the checks over passes through the data: a panel a row, a colour an entrant, a curve a seed."""
    columns = min(3, len(view.rows))
    figure, grid = parts.panels(
        -(-len(view.rows) // columns), columns, each=3.4 if columns == 1 else 2.6, hspace=0.65, wspace=0.35,
        sharey=True, left=0.75, right=0.5,
    )  # fmt: skip
    panels = parts.used(grid, len(view.rows))
    found = {(s.row, s.entrant): s for s in comparison.summarise(view.entry, view.preset, view.measured)}
    along, over = _progress(view)
    paper = False
    for row, axes in zip(view.rows, panels, strict=True):
        axes.set_title(row_label(view.entry, row), **TITLE)
        for entrant in (entrant for r, entrant in view.pairs if r == row):
            style, published = view.colour(entrant), found[row, entrant].published
            control = view.is_control(entrant)
            _accuracy_curves(axes, view.seeds(row, entrant), along, entrant, control, **style)
            if published is not None and view.preset.comparable:
                mark, paper = parts.hollow(style["color"]), True
                axes.plot(1.02, published, transform=axes.get_yaxis_transform(), clip_on=False, **mark)
        axes.axhline(found[row, CONSTANT].values[0], zorder=1, **parts.LEVEL)
        drawing.dress(axes)
    for axes in grid[:, 0]:
        axes.set_ylabel("accuracy (%)", color=INK)
    parts.iterations(panels[-columns:], over)
    more = [parts.line(label="the paper's best", **parts.hollow(INK))] if paper else []
    parts.key(figure, *panels, more=[*more, parts.line(label=CONSTANT, **parts.LEVEL)])
    return figure


def _accuracy_curves(
    axes: Axes, seeds: Sequence[Measured], along: Along, label: str, control: bool, **style: Any
) -> None:
    """Accuracy of one entrant in one row, a curve a seed; those of controls are thin, or they would hide the same."""
    for i, seed in enumerate(seeds):
        x, y = drawing.series(parts.log(seed), "scores", "error")
        width = 1.0 if control else 2.5
        axes.plot(*parts.thin(along(seed, x), PERCENT * (1 - y)), linewidth=width, label=None if i else label, **style)


Along = Callable[[Measured, Any], Any]
"""Where iterations of a run lie on an axis."""


def _progress(view: View) -> tuple[Along, str]:
    """An axis on which runs with batches of different sizes have read as much: passes; iterations where there are none.

    Those of data without an end, and where data of a run cannot be read any more.
    """
    each = {seed.runs[0].run: _of_a_pass(seed) for pair in view.pairs for seed in view.seeds(*pair)}
    known = {run: batches for run, batches in each.items() if batches is not None}
    if len(known) < len(each):
        return lambda seed, iterations: iterations, "iteration"
    return lambda seed, iterations: iterations / known[seed.runs[0].run], "passes through the training data"


def _of_a_pass(seed: Measured) -> float | None:
    """Iterations of a pass, the mean of many: one may end within a batch."""
    settings, task = seed.told()
    with suppress(InputError):
        if isinstance(task, Finite):
            return task.batches_of(settings.seed, MANY, settings.batch_size) / MANY
    return None


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


def _nats_over_tokens(seed: Measured) -> tuple[Any, Any]:
    """Tokens, and nats a token in the checks but that of the untrained network."""
    x, nll = drawing.series(parts.log(seed), "scores", "nll")
    after = x > 0
    return _tokens(seed, x[after]), nll[after]


def _tokens(seed: Measured, iterations: Any) -> Any:
    """Tokens that a run had read after some iterations; about so many where they cannot be known without the text."""
    settings, task = seed.told()
    with suppress(InputError):
        if isinstance(task, Windowed):
            return np.array([task.tokens_read(settings.seed, int(n), settings.batch_size) for n in iterations], float)
    return iterations * settings.length * settings.batch_size


def _unit(furthest: float) -> tuple[float, str]:
    """What numbers up to this one are counted in, and its name for an axis; the axis has whole numbers only."""
    for size, name in ((1e6, " (millions)"), (1e3, " (thousands)")):
        if furthest >= 4 * size:
            return size, name
    return 1.0, ""
