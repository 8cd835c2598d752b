"""Training the points of a sweep, and their order.

Points are ranked by what the checks on validation sequences saw: first how many seeds solved the task, then the median
of the iterations that took, then the median of the lowest errors. With halving, all points train for a few iterations,
the better part of them goes on for eta times as many, and so on (synchronous successive halving, Jamieson & Talwalkar
2016): hopeless ones cost little, and what is kept does not depend on which process was faster.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from experiments.parallel import pool, watch
from experiments.parallel.job import Chain, Job
from experiments.parallel.store import Store
from experiments.run import journal, result, rundir
from experiments.sweeps.grid import Point
from minigrad.errors import InputError

ETA = 3
"""Of so many points one goes on, where nothing else is wished for."""


@dataclass(frozen=True)
class SeedOutcome:
    """How a run stands at some iteration."""

    solved_at: int | None
    error: float
    """Lowest error of the checks so far; infinite for a run that diverged."""
    iterations: int
    seconds: float
    over: bool = False
    """Whether it has ended: solved, diverged, or at the end of its budget."""


@dataclass(frozen=True)
class Score:
    """How a point stands over its seeds."""

    point: Point
    outcomes: tuple[SeedOutcome, ...]
    given_up: bool = False
    """Whether halving left it behind."""

    @property
    def solved(self) -> list[int]:
        """Iterations of the seeds that solved the task."""
        return [s.solved_at for s in self.outcomes if s.solved_at is not None]

    @property
    def over(self) -> bool:
        """Whether all seeds have ended."""
        return all(s.over for s in self.outcomes)

    @property
    def error(self) -> float:
        """Median of the lowest errors."""
        return statistics.median(s.error for s in self.outcomes)

    @property
    def iterations(self) -> int:
        """Iterations of the seed that went furthest."""
        return max(s.iterations for s in self.outcomes)

    @property
    def seconds(self) -> float:
        """Time of one core."""
        return sum(s.seconds for s in self.outcomes)

    @property
    def rank(self) -> tuple[float, float, float]:
        """Smaller is better."""
        return -len(self.solved), statistics.median(self.solved) if self.solved else math.inf, self.error


def search(
    store: Store,
    points: Sequence[Point],
    made: Sequence[Sequence[Job]],
    budgets: Sequence[int | None],
    eta: int,
    workers: int,
    together: int = 1,
) -> tuple[list[Score], dict[str, str]]:
    """Train the points, rung by rung.

    Args:
        store: the folder of their runs.
        points: values of the options that vary.
        made: the runs of each point, a seed each.
        budgets: iterations of each rung, None for all, see `rungs`.
        eta: of so many points one goes on.
        workers: processes side by side.
        together: runs that each of them trains side by side.

    Returns:
        all scores, the best first, and what failed.
    """
    left = list(range(len(points)))
    scores: dict[int, Score] = {}
    failures: dict[str, str] = {}
    for budget in budgets:
        wanted = {(number, job.settings.seed): replace(job, until=budget) for number in left for job in made[number]}
        failures |= {wanted[key].label: why for key, why in _train(wanted, store, budget, workers, together).items()}
        for number in left:
            found = [store.find(job) for job in made[number]]
            outcomes = tuple(outcome(run, budget) for run in found if run is not None)
            if outcomes:
                scores[number] = Score(points[number], outcomes)
        left = sorted((number for number in left if number in scores), key=lambda number: scores[number].rank)
        if budget is not None:
            left = left[: max(1, math.ceil(len(left) / eta))]
    final = [replace(score, given_up=number not in left and not score.over) for number, score in scores.items()]
    return sorted(final, key=lambda score: (score.given_up, score.rank)), failures


def rungs(first: int | None, eta: int | None, most: int, check_every: int) -> list[int | None]:
    """Iterations of each rung, the last without a limit of its own.

    Args:
        first: iterations of the first (None: there is one rung, all the way).
        eta: by how much they grow (None: ETA).
        most: iterations of the longest run.
        check_every: iterations until a check has seen every run.

    Raises:
        InputError: for an impossible `first` or `eta`.
    """
    if first is None:
        if eta is not None:
            raise InputError(f"--eta {eta} is for halving: say by --first when it begins, or leave it out")
        return [None]
    eta = ETA if eta is None else eta
    if eta < 2:
        raise InputError(f"halving: eta must be at least 2, got {eta}")
    if first < check_every:
        why = "before its first check nothing tells a run from another"
        raise InputError(f"halving: first must be at least {check_every:,} iterations, got {first:,}: {why}")
    budgets: list[int | None] = []
    while first < most:
        budgets.append(first)
        first *= eta
    return [*budgets, None]


def _train(
    wanted: Mapping[tuple[int, int], Job], store: Store, budget: int | None, workers: int, together: int
) -> dict[tuple[int, int], str]:
    """Take all runs to the budget; what failed."""
    watcher = watch.suited("runs" if budget is None else f"runs to iteration {budget:,}")
    try:
        return pool.run({key: _to(job, store) for key, job in wanted.items()}, store, workers, watcher, together)[1]
    finally:
        watcher.finished()


def _to(job: Job, store: Store) -> Chain[None]:
    """A run up to where it is to pause, unless it is there already."""
    run = store.find(job)
    newest = run.newest() if run is not None else None
    if job.until is None or newest is None or int(newest.stem) < job.until:
        yield job


def outcome(run: rundir.Run, budget: int | None) -> SeedOutcome:
    """How a run stood at an iteration, however far it has gone since."""
    done = result.load(run)
    lines = [x for x in journal.read_metrics(run.metrics) if budget is None or x["iteration"] <= budget]
    at = lines[-1]["iteration"] if lines else 0
    over = done is not None and done.iterations <= at
    errors = [x["error"] for x in lines if x.get("error") is not None]
    diverged = done is not None and over and done.status == "diverged"
    times = [x["seconds"] for x in journal.read_metrics(run.timings) if x["iteration"] <= at]
    return SeedOutcome(
        solved_at=done.iterations if done is not None and over and done.solved else None,
        error=math.inf if diverged else min(errors, default=math.inf),
        iterations=at,
        seconds=times[-1] if times else 0.0,
        over=over,
    )
