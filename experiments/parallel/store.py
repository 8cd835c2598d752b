"""A folder of runs, searched by what they compute."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from experiments import record
from experiments.parallel.job import Job
from experiments.run import build, result, rundir
from experiments.run.result import Result
from experiments.run.rundir import Run
from experiments.run.settings import Settings
from minigrad.errors import InputError


class Store:
    """The runs in a folder, found by the key of a job; a run that this version cannot read is none of them.

    Nor is one whose name begins with a dot: a run that was killed, or is still, before it got its name.
    """

    def __init__(self, folder: Path) -> None:
        """Look through a folder, which need not exist."""
        self.folder = folder
        self.look()

    def look(self) -> None:
        """Look through the folder again."""
        self._runs: dict[str, list[tuple[Run, int]]] = {}
        self.unreadable: list[Path] = []
        """Run directories that this version cannot read, and that count for nothing."""
        for config in sorted(self.folder.glob("[!.]*/config.json")):
            self.add(config.parent)

    def add(self, path: Path) -> None:
        """Take note of a run directory."""
        try:
            run = rundir.open_run(path)
            job = job_of(run)
        except (InputError, OSError):
            self.unreadable.append(path)
        else:
            self._runs.setdefault(job.key, []).append((run, job.settings.max_iterations))

    def find(self, job: Job) -> Run | None:
        """The run of a job: one that has come to its end, or else the one that is furthest on the way there."""
        runs = self._runs.get(job.key, ())
        budget = job.settings.max_iterations
        finished = (run for run, its_budget in runs if _end(run, its_budget, job) is not None)
        begun = [run for run, its_budget in runs if its_budget == budget]
        return next(finished, max(begun, key=_progress, default=None))

    def result(self, job: Job) -> Result | None:
        """How the run of a job ended; None where it has not, or was not even begun."""
        ends = (_end(run, budget, job) for run, budget in self._runs.get(job.key, ()))
        return next((end for end in ends if end is not None), None)

    def shorter(self, job: Job) -> Run | None:
        """The longest run that used up a smaller budget, and whose continuation the run of a job is."""
        runs = self._runs.get(job.key, ())
        usable = [
            (budget, run) for run, budget in runs if budget < job.settings.max_iterations and _extends(run, budget, job)
        ]
        return max(usable, key=lambda item: item[0])[1] if usable else None

    def stopped(self, job: Job) -> Result | None:
        """How the run of a job stood where a smaller budget ended it."""
        run = self.shorter(job)
        with suppress(InputError):
            return None if run is None else result.load(run)
        return None


def _end(run: Run, budget: int, job: Job) -> Result | None:
    """How a run ended, if a run with the budget of a job ends in the same way."""
    with suppress(InputError):
        done = result.load(run)
        if done is None or budget == job.settings.max_iterations:
            return done
        own_end = done.status != "budget" and build.checked_after(job.settings, budget)
        return done if own_end and done.iterations <= job.settings.max_iterations else None
    return None


def _extends(run: Run, budget: int, job: Job) -> bool:
    """Whether a run used up its budget, and checked at its end only what a longer run checks there too."""
    with suppress(InputError):
        done = result.load(run)
        ended = done is not None and done.status == "budget" and run.newest() is not None
        return ended and build.checked_after(job.settings, budget)
    return False


def job_of(run: Run) -> Job:
    """What a run directory computes.

    Raises:
        InputError: if its config.json is damaged, or asks for what does not exist here.
    """
    import algorithms

    config = rundir.read_config(run)
    settings = record.load(Settings, config["settings"], f"'settings' in {run.config}")
    method = algorithms.method(config["method"])
    return Job(method.name, build.config_of(method, config["config"]), settings)


def _progress(run: Run) -> tuple[bool, int]:
    newest = run.newest()
    return run.result.exists(), int(newest.stem) if newest else 0
