"""Files of the idx format, in which MNIST is published (LeCun, Cortes, Burges): arrays of bytes, bare or gzipped.

Two zero bytes, the type of the numbers (8: unsigned bytes), the number of dimensions, each size as four bytes, the most
significant first, then the numbers, the last index running fastest.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from hashlib import md5
from pathlib import Path

import numpy as np
import numpy.typing as npt

from minigrad.errors import InputError

Bytes = npt.NDArray[np.uint8]

UNSIGNED_BYTES = 8
"""The one type of numbers that is read here."""

PUBLISHED = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
"""The files of MNIST and their md5 sums. Others of the same format and names are read too."""

SOURCE = "https://ossci-datasets.s3.amazonaws.com/mnist"
"""Where they can be had."""


def find(folder: Path, name: str) -> Path:
    """The path of a file, gzipped or bare.

    Raises:
        InputError: if there is neither.
    """
    for path in (folder / f"{name}.gz", folder / name):
        if path.exists():
            return path
    raise InputError(
        f"there is no file {folder / name}.gz: put the four files of {SOURCE} there, or choose another folder than "
        f"{folder.parent} with --data-dir"
    )


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


def contents(path: Path) -> bytes:
    """All bytes of a file, unpacked.

    Raises:
        InputError: if it cannot be read or unpacked.
    """
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise damaged(path, f"it cannot be unpacked: {error}") from None
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}): make it readable") from None


def damaged(path: Path, fault: str) -> InputError:
    """The error of a damaged file, with its checksum where the right one is known."""
    known = PUBLISHED.get(path.name)
    told = f"; its md5 is {md5(path.read_bytes()).hexdigest()}, published is {known}" if known else ""
    return InputError(f"{path} is damaged ({fault}{told}): fetch it again")
