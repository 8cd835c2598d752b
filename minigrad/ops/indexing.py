"""Reading and adding at indices."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from minigrad import kernels
from minigrad.backend import Array, get_xp
from minigrad.kernels import scatter
from minigrad.kernels.ids import check_ids
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
        IndexError: if an id is not in [0, V).
    """
    if len(ids.shape) != 1:
        raise ValueError(f"take: ids of shape {tuple(ids.shape)} are not one row of ids; see ops.embedding")
    check_ids("row", ids, x.shape[axis])
    return get_xp(x, ids).take(x, ids, axis=axis), (tuple(x.shape), ids, axis)


@take.vjp
def _(g: Array, needs: Sequence[bool], shape: tuple[int, ...], ids: Array, axis: int) -> Sequence[Any]:
    return (_gathered(g, shape, ids, axis % len(shape)),)


@operation
def embedding(E: Array, ids: Array, /) -> Forward:
    """Rows of E [V, D] at integer ids in [0, V) of any shape [...]: the answer is [..., D].

    Raises:
        IndexError: if an id is not in [0, V).
    """
    xp = get_xp(E, ids)
    check_ids("row", ids, E.shape[0])
    shape = (*ids.shape, E.shape[1])
    return xp.reshape(xp.take(E, xp.reshape(ids, (-1,)), axis=0), shape), (tuple(E.shape), ids)


@embedding.vjp
def _(g: Array, needs: Sequence[bool], shape: tuple[int, ...], ids: Array) -> Sequence[Any]:
    xp, N = get_xp(g), prod(ids.shape)
    return (_gathered(xp.reshape(g, (N, shape[1])), shape, xp.reshape(ids, (N,)), 0),)


def _gathered(g: Array, shape: tuple[int, ...], ids: Array, axis: int) -> Any:
    """The gradient by an array of `shape` [.., V, ..] of its slices at ids [N] along an axis, from g [.., N, ..].

    Fewer ids than V name few slices: their sums alone are added into the gradient, which all uses of the array share.
    """
    xp = get_xp(g)
    rows = xp.moveaxis(g, axis, 0) if axis else g
    V, rest = shape[axis], (*shape[:axis], *shape[axis + 1 :])
    few = xp is np and ids.size < V
    if few:
        names, places = np.unique(ids, return_inverse=True)
        if len(names) == len(ids):
            return Indexed((*[slice(None)] * axis, ids), g)
        V, ids = len(names), places
    total = scatter.scatter_add((V, *rest), ids, rows, kernels.choose(g, kernel="scatter"))
    total = xp.moveaxis(total, 0, axis) if axis else total
    return Indexed((*[slice(None)] * axis, names), total) if few else total


@operation
def scatter_add(x: Array, ids: Array, values: Array, /) -> Forward:
    """x [V, ...] with values [N, ...] added to its rows ids [N] (integers in [0, V); rows named twice get both).

    Raises:
        InputError: if the shapes do not fit.
        IndexError: if an id is not in [0, V).
    """
    return x + scatter.scatter_add(tuple(x.shape), ids, values, kernels.choose(values, kernel="scatter")), (ids,)


@scatter_add.vjp
def _(g: Array, needs: Sequence[bool], ids: Array) -> Sequence[Any]:
    return g, None, get_xp(g).take(g, ids, axis=0) if needs[2] else None
