"""Reading and adding at indices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minigrad import backend
from minigrad.backend import Array, get_xp
from minigrad.tape import Forward, Indexed, operation


@operation
def getitem(x: Array, key: Any) -> Forward:
    """x[key] for integers, slices, Ellipsis and None."""
    return x[key], (key,)


@getitem.vjp
def _(g: Array, needs: Sequence[bool], key: Any) -> Sequence[Any]:
    return Indexed(key, g), None


@operation
def take(x: Array, ids: Array, axis: int = 0) -> Forward:
    """Gather: the slices of x [.., V, ..] along an axis at integer ids [N]; an id may come several times."""
    return get_xp(x, ids).take(x, ids, axis=axis), (tuple(x.shape), ids, axis)


@take.vjp
def _(g: Array, needs: Sequence[bool], shape: tuple[int, ...], ids: Array, axis: int) -> Sequence[Any]:
    xp = get_xp(g)
    axis %= len(shape)
    front = (shape[axis], *shape[:axis], *shape[axis + 1 :])
    g_front = backend.scatter_add(front, ids, xp.moveaxis(g, axis, 0))
    return xp.moveaxis(g_front, 0, axis), None


@operation
def embedding(E: Array, ids: Array) -> Forward:
    """Rows of E [V, D] at integer ids of any shape [...]: the answer is [..., D]."""
    xp = get_xp(E, ids)
    shape = (*ids.shape, E.shape[1])
    return xp.reshape(xp.take(E, xp.reshape(ids, (-1,)), axis=0), shape), (tuple(E.shape), ids)


@embedding.vjp
def _(g: Array, needs: Sequence[bool], shape: tuple[int, ...], ids: Array) -> Sequence[Any]:
    xp = get_xp(g)
    return backend.scatter_add(shape, xp.reshape(ids, (-1,)), xp.reshape(g, (-1, shape[1]))), None


@operation
def _scatter_add(x: Array, ids: Array, values: Array) -> Forward:
    return x + backend.scatter_add(tuple(x.shape), ids, values), (ids,)


@_scatter_add.vjp
def _(g: Array, needs: Sequence[bool], ids: Array) -> Sequence[Any]:
    return g, None, get_xp(g).take(g, ids, axis=0) if needs[2] else None


def scatter_add(x: Array, ids: Array, values: Array) -> Array:
    """x [V, ...] with values [N, ...] added to its rows ids [N] (integers in [0, V); rows named twice get both)."""
    return _scatter_add(x, ids, values)
