"""Losses, in nats, and what belongs to them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from minigrad import kernels
from minigrad.backend import Array, get_xp
from minigrad.errors import InputError
from minigrad.kernels import readout
from minigrad.kernels.ids import check_ids
from minigrad.tape import Forward, Tensor, operation


def _log_probabilities(z: Array) -> Array:
    xp = get_xp(z)
    size = z if xp.isdtype(z.dtype, "real floating") else xp.real(z)
    z = z - xp.max(size, axis=-1, keepdims=True)
    return z - xp.log(xp.sum(xp.exp(z), axis=-1, keepdims=True))


@operation
def log_softmax(z: Array, /) -> Forward:
    """Logarithm of softmax over the last axis, with the largest element taken out first."""
    y = _log_probabilities(z)
    return y, (y,)


@log_softmax.vjp
def _(g: Array, needs: Sequence[bool], y: Array) -> Sequence[Any]:
    xp = get_xp(g)
    return (g - xp.exp(y) * xp.sum(g, axis=-1, keepdims=True),)


@operation
def softmax(z: Array, /) -> Forward:
    """Probabilities over the last axis."""
    y = get_xp(z).exp(_log_probabilities(z))
    return y, (y,)


@softmax.vjp
def _(g: Array, needs: Sequence[bool], y: Array) -> Sequence[Any]:
    return (y * (g - get_xp(g).sum(g * y, axis=-1, keepdims=True)),)


@operation
def cross_entropy(z: Array, y: Array, /) -> Forward:
    """Softmax cross-entropy -log softmax(z)[y], the mean over all leading axes (0-d, nats).

    Args:
        z: logits [..., C].
        y: class ids [...] in [0, C).

    Raises:
        ValueError: if the leading axes of z are not those of y.
        IndexError: if there is no such class.
    """
    if tuple(z.shape[:-1]) != tuple(y.shape):
        raise ValueError(f"cross_entropy: logits {tuple(z.shape)} and class ids {tuple(y.shape)} do not fit")
    xp = get_xp(z, y)
    check_ids("class", y, z.shape[-1])
    log_p = _log_probabilities(z)
    return -xp.mean(xp.take_along_axis(log_p, y[..., None], axis=-1)), (log_p, y)


@cross_entropy.vjp
def _(g: Array, needs: Sequence[bool], log_p: Array, y: Array) -> Sequence[Any]:
    xp = get_xp(log_p)
    p = xp.exp(log_p)
    hit = y[..., None] == xp.arange(p.shape[-1], device=y.device)
    return (xp.where(hit, p - 1, p) * (g / prod(y.shape)),)


def linear_cross_entropy(h: Array, W: Array, b: Array, y: Array, /) -> Array:
    """Cross-entropy of a linear readout, cross_entropy(h @ W + b, y), that keeps one matrix of the size of the logits.

    On plain arrays, where no gradient can follow, it keeps none, and the fused twin on the host computes the logits of
    some tokens at a time. See `minigrad.kernels.readout`.

    Args:
        h: [..., H].
        W: [H, V].
        b: [V].
        y: class ids [...] in [0, V).

    Returns:
        The mean over all leading axes (0-d, nats).

    Raises:
        InputError: if the shapes do not fit.
        IndexError: if there is no such class.
    """
    if any(type(x) is Tensor and x.tape.recording for x in (h, W, b)):
        return _linear_cross_entropy(h, W, b, y)
    h, W, b, y = (x.value if type(x) is Tensor else x for x in (h, W, b, y))
    return _read_out(h, W, b, y, keep=False)[0]


@operation
def _linear_cross_entropy(h: Array, W: Array, b: Array, y: Array, /) -> Forward:
    E, (rows, q, c) = _read_out(h, W, b, y, keep=True)
    return E, (rows, W, q, c, tuple(h.shape))


def _read_out(h: Array, W: Array, b: Array, y: Array, keep: bool) -> tuple[Array, tuple[Any, ...]]:
    """E, and h [N, H], q, c of `kernels.readout`."""
    if tuple(h.shape[:-1]) != tuple(y.shape):
        raise InputError(f"linear_cross_entropy: states {tuple(h.shape)} and class ids {tuple(y.shape)} do not fit")
    xp = get_xp(h, y)
    if len(h.shape) != 2:
        N = prod(y.shape)
        h, y = xp.reshape(h, (N, h.shape[-1])), xp.reshape(y, (N,))
    E, kept = readout.forward(h, W, b, y, kernels.choose(h, W, b, kernel="readout"), keep)
    return E, (h, *kept)


@_linear_cross_entropy.vjp
def _(g: Array, needs: Sequence[bool], h: Array, W: Array, q: Array, c: Array, shape: tuple[int, ...]) -> Sequence[Any]:
    g_h, g_W, g_b = readout.backward(g, h, W, q, c, kernels.choose(h, W, q, kernel="readout"), needs[:3])
    return None if g_h is None else get_xp(g_h).reshape(g_h, shape), g_W, g_b


@operation
def squared_error(x: Array, y: Array, /) -> Forward:
    """Sum over everything of (x - y)^2 (0-d); x and y have one shape."""
    if tuple(x.shape) != tuple(y.shape):
        raise ValueError(f"squared_error: shapes {tuple(x.shape)} and {tuple(y.shape)} differ")
    xp = get_xp(x, y)
    d = x - y
    return xp.sum(d * d), (d,)


@squared_error.vjp
def _(g: Array, needs: Sequence[bool], d: Array) -> Sequence[Any]:
    g_x = 2 * g * d
    return g_x, -g_x if needs[1] else None


def mse(x: Array, y: Array) -> Array:
    """Squared error summed over the last axis, the mean over all leading axes (0-d)."""
    return squared_error(x, y) / prod(x.shape[:-1])
