"""Arithmetic on one 64-byte vector of LLVM, written like arithmetic on a number.

64 bytes are one register with AVX-512, two with AVX2, four with SSE or NEON: LLVM splits the vector for any target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from minigrad.kernels.fused.compiler import cgutils, ir

Value: TypeAlias = Any
"""A value, type or builder of llvmlite, which has no type annotations."""

VECTOR_BYTES = 64
ITEM_BYTES = {"float": 4, "double": 8}
INT32, INT64 = ir.IntType(32), ir.IntType(64)


def vector_type(scalar: Value) -> Value:
    """The 64-byte vector of a scalar type."""
    return ir.VectorType(scalar, VECTOR_BYTES // ITEM_BYTES[str(scalar)])


def splat(builder: Value, scalar: Value, count: int) -> Value:
    """A vector of `count` lanes that all hold `scalar`."""
    undefined = ir.Constant(ir.VectorType(scalar.type, count), ir.Undefined)
    one = builder.insert_element(undefined, scalar, INT32(0))
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(INT32, count), [0] * count))


@dataclass(frozen=True)
class Lanes:
    """The lanes of one vector; a number on either side of an operator stands for a vector of that number."""

    builder: Value
    value: Value

    @property
    def single(self) -> bool:
        """Whether the lanes hold float32."""
        return str(self.value.type.element) == "float"

    def of(self, value: Lanes | float) -> Value:
        """The LLVM value of lanes or of a number."""
        return (
            value.value if isinstance(value, Lanes) else ir.Constant(self.value.type, [value] * self.value.type.count)
        )

    def _new(self, value: Value) -> Lanes:
        return Lanes(self.builder, value)

    def _call(self, name: str, *others: Lanes | float) -> Lanes:
        kind = self.value.type
        name = f"llvm.{name}.v{kind.count}f{8 * ITEM_BYTES[str(kind.element)]}"
        arguments = [self.value, *map(self.of, others)]
        function = cgutils.get_or_insert_function(
            self.builder.module, ir.FunctionType(kind, [kind] * len(arguments)), name
        )
        return self._new(self.builder.call(function, arguments))

    def __add__(self, other: Lanes | float) -> Lanes:
        return self._new(self.builder.fadd(self.value, self.of(other)))

    def __sub__(self, other: Lanes | float) -> Lanes:
        return self._new(self.builder.fsub(self.value, self.of(other)))

    def __mul__(self, other: Lanes | float) -> Lanes:
        return self._new(self.builder.fmul(self.value, self.of(other)))

    def __rsub__(self, other: float) -> Lanes:
        return self._new(self.builder.fsub(self.of(other), self.value))

    def __truediv__(self, other: Lanes) -> Lanes:
        return self._new(self.builder.fdiv(self.value, other.value))

    def __neg__(self) -> Lanes:
        return self._new(self.builder.fneg(self.value))

    __radd__, __rmul__ = __add__, __mul__

    def times_plus(self, factor: Lanes | float, term: Lanes | float) -> Lanes:
        """self * factor + term, rounded once where the machine can."""
        return self._call("fmuladd", factor, term)

    def sqrt(self) -> Lanes:
        """Square root, correctly rounded."""
        return self._call("sqrt")

    def magnitude(self) -> Lanes:
        """Absolute value."""
        return self._call("fabs")

    def with_sign_of(self, other: Lanes) -> Lanes:
        """The magnitude of these lanes with the sign of others."""
        return self._call("copysign", other)

    def where(self, relation: str, bound: Lanes | float, then: Lanes | float, otherwise: Lanes | float) -> Lanes:
        """`then` in the lanes where `self relation bound` holds, else `otherwise`; the relation is false for NaN."""
        mask = self.builder.fcmp_ordered(relation, self.value, self.of(bound))
        return self._new(self.builder.select(mask, self.of(then), self.of(otherwise)))

    def power_of_two(self) -> Lanes:
        """2^n, where these lanes hold n + 1.5 * 2^(fraction bits): the low bits are then the integer n."""
        kind, fraction, bias = (INT32, 23, 127) if self.single else (INT64, 52, 1023)
        integers = ir.VectorType(kind, self.value.type.count)
        bits = self.builder.shl(self.builder.bitcast(self.value, integers), _repeat(integers, fraction))
        return self._new(
            self.builder.bitcast(self.builder.add(bits, _repeat(integers, bias << fraction)), self.value.type)
        )


def _repeat(kind: Value, number: int) -> Value:
    return ir.Constant(kind, [number] * kind.count)
