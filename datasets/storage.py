"""Files that several processes share: one at a time writes, and what has its name is whole.

A file is written under a temporary name, synced, and renamed, so that a crash, a kill or a full disk at any moment
leaves the old file or the new one. The writers hold a lock, which the system releases if the process dies.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

CHUNK = 1 << 20
"""Bytes that are read at once."""


def checksum(file: Any, kind: str) -> str:
    """Checksum of an open file from where it stands, in hexadecimal digits; `kind` as hashlib names it."""
    digest = hashlib.new(kind, usedforsecurity=False)
    while block := file.read(CHUNK):
        digest.update(block)
    return digest.hexdigest()


@contextmanager
def locked(path: Path, waiting: Callable[[], object] = lambda: None) -> Iterator[BinaryIO]:
    """Hold a file, made if need be, alone: open for reading and writing, without a buffer.

    The holder may rename or remove the file: whoever waits for it then gets one of its own under the name, and has to
    look whether something is left to do.

    Args:
        path: the file; its folder exists.
        waiting: called once if another process holds it.

    Raises:
        OSError: if it cannot be opened or locked.
    """
    import fcntl  # POSIX only

    while True:
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        with open(number, "r+b", buffering=0) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(file, fcntl.LOCK_EX)
            if _is_still(path, file):
                yield file
                return


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file, to be written and read, that takes the place of `path` when the block ends.

    If the block fails, nothing is left of it. For one process at a time, under a lock.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def respect(folder: Path) -> None:
    """Raise OSError for a folder that nobody is to write: the system would let the superuser."""
    if folder.exists() and not folder.stat().st_mode & 0o222:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    number = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _is_still(path: Path, file: BinaryIO) -> bool:
    """Whether an open file is the one that has a name."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
