"""What there is to draw of an entry, and how its rows are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from experiments.papers import entry as entries
from experiments.papers import measures
from experiments.papers.entry import Cell, Entry, Preset
from experiments.papers.figures import parts
from experiments.papers.measures import Measured


@dataclass(frozen=True)
class View:
    """What there is to draw."""

    entry: Entry
    preset: Preset
    measured: Mapping[Cell, Measured]

    @cached_property
    def rows(self) -> list[str]:
        """Rows with something in them, in the entry's order, whatever has been computed first."""
        found = {cell.row for cell in self._cells}
        return [row for row in dict.fromkeys(cell.row for cell in self._planned) if row in found]

    @cached_property
    def entrants(self) -> list[str]:
        """Entrants with something in them."""
        found = {cell.entrant for cell in self._cells}
        return [entrant.name for entrant in self.entry.plan().entrants if entrant.name in found]

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """Rows and entrants that were computed, row by row."""
        found = {(cell.row, cell.entrant) for cell in self._cells}
        return [(row, entrant) for row in self.rows for entrant in self.entrants if (row, entrant) in found]

    @cached_property
    def _planned(self) -> list[Cell]:
        return list(entries.cells(self.entry, self.preset))

    @cached_property
    def _cells(self) -> list[Cell]:
        return [cell for cell in self._planned if cell in self.measured]

    def seeds(self, row: str, entrant: str) -> list[Measured]:
        """What was measured for all seeds."""
        return [self.measured[cell] for cell in self._cells if (cell.row, cell.entrant) == (row, entrant)]

    def colour(self, entrant: str) -> dict[str, Any]:
        """Colour and dashes of an entrant, the same whether or not the others are there."""
        return parts.style([e.name for e in self.entry.plan().entrants].index(entrant))

    def options(self, row: str, entrant: str) -> dict[str, Any]:
        """Options of the measure in a cell."""
        return measures.options_of(self.entry, self.preset, row, entrant)

    def is_control(self, entrant: str) -> bool:
        """Whether the paper prints no number of it."""
        return next(e.published for e in self.entry.plan().entrants if e.name == entrant) is None


def row_label(entry: Entry, row: str) -> str:
    """A row as people are told of it: a bare number says what it counts."""
    symbol = _SYMBOLS.get(entry.plan().row or "")
    return f"{symbol} = {row}" if symbol and row.isdigit() else row


_SYMBOLS = {"tmax": "T", "hidden": "H"}
"""Columns that name rows, as the papers' symbols."""
