"""The tasks by name. Adding a family is a module with a dict TASKS, and its names in the table below.

A task's class is a frozen dataclass. Its fields are the options of the task, but for two that come from elsewhere:
`length`, which a task that has one length only holds as a constant of the class, and `data_dir`.
"""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from datasets.task import Task
from minigrad.errors import InputError, unknown

_HOMES = {
    "temporal": "synthetic",
    "temporal3": "synthetic",
    "adding": "synthetic",
    "permutation": "synthetic",
    "adding-sum": "synthetic",
    "digits-pixels": "images",
    "mnist-pixels": "images",
    "mnist-permuted": "images",
    "cifar-pixels": "images",
    "ptb-word": "text",
    "ptb-300": "text",
    "ptb-char": "text",
    "text8-word": "text",
    "text8-char": "text",
    "wikitext-2": "text",
    "wikitext-103": "text",
    "sample-char": "text",
}

_ELSEWHERE = {"length": "--length", "data_dir": "--data-dir"}
"""Fields that are no options of a task, and the flags that set them."""


def names() -> list[str]:
    """The names of all tasks."""
    return list(_HOMES)


def kind(name: str) -> Any:
    """The class of the task of a name; its docstring begins with a summary.

    Raises:
        InputError: for an unknown name; says what is close, and what there is.
    """
    if name not in _HOMES:
        raise InputError(unknown("task", name, _HOMES))
    return import_module(f"datasets.{_HOMES[name]}").TASKS[name]


def has_option(name: str, option: str) -> bool:
    """Whether a task has an option.

    Raises:
        InputError: for an unknown task.
    """
    return option in {field.name for field in fields(kind(name))} - _ELSEWHERE.keys()


def solvable(name: str) -> bool:
    """Whether a run may solve a task, or goes on for as long as it becomes better.

    Raises:
        InputError: for an unknown task.
    """
    return bool(kind(name).solved_below)


def make(name: str, length: int | None = None, data_dir: Path | None = None, /, **options: Any) -> Task:
    """The task of a name.

    Args:
        name: one of `names`.
        length: time steps (None: the task's own).
        data_dir: folder of downloaded data (None: the user's cache folder); only tasks that read such data look at it.
        options: fields of the task's class, as they are or as words of a command line: jitter=False, jitter="false".

    Raises:
        InputError: for an unknown name or option, an option or a length that is impossible.
    """
    made = kind(name)
    hints = get_type_hints(made) if options else {}  # looked up in vain, they take most of the time here
    known = [field.name for field in fields(made)]
    _check_options(name, options, [option for option in known if option not in _ELSEWHERE])
    values = {option: _read(option, value, hints[option]) for option, value in options.items()}
    if "data_dir" in known:
        values["data_dir"] = data_dir
    if "length" in known and length is not None:
        values["length"] = length
    task: Task = made(**values)
    if length is not None and length != task.length:
        raise InputError(f"task {name} has {task.length} time steps: leave the length out, {length} is impossible")
    return task


def _check_options(name: str, given: dict[str, Any], known: list[str]) -> None:
    for option in sorted(given.keys() - set(known)):
        if flag := _ELSEWHERE.get(option):
            raise InputError(f"{option} is no option of task {name}: use {flag}")
        raise InputError(unknown(f"option of task {name}", option, known))


def _read(option: str, value: Any, hint: Any) -> Any:
    """An option in the type of its field, where it is still a word; the class judges the value."""
    if not isinstance(value, str):
        return value
    if hint is bool:
        return _truth(option, value)
    if NoneType in get_args(hint) and value.lower() == "none":
        return None
    return _whole(option, value) if int in (hint, *get_args(hint)) else value


def _truth(option: str, word: str) -> bool:
    if word.lower() not in ("true", "false"):
        raise InputError(f"{option} must be true or false, got {word!r}")
    return word.lower() == "true"


def _whole(option: str, word: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise InputError(f"{option} must be a whole number, got {word!r}") from None
