"""What a run does in an iteration and around all of them, and what it writes."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from algorithms.measures import not_finite
from datasets import originals
from experiments.run import build, checks, conclusion, manifest, standing, states, stopping
from experiments.run.build import Parts
from experiments.run.journal import Lines, seconds_spent
from experiments.run.pending import Pending, first_bad
from experiments.run.progress import Display
from experiments.run.result import Result
from experiments.run.rundir import Run
from experiments.run.standing import Standing
from experiments.run.stopping import Counters
from minigrad.backend import Params
from minigrad.rng import stream

if TYPE_CHECKING:
    from algorithms.protocol import Info
    from datasets.task import Batch

REFRESH = 0.1
"""Seconds between two calls of a display's `progress`, at least."""


@dataclass(frozen=True)
class Ready:
    """A run whose directory is there and ours, and whose next step has been tried."""

    parts: Parts
    run: Run
    begin: Standing
    kernels: dict[str, str]
    """Which twin of each fused recurrence ran."""


def step(parts: Parts, at: Standing) -> tuple[Any, Info, Batch]:
    """The next iteration of the method."""
    settings, number = parts.settings, at.counters.iteration + 1
    index = number - 1 + build.first_index(settings, parts.task)
    batch = checks.batch_on_device(parts, "train", index, settings.batch_size)
    rng = stream(settings.seed, "step", number)
    state, info = parts.method.step(parts.config, parts.model, at.state, batch, rng)
    return state, info, batch


class Due(NamedTuple):
    """What is due after an iteration."""

    check: bool
    save: bool
    """A checkpoint."""
    log: bool
    """A line of the log."""
    measure: bool
    """The method's diagnostics."""


class Training:
    """What a run does in an iteration and around all of them, and what it writes."""

    def __init__(self, ready: Ready, display: Display, stack: ExitStack) -> None:
        """Begin to write; the stack ends it, and says so to the display."""
        self.parts, self.run, self.kernels, self.display = ready.parts, ready.run, ready.kernels, display
        settings = self.parts.settings
        first = ready.begin.counters.iteration
        task = self.parts.task
        told = manifest.entry(first, task.name, settings.device, self.kernels, originals.digests(task))
        manifest.add(self.run, told)
        display.started(self.run.path, _facts(self.parts, ready.begin))
        stack.callback(display.finished)
        self.metrics, self.timings = (stack.enter_context(Lines(path)) for path in (self.run.metrics, self.run.timings))
        self.first, self.spent, self.began = first, seconds_spent(self.run), time.perf_counter()
        self.shown = -math.inf
        self.pending = Pending()

    def seconds(self) -> float:
        """Time of training so far, that of earlier processes included."""
        return self.spent + time.perf_counter() - self.began

    def started(self, at: Standing) -> None:
        """Of a run before its first iteration, what it is then."""
        if self.run.newest() is None:
            self.metrics.add({"iteration": 0} | _judged(at.state.params, at.counters.scores or {}))
            self.save(at)

    def ended(self, at: Standing, until: int | None, requested: bool) -> Standing | None:
        """How the run ended, if it is not to go on: it came to its end or to `until`, or was requested to stop."""
        if at.counters.status != "running":
            return at
        if at.counters.iteration >= self.parts.settings.max_iterations:
            return self.out_of_budget(at)
        if requested:
            self.display.note("stopping: writing a checkpoint")
            return self.stopped(at, "interrupted")
        if until is not None and at.counters.iteration >= until:
            return self.stopped(at, "paused")
        return None

    def conclude(self, end: Standing, draw: bool) -> Result:
        """The result; of a run that is not to go on, also as a file and a figure."""
        return conclusion.conclude(self.parts, self.run, end, self.seconds(), self.kernels, self.display, draw)

    def iterate(self, at: Standing) -> Standing:
        """One iteration with all that is due after it: check, line of the log, checkpoint."""
        return self.settle(at, *step(self.parts, at))

    def settle(self, at: Standing, state: Any, info: Info, batch: Batch) -> Standing:
        """What is due after an iteration, from where the run stood before it."""
        self.pending.losses.append(info.loss)
        number = at.counters.iteration + 1
        due = self.due(number, batch)
        # Numbers on a device are looked at where something is to be written down.
        look = self.parts.settings.device == "cpu" or any(due)
        losses = self.pending.taken() if look else []
        counters = at.counters.after(1, losses)
        self.show(counters)
        if bad := first_bad(losses[:-1], number - 1):
            return self.diverged(at, "loss", *bad)
        if look and (broken := info.reason or ((due.check or due.save) and not_finite(state.params))):
            return self.diverged(at, broken, number, losses[-1], info)
        after, line = Standing(states.owned(state), counters), {}
        if due.measure:
            line = self.measured(at, info, batch)
        if due.check:
            after, line = self.check(after, line)
        if line or due.log:
            after = self.log(after, info, line)
        if due.check and after.counters.is_best:
            self.save(after, self.run.best)
        if due.save or after.counters.status != "running":
            self.save(after)
        return after

    def due(self, number: int, batch: Batch) -> Due:
        """What is due after iteration `number`, which trained on this batch."""
        settings = self.parts.settings
        every, measured = settings.validate_every, settings.measure_every
        check = number == settings.max_iterations or (number % every == 0 if every else batch.last)
        measure = self.parts.method.measure is not None and (check if measured is None else number % measured == 0)
        return Due(check, number % settings.checkpoint_every == 0, number % settings.log_every == 0, measure)

    def measured(self, before: Standing, info: Info, batch: Batch) -> dict[str, Any]:
        """The method's diagnostics; the gradients in `info` belong to the state before the step."""
        assert self.parts.method.measure is not None
        return {"measures": self.parts.method.measure(self.parts.config, self.parts.model, before.state, batch, info)}

    def check(self, after: Standing, line: dict[str, Any]) -> tuple[Standing, dict[str, Any]]:
        """Scores on fresh sequences and what follows from them: the standing, and what goes into the log."""
        parts, params = self.parts, standing.judged(self.parts, after.state)
        began = time.perf_counter()
        # Only endless tasks ask for it, and those have no passes after which to check.
        every = parts.settings.validate_every
        number = -(-after.counters.iteration // every) if every else 1
        scores = checks.check_scores(parts, params, number)
        line = _judged(params, scores) | line
        counters = stopping.after_check(
            after.counters,
            scores,
            line["spectral_radius"],
            solved_below=parts.task.solved_below,
            patience=parts.settings.patience,
        )
        self.time(counters.iteration, time.perf_counter() - began)
        method, state = parts.method, after.state
        if method.validated is not None:
            state = method.validated(parts.config, state, checks.first_score(scores))
        return Standing(state, counters), line

    def log(self, at: Standing, info: Info, line: dict[str, Any]) -> Standing:
        """Append a line to the log: mean loss since the line before, and norms of the last gradients."""
        counters = at.counters.logged()
        head = {"iteration": counters.iteration, "loss": counters.loss, "grad_norms": checks.norms(info.grads)}
        self.metrics.add(head | line)
        return Standing(at.state, counters)

    def time(self, iteration: int, check_seconds: float) -> None:
        """Append a line to the log of times."""
        self.timings.add({"iteration": iteration, "seconds": self.seconds(), "check_seconds": check_seconds})

    def save(self, at: Standing, path: Path | None = None) -> None:
        """Write a checkpoint, after the lines of the log that it tells of; by default a numbered one."""
        self.metrics.sync()
        standing.save(path or self.run.numbered(at.counters.iteration), at, self.metrics.size)
        if path is None:
            self.run.prune()

    def diverged(self, at: Standing, what: str, number: int, loss: float, info: Info | None = None) -> Standing:
        """End at iteration `number`, without a checkpoint: the last one is the last good one.

        Where more iterations were done before anybody looked, there is no `info` of this one any more.
        """
        newest = self.run.newest()
        reason = f"{what} is not finite at iteration {number}; last good checkpoint: {newest}"
        line = {"iteration": number, "loss": loss, "grad_norms": checks.norms(info.grads if info else {})}
        self.metrics.add(line | {"status": "diverged", "not_finite": what})
        self.metrics.sync()
        return replace(at, counters=replace(at.counters, iteration=number).end("diverged", reason))

    def out_of_budget(self, at: Standing) -> Standing:
        """End because all iterations are done."""
        number = at.counters.iteration
        words = f"not solved in {number} iterations" if self.parts.task.solved_below else f"{number} iterations done"
        at = replace(at, counters=at.counters.end("budget", words))
        self.save(at)
        return at

    def stopped(self, at: Standing, word: str) -> Standing:
        """Stop where the run stands; the checkpoint goes on from there."""
        number = at.counters.iteration
        if losses := self.pending.taken():  # of iterations after which nobody looked
            at = replace(at, counters=at.counters.after(0, losses))
            if bad := first_bad(losses, number):
                return self.diverged(at, "loss", *bad)
            if broken := not_finite(at.state.params):
                return self.diverged(at, broken, number, losses[-1])
        self.save(at)
        self.time(number, 0.0)
        return replace(at, counters=at.counters.end("interrupted", f"{word} after iteration {number}"))

    def show(self, counters: Counters) -> None:
        """Tell the display, but not too often."""
        now = time.perf_counter()
        if now - self.shown < REFRESH:
            return
        self.shown = now
        speed = (counters.iteration - self.first) / max(now - self.began, 1e-9)
        left = (self.parts.settings.max_iterations - counters.iteration) / speed
        self.display.progress(counters.iteration, self.pending.latest, counters.error, speed, left)


def _facts(parts: Parts, begin: Standing) -> dict[str, Any]:
    """What a display may say about a run at its beginning."""
    settings, params = parts.settings, begin.state.params
    return {
        "method": parts.method.name,
        "task": settings.task,
        "length": settings.length,
        "cell": settings.cell,
        "hidden": settings.hidden,
        "layers": settings.layers,
        "parameters": sum(math.prod(array.shape) for array in params.values()),
        "seed": settings.seed,
        "dtype": settings.dtype,
        "device": settings.device,
        "iteration": begin.counters.iteration,
        "max_iterations": settings.max_iterations,
        "error": begin.counters.error,
        **({} if parts.task.streams is None else {"tokens": build.tokens_of(settings, parts.task)}),
        **(
            {} if (each := build.iterations_of_a_pass(settings, parts.task)) is None else {"iterations_of_a_pass": each}
        ),
        "chance": checks.with_perplexity(parts.task.chance),
        **({"solved_below": parts.task.solved_below} if parts.task.solved_below else {}),
    }


def _judged(params: Params, scores: Mapping[str, float]) -> dict[str, Any]:
    """The part of a line of the log that tells of parameters and how they score."""
    return {
        "error": checks.first_score(scores),
        "scores": scores,
        "spectral_radius": checks.spectral_radii(params),
        "param_norms": checks.norms(params),
    }
