"""Where downloaded data lie."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Literal

from minigrad.errors import InputError


def data_folder(chosen: Path | None) -> Path:
    """The folder of downloaded data: the chosen one, or, for None, `minigrad-lab/data` in the user's cache folder."""
    return (_cache() / "minigrad-lab" / "data" if chosen is None else chosen).absolute()


def command(action: Literal["fetch", "verify"], data_set: str, folder: Path) -> str:
    """The command line that does something about a data set in a folder of data, to be put into a sentence."""
    return f"`python cli.py data {action} {data_set} --data-dir {shlex.quote(str(folder))}`"


def require_folder(folder: Path) -> None:
    """Refuse a folder of data that is none, or lies in one that is none; it need not exist.

    Raises:
        InputError: naming what is no folder.
    """
    if any(part.exists() and not part.is_dir() for part in (folder, *folder.parents)):
        raise InputError(no_folder(folder / "any"))


def no_folder(path: Path) -> str:
    """What is wrong where something on the way to a file is no folder, and the way out."""
    wrong = next((parent for parent in path.parents if parent.exists() and not parent.is_dir()), path.parent)
    return f"{wrong} is no folder: name the folder of data with --data-dir"


def _cache() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
