"""What a person sees of a run: progress on standard error, results on standard output.

On a terminal the progress is one line that moves; elsewhere (a pipe, a log, a batch job) it is a few plain lines.
"""

from __future__ import annotations

import math
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from experiments.record import dump

if TYPE_CHECKING:
    from experiments.run.progress import Display
    from experiments.run.result import Result

JSON_KEYS = (
    "run",
    "method",
    "task",
    "seed",
    "solved",
    "iterations",
    "error",
    "loss",
    "metric",
    "seconds",
    "iterations_per_second",
    "status",
    "kernels",
)
"""Entries of the JSON object that a training run ends with, in this order."""

HUGE = 700.0
"""Nats whose perplexity is as large as numbers get."""

_ENDS = {"budget": "", "patience": "not solved: ", "spectral_radius": "stopped: ", "diverged": "diverged: "}


class PlainDisplay:
    """Progress as lines of text, at most one every few seconds."""

    def __init__(
        self, stream: TextIO | None = None, every: float = 5.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Write to `stream` (default: standard error), at most once in `every` seconds."""
        self._stream = sys.stderr if stream is None else stream
        self._every = every
        self._clock = clock
        self._last = -math.inf
        self._pending = ""
        self._facts: Mapping[str, Any] = {}

    def started(self, run_dir: Path, facts: Mapping[str, Any]) -> None:
        """Name the run and what it trains."""
        self._facts = facts
        self.note(heading(run_dir, facts))

    def note(self, line: str) -> None:
        """Write one line at once."""
        print(line, file=self._stream, flush=True)

    def progress(
        self, iteration: int, cost: float, error: float, iterations_per_second: float, seconds_left: float
    ) -> None:
        """Take note of where the run is; writes a line when the last one is old enough."""
        parts = measures(iteration, self._facts, cost, error, iterations_per_second, seconds_left)
        self._pending = "  ".join(parts)
        if self._clock() - self._last >= self._every:
            self._flush()

    def finished(self) -> None:
        """Write what the last line did not say."""
        self._flush()

    def _flush(self) -> None:
        if self._pending:
            self.note(self._pending)
        self._pending = ""
        self._last = self._clock()


class LiveDisplay:
    """Progress as one line that moves; drawn when the run says where it is, and only then."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Draw on `stream` (default: standard error)."""
        from rich.console import Console

        self._console = Console(file=sys.stderr if stream is None else stream, highlight=False, soft_wrap=True)
        self._live: Any = None
        self._facts: Mapping[str, Any] = {}

    def started(self, run_dir: Path, facts: Mapping[str, Any]) -> None:
        """Name the run and what it trains, and open the moving line."""
        from rich.live import Live

        self.note(heading(run_dir, facts))
        self._facts = facts
        # No refreshing thread and no detour of what others print: the training loop keeps the processor to itself.
        quiet: dict[str, Any] = {"auto_refresh": False, "redirect_stdout": False, "redirect_stderr": False}
        self._live = Live(self._line(["preparing"]), console=self._console, **quiet)
        self._live.start(refresh=True)

    def note(self, line: str) -> None:
        """Write one line above the moving one."""
        self._console.print(line, markup=False)

    def progress(
        self, iteration: int, cost: float, error: float, iterations_per_second: float, seconds_left: float
    ) -> None:
        """Draw where the run is; for at most ten calls a second."""
        if self._live is not None:
            parts = measures(iteration, self._facts, cost, error, iterations_per_second, seconds_left)
            self._live.update(self._line(parts), refresh=True)

    def finished(self) -> None:
        """Leave the last state on the screen."""
        if self._live is not None:
            self._live.stop()
        self._live = None

    @staticmethod
    def _line(parts: Sequence[str]) -> Any:
        """One line, cut off where the terminal ends; its first part stands out."""
        from rich.text import Text

        first, *rest = parts
        line = Text(first, style="bold cyan", no_wrap=True, overflow="ellipsis")
        return line.append("".join(f"  {part}" for part in rest), style="not bold default")


def suited() -> Display:
    """The display that suits standard error."""
    moving = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    return LiveDisplay() if moving else PlainDisplay()


def heading(run_dir: Path, facts: Mapping[str, Any]) -> str:
    """The lines that a run begins with: where it lies, and what it trains."""
    start = facts.get("iteration", 0)
    where = f"run {run_dir}" + (f", from iteration {start:,}" if start else "")
    shown = {name.replace("_", " "): value for name, value in facts.items() if name != "iteration"}
    return f"{where}\n{text(shown)}"


def measures(
    iteration: int, facts: Mapping[str, Any], cost: float, error: float, rate: float, left: float
) -> list[str]:
    """The parts of a progress line; numbers that are not known yet are left out. `left` is the time to the end."""
    total, tokens = facts.get("max_iterations"), facts.get("tokens")
    where = f"iteration {iteration:,}" + (f" of {total:,}" if total else "")
    if each := facts.get("iterations_of_a_pass"):
        where += f", pass {iteration / each:.2f}" + (f" of {total / each:.4g}" if total else "")
    if tokens is None:
        parts = [where, *known(cost=cost, error=error)]
    elif "pass" in facts:  # an evaluation, not a training
        parts = [where, *known(cost=cost, perplexity=_perplexity(error))]
    else:
        told = {"training cost": cost, "validation perplexity": _perplexity(error)}
        parts = [where, *known(**told)]
    if iteration > 1 and math.isfinite(rate):  # the first iteration warms up: it says nothing about the others
        parts.append(f"{rate:,.0f} it/s" if rate >= 10 else f"{rate:.2g} it/s")
        if tokens is not None:
            parts.append(f"{rate * tokens:,.0f} tokens/s")
        if math.isfinite(left):
            parts.append(f"{duration(left)} left")
    return parts


def _perplexity(error: float) -> float:
    """Of nats a token; infinite where no number says it."""
    return math.inf if error > HUGE else math.exp(error)


def known(**values: float | None) -> list[str]:
    """Names and values of the numbers that are known; what has become infinite is."""
    return [f"{name} {value:.4g}" for name, value in values.items() if value is not None and not math.isnan(value)]


def duration(seconds: float) -> str:
    """A length of time for people: `8.2 s`, `3 min 20 s`, `2 h 5 min`, `17 days`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 100 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400:,} days"


def print_result(result: Result, as_json: bool) -> None:
    """Write how a training run ended on standard output.

    Args:
        result: the end of the run.
        as_json: one JSON object on one line, and nothing else.
    """
    if as_json:
        told = {key: getattr(result, key) for key in JSON_KEYS}
        print(dump(told if solvable(result) else told | {"solved": None}), flush=True)
    else:
        print("\n".join(ending(result)), flush=True)
    if result.status == "interrupted":
        print(f"resume with: python cli.py resume {shlex.quote(str(result.run))}", file=sys.stderr, flush=True)


def ending(result: Result) -> list[str]:
    """What there is to say when training ends: the outcome, where it lies, how to go on."""
    if result.solved:
        outcome = f"solved {result.task} at iteration {result.iterations:,} after {duration(result.seconds)}"
    else:
        how = _ENDS.get(result.status, "")
        if result.status == "patience" and not solvable(result):
            how = "ended: "
        why = f"{how}{result.reason or result.status}"
        outcome = f"{why} ({result.iterations:,} iterations in {duration(result.seconds)})"
    rows = [("result", outcome)]
    if scores := known(**result.metric, loss=result.loss):
        rows.append(("scores", ", ".join(scores)))
    rows.append(("run", str(result.run)))
    if result.figure:
        rows.append(("figure", str(result.figure)))
    if result.status != "interrupted":
        rows.append(("score it", f"python cli.py evaluate {shlex.quote(str(result.run))}"))
    return table(rows)


def solvable(result: Result) -> bool:
    """Whether there is anything to solve: a text or images one can only do better and better."""
    from datasets import registry

    return result.task not in registry.names() or registry.solvable(result.task)


def print_scores(scores: Mapping[str, Any], as_json: bool) -> None:
    """Write the outcome of an evaluation on standard output: a line an entry, or one JSON object."""
    rows = ((name, text(value)) for name, value in scores.items() if value is not None)
    print(dump(scores) if as_json else "\n".join(table(rows)), flush=True)


def table(rows: Iterable[Sequence[str]]) -> list[str]:
    """Rows of text as lines whose columns stand below each other."""
    rows = [tuple(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def text(value: Any) -> str:
    """A value of a result as a person reads it."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {text(item)}" for name, item in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
