"""A folder of runs, searched by what they compute."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from experiments import build, record, result, rundir
from experiments.parallel.job import Job
from experiments.result import Result
from experiments.rundir import Run
from experiments.settings import Settings
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
        self._runs: dict[str, list[Run]] = {}
        for config in sorted(self.folder.glob("[!.]*/config.json")):
            self.add(config.parent)

    def add(self, path: Path) -> None:
        """Take note of a run directory."""
        with suppress(InputError, OSError):
            run = rundir.open_run(path)
            self._runs.setdefault(job_of(run).key, []).append(run)

    def find(self, job: Job) -> Run | None:
        """The run of a job: a finished one, or else the one that is furthest."""
        return max(self._runs.get(job.key, ()), key=_progress, default=None)

    def result(self, job: Job) -> Result | None:
        """How the run of a job ended; None where it has not, or was not even begun."""
        run = self.find(job)
        with suppress(InputError):
            return None if run is None else result.load(run)
        return None


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
