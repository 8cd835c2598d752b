"""Small jobs, chains of them, what they come to without a pool, and a watcher that remembers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments.parallel import job as jobs
from experiments.parallel.job import Chain, Job
from experiments.run import loop
from experiments.run.result import Result
from tests.experiments.run import toy

NEVER = {"alpha_i": 1e-9, "alpha_f": 1e-9, "alpha_g": 1e-9}
"""Rates that solve nothing."""


def job(folder: Path, *, config: Mapping[str, Any] | None = None, until: int | None = None, **changes: Any) -> Job:
    """A run of some hundredths of a second, once its process has begun."""
    values = {"task": "temporal", "length": 10, "hidden": 10, "seed": 1, "max_iterations": 30, "runs_dir": str(folder)}
    checks = {"validate_every": 10, "validate_size": 100, "checkpoint_every": 7, "log_every": 4}
    return jobs.make("tptt", config or {}, values | checks | changes, until)


def long(folder: Path, **changes: Any) -> Job:
    """A run of some tenths of a second that ends with its budget."""
    return job(folder, config=NEVER, **{"max_iterations": 200, "validate_every": 50, "checkpoint_every": 20} | changes)


def several(*chained: Job) -> Chain[list[Result]]:
    """One after the other."""
    results = []
    for each in chained:
        results.append((yield each))
    return results


def dependent(first: Job) -> Chain[list[Result]]:
    """A second job that only the result of the first one tells."""
    done = yield first
    second = replace(first, settings=replace(first.settings, seed=100 * first.settings.seed + done.iterations))
    return [done, (yield second)]


def alone(what: Job, folder: Path) -> Result:
    """The same run in this process, elsewhere."""
    settings = replace(what.settings, runs_dir=folder)
    return loop.train(settings, what.method, what.config, loop.Quiet(), draw=False)


def same(done: Result, expected: Result) -> bool:
    """Whether two runs have the same numbers, in their results and, bit for bit, in their files."""
    facts = ("method", "task", "seed", "solved", "iterations", "error", "loss", "metric", "status", "reason")
    return all(getattr(done, fact) == getattr(expected, fact) for fact in facts) and (
        toy.outcome(done.run) == toy.outcome(expected.run)
    )


@dataclass
class Watcher:
    """Remembers notes, and calls somebody whenever something moved."""

    then: Callable[[Mapping[int, str]], None] = lambda running: None
    notes: list[str] = field(default_factory=list)
    last: tuple[int, int] = (0, 0)

    def note(self, line: str) -> None:
        self.notes.append(line)

    def moved(self, done: int, chains: int, running: Mapping[int, str]) -> None:
        self.last = (done, chains)
        self.then(running)
