"""Numbers that tell how training goes: norms, angles, spectral radii, and whether something is not finite."""

from __future__ import annotations

import math

import numpy as np

from minigrad.backend import Array, Params, to_numpy
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


def divergence(loss: Array, grads: Params) -> str:
    """Which quantity is not finite: `loss`, `gradient of NAME`, or an empty string."""
    if not math.isfinite(float(loss)):
        return "loss"
    for name, g in grads.items():
        if not updates.finite(g, updates.choose(g)):
            return f"gradient of {name}"
    return ""
