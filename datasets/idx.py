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
    if len(data) < 4 or data[:2] != b"\0\0":
        raise damaged(path, "it does not begin as an idx file")
    if data[2] != UNSIGNED_BYTES:
        raise InputError(f"{path} holds numbers of type {data[2]:#04x}, not unsigned bytes (0x08): use another file")
    if data[3] != wanted:
        found = kinds.get(data[3], f"arrays of {data[3]} dimensions")
        raise InputError(f"{path} holds {found} where {kinds[wanted]} belong: give the files the names they came with")
    start = 4 + 4 * wanted
    if len(data) < start:
        raise damaged(path, "it ends within its header")
    sizes = struct.unpack(f">{wanted}I", data[4:start])
    if (there := len(data) - start) != math.prod(sizes):
        fault = "ends too early" if there < math.prod(sizes) else "goes on after its end"
        raise damaged(path, f"it {fault}: {there:,} bytes where its header promises {math.prod(sizes):,}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(sizes)
