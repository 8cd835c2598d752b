"""How arrays are handed to compiled code, so that one compilation serves all callers."""

from __future__ import annotations

import numpy as np

from minigrad.backend import Array
from minigrad.kernels.cache import prepare
from minigrad.kernels.fused.lanes import VECTOR_BYTES
from minigrad.kernels.fused.tile import packed_size


def inputs(*arrays: Array) -> list[Array]:
    """The arrays as C-contiguous, aligned and read-only, copied only where they are not contiguous.

    Numba would compile once more for every mixture of read-only and writable arguments.
    """
    prepare(arrays[0].dtype)
    views = [_contiguous(array).view() for array in arrays]
    for view in views:
        view.flags.writeable = False
    return views


def _contiguous(array: Array) -> Array:
    fits = type(array) is np.ndarray and array.flags.c_contiguous and array.flags.aligned
    return array if fits else np.array(array, order="C", subok=False)


def weights_room(W: Array) -> Array:
    """Zeros that take a packed matrix, from a multiple of 64 bytes on, so that no vector straddles two cache lines."""
    size, item = packed_size(W.shape[0], W.shape[1], W.itemsize), W.itemsize
    room = np.zeros(size + VECTOR_BYTES // item, W.dtype)
    start = -room.__array_interface__["data"][0] % VECTOR_BYTES // item
    return room[start : start + size]
