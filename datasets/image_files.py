"""What the readers of image files share: images with their classes, where files lie, the refusal of missing and damaged
ones."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from datasets import catalogue, verify
from datasets.catalogue import File
from datasets.common import Ids, frozen
from datasets.folders import command, no_folder
from datasets.storage import checksum
from minigrad.errors import InputError

Bytes = npt.NDArray[np.uint8]

CLASSES = 10
"""Of all images here."""


class Images(NamedTuple):
    """N images of D colours and T pixels with their classes, read only."""

    pixels: Bytes
    """[N, D T]: all pixels of the first colour, then those of the next."""
    labels: Ids
    """[N], 0..9."""

    def part(self, rows: slice) -> Images:
        """Some of them."""
        return Images(self.pixels[rows], self.labels[rows])


class Files(NamedTuple):
    """What a task is given: all images that may be trained on, and those that may not."""

    train: Images
    test: Images


def find(data_set: str, name: str, folder: Path, *ways: str) -> Path:
    """The path of a published file in a folder of data, gzipped or bare.

    Args:
        data_set: by which the catalogue knows the file's set.
        name: of the file, as it is published.
        folder: of data.
        ways: what else helps where the file is missing, besides to fetch it or to choose another folder.

    Raises:
        InputError: if it is missing.
    """
    file = next(file for file in catalogue.find(data_set).files if file.name == name)
    path = verify.locate(file, folder)
    if path is None:
        raise _missing(data_set, file, folder, ways)
    return path


def lying(data_set: str, names: Sequence[str], folder: Path) -> dict[str, Path | None]:
    """Where some files of a set lie, None for nowhere, by their paths in the catalogue."""
    wanted = [file for file in catalogue.find(data_set).files if file.name in names]
    return {file.path: verify.locate(file, folder) for file in wanted}


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


def classes(path: Path, labels: Bytes) -> Ids:
    """The labels [N] of the images of a file as classes, read only.

    Raises:
        InputError: if one is none.
    """
    wrong = labels >= CLASSES
    if wrong.any():
        first = int(np.argmax(wrong))
        where = f"image {first + 1:,} of {len(labels):,}"
        raise damaged(path, f"{where} has the label {labels[first]}, the largest possible is {CLASSES - 1}")
    return frozen(labels.astype(np.int64))


def damaged(path: Path, fault: str) -> InputError:
    """The error of a damaged file, with its checksum where that of the published bytes is known."""
    kind, _, published = _published(path).partition(":")
    if published:
        with path.open("rb") as file:
            fault += f"; its {kind} is {checksum(file, kind)}, published is {published}"
    return InputError(f"{path} is damaged ({fault}): fetch it again")


def _published(path: Path) -> str:
    """The checksum of the published file of a path, `kind:digits`; empty if none is known."""
    for item in catalogue.SETS.values():
        for file in item.files:
            if any(path.match(place) for place in (file.path, *file.elsewhere)):
                return file.checksum
    return ""


def _missing(data_set: str, file: File, folder: Path, ways: tuple[str, ...]) -> InputError:
    """The error of a missing file."""
    path = folder / file.path
    if folder.exists() and not folder.is_dir():
        return InputError(f"there is no file {path}: {no_folder(path)}")
    places = [
        f"{path}",
        verify.other_form(path).name,
        *(f"in {Path(place).parent.name} there" for place in file.elsewhere),
    ]
    ways = (
        f"run {command('fetch', data_set, folder)}",
        f"choose another folder than {folder} with --data-dir",
        *ways,
    )
    return InputError(f"there is no file {', nor '.join(places)}: {', or '.join(ways)}")
