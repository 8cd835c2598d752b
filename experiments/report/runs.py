"""The runs: a table of all, and for each its curves and its configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from experiments import record
from experiments.display import duration
from experiments.parallel.job import PLACES
from experiments.report import words
from experiments.report.charts import chart, sparkline
from experiments.report.collect import Item
from experiments.report.html import Html, tag, wide
from experiments.run.settings import Settings

OPEN = 12
"""With so few runs, the curves of all are shown at once."""


def matrix(items: Sequence[Item]) -> Html:
    """How runs ended, by method and task."""
    methods, tasks = (
        sorted({*names}) for names in zip(*((i.job.method, i.job.settings.task) for i in items), strict=True)
    )
    head = tag("tr", tag("td"), *(tag("th", task, scope="col") for task in tasks))
    rows = (
        tag(
            "tr",
            tag("th", method, scope="row"),
            *(tag("td", _standing(items, method, task)) for task in tasks),
        )
        for method in methods
    )
    table = tag("table", tag("caption", "Runs by method and task"), tag("thead", head), tag("tbody", *rows))
    return wide(table, "Runs by method and task")


def _standing(items: Sequence[Item], method: str, task: str) -> str:
    chosen = [item for item in items if (item.job.method, item.job.settings.task) == (method, task)]
    return words.standing(chosen) if chosen else "-"


def section(items: Sequence[Item]) -> Html:
    """All runs."""
    return tag(
        "section",
        tag("h2", "Runs"),
        tag(
            "p",
            "Each run by method, task and length. Below: its curves, and everything that it takes to run it again. A"
            " curve of many points shows medians of neighbouring ones.",
            class_="lead",
        ),
        _table(items),
        tag("div", *(_card(i, item, len(items) <= OPEN) for i, item in enumerate(items, 1)), class_="cards"),
        id="runs",
    )


_HEADS = {
    "run": "text",
    "method": "text",
    "task": "text",
    "T": "number",
    "seed": "number",
    "ended": "text",
    "iterations": "number",
    "error": "number",
    "time": "number",
}


def _table(items: Sequence[Item]) -> Html:
    """A line a run; a script makes the heads sort it."""
    heads = (tag("th", name, scope="col", class_=kind, data_sort=name.lower()) for name, kind in _HEADS.items())
    head = tag("tr", *heads, tag("th", "cost", scope="col"))
    rows = (tag("tr", *_line(i, item)) for i, item in enumerate(items, 1))
    caption = tag("caption", "All runs")
    table = tag("table", caption, tag("thead", head), tag("tbody", *rows), id="all-runs", class_="sortable")
    return wide(table, "All runs")


def _line(i: int, item: Item) -> Iterator[Html]:
    settings = item.job.settings
    yield tag("th", tag("a", item.name, href=f"#run-{i}"), scope="row", data_value=item.name)
    yield tag("td", item.job.method)
    yield tag("td", settings.task)
    yield _number(settings.length, f"{settings.length:,}" if settings.length is not None else "-")
    yield _number(settings.seed, str(settings.seed))
    yield tag("td", tag("span", item.status, class_=f"badge {_tone(item)}"))
    yield _number(item.iterations, f"{item.iterations:,}")
    yield _number(item.error, "-" if item.error is None else f"{item.error:.4g}")
    yield _number(item.seconds, duration(item.seconds))
    yield tag("td", sparkline(item.curves.cost.get("cost")))


def _number(value: float | None, shown: str) -> Html:
    return tag("td", shown, class_="number", data_value="" if value is None else record.dump(value))


def _tone(item: Item) -> words.Tone:
    if item.solved:
        return "good"
    return "bad" if item.result is not None and item.result.status in ("diverged", "spectral_radius") else "even"


def _card(i: int, item: Item, shown: bool) -> Html:
    """One run. Its id is inside, so that a link to it opens it without a script."""
    settings, curves = item.job.settings, item.curves
    title = f"{item.job.method} on {settings.task}, T = {settings.length}, seed {settings.seed}"
    how = f"{item.status} after {item.iterations:,} iterations, {duration(item.seconds)}"
    names = list(dict.fromkeys((*curves.gradients, *curves.radii)))
    charts = (
        chart("training cost", curves.cost, log=True),
        chart("validation error", curves.error),
        chart("gradient norms", curves.gradients, log=True, names=names),
        chart("spectral radii", curves.radii, level=1.0, names=names),
    )
    return tag(
        "details",
        tag("summary", tag("strong", title), " ", tag("span", how, class_="small")),
        tag(
            "div",
            tag("p", tag("code", item.name), f": {_reason(item)}"),
            tag("div", *charts, class_="charts") if curves.cost or curves.error else None,
            *_configuration(item),
            id=f"run-{i}",
        ),
        class_="card",
        open=shown,
    )


def _reason(item: Item) -> str:
    """How it ended; the folder in which it lay is no part of the page, which may be read anywhere."""
    if item.result is None:
        return f"not finished, {item.iterations:,} iterations so far"
    return re.sub(rf"(?<=: ).*/(?={re.escape(item.name)}/)", "", f"{item.result.reason or item.status}.")


def _configuration(item: Item) -> Iterator[Html]:
    """What differs from the defaults, then the rest."""
    settings = {k: v for k, v in record.plain(item.job.settings).items() if k not in PLACES}
    given = {"method": item.job.method} | record.plain(item.job.config) | settings
    usual = _defaults(item.job.method)
    changed = {name: value for name, value in given.items() if name not in usual or usual[name] != value}
    same = {name: value for name, value in given.items() if name not in changed}
    yield tag("h4", "Differs from the defaults")
    yield tag("dl", *(tag("div", tag("dt", n), tag("dd", _value(v))) for n, v in changed.items()), class_="options")
    yield tag("h4", "As by default")
    yield tag("p", ", ".join(f"{name} {_value(value)}" for name, value in same.items()), class_="small")


@cache
def _defaults(method: str) -> Mapping[str, Any]:
    """What a run of a method is when nothing is said."""
    import algorithms

    found = algorithms.method(method)
    return {**record.plain(Settings()), **record.plain(found.config(**found.defaults))}


def _value(value: Any) -> str:
    return value if isinstance(value, str) and value else record.dump(value)
