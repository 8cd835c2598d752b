"""The idx format, in which MNIST is published: one array, here of bytes.

Two zero bytes, the type of the numbers (8: unsigned bytes), the number of dimensions, each size as four bytes, the most
significant first, then the numbers, the last index running fastest.
"""

from __future__ import annotations

import math
import struct

import numpy as np
import numpy.typing as npt

UNSIGNED_BYTES = 8
"""The one type of numbers that is read here."""


def fault(data: bytes) -> str:
    """What is wrong with the bytes of a file, whatever numbers it holds; empty if it is whole."""
    if len(data) < 4 or data[:2] != b"\0\0":
        return "it does not begin as an idx file"
    if type_of(data) != UNSIGNED_BYTES:  # of a size that is not known here
        return ""
    if len(data) < 4 + 4 * dimensions(data):
        return "it ends within its header"
    start, sizes = _header(data)
    there, promised = len(data) - start, math.prod(sizes)
    if there == promised:
        return ""
    how = "ends too early" if there < promised else "goes on after its end"
    return f"it {how}: {there:,} bytes where its header promises {promised:,}"


def type_of(data: bytes) -> int:
    """The type of the numbers of a whole file."""
    return data[2]


def dimensions(data: bytes) -> int:
    """How many sizes the array of a whole file has."""
    return data[3]


def array(data: bytes) -> npt.NDArray[np.uint8]:
    """The array of a whole file of unsigned bytes, read only."""
    start, sizes = _header(data)
    return np.frombuffer(data, np.uint8, offset=start).reshape(sizes)


def _header(data: bytes) -> tuple[int, tuple[int, ...]]:
    """At which byte the numbers begin, and the sizes of the array."""
    start = 4 + 4 * dimensions(data)
    return start, struct.unpack(f">{dimensions(data)}I", data[4:start])
