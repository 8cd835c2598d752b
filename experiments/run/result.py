"""How a run ended."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments import files, record
from experiments.errors import RunError, cause
from experiments.run.rundir import Run, read_json
from experiments.run.stopping import Status

FORMAT = 1
"""Version of result.json."""


@dataclass(frozen=True)
class Result:
    """How a run ended, or stands where it was interrupted."""

    run: Path
    """Its directory."""
    method: str
    """Training method."""
    task: str
    """Task."""
    seed: int
    """Seed."""
    solved: bool
    """Whether the error fell below the task's bound."""
    iterations: int
    """Iterations done."""
    error: float | None
    """First score of the last check."""
    loss: float | None
    """Mean training loss of the last line of the log."""
    metric: dict[str, float | None]
    """All scores of the last check."""
    seconds: float
    """Time of training, checks included, over all processes that took part."""
    iterations_per_second: float
    """Iterations over seconds."""
    status: Status
    """How it ended."""
    kernels: dict[str, str]
    """Which twin of each fused recurrence ran."""
    figure: Path | None
    """Its figure."""
    reason: str
    """Why it ended, in words."""

    def to_json(self) -> dict[str, Any]:
        """The result in terms that JSON knows."""
        values: dict[str, Any] = record.plain(self)
        return values


def save(run: Run, result: Result) -> None:
    """Write result.json, the sign that a run is finished."""
    text = json.dumps({"format": FORMAT} | result.to_json(), indent=2, allow_nan=False) + "\n"
    try:
        files.write_atomic(run.result, text.encode())
    except OSError as error:
        raise RunError(f"cannot write {run.result} ({cause(error)}): make room and resume the run") from error


def load(run: Run) -> Result | None:
    """The result of a finished run, None of an unfinished one; `run` and `figure` as the directory lies now.

    Raises:
        RunError: if result.json is damaged or from a newer version.
    """
    if not run.result.exists():
        return None
    values = read_json(run.result, "delete it and resume the run")
    version = values.pop("format", None)
    if not isinstance(version, int) or version > FORMAT:
        raise RunError(f"{run.result} has format {version}, this program reads up to {FORMAT}: update the program")
    result = record.load(Result, values, str(run.result))
    return replace(result, run=run.path, figure=result.figure and run.figures / result.figure.name)
