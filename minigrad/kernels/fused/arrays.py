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
    views = [np.require(array, requirements=("C", "A")).view(np.ndarray) for array in arrays]
    for view in views:
        view.flags.writeable = False
    return views


def weights_room(W: Array) -> Array:
    """Zeros that take a packed matrix, from a multiple of 64 bytes on, so that no vector straddles two cache lines."""
    size = packed_size(*W.shape, W.itemsize)
    room = np.zeros(size + VECTOR_BYTES // W.itemsize, W.dtype)
    start = -room.ctypes.data % VECTOR_BYTES // W.itemsize
    return room[start : start + size]
