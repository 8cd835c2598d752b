"""The update rules' formulas with arrays and numbers that they are usually given."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.kernels import updates

DTYPES = ("float32", "float64")

# A row a formula: how many arrays it takes, and numbers as a rule hands them in.
FORMULAS: dict[str, tuple[updates.Formula, int, tuple[float, ...]]] = {
    "sgd": (updates.sgd, 2, (-0.1,)),
    "momentum": (updates.momentum, 3, (-0.1, 0.9)),
    "nag": (updates.nag, 3, (0.1, 0.9)),
    "adagrad": (updates.adagrad, 3, (-0.1, 1e-5)),
    "adam": (updates.adam, 4, (-0.3, 0.9, 1 - 0.9, 0.999, 1 - 0.999, 1 - 0.999**3, 1e-8)),
    "rmsprop": (updates.rmsprop, 3, (-0.01, 0.9, 1 - 0.9, 1e-3)),
    "adadelta": (updates.adadelta, 4, (0.9, 1 - 0.9, 1e-3)),
}


def arrays_of(name: str, shape: Any, dtype: str = "float32", seed: int = 0) -> tuple[Any, ...]:
    """A parameter, a gradient and a state, none negative, as second moments are."""
    rng = np.random.default_rng(seed)
    return tuple(np.abs(rng.standard_normal(shape)).astype(dtype) for _ in range(FORMULAS[name][1]))


def odd_numbers(size: int, dtype: str, rng: np.random.Generator) -> Any:
    """Numbers of all magnitudes and signs, a third of them zeros, infinities, NaN, subnormal or extreme."""
    limits = np.finfo(dtype)
    decades = np.log10(float(limits.max)) - 1
    usual = rng.choice([-1, 1], size) * 10.0 ** rng.uniform(-decades, decades, size)
    small, least, most = float(limits.smallest_normal), float(limits.smallest_subnormal), float(limits.max)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, least, -least, small / 3, -small / 3, small, most, -most])
    return np.where(rng.random(size) < 1 / 3, rng.choice(special, size), usual).astype(dtype)
