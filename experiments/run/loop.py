"""Training: one run from its first iteration, or from its newest checkpoint, to its end.

Everything random is a pure function of (seed, name, iteration), and every step a pure function of state and batch:
a run that was killed and resumed ends in the same bits as one that was not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from datasets import originals
from experiments import files
from experiments.errors import RunError
from experiments.interrupts import Interrupts
from experiments.run import build, checkpoint, effect, manifest, result, rundir, standing
from experiments.run.build import Assemble, Parts
from experiments.run.progress import Display, Quiet
from experiments.run.result import Result
from experiments.run.rundir import Run
from experiments.run.settings import Settings
from experiments.run.standing import Standing
from experiments.run.training import Ready, Training, step
from minigrad.backend import Params, numbers
from minigrad.errors import InputError
from minigrad.kernels import choose, is_prepared, prepare, updates
from minigrad.kernels.fused import threads

__all__ = ["Display", "Quiet", "Result", "extend", "resume", "train"]


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
    effect.require_trained(parts.method, parts.config, state.params)
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

    A device that is still at it when this ends would fail later: the loss is looked at to wait for the step.

    Returns:
        which twin of each fused recurrence ran.
    """
    with np.errstate(all="ignore"):
        _, info, _ = step(parts, at)
    numbers([info.loss])
    return dict(info.kernels)


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
