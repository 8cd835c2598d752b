"""A table or figure of a paper as a file: published numbers, and the runs that are to come to them.

The files lie in `tables/`, one an entry, in TOML. `columns` and `rows` hold what the paper prints. Where an entry can
be reproduced, its section `run` says how: every row meets every entrant (a method of the paper, or a control of ours),
and each such cell is one or several training runs and a number that is read off them.

    [run]
    measure = "depth"            what a cell is: see experiments/papers/measures.py
    row = "problem"              the column that names a row; where the paper prints no rows (a figure), instead of it
    cases = {"T=30" = {...}}     rows of ours by their names, each with settings, config, method or options of its own
                                 (printed = {B = 5}: and the paper's rows that it stands for, by their columns;
                                 published = "cifar_acc": the column of the paper's number, where cases differ in it)
    settings = {...}             Settings of every run
    config = {...}               fields of every method's Config
    columns = {task = "problem"} Settings that a column of the row holds

    [[run.entrants]]
    name = "TPTT"
    method = "tptt"
    published = "tptt_tmax"      the column that holds the paper's number (none: a control)
    printed = {H_steps = 1}      with cases: the one of their rows that is meant
    columns = {alpha_i = "alpha_i"}  fields of the Config that a column of the row holds
    settings, config             as above, for this entrant alone
    options = {split = "test"}   of the measure, for this entrant alone
    rows = ["temporal"]          rows that it takes part in (all)
    by_row = {adding = {...}}    settings, config, method or printed for one row

    [presets.quick]              seeds, and what else differs: settings, config, options of the measure, rows
    comparable = false           its numbers are of another task, or of less data, which `on` then names
    special = [{rows = [...], entrants = [...], settings = {...}}]  the same for some cells only

    [[claims]]                   what the paper says of these numbers, see experiments/papers/comparison.py

A table of settings that a paper searched has no section `run`, but may say what of them we searched, and where:

    [[searched]]
    where = "sample-char"
    values = {lambda = [1, 0.1]}  by the names in the first column; what is not named was not searched
    taken = {lambda = 0.1}        what the runs of other tables are given

A figure that shows the runs of a table names it instead of repeating `run` and `presets`:

    runs_of = "manchev-6"        its cells, which go by the names of its rows; its numbers are not the figure's
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from experiments import record
from experiments.parallel import job
from experiments.parallel.job import Job
from minigrad.errors import InputError, unknown

FOLDER = Path(__file__).parent / "tables"


@dataclass(frozen=True)
class Variation:
    """What differs in one row."""

    method: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the measure."""
    printed: dict[str, Any] = field(default_factory=dict)
    """Columns of the paper's table and what they hold in the rows that a case stands for."""
    published: str | None = None
    """The column that holds the paper's number in this case, where it is not that of the entrant."""


@dataclass(frozen=True)
class Entrant:
    """A column of our table: a method of the paper, or a control."""

    name: str
    method: str
    published: str | None = None
    printed: dict[str, Any] = field(default_factory=dict)
    """Columns and what they hold in the paper's row that is meant, where a case stands for several."""
    about: str = ""
    """What it is, for the legend of the table."""
    columns: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the measure."""
    rows: list[str] | None = None
    by_row: dict[str, Variation] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """How an entry is reproduced."""

    measure: str
    entrants: list[Entrant]
    row: str | None = None
    cases: dict[str, Variation] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the measure."""
    draw: str | None = None
    """The figure: see experiments/papers/figures/."""


@dataclass(frozen=True)
class Special:
    """What differs in some cells of a preset."""

    rows: list[str] | None = None
    """In these rows only, ..."""
    entrants: list[str] | None = None
    """... of these entrants only."""
    settings: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)

    def meets(self, cell: Cell) -> bool:
        """Whether it speaks of a cell."""
        return (self.rows is None or cell.row in self.rows) and (self.entrants is None or cell.entrant in self.entrants)


@dataclass(frozen=True)
class Preset:
    """How much of it is computed."""

    seeds: list[int]
    about: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    comparable: bool = True
    """Whether its numbers are of the kind that the paper prints, or of a smaller task."""
    on: str = ""
    """What it computes on in place of what the paper did, where that is no other task."""
    rows: list[str] | None = None
    entrants: list[str] | None = None
    config: dict[str, Any] = field(default_factory=dict)
    special: list[Special] = field(default_factory=list)
    """Later ones come before earlier ones."""

    @property
    def substitute(self) -> str:
        """What its numbers are of, if not of what the paper's are of: empty where they can be compared."""
        return "" if self.comparable else str(self.on or self.settings.get("task", "less data"))


@dataclass(frozen=True)
class Claim:
    """A statement of the paper about the numbers of an entry, and how it is judged."""

    text: str
    more: str
    """The entrant that is to be ahead, ..."""
    less: str
    """... of this one."""
    higher: bool = True
    """Whether ahead means a larger number."""
    rows: list[str] | None = None
    """Rows for which it is claimed."""
    less_row: str | None = None
    """Where the other one stands, if not in the same row."""
    by: Literal["paper", "question"] = "paper"
    """Whether the paper says so, or it is a question that our controls ask."""


@dataclass(frozen=True)
class Search:
    """What of the settings of a table we searched."""

    where: str
    """On which text or task."""
    values: dict[str, list[Any]] = field(default_factory=dict)
    """By the names of the table's rows, or of ours."""
    taken: dict[str, Any] = field(default_factory=dict)
    """With what runs are made since."""


@dataclass(frozen=True)
class Entry:
    """A table or figure of a paper."""

    id: str
    paper: str
    label: str
    title: str
    kind: Literal["table", "figure"]
    columns: list[str]
    rows: list[list[Any]]
    unit: str = ""
    notes: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    """What the paper says of its settings, in its terms."""
    runs_of: str = ""
    """The entry whose plan and presets it takes."""
    run: Plan | None = None
    presets: dict[str, Preset] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)
    searched: list[Search] = field(default_factory=list)
    """Of a table of settings."""

    def row_names(self) -> list[str]:
        """Names of the rows that are reproduced, in the paper's order."""
        plan, source = self.plan(), self._source()
        if plan.row is None:
            return list(plan.cases)
        return [str(row[source.columns.index(plan.row)]) for row in source.rows]

    def value(self, row: str, column: str) -> Any:
        """What the paper prints in a row and a column; None where it prints nothing, which is "" in the file.

        Of an entry that shows the runs of another, in a row and a column of that one.
        """
        source = self._source()
        found = source.rows[self.row_names().index(row)][source.columns.index(column)]
        return None if found == "" else found

    def published(self, row: str, entrant: str) -> Any:
        """The paper's number for an entrant in a row; None if there is none.

        Raises:
            InputError: if the file of the entry names a row that the paper does not print.
        """
        plan = self.plan()
        chosen = next(e for e in plan.entrants if e.name == entrant)
        if chosen.published is None:
            return None
        if plan.row is not None:
            return self.value(row, chosen.published)
        case, own = plan.cases[row], chosen.by_row.get(row, Variation())
        wanted = {**case.printed, **chosen.printed, **own.printed}
        places = {self.columns.index(column): held for column, held in wanted.items()}
        found = [printed for printed in self.rows if all(printed[i] == held for i, held in places.items())]
        if len(found) != 1:
            raise InputError(
                f"{self.id}: {row}, {entrant} stands for {len(found)} of the paper's rows: correct the file"
            )
        number = found[0][self.columns.index(case.published or chosen.published)]
        return None if number == "" else number

    def plan(self) -> Plan:
        """How it is reproduced.

        Raises:
            InputError: if it cannot be, here.
        """
        if self.run is None:
            raise InputError(f"{self.id} has nothing to run: it holds settings alone")
        return self.run

    def preset(self, name: str) -> Preset:
        """A preset by its name."""
        self.plan()
        if name not in self.presets:
            raise InputError(unknown(f"preset of {self.id}", name, self.presets))
        return self.presets[name]

    def _source(self) -> Entry:
        """The entry whose rows and columns its plan speaks of."""
        return load(self.runs_of) if self.runs_of else self


@dataclass(frozen=True)
class Cell:
    """A row, an entrant, and a seed."""

    row: str
    entrant: str
    seed: int


def cells(entry: Entry, preset: Preset) -> list[Cell]:
    """The cells that a preset computes, all of one seed before those of the next: every row has something soon."""
    plan = entry.plan()
    rows = [name for name in entry.row_names() if preset.rows is None or name in preset.rows]
    return [
        Cell(row, entrant.name, seed)
        for seed in preset.seeds
        for row in rows
        for entrant in plan.entrants
        if entrant.rows is None or row in entrant.rows
        if preset.entrants is None or entrant.name in preset.entrants
    ]


def first_job(entry: Entry, preset: Preset, cell: Cell, places: Mapping[str, Any]) -> Job:
    """The (first) run of a cell.

    Args:
        entry: the table.
        preset: how much of it.
        cell: one of its cells.
        places: Settings that say where files lie and runs compute.

    Raises:
        InputError: if the file of the entry asks for something that does not exist.
    """
    plan = entry.plan()
    entrant = next(e for e in plan.entrants if e.name == cell.entrant)

    def from_row(columns: Mapping[str, str]) -> dict[str, Any]:
        return {name: entry.value(cell.row, column) for name, column in columns.items()}

    case, own = plan.cases.get(cell.row, Variation()), entrant.by_row.get(cell.row, Variation())
    config = plan.config | case.config | from_row(entrant.columns) | entrant.config | own.config | preset.config
    settings = plan.settings | from_row(plan.columns) | case.settings | entrant.settings | own.settings
    settings |= preset.settings
    for special in (special for special in preset.special if special.meets(cell)):
        config, settings = config | special.config, settings | special.settings
    settings |= {"seed": cell.seed, **places}
    try:
        return job.make(own.method or case.method or entrant.method, config, settings)
    except InputError as error:
        raise InputError(f"{entry.id}, {cell.row}, {cell.entrant}: {error}") from error


def names() -> list[str]:
    """Names of all entries."""
    return sorted((path.stem for path in FOLDER.glob("*.toml")), key=_natural)


@cache
def load(name: str) -> Entry:
    """An entry by its name.

    Raises:
        InputError: if there is none of this name, or its file does not fit.
    """
    if name not in names():
        raise InputError(unknown("table", name, names()))
    path = FOLDER / f"{name}.toml"
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is no TOML ({error})") from None
    found = record.load(Entry, {"id": name, **values}, str(path), "correct it")
    return _with_runs(found, path) if found.runs_of else found


def _with_runs(entry: Entry, path: Path) -> Entry:
    """An entry with the plan and the presets of the one that it names, whose published numbers are not its own."""
    if entry.run is not None or entry.presets:
        raise InputError(f"{path} has runs of its own and those of {entry.runs_of}: correct it")
    source = load(entry.runs_of)
    plan = source.plan()
    entrants = [replace(entrant, published=None) for entrant in plan.entrants]
    return replace(entry, run=replace(plan, entrants=entrants), presets=source.presets)


def _natural(name: str) -> tuple[str, bool, str, int]:
    """Tables before figures, 2 before 10, numbers before words, the appendix last."""
    paper, _, rest = name.partition("-")
    kind, _, number = rest.rpartition("-")
    digits = number.lstrip("a")
    return paper, kind == "figure", "a" if number.startswith("a") else "", int(digits) if digits.isdigit() else 10**6
