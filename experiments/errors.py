"""Errors of runs that a person can act on."""

from __future__ import annotations

from minigrad.errors import InputError


class RunError(InputError):
    """A run directory cannot be read or written: one line that names the file and the way out."""


def cause(error: BaseException) -> str:
    """What went wrong, on one line and without the path, which the caller names."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
