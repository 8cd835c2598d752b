"""How arrays are handed to compiled code, so that one compilation serves all callers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minigrad.backend import Array
from minigrad.kernels.fused.lanes import VECTOR_BYTES
from minigrad.kernels.fused.tile import packed_size

ALIAS_BYTES = 4096
"""Addresses this far apart look the same to the part of the processor that orders loads and stores."""


def inputs(*arrays: Array) -> list[Array]:
    """The arrays as read-only matrices, all axes but the last as one, copied only where they are not contiguous.

    Read-only, because Numba would compile once more for every mixture of read-only and writable arguments.
    """
    return [_read_only(flat(array)) for array in arrays]


def flat(array: Array) -> Array:
    """[..., N] as a contiguous matrix [M, N]: a view where the array is contiguous already."""
    if not (type(array) is np.ndarray and array.flags.c_contiguous and array.flags.aligned):
        array = np.array(array, order="C", subok=False)
    return array if array.ndim == 2 else array.reshape(-1, array.shape[-1])


def _read_only(array: Array) -> Array:
    if not array.flags.writeable:
        return array
    view = array.view()
    view.flags.writeable = False
    return view


def every_row(row: Array) -> Array:
    """A matrix of any number of rows that are all this one [N]: what a product starts from, a bias for instance."""
    adjacent = np.array(row, order="C")
    return np.ndarray((2, len(row)), row.dtype, adjacent, strides=(0, row.itemsize))


def sums(rows: int, columns: int, dtype: Any) -> Array:
    """Zeros [rows, columns] to which products are added; rows are further apart than they are long.

    They are never a multiple of 4 KiB apart: the processor takes a load for one of a store that is still under way if
    the last 12 bits of their addresses agree, and waits.
    """
    width = VECTOR_BYTES // np.dtype(dtype).itemsize
    apart = columns + width
    if apart * VECTOR_BYTES // width % ALIAS_BYTES == 0:
        apart += width
    return np.zeros((rows, apart), dtype)[:, :columns]


def zeros(columns: int, dtype: Any) -> Array:
    """A matrix of any number of rows of zeros."""
    return every_row(np.zeros(columns, dtype))


def aligned(shape: tuple[int, ...], dtype: Any) -> Array:
    """An array like np.empty's that begins at a multiple of 64 bytes: no vector of a flat pass straddles two lines.

    NumPy's own begin 16 bytes behind one, and a pass over large arrays takes up to twice as long.
    """
    item, size = np.dtype(dtype).itemsize, math.prod(shape)
    whole = np.empty(size + VECTOR_BYTES // item, dtype)
    start = -whole.__array_interface__["data"][0] % VECTOR_BYTES // item
    return whole[start : start + size].reshape(shape)


def room(shape: tuple[int, int], dtype: Any) -> Array:
    """Room for a packed matrix of a shape [K, N]."""
    return aligned((packed_size(*shape, np.dtype(dtype).itemsize),), dtype)
