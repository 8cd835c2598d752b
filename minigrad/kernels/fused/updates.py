"""The update rules and the sum of squares, fused; the formulas are those of `minigrad.kernels.updates`, on lanes.

To compiled code an array of any shape is one row. Numbers are arguments, so that a new learning rate compiles nothing.
"""

from __future__ import annotations

import functools
from typing import Any

from minigrad.backend import Array
from minigrad.kernels import updates
from minigrad.kernels.cache import prepare
from minigrad.kernels.fused.arrays import aligned, inputs
from minigrad.kernels.fused.compiler import cgutils, intrinsic, ir, kernel, types
from minigrad.kernels.fused.lanes import INT64, Lanes, Value, vector_type
from minigrad.kernels.fused.memory import data, first_lanes, load, sizes
from minigrad.kernels.fused.passes import elementwise
from minigrad.kernels.fused.threads import share

BLOCK = 2**12
"""So many squares are summed lane by lane, and then the sums of blocks: rounding grows with the longest of the sums."""


FLOP = {"step": 100, "squares": 20}
"""Floating-point operations of a product that take as long as one element, roughly."""


def step(name: str, arrays: tuple[Array, ...], numbers: tuple[float, ...]) -> tuple[Array, ...]:
    """`minigrad.kernels.updates.step` by the name of a formula, for checked arrays: parameter, gradient, state.

    Elements are shared out among threads, which changes no bit.
    """
    shape, dtype = arrays[0].shape, arrays[0].dtype
    prepare("updates", dtype)
    new = tuple(aligned(shape, dtype) for _ in arrays[1:])
    to, old = [array.reshape(1, -1) for array in new], inputs(*(array.reshape(1, -1) for array in arrays))
    call, floats = KERNELS[name], tuple(map(float, numbers))

    def part(first: int, last: int) -> None:
        call(tuple(x[:, first:last] for x in to), (*(x[:, first:last] for x in old), *floats))

    share(max(1, new[0].size), FLOP["step"] * new[0].size, part)
    return new


def squares(g: Array) -> float:
    """`minigrad.kernels.updates.squares`, for a checked array. Threads share out blocks, and their sums are added."""
    prepare("updates", g.dtype)
    (row,) = inputs(g.reshape(1, -1))
    blocks = max(1, -(-g.size // BLOCK))

    def part(first: int, last: int) -> float:
        return float(_squares(row[:, first * BLOCK : last * BLOCK]))

    return sum(share(blocks, FLOP["squares"] * g.size, part))


def _pass(formula: updates.Formula) -> Any:
    """A Numba function of new arrays and of old ones with numbers, see `elementwise`: a whole step of a rule."""

    def step(p: Lanes, g: Lanes, *rest: Lanes) -> tuple[Lanes, ...]:
        *others, before, after = rest
        u, *state = formula(Lanes, before * g, *others)
        return p + after * u, *state

    return elementwise(functools.wraps(formula)(step))


_sgd_pass = _pass(updates.sgd)
_momentum_pass = _pass(updates.momentum)
_nag_pass = _pass(updates.nag)
_adagrad_pass = _pass(updates.adagrad)
_adam_pass = _pass(updates.adam)
_rmsprop_pass = _pass(updates.rmsprop)
_adadelta_pass = _pass(updates.adadelta)


# Numba keeps on disk what is defined by a name of its own, hence one function a rule.


@kernel
def _sgd(new: Any, old: Any) -> None:
    _sgd_pass(new, old)


@kernel
def _momentum(new: Any, old: Any) -> None:
    _momentum_pass(new, old)


@kernel
def _nag(new: Any, old: Any) -> None:
    _nag_pass(new, old)


@kernel
def _adagrad(new: Any, old: Any) -> None:
    _adagrad_pass(new, old)


@kernel
def _adam(new: Any, old: Any) -> None:
    _adam_pass(new, old)


@kernel
def _rmsprop(new: Any, old: Any) -> None:
    _rmsprop_pass(new, old)


@kernel
def _adadelta(new: Any, old: Any) -> None:
    _adadelta_pass(new, old)


KERNELS: dict[str, Any] = {
    "sgd": _sgd,
    "momentum": _momentum,
    "nag": _nag,
    "adagrad": _adagrad,
    "adam": _adam,
    "rmsprop": _rmsprop,
    "adadelta": _adadelta,
}
"""By the name of the formula."""


@kernel
def _squares(g: Any) -> float:
    row, total = g[0], 0.0
    for first in range(0, len(row), BLOCK):
        total += _block_squares(row[first : first + BLOCK])
    return total


@intrinsic
def _block_squares(typing: Any, g: Any) -> Any:
    """The sum of g^2 for g [N], in float64: lane by lane, and then of the lanes."""

    def generate(context: Any, builder: Value, signature: Any, arguments: Any) -> Value:
        (count,) = sizes(context, builder, g, arguments[0])
        place = data(context, builder, g, arguments[0])
        double, width = ir.DoubleType(), vector_type(context.get_value_type(g.dtype)).count
        wide = ir.VectorType(double, width)
        total = cgutils.alloca_once_value(builder, ir.Constant(wide, None))

        def add(index: Value, mask: Value = None) -> None:
            x = load(builder, place, index, mask)
            if x.type != wide:
                x = builder.fpext(x, wide)
            builder.store(builder.fadd(builder.load(total), builder.fmul(x, x)), total)

        whole = builder.and_(count, INT64(-width))
        with cgutils.for_range_slice(builder, INT64(0), whole, INT64(width), INT64) as (index, _):
            add(index)
        with builder.if_then(builder.icmp_signed("<", whole, count)):
            add(whole, first_lanes(builder, builder.sub(count, whole), width))
        signature = ir.FunctionType(double, [double, wide])
        name = f"llvm.vector.reduce.fadd.v{width}f64"
        reduce = cgutils.get_or_insert_function(builder.module, signature, name)
        return builder.call(reduce, [double(0.0), builder.load(total)])

    return types.float64(g), generate
