"""MNIST (LeCun, Cortes, Burges): four files of the idx format, images and labels of each half, gzipped or bare."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from datasets import idx, image_files
from datasets.image_files import Bytes, Images
from minigrad.errors import InputError

NAME = "mnist"
"""By which the catalogue knows the files, and the folder that they lie in."""

SIDE = 28
"""Pixels of a row, and rows."""

KINDS = {1: "labels", 3: "images"}
"""What files of so many dimensions hold."""


FILES = tuple(f"{half}-{KINDS[n]}-idx{n}-ubyte.gz" for half in ("train", "t10k") for n in (3, 1))
"""Names of the files: for each half its images and its labels."""


class Half(NamedTuple):
    """The files of the training images, or of the test images."""

    images: Path
    labels: Path


def find(folder: Path) -> tuple[Half, Half]:
    """The files for training and those for testing in a folder of data.

    Raises:
        InputError: if one is missing.
    """
    a, b, c, d = (image_files.find(NAME, name, folder) for name in FILES)
    return Half(a, b), Half(c, d)


def read(half: Half) -> Images:
    """The images of two files.

    Raises:
        InputError: if a file cannot be read, is damaged, or does not hold 28x28 images or classes 0..9, as many.
    """
    images, labels = array(half.images, 3), array(half.labels, 1)
    if images.shape[1:] != (SIDE, SIDE):
        found = " x ".join(map(str, images.shape[1:]))
        raise InputError(f"{half.images} holds images of {found} pixels, not 28 x 28: use files of MNIST's format")
    if len(images) != len(labels):
        raise InputError(
            f"{half.images} holds {len(images):,} images and {half.labels} {len(labels):,} labels: use two that belong "
            "together"
        )
    if not len(images):
        raise InputError(f"{half.images} holds no images: use another file")
    return Images(images.reshape(len(images), -1), image_files.classes(half.labels, labels))


def array(path: Path, wanted: int) -> Bytes:
    """The array of a file, read only.

    Raises:
        InputError: if the file cannot be read, is damaged, or holds something else than so many dimensions of bytes.
    """
    data = image_files.contents(path)
    if found := idx.fault(data):
        raise image_files.damaged(path, found)
    if (kind := idx.type_of(data)) != idx.UNSIGNED_BYTES:
        raise InputError(f"{path} holds numbers of type {kind:#04x}, not unsigned bytes (0x08): use another file")
    if (there := idx.dimensions(data)) != wanted:
        found = KINDS.get(there, f"arrays of {there} dimensions")
        raise InputError(f"{path} holds {found} where {KINDS[wanted]} belong: give the files the names they came with")
    return idx.array(data)
