"""The handwritten digits of 8x8 pixels that ship with the project: a line an image, its pixels and then its class."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from datasets.common import frozen
from datasets.image_files import Files, Images, contents

TRAIN = 1_200
"""Images that may be trained on, the first ones."""


@cache
def read() -> Files:
    """The images, read once in a process."""
    path = Path(__file__).parent / "files" / "digits.csv.gz"
    rows = np.array([line.split(",") for line in contents(path).decode().splitlines()], np.uint8)
    images = Images(frozen(rows[:, :-1].copy()), frozen(rows[:, -1].astype(np.int64)))
    return Files(images.part(slice(TRAIN)), images.part(slice(TRAIN, None)))
