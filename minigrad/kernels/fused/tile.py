"""The micro-kernel that every fused recurrence is built around, and the product that feeds it.

A product C = init + A @ W is cut into tiles of up to ROWS rows and PANEL vectors of columns. A tile lives in registers
while the micro-kernel walks along the inner axis: one vector load per vector of columns, one broadcast per row, one
multiply-add per pair of them. W is packed once, in panels that the walk reads from end to end, and used T times.

Memory is idle while the core multiplies. A product may be told what will be needed next, and asks for it on the walk, a
line or part of one with every multiply-add of a row, so that it lies in the second-level cache when its time comes.

An entry of C is always init + a_0 w_0 + a_1 w_1 + ... in this order, whatever the tile: a row of the result depends
neither on its place in the batch nor on the batch.

Legend: M rows, K inner, N columns; arrays of one dtype. The rows of C and init are contiguous, but may lie anywhere (in
columns of a wider array; all at one place, for a bias); A may have any strides (a transpose).
"""

from __future__ import annotations

from typing import Any

from minigrad.kernels.fused.compiler import cgutils, intrinsic, part, phrase, target_features, types
from minigrad.kernels.fused.lanes import INT64, VECTOR_BYTES, Lanes, Value, splat, vector_type
from minigrad.kernels.fused.memory import data, first_lanes, load, offset, prefetch, private_function, store


def _limits() -> tuple[int, int]:
    """The largest tile (rows, vectors of columns) whose numbers stay in the registers of the target."""
    features = target_features()
    if "+avx512f" in features:
        return 6, 4  # 32 registers of 64 bytes: 24 sums, 4 of W, the rest for broadcasts
    return (6, 1) if "+avx" in features or "+neon" in features else (2, 1)  # 16 of 32 bytes, 32 or 16 of 16


ROWS, PANEL = _limits()


def _micro_kernel(module: Value, scalar: Value, rows: int, vectors: int) -> Value:
    """void (c, init, a, w, c_row, init_row, a_row, a_inner, K, rest, soon, pace): one tile of c = init + a @ w.

    Steps in elements: c_row and init_row from row to row, a_row and a_inner along the axes of a; w holds K rows of
    `vectors` whole vectors. Of the last vector of columns the first `rest` lanes are valid; the others are neither read
    from init nor written to c. From step to step the walk asks for memory `pace` bytes further on, from `soon` on.
    """
    pointer = scalar.as_pointer()
    function, builder = private_function(module, f"tile_{scalar}_{rows}x{vectors}", [pointer] * 4 + [INT64] * 8)
    if builder is None:
        return function
    c, init, a, w, c_row, init_row, a_row, a_inner, inner, rest, soon, pace = function.args
    width = vector_type(scalar).count
    places = [(r, v) for r in range(rows) for v in range(vectors)]
    mask = first_lanes(builder, rest, width)
    masks = {(r, v): mask if v == vectors - 1 else None for r, v in places}

    def rows_of(array: Value, step: Value) -> list[Value]:
        return [offset(builder, array, builder.mul(step, INT64(r))) for r in range(rows)]

    c_rows, init_rows, a_rows = rows_of(c, c_row), rows_of(init, init_row), rows_of(a, a_row)
    start = {(r, v): load(builder, init_rows[r], INT64(v * width), masks[r, v]) for r, v in places}

    entry, loop, after = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("after")
    builder.branch(loop)
    builder.position_at_end(loop)
    k = builder.phi(INT64)
    sums = {place: builder.phi(vector_type(scalar)) for place in places}
    w_k = offset(builder, w, builder.mul(k, INT64(vectors * width)))
    w_vectors = [Lanes(builder, load(builder, w_k, INT64(v * width))) for v in range(vectors)]
    a_k = builder.mul(k, a_inner)
    prefetch(builder, builder.add(soon, builder.mul(k, pace)))
    longer = {}
    for r in range(rows):
        a_rk = Lanes(builder, splat(builder, builder.load(offset(builder, a_rows[r], a_k)), width))
        for v in range(vectors):
            longer[r, v] = a_rk.times_plus(w_vectors[v], Lanes(builder, sums[r, v])).value
    following = builder.add(k, INT64(1))
    builder.cbranch(builder.icmp_signed("<", following, inner), loop, after)
    for phi, first, then in [(k, INT64(0), following), *((sums[p], start[p], longer[p]) for p in places)]:
        phi.add_incoming(first, entry)
        phi.add_incoming(then, loop)

    builder.position_at_end(after)
    for r, v in places:
        store(builder, longer[r, v], c_rows[r], INT64(v * width), masks[r, v])
    builder.ret_void()
    return function


@intrinsic
def _tile(
    typing: Any,
    c: Any,
    init: Any,
    a: Any,
    packed: Any,
    row: Any,
    rows: Any,
    column: Any,
    vectors: Any,
    soon: Any,
    pace: Any,
) -> Any:
    """Compute the tile of c at (row, column) with the micro-kernel of its size; c, init, a are places."""

    def generate(context: Any, builder: Value, signature: Any, arguments: Any) -> Value:
        scalar = context.get_value_type(signature.args[3].dtype)
        width = vector_type(scalar).count
        (c, columns, c_row, _), (init, _, init_row, _), (a, inner, a_row, a_inner) = (
            cgutils.unpack_tuple(builder, argument) for argument in arguments[:3]
        )
        c, init, a = (builder.inttoptr(address, scalar.as_pointer()) for address in (c, init, a))
        packed = data(context, builder, signature.args[3], arguments[3])
        row, rows, column, vectors, soon, pace = arguments[4:]
        whole = builder.mul(builder.sub(vectors, INT64(1)), INT64(width))
        call = [
            offset(builder, c, builder.add(builder.mul(row, c_row), column)),
            offset(builder, init, builder.add(builder.mul(row, init_row), column)),
            offset(builder, a, builder.mul(row, a_row)),
            offset(builder, packed, builder.mul(column, inner)),
            c_row,
            init_row,
            a_row,
            a_inner,
            inner,
            builder.sub(builder.sub(columns, column), whole),
            soon,
            pace,
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
    return types.void(c, init, a, packed, size, size, size, size, size, size), generate


@part
def place(matrix: Any) -> tuple[int, int, int, int]:
    """Where a matrix lies: address, number of columns, elements from row to row and from column to column.

    To the compiler all matrices are then one type, and `_product` is compiled once instead of once for every mixture of
    slices and transposes.
    """
    item = matrix.itemsize
    return matrix.ctypes.data, matrix.shape[1], matrix.strides[0] // item, matrix.strides[1] // item


@intrinsic
def _copy_row(typing: Any, packed: Any, start: Any, w: Any, k: Any, column: Any, count: Any) -> Any:
    """Copy `count` adjacent numbers of w from (k, column) on to packed from `start` on, a vector at a time."""

    def generate(context: Any, builder: Value, signature: Any, arguments: Any) -> Value:
        scalar = context.get_value_type(signature.args[0].dtype)
        width = vector_type(scalar).count
        _, start, w, k, column, count = arguments
        to = data(context, builder, signature.args[0], arguments[0])
        source, _, row, _ = cgutils.unpack_tuple(builder, w)
        to = offset(builder, to, start)
        source = builder.inttoptr(source, scalar.as_pointer())
        source = offset(builder, source, builder.add(builder.mul(k, row), column))
        with cgutils.for_range_slice(builder, INT64(0), count, INT64(width), INT64) as (index, _):
            mask = first_lanes(builder, builder.sub(count, index), width)
            store(builder, load(builder, source, index, mask), to, index)
        return context.get_dummy_value()

    size = types.intp
    return types.void(packed, size, w, size, size, size), generate


@part
def pack(packed: Any, w: Any) -> None:
    """Copy w [K, N], of any strides, into panels: see `packed_size`.

    Beyond the last column come zeros: these lanes are multiplied too, and chance numbers there might be slow ones.
    """
    inner, columns = w.shape
    width = VECTOR_BYTES // w.itemsize
    vectors = -(-columns // width)
    panels = -(-vectors // PANEL)
    adjacent = w.strides[1] == w.itemsize
    for p in range(panels):
        first, last = vectors * p // panels * width, vectors * (p + 1) // panels * width
        end = min(last, columns)
        for k in range(inner):
            start = first * inner + k * (last - first)
            if adjacent:
                _copy_row(packed, start, place(w), k, first, end - first)
            else:
                for j in range(end - first):
                    packed[start + j] = w[k, first + j]
                for j in range(end - first, last - first):
                    packed[start + j] = 0


def packed_size(inner: int, columns: int, item_bytes: int) -> int:
    """How many elements a packed matrix [inner, columns] takes."""
    width = VECTOR_BYTES // item_bytes
    return inner * -(-columns // width) * width


@phrase
def product(c: Any, init: Any, a: Any, packed: Any) -> None:
    """c = init + a @ w: c, init [M, N], a [M, K], w [K, N] packed; K > 0. init may be c itself."""
    product_before(packed[:0], c, init, a, packed)


@phrase
def product_before(soon: Any, c: Any, init: Any, a: Any, packed: Any) -> None:
    """The same, and on the way `soon`, contiguous, comes to the second-level cache."""
    width, size = VECTOR_BYTES // c.itemsize, soon.size * soon.itemsize
    _product(place(c), place(init), place(a), packed, c.shape[0], width, soon.ctypes.data, size)


@part
def _product(c: Any, init: Any, a: Any, packed: Any, rows: int, width: int, soon: int, size: int) -> None:
    vectors = -(-c[1] // width)
    panels = -(-vectors // PANEL)
    blocks = -(-rows // ROWS)
    pace = -(-size // (panels * blocks * a[1]))
    for p in range(panels):  # the outer loop, so that a panel stays in the first-level cache for all rows
        first, last = vectors * p // panels, vectors * (p + 1) // panels
        for b in range(blocks):
            top, bottom = rows * b // blocks, rows * (b + 1) // blocks
            _tile(c, init, a, packed, top, bottom - top, first * width, last - first, soon, pace)
            soon += pace * a[1]
