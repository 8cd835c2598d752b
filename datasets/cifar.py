"""Files of the binary version of CIFAR-10 (Krizhevsky): records of 3,073 bytes without any header, bare or gzipped.

A record is a byte for the class, 0..9, and then the image, 1,024 bytes of red, 1,024 of green and 1,024 of blue, each
row by row from the top left. Every file has 10,000 of them.

Source: Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images; the layout is that of
https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np

from datasets import catalogue, idx, verify
from datasets.idx import Bytes
from minigrad.errors import InputError

NAME = "cifar10"
"""By which the catalogue knows the files, and the folder that they lie in."""

TRAIN = tuple(f"data_batch_{n}.bin" for n in range(1, 6))
TEST = "test_batch.bin"

IMAGES = 10_000
"""Of a file."""
CHANNELS = 3
PIXELS = 32 * 32
RECORD = 1 + CHANNELS * PIXELS
"""Bytes of an image and its class."""
CLASSES = 10


def find(folder: Path, train_files: int) -> tuple[list[Path], Path]:
    """The paths of the first training files and of the test file in a folder of data, each gzipped or bare.

    Raises:
        InputError: if one is missing.
    """
    places = {file.name: verify.locate(file, folder) for file in catalogue.find(NAME).files}
    found = []
    for name in (*TRAIN[:train_files], TEST):
        path = places[name]
        if path is None:
            enough = 0 if name == TEST else TRAIN.index(name)  # those before it are there
            raise _missing(folder, name, enough)
        found.append(path)
    return found[:-1], found[-1]


def read(path: Path) -> Bytes:
    """The records of a file, [10,000, 3,073], read only: the class comes first, then the channels.

    Raises:
        InputError: if the file cannot be read, is damaged or holds something else.
    """
    data = idx.contents(path)
    count, rest = divmod(len(data), RECORD)
    if not data:
        raise idx.damaged(path, "it is empty")
    if rest:
        raise idx.damaged(path, f"it has {len(data):,} bytes, no whole number of images, of {RECORD:,} bytes each")
    if count != IMAGES:
        raise idx.damaged(path, f"its number of images is {count:,}, not {IMAGES:,}")
    records = np.frombuffer(data, np.uint8).reshape(count, RECORD)
    labels = records[:, 0]
    if labels.max() >= CLASSES:
        first = int(np.argmax(labels >= CLASSES))
        fault = f"image {first + 1:,} of {count:,} has the label {labels[first]}, the largest possible is 9"
        raise idx.damaged(path, fault)
    return records


def _missing(folder: Path, name: str, enough: int) -> InputError:
    """The error of a missing file, where the first `enough` training files can be had."""
    ways = [
        f"run `python cli.py data fetch {NAME} --data-dir {shlex.quote(str(folder))}`",
        f"choose another folder than {folder} with --data-dir",
    ]
    if enough:
        ways.append(f"read only those that are there with --task-options train_files {enough}")
    where = f"there is no file {folder / NAME / name}, nor {name}.gz, nor in cifar-10-batches-bin there"
    return InputError(f"{where}: {', or '.join(ways)}")
