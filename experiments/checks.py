"""What is measured at a check: scores on fresh sequences, spectral radii, norms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from algorithms.measures import spectral_radius
from experiments.build import Parts
from minigrad.backend import Array, Params, to_device, to_numpy

if TYPE_CHECKING:
    from datasets.task import Batch, Split

BATCH = 1_000
"""Sequences in a batch of a check."""


def batch_on_device(parts: Parts, split: Split, index: int, size: int) -> Batch:
    """A batch of the task, on the device of the run."""
    settings = parts.settings
    batch = parts.task.batch(settings.seed, split, index, size, settings.dtype)
    if settings.device == "cpu":
        return batch
    return replace(batch, x=to_device(batch.x, settings.device), y=to_device(batch.y, settings.device))


def score(parts: Parts, params: Params, split: Split, first: int, size: int) -> dict[str, float]:
    """Mean scores over `size` sequences: the batches `first`, `first + 1`, ... of a split.

    Args:
        parts: task, model and settings.
        params: parameters to judge.
        split: where the sequences come from.
        first: number of the first batch.
        size: number of sequences.
    """
    sums: dict[str, float] = {}
    for number, start in enumerate(range(0, size, BATCH)):
        count = min(BATCH, size - start)
        batch = batch_on_device(parts, split, first + number, count)
        scores = parts.task.scores(to_numpy(parts.model.output(params, batch.x)), to_numpy(batch.y))
        for name, value in scores.items():
            sums[name] = sums.get(name, 0.0) + float(value) * count
    return {name: total / size for name, total in sums.items()}


def untrained_scores(parts: Parts, params: Params) -> dict[str, float]:
    """Scores of one batch before training: what the first check has to beat."""
    return score(parts, params, "valid", 0, min(BATCH, parts.settings.validate_size))


def check_scores(parts: Parts, params: Params, number: int) -> dict[str, float]:
    """Scores of check `number` (1, 2, ...), each on sequences of its own."""
    size = parts.settings.validate_size
    return score(parts, params, "valid", 1 + (number - 1) * -(-size // BATCH), size)


def first_score(scores: Mapping[str, float]) -> float:
    """The score that decides whether a task is solved."""
    return next(iter(scores.values()))


def norms(arrays: Mapping[str, Array]) -> dict[str, float]:
    """Euclidean norm of each array, in float64."""
    return {name: float(np.linalg.norm(_host(array).reshape(-1))) for name, array in arrays.items()}


def not_finite(params: Params) -> str | None:
    """Name of the first parameter with a NaN or an infinity."""
    return next((name for name, array in params.items() if not np.isfinite(_host(array)).all()), None)


def spectral_radii(params: Params) -> dict[str, float]:
    """Largest |eigenvalue| of every W_hh and V_hh that is square (those of gates side by side are not)."""
    return {name: spectral_radius(array) for name, array in params.items() if _recurrent(name, array)}


def _recurrent(name: str, array: Array) -> bool:
    square = array.ndim == 2 and array.shape[0] == array.shape[1]
    return square and name.rpartition("/")[2] in ("W_hh", "V_hh")


def _host(array: Array) -> Any:
    return np.asarray(to_numpy(array), dtype=np.float64)
