"""What the task families share: the refusal of impossible batches, number types, tables that are kept, the scores of a
classification."""

from __future__ import annotations

from typing import Any, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from datasets.task import Split
from minigrad.backend import to_numpy
from minigrad.errors import InputError

Ids = npt.NDArray[np.int64]

A = TypeVar("A", bound=np.ndarray[Any, Any])


def check_batch(split: Split, index: int, size: int) -> None:
    """Raise InputError unless there can be such a batch."""
    if split not in get_args(Split):
        raise InputError(f"unknown split {split!r}: there are {', '.join(get_args(Split))}")
    if index < 0 or size < 1:
        raise InputError(f"a batch needs an index of at least 0 and a size of at least 1, got {index} and {size}")


def floating(dtype: str) -> np.dtype[Any]:
    """The type of a name that tasks know; InputError for another."""
    if dtype not in ("float32", "float64"):
        raise InputError(f"dtype must be float32 or float64, got {dtype!r}")
    return np.dtype(dtype)


def frozen(array: A) -> A:
    """The array, made read-only: what a cache keeps for all is nobody's to change."""
    array.flags.writeable = False
    return array


def classification_scores(output: Any, y: Any) -> dict[str, float]:
    """`error`: fraction of sequences whose largest output [B, O] is not at y [B]."""
    output, y = to_numpy(output), to_numpy(y)
    if output.ndim != 2 or y.shape != output.shape[:1]:
        raise InputError(f"outputs [B, O] and targets [B] expected, got shapes {output.shape} and {y.shape}")
    # NaN is no answer: argmax would point at it and might be right by chance.
    return {"error": fraction_wrong((output.argmax(axis=1) == y) & ~np.isnan(output).any(axis=1))}


def fraction_wrong(right: npt.NDArray[np.bool_]) -> float:
    """What is not right is wrong, NaN included: comparisons with it are false."""
    # Not 1 - mean(right): one error in 10,000 must not come out a rounding error below 1e-4.
    return float(np.mean(~right))
