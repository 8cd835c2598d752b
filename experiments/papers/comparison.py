"""Our numbers beside the paper's: a cell over its seeds, whether it agrees, and what that makes of the claims."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

from experiments.papers import entry as entries
from experiments.papers.entry import Cell, Claim, Entry, Preset
from experiments.papers.measures import PERCENT, Measured, constant_perplexity, options_of
from experiments.run import build

CONSTANT = "constant answer"
"""The entrant that needs no training: the best constant."""

FRACTIONS = ("%", "degrees", "ppl", "MiB")
"""Units of numbers that tables show with two decimals; the others count something."""

MARGIN, POINTS, BITS = 0.1, 2.0, 0.005
"""By how much a published number may lie outside the range of our seeds and still agree: a part of it, or percent."""

CLEAR = 1.0
"""Percent by which accuracies must differ to be taken for different: two standard errors of 10,000 sequences."""

ENOUGH = 3
"""Seeds on each side from which on a verdict is more than a hint: with two, chance alone gives one in every sixth."""

Agreement = Literal["agrees", "higher", "lower", "not reached", "too little budget", "-"]

Status = Literal[
    "holds",
    "does not hold",
    "no clear difference",
    "neither got there",
    "neither beats the constant answer",
    "not computed",
]

DECIDED: tuple[Status, ...] = ("holds", "does not hold", "no clear difference")
"""What is a verdict, if only that there is no difference."""


@dataclass(frozen=True)
class Summary:
    """A row and an entrant over all seeds that were computed."""

    row: str
    entrant: str
    published: float | None
    values: list[float]
    """One number a seed, those without one left out."""
    intervals: list[tuple[float, float]]
    """Where the number of each seed lies for a budget without end."""
    wanted: int
    """Seeds that the preset asks for."""
    higher: bool
    """Whether a larger number is better; of two angles neither is."""
    budget: int = 0
    """Most iterations that a seed used up without coming to an end; 0 if none did."""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    second: float | None = None
    """Median under the second reading of the criterion."""
    constant: float | None = None
    """What the best constant answer scores, where that is known."""
    order: str = ""
    """What the paper prints in place of a number: how it grows, in the paper's symbols."""

    @property
    def learnt(self) -> bool:
        """Whether a seed does better than a constant answer, as far as that is known."""
        best = self.constant
        return best is None or any(value > best if self.higher else value < best for value in self.values)

    @property
    def seeds(self) -> int:
        """Seeds that were computed."""
        return len(self.intervals)

    @property
    def at_least(self) -> bool:
        """Whether a seed that has a number might have got further with a larger budget."""
        return len(self.values) == self.seeds and any(low < high for low, high in self.intervals)

    @property
    def stopped(self) -> bool:
        """Whether a seed has no number because a budget ended it."""
        return len(self.values) < self.seeds and any(math.isfinite(low) for low, high in self.intervals if low < high)

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

    @property
    def interval(self) -> tuple[float, float]:
        """Least and largest that any seed can come to."""
        return min(low for low, _ in self.intervals), max(high for _, high in self.intervals)


@dataclass(frozen=True)
class Verdict:
    """What became of a claim."""

    claim: Claim
    rows: dict[str, Status]
    seeds: tuple[int, int]
    """Fewest seeds of a row that was judged, of the one side and of the other; (0, 0) if none was."""
    on: str = ""
    """What it was judged on in place of what the paper's claim is about; empty: on just that."""

    @property
    def firm(self) -> bool:
        """Whether both sides have seeds enough."""
        return min(self.seeds) >= ENOUGH

    @property
    def sentence(self) -> str:
        """In plain words."""
        by: dict[str, list[str]] = {}
        for row, status in self.rows.items():
            by.setdefault(status, []).append(row)
        said = "; ".join(f"{self.told(status)}: {', '.join(by[status])}" for status in get_args(Status) if status in by)
        if not min(self.seeds):
            return said or "nothing to judge it by"
        return f"{said} ({self.seeds[0]} against {self.seeds[1]} seeds{'' if self.firm else ': a hint, no more'})"

    def told(self, status: Status) -> str:
        """A status with what it is about, where that is not what the paper speaks of."""
        return f"{status} on {self.on}" if self.on and status in DECIDED else status


def summarise(entry: Entry, preset: Preset, measured: Mapping[Cell, Measured]) -> list[Summary]:
    """All cells of a table by rows and entrants, beside what a constant answer scores where that counts."""
    plan = entry.plan()
    by_pair: dict[tuple[str, str], list[Cell]] = {}
    for cell in entries.cells(entry, preset):
        by_pair.setdefault((cell.row, cell.entrant), []).append(cell)
    out: list[Summary] = []
    for row in dict.fromkeys(row for row, _ in by_pair):
        pairs = [(pair, cells) for pair, cells in by_pair.items() if pair[0] == row]
        ours = [_summary(entry, preset, *pair, cells, measured) for pair, cells in pairs]
        if plan.measure in ("accuracy", "transfer"):
            constant = _constant(entry, preset, pairs[0][1][0])
            ours = [*(replace(s, constant=constant.median) for s in ours), constant]
        out += ours
    return out


def _summary(
    entry: Entry, preset: Preset, row: str, entrant: str, cells: list[Cell], measured: Mapping[Cell, Measured]
) -> Summary:
    found = [measured[cell] for cell in cells if cell in measured]
    constant = None
    if entry.plan().measure == "perplexity" and found and found[0].runs:
        bits = options_of(entry, preset, row, entrant).get("bits", False)
        constant = constant_perplexity(found[0], bits=bits)
    seconds = [m.second for m in found if m.second is not None]
    printed = entry.published(row, entrant)
    return Summary(
        row=row,
        entrant=entrant,
        published=None if isinstance(printed, str) else printed,
        order=printed if isinstance(printed, str) else "",
        values=[m.value for m in found if m.value is not None],
        intervals=[m.interval for m in found],
        wanted=len(cells),
        higher=entry.plan().measure not in ("iterations", "angle", "perplexity", "change"),
        budget=max((m.budget for m in found), default=0),
        notes=tuple(f"seed {c.seed}: {measured[c].note}" for c in cells if c in measured and measured[c].note),
        seconds=sum(m.seconds for m in found),
        second=statistics.median(seconds) if seconds else None,
        constant=constant,
    )


def _constant(entry: Entry, preset: Preset, cell: Cell) -> Summary:
    """What the best constant scores."""
    chance = build.make_task(entries.first_job(entry, preset, cell, {}).settings).chance
    second, value = chance.get("error_abs"), PERCENT * (1 - chance["error"])
    return Summary(
        row=cell.row,
        entrant=CONSTANT,
        published=None,
        values=[value] * ENOUGH,  # it is known, however many seeds
        intervals=[(value, value)] * ENOUGH,
        wanted=ENOUGH,
        higher=True,
        second=None if second is None else PERCENT * (1 - second),
    )


def agreement(entry: Entry, preset: Preset, ours: Summary) -> Agreement:
    """How our numbers stand to the paper's.

    They agree where the paper's number lies in the range of our seeds, widened by 10 % (accuracies: by 2 points,
    perplexities: by 2 %, changes of perplexity: not at all): a convention, for the papers give single numbers. Where a
    budget of ours ended the runs and the paper's number lies beyond, nothing is known.
    """
    if ours.published is None or not preset.comparable or not ours.seeds:
        return "-"
    if ours.median is None or ours.range is None:
        return "too little budget" if ours.stopped and ours.published > ours.budget else "not reached"
    low, high = ours.range
    if ours.at_least and ours.published >= low:
        return "too little budget"
    low, high = _widened(entry, low, high)
    if low <= ours.published <= high:
        return "agrees"
    return "higher" if ours.published < low else "lower"


def _widened(entry: Entry, low: float, high: float) -> tuple[float, float]:
    if entry.plan().measure == "change":
        return low, high
    if "%" in entry.unit:
        return low - POINTS, high + POINTS
    margin = BITS if "bpc" in entry.unit else POINTS / PERCENT if "ppl" in entry.unit else MARGIN
    return low * (1 - margin), high * (1 + margin)


def judge(entry: Entry, preset: Preset, summaries: list[Summary]) -> list[Verdict]:
    """Every claim of an entry against our numbers."""
    found = {(s.row, s.entrant): s for s in summaries}
    margin = CLEAR if "%" in entry.unit else 0.0
    verdicts = []
    for claim in entry.claims:
        rows = dict.fromkeys(s.row for s in summaries if claim.rows is None or s.row in claim.rows)
        pairs = {row: (found.get((row, claim.more)), found.get((claim.less_row or row, claim.less))) for row in rows}
        judged = {row: _compare(claim, more, less, margin) for row, (more, less) in pairs.items() if more and less}
        known = [pairs[row] for row, status in judged.items() if status != "not computed"]
        seeds = [min((side[i].seeds for side in known), default=0) for i in (0, 1)]  # type: ignore[union-attr]
        verdicts.append(Verdict(claim, judged, (seeds[0], seeds[1]), preset.substitute))
    return verdicts


def _compare(claim: Claim, more: Summary, less: Summary, margin: float) -> Status:
    """Whether `more` is ahead of `less`: on every seed, whatever a larger budget would bring.

    Of two networks that have learnt nothing it says nothing which is ahead.
    """
    if not more.seeds or not less.seeds:
        return "not computed"
    if not claim.higher and not more.values and not less.values:
        return "neither got there"
    if not (more.learnt or less.learnt) and CONSTANT not in (more.entrant, less.entrant):
        return "neither beats the constant answer"
    ahead, behind = (_range(more), _range(less)) if _same_budget(more, less) else (more.interval, less.interval)
    if not claim.higher:
        ahead, behind = (-ahead[1], -ahead[0]), (-behind[1], -behind[0])
    if ahead[0] > behind[1] + margin:
        return "holds"
    return "does not hold" if ahead[1] < behind[0] - margin else "no clear difference"


def _same_budget(more: Summary, less: Summary) -> bool:
    """Whether two accuracies stand after the same number of iterations, however many more might have helped."""
    return more.at_least and less.at_least and more.budget == less.budget and math.isfinite(more.interval[1])


def _range(ours: Summary) -> tuple[float, float]:
    return min(ours.values), max(ours.values)


def number(value: float | None, unit: str) -> str:
    """A number as tables show it."""
    if value is None:
        return "-"
    if "bpc" in unit:
        return f"{value:.3f}"
    return f"{value:.2f}" if any(word in unit for word in FRACTIONS) else f"{value:,.0f}"


def paper_text(ours: Summary, unit: str) -> str:
    """What the paper prints: a number, or an order of growth."""
    return f"Ω({ours.order})" if ours.order else number(ours.published, unit)


def ours_text(ours: Summary, unit: str) -> str:
    """Median and range; how many seeds have a number, where not all do."""
    if not ours.seeds:
        return "not computed"
    if ours.median is None:
        reached = f"not within {ours.budget:,}" if ours.stopped else "not reached"
        return f"{reached} ({len(ours.values)} of {ours.seeds})"
    text = ("at least " if ours.at_least else "") + number(ours.median, unit)
    assert ours.range is not None
    if ours.range[0] != ours.range[1]:
        text += f" ({number(ours.range[0], unit)} to {number(ours.range[1], unit)})"
    if len(ours.values) < ours.seeds:
        text += f", {len(ours.values)} of {ours.seeds}"
    if ours.second is not None:
        text += f" [{number(ours.second, unit)}]"
    return text
