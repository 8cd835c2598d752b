"""Losses, in nats, and what belongs to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minigrad.backend import Array, get_xp
from minigrad.tape import Forward, operation


def _log_probabilities(z: Array) -> Array:
    xp = get_xp(z)
    size = z if xp.isdtype(z.dtype, "real floating") else xp.real(z)
    z = z - xp.max(size, axis=-1, keepdims=True)
    return z - xp.log(xp.sum(xp.exp(z), axis=-1, keepdims=True))


@operation
def log_softmax(z: Array) -> Forward:
    """Logarithm of softmax over the last axis, with the largest element taken out first."""
    y = _log_probabilities(z)
    return y, (y,)


@log_softmax.vjp
def _(g: Array, needs: Sequence[bool], y: Array) -> Sequence[Any]:
    xp = get_xp(g)
    return (g - xp.exp(y) * xp.sum(g, axis=-1, keepdims=True),)


@operation
def softmax(z: Array) -> Forward:
    """Probabilities over the last axis."""
    y = get_xp(z).exp(_log_probabilities(z))
    return y, (y,)


@softmax.vjp
def _(g: Array, needs: Sequence[bool], y: Array) -> Sequence[Any]:
    return (y * (g - get_xp(g).sum(g * y, axis=-1, keepdims=True)),)


def _one_hot(ids: Array, classes: int, dtype: Any) -> Array:
    xp = get_xp(ids)
    return xp.astype(ids[..., None] == xp.arange(classes, dtype=ids.dtype, device=ids.device), dtype)


@operation
def cross_entropy(z: Array, y: Array) -> Forward:
    """Softmax cross-entropy -log softmax(z)[y], the mean over all leading axes (0-d, nats).

    Args:
        z: logits [..., C].
        y: class ids [...].
    """
    xp = get_xp(z, y)
    log_p = _log_probabilities(z)
    hot = _one_hot(y, z.shape[-1], z.dtype)
    count = 1
    for n in y.shape:
        count *= n
    return -xp.sum(log_p * hot) / count, (log_p, hot, count)


@cross_entropy.vjp
def _(g: Array, needs: Sequence[bool], log_p: Array, hot: Array, count: int) -> Sequence[Any]:
    return (get_xp(log_p).exp(log_p) - hot) * (g / count), None


@operation
def squared_error(x: Array, y: Array) -> Forward:
    """Sum over everything of (x - y)^2 (0-d); x and y have one shape."""
    if tuple(x.shape) != tuple(y.shape):
        raise ValueError(f"squared_error: shapes {tuple(x.shape)} and {tuple(y.shape)} differ")
    d = x - y
    return get_xp(d).sum(d * d), (d,)


@squared_error.vjp
def _(g: Array, needs: Sequence[bool], d: Array) -> Sequence[Any]:
    g_x = 2 * g * d
    return g_x, -g_x if needs[1] else None


def mse(x: Array, y: Array) -> Array:
    """Squared error summed over the last axis, the mean over all leading axes (0-d)."""
    count = 1
    for n in tuple(x.shape)[:-1]:
        count *= n
    return squared_error(x, y) / count
