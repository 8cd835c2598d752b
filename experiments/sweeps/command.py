"""The command `sweep`: every combination of some options, or a random part of them, with several seeds, ranked."""

from __future__ import annotations

import math
import re
import resource
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import algorithms
from datasets import registry
from experiments import drawing, exits, files, record
from experiments.display import duration, table
from experiments.parallel import job as jobs
from experiments.parallel import pool
from experiments.parallel.job import Job, shown
from experiments.parallel.store import Store
from experiments.run import build, effect
from experiments.run.settings import Settings
from experiments.sweeps import figure, search, trial
from experiments.sweeps.grid import Point, points
from experiments.sweeps.search import Score
from minigrad.errors import InputError, unknown

SHOWN = 10
"""Points in the table that is printed."""


@dataclass(frozen=True)
class Request:
    """What a person asks for."""

    method: str
    config: Any
    settings: Settings
    grid: tuple[str, ...]
    seeds: tuple[int, ...]
    sample: int | None = None
    """How many points, drawn at random; None: all."""
    sample_seed: int | None = None
    """Seed of that draw; None: 0."""
    first: int | None = None
    """Iterations of the first rung; None: no halving."""
    eta: int | None = None
    """Of so many points one goes on to the next rung, with so many times the iterations; None: search.ETA."""
    workers: int = 1
    together: int = 1
    """Runs that a process trains side by side."""
    out: Path | None = None
    """File for the ranking; the figure lies beside it, or else in the folder of the runs."""
    json: bool = False


def sweep(request: Request) -> int:
    """Train all points, rank them, say which is best, draw how the options matter.

    Raises:
        InputError: if the grid names something that does not exist or cannot be, or the same run twice, a number is
            impossible, or the ranking cannot be written.
    """
    pool.require_some(request.together)
    request = replace(request, seeds=tuple(dict.fromkeys(request.seeds)))
    if request.out is not None:
        files.check_writable(request.out)
        if request.out.suffix == ".png":
            raise InputError(f"--out {request.out} is where the figure goes: give the ranking another ending, .json")
    chosen = points(request.grid, request.sample, request.sample_seed)
    made = [[job_of(request, point, seed) for seed in request.seeds] for point in chosen]
    _require_different(chosen, made)
    every = [job.settings for runs in made for job in runs]
    check_every = 0 if request.first is None else max(map(build.first_check, every))
    budgets = search.rungs(request.first, request.eta, max(s.max_iterations for s in every), check_every)
    store = Store(request.settings.runs_dir)
    _require_possible(request, chosen, made, store)
    began, spent = time.monotonic(), _children()
    ranked, failures = search.search(
        store, chosen, made, budgets, request.eta or search.ETA, request.workers, request.together
    )
    wall, core = time.monotonic() - began, _children() - spent
    found = as_json(ranked, request)
    if request.out is not None:
        files.write_atomic(request.out, (record.dump(found) + "\n").encode())
    if request.json:
        print(record.dump(found | {"wall_seconds": wall, "core_seconds": core}), flush=True)
    else:
        print("\n".join(lines(ranked, request)))
        cores = f"{core / max(wall, 1e-9):.2f} cores busy"
        print(f"took {duration(wall)}, {duration(core)} of processor time: {cores}", flush=True)
        if ranked and (path := _draw(ranked, request)):
            print(f"figure: {path}", flush=True)
    for name, why in failures.items():
        print(f"failed: {name}: {why}", file=sys.stderr)
    return exits.FAILED if failures else exits.FINISHED


def _draw(ranked: Sequence[Score], request: Request) -> Path | None:
    """The figure; None without matplotlib."""
    s = request.settings
    if "length" in dict(ranked[0].point):  # it is that of no point
        s = replace(s, length=None)
    names = "-".join(name for name, _ in ranked[0].point)
    beside = request.out and request.out.with_suffix(".png")
    path = beside or s.runs_dir / f"sweep-{request.method}-{s.task}-{s.length or 0}-{names}.png"
    title = f"{request.method} on {s.task}, T = {s.length}" if s.length else f"{request.method} on {s.task}"
    return drawing.kept(lambda: figure.draw(ranked, title), path)


def job_of(request: Request, point: Point, seed: int) -> Job:
    """The run of a point with a seed.

    Raises:
        InputError: if the point names an option that the method and the settings do not have or that cannot vary, or
            an impossible value.
    """
    config, settings = record.plain(request.config), record.plain(request.settings)
    known = {f.name for f in fields(Settings)} - {"seed", "task", *jobs.PLACES}
    for name, value in point:
        if name in config:
            config[name] = value
        elif name in known:
            settings[name] = value
        elif name == "task":
            raise InputError("grid: errors of different tasks cannot be ranked: one sweep a task, give it by --task")
        elif name in jobs.PLACES:
            flag = "--" + name.replace("_", "-")
            raise InputError(f"grid: {name} says where files lie, the same for all points: give it by {flag}")
        else:
            raise InputError(f"grid: {unknown('option', name, [*config, *sorted(known)])}")
    settings["seed"] = seed
    try:
        # Before epochs become iterations, as `train` looks at what it is given.
        record.load(Settings, settings, "settings", "correct it").require_one_budget()
        job = jobs.make(request.method, config, settings)
        effect.require_used(algorithms.method(job.method), job.config)
    except InputError as error:
        raise _blamed(error, point, lambda: job_of(request, (), seed)) from None
    return job


def _blamed(error: InputError, point: Point, without: Callable[[], object]) -> InputError:
    """The error of a point, as one of the grid, unless that of the options that all points share is the same.

    Args:
        error: what cannot be.
        point: the point.
        without: does the same with these options alone.
    """
    if not point:
        return error
    try:
        without()
    except InputError as shared:
        if str(shared) == str(error):
            return error
    found = re.fullmatch(r"(?:config|settings): (\w+): (.*); correct it", str(error))
    if found is not None and found[1] in dict(point):  # what fits no field
        return InputError(f"grid: {found[1]}: {found[2]}")
    words = str(error).replace("--", " ").replace("-", "_")
    named = any(re.search(rf"\b{name}\b", words) for name, _ in point)
    return InputError(f"grid: {error}" if named else f"grid: {_told(point)}: {error}")


def _told(point: Point) -> str:
    return ", ".join(f"{name} {shown(value)}".rstrip() for name, value in point)


def _require_different(chosen: Sequence[Point], made: Sequence[Sequence[Job]]) -> None:
    """Refuse points that are the same run, such as no length and the length that the task has of its own."""
    known: dict[tuple[str, int], Point] = {}
    for point, (job, *_) in zip(chosen, made, strict=True):
        twin = known.setdefault((job.key, job.settings.max_iterations), point)
        if twin is not point:
            raise InputError(f"grid: {_told(twin)} is the same run as {_told(point)}: leave one out")


def _require_possible(request: Request, chosen: Sequence[Point], made: Sequence[Sequence[Job]], store: Store) -> None:
    """Refuse points that cannot begin, of those with a run that has not: what has begun needs no data any more."""
    fresh = [number for number, runs in enumerate(made) if any(store.find(job) is None for job in runs)]
    try:
        trial.require_possible([made[number][0] for number in fresh])
    except trial.Impossible as error:
        point, seed = chosen[fresh[error.number]], request.seeds[0]
        raise _blamed(error, point, lambda: trial.require_possible([job_of(request, (), seed)])) from None


def lines(ranked: Sequence[Score], request: Request) -> list[str]:
    """The best points as a table, and how to train with the best."""
    if not ranked:
        return ["no run has come to its end"]
    names = [name for name, _ in ranked[0].point]
    head = (*names, "solved", "iterations", "lowest error", "trained for", "time of one core")
    rows = [head, *map(_row, ranked[:SHOWN])]
    if not registry.solvable(request.settings.task):
        rows = [(*row[: len(names)], *row[len(names) + 2 :]) for row in rows]
    left = len(ranked) - SHOWN
    out = table(rows) + ([f"and {left} more"] if left > 0 else [])
    return [*out, "", "best: " + command(request, ranked[0].point)]


def _row(score: Score) -> tuple[str, ...]:
    median = f"{statistics.median(score.solved):,.0f}" if score.solved else "-"
    error = f"{score.error:.4g}" if math.isfinite(score.error) else "diverged"
    return (
        *(shown(value) for _, value in score.point),
        f"{len(score.solved)} of {len(score.outcomes)}",
        median,
        error,
        f"{score.iterations:,}",
        duration(score.seconds),
    )


def command(request: Request, point: Point) -> str:
    """The command line that trains with a point and the first seed: all that differs from the defaults."""
    values, method = {**dict(point), "seed": request.seeds[0]}, algorithms.method(request.method)
    line = ["python", "cli.py", "train", request.method]
    for given, default in ((request.config, method.config(**method.defaults)), (request.settings, Settings())):
        for name, usual in record.plain(default).items():
            value = values.get(name, record.plain(given)[name])
            if name != "runs_dir" and value != usual:
                line += ["--" + name.replace("_", "-"), *_words(value)]
    return shlex.join(line)


def _words(value: Any) -> list[str]:
    """A value as the words after its flag, from which it is read back to the last bit; none for an empty list."""
    if isinstance(value, Mapping):
        return [word for name, item in value.items() for word in (name, *_words(item))]
    if isinstance(value, list):
        return [word for item in value for word in _words(item)]
    return [repr(value) if isinstance(value, float) else str(value)]


def as_json(ranked: Sequence[Score], request: Request) -> dict[str, Any]:
    """All points, the best first."""
    points = [
        {
            "point": dict(score.point),
            "solved": len(score.solved),
            "seeds": len(score.outcomes),
            "median_iterations": statistics.median(score.solved) if score.solved else None,
            "median_lowest_error": score.error,
            "iterations": score.iterations,
            "given_up": score.given_up,
            "seconds": score.seconds,
        }
        for score in ranked
    ]
    return {"method": request.method, "config": request.config, "settings": request.settings, "points": points}


def _children() -> float:
    """Processor time of the processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
