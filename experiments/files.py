"""Writing files so that a crash, a kill or a full disk at any moment leaves the old file or the new one, whole."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from datasets.storage import sync_folder
from experiments.errors import RunError

TEMPORARY = ".tmp"
"""How the name of a file that is being written ends; such a file is never read."""


def write_atomic(path: Path, data: bytes) -> None:
    """Replace `path` by `data`: written beside it, synced, renamed, and the folder synced.

    Raises:
        OSError: if a step fails; then nothing temporary is left, and `path` holds what it held before
            (or, where only the last sync failed, already `data`).
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        _write_synced(temporary, data)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def check_writable(path: Path, option: str = "--out") -> None:
    """Find out before the work whether a file can be written after it.

    Args:
        path: the file.
        option: what a person gives another one by.

    Raises:
        RunError: if its folder does not exist or cannot be written in, or it is no regular file.
    """
    if not path.parent.is_dir():
        raise RunError(f"cannot write {path} (there is no folder {path.parent}): make it, or use another {option}")
    if path.exists() and not path.is_file():
        raise RunError(f"cannot write {path} (not a regular file): use another {option}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise RunError(f"cannot write {path} ({path.parent} may not be written in): use another {option}")


def _write_synced(path: Path, data: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        write_all(file, data)
        os.fsync(file)
    finally:
        os.close(file)


def write_all(file: int, data: bytes) -> None:
    """Write all of `data`, however many calls the system takes."""
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]


def remove_temporaries(folder: Path) -> None:
    """Clear away what a killed process had begun to write."""
    for path in folder.glob(f".*{TEMPORARY}"):
        path.unlink(missing_ok=True)
