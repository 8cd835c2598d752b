"""Numbers that tell how training goes: norms, angles, spectral radii, and whether something is not finite."""

from __future__ import annotations

import math

import numpy as np

from minigrad.backend import Array, Params, get_xp, numbers, to_numpy
from minigrad.kernels import updates


def angle(a: Array, b: Array) -> float:
    """Angle between two arrays taken as vectors, in degrees; NaN if one is zero."""
    a, b = to_numpy(a).astype(np.float64).ravel(), to_numpy(b).astype(np.float64).ravel()
    product = math.sqrt(float(a @ a)) * math.sqrt(float(b @ b))
    return math.degrees(math.acos(max(-1.0, min(1.0, float(a @ b) / product)))) if product else math.nan


def spectral_radius(W: Array) -> float:
    """Largest modulus of an eigenvalue of a square matrix; NaN if an entry is not finite."""
    W = to_numpy(W).astype(np.float64)
    return float(np.abs(np.linalg.eigvals(W)).max()) if np.isfinite(W).all() else math.nan


def not_finite(arrays: Params) -> str:
    """The first name of an array that is not finite, or an empty string; from a device one transfer tells of all."""
    xp = get_xp(next(iter(arrays.values())))
    if xp is np:
        for name, array in arrays.items():
            if not (updates.finite(array, updates.choose(array)) if array.ndim else math.isfinite(array)):
                return name
        return ""
    finite = numbers([xp.all(xp.isfinite(array)) for array in arrays.values()])
    return next((name for name, well in zip(arrays, finite, strict=True) if not well), "")
