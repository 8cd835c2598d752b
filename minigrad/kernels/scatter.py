"""Rows added by number, the gradient of a gather.

    out_v = sum of values_n over the n with ids_n = v,  in the order of n

N values, V rows.
"""

from __future__ import annotations

from math import prod

from minigrad import backend
from minigrad.backend import Array, get_xp
from minigrad.errors import InputError
from minigrad.kernels import Twin
from minigrad.kernels.ids import check_ids
from minigrad.kernels.libraries import on_cupy, why_not_fused


def scatter_add(shape: tuple[int, ...], ids: Array, values: Array, twin: Twin) -> Array:
    """Zeros of a shape, to whose rows values are added by number; the same sums in the same order in both twins.

    Args:
        shape: [V, ...].
        ids: integers [N] in [0, V).
        values: [N, ...]; any numbers (fused: float32, of NumPy float64 too).
        twin: see `minigrad.kernels.choose`.

    Returns:
        [V, ...] in the dtype of the values.

    Raises:
        InputError: if shapes or dtypes do not fit.
        IndexError: if an id is not in [0, V).
        TypeError: if the arrays belong to different libraries or devices.
    """
    if tuple(values.shape) != (*ids.shape, *shape[1:]) or len(ids.shape) != 1:
        raise InputError(f"scatter_add: ids {tuple(ids.shape)} and values {tuple(values.shape)} do not fit {shape}")
    xp = get_xp(ids, values)
    check_ids("row", ids, shape[0])
    if twin == "reference":
        return backend.scatter_add(shape, ids, values)
    if obstacle := why_not_fused((values,), "scatter"):
        raise InputError(f"scatter_add: {obstacle}; use the reference twin")
    columns = prod(shape[1:])
    if on_cupy(values):
        from minigrad.kernels.cuda import scatter as cuda

        if not values.size:
            return xp.zeros(shape, dtype=values.dtype, device=values.device)
        return xp.reshape(cuda.added(xp.reshape(values, (ids.shape[0], columns)), ids, shape[0]), shape)
    from minigrad.kernels.fused import scatter as fused

    return fused.added(shape[0], ids, values.reshape(len(ids), columns)).reshape(shape)
