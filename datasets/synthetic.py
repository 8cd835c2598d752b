"""The synthetic long-memory tasks: temporal order, adding, random permutation.

Legend of shapes: T time steps, B sequences side by side, C channels. Positions are counted from 0, randint(k) is
uniform over 0..k-1, L is the length asked for; fl() of a decimal fraction of L is taken in whole numbers, L // 10 for
fl(0.1 L). Draws are independent for every sequence and made in the order in which a docstring lists them.

A batch follows from (seed, task, length, split, index, size) and the options alone. Length and size belong to the name
of the random stream: batches of 20 and of 1000, or at T = 10 and T = 20, share no draws and so are independent samples.
The dtype does not, and real numbers have 24 random bits in every dtype: float32 and float64 hold the same data.

Source: Hochreiter & Schmidhuber 1997, Long short-term memory (the tasks); Manchev & Spratling 2020, section 3.1, and
their released code, where the two differ by default; Kag & Saligrama 2021, section 4.4 (`adding-sum`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from datasets.common import Ids, check_batch, classification_scores, floating, fraction_wrong
from datasets.task import Batch, Split, Task
from minigrad.backend import to_numpy
from minigrad.errors import InputError
from minigrad.rng import stream

LENGTH = 60
"""L where none is asked for."""

SYMBOLS = 6
"""Channels of the temporal-order tasks: 0 and 1 are X and Y, the others distract."""


@dataclass(frozen=True)
class Temporal:
    """Temporal order: which of X and Y came first and which second, among distractors.

    Draws: p0 = fl(.1L) + randint(fl(.1L)), v0 = randint(2), p1 = fl(.5L) + randint(fl(.1L)), v1, then the distractors,
    uniform over 2..5, at every step. Symbol v0 stands at p0 and v1 at p1. Inputs are one-hot [L, B, 6], y = v0 + 2 v1,
    ids [B] in 0..3.

    Raises:
        InputError: if the length is below 10, or for an unknown option.
    """

    length: int = LENGTH
    """L, time steps, at least 10."""
    t2: Literal["code", "paper"] = "code"
    """Where the second symbol stands: `code`, from fl(.5L), or `paper`, from fl(.4L)."""

    name: ClassVar[str] = "temporal"
    input_size: ClassVar[int] = SYMBOLS
    output_size: ClassVar[int] = 4
    tokens: ClassVar[bool] = False
    loss: ClassVar[Literal["softmax", "mse"]] = "softmax"
    loss_at: ClassVar[Literal["last", "every"]] = "last"
    streams: ClassVar[int | None] = None
    fingerprint: ClassVar[str | None] = None
    solved_below: ClassVar[float] = 1e-4

    def __post_init__(self) -> None:
        _check_length(self.name, self.length, at_least=10)
        if self.t2 not in ("code", "paper"):
            raise InputError(f"t2 must be code or paper, got {self.t2!r}")

    @property
    def chance(self) -> dict[str, float]:
        """Four classes, equally likely: every constant is wrong three times in four."""
        return {"error": 3 / 4}

    def size_of(self, split: Split) -> None:
        """Without end."""

    def batch(self, seed: int, split: Split, index: int, size: int, dtype: str = "float32") -> Batch:
        """See `datasets.task.Task.batch`; x [L, B, 6], y ids [B]."""
        rng = _stream(self.name, self.length, seed, split, index, size)
        second = 5 if self.t2 == "code" else 4
        x, y = _temporal_order(rng, self.length, size, (1, second), dtype)
        return Batch(x, y, index=index)

    def scores(self, output: Any, y: Any) -> dict[str, float]:
        """`error`: fraction of sequences whose largest output [B, 4] is not at y [B]."""
        return classification_scores(output, y)


@dataclass(frozen=True)
class Temporal3:
    """Temporal order with three symbols.

    Draws: p0, v0 as in `Temporal`, p1 = fl(.3L) + randint(fl(.1L)), v1, p2 = fl(.6L) + randint(fl(.1L)), v2, then the
    distractors. Inputs are one-hot [L, B, 6], y = v0 + 2 v1 + 4 v2, ids [B] in 0..7.

    Raises:
        InputError: if the length is below 10.
    """

    length: int = LENGTH
    """L, time steps, at least 10."""

    name: ClassVar[str] = "temporal3"
    input_size: ClassVar[int] = SYMBOLS
    output_size: ClassVar[int] = 8
    tokens: ClassVar[bool] = False
    loss: ClassVar[Literal["softmax", "mse"]] = "softmax"
    loss_at: ClassVar[Literal["last", "every"]] = "last"
    streams: ClassVar[int | None] = None
    fingerprint: ClassVar[str | None] = None
    solved_below: ClassVar[float] = 1e-4

    def __post_init__(self) -> None:
        _check_length(self.name, self.length, at_least=10)

    @property
    def chance(self) -> dict[str, float]:
        """Eight classes, equally likely."""
        return {"error": 7 / 8}

    def size_of(self, split: Split) -> None:
        """Without end."""

    def batch(self, seed: int, split: Split, index: int, size: int, dtype: str = "float32") -> Batch:
        """See `datasets.task.Task.batch`; x [L, B, 6], y ids [B]."""
        rng = _stream(self.name, self.length, seed, split, index, size)
        x, y = _temporal_order(rng, self.length, size, (1, 3, 6), dtype)
        return Batch(x, y, index=index)

    def scores(self, output: Any, y: Any) -> dict[str, float]:
        """`error`: fraction of sequences whose largest output [B, 8] is not at y [B]."""
        return classification_scores(output, y)


@dataclass(frozen=True)
class Permutation:
    """Random permutation: the last symbol is the first one, and nothing between tells.

    Draws: L + 1 symbols, uniform over 2..99, then v = randint(2), which replaces the first and the last. Inputs are the
    first L symbols, one-hot [L, B, 100]; y = v, ids [B], to be named among all 100 symbols.

    Raises:
        InputError: if the length is below 10.
    """

    length: int = LENGTH
    """L, time steps, at least 10."""

    name: ClassVar[str] = "permutation"
    input_size: ClassVar[int] = 100
    output_size: ClassVar[int] = 100
    tokens: ClassVar[bool] = False
    loss: ClassVar[Literal["softmax", "mse"]] = "softmax"
    loss_at: ClassVar[Literal["last", "every"]] = "last"
    streams: ClassVar[int | None] = None
    fingerprint: ClassVar[str | None] = None
    solved_below: ClassVar[float] = 1e-4

    def __post_init__(self) -> None:
        _check_length(self.name, self.length, at_least=10)

    @property
    def chance(self) -> dict[str, float]:
        """Only symbols 0 and 1 occur as targets, equally often: the constant 0 is wrong every second time."""
        return {"error": 1 / 2}

    def size_of(self, split: Split) -> None:
        """Without end."""

    def batch(self, seed: int, split: Split, index: int, size: int, dtype: str = "float32") -> Batch:
        """See `datasets.task.Task.batch`; x [L, B, 100], y ids [B]."""
        rng = _stream(self.name, self.length, seed, split, index, size)
        symbols = rng.integers(2, self.input_size, (self.length + 1, size))
        symbols[0] = symbols[-1] = rng.integers(2, size=size)
        return Batch(_one_hot(symbols[:-1], self.input_size, dtype), symbols[-1].copy(), index=index)

    def scores(self, output: Any, y: Any) -> dict[str, float]:
        """`error`: fraction of sequences whose largest output [B, 100] is not at y [B]."""
        return classification_scores(output, y)


@dataclass(frozen=True)
class Adding:
    """Adding: the mean of the two marked numbers of a sequence.

    Draws: the length l = L + randint(fl(.1L)), once for the batch, p0 = randint(fl(.1l)),
    p1 = fl(.1l) + randint(fl(.4l)), then the numbers, U[0, 1) at every step. Inputs [l, B, 2]: channel 0 is 1 at p0 and
    p1 and 0 elsewhere, channel 1 holds the numbers; y [B, 1] is the mean of the numbers at p0 and p1.

    Raises:
        InputError: if the length is below 10.
    """

    length: int = LENGTH
    """L, time steps, at least 10."""
    jitter: bool = True
    """Whether a batch may be up to a tenth longer (as in the released code), or all have L steps (as in the paper)."""

    name: ClassVar[str] = "adding"
    input_size: ClassVar[int] = 2
    output_size: ClassVar[int] = 1
    tokens: ClassVar[bool] = False
    loss: ClassVar[Literal["softmax", "mse"]] = "mse"
    loss_at: ClassVar[Literal["last", "every"]] = "last"
    streams: ClassVar[int | None] = None
    fingerprint: ClassVar[str | None] = None
    solved_below: ClassVar[float] = 1e-4

    def __post_init__(self) -> None:
        _check_length(self.name, self.length, at_least=10)
        if not isinstance(self.jitter, bool):
            raise InputError(f"jitter must be true or false, got {self.jitter!r}")

    @property
    def chance(self) -> dict[str, float]:
        """The constant 1/2, best in each reading.

        The mean of two U[0, 1) has the density of a triangle with its top at 1/2: it lies within d of 1/2 with
        probability 1 - (1 - 2d)^2. d = 0.2: 64.0 %; d = 0.04: 15.36 %. Its variance is (1/12 + 1/12) / 4.
        """
        return {"error": 0.6**2, "error_abs": 0.92**2, "mse": 1 / 24}

    def size_of(self, split: Split) -> None:
        """Without end."""

    def batch(self, seed: int, split: Split, index: int, size: int, dtype: str = "float32") -> Batch:
        """See `datasets.task.Task.batch`; x [l, B, 2], y [B, 1], L <= l < 1.1 L."""
        rng = _stream(self.name, self.length, seed, split, index, size)
        length = self.length + (int(rng.integers(self.length // 10)) if self.jitter else 0)
        p0 = rng.integers(length // 10, size=size)
        p1 = length // 10 + rng.integers(4 * length // 10, size=size)
        numbers = _unit(rng, (length, size), dtype)
        x = np.stack([_markers(length, p0, p1, dtype), numbers], axis=-1)
        return Batch(x, (_pick(numbers, p0) + _pick(numbers, p1)) / 2, index=index)

    def scores(self, output: Any, y: Any) -> dict[str, float]:
        """Judge outputs [B, 1] against y [B, 1], under both readings of the published tolerance of 0.04.

        `error`: fraction with (output - y)^2 > 0.04, that is off by more than 0.2 (released code).
        `error_abs`: fraction with |output - y| > 0.04 (the text, as Hochreiter & Schmidhuber 1997).
        `mse`: mean of (output - y)^2.
        """
        off = _residuals(output, y)
        return {
            "error": fraction_wrong(off**2 <= 0.04),
            "error_abs": fraction_wrong(np.abs(off) <= 0.04),
            "mse": float(np.mean(off**2)),
        }


@dataclass(frozen=True)
class AddingSum:
    """Adding as Kag & Saligrama pose it: the sum of the two marked numbers, one marked in each half.

    Draws: the numbers, U[0, 1) at every step, p0 = randint(floor(T/2)), p1 = ceil(T/2) + randint(floor(T/2)). Inputs
    [T, B, 2]: channel 0 holds the numbers, channel 1 is 1 at p0 and p1 and 0 elsewhere; y [B, 1] is the sum of the
    numbers at p0 and p1. The middle step of an odd T is never marked.

    Raises:
        InputError: if the length is below 2.
    """

    length: int = LENGTH
    """T, time steps, at least 2."""

    name: ClassVar[str] = "adding-sum"
    input_size: ClassVar[int] = 2
    output_size: ClassVar[int] = 1
    tokens: ClassVar[bool] = False
    loss: ClassVar[Literal["softmax", "mse"]] = "mse"
    loss_at: ClassVar[Literal["last", "every"]] = "last"
    streams: ClassVar[int | None] = None
    fingerprint: ClassVar[str | None] = None
    solved_below: ClassVar[float] = 0.01
    """On the mean squared error, for which the paper names no threshold: 6 % of what the constant scores."""

    def __post_init__(self) -> None:
        _check_length(self.name, self.length, at_least=2)

    @property
    def chance(self) -> dict[str, float]:
        """The constant 1: the variance of the sum of two U[0, 1), 1/12 + 1/12."""
        return {"mse": 1 / 6}

    def size_of(self, split: Split) -> None:
        """Without end."""

    def batch(self, seed: int, split: Split, index: int, size: int, dtype: str = "float32") -> Batch:
        """See `datasets.task.Task.batch`; x [T, B, 2], y [B, 1]."""
        rng = _stream(self.name, self.length, seed, split, index, size)
        half = self.length // 2
        numbers = _unit(rng, (self.length, size), dtype)
        p0 = rng.integers(half, size=size)
        p1 = self.length - half + rng.integers(half, size=size)
        x = np.stack([numbers, _markers(self.length, p0, p1, dtype)], axis=-1)
        return Batch(x, _pick(numbers, p0) + _pick(numbers, p1), index=index)

    def scores(self, output: Any, y: Any) -> dict[str, float]:
        """`mse`: mean of (output - y)^2 over outputs [B, 1] and y [B, 1]."""
        return {"mse": float(np.mean(_residuals(output, y) ** 2))}


TASKS: dict[str, Callable[..., Task]] = {
    kind.name: kind for kind in (Temporal, Temporal3, Adding, Permutation, AddingSum)
}
"""The tasks of this family by their names on the command line."""


# --- what the tasks share ---


def _check_length(name: str, length: int, at_least: int) -> None:
    if not isinstance(length, int) or isinstance(length, bool) or length < at_least:
        raise InputError(f"the length of task {name} must be a whole number and at least {at_least}, got {length!r}")


def _stream(name: str, length: int, seed: int, split: Split, index: int, size: int) -> np.random.Generator:
    check_batch(split, index, size)
    return stream(seed, "task", name, length, split, index, size)


def _temporal_order(
    rng: np.random.Generator, length: int, size: int, tenths: tuple[int, ...], dtype: str
) -> tuple[npt.NDArray[Any], Ids]:
    """Inputs [T, B, 6], labels [B]: symbol number k stands in the tenth of the sequence that starts at tenths[k]."""
    positions, symbols = [], []
    for tenth in tenths:
        positions.append(tenth * length // 10 + rng.integers(length // 10, size=size))
        symbols.append(rng.integers(2, size=size))
    sequence = rng.integers(2, SYMBOLS, (length, size))
    y = np.zeros(size, np.int64)
    for k, (p, v) in enumerate(zip(positions, symbols, strict=True)):
        sequence[p, np.arange(size)] = v
        y += v << k
    return _one_hot(sequence, SYMBOLS, dtype), y


def _one_hot(symbols: Ids, channels: int, dtype: str) -> npt.NDArray[Any]:
    """[T, B] -> [T, B, C]; writes the ones into zeros, no other array of that size is made."""
    x = np.zeros((*symbols.shape, channels), floating(dtype))
    x.reshape(-1)[np.arange(0, x.size, channels) + symbols.reshape(-1)] = 1
    return x


def _unit(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> npt.NDArray[Any]:
    """U[0, 1) with 24 random bits: exact in float32 and wider, below 1 in both, and the same numbers."""
    return rng.random(shape, np.float32).astype(floating(dtype), copy=False)


def _markers(length: int, p0: Ids, p1: Ids, dtype: str) -> npt.NDArray[Any]:
    """[T, B]: ones at p0 [B] and p1 [B]."""
    marks = np.zeros((length, len(p0)), floating(dtype))
    marks[p0, np.arange(len(p0))] = marks[p1, np.arange(len(p1))] = 1
    return marks


def _pick(numbers: npt.NDArray[Any], position: Ids) -> npt.NDArray[Any]:
    """The number of each sequence at its position: [T, B], [B] -> [B, 1]."""
    picked: npt.NDArray[Any] = numbers[position, np.arange(len(position)), None]
    return picked


def _residuals(output: Any, y: Any) -> npt.NDArray[np.float64]:
    """output - y in float64; unequal shapes would broadcast [B, 1] and [B] to [B, B] without a word."""
    output, y = to_numpy(output), to_numpy(y)
    if output.shape != y.shape:
        raise InputError(f"outputs and targets must have one shape, got {output.shape} and {y.shape}")
    off: npt.NDArray[np.float64] = output.astype(np.float64) - y.astype(np.float64)
    return off
