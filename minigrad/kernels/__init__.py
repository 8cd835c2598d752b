"""Recurrences as single functions on whole sequences, each in twins that compute the same.

    reference   plain array code: any library, any device, complex numbers too
    fused       compiled vector kernels: NumPy arrays, float32 or float64

A file per recurrence holds its equations, the reference and the call of the fused twin; `fused/` holds the kernels.
Numba is imported by the first call of a fused twin, not by importing this package.
"""

from __future__ import annotations

import os
from typing import Literal, TypeAlias

import numpy as np

from minigrad.backend import Array, get_xp
from minigrad.errors import InputError
from minigrad.kernels.cache import is_prepared, prepare

__all__ = ["Twin", "choose", "is_prepared", "prepare"]

Twin: TypeAlias = Literal["reference", "fused"]
"""Which of the functions that compute the same: `reference` or `fused`."""


def choose(*arrays: Array) -> Twin:
    """The twin that suits these arrays, or the one that the environment variable MINIGRAD_KERNELS forces.

    `auto`, the default, takes `fused` for NumPy arrays of one dtype, float32 or float64, and `reference` for all others.

    Raises:
        InputError: if MINIGRAD_KERNELS is neither reference, fused nor auto, or forces a twin that does not exist.
        TypeError: if the arrays belong to different libraries or devices.
    """
    wish = os.environ.get("MINIGRAD_KERNELS", "auto")
    if wish not in ("reference", "fused", "auto"):
        raise InputError(f"MINIGRAD_KERNELS={wish!r} is unknown: use reference, fused or auto")
    if wish == "reference":
        return "reference"
    obstacle = _obstacle(arrays)
    if obstacle and wish == "fused":
        raise InputError(f"MINIGRAD_KERNELS=fused is not possible here: {obstacle}; use reference or auto")
    return "reference" if obstacle else "fused"


def _obstacle(arrays: tuple[Array, ...]) -> str:
    """Why there is no fused twin for these arrays; empty if there is one."""
    xp = get_xp(*arrays)
    if xp is not np:
        return f"fused kernels take arrays of numpy, not of {xp.__name__}"
    dtypes = sorted({str(np.asarray(a).dtype) for a in arrays})
    if dtypes in (["float32"], ["float64"]):
        return ""
    return f"fused kernels take arrays of one dtype, float32 or float64, not {' and '.join(dtypes) or 'no array'}"
