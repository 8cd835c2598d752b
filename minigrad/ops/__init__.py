"""The differentiable operations, and the operators of tensors that call them.

Operations take arrays or tensors: on arrays they compute, on tensors they are also recorded. An operation's value and
its rule stand side by side in the file of its kind.
"""

from collections.abc import Callable, Iterator
from typing import Any

from minigrad.backend import Array
from minigrad.ops.elementwise import (
    abs,
    add,
    clip,
    divide,
    dropout,
    exp,
    linear,
    log,
    maximum,
    minimum,
    multiply,
    negative,
    power,
    relu,
    sigmoid,
    sqrt,
    subtract,
    tanh,
    where,
)
from minigrad.ops.indexing import embedding, getitem, scatter_add, take
from minigrad.ops.linalg import einsum, matmul
from minigrad.ops.loss import cross_entropy, linear_cross_entropy, log_softmax, mse, softmax, squared_error
from minigrad.ops.recurrence import (
    antisymmetric_unroll,
    gru_unroll,
    lstm_unroll,
    srn_local_loss,
    srn_unroll,
)
from minigrad.ops.reduction import logsumexp, max, mean, sum
from minigrad.ops.shape import broadcast_to, concatenate, reshape, split, stack, transpose, unstack
from minigrad.tape import Tensor

__all__ = [
    "abs",
    "add",
    "antisymmetric_unroll",
    "broadcast_to",
    "clip",
    "concatenate",
    "cross_entropy",
    "divide",
    "dropout",
    "einsum",
    "embedding",
    "exp",
    "getitem",
    "gru_unroll",
    "linear",
    "linear_cross_entropy",
    "log",
    "log_softmax",
    "logsumexp",
    "lstm_unroll",
    "matmul",
    "max",
    "maximum",
    "mean",
    "minimum",
    "mse",
    "multiply",
    "negative",
    "power",
    "relu",
    "reshape",
    "scatter_add",
    "sigmoid",
    "softmax",
    "split",
    "sqrt",
    "squared_error",
    "srn_local_loss",
    "srn_unroll",
    "stack",
    "subtract",
    "sum",
    "take",
    "tanh",
    "transpose",
    "unstack",
    "value",
    "where",
]


def value(x: Any) -> Array:
    """The array behind a tensor, or the array itself: a constant for whatever follows (stop-gradient)."""
    return x.value if isinstance(x, Tensor) else x


def _reflected(binary: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda x, y: binary(y, x)


def _compared(method: str) -> Callable[[Any, Any], Any]:
    return lambda x, y: getattr(value(x), method)(value(y))  # a comparison has no gradient: it answers with an array


_OPERATORS: dict[str, Callable[..., Any]] = {
    "__add__": lambda x, y: add(x, y),
    "__sub__": lambda x, y: subtract(x, y),
    "__mul__": lambda x, y: multiply(x, y),
    "__truediv__": lambda x, y: divide(x, y),
    "__matmul__": lambda x, y: matmul(x, y),
    "__radd__": _reflected(add),
    "__rsub__": _reflected(subtract),
    "__rmul__": _reflected(multiply),
    "__rtruediv__": _reflected(divide),
    "__rmatmul__": _reflected(matmul),
    "__neg__": lambda x: negative(x),
    "__pow__": lambda x, exponent: power(x, exponent),
    "__abs__": lambda x: abs(x),
    "__getitem__": lambda x, key: getitem(x, key),
    "__lt__": _compared("__lt__"),
    "__le__": _compared("__le__"),
    "__gt__": _compared("__gt__"),
    "__ge__": _compared("__ge__"),
}


def _iterate(x: Tensor) -> Iterator[Any]:
    return iter(unstack(x))


# The tape knows no operation, so the operators of its tensors are bound here, in one table.
for _name, _operator in _OPERATORS.items():
    setattr(Tensor, _name, _operator)
Tensor.__iter__ = _iterate  # type: ignore[attr-defined]
Tensor.T = property(transpose)  # type: ignore[attr-defined]
