"""Findings in sentences: plain text, which the page and the command line both show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from experiments.display import duration
from experiments.papers.comparison import Agreement, Summary, Verdict, agreement, number
from experiments.papers.figures import row_label
from experiments.report.collect import Collection, Covered, Item

Tone = Literal["good", "bad", "even"]


def summary(found: Collection) -> list[str]:
    """The runs in a few sentences."""
    items = found.items
    methods, tasks = (
        Counter(names) for names in zip(*((i.job.method, i.job.settings.task) for i in items), strict=True)
    )
    open_, solvable = sum(item.result is None for item in items), [item for item in items if item.solvable]
    sentences = [
        f"{_count(len(items), 'run')}, {_of(methods, 'with')}, {_of(tasks, 'on')}.",
        *([_solved(sum(item.solved for item in solvable), len(solvable), len(items))] if solvable else []),
        f"{'Together they' if len(items) > 1 else 'It'} took {duration(found.seconds)} of one core.",
    ]
    if open_:
        sentences.insert(1, f"{open_} {'is' if open_ == 1 else 'are'} not finished.")
    if found.damaged:
        sentences.append(
            f"{len(found.damaged)} could not be read and {'is' if len(found.damaged) == 1 else 'are'} left out."
        )
    return sentences


def standing(items: Sequence[Item]) -> str:
    """How runs of one method on one task ended, in few words."""
    errors = [item.error for item in items if item.error is not None]
    if not items[0].solvable:
        return f"{_count(len(items), 'run')}" + (f", lowest error {min(errors):.4g}" if errors else "")
    solved = [item for item in items if item.solved]
    text = f"{len(solved)} of {len(items)} solved"
    lengths = {item.job.settings.length for item in solved if item.job.settings.length is not None}
    return text + (f", T up to {max(lengths):,}" if len(lengths) > 1 else "")


def compared(table: Covered) -> str:
    """How the numbers stand to the paper's, in a sentence; empty where there is nothing to compare."""
    if not table.preset.comparable:
        return "These numbers are of a smaller task than the paper's and are not compared with them."
    found = Counter(agreement(table.entry, table.preset, s) for s in table.summaries)
    del found["-"]
    if not found.total():
        return ""
    phrases: dict[Agreement, str] = {
        "agrees": "agrees with {}",
        "higher": "is higher than {}",
        "lower": "is lower than {}",
        "not reached": "was not reached for {}",
        "too little budget": "was ended by the budget before {}",
    }
    parts = [phrase.format(found[status]) for status, phrase in phrases.items() if found[status]]
    return f"Of {_count(found.total(), 'published number')} to compare with, ours {listed(parts)}."


def verdict(table: Covered, told: Verdict) -> str:
    """What became of a claim, with how many seeds, and the numbers."""
    found = {(s.row, s.entrant): s for s in table.summaries}
    pairs = {
        row_label(table.entry, row): (found[row, told.claim.more], found[told.claim.less_row or row, told.claim.less])
        for row, status in told.rows.items()
        if status != "not computed"
    }
    numbers = "; ".join(f"{label}: {_pair(*sides, table.entry.unit)}" for label, sides in pairs.items())
    return f"{told.sentence}. {numbers}." if numbers else f"{told.sentence}."


def badge(told: Verdict) -> tuple[str, Tone]:
    """A claim's fate in a word, and how it is meant.

    What rests on few seeds, or was judged on something else than what the paper speaks of, is neither good nor bad.
    """
    states = {*told.rows.values()} - {"not computed"}
    paper, firm = told.claim.by == "paper", told.firm and not told.on
    on = f" on {told.on}" if told.on else ""
    if states == {"holds"}:
        return (f"holds{on}" if paper else f"yes{on}"), "good" if firm else "even"
    if states == {"does not hold"}:
        return (f"does not hold{on}" if paper else f"no{on}"), "bad" if firm else "even"
    if len(states) == 1:
        return told.told(next(iter(states))), "even"
    return (f"in part{on}" if "holds" in states else "not shown"), "even"


def _pair(more: Summary, less: Summary, unit: str) -> str:
    return f"{more.entrant} {_middle(more, unit)}, {less.entrant} {_middle(less, unit)}"


def _middle(ours: Summary, unit: str) -> str:
    """The median alone."""
    if ours.median is None:
        return "not reached"
    return ("at least " if ours.at_least else "") + number(ours.median, unit) + (" %" if "%" in unit else "")


def listed(parts: Iterable[str]) -> str:
    """`a, b and c`."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _of(names: Counter[str], word: str) -> str:
    """`27 with bptt and 18 with tptt`, or `all with tptt`."""
    if len(names) == 1:
        (name,) = names
        return f"{word} {name}"
    return listed(f"{n} {word} {name}" for name, n in names.most_common())


def _solved(n: int, total: int, runs: int) -> str:
    if total < runs:  # the tasks of the others are none that one solves
        return f"{n:,} of {total:,} solved {'its' if n == 1 else 'their'} task."
    if total == 1:
        return "It solved its task." if n else "It did not solve its task."
    how_many = {0: "None", total: "All"}.get(n, f"{n:,} of them")
    return f"{how_many} solved {'its' if n == 1 else 'their'} task."
