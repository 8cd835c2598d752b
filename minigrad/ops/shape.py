"""Operations that only rearrange elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minigrad.backend import Array, get_xp
from minigrad.tape import Forward, operation


@operation
def reshape(x: Array, /, shape: tuple[int, ...]) -> Forward:
    """The same elements in another shape; one length may be -1."""
    return get_xp(x).reshape(x, shape), (tuple(x.shape),)


@reshape.vjp
def _(g: Array, needs: Sequence[bool], shape: tuple[int, ...]) -> Sequence[Any]:
    return (get_xp(g).reshape(g, shape),)


@operation
def _permute(x: Array, /, axes: tuple[int, ...]) -> Forward:
    return get_xp(x).permute_dims(x, axes), (axes,)


@_permute.vjp
def _(g: Array, needs: Sequence[bool], axes: tuple[int, ...]) -> Sequence[Any]:
    inverse = tuple(axes.index(i) for i in range(len(axes)))
    return (get_xp(g).permute_dims(g, inverse),)


def transpose(x: Array, axes: tuple[int, ...] | None = None) -> Array:
    """Axes in another order (default: reversed)."""
    n = len(x.shape)
    return _permute(x, axes=tuple(range(n))[::-1] if axes is None else tuple(i % n for i in axes))


@operation
def broadcast_to(x: Array, /, shape: tuple[int, ...]) -> Forward:
    """x repeated along new axes and along axes of length one."""
    return get_xp(x).broadcast_to(x, shape), ()


@broadcast_to.vjp
def _(g: Array, needs: Sequence[bool]) -> Sequence[Any]:
    return (g,)


@operation
def _concatenate(*xs: Array, axis: int) -> Forward:
    return get_xp(*xs).concat(xs, axis=axis), (axis, [x.shape[axis] for x in xs])


@_concatenate.vjp
def _(g: Array, needs: Sequence[bool], axis: int, lengths: list[int]) -> Sequence[Any]:
    return _pieces(g, lengths, axis)


def concatenate(xs: Sequence[Array], axis: int = 0) -> Array:
    """Arrays one after the other along an axis that they have."""
    return _concatenate(*xs, axis=axis)


@operation
def _stack(*xs: Array, axis: int) -> Forward:
    return get_xp(*xs).stack(xs, axis=axis), (axis,)


@_stack.vjp
def _(g: Array, needs: Sequence[bool], axis: int) -> Sequence[Any]:
    return _slices(g, axis)


def stack(xs: Sequence[Array], axis: int = 0) -> Array:
    """Arrays of one shape side by side along a new axis."""
    return _stack(*xs, axis=axis)


@operation
def _unstack(x: Array, axis: int) -> Forward:
    return _slices(x, axis), (axis,)


@_unstack.vjp
def _(gs: tuple[Array | None, ...], needs: Sequence[bool], axis: int) -> Sequence[Any]:
    return (get_xp(*_present(gs)).stack(_filled(gs), axis=axis),)


def unstack(x: Array, axis: int = 0) -> tuple[Array, ...]:
    """The slices along an axis: the gradient of all of them together costs one array, not one array each."""
    return tuple(_unstack(x, axis=axis))


@operation
def _split(x: Array, lengths: tuple[int, ...], axis: int) -> Forward:
    return tuple(_pieces(x, lengths, axis)), (lengths, axis)


@_split.vjp
def _(gs: tuple[Array | None, ...], needs: Sequence[bool], lengths: tuple[int, ...], axis: int) -> Sequence[Any]:
    present = _present(gs)
    shapes = [list(present[0].shape) for _ in gs]
    for shape, n in zip(shapes, lengths, strict=True):
        shape[axis] = n
    xp = get_xp(*present)
    parts = [
        xp.zeros(tuple(shape), dtype=present[0].dtype, device=present[0].device) if g is None else g
        for g, shape in zip(gs, shapes, strict=True)
    ]
    return (xp.concat(parts, axis=axis),)


def split(x: Array, parts: int | Sequence[int], axis: int = -1) -> tuple[Array, ...]:
    """x cut along an axis into `parts` equal pieces, or into pieces of the given lengths.

    Raises:
        ValueError: if the lengths do not add up to the axis.
    """
    n = x.shape[axis]
    lengths = tuple(parts) if not isinstance(parts, int) else (n // max(parts, 1),) * parts
    if any(length < 0 for length in lengths) or sum(lengths) != n:
        raise ValueError(f"split: an axis of length {n} does not fall into {parts}")
    return tuple(_split(x, lengths=lengths, axis=axis))


def _slices(x: Array, axis: int) -> tuple[Array, ...]:
    front = get_xp(x).moveaxis(x, axis, 0)  # `unstack` of the standard, which CuPy lacks
    return tuple([front[i, ...] for i in range(front.shape[0])])


def _pieces(x: Array, lengths: Sequence[int], axis: int) -> list[Array]:
    before = (slice(None),) * (axis % x.ndim)
    pieces, start = [], 0
    for n in lengths:
        pieces.append(x[(*before, slice(start, start + n), ...)])
        start += n
    return pieces


def _present(gs: Sequence[Array | None]) -> list[Array]:
    return [g for g in gs if g is not None]


def _filled(gs: Sequence[Array | None]) -> list[Array]:
    present = _present(gs)[0]
    zero = get_xp(present).zeros_like(present)
    return [zero if g is None else g for g in gs]
