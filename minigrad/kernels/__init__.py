"""Recurrences as single functions on whole sequences, each in twins that compute the same.

    reference   plain array code: any library, any device, complex numbers too
    fused       compiled kernels: for NumPy arrays of float32 or float64 by Numba; for CuPy arrays of float32 by
                CUDA (the update rules: of float64 too; `local`: not)

A file per recurrence holds its equations, the reference and the calls of the fused twins; `fused/` holds Numba's
kernels, `cuda/` those of CUDA. Numba is imported by the first call of a fused twin, not by importing this package.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Literal, TypeAlias

from minigrad.backend import Array
from minigrad.errors import InputError
from minigrad.kernels.cache import is_prepared, prepare
from minigrad.kernels.libraries import FUSED_DTYPES, never_fused, on_cupy, why_not_fused
from minigrad.kernels.selection import faster

__all__ = ["Twin", "choose", "is_prepared", "prepare", "twins"]

Twin: TypeAlias = Literal["reference", "fused"]
"""Which of the functions that compute the same: `reference` or `fused`."""


def choose(*arrays: Array, kernel: str = "", size: tuple[int, int] | None = None) -> Twin:
    """The twin that suits these arrays, or the one that the environment variable MINIGRAD_KERNELS forces.

    `auto`, the default, takes `fused` for NumPy arrays of one dtype, float32 or float64, and else `reference`; of a
    recurrence whose size is given, the twin that was measured to be faster at the nearest size. For CuPy arrays of
    float32 it takes `fused` where CUDA has the kernel; where it has not, the twin is `reference` under every setting.

    Args:
        arrays: what the kernel will be called with.
        kernel: its name.
        size: batch size and hidden units.

    Raises:
        InputError: if MINIGRAD_KERNELS is neither reference, fused nor auto, or forces a twin that does not exist.
        TypeError: if the arrays belong to different libraries or devices.
    """
    (twin,) = twins((kernel,), size, *arrays).values()
    return twin


def twins(kernels: Iterable[str], size: tuple[int, int] | None, *arrays: Array) -> dict[str, Twin]:
    """Which twin of each kernel suits these arrays at a batch size and a number of hidden units, as `choose` says."""
    wish = os.environ.get("MINIGRAD_KERNELS", "auto")
    if wish not in ("reference", "fused", "auto"):
        raise InputError(f"MINIGRAD_KERNELS={wish!r} is unknown: use reference, fused or auto")
    if wish == "reference":
        return dict.fromkeys(kernels, "reference")
    return {kernel: _twin(kernel, wish, size, arrays) for kernel in kernels}


def _twin(kernel: str, wish: str, size: tuple[int, int] | None, arrays: tuple[Array, ...]) -> Twin:
    """Where the wish is fused or auto."""
    if never_fused(kernel, *arrays):
        return "reference"
    obstacle = why_not_fused(arrays, kernel)
    if obstacle and wish == "fused":
        raise InputError(f"MINIGRAD_KERNELS=fused is not possible here: {obstacle}; use reference or auto")
    if obstacle:
        return "reference"
    if wish == "fused" or size is None or not min(size) or on_cupy(*arrays):
        return "fused"
    return faster(kernel, FUSED_DTYPES[arrays[0].dtype], *size)
