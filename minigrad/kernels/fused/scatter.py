"""Rows added by number, fused; the equation is that of `minigrad.kernels.scatter`."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.backend import Array
from minigrad.kernels.cache import prepare
from minigrad.kernels.fused.arrays import aligned
from minigrad.kernels.fused.compiler import kernel


def added(rows: int, ids: Array, values: Array) -> Array:
    """Zeros [rows, D] to which values [N, D] are added at rows ids [N], for checked ids."""
    prepare("scatter", values.dtype)
    out = aligned((rows, values.shape[1]), values.dtype)
    out.fill(0)
    values = np.ascontiguousarray(values).view()
    values.flags.writeable = False  # as gradients may be: Numba compiles for one kind only
    _add_rows(out, np.array(ids, np.int64, order="C"), values)
    return out


@kernel
def _add_rows(out: Any, ids: Any, values: Any) -> None:
    for n in range(len(ids)):
        row, value = out[ids[n]], values[n]
        for j in range(len(row)):
            row[j] += value[j]
