"""Where a run tells how it goes; the command line has a live one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol


class Display(Protocol):
    """What the loop calls, in this order: started, then note and progress, then finished."""

    def started(self, run_dir: Path, facts: dict[str, Any]) -> None:
        """A run begins, or goes on: its directory, and what is worth saying about it."""

    def note(self, line: str) -> None:
        """Something worth a line; may also come before `started` and after `finished`."""

    def progress(
        self, iteration: int, cost: float, error: float, iterations_per_second: float, seconds_left: float
    ) -> None:
        """Called at most ten times a second: last cost, last validation error, speed, time to the end of the budget."""

    def finished(self) -> None:
        """The loop has ended, however it did."""


class Quiet:
    """A display that shows nothing."""

    def started(self, run_dir: Path, facts: dict[str, Any]) -> None:
        """Nothing."""

    def note(self, line: str) -> None:
        """Nothing."""

    def progress(
        self, iteration: int, cost: float, error: float, iterations_per_second: float, seconds_left: float
    ) -> None:
        """Nothing."""

    def finished(self) -> None:
        """Nothing."""
