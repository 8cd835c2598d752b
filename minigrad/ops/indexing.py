"""Reading and adding at indices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minigrad import backend
from minigrad.backend import Array, get_xp
from minigrad.tape import Forward, Indexed, operation

_INDEX = (int, np.integer, slice, type(...), type(None))


@operation
def getitem(x: Array, /, key: Any) -> Forward:
    """x[key] for integers, slices, Ellipsis and None.

    Raises:
        TypeError: for arrays and lists of indices, which may name an element twice: use `take`.
    """
    key = key if type(key) is tuple else (key,)
    for part in key:
        if not isinstance(part, _INDEX):
            raise TypeError(f"getitem: an index is made of integers, slices, ... and None, got {part!r}; see ops.take")
    y = x[key]
    read = tuple([part for part in key if part is not None])  # None only reshapes what was read
    return y, (read, tuple((y if len(read) == len(key) else x[read]).shape))


@getitem.vjp
def _(g: Array, needs: Sequence[bool], read: tuple[Any, ...], shape: tuple[int, ...]) -> Sequence[Any]:
    return (Indexed(read, get_xp(g).reshape(g, shape)),)


@operation
def take(x: Array, ids: Array, /, axis: int = 0) -> Forward:
    """Gather: the slices of x [.., V, ..] along an axis at integer ids [N] in [0, V); an id may come several times.

    Raises:
        ValueError: if the ids have another number of axes than one.
    """
    if len(ids.shape) != 1:
        raise ValueError(f"take: ids of shape {tuple(ids.shape)} are not one row of ids; see ops.embedding")
    return get_xp(x, ids).take(x, ids, axis=axis), (tuple(x.shape), ids, axis)


@take.vjp
def _(g: Array, needs: Sequence[bool], shape: tuple[int, ...], ids: Array, axis: int) -> Sequence[Any]:
    xp = get_xp(g)
    axis %= len(shape)
    front = (shape[axis], *shape[:axis], *shape[axis + 1 :])
    g_front = backend.scatter_add(front, ids, xp.moveaxis(g, axis, 0))
    return (xp.moveaxis(g_front, 0, axis),)


@operation
def embedding(E: Array, ids: Array, /) -> Forward:
    """Rows of E [V, D] at integer ids in [0, V) of any shape [...]: the answer is [..., D]."""
    xp = get_xp(E, ids)
    shape = (*ids.shape, E.shape[1])
    return xp.reshape(xp.take(E, xp.reshape(ids, (-1,)), axis=0), shape), (tuple(E.shape), ids)


@embedding.vjp
def _(g: Array, needs: Sequence[bool], shape: tuple[int, ...], ids: Array) -> Sequence[Any]:
    xp = get_xp(g)
    return (backend.scatter_add(shape, xp.reshape(ids, (-1,)), xp.reshape(g, (-1, shape[1]))),)


@operation
def scatter_add(x: Array, ids: Array, values: Array, /) -> Forward:
    """x [V, ...] with values [N, ...] added to its rows ids [N] (integers in [0, V); rows named twice get both)."""
    return x + backend.scatter_add(tuple(x.shape), ids, values), (ids,)


@scatter_add.vjp
def _(g: Array, needs: Sequence[bool], ids: Array) -> Sequence[Any]:
    return g, None, get_xp(g).take(g, ids, axis=0) if needs[2] else None
