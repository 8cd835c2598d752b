"""Sums, means, maxima over axes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from minigrad.backend import Array, get_xp
from minigrad.tape import Forward, operation

Axis = int | tuple[int, ...] | None


@operation
def sum(x: Array, /, axis: Axis = None, keepdims: bool = False) -> Forward:
    """Sum over an axis, several axes, or everything."""
    return get_xp(x).sum(x, axis=axis, keepdims=keepdims), (tuple(x.shape), axis, keepdims)


@sum.vjp
def _(g: Array, needs: Sequence[bool], shape: tuple[int, ...], axis: Axis, keepdims: bool) -> Sequence[Any]:
    return (get_xp(g).broadcast_to(_spread(g, shape, axis, keepdims), shape),)


@operation
def mean(x: Array, /, axis: Axis = None, keepdims: bool = False) -> Forward:
    """Mean over an axis, several axes, or everything."""
    return get_xp(x).mean(x, axis=axis, keepdims=keepdims), (tuple(x.shape), axis, keepdims)


@mean.vjp
def _(g: Array, needs: Sequence[bool], shape: tuple[int, ...], axis: Axis, keepdims: bool) -> Sequence[Any]:
    count = prod(shape[i] for i in _axes(shape, axis))
    return (get_xp(g).broadcast_to(_spread(g, shape, axis, keepdims) / count, shape),)


@operation
def max(x: Array, /, axis: Axis = None, keepdims: bool = False) -> Forward:
    """Largest element over an axis, several axes, or everything; ties share the gradient."""
    y = get_xp(x).max(x, axis=axis, keepdims=keepdims)
    return y, (x, y, axis, keepdims)


@max.vjp
def _(g: Array, needs: Sequence[bool], x: Array, y: Array, axis: Axis, keepdims: bool) -> Sequence[Any]:
    xp = get_xp(g)
    shape = tuple(x.shape)
    hit = xp.astype(x == _spread(y, shape, axis, keepdims), x.dtype)
    return (hit * (_spread(g, shape, axis, keepdims) / xp.sum(hit, axis=axis, keepdims=True)),)


@operation
def logsumexp(x: Array, /, axis: Axis = None, keepdims: bool = False) -> Forward:
    """log of the sum of exponentials; the largest element is taken out first, so that nothing overflows."""
    xp = get_xp(x)
    shape = tuple(x.shape)
    size = x.real if hasattr(x, "real") and not xp.isdtype(x.dtype, "real floating") else x
    top = xp.max(size, axis=axis, keepdims=True)
    top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))  # all -inf: the answer is -inf, not NaN
    weights = xp.exp(x - top)
    total = xp.sum(weights, axis=axis, keepdims=True)
    with _quiet(xp):
        y = xp.log(total) + top
    if not keepdims:
        y = xp.reshape(y, tuple(n for i, n in enumerate(shape) if i not in _axes(shape, axis)))
    return y, (weights, total, axis, keepdims)


@logsumexp.vjp
def _(g: Array, needs: Sequence[bool], weights: Array, total: Array, axis: Axis, keepdims: bool) -> Sequence[Any]:
    return (_spread(g, tuple(weights.shape), axis, keepdims) * (weights / total),)


def _quiet(xp: Any) -> Any:
    """log(0) = -inf is meant: NumPy shall not warn of it."""
    import contextlib

    return xp.errstate(divide="ignore") if hasattr(xp, "errstate") else contextlib.nullcontext()


def _axes(shape: tuple[int, ...], axis: Axis) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(len(shape)))
    return tuple(i % len(shape) for i in (axis if isinstance(axis, tuple) else (axis,)))


def _spread(y: Array, shape: tuple[int, ...], axis: Axis, keepdims: bool) -> Array:
    """A reduced array with its reduced axes back, of length one."""
    if keepdims:
        return y
    axes = _axes(shape, axis)
    return get_xp(y).reshape(y, tuple(1 if i in axes else n for i, n in enumerate(shape)))
