"""Training: one run from its first iteration, or from its newest checkpoint, to its end.

Everything random is a pure function of (seed, name, iteration), and every step a pure function of state and batch:
a run that was killed and resumed ends in the same bits as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from algorithms.measures import not_finite
from datasets import originals
from experiments import build, checkpoint, checks, files, manifest, result, rundir, standing, states, stopping
from experiments.build import Assemble, Parts
from experiments.errors import RunError, cause
from experiments.interrupts import Interrupts
from experiments.journal import Lines, seconds_spent
from experiments.pending import Pending, first_bad
from experiments.progress import Display, Quiet
from experiments.result import Result
from experiments.rundir import Run
from experiments.settings import Settings
from experiments.standing import Standing
from experiments.stopping import Counters
from minigrad.backend import Params
from minigrad.errors import InputError
from minigrad.kernels import choose, is_prepared, prepare, updates
from minigrad.kernels.fused import threads
from minigrad.rng import stream

if TYPE_CHECKING:
    from algorithms.protocol import Info
    from datasets.task import Batch

__all__ = ["Display", "Quiet", "Result", "extend", "resume", "train"]

REFRESH = 0.1
"""Seconds between two calls of a display's `progress`, at least."""


def train(
    settings: Settings,
    method_name: str,
    config: Any,
    display: Display,
    *,
    assemble: Assemble = build.assemble,
    draw: bool = True,
    until: int | None = None,
) -> Result:
    """Train from the beginning, in a new run directory.

    Args:
        settings: task, network, budget.
        method_name: as the registry knows it.
        config: the method's Config (None: its defaults).
        display: where to tell how it goes.
        assemble: makes the parts of a run from names.
        draw: whether to draw the figure at the end.
        until: iteration at which to pause, as if interrupted there (None: train to the end).

    Raises:
        InputError: if something asked for does not exist or does not fit; nothing has been written then.
        RunError: if the run directory cannot be written.
    """
    with new(settings, method_name, config, display, assemble) as ready:
        return _run(ready, display, draw, until)


def resume(
    run_dir: Path,
    display: Display,
    *,
    assemble: Assemble = build.assemble,
    draw: bool = True,
    until: int | None = None,
    data_dir: Path | None = None,
    device: str | None = None,
) -> Result:
    """Go on from the newest checkpoint of a run; of a finished run, return the result.

    Args:
        run_dir: the run directory.
        display: where to tell how it goes.
        assemble: makes the parts of a run from names.
        draw: whether to draw the figure at the end.
        until: iteration at which to pause again (None: train to the end).
        data_dir: folder of downloaded data (None: that of the run).
        device: where to compute from now on (None: where config.json says).

    Raises:
        RunError: if the directory is missing, damaged, from a newer version, or in use by another process.
        InputError: if this machine lacks what the run needs.
    """
    with again(run_dir, display, assemble, **_places(data_dir, device)) as ready:
        return ready if isinstance(ready, Result) else _run(ready, display, draw, until)


def extend(
    run_dir: Path,
    max_iterations: int,
    display: Display,
    *,
    runs_dir: Path | None = None,
    data_dir: Path | None = None,
    device: str | None = None,
    assemble: Assemble = build.assemble,
    draw: bool = True,
    until: int | None = None,
) -> Result:
    """Go on with a run that used up its budget, in a copy with a larger one; the run itself stays as it is.

    The copy ends in the same bits as a run that had the larger budget from the beginning, if the last iteration of the
    smaller one was due for a check anyway.

    Args:
        run_dir: the run directory.
        max_iterations: the larger budget.
        display: where to tell how it goes.
        runs_dir: folder of the copy (None: beside the run).
        data_dir: folder of downloaded data (None: that of the run).
        device: where to compute from now on (None: where config.json says).
        assemble: makes the parts of a run from names.
        draw: whether to draw the figure at the end.
        until: iteration at which to pause (None: train to the end).

    Raises:
        InputError: if the run did not end with its budget, or the new one is not larger.
        RunError: as `resume`, or if the copy cannot be written.
    """
    copy = longer(run_dir, max_iterations, runs_dir=runs_dir, assemble=assemble, **_places(data_dir, device))
    return resume(copy, display, assemble=assemble, draw=draw, until=until, data_dir=data_dir, device=device)


def longer(
    run_dir: Path,
    max_iterations: int,
    *,
    runs_dir: Path | None = None,
    assemble: Assemble = build.assemble,
    **places: Any,
) -> Path:
    """A copy, with a larger budget, of a run that used up its own; as `extend` says."""
    before = rundir.open_run(run_dir)
    done = result.load(before)
    if done is None or done.status != "budget":
        how = "is not finished" if done is None else f"ended otherwise ({done.status})"
        raise InputError(f"{before.path} {how}: only a run that used up its budget can be extended")
    if max_iterations <= done.iterations:
        raise InputError(f"max_iterations must be above the {done.iterations:,} that {before.path} had")
    folder = runs_dir or before.path.parent
    parts = standing.parts_of(before, assemble, max_iterations=max_iterations, runs_dir=folder, **places)
    _require_same_data(before, parts)
    copy, lock = rundir.create(folder, _stem(parts), _content(parts), goes_on_from=before)
    lock.release()
    return copy.path


@dataclass(frozen=True)
class Ready:
    """A run whose directory is there and ours, and whose next step has been tried."""

    parts: Parts
    run: Run
    begin: Standing
    kernels: dict[str, str]
    """Which twin of each fused recurrence ran."""


@contextmanager
def new(
    settings: Settings, method_name: str, config: Any, display: Display, assemble: Assemble = build.assemble
) -> Iterator[Ready]:
    """A run that begins, in a new directory; as `train` says."""
    checkpoint.require_safetensors()
    parts = assemble(settings, method_name, config)
    _look_for_data(parts, display)
    build.require_an_update(parts)
    settings = parts.settings  # the length resolved
    state = standing.initial_state(parts)  # what does not fit shows here, before kernels compile
    rundir.check_parent(settings.runs_dir)
    _prepare_kernels(parts, state.params, display)
    begin = standing.beginning(parts)
    kernels = _try_step(parts, begin)
    run, lock = rundir.create(settings.runs_dir, _stem(parts), _content(parts))
    with lock:
        yield Ready(parts, run, begin, kernels)


@contextmanager
def again(
    run_dir: Path, display: Display, assemble: Assemble = build.assemble, **places: Any
) -> Iterator[Ready | Result]:
    """A run that goes on, from its newest checkpoint, or the result of one that is finished; as `resume` says."""
    checkpoint.require_safetensors()
    run = rundir.open_run(run_dir)
    with rundir.lock(run):
        done = result.load(run)
        if done is not None:
            display.note(f"{run.path} is finished ({done.status}): {done.reason}")
            yield done
            return
        parts = standing.parts_of(run, assemble, **places)
        _require_same_data(run, parts)
        _look_for_data(parts, display)
        for folder in (run.path, run.checkpoints, run.figures):
            files.remove_temporaries(folder)
        begin = standing.restore(run, parts).within(parts.settings.max_iterations)
        _prepare_kernels(parts, begin.state.params, display)
        yield Ready(parts, run, begin, _try_step(parts, begin))


def _stem(parts: Parts) -> str:
    """How the name of a run directory begins."""
    settings = parts.settings
    return f"{parts.method.name}-{settings.task}-{settings.length}-{settings.seed}"


def _content(parts: Parts) -> dict[str, Any]:
    """What config.json holds; the folder of data by its whole path, for a run may be resumed from anywhere."""
    settings = parts.settings
    if settings.data_dir is not None:
        settings = replace(settings, data_dir=settings.data_dir.absolute())
    known = {} if parts.task.fingerprint is None else {"vocabulary": parts.task.fingerprint}
    return {"method": parts.method.name, "config": parts.config, "settings": settings, **known}


def _places(data_dir: Path | None, device: str | None) -> dict[str, Any]:
    """Settings that differ from those of a run."""
    wished = {"data_dir": data_dir, "device": device}
    return {name: value for name, value in wished.items() if value is not None}


def _look_for_data(parts: Parts, display: Display) -> None:
    """Data that are missing, damaged or too few for a batch show before kernels compile or anything is written."""
    settings = parts.settings
    parts.task.batch(settings.seed, "train", 0, settings.batch_size, settings.dtype)
    for line in originals.remarks(parts.task):
        display.note(line)


def _require_same_data(run: Run, parts: Parts) -> None:
    """Raise RunError unless the files of data hold what they held when the run was trained, where that is known."""
    if others := originals.differing(manifest.data_of(run), originals.digests(parts.task)):
        raise RunError(
            f"{run.path} was trained on other data: the checksum of {others[0]} is not the one in {run.manifest.name}: "
            "restore the file it was trained on, or train anew"
        )


def _prepare_kernels(parts: Parts, params: Params, display: Display) -> None:
    """Compile what the first step would, and say so: it takes longer than people wait without a word."""
    dtype, device = parts.settings.dtype, parts.settings.device
    if device != "cpu" or choose(np.zeros(1, dtype)) != "fused":
        return
    called = [
        *parts.method.kernels(parts.config, parts.model),
        *(["updates"] if updates.choose(*params.values()) == "fused" else []),
    ]
    threads.wished()  # an impossible number is refused before anything compiles
    missing = [kernel for kernel in called if not is_prepared(kernel, dtype)]
    if missing:
        display.note(f"compiling the kernels ({', '.join(missing)}): some seconds, once on this machine")
    for kernel in missing:
        prepare(kernel, dtype)


def _try_step(parts: Parts, at: Standing) -> dict[str, str]:
    """Take the next step and forget it: what does not fit shows, and kernels compile, before anything is written.

    Returns:
        which twin of each fused recurrence ran.
    """
    with np.errstate(all="ignore"):
        _, info, _ = _step(parts, at)
    return dict(info.kernels)


def _step(parts: Parts, at: Standing) -> tuple[Any, Info, Batch]:
    """The next iteration of the method."""
    settings, number = parts.settings, at.counters.iteration + 1
    index = number - 1 + build.first_index(settings, parts.task)
    batch = checks.batch_on_device(parts, "train", index, settings.batch_size)
    rng = stream(settings.seed, "step", number)
    state, info = parts.method.step(parts.config, parts.model, at.state, batch, rng)
    return state, info, batch


def _run(ready: Ready, display: Display, draw: bool, until: int | None) -> Result:
    """Train from where the run stands to its end, and write down how it ended."""
    # Numbers that are not finite are found by the checks; the library's warnings would tell of them a second time.
    with ExitStack() as stack, Interrupts() as interrupts, np.errstate(all="ignore"):
        training = Training(ready, display, stack)
        at = ready.begin
        training.started(at)
        while (end := training.ended(at, until, interrupts.requested)) is None:
            at = training.iterate(at)
    return training.conclude(end, draw)


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
        return _conclude(self.parts, self.run, end, self.seconds(), self.kernels, self.display, draw)

    def iterate(self, at: Standing) -> Standing:
        """One iteration with all that is due after it: check, line of the log, checkpoint."""
        return self.settle(at, *_step(self.parts, at))

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


def _judged(params: Params, scores: Mapping[str, float]) -> dict[str, Any]:
    """The part of a line of the log that tells of parameters and how they score."""
    return {
        "error": checks.first_score(scores),
        "scores": scores,
        "spectral_radius": checks.spectral_radii(params),
        "param_norms": checks.norms(params),
    }


def _conclude(
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
    from experiments import figure

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
