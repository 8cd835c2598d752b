"""What there is: methods, tasks, cells."""

from __future__ import annotations

import re
from typing import Any, get_args, get_type_hints

import algorithms
from datasets import registry
from experiments.display import table, text
from experiments.record import dump
from experiments.run.settings import Settings
from minigrad.errors import InputError


def show(as_json: bool) -> None:
    """Print everything that can be trained, and on what: tables, or one JSON object."""
    found = catalogue()
    if as_json:
        print(dump(found))
        return
    tasks = [
        (task["name"], task["summary"], _chance(task), str(task["shortest"]), str(task["length"]))
        for task in found["tasks"]
    ]
    print("\n".join(["methods", *table(tuple(method.values()) for method in found["methods"])]))
    print("\n".join(["", "tasks", *table([("", "", "chance", "shortest", "default"), *tasks])]))
    print("\n".join(["", "cells", "  ".join(found["cells"])]))


def cite(method: str, as_json: bool) -> None:
    """Print the BibTeX entry of a method's paper, bare or in one JSON object.

    Raises:
        InputError: for an unknown method.
    """
    bibtex = algorithms.method(method).reference.strip()
    print(dump({"method": method, "bibtex": bibtex}) if as_json else bibtex)


def catalogue() -> dict[str, Any]:
    """Every method, task and cell by name."""
    methods = [
        {"name": method.name, "summary": method.summary, "paper": short_citation(method.reference) or method.name}
        for method in map(algorithms.method, algorithms.names())
    ]
    tasks = [_task(name) for name in registry.names()]
    return {"methods": methods, "tasks": tasks, "cells": list(get_args(get_type_hints(Settings)["cell"]))}


def short_citation(bibtex: str) -> str:
    """Authors and year of a BibTeX entry: `Werbos 1990`, `Kag & Saligrama 2021`, `Wiseman et al. 2017`.

    Empty where it names no author; without the year where there is none.
    """
    fields = bibtex_fields(bibtex)
    people = re.split(r"\s+and\s+", fields.get("author", ""))
    names = [person.partition(",")[0] if "," in person else person.split()[-1] for person in people if person]
    who = " & ".join(names) if len(names) < 3 else f"{names[0]} et al."
    return f"{who} {fields.get('year', '')}".strip() if names else ""


def bibtex_fields(bibtex: str) -> dict[str, str]:
    """The fields of a BibTeX entry by their names in lower case, however it is laid out.

    A value stands in braces, in quotation marks, or, being a number or a macro, bare. Braces within it and accents are
    left out.
    """
    deep = r"[^{}]"
    for _ in range(3):  # braces in braces
        deep = rf"(?:[^{{}}]|\{{{deep}*\}})"
    words = r"(?:[^\"{}]|\{[^{}]*\})"
    found = re.finditer(rf"(\w+)\s*=\s*(?:\{{({deep}*)\}}|\"({words}*)\"|(\w+))", bibtex)
    return {each[1].lower(): _plain(each[2] or each[3] or each[4] or "") for each in found}


def _plain(value: str) -> str:
    """A value of BibTeX without braces and accents."""
    return re.sub(r"[{}]", "", re.sub(r"\\[^a-zA-Z\s]|\\[a-zA-Z](?=\{)", "", value)).strip()


def _task(name: str) -> dict[str, Any]:
    """What there is to say about a task before training on it."""
    task = registry.make(name)
    shortest = next(length for length in range(1, task.length + 1) if _possible(name, length))
    summary = (task.__doc__ or "").strip().splitlines()[0]
    return {
        "name": name,
        "summary": summary,
        # That of a text follows from its words, and this command reads no data.
        "chance": dict(task.chance) if task.streams is None else None,
        "shortest": shortest,
        "length": task.length,
    }


def _chance(task: dict[str, Any]) -> str:
    if task["chance"] is not None:
        return text(task["chance"])
    return f"nll that of its {'characters' if task['name'].endswith('-char') else 'words'}"


def _possible(name: str, length: int) -> bool:
    try:
        registry.make(name, length)
    except InputError:
        return False
    return True
