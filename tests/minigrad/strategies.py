"""What the tests of the engine share: random arrays, and arrays of a library that allows the standard only."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import array_api_strict
import numpy as np
from hypothesis import strategies as st

from minigrad.backend import Array
from minigrad.rng import stream
from minigrad.tape import Tape

DEVICE = array_api_strict.Device("device1")
"""Not the default device: what is made on the default one does not mix, as it would not on a GPU."""

seeds = st.integers(0, 2**32 - 1)


def random_arrays(
    shapes: Iterable[tuple[int, ...]], seed: int = 0, low: float = -1.5, high: float = 1.5, dtype: str = "float64"
) -> list[Any]:
    """Arrays of the given shapes, uniform in [low, high)."""
    rng = stream(seed, "test")
    return [np.asarray(rng.uniform(low, high, shape), dtype) for shape in shapes]


def strict(array: Array) -> Array:
    """A copy in array-api-strict on a device that is not the default one."""
    return array_api_strict.asarray(np.array(array), device=DEVICE)


def loose(array: Array) -> Any:
    """A copy in NumPy of such an array."""
    assert array.device == DEVICE
    return np.array(np.from_dlpack(array.to_device(array_api_strict.Device("CPU_DEVICE"))))


def value_and_gradients(
    function: Callable[..., Any], arrays: Iterable[Array], seed: Array | None = None
) -> tuple[Any, list[Any]]:
    """The value of a function of several arrays, and its gradients by all of them."""
    with Tape() as tape:
        watched = tape.watch(list(arrays))
        y = function(*watched)
    return y.value, tape.gradient(y, watched, seed=seed)
