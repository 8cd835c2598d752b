"""Files of the idx format, in which MNIST is published: arrays of bytes, bare or gzipped.

Two zero bytes, the type of the numbers (8: unsigned bytes), the number of dimensions, each size as four bytes, the most
significant first, then the numbers, the last index running fastest.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from datasets.image_files import Bytes, contents, damaged
from minigrad.errors import InputError

UNSIGNED_BYTES = 8
"""The one type of numbers that is read here."""


def read(path: Path, kinds: dict[int, str], wanted: int) -> Bytes:
    """The array of a file, read only.

    Args:
        path: gzipped if it ends in `.gz`.
        kinds: what files of so many dimensions hold, in words.
        wanted: dimensions that the array has to have.

    Raises:
        InputError: if the file cannot be read, is damaged or holds something else.
    """
    data = contents(path)
    if found := fault(data):
        raise damaged(path, found)
    if data[2] != UNSIGNED_BYTES:
        raise InputError(f"{path} holds numbers of type {data[2]:#04x}, not unsigned bytes (0x08): use another file")
    if data[3] != wanted:
        found = kinds.get(data[3], f"arrays of {data[3]} dimensions")
        raise InputError(f"{path} holds {found} where {kinds[wanted]} belong: give the files the names they came with")
    start, sizes = _header(data)
    return np.frombuffer(data, np.uint8, offset=start).reshape(sizes)


def fault(data: bytes) -> str:
    """What is wrong with the bytes of a file, whatever numbers it holds; empty if it is whole."""
    if len(data) < 4 or data[:2] != b"\0\0":
        return "it does not begin as an idx file"
    if data[2] != UNSIGNED_BYTES:  # of a size that is not known here
        return ""
    if len(data) < 4 + 4 * data[3]:
        return "it ends within its header"
    start, sizes = _header(data)
    there, promised = len(data) - start, math.prod(sizes)
    if there == promised:
        return ""
    how = "ends too early" if there < promised else "goes on after its end"
    return f"it {how}: {there:,} bytes where its header promises {promised:,}"


def _header(data: bytes) -> tuple[int, tuple[int, ...]]:
    """At which byte the numbers begin, and the sizes of the array."""
    start = 4 + 4 * data[3]
    return start, struct.unpack(f">{data[3]}I", data[4:start])
