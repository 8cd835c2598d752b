"""What a task is: where batches come from and how an answer is judged.

Legend of shapes: T time steps, B sequences side by side, D input size, O output size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

Split = Literal["train", "valid", "test"]


@dataclass(frozen=True)
class Batch:
    """One minibatch of host arrays, time-major."""

    x: Any
    """Inputs: floats [T, B, D], or token ids [T, B]."""
    y: Any
    """Targets: class ids [B] (loss at the end) or [T, B] (at every step); values [B, O] or [T, B, O]."""
    continues: bool = False
    """Whether the sequences go on where those of the batch before ended: if not, the state starts afresh."""
    index: int = 0
    """Number of the batch within its split: methods that keep something per batch find it by this."""
    consecutive: bool = False
    """Whether every sequence goes on where the one before it ends, as blocks of one text side by side."""
    last: bool = False
    """Whether a pass through its split ends with it, or within it."""
    rows: Any = None
    """Numbers [B] of the sequences within data that have an end, the same in every pass."""
    of: int | None = None
    """N: such numbers are below it."""


class Task(Protocol):
    """A task family at one length: frozen, without state, cheap to make.

    No file is read before a size, a batch or, of a text, what follows from its vocabulary is asked for.
    """

    @property
    def name(self) -> str:
        """Name on the command line."""

    @property
    def length(self) -> int:
        """T, time steps of a sequence; where sequences differ, the least, but of a text about the mean."""

    @property
    def input_size(self) -> int:
        """D, or the size of the vocabulary where inputs are token ids."""

    @property
    def output_size(self) -> int:
        """O: classes, or regressed values."""

    @property
    def tokens(self) -> bool:
        """Whether inputs are token ids."""

    @property
    def loss(self) -> Literal["softmax", "mse"]:
        """Loss that the paper trains with."""

    @property
    def loss_at(self) -> Literal["last", "every"]:
        """Steps that are scored."""

    @property
    def streams(self) -> int | None:
        """Streams in which validation and testing go through a text, the state carried from batch to batch.

        None where sequences have nothing to do with each other.
        """

    @property
    def fingerprint(self) -> str | None:
        """Stands for the vocabulary and its order, where the task has one: a run goes on with no other."""

    @property
    def chance(self) -> dict[str, float]:
        """What the best constant answer scores, for every name that `scores` returns."""

    @property
    def solved_below(self) -> float:
        """The task counts as solved when the first score is below this."""

    def size_of(self, split: Split) -> int | None:
        """Sequences of a split, None where they have no end.

        Batches of a finite split follow each other through it and begin anew after its end; the order of the training
        split may change then.
        """

    def batch(self, seed: int, split: Split, index: int, size: int, dtype: str = "float32") -> Batch:
        """`size` sequences: always the same for the same arguments."""

    def scores(self, output: Any, y: Any) -> dict[str, float]:
        """Judge outputs [B, O] or [T, B, O] of a network against targets; the first entry decides what is best.

        The task is solved when that one is below `solved_below`. An entry `nll` is in nats a token.
        """


@runtime_checkable
class Finite(Protocol):
    """What else a task has if its training data end, so that training goes through them in passes."""

    def batches_of(self, seed: int, passes: int, size: int) -> int:
        """Batches of `size` sequences, from number 0 on, that the first so many passes take.

        The one with which a pass ends, `Batch.last`, may belong to the next one too.
        """


@runtime_checkable
class Published(Protocol):
    """What else a task has if it reads files of a published data set."""

    @property
    def data_dir(self) -> Path | None:
        """Folder of downloaded data; None: the user's cache folder."""

    def published(self) -> Mapping[str, Path | None]:
        """Where each file lies that it reads, None for nowhere, by its path in the catalogue; nothing is read."""


@runtime_checkable
class Windowed(Protocol):
    """What else a task has if it is a text, whose windows may vary in length."""

    @property
    def shortest(self) -> int:
        """Tokens that a window holds at least; known before the text is read."""

    def batches_of_each(self, size: int) -> int | None:
        """Batches of `size` sequences that every pass takes; None where passes differ."""

    def tokens_of(self, seed: int, size: int) -> int:
        """Tokens of the first batch; where windows vary, about the mean."""

    def tokens_read(self, seed: int, batches: int, size: int) -> int:
        """Tokens that the first so many batches of `size` sequences train on, those read again counted again."""
