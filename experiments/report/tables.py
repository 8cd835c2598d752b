"""The sections of the papers' tables and figures."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator

from experiments import exits
from experiments.display import duration
from experiments.papers.comparison import CONSTANT, Agreement, Summary, Verdict, agreement, ours_text, paper_text
from experiments.papers.figures import row_label
from experiments.report import words
from experiments.report.collect import Collection, Covered
from experiments.report.html import Html, join, tag, wide
from experiments.report.inline import inline
from minigrad.errors import InputError

_SHOWN: dict[Agreement, tuple[str, words.Tone]] = {
    "agrees": ("agrees", "good"),
    "higher": ("ours higher", "even"),
    "lower": ("ours lower", "even"),
    "not reached": ("not reached", "bad"),
    "too little budget": ("too little budget", "even"),
}


def badge(word: str, tone: words.Tone) -> Html:
    """A word that stands out; its sign says the same as its colour."""
    return tag("span", word, class_=f"badge {tone}")


def findings(found: Collection) -> Html | None:
    """What became of the claims, all tables together."""
    parts = [part for table in found.tables for part in _findings(table)]
    if not parts:
        return None
    lead = tag(
        "p",
        "What the papers claim, and what these runs say; then questions of ours. A claim holds on a row where the worst"
        " of our seeds on one side is better than the best on the other. In brackets: seeds of the one side against"
        " seeds of the other.",
        class_="lead",
    )
    return tag("section", tag("h2", "Findings"), lead, *parts, id="findings")


def _findings(table: Covered) -> Iterator[Html]:
    sentences = [tag("li", *_claim(table, verdict)) for verdict in table.verdicts]
    compared = words.compared(table)
    if compared and table.preset.comparable:
        sentences.append(tag("li", compared))
    if sentences:
        yield tag("h3", tag("a", f"{table.entry.label}: {table.entry.title}", href=f"#{table.entry.id}"))
        yield tag("p", f"{table.entry.paper}. {len(table.measured)} of {table.cells} cells computed.", class_="small")
        yield tag("ul", *sentences, class_="findings")


def _claim(table: Covered, verdict: Verdict) -> Iterator[Html | str]:
    yield badge(*words.badge(verdict))
    if verdict.claim.by == "paper":
        yield tag("strong", f" {_capital(verdict.claim.text)}. ")
    else:
        yield join((" We asked whether ", tag("strong", verdict.claim.text), ": "))
    said = words.verdict(table, verdict)
    yield _capital(said) if verdict.claim.by == "paper" else said


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def section(table: Covered) -> Html:
    """A table beside the paper's, its figure, and how to make it."""
    entry, preset = table.entry, table.preset
    unit = f", {entry.unit}" if entry.unit else ""
    spent = f"; {duration(table.seconds)} of one core" if table.seconds else ""
    about = f"{entry.paper}, {entry.kind} {entry.label.split()[-1]}. Preset {table.preset_name}: {preset.about}."
    return tag(
        "section",
        tag("h2", f"{entry.label}: {entry.title}", tag("span", unit, class_="unit")),
        tag("p", about, " ", tag("strong", f"{len(table.measured)} of {table.cells} cells computed"), f"{spent}."),
        tag("p", words.compared(table)) if words.compared(table) else None,
        _comparison(table),
        _legend(table),
        _seeds(table),
        _figure(table),
        tag("ul", *(tag("li", note) for note in entry.notes), class_="notes") if entry.notes else None,
        tag(
            "p",
            "Made by ",
            tag("code", f"python cli.py reproduce {shlex.quote(entry.id)} --preset {table.preset_name}"),
        ),
        id=entry.id,
        class_="table",
    )


def _comparison(table: Covered) -> Html:
    """Row, entrant, the paper's number where it prints any, ours."""
    groups = _groups(table)
    shown = {row: group for row, group in groups.items() if _is_begun(table, row, group)}
    heads = [_head(name) for name in ("row", "entrant", *_columns(table, table.summaries[0]))]
    bodies = (tag("tbody", *_rows(table, row, group)) for row, group in shown.items())
    caption = tag("caption", "The paper's numbers and ours" if _is_compared(table) else "Our numbers")
    found = wide(tag("table", caption, tag("thead", tag("tr", *heads)), *bodies), f"Numbers of {table.entry.label}")
    missing = [row_label(table.entry, row) for row in groups if row not in shown]
    return join((found, tag("p", f"Not computed: {words.listed(missing)}.", class_="small") if missing else None))


def _groups(table: Covered) -> dict[str, list[Summary]]:
    """Summaries by their row."""
    groups: dict[str, list[Summary]] = {}
    for summary in table.summaries:
        groups.setdefault(summary.row, []).append(summary)
    return groups


def _is_begun(table: Covered, row: str, group: list[Summary]) -> bool:
    """Whether anything of a row is computed."""
    return any(s.seeds for s in group if s.entrant != CONSTANT) or any(cell.row == row for cell in table.begun)


def _is_compared(table: Covered) -> bool:
    """Whether the paper prints numbers for these."""
    return any(s.published is not None or s.order for s in table.summaries)


def _head(name: str) -> Html:
    return tag("th", name, scope="col", class_="number" if name in _NUMBERS else None)


_NUMBERS = ("paper", "seeds", "time of one core")
"""Columns that stand to the right."""


def _rows(table: Covered, row: str, group: list[Summary]) -> Iterator[Html]:
    """The lines of a row: an entrant each."""
    for i, s in enumerate(group):
        columns = _columns(table, s)
        yield tag(
            "tr",
            None if i else tag("th", row_label(table.entry, row), scope="rowgroup", rowspan=len(group)),
            tag("th", s.entrant, scope="row", title=_about(table, s.entrant)),
            *(tag("td", shown, class_="number" if name in _NUMBERS else None) for name, shown in columns.items()),
            class_="constant" if s.entrant == CONSTANT else None if s.seeds else "nothing",
        )


def _columns(table: Covered, s: Summary) -> dict[str, Html | str]:
    """What a line shows, by the name of the column."""
    sign = agreement(table.entry, table.preset, s)
    columns: dict[str, Html | str] = {
        "paper": paper_text(s, table.entry.unit),
        "ours: median (range)": _ours(table, s),
        "seeds": "" if s.entrant == CONSTANT else f"{s.seeds} of {s.wanted}",
        "agreement": badge(*_SHOWN[sign]) if sign in _SHOWN else "",
        "time of one core": duration(s.seconds) if s.seconds else "",
    }
    left_out = () if _is_compared(table) else ("paper", "agreement")
    return {name: shown for name, shown in columns.items() if name not in left_out}


def _ours(table: Covered, s: Summary) -> str:
    """Our number, or how far it is."""
    begun = sum(runs for cell, runs in table.begun.items() if (cell.row, cell.entrant) == (s.row, s.entrant))
    if s.seeds or not begun:
        return ours_text(s, table.entry.unit)
    return f"not finished: {begun} run{'' if begun == 1 else 's'} so far"


def _about(table: Covered, name: str) -> str | None:
    if name == CONSTANT:
        return "the best answer that ignores the input: needs no training"
    return next((e.about for e in table.entry.plan().entrants if e.name == name and e.about), None)


def _legend(table: Covered) -> Html | None:
    """What the entrants are, and what brackets mean."""
    shown = [s for row, group in _groups(table).items() if _is_begun(table, row, group) for s in group]
    items = [(name, about) for name in dict.fromkeys(s.entrant for s in shown) if (about := _about(table, name))]
    if any(s.second is not None for s in shown):
        items.append(("[ ]", "right within 0.04 (the paper's words) instead of within 0.2 (the authors' program)"))
    return tag("dl", *(tag("div", tag("dt", n), tag("dd", a)) for n, a in items), class_="legend") if items else None


def _seeds(table: Covered) -> Html | None:
    """How single seeds went."""
    lines = [f"{row_label(table.entry, s.row)}, {s.entrant}, {note}" for s in table.summaries for note in s.notes]
    if not lines:
        return None
    return tag(
        "details", tag("summary", f"How each seed ended ({len(lines)})"), tag("ul", *(tag("li", x) for x in lines))
    )


def _caption(table: Covered) -> str:
    hollow = table.preset.comparable and any(s.published is not None for s in table.summaries)
    return f"{table.entry.label}, computed here." + (" Hollow: the paper's numbers; filled: ours." if hollow else "")


def _figure(table: Covered) -> Html | None:
    """The figure as SVG; a sentence where it cannot be drawn."""
    title = f"{table.entry.label}: {table.entry.title}"
    try:
        from experiments.papers import figures

        svg = figures.draw(table.entry, table.preset, table.measured, "svg", heading=False)
    except ImportError:
        return tag("p", "No figure: it needs matplotlib, pip install '.[lab]'.", class_="nothing")
    except (InputError, OSError, ValueError, KeyError, TypeError) as error:
        print(f"{table.entry.id}: no figure: {error}", file=sys.stderr)
        return tag("p", f"No figure: {exits.one_line(str(error))}.", class_="nothing")
    drawn = wide(inline(svg, table.entry.id, title), table.entry.label)
    return tag("figure", drawn, tag("figcaption", _caption(table)), class_="wide")
