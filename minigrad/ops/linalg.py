"""Matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minigrad import backend
from minigrad.backend import Array, get_xp
from minigrad.kernels.plain import rows_times, weight_gradient
from minigrad.ops.shape import reshape
from minigrad.tape import Forward, operation


@operation
def _matmul(a: Array, b: Array, /) -> Forward:
    return rows_times(a, b) if b.ndim == 2 else a @ b, (a, b)


@_matmul.vjp
def _(g: Array, needs: Sequence[bool], a: Array, b: Array) -> Sequence[Any]:
    if b.ndim == 2:
        return rows_times(g, b.T) if needs[0] else None, weight_gradient(a, g) if needs[1] else None
    xp = get_xp(g)
    g_a = g @ xp.matrix_transpose(b) if needs[0] else None
    return g_a, xp.matrix_transpose(a) @ g if needs[1] else None


def matmul(a: Array, b: Array) -> Array:
    """Matrix product over the last two axes, leading axes broadcast; vectors count as one row or one column.

    Args:
        a: [..., n, k] or [k].
        b: [..., k, m] or [k].

    Returns:
        [..., n, m] without the axis of a vector.

    Raises:
        ValueError: if the inner lengths differ.
    """
    left, right = a.shape, b.shape
    inner = right[0] if len(right) == 1 else right[-2]
    if left[-1] != inner:
        raise ValueError(f"matmul: shapes {tuple(left)} and {tuple(right)} do not fit: {left[-1]} != {inner}")
    if len(left) > 1 and len(right) > 1:
        return _matmul(a, b)
    row = a if len(left) > 1 else reshape(a, shape=(1, left[0]))
    column = b if len(right) > 1 else reshape(b, shape=(inner, 1))
    product = _matmul(row, column)
    *leading, n, m = product.shape
    return reshape(product, shape=(*leading, *([n] if len(left) > 1 else []), *([m] if len(right) > 1 else [])))


@operation
def _einsum(*arrays: Array, subscripts: str) -> Forward:
    return backend.einsum(subscripts, *arrays), (subscripts, *arrays)


@_einsum.vjp
def _(g: Array, needs: Sequence[bool], subscripts: str, *arrays: Array) -> Sequence[Any]:
    terms, answer = subscripts.split("->")
    names = terms.split(",")
    gradients: list[Any] = [None] * len(arrays)
    for i, needed in enumerate(needs):
        if needed:
            others = [(n, a) for j, (n, a) in enumerate(zip(names, arrays, strict=True)) if j != i]
            gradients[i] = _einsum_gradient(g, answer, names[i], tuple(arrays[i].shape), others)
    return gradients


def _einsum_gradient(
    g: Array, answer: str, name: str, shape: tuple[int, ...], others: list[tuple[str, Array]]
) -> Array:
    """Gradient of one operand: the answer's gradient contracted with the other operands.

    An index that only this operand has was summed away: there the gradient is the same everywhere.
    """
    known = set(answer).union(*(n for n, _ in others))
    kept = "".join(i for i in name if i in known)
    part = backend.einsum(",".join([answer, *(n for n, _ in others)]) + "->" + kept, g, *(a for _, a in others))
    xp = get_xp(part)
    part = xp.reshape(part, tuple(n if i in known else 1 for i, n in zip(name, shape, strict=True)))
    return xp.broadcast_to(part, shape)


def einsum(subscripts: str, *arrays: Array) -> Array:
    """Explicit Einstein summation, such as `tbi,ij->tbj`; no ellipsis, no index twice in one operand.

    Raises:
        ValueError: if the subscripts are of another form.
    """
    subscripts = subscripts.replace(" ", "")
    terms, arrow, answer = subscripts.partition("->")
    names = terms.split(",")
    if not arrow or len(names) != len(arrays) or any(len(set(n)) != len(n) for n in [*names, answer]):
        raise ValueError(f"einsum: {subscripts!r} must read like 'ij,jk->ik', an index at most once in a term")
    if any(len(n) != len(a.shape) for n, a in zip(names, arrays, strict=True)) or not set(answer) <= set(terms):
        raise ValueError(f"einsum: {subscripts!r} does not fit shapes {[tuple(a.shape) for a in arrays]}")
    sizes = {(i, n) for name, a in zip(names, arrays, strict=True) for i, n in zip(name, a.shape, strict=True)}
    if len(sizes) != len(dict(sizes)):
        raise ValueError(f"einsum: an index of {subscripts!r} has two lengths in {[tuple(a.shape) for a in arrays]}")
    return _einsum(*arrays, subscripts=subscripts)
