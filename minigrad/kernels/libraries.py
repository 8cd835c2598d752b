"""Which kernels have a compiled twin for the arrays of which library, and for which number types.

numpy    every kernel, by Numba (`minigrad.kernels.fused`), float32 and float64
cupy     by CUDA (`minigrad.kernels.cuda`): recurrences, readout and scatter, float32; update rules, float32 and float64
others   none
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from minigrad.backend import Array, get_xp

RECURRENCES = ("srn", "lstm", "gru", "antisymmetric", "target")
"""Those that CUDA has."""

FUSED_DTYPES: dict[Any, str] = {np.dtype(np.float32): "float32", np.dtype(np.float64): "float64"}
"""The number types of Numba's kernels, and their names, which NumPy puts together anew each time it is asked."""


CUDA: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys((*RECURRENCES, "readout", "scatter"), (np.dtype(np.float32),)),
    "updates": tuple(FUSED_DTYPES),
}
"""The kernels that CUDA has, and their number types; the others are plain array code on CuPy, whatever is asked for."""


def is_cupy(xp: ModuleType) -> bool:
    """Whether a library is CuPy, itself or as `array_api_compat` wraps it."""
    return xp is not np and xp.__name__.endswith("cupy")


def on_cupy(*arrays: Array) -> bool:
    """Whether arrays are of CuPy."""
    return is_cupy(get_xp(*arrays))


def never_fused(kernel: str, *arrays: Array) -> bool:
    """Whether there is no compiled twin of a kernel for any array of this library that has others."""
    return on_cupy(*arrays) and kernel not in CUDA


def why_not_fused(arrays: Sequence[Array], kernel: str = "") -> str:
    """Why there is no compiled twin of a kernel for these arrays; empty if there is one."""
    xp = get_xp(*arrays)
    if is_cupy(xp):
        if kernel not in CUDA:
            return f"fused kernels for arrays of cupy are {', '.join(sorted(CUDA))}"
        allowed: set[Any] = set(CUDA[kernel])
        wanted = f"arrays of cupy of dtype {' or '.join(map(str, CUDA[kernel]))}"
    elif xp is np:
        allowed = set(FUSED_DTYPES)
        wanted = "arrays of one dtype, float32 or float64"
    else:
        return f"fused kernels take arrays of numpy or cupy, not of {xp.__name__}"
    dtypes = {np.dtype(type(a)) if isinstance(a, bool | int | float | complex) else a.dtype for a in arrays}
    if len(dtypes) == 1 and dtypes <= allowed:
        return ""
    names = " and ".join(sorted(map(str, dtypes))) or "no array"
    return f"fused kernels take {wanted}, not {names}"
