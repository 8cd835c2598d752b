"""Our numbers beside the paper's: a cell over its seeds, whether it agrees, and what that makes of the claims."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from experiments import build
from experiments.papers import entry as entries
from experiments.papers.entry import Cell, Claim, Entry, Preset
from experiments.papers.measures import PERCENT, Measured

CONSTANT = "constant answer"
"""The entrant that needs no training: the best constant."""

MARGIN, POINTS = 0.1, 2.0
"""By how much a published number may lie outside the range of our seeds and still agree: a part of it, or percent."""

Agreement = Literal["agrees", "higher", "lower", "not reached", "too little budget", "-"]


@dataclass(frozen=True)
class Summary:
    """A row and an entrant over all seeds that were computed."""

    row: str
    entrant: str
    published: float | None
    values: list[float]
    """One number a seed, those without one left out."""
    seeds: int
    """Seeds that were computed."""
    wanted: int
    """Seeds that the preset asks for."""
    higher: bool
    """Whether a larger number is better."""
    at_least: bool = False
    """Whether a larger budget may give larger numbers."""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    second: float | None = None
    """Median under the second reading of the criterion."""

    @property
    def median(self) -> float | None:
        """Median over the seeds; a seed without a number counts as the worst. None if that is the median."""
        worst = -math.inf if self.higher else math.inf
        if not self.seeds:
            return None
        middle = statistics.median(self.values + [worst] * (self.seeds - len(self.values)))
        return middle if math.isfinite(middle) else None

    @property
    def range(self) -> tuple[float, float] | None:
        """Least and largest number."""
        return (min(self.values), max(self.values)) if self.values else None


@dataclass(frozen=True)
class Verdict:
    """What became of a claim."""

    claim: Claim
    rows: dict[str, Literal["holds", "does not hold", "no clear difference", "not computed"]]
    seeds: int
    """Fewest seeds of a cell that was computed."""

    @property
    def sentence(self) -> str:
        """In plain words."""
        by: dict[str, list[str]] = {}
        for row, status in self.rows.items():
            by.setdefault(status, []).append(row)
        order = ("holds", "does not hold", "no clear difference", "not computed")
        said = "; ".join(f"{status}: {', '.join(by[status])}" for status in order if status in by)
        return f"{said} (one seed)" if self.seeds == 1 else said


def summarise(entry: Entry, preset: Preset, measured: Mapping[Cell, Measured]) -> list[Summary]:
    """All cells of a table by rows and entrants, beside what a constant answer scores where that counts."""
    plan = entry.plan()
    higher = plan.measure != "iterations"
    by_pair: dict[tuple[str, str], list[Cell]] = {}
    for cell in entries.cells(entry, preset):
        by_pair.setdefault((cell.row, cell.entrant), []).append(cell)
    out: list[Summary] = []
    for row in dict.fromkeys(row for row, _ in by_pair):
        pairs = [(pair, cells) for pair, cells in by_pair.items() if pair[0] == row]
        out += [_summary(entry, higher, *pair, cells, measured) for pair, cells in pairs]
        if plan.measure in ("accuracy", "transfer"):
            out.append(_constant(entry, preset, pairs[0][1][0]))
    return out


def _summary(
    entry: Entry, higher: bool, row: str, entrant: str, cells: list[Cell], measured: Mapping[Cell, Measured]
) -> Summary:
    column = next(e for e in entry.plan().entrants if e.name == entrant).published
    found = [measured[cell] for cell in cells if cell in measured]
    seconds = [m.second for m in found if m.second is not None]
    return Summary(
        row=row,
        entrant=entrant,
        published=None if column is None else entry.value(row, column),
        values=[m.value for m in found if m.value is not None],
        seeds=len(found),
        wanted=len(cells),
        higher=higher,
        at_least=any(m.at_least for m in found),
        notes=tuple(f"seed {c.seed}: {measured[c].note}" for c in cells if c in measured and measured[c].note),
        seconds=sum(m.seconds for m in found),
        second=statistics.median(seconds) if seconds else None,
    )


def _constant(entry: Entry, preset: Preset, cell: Cell) -> Summary:
    """What the best constant scores."""
    chance = build.make_task(entries.first_job(entry, preset, cell, {}).settings).chance
    second = chance.get("error_abs")
    return Summary(
        row=cell.row,
        entrant=CONSTANT,
        published=None,
        values=[PERCENT * (1 - chance["error"])],
        seeds=1,
        wanted=1,
        higher=True,
        second=None if second is None else PERCENT * (1 - second),
    )


def agreement(entry: Entry, preset: Preset, ours: Summary) -> Agreement:
    """How our numbers stand to the paper's.

    They agree where the paper's number lies in the range of our seeds, widened by 10 % (accuracies: by 2 points): a
    convention, for the papers give single numbers.
    """
    if ours.published is None or not preset.comparable or not ours.seeds:
        return "-"
    if ours.median is None or ours.range is None:
        return "not reached"
    low, high = ours.range
    percent = "%" in entry.unit
    low, high = (low - POINTS, high + POINTS) if percent else (low * (1 - MARGIN), high * (1 + MARGIN))
    if ours.published > high:
        return "too little budget" if ours.at_least else "lower"
    return "higher" if ours.published < low else "agrees"


def judge(entry: Entry, summaries: list[Summary]) -> list[Verdict]:
    """Every claim of an entry against our numbers."""
    found = {(s.row, s.entrant): s for s in summaries}
    verdicts = []
    for claim in entry.claims:
        rows = {s.row: _compare(claim, found, s.row) for s in summaries if claim.rows is None or s.row in claim.rows}
        sides = [s.seeds for s in summaries if s.entrant in (claim.more, claim.less) and s.row in rows and s.wanted > 1]
        known = {row: status for row, status in rows.items() if status is not None}
        verdicts.append(Verdict(claim, known, min(filter(None, sides), default=1)))
    return verdicts


def _compare(claim: Claim, found: Mapping[tuple[str, str], Summary], row: str) -> Any:
    """Whether `more` is ahead of `less` in a row; None where one of them does not take part."""
    more, less = found.get((row, claim.more)), found.get((row, claim.less))
    if more is None or less is None:
        return None
    if not more.seeds or not less.seeds:
        return "not computed"
    ahead, behind = _interval(more), _interval(less)
    if not claim.higher:
        ahead, behind = (-ahead[1], -ahead[0]), (-behind[1], -behind[0])
    if less.at_least and ahead[1] > behind[0]:
        return "no clear difference"  # the other was stopped before it failed
    if ahead[0] > behind[1]:
        return "holds"
    if ahead[1] < behind[0] and not more.at_least:
        return "does not hold"
    return "no clear difference"


def _interval(ours: Summary) -> tuple[float, float]:
    """Range over the seeds, a seed without a number as the worst there is."""
    worst = -math.inf if ours.higher else math.inf
    values = ours.values + [worst] * (ours.seeds - len(ours.values))
    return min(values), max(values)


def number(value: float | None, unit: str) -> str:
    """A number as tables show it."""
    if value is None:
        return "-"
    return f"{value:.2f}" if "%" in unit or unit == "degrees" else f"{value:,.0f}"


def ours_text(ours: Summary, unit: str) -> str:
    """Median and range; how many seeds have a number, where not all do."""
    if not ours.seeds:
        return "not computed"
    if ours.median is None:
        return f"not reached ({len(ours.values)} of {ours.seeds})"
    text = ("at least " if ours.at_least else "") + number(ours.median, unit)
    assert ours.range is not None
    if ours.range[0] != ours.range[1]:
        text += f" ({number(ours.range[0], unit)} to {number(ours.range[1], unit)})"
    if len(ours.values) < ours.seeds:
        text += f", {len(ours.values)} of {ours.seeds}"
    if ours.second is not None:
        text += f" [{number(ours.second, unit)}]"
    return text
