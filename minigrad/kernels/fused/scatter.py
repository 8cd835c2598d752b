"""Rows added by number, fused; the equation is that of `minigrad.kernels.scatter`."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.backend import Array
from minigrad.kernels.cache import prepare
from minigrad.kernels.fused.compiler import kernel


def add_rows(out: Array, ids: Array, values: Array) -> None:
    """out [V, D] += values [N, D] at rows ids [N], for checked ids; out is C-contiguous."""
    prepare("scatter", out.dtype)
    values = np.ascontiguousarray(values).view()
    values.flags.writeable = False  # as gradients may be: Numba compiles for one kind only
    _add_rows(out, np.array(ids, np.int64, order="C"), values)


@kernel
def _add_rows(out: Any, ids: Any, values: Any) -> None:
    for n in range(len(ids)):
        row, value = out[ids[n]], values[n]
        for j in range(len(row)):
            row[j] += value[j]
