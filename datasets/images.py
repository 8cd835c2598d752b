"""Images fed one pixel a time step, to be named after the last one: 8x8 digits, MNIST, also permuted, CIFAR-10.

Legend of shapes: T pixels of an image, which are the time steps, D numbers of a pixel (1, or 3 for its red, green and
blue), B sequences side by side, N images of a split.

The training file (or files, one after the other) gives the splits `train` and `valid`: its last part is held out from
training, unless the option `valid` is `test`. Batches of `train` go through it epoch after epoch, each in an order of
its own that follows from the seed and the number of the epoch alone; a batch may begin in one epoch and end in the
next, and is then the last of the first. No batch of `train` is larger than an epoch: passes that end within one and
the same batch would count as one. Batches of `valid` and `test` go through the images in the order of the file
and begin anew after the last one.

Source: Le, Jaitly & Hinton 2015, A simple way to initialize recurrent networks of rectified linear units (the task and
the permuted one); Manchev & Spratling 2020, section 3.3, and their released code (`scale` unit, `shuffle` false,
`valid` test, a random `train_size` of 10,000); Kag & Saligrama 2021, released code (`scale` standard, and CIFAR-10 by
pixels of three colours).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from datasets import cifar, digits, image_files, mnist
from datasets.common import Ids, check_batch, classification_scores, floating, frozen
from datasets.folders import data_folder
from datasets.image_files import CLASSES, Bytes, Files, Images
from datasets.task import Batch, Split, Task
from minigrad.errors import InputError
from minigrad.rng import stream

PERMUTATION_SEED = 2015
"""The order of the pixels of `mnist-permuted` follows from this number, never from the seed of a run."""


@dataclass(frozen=True, kw_only=True)
class Pixels(ABC):
    """What the tasks of this family share; inputs [T, B, D], y ids [B] in 0..9."""

    train_size: int | None = None
    """Train on so many images, drawn at random by the seed (None: on all)."""
    shuffle: bool = True
    """Whether every epoch has an order of its own, or that of the file (as in the released code)."""
    valid: Literal["held-out", "test"] = "held-out"
    """What checks look at: `held-out`, the last part of the training images, which is not trained on then, or `test`,
    the test images (as in the released code: the published accuracies are maxima over these checks)."""
    scale: Literal["unit", "standard"] = "unit"
    """Inputs: `unit`, from 0 to 1, or `standard`, these less the task's `mean` and over its `std`: then the training
    images of digits and MNIST have mean 0 and variance 1, and CIFAR-10 goes from -1 to 1 (as in the released code)."""

    input_size: ClassVar[int] = 1
    """D."""
    output_size: ClassVar[int] = CLASSES
    tokens: ClassVar[bool] = False
    loss: ClassVar[Literal["softmax", "mse"]] = "softmax"
    loss_at: ClassVar[Literal["last", "every"]] = "last"
    streams: ClassVar[int | None] = None
    fingerprint: ClassVar[str | None] = None
    solved_below: ClassVar[float] = 0.0
    """Never: training ends with its budget or its patience."""

    name: ClassVar[str]
    length: ClassVar[int]
    brightest: ClassVar[int]
    """The largest value of a pixel."""
    mean: ClassVar[float]
    """What the scale `standard` takes from every number of a pixel, which is from 0 to 1."""
    std: ClassVar[float]
    """What it then divides by."""
    held_out_one_in: ClassVar[int]
    """One in so many of the training images can be held out, the last ones."""
    commonest: ClassVar[float]
    """Fraction of the test images that belong to the most frequent class."""

    def __post_init__(self) -> None:
        size = self.train_size
        if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
            raise InputError(f"train_size must be none or a whole number and at least 1, got {size!r}")
        if not isinstance(self.shuffle, bool):
            raise InputError(f"shuffle must be true or false, got {self.shuffle!r}")
        if self.valid not in ("held-out", "test"):
            raise InputError(f"valid must be held-out or test, got {self.valid!r}")
        if self.scale not in ("unit", "standard"):
            raise InputError(f"scale must be unit or standard, got {self.scale!r}")

    @abstractmethod
    def files(self) -> Files:
        """All images, read once in a process."""

    def in_order(self, pixels: Bytes) -> Bytes:
        """The pixels of images [B, D T] in the order in which they are fed."""
        return pixels

    @property
    def chance(self) -> dict[str, float]:
        """On the test images: always the most frequent class."""
        return {"error": 1 - self.commonest}

    def size_of(self, split: Split) -> int:
        """Images of a split, those of an epoch for `train`.

        Raises:
            InputError: if the files are missing or damaged, or hold fewer images than are to be trained on.
        """
        there = len(self._images(split).labels)
        if split != "train" or self.train_size is None:
            return there
        if self.train_size > there:
            raise InputError(f"train_size is {self.train_size:,}, but {self.name} has {there:,} images to train on")
        return self.train_size

    def batch(self, seed: int, split: Split, index: int, size: int, dtype: str = "float32") -> Batch:
        """See `datasets.task.Task.batch`; x [T, B, D], y ids [B].

        Raises:
            InputError: if there can be no such batch, or as `size_of`.
        """
        n = self._checked(split, index, size)
        images, rows = self._images(split), self._rows(seed, split, index * size, size)
        values = self._values(dtype)[self.in_order(images.pixels[rows])]
        by_colour = values.reshape(size, self.input_size, self.length)
        x = np.ascontiguousarray(by_colour.transpose(2, 0, 1))
        last = (index + 1) * size // n > index * size // n
        return Batch(x, images.labels[rows], index=index, last=last, rows=rows, of=len(images.labels))

    def batches_of(self, seed: int, passes: int, size: int) -> int:
        """See `datasets.task.Finite.batches_of`.

        Raises:
            InputError: if there can be no such batch, or as `size_of`.
        """
        return -(-passes * self._checked("train", 0, size) // size)

    def scores(self, output: Any, y: Any) -> dict[str, float]:
        """`error`: fraction of images whose largest output [B, 10] is not at y [B]."""
        return classification_scores(output, y)

    def _checked(self, split: Split, index: int, size: int) -> int:
        """Images of a split; InputError if there can be no such batch of them, or as `size_of`."""
        check_batch(split, index, size)
        n = self.size_of(split)
        if split == "train" and size > n:
            raise InputError(
                f"a batch of {size:,} is larger than the {n:,} images that {self.name} is trained on: use --batch-size "
                f"{n} or less, or train on more images"
            )
        return n

    def _images(self, split: Split) -> Images:
        """The images that a split is taken from."""
        files = self.files()
        if split == "test" or (split == "valid" and self.valid == "test"):
            return files.test
        if self.valid == "test":
            return files.train
        kept = len(files.train.labels) - len(files.train.labels) // self.held_out_one_in
        return files.train.part(slice(kept) if split == "train" else slice(kept, None))

    def _rows(self, seed: int, split: Split, start: int, size: int) -> Ids:
        """Which images stand at the places `start`, `start + 1`, ... of a split without end, `size` numbers."""
        n = self.size_of(split)
        if split != "train":
            return np.arange(start, start + size) % n
        first, last = start // n, (start + size - 1) // n
        epochs = [_order(seed, epoch, n) if self.shuffle else np.arange(n) for epoch in range(first, last + 1)]
        places = np.concatenate(epochs)[start - first * n :][:size]
        return places if self.train_size is None else _subset(seed, len(self._images(split).labels), n)[places]

    def _values(self, dtype: str) -> Any:
        """The input for each value of a pixel, [brightest + 1]."""
        unit = np.arange(self.brightest + 1) / self.brightest
        return (unit if self.scale == "unit" else (unit - self.mean) / self.std).astype(floating(dtype))


@dataclass(frozen=True, kw_only=True)
class Digits(Pixels):
    """Handwritten digits of 8x8 pixels, one a step; they ship with the project.

    1,797 images, pixels 0..16. The first 1,200 of the file are the training file, of which the last 200 can be held out
    for validation; the last 597 are the test images.

    Source: E. Alpaydin, C. Kaynak 1998, Optical Recognition of Handwritten Digits, as distributed with scikit-learn.
    """

    name: ClassVar[str] = "digits-pixels"
    length: ClassVar[int] = 64
    brightest: ClassVar[int] = 16
    mean: ClassVar[float] = 0.306966796875
    std: ClassVar[float] = 0.376395870642353
    held_out_one_in: ClassVar[int] = 6
    commonest: ClassVar[float] = 62 / 597

    def files(self) -> Files:
        """See `Pixels.files`."""
        return digits.read()


@dataclass(frozen=True, kw_only=True)
class Downloaded(Pixels):
    """The tasks whose files are downloaded."""

    data_dir: Path | None = None
    """Folder of downloaded data; None: the user's cache folder."""

    def published(self) -> dict[str, Path | None]:
        """See `datasets.task.Published.published`."""
        return image_files.lying(*self._published(), data_folder(self.data_dir))

    @abstractmethod
    def _published(self) -> tuple[str, Sequence[str]]:
        """By which name the catalogue knows the files, and the names of those that are read."""


@dataclass(frozen=True, kw_only=True)
class Mnist(Downloaded):
    """MNIST, handwritten digits of 28x28 pixels, one a step, row by row.

    The last twelfth of the training images can be held out, 5,000 of 60,000; there are 10,000 test images. Looked for
    under the names they are published by, gzipped or not, in the folder `mnist` of `data_dir`.
    """

    name: ClassVar[str] = "mnist-pixels"
    length: ClassVar[int] = mnist.SIDE**2
    brightest: ClassVar[int] = 255
    mean: ClassVar[float] = 0.1307
    std: ClassVar[float] = 0.3081
    held_out_one_in: ClassVar[int] = 12
    commonest: ClassVar[float] = 0.1135

    def files(self) -> Files:
        """See `Pixels.files`."""
        return _mnist(data_folder(self.data_dir))

    def _published(self) -> tuple[str, Sequence[str]]:
        return mnist.NAME, mnist.FILES


@dataclass(frozen=True, kw_only=True)
class PermutedMnist(Mnist):
    """MNIST, one pixel a step, in one random order that is the same for all images, splits and seeds."""

    name: ClassVar[str] = "mnist-permuted"

    def in_order(self, pixels: Bytes) -> Bytes:
        """Step t is given pixel `permutation()[t]`."""
        return pixels[:, permutation()]


@dataclass(frozen=True, kw_only=True)
class Cifar(Downloaded):
    """CIFAR-10, colour images of 32x32 pixels, one pixel (red, green, blue) a step, row by row.

    The last tenth of the training images can be held out, 5,000 of 50,000; there are 10,000 test images, 1,000 of each
    of the ten classes. The files of the binary version are looked for under the names they are published by, bare or
    gzipped, in the folder `cifar10` of `data_dir` and in its folder `cifar-10-batches-bin`, as the archive unpacks.
    """

    train_files: int = len(cifar.TRAIN)
    """Read so many of the five training files, the first ones, 10,000 images each: for those who have no more. What is
    held out is the last part of what is read."""

    name: ClassVar[str] = "cifar-pixels"
    length: ClassVar[int] = cifar.PIXELS
    input_size: ClassVar[int] = cifar.CHANNELS
    brightest: ClassVar[int] = 255
    mean: ClassVar[float] = 0.5
    std: ClassVar[float] = 0.5
    held_out_one_in: ClassVar[int] = 10
    commonest: ClassVar[float] = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        count, most = self.train_files, len(cifar.TRAIN)
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= most:
            raise InputError(f"train_files must be a whole number from 1 to {most}, got {count!r}")

    def files(self) -> Files:
        """See `Pixels.files`."""
        return _cifar(data_folder(self.data_dir), self.train_files)

    def _published(self) -> tuple[str, Sequence[str]]:
        return cifar.NAME, (*cifar.TRAIN[: self.train_files], cifar.TEST)


TASKS: dict[str, Callable[..., Task]] = {kind.name: kind for kind in (Digits, Mnist, PermutedMnist, Cifar)}
"""The tasks of this family by their names on the command line."""


@cache
def permutation() -> Ids:
    """The order of the pixels of `mnist-permuted`, [784], read only.

    Made of the raw bits of the generator, which no version of NumPy changes.
    """
    raw = stream(PERMUTATION_SEED, PermutedMnist.name).bit_generator.random_raw(PermutedMnist.length)
    return frozen(np.argsort(raw, kind="stable"))


# --- which image comes when ---


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, n: int) -> Ids:
    """The order of n images in an epoch; kept for some, since a batch needs some numbers of thousands."""
    return frozen(stream(seed, "task", "images", "epoch", n, epoch).permutation(n))


@lru_cache(maxsize=4)
def _subset(seed: int, n: int, size: int) -> Ids:
    """`size` of n images, drawn at random, in the order of the file."""
    return frozen(np.sort(stream(seed, "task", "images", "subset", n).permutation(n)[:size]))


# --- files, read once in a process; an error is not kept, so a file that has been mended is read again ---


@lru_cache(maxsize=2)
def _mnist(folder: Path) -> Files:
    train, test = mnist.find(folder)
    return Files(mnist.read(train), mnist.read(test))


@lru_cache(maxsize=1)  # 185 MB
def _cifar(folder: Path, train_files: int) -> Files:
    train, test = cifar.find(folder, train_files)
    return Files(cifar.read(train), cifar.read([test]))
