"""The page: one file that needs no network and, but for sorting and reading off numbers, no script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path

from experiments.report import machines, runs, tables, words
from experiments.report.collect import Collection
from experiments.report.html import Html, tag
from minigrad import __version__

FOLDER = Path(__file__).parent


def page(found: Collection) -> bytes:
    """The whole page; the same bytes for the same runs."""
    style, script = ((FOLDER / name).read_text("utf-8") for name in ("page.css", "page.js"))
    title = f"{len(found.items):,} run{'' if len(found.items) == 1 else 's'}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(script)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"Report: {title}"),
        tag("style", Html(style)),
    )
    main = tag("main", *_parts(found))
    foot = tag("footer", tag("p", f"Made by minigrad-lab {__version__}."))
    top = tag("header", tag("h1", f"Report on {title}"), _summary(found), _contents(found))
    document = tag("html", head, tag("body", top, main, foot, tag("script", Html(script))), lang="en")
    return f"<!doctype html>\n{document}\n".encode()


def _policy(script: str) -> str:
    """What a browser may do with the page: run its own script, and load nothing, whatever names in runs may hold."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = ("default-src 'none'", "style-src 'unsafe-inline'", f"script-src 'sha256-{digest}'", "img-src data:")
    return "; ".join((*allowed, "base-uri 'none'", "form-action 'none'"))


def _summary(found: Collection) -> Html:
    return tag("p", " ".join(words.summary(found)), class_="summary")


def _contents(found: Collection) -> Html:
    """Links to the sections."""
    links = [("findings", "Findings")] if tables.findings(found) else []
    links += [(table.entry.id, table.entry.label) for table in found.tables]
    links += [("runs", "Runs")] + ([("machines", "Machines")] if machines.section(found.items) else [])
    links += [("damaged", "Not readable")] if found.damaged else []
    return tag(
        "nav", tag("ul", *(tag("li", tag("a", name, href=f"#{to}")) for to, name in links)), aria_label="Contents"
    )


def _parts(found: Collection) -> Iterator[Html | None]:
    yield runs.matrix(found.items)
    yield tables.findings(found)
    for table in found.tables:
        yield tables.section(table)
    yield runs.section(found.items)
    yield machines.section(found.items)
    yield _damaged(found)


def _damaged(found: Collection) -> Html | None:
    """What could not be read, and why."""
    if not found.damaged:
        return None
    lines = (tag("li", tag("code", one.name), f": {one.why}") for one in found.damaged)
    return tag("section", tag("h2", "Not readable"), tag("ul", *lines), id="damaged")
