"""The command `sweep`: every combination of some options, or a random part of them, with several seeds, ranked.

Points are ranked by what the checks on validation sequences saw: first how many seeds solved the task, then the median
of the iterations that took, then the median of the lowest errors. With halving, all points train for a few iterations,
the better part of them goes on for eta times as many, and so on (synchronous successive halving, Jamieson & Talwalkar
2016): hopeless ones cost little, and what is kept does not depend on which process was faster.
"""

from __future__ import annotations

import itertools
import json
import math
import resource
import statistics
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

import algorithms
from experiments import exits, files, journal, record, result, rundir
from experiments.display import duration, table
from experiments.parallel import job as jobs
from experiments.parallel import pool, watch
from experiments.parallel.job import Chain, Job, shown
from experiments.parallel.store import Store
from experiments.settings import Settings
from minigrad.errors import InputError

SHOWN = 10
"""Points in the table that is printed."""

Point = tuple[tuple[str, Any], ...]
"""Values of the options that vary, by name."""


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
    out: Path | None = None
    json: bool = False


@dataclass(frozen=True)
class Standing:
    """How a run stands at some iteration."""

    solved_at: int | None
    error: float
    """Lowest error of the checks so far; infinite for a run that diverged."""
    iterations: int
    seconds: float


@dataclass(frozen=True)
class Score:
    """How a point stands over its seeds."""

    point: Point
    standings: tuple[Standing, ...]

    @property
    def solved(self) -> list[int]:
        """Iterations of the seeds that solved the task."""
        return [s.solved_at for s in self.standings if s.solved_at is not None]

    @property
    def error(self) -> float:
        """Median of the lowest errors."""
        return statistics.median(s.error for s in self.standings)

    @property
    def iterations(self) -> int:
        """Iterations of the seed that went furthest."""
        return max(s.iterations for s in self.standings)

    @property
    def seconds(self) -> float:
        """Time of one core."""
        return sum(s.seconds for s in self.standings)

    @property
    def rank(self) -> tuple[float, float, float]:
        """Smaller is better."""
        return -len(self.solved), statistics.median(self.solved) if self.solved else math.inf, self.error


def sweep(request: Request) -> int:
    """Train all points, rank them, say which is best.

    Raises:
        InputError: if the grid names something that does not exist or cannot be.
    """
    points = chosen(request)
    made = [[job_of(request, point, seed) for seed in request.seeds] for point in points]
    began, spent = time.monotonic(), _children()
    ranked, failures = search(points, made, request)
    wall, core = time.monotonic() - began, _children() - spent
    if request.out is not None:
        files.write_atomic(request.out, (record.dump(as_json(ranked, request)) + "\n").encode())
    if request.json:
        print(record.dump(as_json(ranked, request) | {"wall_seconds": wall, "core_seconds": core}), flush=True)
    else:
        print("\n".join(lines(ranked, request)))
        print(f"took {duration(wall)}, {duration(core)} of processor time: {core / max(wall, 1e-9):.2f} cores busy")
    for name, why in failures.items():
        print(f"failed: {name}: {why}", file=sys.stderr)
    return exits.FAILED if failures else exits.FINISHED


def chosen(request: Request) -> list[Point]:
    """The points of the grid, or a random part of them, in the order of the grid."""
    if not request.grid:
        raise InputError("a sweep needs --grid NAME=VALUE,VALUE,... for at least one option")
    axes = [parse_axis(text) for text in request.grid]
    names = [name for name, _ in axes]
    if len(set(names)) < len(names):
        raise InputError(f"grid: {', '.join(names)}: every option once")
    points = [tuple(zip(names, values, strict=True)) for values in itertools.product(*(values for _, values in axes))]
    if request.sample is None or request.sample >= len(points):
        return points
    if request.sample < 1:
        raise InputError(f"sample must be at least 1, got {request.sample}")
    drawn = np.random.default_rng(request.sample_seed).choice(len(points), request.sample, replace=False)
    return [points[i] for i in sorted(drawn)]


def parse_axis(text: str) -> tuple[str, list[Any]]:
    """NAME=VALUE,VALUE,... with values as JSON or as words, or NAME=1e-6..1e-1 for the powers of ten between.

    Raises:
        InputError: if there is no name or no value.
    """
    name, sign, rest = text.partition("=")
    name = name.strip().lstrip("-").replace("-", "_")
    if not name or not sign or not rest:
        raise InputError(f"grid: cannot use {text!r}: write NAME=VALUE,VALUE,... or NAME=1e-6..1e-1")
    if ".." in rest:
        return name, _decades(text, rest)
    return name, [_value(part) for part in _split(rest)]


def _decades(text: str, rest: str) -> list[float]:
    """Powers of ten from one to another."""
    try:
        low, high = (math.log10(float(end)) for end in rest.split(".."))
    except ValueError:
        raise InputError(f"grid: cannot use {text!r}: write two powers of ten, such as 1e-6..1e-1") from None
    if not (low.is_integer() and high.is_integer() and low <= high):
        raise InputError(f"grid: cannot use {text!r}: the ends must be powers of ten, the smaller one first")
    return [float(f"1e{exponent}") for exponent in range(int(low), int(high) + 1)]


def _split(text: str) -> list[str]:
    """Parts between commas that stand outside of brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[{") - (character in "]}")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text.strip()


def job_of(request: Request, point: Point, seed: int) -> Job:
    """The run of a point with a seed.

    Raises:
        InputError: if the point names an option that the method and the settings do not have, or an impossible value.
    """
    config, settings = record.plain(request.config), record.plain(request.settings)
    known = {f.name for f in fields(Settings)}
    for name, value in point:
        if name in config:
            config[name] = value
        elif name in known and name != "seed":
            settings[name] = value
        else:
            raise InputError(f"grid: {exits.unknown('option', name, [*config, *sorted(known - {'seed'})])}")
    return jobs.make(request.method, config, settings | {"seed": seed})


def search(
    points: Sequence[Point], made: Sequence[Sequence[Job]], request: Request
) -> tuple[list[Score], dict[str, str]]:
    """Train the points, rung by rung.

    Args:
        points: values of the options that vary.
        made: the runs of each point, a seed each.
        request: how far to go, and with how many processes.

    Returns:
        all scores, the best first, and what failed.
    """
    store = Store(request.settings.runs_dir)
    left = list(range(len(points)))
    scores: dict[int, Score] = {}
    failures: dict[str, str] = {}
    for budget in rungs(request):
        wanted = {(number, job.settings.seed): replace(job, until=budget) for number in left for job in made[number]}
        for (number, _), why in _train(wanted, store, request, budget).items():
            failures[f"{request.method} with {_words(points[number])}"] = why
        for number in left:
            found = [store.find(job) for job in made[number]]
            standings = tuple(standing(run, budget) for run in found if run is not None)
            if standings:
                scores[number] = Score(points[number], standings)
        left = sorted((number for number in left if number in scores), key=lambda number: scores[number].rank)
        if budget is not None:
            left = left[: max(1, math.ceil(len(left) / request.eta))]
    # Points that were given up come last, whatever they had reached.
    ranked = sorted(scores, key=lambda number: (number not in left, scores[number].rank))
    return [scores[number] for number in ranked], failures


def rungs(request: Request) -> list[int | None]:
    """Iterations of each rung, the last without a limit of its own."""
    if request.first is None:
        return [None]
    if request.first < 1 or request.eta < 2:
        raise InputError("halving: first must be at least 1 and eta at least 2")
    budgets: list[int | None] = []
    budget = request.first
    while budget < request.settings.max_iterations:
        budgets.append(budget)
        budget *= request.eta
    return [*budgets, None]


def _train(
    wanted: Mapping[tuple[int, int], Job], store: Store, request: Request, budget: int | None
) -> dict[tuple[int, int], str]:
    """Take all runs to the budget; what failed."""
    watcher = watch.suited("runs" if budget is None else f"runs to iteration {budget:,}")
    try:
        chains = {key: _to(job, store) for key, job in wanted.items()}
        return pool.run(chains, store, request.workers, watcher)[1]
    finally:
        watcher.finished()


def _to(job: Job, store: Store) -> Chain[None]:
    """A run up to where it is to pause, unless it is there already."""
    run = store.find(job)
    newest = run.newest() if run is not None else None
    if job.until is None or newest is None or int(newest.stem) < job.until:
        yield job


def standing(run: rundir.Run, budget: int | None) -> Standing:
    """How a run stood at an iteration, however far it has gone since."""
    done = result.load(run)
    lines = [x for x in journal.read_metrics(run.metrics) if budget is None or x["iteration"] <= budget]
    at = lines[-1]["iteration"] if lines else 0
    over = done is not None and done.iterations <= at
    errors = [x["error"] for x in lines if x.get("error") is not None]
    diverged = done is not None and over and done.status == "diverged"
    times = [x["seconds"] for x in journal.read_metrics(run.timings) if x["iteration"] <= at]
    return Standing(
        solved_at=done.iterations if done is not None and over and done.solved else None,
        error=math.inf if diverged else min(errors, default=math.inf),
        iterations=at,
        seconds=times[-1] if times else 0.0,
    )


def lines(ranked: Sequence[Score], request: Request) -> list[str]:
    """The best points as a table, and how to train with the best."""
    if not ranked:
        return ["no run has come to its end"]
    names = [name for name, _ in ranked[0].point]
    head = (*names, "solved", "iterations", "lowest error", "trained for", "time of one core")
    rows = [_row(score) for score in ranked[:SHOWN]]
    left = len(ranked) - len(rows)
    out = table([head, *rows]) + ([f"and {left} more"] if left else [])
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
    """The command line that trains with a point: all that differs from the defaults."""
    values, flags, method = dict(point), "", algorithms.method(request.method)
    for given, default in ((request.config, method.config(**method.defaults)), (request.settings, Settings())):
        for name, usual in record.plain(default).items():
            value = values.get(name, record.plain(given)[name])
            if name not in ("runs_dir", "seed") and value != usual:
                flags += f" --{name.replace('_', '-')} {shown(value)}"
    return f"python cli.py train {request.method}{flags}"


def _words(point: Point) -> str:
    return ", ".join(f"{name} {shown(value)}" for name, value in point)


def as_json(ranked: Iterable[Score], request: Request) -> dict[str, Any]:
    """All points, the best first."""
    points = [
        {
            "point": dict(score.point),
            "solved": len(score.solved),
            "seeds": len(score.standings),
            "median_iterations": statistics.median(score.solved) if score.solved else None,
            "median_lowest_error": score.error,
            "iterations": score.iterations,
            "seconds": score.seconds,
        }
        for score in ranked
    ]
    return {"method": request.method, "config": request.config, "settings": request.settings, "points": points}


def _children() -> float:
    """Processor time of the processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
