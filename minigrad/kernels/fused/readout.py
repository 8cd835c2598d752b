"""The linear readout with softmax cross-entropy, fused; the equations are those of `minigrad.kernels.readout`.

The logits of a chunk of tokens are one matrix product; one pass then turns each row of logits into what the gradient
needs, where it lies. The pass reads a row twice, for its largest logit and for the exponentials, the second time from
the nearest cache.

Threads share out tokens, and classes where the gradient by W is a sum over tokens. Each calls matrix products for its
own part: a library that shared them out itself would have threads of its own, which stay awake between two products and
keep these from working.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minigrad.backend import Array
from minigrad.kernels.cache import prepare
from minigrad.kernels.fused.arrays import aligned
from minigrad.kernels.fused.compiler import cgutils, intrinsic, ir, kernel, types
from minigrad.kernels.fused.formulas import exp
from minigrad.kernels.fused.lanes import INT32, INT64, Lanes, Value, splat, vector_type
from minigrad.kernels.fused.memory import data, first_lanes, load, sizes, store
from minigrad.kernels.fused.threads import share

CHUNK_BYTES, CHUNK_ROWS = 2**24, 256
"""The logits of a chunk: as many rows as take CHUNK_BYTES, but at least CHUNK_ROWS.

Chunks that fit the second-level cache would be slower: every product packs W anew, in the time that 16 rows take.
"""
BLOCK = 2048
"""As many exponentials are summed in the precision of the arrays, the sums of blocks in float64."""


def forward(h: Array, W: Array, b: Array, y: Array, keep: bool) -> tuple[Array, tuple[Array | None, Array | None]]:
    """`minigrad.kernels.readout.forward`, for checked arrays of at least one token."""
    prepare("readout", b.dtype)
    (N, H), V = h.shape, b.shape[0]
    b, y = np.array(b, order="C"), np.array(y, np.int64, order="C")  # writable: Numba compiles for one kind only
    most = max(CHUNK_ROWS, CHUNK_BYTES // (V * b.itemsize))
    q, c = aligned((N if keep else 0, V), b.dtype), np.empty(N, b.dtype)

    def tokens(begin: int, end: int) -> float:
        """The sum of their losses."""
        chunks = -(-(end - begin) // most)
        rows = -(-(end - begin) // chunks)
        room = q[begin:end] if keep else aligned((rows, V), b.dtype)
        losses = 0.0
        for first in range(begin, end, rows):
            last = min(first + rows, end)
            chunk = room[first - begin : last - begin] if keep else room[: last - first]
            np.matmul(h[first:last], W, out=chunk)
            losses += _rows(chunk, c[first:last], b, y[first:last], N)
        return losses

    losses = sum(share(N, 2.0 * N * H * V, tokens))
    return b.dtype.type(losses / N), (q, c) if keep else (None, None)


def backward(
    g: Array, h: Array, W: Array, q: Array, c: Array, needs: Sequence[bool]
) -> tuple[Array | None, Array | None, Array | None]:
    """`minigrad.kernels.readout.backward`, for at least one token and one class."""
    (N, H), V, dtype = h.shape, q.shape[1], q.dtype
    c = (g * c).astype(dtype, copy=False)
    by_h, by_W, by_b = needs
    g_h, g_W, g_b = (aligned(shape, dtype) for shape in ((N, H), (H, V), (V,)))
    scaled = (h * c[:, None]).T

    def tokens(first: int, last: int) -> None:
        np.matmul(q[first:last], W.T, out=g_h[first:last])
        g_h[first:last] *= c[first:last, None]

    def classes(first: int, last: int) -> None:
        if by_W:
            np.matmul(scaled, q[:, first:last], out=g_W[:, first:last])
        if by_b:
            np.matmul(c, q[:, first:last], out=g_b[first:last])

    def part(first: int, last: int) -> None:
        if by_h:
            tokens(first, last)
        classes(V * first // N, V * last // N)

    share(N, 4.0 * N * H * V, part)
    return g_h if by_h else None, g_W if by_W else None, g_b if by_b else None


@kernel
def _rows(z: Any, c: Any, b: Any, y: Any, tokens: int) -> float:
    """Rows of h @ W become rows of q; the sum of their losses."""
    losses = 0.0
    for n in range(len(z)):
        row, own = z[n], y[n]
        largest = _largest(row, b)
        ahead = float(largest) - float(row[own] + b[own])
        total = 0.0
        for first in range(0, len(row), BLOCK):
            total += _exponentials(row[first : first + BLOCK], b[first : first + BLOCK], largest)
        losses += math.log(total) + ahead
        row[own] -= total
        c[n] = 1 / (tokens * total)
    return losses


@intrinsic
def _largest(typing: Any, z: Any, b: Any) -> Any:
    """The largest element of z + b, both [V]; NaN passes by."""

    def larger(x: Lanes, y: Lanes) -> Lanes:
        return x.where(">", y, x, y)

    def step(builder: Value, index: Value, mask: Value, z: Value, b: Value) -> Lanes:
        return Lanes(builder, load(builder, z, index, mask)) + Lanes(builder, load(builder, b, index, mask))

    return z.dtype(z, b), _reduction(step, larger, -math.inf, side_by_side=4)


@intrinsic
def _exponentials(typing: Any, z: Any, b: Any, largest: Any) -> Any:
    """z = exp(z + b - largest), z and b [V]; the sum of it."""

    def step(builder: Value, index: Value, mask: Value, z: Value, b: Value, largest: Value) -> Lanes:
        z_v, b_v = (Lanes(builder, load(builder, array, index, mask)) for array in (z, b))
        e = exp(z_v + b_v - Lanes(builder, splat(builder, largest, z_v.value.type.count)))
        store(builder, e.value, z, index, mask)
        return e

    return z.dtype(z, b, largest), _reduction(step, Lanes.__add__, 0.0, side_by_side=1)


def _reduction(
    step: Callable[..., Lanes], join: Callable[[Lanes, Lanes], Lanes], neutral: float, side_by_side: int
) -> Callable[..., Value]:
    """LLVM code that joins step(builder, index, mask, *arguments) over all vectors of the first argument [V].

    Vectors are joined `side_by_side`, so that none waits for the one before; in the end the lanes are, by halves.
    """

    def generate(context: Any, builder: Value, signature: Any, arguments: Any) -> Value:
        arrays = [isinstance(kind, types.Array) for kind in signature.args]
        (count,) = sizes(context, builder, signature.args[0], arguments[0])
        places = [
            data(context, builder, kind, x) if array else x
            for kind, x, array in zip(signature.args, arguments, arrays, strict=True)
        ]
        kind = vector_type(context.get_value_type(signature.return_type))
        start = ir.Constant(kind, [neutral] * kind.count)
        sums = [cgutils.alloca_once_value(builder, start) for _ in range(side_by_side)]

        def add(k: int, index: Value, mask: Value = None) -> None:
            found = step(builder, index, mask, *places)
            if mask is not None:
                found = Lanes(builder, builder.select(mask, found.value, start))
            builder.store(join(found, Lanes(builder, builder.load(sums[k]))).value, sums[k])

        first = INT64(0)
        for group in {side_by_side: None, 1: None}:
            width = INT64(group * kind.count)
            last = builder.sub(count, builder.srem(count, width))
            with cgutils.for_range_slice(builder, first, last, width, INT64) as (index, _):
                for k in range(group):
                    add(k, builder.add(index, INT64(k * kind.count)))
            first = last
        with builder.if_then(builder.icmp_signed("<", first, count)):
            add(0, first, first_lanes(builder, builder.sub(count, first), kind.count))

        whole, *others = (Lanes(builder, builder.load(x)) for x in sums)
        for other in others:
            whole = join(whole, other)
        return builder.extract_element(_folded(whole, join).value, INT32(0))

    return generate


def _folded(x: Lanes, join: Callable[[Lanes, Lanes], Lanes]) -> Lanes:
    """One lane: the lower half of the lanes joined with the upper, until one is left."""
    while (count := x.value.type.count) > 1:
        halves = [
            x.builder.shuffle_vector(
                x.value,
                ir.Constant(x.value.type, ir.Undefined),
                ir.Constant(ir.VectorType(INT32, count // 2), list(range(first, first + count // 2))),
            )
            for first in (0, count // 2)
        ]
        x = join(*(Lanes(x.builder, half) for half in halves))
    return x
