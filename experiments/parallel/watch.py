"""What a person sees while many runs are computed: moving lines on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from experiments.display import duration

EVERY_PLAIN, EVERY_LIVE = 15.0, 0.2
"""Seconds between two reports, at least."""

MOVES = "iteration "
"""What the part of a worker's line begins with that moves."""


class Plain:
    """A line now and then."""

    def __init__(self, what: str, stream: TextIO | None = None) -> None:
        """Call the chains `what`; write to `stream` (default: standard error)."""
        self._what, self._stream = what, sys.stderr if stream is None else stream
        self._began = self._last = time.monotonic()

    def note(self, line: str) -> None:
        """Write a line."""
        print(line, file=self._stream, flush=True)

    def moved(self, done: int, chains: int, running: Mapping[Any, str]) -> None:
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

    def moved(self, done: int, chains: int, running: Mapping[Any, str]) -> None:
        """Draw where things stand."""
        from rich.text import Text

        now = time.monotonic()
        if now - self._last >= EVERY_LIVE:
            self._last = now
            head = f"{done} of {chains} {self._what}, {duration(now - self._began)}"
            text = Text(head, style="bold cyan", no_wrap=True, overflow="ellipsis")
            for line in in_width([running[number] for number in sorted(running)], self._console.width):
                text.append("\n" + line, style="not bold default")
            self._live.update(text, refresh=True)

    def finished(self) -> None:
        """Leave the last state on the screen."""
        self._live.stop()


def in_width(running: Sequence[str], width: int) -> list[str]:
    """What each worker is at as a line: what moves comes first, of the name that follows the middle may be left out.

    Args:
        running: `name: iteration ...` each, or the name of a run that is about to begin.
        width: columns of the terminal.
    """
    parts = [(name, moves and MOVES + moves) for name, _, moves in (text.partition(f": {MOVES}") for text in running)]
    widest = max((len(moves) for _, moves in parts), default=0)
    fronts = [f"  {moves:<{widest}}  " if widest else "  " for _, moves in parts]
    return [front + _crop(name, width - len(front)) for front, (name, _) in zip(fronts, parts, strict=True)]


def _crop(text: str, width: int) -> str:
    """The text without so much of its middle that it fits."""
    if len(text) <= width:
        return text
    kept = max(0, width - 1)
    return text[: kept // 2] + "…" + text[len(text) - (kept - kept // 2) :]


def suited(what: str) -> Plain | Live:
    """The one that suits standard error."""
    moving = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    return Live(what) if moving else Plain(what)
