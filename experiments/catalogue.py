"""What there is: methods, tasks, cells."""

from __future__ import annotations

import re
from typing import Any, get_args, get_type_hints

import algorithms
from datasets import registry
from experiments.display import table, text
from experiments.record import dump
from experiments.settings import Settings
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


def cite(method: str) -> None:
    """Print the BibTeX entry of a method's paper.

    Raises:
        InputError: for an unknown method.
    """
    print(algorithms.method(method).reference.strip())


def catalogue() -> dict[str, Any]:
    """Every method, task and cell by name."""
    methods = [
        {"name": name, "summary": summary, "paper": short_citation(algorithms.method(name).reference)}
        for name, summary in algorithms.SUMMARIES.items()
    ]
    tasks = [_task(name) for name in registry.names()]
    return {"methods": methods, "tasks": tasks, "cells": list(get_args(get_type_hints(Settings)["cell"]))}


def short_citation(bibtex: str) -> str:
    """Authors and year of a BibTeX entry: `Werbos 1990`, `Kag & Saligrama 2021`, `Wiseman et al. 2017`."""
    fields = dict(re.findall(r"(\w+)\s*=\s*\{(.+?)\},?$", bibtex, re.MULTILINE | re.DOTALL))
    people = re.split(r"\s+and\s+", fields["author"])
    names = [person.partition(",")[0] if "," in person else person.split()[-1] for person in people]
    return f"{' & '.join(names) if len(names) < 3 else f'{names[0]} et al.'} {fields['year']}"


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
