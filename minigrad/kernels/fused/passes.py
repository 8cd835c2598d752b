"""Elementwise passes over arrays in memory: a formula on lanes, carried along every row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minigrad.kernels.fused import formulas
from minigrad.kernels.fused.compiler import cgutils, intrinsic, part, types
from minigrad.kernels.fused.lanes import INT64, Lanes, Value, splat, vector_type
from minigrad.kernels.fused.memory import data, first_lanes, load, offset, private_function, sizes, steps, store


def elementwise(formula: Callable[..., tuple[Lanes, ...] | Lanes]) -> Any:
    """A Numba function of two tuples of arrays [M, N]: the first becomes formula(the second), element by element.

    Rows are contiguous but may lie anywhere; where all arrays are contiguous throughout they count as one long row, so
    that only its end is a partly valid vector. The arrays of the second tuple may be followed by numbers, which are
    rounded to the dtype of the arrays.
    """

    def define(module: Value, scalar: Value, outputs: int, inputs: int, numbers: int) -> Value:
        arity = outputs + inputs
        kinds = [scalar.as_pointer()] * arity + [INT64] * (arity + 2) + [scalar] * numbers
        function, builder = private_function(module, f"{formula.__name__}_{scalar}", kinds)
        if builder is None:
            return function
        arguments, (rows, columns) = list(function.args), function.args[2 * arity : 2 * arity + 2]
        arrays, strides = arguments[:arity], arguments[arity : 2 * arity]
        width = vector_type(scalar).count
        constants = [Lanes(builder, splat(builder, number, width)) for number in arguments[2 * arity + 2 :]]

        def step(places: list[Value], index: Value, mask: Value = None) -> None:
            read = [Lanes(builder, load(builder, place, index, mask)) for place in places[outputs:]]
            found = formula(*read, *constants)
            for place, lanes in zip(places[:outputs], found if isinstance(found, tuple) else (found,), strict=True):
                store(builder, lanes.value, place, index, mask)

        whole = builder.and_(columns, INT64(-width))
        mask = first_lanes(builder, builder.sub(columns, whole), width)
        with cgutils.for_range(builder, rows) as row:
            places = [offset(builder, a, builder.mul(row.index, s)) for a, s in zip(arrays, strides, strict=True)]
            with cgutils.for_range_slice(builder, INT64(0), whole, INT64(width), INT64) as (index, _):
                step(places, index)
            with builder.if_then(builder.icmp_signed("<", whole, columns)):
                step(places, whole, mask)
        builder.ret_void()
        return function

    @intrinsic
    def run(typing: Any, outputs: Any, inputs: Any) -> Any:
        def generate(context: Any, builder: Value, signature: Any, arguments: Any) -> Value:
            values = [cgutils.unpack_tuple(builder, argument) for argument in arguments]
            pairs = list(zip([*outputs, *inputs], [*values[0], *values[1]], strict=True))
            arrays = [pair for pair in pairs if isinstance(pair[0], types.Array)]
            dtype = outputs[0].dtype
            numbers = [context.cast(builder, number, kind, dtype) for kind, number in pairs[len(arrays) :]]
            function = define(
                builder.module, context.get_value_type(dtype), len(outputs), len(arrays) - len(outputs), len(numbers)
            )
            rows, columns = sizes(context, builder, *arrays[0])
            strides = [steps(context, builder, *array)[0] for array in arrays]
            together = cgutils.true_bit
            for stride in strides:
                together = builder.and_(together, builder.icmp_signed("==", stride, columns))
            count = builder.select(together, builder.mul(rows, columns), columns)
            rows = builder.select(together, INT64(1), rows)
            addresses = [data(context, builder, *array) for array in arrays]
            builder.call(function, [*addresses, *strides, rows, count, *numbers])
            return context.get_dummy_value()

        return types.void(outputs, inputs), generate

    return run


tanh = elementwise(formulas.tanh)
sigmoid = elementwise(formulas.sigmoid)
relu = elementwise(formulas.relu)
tanh_backward = elementwise(formulas.tanh_backward)
sigmoid_backward = elementwise(formulas.sigmoid_backward)
relu_backward = elementwise(formulas.relu_backward)
linear_backward = elementwise(formulas.linear_backward)
corrected = elementwise(formulas.corrected)
error = elementwise(formulas.error)
lstm_forward = elementwise(formulas.lstm_forward)
lstm_backward = elementwise(formulas.lstm_backward)
gru_forward = elementwise(formulas.gru_forward)
gru_backward = elementwise(formulas.gru_backward)
antisymmetric_forward = elementwise(formulas.antisymmetric_forward)
antisymmetric_backward = elementwise(formulas.antisymmetric_backward)

KINDS = {"tanh": 0, "sigmoid": 1, "relu": 2, "linear": 3}
"""Numbers of the activations, for compiled code."""


@part
def activate(a: Any, kind: int) -> None:
    """a = act(a) for a [M, N], by the number of the activation."""
    if kind == 0:
        tanh((a,), (a,))
    elif kind == 1:
        sigmoid((a,), (a,))
    elif kind == 2:
        relu((a,), (a,))


@part
def activate_backward(d: Any, g: Any, h: Any, kind: int) -> None:
    """d = g act'(a), from h = act(a), all [M, N]; zero where the result is smaller than TINY."""
    if kind == 0:
        tanh_backward((d,), (g, h))
    elif kind == 1:
        sigmoid_backward((d,), (g, h))
    elif kind == 2:
        relu_backward((d,), (g, h))
    else:
        linear_backward((d,), (g, h))
