"""What the page is about: the runs in some folders, and the tables of the papers that they belong to. Only reads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from datasets import registry
from experiments import exits
from experiments.errors import RunError
from experiments.papers import comparison, measures
from experiments.papers import entry as entries
from experiments.papers.comparison import Summary, Verdict
from experiments.papers.entry import Cell, Entry, Preset
from experiments.papers.measures import Measured
from experiments.parallel import pool, store
from experiments.parallel.job import Job
from experiments.parallel.store import Store
from experiments.report.series import Curves, curves
from experiments.run import journal, result, rundir
from experiments.run.result import Result
from experiments.run.rundir import Run
from minigrad.errors import InputError

Damage = (InputError, OSError, ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError)
"""What reading files may come to that hold something else than this program writes."""

RUNS_WITH_CURVES = 500
"""Of more runs, the later ones are listed without curves."""

CURVE_POINTS = 130_000
"""Points of all curves together, about, which keeps the page of some hundred runs within three megabytes."""

CURVES = 12
"""Curves of a run, about."""

FEWEST, MOST = 16, 300
"""Points of one curve."""


@dataclass(frozen=True)
class Item:
    """A run as the page shows it."""

    run: Run
    job: Job
    result: Result | None
    iterations: int
    error: float | None
    seconds: float
    curves: Curves
    processes: list[dict[str, Any]]
    """On what it ran: an entry for every process that took part."""

    @property
    def name(self) -> str:
        return self.run.path.absolute().name

    @property
    def solved(self) -> bool:
        return self.result is not None and self.result.solved

    @property
    def solvable(self) -> bool:
        """Whether its task is one that is solved or not."""
        return registry.solvable(self.job.settings.task)

    @property
    def status(self) -> str:
        """How it ended, in a word or two."""
        return "unfinished" if self.result is None else _WORDS.get(self.result.status, self.result.status)


_WORDS: dict[str, str] = {
    "budget": "budget used up",
    "patience": "no more progress",
    "spectral_radius": "spectral radius too large",
}


@dataclass(frozen=True)
class Damaged:
    """Something that could not be read, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class Covered:
    """A table of a paper, as far as the runs cover it."""

    entry: Entry
    preset_name: str
    preset: Preset
    cells: int
    """Cells of the preset."""
    measured: dict[Cell, Measured]
    begun: dict[Cell, int]
    """Cells that are not finished but have finished runs, and how many."""

    @cached_property
    def summaries(self) -> list[Summary]:
        return comparison.summarise(self.entry, self.preset, self.measured)

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """What became of the claims; those of which nothing is computed are left out."""
        return [
            v
            for v in comparison.judge(self.entry, self.preset, self.summaries)
            if {*v.rows.values()} - {"not computed"}
        ]

    @property
    def seconds(self) -> float:
        return sum(found.seconds for found in self.measured.values())


@dataclass(frozen=True)
class Collection:
    """All that the page tells of."""

    items: list[Item]
    """All runs but those that another run continues, which tells of both."""
    tables: list[Covered] = field(default_factory=list)
    damaged: list[Damaged] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return sum(item.seconds for item in self.items)


def collect(paths: Sequence[Path]) -> Collection:
    """Read runs and find the tables that they belong to.

    Args:
        paths: run directories, or folders that hold some.

    Raises:
        RunError: if no path is given, one does not exist, holds no run, or none of them can be read.
    """
    if not paths:
        raise RunError("no run is given: name run directories, or a folder that holds some, such as runs")
    folders = list({folder.resolve(): folder for path in paths for folder in _folders(path)}.values())
    damaged: list[Damaged] = []
    items = sorted(_items(folders, damaged), key=_order)
    if not items:
        raise RunError(f"none of {len(damaged)} runs can be read: {damaged[0].name}: {damaged[0].why}")
    known = Store(items[0].run.path)
    for item in items:
        known.add(item.run.path)
    parents = {f"{item.run.path.parent}/" for item in items}
    tables = [table for name in entries.names() if (table := _covered(entries.load(name), known, damaged))]
    told = [Damaged(one.name, _without(one.why, parents)) for one in damaged]
    return Collection(_without_continued(items), tables, told)


def _without(words: str, parents: Iterable[str]) -> str:
    """Where on this machine the runs lie is nobody's business."""
    for parent in parents:
        words = words.replace(parent, "")
    return words


def _folders(path: Path) -> list[Path]:
    """The run directories that a path stands for.

    Raises:
        RunError: if there are none.
    """
    if not path.is_dir():
        raise RunError(f"there is no {path}" if not path.exists() else f"{path} is no folder")
    if (path / "config.json").exists():
        return [path]
    # A name that begins with a dot is a run directory in the making.
    inside = [child for child in sorted(path.iterdir()) if child.is_dir() and not child.name.startswith(".")]
    runs = [child for child in inside if any((child / name).exists() for name in ("config.json", "metrics.jsonl"))]
    if not runs:
        raise RunError(f"there is no run in {path}: name a run directory, or a folder that holds some")
    return runs


def _items(folders: Sequence[Path], damaged: list[Damaged]) -> Iterator[Item]:
    """The runs that can be read; the others are noted."""
    points = max(FEWEST, min(MOST, CURVE_POINTS // (CURVES * min(len(folders), RUNS_WITH_CURVES))))
    for number, folder in enumerate(folders):
        try:
            yield _item(rundir.open_run(folder), points if number < RUNS_WITH_CURVES else 0)
        except Damage as error:
            damaged.append(Damaged(folder.absolute().name, _why(error, folder)))


def _item(run: Run, points: int) -> Item:
    """Read a run: its log once, of which only thinned curves are kept."""
    job, done = store.job_of(run), result.load(run)
    lines = journal.read_metrics(run.metrics)
    if not all(0 <= line["iteration"] < math.inf for line in lines):
        raise ValueError(f"{run.metrics} has an iteration that is no number")
    last = lines[-1]["iteration"] if lines else 0
    error = next((line["error"] for line in reversed(lines) if "error" in line), None)
    seconds = float(journal.seconds_spent(run) if done is None else done.seconds)
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{run.result} has a time that is no number")
    return Item(
        run=run,
        job=job,
        result=done,
        iterations=int(last if done is None else done.iterations),
        error=_number(error if done is None else done.error),
        seconds=seconds,
        curves=curves(lines, points),
        processes=_processes(run),
    )


def _number(value: Any) -> float | None:
    """A finite number, or none."""
    return None if value is None or not math.isfinite(value) else float(value)


def _processes(run: Run) -> list[dict[str, Any]]:
    """What the manifest tells; a run without one is a run all the same."""
    with suppress(RunError):
        found = rundir.read_json(run.manifest, "").get("processes")
        return [process for process in found if isinstance(process, dict)] if isinstance(found, list) else []
    return []


def _why(error: BaseException, folder: Path | None = None) -> str:
    """One line that leaves out where on this machine the folder lies."""
    words = exits.one_line(str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}")
    return words if folder is None else words.replace(f"{folder}/", "").replace(str(folder), folder.name)


def _order(item: Item) -> tuple[Any, ...]:
    """By method, task, length and seed."""
    settings = item.job.settings
    return item.job.method, settings.task, settings.length or 0, settings.seed, item.name


def _without_continued(items: Sequence[Item]) -> list[Item]:
    """The runs that no other run continues: the time of those is a part of its time, and their logs of its logs."""
    same: dict[str, list[Item]] = {}
    for item in items:
        same.setdefault(item.job.key, []).append(item)
    return [item for item in items if not any(_continues(other, item) for other in same[item.job.key])]


def _continues(later: Item, earlier: Item) -> bool:
    """Whether a run is a copy, with a larger budget, of one that used up its own."""
    if earlier.result is None or earlier.result.status != "budget":
        return False
    longer = later.job.settings.max_iterations > earlier.job.settings.max_iterations
    logs = ((later.run.metrics, earlier.run.metrics), (later.run.timings, earlier.run.timings))
    return longer and all(_begins_with(*pair) for pair in logs)


def _begins_with(path: Path, other: Path) -> bool:
    """Whether a file begins with all of another one."""
    with suppress(OSError):
        start = other.read_bytes()
        with path.open("rb") as file:
            return file.read(len(start)) == start
    return False


def _covered(entry: Entry, known: Store, damaged: list[Damaged]) -> Covered | None:
    """The preset of an entry that has most finished cells; None if there is no finished cell."""
    if entry.run is None:
        return None
    presets = [_preset(entry, name, known, damaged) for name in entry.presets]
    best = max(presets, key=lambda found: (len(found.measured), -found.cells))
    return best if best.measured else None


def _preset(entry: Entry, name: str, known: Store, damaged: list[Damaged]) -> Covered:
    """What there is of one preset."""
    preset = entry.presets[name]
    cells = entries.cells(entry, preset)
    found = Covered(entry, name, preset, len(cells), {}, {})
    for cell in cells:
        try:
            there = pool.replay(measures.chain(entry, preset, cell, {}), known)
        except Damage as error:
            damaged.append(Damaged(f"{entry.id}, {cell.row}, {cell.entrant}, seed {cell.seed}", _why(error)))
            continue
        if there.complete and there.value is not None:
            found.measured[cell] = there.value
        elif there.runs:
            found.begun[cell] = len(there.runs)
    return found
