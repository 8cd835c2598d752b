"""On what the runs ran: versions and machines, those that are equal told once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from experiments import record
from experiments.report.collect import Item
from experiments.report.html import Html, tag

_OWN = ("from_iteration", "started", "task", "kernels")
"""What belongs to a run rather than to a machine."""


def section(items: Sequence[Item]) -> Html | None:
    """The machines, the one with most runs first."""
    groups: dict[str, tuple[Mapping[str, Any], set[int]]] = {}
    for number, item in enumerate(items):
        for process in item.processes:
            machine = {name: value for name, value in process.items() if name not in _OWN}
            groups.setdefault(record.dump(machine), (machine, set()))[1].add(number)
    if not groups:
        return None
    ordered = sorted(groups.values(), key=lambda group: -len(group[1]))
    found = (_machine(machine, len(runs), len(items)) for machine, runs in ordered)
    return tag("section", tag("h2", "Machines and versions"), *found, id="machines")


def _machine(machine: Mapping[str, Any], runs: int, total: int) -> Html:
    head = tag("p", tag("strong", f"{'all' if runs == total else runs} {'run' if total == 1 else 'runs'}"))
    return tag("div", head, tag("dl", *_lines(machine), class_="options"), class_="machine")


def _lines(machine: Mapping[str, Any]) -> Iterator[Html]:
    for name, value in machine.items():
        if value is not None and value != {}:
            yield tag("div", tag("dt", name.replace("_", " ")), tag("dd", _plain(value)))


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(item)}" for name, item in value.items() if item is not None)
    return ", ".join(map(_plain, value)) if isinstance(value, list) else str(value)
