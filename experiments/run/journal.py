"""The logs of a run: metrics.jsonl, which follows from config.json alone, and timings.jsonl, where the clock is."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from experiments import files, record
from experiments.errors import RunError, cause
from experiments.run.rundir import Run


class Lines:
    """A file that grows by one JSON object a line; each line reaches the system at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
            self.size = os.fstat(self._file).st_size
        except OSError as error:
            raise RunError(f"cannot write {path} ({cause(error)})") from error

    def add(self, line: Mapping[str, Any]) -> None:
        """Append a line; numbers that are not finite become null."""
        data = (record.dump(line) + "\n").encode()
        try:
            files.write_all(self._file, data)
        except OSError as error:
            raise RunError(f"cannot write {self.path} ({cause(error)}): make room and resume the run") from error
        self.size += len(data)

    def sync(self) -> None:
        """Make all lines durable: a checkpoint may only tell of lines that survive a power cut."""
        try:
            os.fsync(self._file)
        except OSError as error:
            raise RunError(f"cannot write {self.path} ({cause(error)}): make room and resume the run") from error

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)


def cut_back(run: Run, iteration: int, metrics_bytes: int) -> None:
    """Forget what was logged after a checkpoint.

    Args:
        run: the run directory.
        iteration: iterations done at the checkpoint.
        metrics_bytes: length of metrics.jsonl there.

    Raises:
        RunError: if metrics.jsonl is shorter than it was at the checkpoint, or cannot be written.
    """
    try:
        size = run.metrics.stat().st_size if run.metrics.exists() else 0
        if size < metrics_bytes:
            raise RunError(
                f"{run.metrics} is damaged ({size} bytes, {metrics_bytes} at the last checkpoint): "
                "restore it, or delete the newest checkpoint to resume from the one before"
            )
        with run.metrics.open("ab") as file:
            file.truncate(metrics_bytes)
        read_metrics(run.metrics)
        kept = [line for line in _readable(run.timings) if line["iteration"] <= iteration]
        files.write_atomic(run.timings, "".join(record.dump(line) + "\n" for line in kept).encode())
    except OSError as error:
        raise RunError(f"cannot cut the logs of {run.path} back ({cause(error)})") from error


def seconds_spent(run: Run) -> float:
    """Seconds of training that timings.jsonl tells of."""
    return max((float(line["seconds"]) for line in _readable(run.timings)), default=0.0)


def _readable(path: Path) -> list[dict[str, Any]]:
    """The lines of timings that are whole: a kill may have cut the last one."""
    lines = []
    for text in path.read_bytes().splitlines() if path.exists() else ():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and all(isinstance(line.get(k), int | float) for k in ("iteration", "seconds")):
            lines.append(line)
    return lines


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All lines of a metrics.jsonl.

    Raises:
        RunError: if it cannot be read or a line is damaged (a last line cut short by a kill is left out).
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {path} ({cause(error)})") from None
    lines = []
    whole, _, _ = text.rpartition("\n")
    for number, line in enumerate(whole.split("\n") if whole else (), 1):
        try:
            lines.append(_object(line))
        except ValueError as error:
            raise RunError(
                f"{path} is damaged in line {number} ({cause(error)}): mend the line, or delete the checkpoints to "
                "train from the beginning"
            ) from None
    return lines


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict) or "iteration" not in value:
        raise ValueError("no line of a log")
    return value
