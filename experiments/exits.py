"""How the command line ends: exit codes, and one line for every error that a person can act on.

Imports nothing that needs another package, so that it can say that one is missing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from minigrad.errors import InputError

FINISHED, FAILED, BAD_INPUT, DIVERGED, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit codes; FAILED is for checks, and for calls of many runs of which some failed."""

_EXTRAS = {
    **dict.fromkeys(("tyro", "rich", "matplotlib", "safetensors"), "lab"),
    **dict.fromkeys(("pytest", "hypothesis", "xdist", "array_api_strict"), "test"),
    **dict.fromkeys(("numpy", "scipy", "numba", "llvmlite"), ""),
}


def guard(name: str, call: Callable[[], int]) -> int:
    """Make a call; whatever goes wrong becomes an exit code and one line that begins with `name`.

    A mistake in the program is no such error: it is raised again, with all that is known about it.
    """
    try:
        if sys.stdout is None or sys.stderr is None:  # closed by whoever called
            nowhere = open(os.devnull, "w")  # noqa: SIM115  it stays open as long as the program runs
            sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")  # a narrow encoding is no reason to fail
        code = call()
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader, `head` for instance, has seen enough
        _abandon_output()
        return FINISHED
    except BaseException as error:
        known = explain(error)
        if known is None:
            raise
        code, line = known
        print(f"{name}: {line}", file=sys.stderr)
        _abandon_output()
        return code


def explain(error: BaseException) -> tuple[int, str] | None:
    """Exit code and one line for an error that a person can act on; None for a mistake in the program."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "interrupted"
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            return None
        extra = f"[{_EXTRAS[package]}]" if _EXTRAS[package] else ""
        return BAD_INPUT, f"error: {package} is not installed: pip install '.{extra}'"
    if isinstance(error, OSError):
        names = [str(f) for f in (error.filename, error.filename2) if f is not None]
        return BAD_INPUT, one_line(": ".join(["error", error.strerror or str(error), *names]))
    if isinstance(error, MemoryError):
        return BAD_INPUT, one_line(f"error: not enough memory: {error}".rstrip(": "))
    return (BAD_INPUT, one_line(f"error: {error}")) if isinstance(error, InputError) else None


def one_line(text: str) -> str:
    """The text with every run of white space, line breaks included, as one blank."""
    return " ".join(text.split())


def _abandon_output() -> None:
    """Drop what standard output still holds where it cannot be written, so that leaving makes no noise about it."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
