"""The command `reproduce`: a table or figure of a paper, run here and put beside the published numbers."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments import drawing, exits, record
from experiments.display import duration, table
from experiments.papers import comparison, estimate
from experiments.papers import entry as entries
from experiments.papers.comparison import Summary
from experiments.papers.entry import Cell, Entry, Preset
from experiments.papers.measures import Measured, chain
from experiments.parallel import pool, watch
from experiments.parallel.job import Chain
from experiments.parallel.store import Store
from minigrad.errors import InputError, unknown

LEAST_TITLE = 8
"""Columns of a title in the list, however narrow the terminal is."""


@dataclass(frozen=True)
class Request:
    """What a person asks for."""

    tables: tuple[str, ...] = ()
    preset: str = "quick"
    rows: tuple[str, ...] = ()
    """Rows to compute; none named: those of the preset."""
    entrants: tuple[str, ...] = ()
    """Entrants to compute; none named: those of the preset."""
    seeds: tuple[int, ...] = ()
    """Seeds; none named: those of the preset."""
    workers: int = 1
    """Processes side by side."""
    runs_dir: Path = Path("runs")
    data_dir: Path | None = None
    device: str = "cpu"
    """Where runs compute; those of another device are others."""
    together: int = 1
    """Runs that a process trains side by side."""
    out: Path | None = None
    """Folder for the figures; None: runs_dir."""
    only_show: bool = False
    """Compute nothing: show what is there."""
    json: bool = False

    @property
    def places(self) -> dict[str, Any]:
        """Settings that say where files lie and runs compute."""
        data_dir = None if self.data_dir is None else str(self.data_dir)
        return {"runs_dir": str(self.runs_dir), "data_dir": data_dir, "device": self.device}


@dataclass(frozen=True)
class Reproduced:
    """A table with what was measured for it."""

    entry: Entry
    preset: Preset
    measured: dict[Cell, Measured]
    failures: dict[Cell, str] = field(default_factory=dict)


def reproduce(request: Request) -> int:
    """Run what is missing of the tables, print them beside the paper's, draw their figures.

    Raises:
        InputError: if a table, preset, row or entrant does not exist, a number is impossible, nothing of a table can be
            computed for want of data, or an option is about a table and none is named.
    """
    pool.require_some(request.together)
    if not request.tables:
        require_a_table(request)
        show_list(request)
        return exits.FINISHED
    asked = [entries.load(name) for name in request.tables]
    wanted = [(entry, chosen(entry, request)) for entry in asked if not entry.searched]
    if not request.only_show:
        for entry, preset in wanted:
            require_data(entry, preset, request)
    shown = [entry for entry in asked if entry.searched]
    for entry in shown:
        print(record.dump(settings_as_json(entry)) if request.json else "\n".join(settings_lines(entry)), flush=True)
    done = list(compute(wanted, request))
    for number, found in enumerate(done, len(shown)):
        if not request.json:
            print(("\n" if number else "") + "\n".join(lines(found, request.preset)), flush=True)
        figure = _draw(found, request)
        if request.json:
            print(record.dump(as_json(found, request.preset, figure)), flush=True)
        elif figure:
            print(f"figure: {figure}", flush=True)
    return exits.FAILED if any(found.failures for found in done) else exits.FINISHED


FOR_TABLES = ("preset", "rows", "entrants", "seeds", "together", "out")
"""What says which part of a table is wanted, or how to compute it, as far as a request tells it from the default."""


def require_a_table(request: Request) -> None:
    """Refuse a request that says what of a table is wanted and names none: the list would hide that it was forgotten.

    Raises:
        InputError: naming the option.
    """
    for name in FOR_TABLES:
        if getattr(request, name) != getattr(Request, name):
            flag = {"together": "population"}.get(name, name)
            raise InputError(f"--{flag} is about a table: name one, such as manchev-2 (without a name, all are listed)")


def require_data(entry: Entry, preset: Preset, request: Request) -> None:
    """Refuse a table of which nothing is there and nothing can be computed for want of data.

    Raises:
        InputError: what is missing of the first cell.
    """
    store, missing = Store(request.runs_dir), None
    for cell in entries.cells(entry, preset):
        if _is_complete(chain(entry, preset, cell, request.places), store):
            return
        try:
            entries.first_job(entry, preset, cell, request.places).look_for_data()
        except InputError as error:
            missing = missing or error
        else:
            return
    if missing is not None:
        raise missing


def settings_lines(entry: Entry) -> list[str]:
    """A table of settings beside what we searched and took, as text."""

    def told(value: Any) -> str:
        return (
            "-" if value is None else ", ".join(f"{each:g}" for each in (value if isinstance(value, list) else [value]))
        )

    names = list(dict.fromkeys([str(row[0]) for row in entry.rows] + [n for s in entry.searched for n in s.taken]))
    grid = {str(row[0]): row[1] for row in entry.rows}
    heads = [(f"searched on {s.where}", "taken") for s in entry.searched]
    rows = [("", "paper's grid", *(word for head in heads for word in head))]
    for name in names:
        ours = [(told(s.values.get(name)), told(s.taken.get(name))) for s in entry.searched]
        rows.append((name, told(grid.get(name)), *(word for pair in ours for word in pair)))
    out = [f"{entry.id}: {entry.title} ({entry.paper}, {entry.label})", "", *table(rows), ""]
    return out + [f"note: {note}" for note in entry.notes]


def settings_as_json(entry: Entry) -> dict[str, Any]:
    """The same for machines."""
    grid = {str(row[0]): row[1] for row in entry.rows}
    return {"table": entry.id, "paper": grid, "searched": record.plain(entry.searched), "notes": entry.notes}


def chosen(entry: Entry, request: Request) -> Preset:
    """The preset, narrowed down to what the request names.

    Raises:
        InputError: if a row or an entrant does not exist.
    """
    preset = entry.preset(request.preset)
    for kind, given, known in (
        ("row", request.rows, entry.row_names()),
        ("entrant", request.entrants, [e.name for e in entry.plan().entrants]),
    ):
        for name in given:
            if name not in known:
                raise InputError(unknown(f"{kind} of {entry.id}", name, known))
    seeds = list(dict.fromkeys(request.seeds))
    narrowed = replace(
        preset,
        about=_about(preset, seeds) if seeds else preset.about,
        rows=list(request.rows) or preset.rows,
        entrants=list(request.entrants) or preset.entrants,
        seeds=seeds or preset.seeds,
    )
    if not entries.cells(entry, narrowed):
        raise InputError(f"{entry.id} has no such cell: {', '.join(request.entrants)} takes no part in those rows")
    return narrowed


COUNTED = re.compile(r"\b(one|two|three|four|five|six|seven|eight|nine|ten|\d+) seeds?\b")
"""How presets say their number of seeds."""


def _about(preset: Preset, seeds: Sequence[int]) -> str:
    """What is said of a preset, with these seeds in place of its own."""
    named = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"
    if COUNTED.search(preset.about):
        return COUNTED.sub(named, preset.about)
    return f"{preset.about}; {named}" if preset.about else named


def compute(wanted: Iterable[tuple[Entry, Preset]], request: Request) -> Iterable[Reproduced]:
    """Measure all cells of several tables, side by side; runs that two tables share are computed once."""
    wanted, store = list(wanted), Store(request.runs_dir)
    chains = {
        (entry.id, cell): chain(entry, preset, cell, request.places)
        for entry, preset in wanted
        for cell in entries.cells(entry, preset)
    }
    measured: dict[tuple[str, Cell], Measured] = {}
    failures: dict[tuple[str, Cell], str] = {}
    if request.only_show:
        for key, one in chains.items():
            try:
                value = pool.replay(one, store).value
            except (InputError, OSError) as error:
                failures[key] = exits.one_line(str(error))
            else:
                measured |= {} if value is None else {key: value}
    else:
        watcher = watch.suited("cells")
        try:
            measured, failures = pool.run(chains, store, request.workers, watcher, request.together)
        finally:
            watcher.finished()
    for entry, preset in wanted:
        yield Reproduced(entry, preset, _of(entry, measured), _of(entry, failures))


def _of(entry: Entry, found: Mapping[tuple[str, Cell], Any]) -> dict[Cell, Any]:
    return {cell: value for (name, cell), value in found.items() if name == entry.id}


def _draw(found: Reproduced, request: Request) -> Path | None:
    """The figure of a table; None where there is nothing to show, or no matplotlib."""
    if not found.measured:
        return None
    from experiments.papers import figures

    path = (request.out or request.runs_dir) / f"{found.entry.id}-{request.preset}.png"
    return drawing.kept(lambda: figures.draw(found.entry, found.preset, found.measured), path)


def lines(found: Reproduced, preset_name: str) -> list[str]:
    """A table as text."""
    entry, preset = found.entry, found.preset
    summaries = comparison.summarise(entry, preset, found.measured)
    unit = f", {entry.unit}" if entry.unit else ""
    out = [f"{entry.id}: {entry.title}{unit} ({entry.paper}, {entry.label})"]
    out += [f"preset {preset_name}: {preset.about}", ""]
    out += table([("", "", "paper", "ours", "", "time of one core"), *_rows(entry, preset, summaries)])
    if any(s.second is not None for s in summaries):
        out += ["", "in brackets: right within 0.04 (the paper's words) instead of within 0.2 (the authors' program)"]
    shown = {s.entrant for s in summaries}
    legend = [(f"{e.name}:", e.about) for e in entry.plan().entrants if e.about and e.name in shown]
    out += ["", *table(legend)] if legend else []
    out += [""] + [f"{s.row}, {s.entrant}: {note}" for s in summaries for note in s.notes]
    out += _failed(found.failures)
    out += ["", *verdict_lines(entry, preset, summaries)] if entry.claims else []
    return out + [f"note: {note}" for note in entry.notes]


def _rows(entry: Entry, preset: Preset, summaries: list[Summary]) -> Iterable[tuple[str, ...]]:
    before = None
    for s in summaries:
        row, before = (s.row if s.row != before else ""), s.row
        spent = duration(s.seconds) if s.seconds else ""
        shown = comparison.agreement(entry, preset, s)
        paper = comparison.paper_text(s, entry.unit)
        ours = comparison.ours_text(s, entry.unit) + ("" if s.seeds == s.wanted else f", {s.seeds} of {s.wanted} seeds")
        yield row, s.entrant, paper, ours, "" if shown == "-" else shown, spent


def _failed(failures: Mapping[Cell, str]) -> list[str]:
    """Why cells have no value; cells that failed for the same reason together."""
    by_reason: dict[str, list[Cell]] = {}
    for cell, why in failures.items():
        by_reason.setdefault(why, []).append(cell)
    return [f"{_named(cells)} failed: {why}" for why, cells in by_reason.items()]


def _named(cells: list[Cell]) -> str:
    first = f"{cells[0].row}, {cells[0].entrant}, seed {cells[0].seed}"
    return first if len(cells) == 1 else f"{first} and {len(cells) - 1} more"


def verdict_lines(entry: Entry, preset: Preset, summaries: list[Summary]) -> list[str]:
    """What became of each claim that is about these entrants, and the answer to each question."""
    words = {"paper": "the paper's claim", "question": "our question"}
    judged = [verdict for verdict in comparison.judge(entry, preset, summaries) if verdict.rows]
    return [f"{words[v.claim.by]}: {v.claim.text}. {v.sentence}" for v in judged]


def as_json(found: Reproduced, preset_name: str, figure: Path | None) -> dict[str, Any]:
    """A table for machines."""
    summaries = comparison.summarise(found.entry, found.preset, found.measured)
    cells = [
        {
            "row": s.row,
            "entrant": s.entrant,
            "paper": s.order or s.published,
            "median": s.median,
            "range": s.range,
            "values": s.values,
            "seeds": s.seeds,
            "wanted": s.wanted,
            "at_least": s.at_least,
            "stopped": s.stopped,
            "second_reading": s.second,
            "agreement": comparison.agreement(found.entry, found.preset, s),
            "seconds": s.seconds,
            "notes": s.notes,
        }
        for s in summaries
    ]
    claims = [
        {"text": v.claim.text, "by": v.claim.by, "rows": v.rows, "seeds": v.seeds, "on": v.on or None}
        for v in comparison.judge(found.entry, found.preset, summaries)
    ]
    failures = [record.plain(cell) | {"reason": why} for cell, why in found.failures.items()]
    return {
        "table": found.entry.id,
        "preset": preset_name,
        "unit": found.entry.unit,
        "cells": cells,
        "claims": claims,
        "failures": failures,
        "figure": figure,
    }


def show_list(request: Request) -> None:
    """Name every table with its presets, what is there already, and about how long the rest takes here."""
    store, found = Store(request.runs_dir), []
    rows: list[tuple[str, ...]] = [("table", "", "preset", "cells done", "time", "")]
    alone: list[str] = []
    for entry in map(entries.load, entries.names()):
        presets = {} if entry.run is None else entry.presets
        states = {name: _state(entry, preset, store, request) for name, preset in presets.items()}
        found.append({"table": entry.id, "title": entry.title, "presets": states})
        if entry.run is None:
            alone.append(entry.id)
        head = (entry.id, entry.title)
        for name, state in states.items():
            left = "needs data" if state["missing"] else duration(state["seconds"]) if state["seconds"] else "-"
            rows.append((*head, name, f"{state['done']} of {state['cells']}", left, state["about"]))
            head = ("", "")
    if request.json:
        print(record.dump(found))
        return
    width = shutil.get_terminal_size((120, 24)).columns
    heading = (
        "time: about how long the rest takes on this machine, if every run uses up its budget and nothing else runs"
    )
    closing = f"nothing to run, they hold settings alone: {', '.join(alone)}" if alone else ""
    wrapped = [textwrap.wrap(words, width, break_on_hyphens=False) for words in (heading, closing)]
    print("\n".join([*wrapped[0], "", *in_width(rows, width), *([""] if closing else []), *wrapped[1]]))


def in_width(rows: Sequence[tuple[str, ...]], width: int) -> list[str]:
    """The list's table, without the last column where it is too wide, then with its second one cut to fit."""
    whole = table(rows)
    if max(map(len, whole)) <= width:
        return whole
    rows = [row[:-1] for row in rows]
    over = max(0, max(map(len, table(rows))) - width)
    fits = max(LEAST_TITLE, max(len(row[1]) for row in rows) - over)
    return table([(row[0], textwrap.shorten(row[1], fits, placeholder="…"), *row[2:]) for row in rows])


def _state(entry: Entry, preset: Preset, store: Store, request: Request) -> dict[str, Any]:
    """How much of a preset is done, and how long the rest takes."""
    cells = entries.cells(entry, preset)
    left = [cell for cell in cells if not _is_complete(chain(entry, preset, cell, {}), store)]
    state = {"about": preset.about, "cells": len(cells), "done": len(cells) - len(left), "seconds": None, "missing": ""}
    try:
        for cell in left:
            entries.first_job(entry, preset, cell, request.places).look_for_data()
    except InputError as error:
        return state | {"missing": str(error)}
    return state | {"seconds": estimate.about(entry, preset, left, request.workers)}


def _is_complete(one: Chain[Measured], store: Store) -> bool:
    """Whether nothing of a cell is left to compute; something damaged has to be computed again."""
    try:
        return pool.replay(one, store).complete
    except (InputError, OSError):
        return False
