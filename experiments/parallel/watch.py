"""What a person sees while many runs are computed: moving lines on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

from experiments.display import duration

EVERY_PLAIN, EVERY_LIVE = 15.0, 0.2
"""Seconds between two reports, at least."""


class Plain:
    """A line now and then."""

    def __init__(self, what: str, stream: TextIO | None = None) -> None:
        """Call the chains `what`; write to `stream` (default: standard error)."""
        self._what, self._stream = what, sys.stderr if stream is None else stream
        self._began = self._last = time.monotonic()

    def note(self, line: str) -> None:
        """Write a line."""
        print(line, file=self._stream, flush=True)

    def moved(self, done: int, chains: int, running: Mapping[int, str]) -> None:
        """Write where things stand, if the last such line is old enough."""
        now = time.monotonic()
        if now - self._last >= EVERY_PLAIN:
            self._last = now
            at = "; ".join(running[number] for number in sorted(running))
            self.note(f"{done} of {chains} {self._what} after {duration(now - self._began)}; {at}")

    def finished(self) -> None:
        """Nothing."""


class Live:
    """A few lines that move."""

    def __init__(self, what: str) -> None:
        """Call the chains `what`."""
        from rich.console import Console
        from rich.live import Live as Moving

        self._what = what
        self._console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
        quiet: dict[str, Any] = {"auto_refresh": False, "redirect_stdout": False, "redirect_stderr": False}
        self._live = Moving(console=self._console, **quiet)
        self._live.start()
        self._began, self._last = time.monotonic(), 0.0

    def note(self, line: str) -> None:
        """Write a line above the moving ones."""
        self._console.print(line, markup=False)

    def moved(self, done: int, chains: int, running: Mapping[int, str]) -> None:
        """Draw where things stand."""
        from rich.text import Text

        now = time.monotonic()
        if now - self._last >= EVERY_LIVE:
            self._last = now
            text = Text(f"{done} of {chains} {self._what}, {duration(now - self._began)}", style="bold cyan")
            for number in sorted(running):
                text.append(f"\n  {running[number]}", style="not bold default")
            self._live.update(text, refresh=True)

    def finished(self) -> None:
        """Leave the last state on the screen."""
        self._live.stop()


def suited(what: str) -> Plain | Live:
    """The one that suits standard error."""
    moving = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    return Live(what) if moving else Plain(what)
