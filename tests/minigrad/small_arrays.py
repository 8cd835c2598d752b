"""Three numbers, and arrays of them."""

from __future__ import annotations

from typing import Any

import numpy as np

X = np.array([1.0, 2.0, 3.0])


def fresh() -> Any:
    """An array of its own: watching makes arrays read-only."""
    return X.copy()
