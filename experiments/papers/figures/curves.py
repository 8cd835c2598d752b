"""Curves over iterations: norms, training cost, accuracy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.task import Windowed
from experiments import build, drawing, record, rundir
from experiments.drawing import COLOURS, DASHES, FAINT, INK, MUTED, TITLE, Line
from experiments.papers import comparison
from experiments.papers.comparison import CONSTANT, Summary
from experiments.papers.figures import parts
from experiments.papers.figures.view import View, row_label
from experiments.papers.measures import PERCENT, Measured
from experiments.settings import Settings
from minigrad.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEAN_OVER = 100
"""Iterations that a point of a training cost is the mean of, as in the paper."""

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
    """Error of the checks over iterations; a dot where the task was solved."""

    def curve(seed: Measured) -> tuple[Any, Any]:
        x, y = drawing.series(parts.log(seed), "error")
        return x[1:], y[1:]  # without that of the untrained network

    return _checks(view, curve, "error", "iteration")


def perplexity(view: View) -> Figure:
    """Perplexity of the checks over the tokens that were read."""
    ends = [x[-1] for pair in view.pairs for seed in view.seeds(*pair) if len(x := _perplexity_over_tokens(seed)[0])]
    size, name = _unit(max(ends, default=0.0))

    def curve(seed: Measured) -> tuple[Any, Any]:
        x, y = _perplexity_over_tokens(seed)
        return x / size, y

    return _checks(view, curve, "perplexity", f"tokens read{name}")


def _checks(view: View, curve: Callable[[Measured], tuple[Any, Any]], of: str, over: str) -> Figure:
    """A panel a row, a colour an entrant, a curve a seed, on a logarithmic axis; a dot where the task was solved."""
    columns = min(3, len(view.rows))
    figure, grid = parts.panels(-(-len(view.rows) // columns), columns, each=2.6, hspace=0.65, wspace=0.45)
    panels = parts.used(grid, len(view.rows))
    for row, axes in zip(view.rows, panels, strict=True):
        axes.set_title(row_label(view.entry, row), **TITLE)
        for entrant in (entrant for r, entrant in view.pairs if r == row):
            style = view.colour(entrant)
            for i, seed in enumerate(view.seeds(row, entrant)):
                x, y = curve(seed)
                axes.plot(*parts.thin(x, y), linewidth=1.4, label=None if i else entrant, **style)
                if seed.runs[0].solved:
                    axes.plot(x[-1:], y[-1:], "o", markersize=4.5, color=style["color"], zorder=3)
        drawing.log_scale(axes, np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines]))
        drawing.dress(axes)
    parts.iterations(panels[-columns:], over)
    for axes in grid[:, 0]:
        axes.set_ylabel(of, color=INK)
    solved = any(seed.runs[0].solved for pair in view.pairs for seed in view.seeds(*pair))
    parts.key(figure, *panels, more=[parts.dot(INK, label="solved")] * solved)
    return figure


def accuracy(view: View) -> Figure:
    """Accuracy over iterations: one panel, or one an entrant where there are many curves."""
    together = len(view.pairs) <= len(COLOURS)
    groups = [view.entrants] if together else [[entrant] for entrant in view.entrants]
    figure, grid = parts.panels(1, len(groups), each=3.4, wspace=0.3, sharey=True, left=0.75, right=0.5)
    found = {(s.row, s.entrant): s for s in comparison.summarise(view.entry, view.preset, view.measured)}
    rows = view.entry.row_names()
    for entrants, axes in zip(groups, grid[0], strict=True):
        for row, entrant in (pair for pair in view.pairs if pair[1] in entrants):
            label = row_label(view.entry, row)
            if len(view.rows) == 1:
                name, style = entrant, view.colour(entrant)
            else:
                name = f"{label}, {entrant}" if len(entrants) > 1 else label
                dashes = DASHES[view.entrants.index(entrant) % len(DASHES)] if together else "-"
                style = {"color": COLOURS[rows.index(row) % len(COLOURS)], "linestyle": dashes}
            _accuracy_curves(axes, view.seeds(row, entrant), name, **style)
            published = found[row, entrant].published
            if published is not None and view.preset.comparable:
                mark = parts.hollow(style["color"])
                axes.plot(1.02, published, transform=axes.get_yaxis_transform(), clip_on=False, **mark)
        drawing.dress(axes)
        title = entrants[0] if not together else row_label(view.entry, view.rows[0]) if len(view.rows) == 1 else ""
        axes.set_title(title, **TITLE)
    _constant_line(grid[0], found)
    grid[0][0].set_ylabel("accuracy (%)", color=INK)
    parts.iterations(grid[0])
    paper = any(s.published is not None for s in found.values()) and view.preset.comparable
    parts.key(figure, *grid[0], more=[parts.line(label="the paper's best", **parts.hollow(INK))] if paper else [])
    return figure


def _accuracy_curves(axes: Axes, seeds: Sequence[Measured], label: str, **style: Any) -> None:
    """Accuracy of one entrant in one row, a curve a seed."""
    for i, seed in enumerate(seeds):
        x, y = drawing.series(parts.log(seed), "scores", "error")
        width = 1.5 if len(seeds) == 1 else 0.9
        axes.plot(*parts.thin(x, PERCENT * (1 - y)), linewidth=width, label=None if i else label, **style)


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


def _perplexity_over_tokens(seed: Measured) -> tuple[Any, Any]:
    """Tokens, and perplexity of the checks but that of the untrained network."""
    x, nll = drawing.series(parts.log(seed), "scores", "nll")
    after = x > 0
    return _tokens(seed, x[after]), np.exp(nll[after])


def _tokens(seed: Measured, iterations: Any) -> Any:
    """Tokens that a run had read after some iterations; about so many where they cannot be known without the text."""
    run = rundir.Run(seed.runs[0].run)
    values = rundir.read_config(run)["settings"]
    with suppress(InputError):
        settings = record.load(Settings, values, str(run.config))
        task = build.make_task(settings)
        if isinstance(task, Windowed):
            return np.array([task.tokens_read(settings.seed, int(n), settings.batch_size) for n in iterations], float)
    return iterations * values["length"] * values["batch_size"]


def _unit(furthest: float) -> tuple[float, str]:
    """What numbers up to this one are counted in, and its name for an axis; the axis has whole numbers only."""
    for size, name in ((1e6, " (millions)"), (1e3, " (thousands)")):
        if furthest >= 4 * size:
            return size, name
    return 1.0, ""
