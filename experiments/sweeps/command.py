"""The command `sweep`: every combination of some options, or a random part of them, with several seeds, ranked."""

from __future__ import annotations

import math
import re
import resource
import shlex
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import algorithms
from datasets import registry
from experiments import build, drawing, exits, files, record
from experiments.display import duration, table
from experiments.parallel import job as jobs
from experiments.parallel.job import Job, shown
from experiments.settings import Settings
from experiments.sweeps import figure, search
from experiments.sweeps.grid import Point, points
from experiments.sweeps.search import Score
from minigrad.errors import InputError

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
    sample_seed: int = 0
    first: int | None = None
    """Iterations of the first rung; None: no halving."""
    eta: int = 3
    """Of so many points one goes on to the next rung, with so many times the iterations."""
    workers: int = 1
    together: int = 1
    """Runs that a process trains side by side."""
    out: Path | None = None
    """File for the ranking; the figure lies beside it, or else in the folder of the runs."""
    json: bool = False


def sweep(request: Request) -> int:
    """Train all points, rank them, say which is best, draw how the options matter.

    Raises:
        InputError: if the grid names something that does not exist or cannot be, a number is impossible, or the ranking
            cannot be written.
    """
    request.settings.require_one_budget()
    request = replace(request, seeds=tuple(dict.fromkeys(request.seeds)))
    if request.out is not None:
        files.check_writable(request.out)
        if request.out.suffix == ".png":
            raise InputError(f"--out {request.out} is where the figure goes: give the ranking another ending, .json")
    chosen = points(request.grid, request.sample, request.sample_seed)
    made = [[job_of(request, point, seed) for seed in request.seeds] for point in chosen]
    check_every = max(build.first_check(job.settings) for runs in made for job in runs)
    budgets = search.rungs(request.first, request.eta, request.settings.max_iterations, check_every)
    began, spent = time.monotonic(), _children()
    ranked, failures = search.search(chosen, made, budgets, request.eta, request.workers, request.together)
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
    known = {f.name for f in fields(Settings)} - {"seed", *jobs.PLACES}
    for name, value in point:
        if name in config:
            config[name] = value
        elif name in known:
            settings[name] = value
        elif name in jobs.PLACES:
            flag = "--" + name.replace("_", "-")
            raise InputError(f"grid: {name} says where files lie, the same for all points: give it by {flag}")
        else:
            raise InputError(f"grid: {exits.unknown('option', name, [*config, *sorted(known)])}")
    try:
        return jobs.make(request.method, config, settings | {"seed": seed})
    except InputError as error:
        # What a point says that fits no field; other refusals name the option already.
        found = re.fullmatch(r"(?:config|settings): (\w+): (.*); correct it", str(error))
        if found is None or found[1] not in dict(point):
            raise
        raise InputError(f"grid: {found[1]}: {found[2]}") from None


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
        f"{len(score.solved)} of {len(score.standings)}",
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
            "seeds": len(score.standings),
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
