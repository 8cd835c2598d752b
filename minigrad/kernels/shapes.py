"""What a recurrence may be given: compiled code would read past the end of an array of the wrong shape."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minigrad.backend import Array, get_xp
from minigrad.errors import InputError
from minigrad.kernels.activations import ACTIVATIONS

FUSED_DTYPES = {np.dtype(np.float32), np.dtype(np.float64)}


def check(name: str, activation: str, twin: str, **arrays: tuple[Array, str]) -> None:
    """Raise unless the arrays fit together.

    Args:
        name: of the recurrence, for messages.
        activation: must be a name in ACTIVATIONS.
        twin: `reference` or `fused`; the fused twin takes NumPy arrays of one dtype, float32 or float64.
        arrays: name = (array, its axes as letters); one letter stands for one size throughout.

    Raises:
        InputError: that names the recurrence, the array and the shapes.
        TypeError: if the arrays belong to different libraries or devices.
    """
    plain = [array for array, _ in arrays.values()]
    obstacle = why_not_fused(plain)  # which also sees to it that libraries and devices do not mix
    sizes: dict[str, int] = {}
    for label, (array, axes) in arrays.items():
        fits = len(axes) == array.ndim and all(
            sizes.setdefault(axis, n) == n for axis, n in zip(axes, array.shape, strict=True)
        )
        if not fits:
            expected = ", ".join(f"{axis}={sizes[axis]}" if axis in sizes else axis for axis in axes)
            raise InputError(f"{name}: {label} has shape {tuple(array.shape)}, expected [{expected}]")
    if activation not in ACTIVATIONS:
        raise InputError(f"{name}: unknown activation {activation!r}: use one of {', '.join(ACTIVATIONS)}")
    if twin not in ("reference", "fused"):
        raise InputError(f"{name}: unknown twin {twin!r}: use reference or fused")
    if twin == "fused" and obstacle:
        raise InputError(f"{name}: {obstacle}; use the reference twin")


def why_not_fused(arrays: Sequence[Array]) -> str:
    """Why there is no fused twin for these arrays; empty if there is one."""
    xp = get_xp(*arrays)
    if xp is not np:
        return f"fused kernels take arrays of numpy, not of {xp.__name__}"
    dtypes = {np.dtype(type(a)) if isinstance(a, bool | int | float | complex) else a.dtype for a in arrays}
    if len(dtypes) == 1 and dtypes <= FUSED_DTYPES:
        return ""
    names = " and ".join(sorted(map(str, dtypes))) or "no array"
    return f"fused kernels take arrays of one dtype, float32 or float64, not {names}"
