"""Checks of what a recurrence is given: compiled code would read past the end of an array of the wrong shape."""

from __future__ import annotations

from minigrad.backend import Array, get_xp
from minigrad.errors import InputError
from minigrad.kernels.activations import ACTIVATIONS


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
    xp = get_xp(*(array for array, _ in arrays.values()))
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
    dtypes = sorted({str(array.dtype) for array, _ in arrays.values()})
    if twin == "fused" and (xp.__name__ != "numpy" or dtypes not in (["float32"], ["float64"])):
        raise InputError(
            f"{name}: the fused twin takes numpy arrays of one dtype, float32 or float64, not "
            f"{' and '.join(dtypes)} of {xp.__name__}: use the reference twin"
        )
