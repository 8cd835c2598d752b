"""Files of the binary version of CIFAR-10 (Krizhevsky): records of 3,073 bytes without any header, bare or gzipped.

A record is a byte for the class, 0..9, and then the image, 1,024 bytes of red, 1,024 of green and 1,024 of blue, each
row by row from the top left. Every file has 10,000 of them.

Source: Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images; the layout is that of
https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from datasets import image_files
from datasets.common import frozen
from datasets.image_files import Bytes, Images, contents, damaged

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


def find(folder: Path, train_files: int) -> tuple[list[Path], Path]:
    """The paths of the first training files and of the test file in a folder of data, each gzipped or bare.

    Raises:
        InputError: if one is missing.
    """
    train: list[Path] = []
    for name in TRAIN[:train_files]:
        fewer = [f"read only those that are there with --task-options train_files {len(train)}"] if train else []
        train.append(image_files.find(NAME, name, folder, *fewer))
    return train, image_files.find(NAME, TEST, folder)


def read(paths: Sequence[Path]) -> Images:
    """The images of some files, one after the other.

    Raises:
        InputError: if a file cannot be read, is damaged or holds something else.
    """
    pixels = np.empty((len(paths) * IMAGES, RECORD - 1), np.uint8)
    labels = np.empty(len(pixels), np.int64)
    for n, path in enumerate(paths):
        records, rows = _records(path), slice(n * IMAGES, (n + 1) * IMAGES)
        labels[rows], pixels[rows] = image_files.classes(path, records[:, 0]), records[:, 1:]
    return Images(frozen(pixels), frozen(labels))


def _records(path: Path) -> Bytes:
    """The records of a file, [10,000, 3,073]: the class comes first, then the channels."""
    data = contents(path)
    count, rest = divmod(len(data), RECORD)
    if not data:
        raise damaged(path, "it is empty")
    if rest:
        raise damaged(path, f"it has {len(data):,} bytes, no whole number of images, of {RECORD:,} bytes each")
    if count != IMAGES:
        raise damaged(path, f"its number of images is {count:,}, not {IMAGES:,}")
    return np.frombuffer(data, np.uint8).reshape(count, RECORD)
