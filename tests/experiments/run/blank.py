"""Files of MNIST's format, all black: they hold data to read and nothing to learn."""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path


def mnist(folder: Path, train: int, test: int) -> Path:
    """A folder of data with the four files; the folder."""
    (folder / "mnist").mkdir(parents=True)
    for half, count in (("train", train), ("t10k", test)):
        _zeros(folder / "mnist" / f"{half}-images-idx3-ubyte", count, 28, 28)
        _zeros(folder / "mnist" / f"{half}-labels-idx1-ubyte", count)
    return folder


def _zeros(path: Path, *sizes: int) -> None:
    """An idx file of zeros, which take no room on the disk."""
    header = struct.pack(f">HBB{len(sizes)}I", 0, 8, len(sizes), *sizes)
    path.write_bytes(header)
    os.truncate(path, len(header) + math.prod(sizes))
