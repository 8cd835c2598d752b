"""Checksums of files, computed once.

They are kept beside the files, in a folder `cache`; where that is not to be written, in the user's cache folder. A file
whose size and times of change are as they were is not read again.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from datasets import verify
from datasets.folders import data_folder
from datasets.storage import locked, replacing, respect

INDEX, LOCK = "checksums.json", ".checksums.lock"


def measured(path: Path, kind: str, unpack: bool) -> tuple[str, int]:
    """As `verify.measured`, kept.

    Raises:
        OSError, EOFError, zlib.error: if the file cannot be read or unpacked; that is not kept.
    """
    name, stamp = json.dumps([str(path.absolute()), kind, unpack]), _stamp(path)
    places = [path.absolute().parent / "cache", data_folder(None) / "cache"]
    for place in places:
        match _index(place).get(name):
            case [state, str(digits), int(size)] if state == stamp:
                return digits, size
    digits, size = verify.measured(path, kind, unpack)
    if _stamp(path) == stamp:
        _keep(places, name, [stamp, digits, size])
    return digits, size


def _keep(places: list[Path], name: str, entry: list[Any]) -> None:
    """Keep a checksum in the first place that can be written, if any can: it is a mere short cut."""
    for place in places:
        with suppress(OSError):
            respect(place.parent)
            place.mkdir(parents=True, exist_ok=True)
            with locked(place / LOCK), replacing(place / INDEX) as file:
                file.write(json.dumps(_index(place) | {name: entry}).encode())
            return


def _stamp(path: Path) -> list[int]:
    """What shows at a glance whether a file is the same as before."""
    state = path.stat()
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns]


def _index(place: Path) -> dict[str, Any]:
    """What is kept in a place; a missing or damaged one is empty."""
    try:
        return dict(json.loads((place / INDEX).read_text()))
    except (OSError, ValueError, TypeError):
        return {}
