"""The end of a run: its result, and its figure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from experiments.errors import RunError, cause
from experiments.run import build, checks, result
from experiments.run.build import Parts
from experiments.run.progress import Display
from experiments.run.result import Result
from experiments.run.rundir import Run
from experiments.run.standing import Standing


def conclude(
    parts: Parts, run: Run, end: Standing, seconds: float, kernels: dict[str, str], display: Display, draw: bool
) -> Result:
    """The result; of a run that is not to go on, also as a file and a figure."""
    settings, counters = parts.settings, end.counters
    done = Result(
        run=run.path,
        method=parts.method.name,
        task=settings.task,
        seed=settings.seed,
        solved=counters.status == "solved",
        iterations=counters.iteration,
        error=counters.error,
        loss=counters.loss,
        metric={**checks.with_perplexity(counters.scores or {})},
        seconds=seconds,
        iterations_per_second=counters.iteration / max(seconds, 1e-9),
        status=counters.status,
        kernels=kernels,
        figure=None,
        reason=counters.reason,
    )
    if counters.status == "interrupted":
        return done
    if draw:
        done = replace(done, figure=_draw(run, parts, done, display))
    result.save(run, done)
    return done


def _draw(run: Run, parts: Parts, done: Result, display: Display) -> Path | None:
    """The figure; a run is not lost for want of one."""
    from experiments.run import figure

    settings = parts.settings
    caption = figure.Caption(
        title=f"{done.method} on {done.task}, T = {settings.length}, seed {done.seed}",
        outcome=_outcome(done, solvable=bool(parts.task.solved_below)),
        chance=parts.task.chance,
        solved_at=done.iterations if done.solved else None,
        of_a_pass=build.iterations_of_a_pass(settings, parts.task),
    )
    try:
        return figure.draw(run, caption)
    except ImportError:
        display.note("no figure: it needs matplotlib, pip install '.[lab]'")
    except (OSError, RunError) as error:
        display.note(f"no figure: {cause(error)}")
    return None


def _outcome(done: Result, solvable: bool) -> str:
    """How a run ended, in a line."""
    words = {
        "solved": "solved",
        "budget": "not solved" if solvable else "ended",
        "patience": "gave up: no better error for long",
        "spectral_radius": "gave up: spectral radius too large",
        "diverged": "diverged",
    }
    line = f"{words[done.status]} after {done.iterations:,} iterations"
    if done.error is None:
        return line
    perplexity = done.metric.get("perplexity")
    return f"{line}, {f'error {done.error:.4g}' if perplexity is None else f'perplexity {perplexity:.4g}'}"
