"""Where downloaded data lie."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def data_folder(chosen: Path | None) -> Path:
    """The folder of downloaded data: the chosen one, or, for None, `minigrad-lab/data` in the user's cache folder."""
    return (_cache() / "minigrad-lab" / "data" if chosen is None else chosen).absolute()


def no_folder(path: Path) -> str:
    """What is wrong where something on the way to a file is no folder, and the way out."""
    wrong = next((parent for parent in path.parents if parent.exists() and not parent.is_dir()), path.parent)
    return f"{wrong} is no folder: name the folder of data with --data-dir"


def _cache() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("LOCALAPPDATA") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
