"""Errors that a person can act on."""

from __future__ import annotations

from collections.abc import Iterable


class InputError(ValueError):
    """Something that was given (an option, a file, a shape, a number) is impossible.

    The message is one line that names the cause and the way out; the command line prints it and exits with code 2.
    """


def unknown(kind: str, given: object, known: Iterable[str]) -> str:
    """The line for a name that does not exist: what comes close, and what there is."""
    known = list(known)
    shown = map(repr, known) if any("," in name for name in known) else known
    return f"unknown {kind} {given!r}{suggest(str(given), known)} (there are: {', '.join(shown) or 'none'})"


def suggest(given: str, known: Iterable[str]) -> str:
    """`, did you mean ...?` where another known name comes close, in capital letters or not; otherwise nothing."""
    from difflib import get_close_matches

    by_letters = {name.casefold(): name for name in known if name != given}
    close = get_close_matches(given.casefold(), by_letters, n=1)
    return f", did you mean {by_letters[close[0]]}?" if close else ""
