"""First values of parameters.

Everything is drawn on the host in float64 and cast at the end, so that runs in float32 and float64, on CPU and GPU,
start from the same numbers. Matrices are [rows, cols] = [from, to]: states are row vectors, h @ W.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from minigrad.errors import InputError

HostArray = npt.NDArray[Any]


def rand_ortho(rng: np.random.Generator, rows: int, cols: int, dtype: npt.DTypeLike) -> HostArray:
    """A random matrix with orthonormal rows (rows <= cols) or columns (rows >= cols).

    A = U S V^T with A ~ U(-1, 1); the answer is U @ eye(rows, cols) @ V^T, the orthogonal factor of A, which does not
    depend on the signs that an implementation of the SVD picks.

    Args:
        rng: draws rows * cols uniform numbers, in row order.
        rows: size of the input, at least 1.
        cols: size of the output, at least 1.
        dtype: a floating-point type.

    Returns:
        [rows, cols].

    Raises:
        InputError: for an empty shape or a type that is not floating-point.

    Source: Manchev & Spratling 2020, section 3.1 (orthogonal W_hh), and their released code (every weight matrix).
    """
    draw = uniform(rng, (rows, cols), np.float64, 1.0)
    # eye(rows, cols) keeps min(rows, cols) singular vectors: the thin SVD is enough and spares a [rows, rows] matrix.
    u, _, vt = np.linalg.svd(draw, full_matrices=False)
    return _cast(u @ vt, dtype)


def normal(rng: np.random.Generator, rows: int, cols: int, dtype: npt.DTypeLike, std: float) -> HostArray:
    """Independent N(0, std^2) numbers.

    Args:
        rng: draws rows * cols normal numbers, in row order.
        rows: size of the input, at least 1.
        cols: size of the output, at least 1.
        dtype: a floating-point type.
        std: standard deviation, at least 0.

    Returns:
        [rows, cols].

    Raises:
        InputError: for an empty shape, an impossible std or a type that is not floating-point.

    Source: Manchev & Spratling 2020, section 3.1 (std 0.1), and their released code (0.01 for logistic units).
    """
    return _cast(_bounded("std", std) * rng.standard_normal(_filled((rows, cols))), dtype)


def uniform(rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike, bound: float) -> HostArray:
    """Independent U(-bound, bound) numbers.

    Args:
        rng: draws one uniform number an entry, in row order.
        shape: any shape without a zero.
        dtype: a floating-point type.
        bound: largest magnitude, at least 0.

    Returns:
        An array of `shape`.

    Raises:
        InputError: for an empty shape, an impossible bound or a type that is not floating-point.

    Source: Wiseman et al. 2017, released code (embeddings and decoder U(-0.1, 0.1)).
    """
    return _cast(_bounded("bound", bound) * (2.0 * rng.random(_filled(shape)) - 1.0), dtype)


def xavier_normal(rng: np.random.Generator, rows: int, cols: int, dtype: npt.DTypeLike) -> HostArray:
    """Independent N(0, 2 / (rows + cols)) numbers, [rows, cols]; errors as of `normal`.

    Source: Glorot & Bengio 2010, Eq. 12 (the variance); Kag & Saligrama 2021, released code (head of the adding task).
    """
    _filled((rows, cols))
    return normal(rng, rows, cols, dtype, sqrt(2.0 / (rows + cols)))


def linear(rng: np.random.Generator, fan_in: int, fan_out: int, dtype: npt.DTypeLike) -> tuple[HostArray, HostArray]:
    """Weight [fan_in, fan_out], then bias [fan_out], all U(-1/sqrt(fan_in), 1/sqrt(fan_in)): PyTorch's linear layer.

    Errors as of `uniform`.
    """
    bound = 1.0 / sqrt(_filled((fan_in,))[0])
    return uniform(rng, (fan_in, fan_out), dtype, bound), uniform(rng, (fan_out,), dtype, bound)


def recurrent(rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike, hidden: int) -> HostArray:
    """A weight or bias of a recurrent layer with `hidden` units, U(-1/sqrt(hidden), 1/sqrt(hidden)).

    PyTorch and cuDNN use this one bound for every array of an LSTM or GRU, biases and input weights included. Errors
    as of `uniform`.
    """
    return uniform(rng, shape, dtype, 1.0 / sqrt(_filled((hidden,))[0]))


def _filled(shape: tuple[int, ...]) -> tuple[int, ...]:
    if not all(n >= 1 for n in shape):
        raise InputError(f"a parameter needs at least one row and column, got shape {shape}")
    return shape


def _bounded(name: str, value: float) -> float:
    if not 0 <= value < np.inf:
        raise InputError(f"{name} must be at least 0 and finite, got {value}")
    return float(value)


def _cast(values: HostArray, dtype: npt.DTypeLike) -> HostArray:
    if np.dtype(dtype).kind != "f":
        raise InputError(f"parameters are floating-point numbers: dtype {np.dtype(dtype)} is not possible")
    return values.astype(dtype, copy=False)
