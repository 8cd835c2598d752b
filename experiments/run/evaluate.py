"""Scores of a trained network on sequences that it has not seen."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from datasets import originals
from experiments import record
from experiments.errors import RunError
from experiments.run import build, checks, manifest, rundir, standing
from experiments.run import dynamic as adapt
from experiments.run.build import Assemble
from experiments.run.checkpoint import require_safetensors
from experiments.run.progress import Display, Quiet
from experiments.run.rundir import Run
from minigrad.errors import InputError

if TYPE_CHECKING:
    from algorithms.dynamic import Config
    from datasets.task import Split


def evaluate(
    run_dir: Path,
    checkpoint: Literal["last", "best"] = "last",
    split: Split = "test",
    size: int = 10_000,
    *,
    length: int | None = None,
    device: str | None = None,
    data_dir: Path | None = None,
    dynamic: Config | None = None,
    display: Display | None = None,
    assemble: Assemble = build.assemble,
) -> dict[str, Any]:
    """Score a run on fresh sequences; the run directory is read only.

    Args:
        run_dir: the run directory; it may be in training.
        checkpoint: the newest, or that of the lowest validation error.
        split: where the sequences come from.
        size: how many; of a finite split with fewer, all. A window of one stream of a text counts as one.
        length: their length (None: that of the training).
        device: where to compute (None: where the run was trained).
        data_dir: folder of downloaded data (None: that of the run).
        dynamic: go on learning from the text that is scored, in one stream, with these options (None: do not).
        display: where to tell how that goes (None: nowhere).
        assemble: makes the parts of a run from names.

    Returns:
        run, method, task, length, seed, checkpoint (its path), iteration, split, sequences, of (how many there are
        in the split, where they have an end), error (the first score), scores, chance, solved (whether the error is
        below the task's bound; None where it has none). Scores and chance in nats a token come with perplexity and
        bits. A dynamic evaluation adds the static scores of the same windows, and its options.

    Raises:
        RunError: if the run, or the checkpoint asked for, is missing or damaged.
        InputError: if the length or the device is impossible; if a dynamic evaluation is asked for of what is no text,
            or with a length.
    """
    if size < 1:
        raise InputError(f"size must be at least 1, got {size}")
    if dynamic is not None and length is not None:
        raise InputError("a dynamic evaluation has windows of its own: use --window, and leave --length out")
    run = rundir.open_run(run_dir)
    wished = {"length": length, "device": device, "data_dir": data_dir}
    changes = {name: value for name, value in wished.items() if value is not None}
    parts = standing.parts_of(run, assemble, **changes)
    for line in _remarks(run, parts):
        (display.note if display else _say)(line)
    path, at = _load(run, parts, checkpoint)
    there: int | None
    adapted: dict[str, Any] = {}
    params = standing.judged(parts, at.state)
    if dynamic is None:
        there, size = parts.task.size_of(split), checks.available(parts, split, size)
        scores = checks.score(parts, params, split, 0, size)
    else:
        found = adapt.score(dynamic, parts, params, split, size, run.path, display or Quiet())
        there, size, scores = found["of"], found["sequences"], {"nll": found["nll"]}
        adapted = {"static": checks.with_perplexity({"nll": found["static"]}), "dynamic": record.plain(dynamic)}
    return {
        "run": str(run.path),
        "method": parts.method.name,
        "task": parts.settings.task,
        "length": parts.settings.length,
        "seed": parts.settings.seed,
        "checkpoint": str(path),
        "iteration": at.counters.iteration,
        "split": split,
        "sequences": size,
        **({} if there is None else {"of": there}),
        "error": checks.first_score(scores),
        "scores": checks.with_perplexity(scores),
        **adapted,
        "chance": checks.with_perplexity(parts.task.chance),
        "solved": checks.first_score(scores) < parts.task.solved_below if parts.task.solved_below else None,
    }


def _remarks(run: Run, parts: build.Parts) -> list[str]:
    """What is to say about the data: whether they are the published ones, and those that the run was trained on."""
    lines = originals.remarks(parts.task)
    if others := originals.differing(manifest.data_of(run), originals.digests(parts.task)):
        lines.append(f"warning: {others[0]} is another file than the one that {run.path} was trained with")
    return lines


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _load(run: Run, parts: build.Parts, which: str) -> tuple[Path, standing.Standing]:
    """The checkpoint asked for; looked for again where the training removed it between finding and reading."""
    require_safetensors()
    while True:
        path = _path(run, which)
        try:
            at, _ = standing.load(path, parts)
            return path, at
        except RunError:
            if path.exists():
                raise


def _path(run: Run, which: str) -> Path:
    if which == "best":
        if not run.best.exists():
            raise RunError(
                f"{run.path} has no best checkpoint: no check has beaten the untrained network; take the last"
            )
        return run.best
    newest = run.newest()
    if newest is None:
        raise RunError(f"{run.path} has no checkpoint yet: resume the run")
    return newest
