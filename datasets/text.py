"""Texts: guess the next word, or the next character, from all before it.

Legend of shapes: N tokens of a split, T time steps, B sequences side by side, V size of the vocabulary.

The tokens w[0], .., w[N-1] of a split are laid out in one of two ways; y is always x moved on by one token.

`streams`: B contiguous parts of the text side by side, of R = floor((N-1)/B) tokens each; stream j begins at token jR.
A batch holds the next T tokens of every stream, and the state is carried from batch to batch. Training drops the last
R mod T tokens of every stream and begins anew, from a state of zeros, after each epoch.

`blocks`: the text is cut into floor((N-1)/T) blocks of T tokens, and a batch holds the next B of them side by side: the
batch axis is time. They are never shuffled; the last batch of an epoch may hold fewer.

Windows of `streams` may vary in length (`windows` variable), see `datasets.windows`; they drop nothing.

Only training knows blocks and variable windows. Validation and testing go through the split in `STREAMS` streams,
whatever the layout, and drop nothing of them: the last batch may be shorter than T, so that the score does not depend
on T.

Source: Wiseman et al. 2017, released code (`blocks`; 32 streams in evaluation; `streams` for their BPTT); Kag &
Saligrama 2021, released code (`ptb-300`, streams whose last window may be shorter).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from datasets import corpus, windows
from datasets.common import Ids, check_batch
from datasets.corpus import SPLITS, Corpus
from datasets.folders import data_folder
from datasets.task import Batch, Split, Task
from minigrad.backend import to_numpy
from minigrad.errors import InputError

Layout = Literal["streams", "blocks"]
Windows = Literal["fixed", "variable"]

STREAMS = 32
"""Parts of a text that are scored side by side."""

TEXT8 = "text8/text8"
"""Where text8 lies in the folder of data."""

SOURCE_SEED = 1948
"""The text of `sample-char` follows from this number, never from the seed of a run."""


@dataclass(frozen=True, kw_only=True)
class Text(ABC):
    """What the tasks of this family share; x and y ids [T, B] in 0..V-1.

    Raises:
        InputError: for an impossible length or option; at the first look at the text, if it is missing, damaged or
            too short.
    """

    length: int = 20
    """T, tokens of a window or of a block, at least 1."""
    layout: Layout = "streams"
    """How the training text is laid out: `streams`, parts of it side by side, or `blocks`, its blocks side by side."""
    windows: Windows = "fixed"
    """Windows of the streams that are trained on: all of T tokens (`fixed`), or of lengths around T (`variable`)."""
    valid: Literal["valid", "train"] = "valid"
    """Which text is validated on: another one, or the one that is trained on."""

    tokens: ClassVar[bool] = True
    loss: ClassVar[Literal["softmax", "mse"]] = "softmax"
    loss_at: ClassVar[Literal["last", "every"]] = "every"
    streams: ClassVar[int | None] = STREAMS
    solved_below: ClassVar[float] = 0.0
    """Never: training ends with its budget or its patience."""

    name: ClassVar[str]

    def __post_init__(self) -> None:
        _check_whole("length", self.length, 1)
        if self.layout not in get_args(Layout):
            raise InputError(f"layout must be {' or '.join(get_args(Layout))}, got {self.layout!r}")
        if self.valid not in ("valid", "train"):
            raise InputError(f"valid must be valid or train, got {self.valid!r}")
        if self.windows not in get_args(Windows):
            raise InputError(f"windows must be {' or '.join(get_args(Windows))}, got {self.windows!r}")
        if self.windows == "variable" and self.layout != "streams":
            raise InputError(f"windows are variable in layout streams alone: leave one out, it is {self.layout}")
        if self.windows == "variable" and self.length < windows.SHORTEST:
            raise InputError(f"variable windows need a length of at least {windows.SHORTEST}, got {self.length}")

    @abstractmethod
    def read(self) -> Corpus:
        """The text, read once in a process."""

    @property
    def corpus(self) -> Corpus:
        """The text."""
        return self.read()

    @property
    def fingerprint(self) -> str:
        """Stands for the vocabulary and its order."""
        return self.corpus.fingerprint

    @property
    def input_size(self) -> int:
        """V."""
        return len(self.corpus.vocabulary)

    @property
    def output_size(self) -> int:
        """V."""
        return self.input_size

    @property
    def chance(self) -> dict[str, float]:
        """The best answer that never changes: the frequencies of the tokens in the test split."""
        return {"nll": _unigram_entropy(self.corpus)}

    @property
    def shortest(self) -> int:
        """Tokens that a window or block of training holds at least."""
        return self.length if self.windows == "fixed" else windows.SHORTEST

    def size_of(self, split: Split) -> int:
        """Windows or blocks of T tokens; of validation and testing, those of all streams, the last ones shorter maybe.

        Raises:
            InputError: as the class, or if there is not one.
        """
        if split == "train":
            return (self._count(split, self.length + 1) - 1) // self.length
        return STREAMS * self.batches(split, STREAMS)

    def batches(self, split: Split, size: int, seed: int = 0, epoch: int = 0) -> int:
        """Batches of `size` sequences that make one pass through a split; every pass is alike but in variable windows.

        Raises:
            InputError: as the class, or if there is not one.
        """
        check_batch(split, 0, size)
        if split != "train":
            return -(-self._rows(split, size) // self.length)
        if self.layout == "blocks":
            return -(-self.size_of(split) // size)
        rows = self._rows(split, size)
        return rows // self.length if self.windows == "fixed" else len(windows.ends(seed, epoch, self.length, rows))

    def batches_of(self, seed: int, passes: int, size: int) -> int:
        """See `datasets.task.Finite.batches_of`.

        Raises:
            InputError: as `batches`.
        """
        if (each := self.batches_of_each(size)) is not None:
            return passes * each
        check_batch("train", 0, size)
        return int(windows.firsts(seed, passes, self.length, self._rows("train", size))[-1])

    def batches_of_each(self, size: int) -> int | None:
        """See `datasets.task.Windowed.batches_of_each`.

        Raises:
            InputError: as `batches`.
        """
        return self.batches("train", size) if self.windows == "fixed" else None

    def tokens_of(self, seed: int, size: int) -> int:
        """Tokens of a full batch of training; in variable windows about the mean, that of the first pass.

        Raises:
            InputError: as `batches`.
        """
        if self.layout == "blocks":
            return min(size, self.size_of("train")) * self.length
        if self.windows == "fixed":
            return size * self.length
        return round(size * self._rows("train", size) / self.batches_of(seed, 1, size))

    def tokens_read(self, seed: int, batches: int, size: int) -> int:
        """See `datasets.task.Windowed.tokens_read`.

        Raises:
            InputError: as `batches`.
        """
        check_batch("train", 0, size)
        if self.layout == "blocks":
            passes, rest = divmod(batches, self.batches("train", size))
            return (passes * self.size_of("train") + rest * min(size, self.size_of("train"))) * self.length
        if self.windows == "fixed":
            return batches * size * self.length
        rows = self._rows("train", size)
        ends, number = windows.located(seed, batches, self.length, rows)
        passes = windows.passes(seed, batches, self.length, rows)
        return size * (passes * rows + (int(ends[number - 1]) if number else 0))

    def batch(self, seed: int, split: Split, index: int, size: int, dtype: str = "float32") -> Batch:
        """See `datasets.task.Task.batch`; ids x, y [T, B]. `index` of a batch: its number within a pass.

        The seed decides nothing but the lengths of variable windows. Training: B = size, or less at the end of the
        blocks. Validation and testing: B = size streams, T or less at their end.

        Raises:
            InputError: if there can be no such batch, or as `batches`.
        """
        check_batch(split, index, size)
        if split == "train" and self.layout == "blocks":
            return self._blocks(index, size)
        rows = self._rows(split, size)
        if split == "train" and self.windows == "variable":
            ends, number = windows.located(seed, index, self.length, rows)
            window, count = slice(int(ends[number - 1]) if number else 0, int(ends[number])), len(ends)
        else:
            count = self.batches(split, size)
            number = index % count
            window = slice(number * self.length, min((number + 1) * self.length, rows))
        ids = self.corpus.split(self._part(split))
        x, y = (_side_by_side(ids[shift : shift + size * rows].reshape(size, rows)[:, window]) for shift in (0, 1))
        return Batch(x, y, continues=number > 0, index=number, last=number == count - 1)

    def _blocks(self, index: int, size: int) -> Batch:
        """The next `size` blocks of the training text, or what is left of them."""
        ids, T, count = self.corpus.split("train"), self.length, self.batches("train", size)
        number = index % count
        first, last = number * size * T, min((number + 1) * size, self.size_of("train")) * T
        x, y = (_side_by_side(ids[first + shift : last + shift].reshape(-1, T)) for shift in (0, 1))
        return Batch(x, y, continues=number > 0, index=number, consecutive=True, last=number == count - 1)

    def scores(self, output: Any, y: Any) -> dict[str, float]:
        """`nll`: mean of -log softmax(output)[y], nats a token, from logits [T, B, V] and ids [T, B]; NaN makes NaN."""
        output, y = to_numpy(output), to_numpy(y)
        if output.ndim != 3 or y.shape != output.shape[:2]:
            raise InputError(f"outputs [T, B, V] and targets [T, B] expected, got shapes {output.shape} and {y.shape}")
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite shows in the score
            below = output - output.max(axis=2, keepdims=True)
            right = np.take_along_axis(below, y[..., None], axis=2)[..., 0]
            total = np.exp(below, out=below).sum(axis=2, dtype=np.float64)
            return {"nll": float(np.mean(np.log(total) - right, dtype=np.float64))}

    def _rows(self, split: Split, size: int) -> int:
        """Tokens of each of `size` streams: of training at least T, otherwise at least one."""
        return (self._count(split, size * (self.length if split == "train" else 1) + 1) - 1) // size

    def _count(self, split: Split, least: int) -> int:
        """N, at least so many."""
        text, part = self.corpus, self._part(split)
        text.require(part, least)
        return len(text.split(part))

    def _part(self, split: Split) -> Split:
        """The part of the text that a split of the task is made of."""
        return self.valid if split == "valid" else split


@dataclass(frozen=True, kw_only=True)
class TokenFiles(Text):
    """A text of tokens between blanks, in a file a split."""

    data_dir: Path | None = None
    """Folder of downloaded data; None: the user's cache folder."""

    files: ClassVar[str]
    """Where they lie in that folder; {} stands for the split."""

    def read(self) -> Corpus:
        """See `Text.read`."""
        return _token_files(data_folder(self.data_dir), self.files, False)

    def published(self) -> dict[str, Path | None]:
        """See `datasets.task.Published.published`."""
        return _lying(data_folder(self.data_dir), *(self.files.format(split) for split in SPLITS))


@dataclass(frozen=True, kw_only=True)
class PtbWord(TokenFiles):
    """Penn Treebank by words, of which there are 10,000 different ones.

    929,589 tokens to train on, 73,760 to validate, 82,430 to test, an `<eos>` at the end of each line among them.
    """

    name: ClassVar[str] = "ptb-word"
    files: ClassVar[str] = "ptb/ptb.{}.txt"


@dataclass(frozen=True, kw_only=True)
class Ptb300(TokenFiles):
    """Penn Treebank by words, in windows of 300."""

    length: int = 300
    """T, tokens of a window or of a block, at least 1."""

    name: ClassVar[str] = "ptb-300"
    files: ClassVar[str] = PtbWord.files


@dataclass(frozen=True, kw_only=True)
class PtbChar(TokenFiles):
    """Penn Treebank by characters, of which there are 50 different ones.

    5,017,482 tokens to train on, 393,042 to validate, 442,423 to test. The files have blanks between the characters and
    `_` for a blank.
    """

    length: int = 75
    """T, characters of a window or of a block, at least 1."""

    name: ClassVar[str] = "ptb-char"
    files: ClassVar[str] = "ptb/ptb.char.{}.txt"


@dataclass(frozen=True, kw_only=True)
class WikiText(TokenFiles):
    """Good and featured articles of Wikipedia, by words."""

    skip_blank: bool = False
    """Whether to leave out the empty lines; the published counts of tokens are with them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.skip_blank, bool):
            raise InputError(f"skip_blank must be true or false, got {self.skip_blank!r}")

    def read(self) -> Corpus:
        """See `Text.read`."""
        return _token_files(data_folder(self.data_dir), self.files, self.skip_blank)


@dataclass(frozen=True, kw_only=True)
class WikiText2(WikiText):
    """WikiText-2 by words: 2 million to train on, 33,278 different ones."""

    name: ClassVar[str] = "wikitext-2"
    files: ClassVar[str] = "wikitext-2/{}.txt"


@dataclass(frozen=True, kw_only=True)
class WikiText103(WikiText):
    """WikiText-103 by words: 103 million to train on, 267,735 different ones."""

    name: ClassVar[str] = "wikitext-103"
    files: ClassVar[str] = "wikitext-103/{}.txt"


@dataclass(frozen=True, kw_only=True)
class Text8Word(Text):
    """text8 by words, 17 million, the rare ones replaced by `<unk>`.

    How it is cut and which words are rare is our choice, see `datasets.corpus.rare_words`.
    """

    data_dir: Path | None = None
    """Folder of downloaded data; None: the user's cache folder."""

    name: ClassVar[str] = "text8-word"

    def read(self) -> Corpus:
        """See `Text.read`."""
        return _text8_words(data_folder(self.data_dir))

    def published(self) -> dict[str, Path | None]:
        """See `datasets.task.Published.published`."""
        return _lying(data_folder(self.data_dir), TEXT8)


@dataclass(frozen=True, kw_only=True)
class Text8Char(Text):
    """text8 by characters, of which there are 27 different ones.

    90 million to train on, 5 million to validate, 5 million to test.
    """

    length: int = 75
    """T, characters of a window or of a block, at least 1."""
    data_dir: Path | None = None
    """Folder of downloaded data; None: the user's cache folder."""

    name: ClassVar[str] = "text8-char"

    def read(self) -> Corpus:
        """See `Text.read`."""
        return _text8_characters(data_folder(self.data_dir))

    def published(self) -> dict[str, Path | None]:
        """See `datasets.task.Published.published`."""
        return _lying(data_folder(self.data_dir), TEXT8)


@dataclass(frozen=True, kw_only=True)
class SampleChar(Text):
    """Brackets and counted letters, by characters: no model gets below 0.6814 nats; needs no data.

    See `datasets.hidden_markov`, a source whose entropy is known. Validation and testing have a tenth
    as many characters each as training.
    """

    length: int = 75
    """T, characters of a window or of a block, at least 1."""
    characters: int = 1_000_000
    """Characters to train on, at least 10."""

    name: ClassVar[str] = "sample-char"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_whole("characters", self.characters, 10)

    def read(self) -> Corpus:
        """See `Text.read`."""
        return _sample(self.characters)


TASKS: dict[str, Callable[..., Task]] = {
    kind.name: kind for kind in (PtbWord, Ptb300, PtbChar, Text8Word, Text8Char, WikiText2, WikiText103, SampleChar)
}
"""The tasks of this family by their names on the command line."""


def _check_whole(name: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(f"{name} must be a whole number and at least {least}, got {value!r}")


def _lying(folder: Path, *names: str) -> dict[str, Path | None]:
    """Where files lie in the folder of data: texts are read bare."""
    return {name: folder / name if (folder / name).exists() else None for name in names}


def _side_by_side(parts: corpus.Ids) -> Ids:
    """Parts of a text [B, T] as an array of its own [T, B]."""
    return np.array(parts.T, np.int64, order="C")


@lru_cache(maxsize=4)
def _unigram_entropy(text: Corpus) -> float:
    """Entropy of the tokens of the test split, in nats: what their frequencies score there."""
    counts = np.bincount(text.test)
    frequencies = counts[counts > 0] / len(text.test)
    return float(-(frequencies * np.log(frequencies)).sum())


# --- texts, each read once in a process; an error is not kept, so a file that has been mended is read again ---


@lru_cache(maxsize=4)
def _token_files(folder: Path, files: str, skip_blank: bool) -> Corpus:
    return corpus.words({split: folder / files.format(split) for split in SPLITS}, skip_blank=skip_blank)


@lru_cache(maxsize=2)
def _text8_words(folder: Path) -> Corpus:
    return corpus.rare_words(folder / TEXT8)


@lru_cache(maxsize=2)
def _text8_characters(folder: Path) -> Corpus:
    return corpus.characters(folder / TEXT8)


@lru_cache(maxsize=2)
def _sample(characters: int) -> Corpus:
    from datasets.hidden_markov import ALPHABET, sample  # here, for it takes a while to import

    sizes: dict[Split, int] = {"train": characters, "valid": characters // 10, "test": characters // 10}
    splits = {split: sample(SOURCE_SEED, split, 0, size) for split, size in sizes.items()}
    return Corpus(SampleChar.name, **splits, vocabulary=ALPHABET)
