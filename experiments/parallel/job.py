"""A run before it exists: what would be in its config.json."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import algorithms
from datasets import originals
from experiments import files, record
from experiments.run import build, rundir
from experiments.run.result import Result
from experiments.run.settings import Settings

PLACES = ("runs_dir", "data_dir")
"""Settings that say where files lie and nothing about the numbers."""

T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """One training run, and how far to take it."""

    method: str
    config: Any
    """The method's Config."""
    settings: Settings
    """Its runs_dir is where the run lies, or will."""
    until: int | None = None
    """Iteration at which to pause; None: train to the end."""

    @property
    def key(self) -> str:
        """What distinguishes runs: method, Config and Settings, wherever they lie and however far they are to go."""
        left_out = (*PLACES, "max_iterations")
        settings = {f.name: getattr(self.settings, f.name) for f in fields(Settings) if f.name not in left_out}
        what = {"method": self.method, "config": self.config, "settings": settings}
        return json.dumps(record.plain(what), sort_keys=True)

    @property
    def label(self) -> str:
        """A few words for a line of progress: method, what is unusual about its options, task."""
        s, method = self.settings, algorithms.method(self.method)
        usual = record.plain(method.config(**method.defaults))
        own = [f"{name} {shown(value)}" for name, value in record.plain(self.config).items() if value != usual[name]]
        return ", ".join([self.method, *own, f"{s.task} T={s.length}", f"seed {s.seed}"])

    def look_for_data(self) -> None:
        """Make sure that there is something to train on.

        Raises:
            InputError: if its data are missing or damaged.
        """
        task = build.make_task(self.settings)
        originals.require_whole(task)
        task.size_of("train")


def shown(value: Any) -> str:
    """A value of an option as one writes it on a command line."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return " ".join(f"{name} {shown(item)}" for name, item in value.items())
    return " ".join(map(shown, value)) if isinstance(value, list) else str(value)


@dataclass(frozen=True)
class Derived:
    """What follows from a finished run by some computation; kept beside it, so that it is computed once."""

    run: Path
    name: str
    """Of the file that keeps it."""
    compute: Callable[[], dict[str, Any]]
    optional: bool = False
    """Whether a chain does without it where nothing may be computed."""

    def kept(self) -> dict[str, Any] | None:
        """What was computed before.

        Raises:
            RunError: if the file is damaged.
        """
        return rundir.read_json(self._path, "delete it") if self._path.exists() else None

    def value(self) -> dict[str, Any]:
        """What was computed before, or is now."""
        known = self.kept()
        if known is not None:
            return known
        found: dict[str, Any] = record.plain(self.compute())
        self._path.parent.mkdir(exist_ok=True)
        files.write_atomic(self._path, (record.dump(found) + "\n").encode())
        return found

    @property
    def _path(self) -> Path:
        return self.run / "evaluations" / f"{self.name}.json"


Chain = Generator[Job | Derived, Any, T]
"""Jobs that follow on each other: yields a job and is sent its Result, or what it wants to derive from a finished run
and is sent that; returns what they amount to."""


def make(method: str, config: Mapping[str, Any], settings: Mapping[str, Any], until: int | None = None) -> Job:
    """A job from the fields that differ from their defaults, as TOML or JSON hold them.

    Raises:
        InputError: if something does not exist or does not fit.
    """
    kind = algorithms.method(method)
    given = record.load(Settings, settings, "settings", "correct it")
    wished = record.load(kind.config, {**record.plain(kind.defaults), **config}, "config", "correct it")
    plan = build.planned(given, method, wished)
    return Job(plan.method.name, plan.config, plan.settings, until)


def single(job: Job) -> Chain[Result]:
    """One run."""
    done: Result = yield job
    return done
