"""Vectors in memory: addresses, loads and stores of whole and of partial vectors, and where Numba keeps an array."""

from __future__ import annotations

from typing import Any

from minigrad.kernels.fused.compiler import cgutils, ir
from minigrad.kernels.fused.lanes import INT32, INT64, ITEM_BYTES, Value, splat, vector_type


def offset(builder: Value, pointer: Value, index: Value) -> Value:
    """The address `index` elements further on."""
    return builder.gep(pointer, [index])


def first_lanes(builder: Value, count: Value, lanes: int) -> Value:
    """A mask that is true in the first `count` lanes."""
    places = ir.Constant(ir.VectorType(INT64, lanes), list(range(lanes)))
    return builder.icmp_signed("<", places, splat(builder, count, lanes))


def load(builder: Value, pointer: Value, index: Value, mask: Value = None) -> Value:
    """The vector that starts at an element; with a mask, zeros in the lanes that are not read."""
    address, kind, align = _vector_at(builder, pointer, index)
    if mask is None:
        return builder.load(address, align=align)
    return _masked(builder, "load", kind, [address, INT32(align), mask, ir.Constant(kind, None)])


def store(builder: Value, value: Value, pointer: Value, index: Value, mask: Value = None) -> None:
    """Write a vector from an element on; with a mask, only its true lanes."""
    address, kind, align = _vector_at(builder, pointer, index)
    if mask is None:
        builder.store(value, address, align=align)
    else:
        _masked(builder, "store", kind, [value, address, INT32(align), mask])


def prefetch(builder: Value, address: Value) -> None:
    """Ask for the line at an address, a number, to come to the second-level cache; nothing waits for it."""
    byte = ir.IntType(8).as_pointer()
    signature = ir.FunctionType(ir.VoidType(), [byte, INT32, INT32, INT32])
    ask = cgutils.get_or_insert_function(builder.module, signature, "llvm.prefetch.p0")
    reading, second_level, of_data = INT32(0), INT32(2), INT32(1)
    builder.call(ask, [builder.inttoptr(address, byte), reading, second_level, of_data])


def _vector_at(builder: Value, pointer: Value, index: Value) -> tuple[Value, Value, int]:
    """Address, type and alignment of the vector that starts at an element."""
    scalar = pointer.type.pointee
    kind = vector_type(scalar)
    return builder.bitcast(offset(builder, pointer, index), kind.as_pointer()), kind, ITEM_BYTES[str(scalar)]


def _masked(builder: Value, name: str, kind: Value, arguments: list[Value]) -> Value:
    suffix = f"v{kind.count}f{8 * ITEM_BYTES[str(kind.element)]}"
    returned = ir.VoidType() if name == "store" else kind
    signature = ir.FunctionType(returned, [a.type for a in arguments])
    intrinsic = cgutils.get_or_insert_function(builder.module, signature, f"llvm.masked.{name}.{suffix}.p0")
    return builder.call(intrinsic, arguments)


def private_function(module: Value, name: str, arguments: list[Value]) -> tuple[Value, Value | None]:
    """A function of this module alone, and a builder at its start; no builder if it was already there."""
    if name in module.globals:
        return module.globals[name], None
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    return function, ir.IRBuilder(function.append_basic_block("entry"))


def data(context: Any, builder: Value, kind: Any, array: Value) -> Value:
    """The address of an array's first element."""
    pointer = context.get_value_type(kind.dtype).as_pointer()
    return builder.bitcast(context.make_array(kind)(context, builder, array).data, pointer)


def sizes(context: Any, builder: Value, kind: Any, array: Value) -> list[Value]:
    """The lengths of an array's axes."""
    return list(cgutils.unpack_tuple(builder, context.make_array(kind)(context, builder, array).shape))


def steps(context: Any, builder: Value, kind: Any, array: Value) -> list[Value]:
    """How many elements lie between neighbours along each axis of an array."""
    item = INT64(ITEM_BYTES[str(context.get_value_type(kind.dtype))])
    strides = cgutils.unpack_tuple(builder, context.make_array(kind)(context, builder, array).strides)
    return [builder.sdiv(stride, item) for stride in strides]
