"""What is measured at a check: scores on fresh sequences, spectral radii, norms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from algorithms.measures import spectral_radius
from algorithms.protocol import initial_state, last_state
from experiments.run.build import Parts
from minigrad.backend import Array, Params, get_xp, numbers, to_device, to_numpy
from minigrad.kernels import updates
from minigrad.kernels.ids import check_ids

if TYPE_CHECKING:
    from datasets.task import Batch, Split

BATCH = 1_000
"""Sequences in a batch of a check."""

OUTPUTS = 1 << 22
"""Numbers that a network puts out at once for a text: one for each word of the vocabulary at each step."""


def batch_on_device(parts: Parts, split: Split, index: int, size: int) -> Batch:
    """A batch of the task, on the device of the run; on its way to one, its ids are looked at for the last time."""
    settings, task = parts.settings, parts.task
    batch = task.batch(settings.seed, split, index, size, settings.dtype)
    if settings.device == "cpu":
        return batch
    if task.tokens:
        check_ids("row", batch.x, task.input_size)
    if task.loss == "softmax":
        check_ids("class", batch.y, task.output_size)
    given = {name: getattr(batch, name) for name in ("x", "y", "rows")}
    moved = {name: to_device(array, settings.device) for name, array in given.items() if array is not None}
    return replace(batch, **moved)


def score(parts: Parts, params: Params, split: Split, first: int, size: int) -> dict[str, float]:
    """Mean scores over `size` sequences: the batches `first`, `first + 1`, ... of a split.

    The mean is over answers: one a sequence, or, where every step is scored, one a step. Through a text the state is
    carried from batch to batch.

    Args:
        parts: task, model and settings.
        params: parameters to judge.
        split: where the sequences come from.
        first: number of the first batch.
        size: number of sequences, at most as many as the split has; a window of one stream of a text counts as one.
    """
    sums: dict[str, float] = {}
    answers = 0
    for output, y in _outputs(parts, params, _batches(parts, split, first, size)):
        count = math.prod(y.shape[: 1 if parts.task.loss_at == "last" else 2])
        answers += count
        for name, value in parts.task.scores(output, y).items():
            sums[name] = sums.get(name, 0.0) + float(value) * count
    return {name: total / answers for name, total in sums.items()}


def with_perplexity(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores for people: beside `nll`, nats a token, also `perplexity`, e^nll, and `bits` a token, nll / ln 2."""
    if "nll" not in scores:
        return dict(scores)
    with np.errstate(over="ignore"):
        perplexity = float(np.exp(np.float64(scores["nll"])))
    return {**scores, "perplexity": perplexity, "bits": scores["nll"] / math.log(2)}


def _outputs(parts: Parts, params: Params, batches: Iterable[Batch]) -> Iterator[tuple[Any, Any]]:
    """What the network answers and what would be right, host arrays; of a text in parts of some steps each."""
    model = parts.model
    carry: Array | None = None
    for batch in batches:
        if parts.task.streams is None:
            yield to_numpy(model.output(params, batch.x)), to_numpy(batch.y)
            continue
        streams = batch.x.shape[1]
        carry = None if carry is None else carry[:streams, ...]
        h = model.unroll(params, batch.x, initial_state(model, params, batch, carry))
        carry = last_state(h)
        steps = max(1, OUTPUTS // (streams * parts.task.output_size))
        for start in range(0, h.shape[0], steps):
            part = slice(start, min(start + steps, h.shape[0]))
            yield to_numpy(model.readout(params, h[part, ...])), to_numpy(batch.y[part, ...])


def _batches(parts: Parts, split: Split, first: int, size: int) -> Iterator[Batch]:
    """Batches of a split from number `first` on, `size` sequences in all."""
    endless = parts.task.size_of(split) is None
    most = parts.task.streams or BATCH
    for number, start in enumerate(range(0, size, most), first):
        count = min(most, size - start)
        # The batches of a finite split lie side by side only where all have one size: the last one is cut.
        batch = batch_on_device(parts, split, number, count if endless else most)
        yield _cut(batch, count, parts.task.loss_at)


def _cut(batch: Batch, count: int, loss_at: Literal["last", "every"]) -> Batch:
    """The first sequences of a batch."""
    y = batch.y[:count, ...] if loss_at == "last" else batch.y[:, :count, ...]
    return replace(batch, x=batch.x[:, :count, ...], y=y)


def available(parts: Parts, split: Split, wished: int) -> int:
    """How many sequences a split has to offer, of those wished for."""
    there = parts.task.size_of(split)
    return wished if there is None else min(wished, there)


def untrained_scores(parts: Parts, params: Params) -> dict[str, float]:
    """Scores of one batch before training: what the first check has to beat."""
    return score(parts, params, "valid", 0, min(BATCH, available(parts, "valid", parts.settings.validate_size)))


def check_scores(parts: Parts, params: Params, number: int) -> dict[str, float]:
    """Scores of check `number` (1, 2, ...), each on sequences of its own; of a finite split, all on the same."""
    wished = parts.settings.validate_size
    endless = parts.task.size_of("valid") is None
    first = 1 + (number - 1) * -(-wished // BATCH) if endless else 0
    return score(parts, params, "valid", first, available(parts, "valid", wished))


def first_score(scores: Mapping[str, float]) -> float:
    """The score that decides whether a task is solved."""
    return next(iter(scores.values()))


def norms(arrays: Mapping[str, Array]) -> dict[str, float]:
    """Euclidean norm of each array, in float64; from a device they come in one transfer."""
    if get_xp(*arrays.values()) is np:
        wide = {name: np.asarray(array, dtype=np.float64) for name, array in arrays.items()}
        return {name: float(np.linalg.norm(array.reshape(-1))) for name, array in wide.items()}
    squares = numbers([updates.squares(array, "reference") for array in arrays.values()])
    return {name: math.sqrt(square) for name, square in zip(arrays, squares, strict=True)}


def spectral_radii(params: Params) -> dict[str, float]:
    """Largest |eigenvalue| of every W_hh and V_hh that is square (those of gates side by side are not)."""
    return {name: spectral_radius(array) for name, array in params.items() if _recurrent(name, array)}


def _recurrent(name: str, array: Array) -> bool:
    square = array.ndim == 2 and array.shape[0] == array.shape[1]
    return square and name.rpartition("/")[2] in ("W_hh", "V_hh")
