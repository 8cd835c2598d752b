"""Which array library an array belongs to, and the few operations that the libraries spell differently.

Arrays decide: an operation looks at its arguments and runs in their library, on their device; of several GPUs, on the
one that `minigrad.devices.use` has chosen for the thread. Nothing is converted silently; mixing libraries or devices is
a TypeError that names both. Everything else in this package calls the names of the array API standard, which NumPy 2,
array-api-strict and, through array-api-compat, CuPy share.

Looking at a number on a device (`float`, `bool`, `to_numpy`) waits for all that the device still has to compute, so
operations, update rules and methods never do; `numbers` reads many at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from math import prod
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from minigrad import devices

Array: TypeAlias = Any
"""An array of any supported library; shapes are given in docstrings."""

Params: TypeAlias = dict[str, Any]
"""Parameters by name: arrays, or tensors while a tape watches them."""

_NUMPY = (np.ndarray, np.generic)
_NUMBERS = (bool, int, float, complex)


def get_xp(*arrays: Array) -> ModuleType:
    """The library of the arrays: `numpy`, `array_api_compat.cupy`, or any module that follows the array API standard.

    Python numbers belong to every library. Without a single array the answer is `numpy`.

    Raises:
        TypeError: if an argument is no array, or the arrays belong to different libraries or devices.
    """
    found: ModuleType | None = None
    first: Array = None
    for array in arrays:
        if isinstance(array, _NUMPY):
            xp: ModuleType = np
        elif isinstance(array, _NUMBERS):
            continue
        else:
            xp = _other_library(array)
        if found is None:
            found, first = xp, array
        elif xp is not found:
            raise TypeError(
                f"arrays of {_name(found)} and of {_name(xp)} do not mix: move one with minigrad.backend.to_device"
            )
        elif xp is not np and array.device != first.device:
            raise TypeError(
                f"arrays on {device_of(first)} and on {device_of(array)} do not mix: move one with "
                "minigrad.backend.to_device"
            )
    return np if found is None else found


def _other_library(array: Array) -> ModuleType:
    """The library of what is neither an array of NumPy nor a number."""
    cupy = sys.modules.get("cupy")  # nobody has an array of a library that was not imported
    if cupy is not None and isinstance(array, getattr(cupy, "ndarray", ())):
        import array_api_compat.cupy  # type: ignore[import-not-found, unused-ignore]

        return array_api_compat.cupy  # type: ignore[no-any-return, unused-ignore]
    if hasattr(array, "__array_namespace__"):
        return array.__array_namespace__()  # type: ignore[no-any-return]
    raise TypeError(f"expected an array or a number, got {type(array).__name__}")


def _name(xp: ModuleType) -> str:
    """The name of a library: of `array_api_compat.cupy`, `cupy`."""
    return xp.__name__.rpartition(".")[2]


def device_of(array: Array) -> str:
    """`cpu`, `cuda:0`, ... or the library's own name for the place where an array lives."""
    ours = _name(get_xp(array)) == "cupy" and hasattr(array.device, "id")  # a population's place has none
    return f"cuda:{array.device.id}" if ours else str(array.device)


def to_device(array: Array, device: str) -> Array:
    """The same numbers on `device` (`cpu`, `cuda` or `cuda:N`); the only place where arrays change library.

    Raises:
        InputError: if the device does not exist here.
    """
    return to_numpy(array) if device == "cpu" else devices.put(array, device)


def to_numpy(array: Array) -> Any:
    """The same numbers as a NumPy array on the host."""
    if isinstance(array, np.ndarray):
        return array
    if hasattr(array, "get"):  # CuPy copies to the host by an explicit call only
        return array.get()
    if hasattr(array, "__array_namespace__") and not isinstance(array, np.generic):
        return np.from_dlpack(array.to_device(get_xp(array).Device("CPU_DEVICE")))
    return np.asarray(array)


def numbers(arrays: Sequence[Array]) -> list[Any]:
    """The Python numbers of 0-d arrays of one library; from a device they come in one transfer."""
    xp = get_xp(*arrays)
    if xp is np:
        return [np.asarray(array).item() for array in arrays]
    found: list[Any] = to_numpy(xp.stack(arrays)).tolist()
    return found


def like(reference: Array, values: Any) -> Array:
    """Host numbers as an array in the library, on the device and (floats only) in the dtype of `reference`."""
    values = values if hasattr(values, "__array_namespace__") else np.asarray(values)
    dtype = str(np.dtype(values.dtype)) if values.dtype.kind in "iub" else str(reference.dtype).rpartition(".")[2]
    return get_xp(reference).asarray(get_xp(values).astype(values, dtype, copy=False), device=reference.device)


def frozen(array: Array) -> Array:
    """The array, made read-only where its library can (NumPy), so that an in-place write raises."""
    if type(array) is np.ndarray and array.flags.writeable:
        array.setflags(write=False)  # twice as fast as an assignment to the flag
    return array


def is_float(array: Array) -> bool:
    """Whether an array holds real or complex floating-point numbers."""
    if isinstance(array, _NUMPY):
        return array.dtype.kind in "fc"  # NumPy's isdtype takes ten times as long
    return bool(get_xp(array).isdtype(array.dtype, ("real floating", "complex floating")))


def scatter_add(shape: tuple[int, ...], ids: Array, values: Array) -> Array:
    """Rows added by number: an array of zeros of `shape` [V, ...] to whose row ids[i] values[i] is added.

    Args:
        shape: shape of the answer.
        ids: integers [N] in [0, V).
        values: [N, ...].
    """
    xp = get_xp(ids, values)
    if xp is np:
        out = np.zeros(shape, values.dtype)
        np.add.at(out, ids, values)
        return out
    # A product with the one-hot matrix is the same sum in a fixed order: no atomics, so it repeats to the bit.
    rows = xp.arange(shape[0], device=ids.device)
    hot = xp.astype(rows[:, None] == ids[None, :], values.dtype)
    return xp.reshape(hot @ xp.reshape(values, (values.shape[0], prod(shape[1:]))), shape)


def sign(x: Array) -> Array:
    """-1, 0 or 1 for each number, NaN for NaN; array-api-compat's looks, on a GPU, for the NaNs."""
    xp = get_xp(x)
    if xp is np:
        return np.sign(x)
    one = xp.ones_like(x)
    return xp.where(x > 0, one, xp.where(x < 0, -one, x))


def einsum(subscripts: str, *arrays: Array) -> Array:
    """Explicit Einstein summation, `ij,jk->ik`; an index may not repeat within one operand."""
    xp = get_xp(*arrays)
    if hasattr(xp, "einsum"):
        return xp.einsum(subscripts, *arrays, optimize=True)
    # Libraries without einsum: line the operands up on one set of axes, multiply, sum what the answer does not name.
    terms, answer = subscripts.split("->")
    axes = sorted(set(terms) - {","})
    product: Array = None
    for term, array in zip(terms.split(","), arrays, strict=True):
        present = [a for a in axes if a in term]
        array = xp.permute_dims(array, tuple(term.index(a) for a in present))
        sizes = dict(zip(present, array.shape, strict=True))
        array = xp.reshape(array, tuple(sizes.get(a, 1) for a in axes))
        product = array if product is None else product * array
    product = xp.sum(product, axis=tuple(i for i, a in enumerate(axes) if a not in answer))
    left = [a for a in axes if a in answer]
    return xp.permute_dims(product, tuple(left.index(a) for a in answer))
