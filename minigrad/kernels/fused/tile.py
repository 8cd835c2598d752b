"""The micro-kernel that every fused recurrence is built around, and what feeds it.

A product C = init + A @ W is cut into tiles of up to ROWS rows and PANEL vectors of columns. A tile lives in registers
while the micro-kernel walks along the inner axis: one vector load per vector of columns, one broadcast per row, one
multiply-add per pair of them. W is packed once, in panels that the walk reads from end to end, and used T times.

An entry of C is always init + a_0 w_0 + a_1 w_1 + ... in this order, whatever the tile: a row of the result depends
neither on its place in the batch nor on the batch.

Legend: M rows, K inner, N columns; all arrays C-contiguous, of one dtype.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minigrad.kernels.fused import formulas
from minigrad.kernels.fused.compiler import cgutils, intrinsic, ir, part, target_features, types
from minigrad.kernels.fused.lanes import INT32, INT64, ITEM_BYTES, VECTOR_BYTES, Lanes, Value, splat, vector_type


def _limits() -> tuple[int, int]:
    """The largest tile (rows, vectors of columns) whose numbers stay in the registers of the target."""
    features = target_features()
    if "+avx512f" in features:
        return 6, 4  # 32 registers of 64 bytes: 24 sums, 4 of W, the rest for broadcasts
    return (6, 1) if "+avx" in features or "+neon" in features else (2, 1)  # 16 of 32 bytes, 32 or 16 of 16


ROWS, PANEL = _limits()


# ----------------------------------------------------------------------------------------------------------------------
# LLVM: vectors in memory


def _offset(builder: Value, pointer: Value, index: Value) -> Value:
    return builder.gep(pointer, [index])


def _at(builder: Value, pointer: Value, index: Value) -> Value:
    """The address of the vector that starts at an element."""
    kind = vector_type(pointer.type.pointee)
    return builder.bitcast(_offset(builder, pointer, index), kind.as_pointer())


def _mask(builder: Value, count: Value, lanes: int) -> Value:
    """True in the first `count` lanes."""
    places = ir.Constant(ir.VectorType(INT64, lanes), list(range(lanes)))
    return builder.icmp_signed("<", places, splat(builder, count, lanes))


def _masked(builder: Value, name: str, kind: Value, arguments: list[Value]) -> Value:
    suffix = f"v{kind.count}f{8 * ITEM_BYTES[str(kind.element)]}"
    returned = ir.VoidType() if name == "store" else kind
    signature = ir.FunctionType(returned, [a.type for a in arguments])
    function = cgutils.get_or_insert_function(builder.module, signature, f"llvm.masked.{name}.{suffix}.p0")
    return builder.call(function, arguments)


def _load(builder: Value, pointer: Value, index: Value, mask: Value = None) -> Value:
    address = _at(builder, pointer, index)
    kind, align = address.type.pointee, ITEM_BYTES[str(pointer.type.pointee)]
    if mask is None:
        return builder.load(address, align=align)
    return _masked(builder, "load", kind, [address, INT32(align), mask, ir.Constant(kind, None)])


def _store(builder: Value, value: Value, pointer: Value, index: Value, mask: Value = None) -> None:
    address = _at(builder, pointer, index)
    align = ITEM_BYTES[str(pointer.type.pointee)]
    if mask is None:
        builder.store(value, address, align=align)
    else:
        _masked(builder, "store", value.type, [value, address, INT32(align), mask])


def _function(module: Value, name: str, arguments: list[Value]) -> tuple[Value, Value | None]:
    """A private function of the module, and a builder at its start; no builder if it was already there."""
    if name in module.globals:
        return module.globals[name], None
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    return function, ir.IRBuilder(function.append_basic_block("entry"))


# ----------------------------------------------------------------------------------------------------------------------
# LLVM: the micro-kernel


def _micro_kernel(module: Value, scalar: Value, rows: int, vectors: int) -> Value:
    """void (c, init, a, w, N, K, rest): c[rows, columns] = init + a[rows, K] @ w[K, columns], one tile in registers.

    c and init have rows of N elements, a of K, w of `vectors` whole vectors. Of the last vector of columns the first
    `rest` lanes are valid; the others are neither read nor written.
    """
    pointer = scalar.as_pointer()
    function, builder = _function(module, f"tile_{scalar}_{rows}x{vectors}", [pointer] * 4 + [INT64] * 3)
    if builder is None:
        return function
    c, init, a, w, columns, inner, rest = function.args
    width = vector_type(scalar).count
    places = [(r, v) for r in range(rows) for v in range(vectors)]
    mask = _mask(builder, rest, width)
    row = [builder.mul(columns, INT64(r)) for r in range(rows)]
    index = {(r, v): builder.add(row[r], INT64(v * width)) for r, v in places}
    masks = {(r, v): mask if v == vectors - 1 else None for r, v in places}
    start = {place: _load(builder, init, index[place], masks[place]) for place in places}
    a_rows = [_offset(builder, a, builder.mul(inner, INT64(r))) for r in range(rows)]

    entry, loop, after = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("after")
    builder.branch(loop)
    builder.position_at_end(loop)
    k = builder.phi(INT64)
    sums = {place: builder.phi(vector_type(scalar)) for place in places}
    w_k = _offset(builder, w, builder.mul(k, INT64(vectors * width)))
    w_vectors = [_load(builder, w_k, INT64(v * width)) for v in range(vectors)]
    longer = {}
    for r in range(rows):
        a_rk = Lanes(builder, splat(builder, builder.load(_offset(builder, a_rows[r], k)), width))
        for v in range(vectors):
            longer[r, v] = a_rk.times_plus(Lanes(builder, w_vectors[v]), Lanes(builder, sums[r, v])).value
    following = builder.add(k, INT64(1))
    builder.cbranch(builder.icmp_signed("<", following, inner), loop, after)
    for phi, first, then in [(k, INT64(0), following), *((sums[p], start[p], longer[p]) for p in places)]:
        phi.add_incoming(first, entry)
        phi.add_incoming(then, loop)

    builder.position_at_end(after)
    for place in places:
        _store(builder, longer[place], c, index[place], masks[place])
    builder.ret_void()
    return function


def _data(context: Any, builder: Value, kind: Any, array: Value) -> Value:
    """The address of an array's first element."""
    pointer = context.get_value_type(kind.dtype).as_pointer()
    return builder.bitcast(context.make_array(kind)(context, builder, array).data, pointer)


@intrinsic
def _tile(typing: Any, c: Any, init: Any, a: Any, packed: Any, row: Any, rows: Any, column: Any, vectors: Any) -> Any:
    """Compute the tile of c at (row, column) with the micro-kernel of its size (rows, vectors)."""

    def generate(context: Any, builder: Value, signature: Any, arguments: Any) -> Value:
        scalar = context.get_value_type(signature.args[0].dtype)
        width = vector_type(scalar).count
        c, init, a, packed = (
            _data(context, builder, k, x) for k, x in zip(signature.args[:4], arguments[:4], strict=True)
        )
        row, rows, column, vectors = arguments[4:]
        columns, inner = (
            builder.extract_value(context.make_array(signature.args[i])(context, builder, arguments[i]).shape, 1)
            for i in (0, 2)
        )
        corner = builder.add(builder.mul(row, columns), column)
        whole = builder.mul(builder.sub(vectors, INT64(1)), INT64(width))
        left = builder.sub(builder.sub(columns, column), whole)
        call = [
            _offset(builder, c, corner),
            _offset(builder, init, corner),
            _offset(builder, a, builder.mul(row, inner)),
            _offset(builder, packed, builder.mul(column, inner)),
            columns,
            inner,
            left,
        ]
        done = builder.append_basic_block("done")
        choice = builder.switch(builder.add(builder.mul(rows, INT64(PANEL)), vectors), done)
        for r in range(1, ROWS + 1):
            for v in range(1, PANEL + 1):
                block = builder.append_basic_block(f"tile_{r}x{v}")
                choice.add_case(INT64(r * PANEL + v), block)
                builder.position_at_end(block)
                builder.call(_micro_kernel(builder.module, scalar, r, v), call)
                builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    size = types.intp
    return types.void(c, init, a, packed, size, size, size, size), generate


# ----------------------------------------------------------------------------------------------------------------------
# The product


@part
def pack(packed: Any, w: Any) -> None:
    """Copy w [K, N] into panels; `packed` holds zeros: see `packed_size`."""
    inner, columns = w.shape
    width = VECTOR_BYTES // w.itemsize
    vectors = -(-columns // width)
    panels = -(-vectors // PANEL)
    for p in range(panels):
        first, last = vectors * p // panels * width, vectors * (p + 1) // panels * width
        end = min(last, columns)
        for k in range(inner):
            start = first * inner + k * (last - first)
            for j in range(end - first):
                packed[start + j] = w[k, first + j]


def packed_size(inner: int, columns: int, item_bytes: int) -> int:
    """How many elements a packed matrix [inner, columns] takes."""
    width = VECTOR_BYTES // item_bytes
    return inner * -(-columns // width) * width


@part
def product(c: Any, init: Any, a: Any, packed: Any) -> None:
    """c = init + a @ w: c, init [M, N], a [M, K], w [K, N] packed; K > 0. init may be c itself."""
    rows, columns = c.shape
    width = VECTOR_BYTES // c.itemsize
    vectors = -(-columns // width)
    panels = -(-vectors // PANEL)
    blocks = -(-rows // ROWS)
    for p in range(panels):  # the outer loop, so that a panel stays in the first-level cache for all rows
        first, last = vectors * p // panels, vectors * (p + 1) // panels
        for b in range(blocks):
            top, bottom = rows * b // blocks, rows * (b + 1) // blocks
            _tile(c, init, a, packed, top, bottom - top, first * width, last - first)


# ----------------------------------------------------------------------------------------------------------------------
# The elementwise pass


def _elementwise(formula: Callable[..., Lanes]) -> Any:
    """A Numba function of a tuple of arrays of one size: the first becomes formula(all of them)."""

    def define(module: Value, scalar: Value, arity: int) -> Value:
        function, builder = _function(module, f"{formula.__name__}_{scalar}", [scalar.as_pointer()] * arity + [INT64])
        if builder is None:
            return function
        *arrays, count = function.args
        width = vector_type(scalar).count

        def step(index: Value, mask: Value = None) -> None:
            value = formula(*(Lanes(builder, _load(builder, array, index, mask)) for array in arrays))
            _store(builder, value.value, arrays[0], index, mask)

        whole = builder.and_(count, INT64(-width))
        with cgutils.for_range_slice(builder, INT64(0), whole, INT64(width), INT64) as (index, _):
            step(index)
        with builder.if_then(builder.icmp_signed("<", whole, count)):
            step(whole, _mask(builder, builder.sub(count, whole), width))
        builder.ret_void()
        return function

    @intrinsic
    def elementwise(typing: Any, arrays: Any) -> Any:
        def generate(context: Any, builder: Value, signature: Any, arguments: Any) -> Value:
            values = cgutils.unpack_tuple(builder, arguments[0])
            function = define(builder.module, context.get_value_type(arrays[0].dtype), len(values))
            count = context.make_array(arrays[0])(context, builder, values[0]).nitems
            addresses = [_data(context, builder, k, x) for k, x in zip(arrays, values, strict=True)]
            builder.call(function, [*addresses, count])
            return context.get_dummy_value()

        return types.void(arrays), generate

    return elementwise


_tanh = _elementwise(formulas.tanh)
_sigmoid = _elementwise(formulas.sigmoid)
_relu = _elementwise(formulas.relu)
_tanh_backward = _elementwise(formulas.tanh_backward)
_sigmoid_backward = _elementwise(formulas.sigmoid_backward)
_relu_backward = _elementwise(formulas.relu_backward)
_linear_backward = _elementwise(formulas.linear_backward)
corrected = _elementwise(formulas.corrected)

KINDS = {"tanh": 0, "sigmoid": 1, "relu": 2, "linear": 3}


@part
def activate(a: Any, kind: Any) -> None:
    """a = act(a), by the number of the activation in KINDS."""
    if kind == 0:
        _tanh((a,))
    elif kind == 1:
        _sigmoid((a,))
    elif kind == 2:
        _relu((a,))


@part
def activate_backward(d: Any, h: Any, kind: Any) -> None:
    """d = d act'(a), from h = act(a); zero where the result is smaller than TINY."""
    if kind == 0:
        _tanh_backward((d, h))
    elif kind == 1:
        _sigmoid_backward((d, h))
    elif kind == 2:
        _relu_backward((d, h))
    else:
        _linear_backward((d, h))
