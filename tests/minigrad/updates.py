"""What the tests of update rules share: small parameters and gradients, and averaging from the first step."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad import averaging, optim

SHAPES = {"W": (3, 2), "b": (4,)}


def draw(seed: int, dtype: str = "float64") -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in SHAPES.items()}


def triggered(lr: float) -> optim.Optimizer:
    """NT-ASGD that averages from its first step."""
    plain = averaging.nt_asgd(lr)
    return optim.Optimizer(lambda params: plain.init(params) | {"asgd_on": 1}, plain.update)
