"""Uses of every operation, one table of them, and what the tests of operations share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import settings

from minigrad import ops
from minigrad.tape import Tape
from tests.minigrad.strategies import random_arrays

IDS = np.array([2, 0, 2, 3, 2])
"""Row numbers, one of them three times."""
GRID = np.array([[1, 0, 3], [3, 1, 1]])
MASK = np.array([[True, False, True], [False, False, True]])
READOUT = ((2, 3, 5), (5, 4), (4,))
"""States, weights and bias of a readout whose classes are GRID."""
DROPPED = np.array([[2.0, 0.0, 2.0], [0.0, 0.0, 2.0]])


@dataclass(frozen=True)
class Case:
    """One use of an operation."""

    name: str
    function: Callable[..., Any]
    """Of the arrays, then the constants; made of operations only."""
    shapes: tuple[tuple[int, ...], ...]
    constants: tuple[Any, ...] = ()
    """Arrays without gradients: integers, booleans, floats (cast to the dtype of the arrays)."""
    analytic: bool = True
    low: float = -1.5
    label: str = ""

    def arrays(self, dtype: str = "float64", seed: int = 0) -> list[Any]:
        """Random arguments."""
        return random_arrays(self.shapes, seed, self.low, dtype=dtype)

    def bound(self, dtype: str = "float64", place: Callable[[Any], Any] = lambda array: array) -> Callable[..., Any]:
        """The function of the arrays alone, with its constants put in place."""
        constants = [place(c.astype(dtype) if c.dtype.kind == "f" else c) for c in self.constants]
        return lambda *arrays: self.function(*arrays, *constants)

    def __str__(self) -> str:
        return f"{self.name}-{self.label}" if self.label else self.name


def unary(name: str, low: float = -1.5, analytic: bool = True) -> list[Case]:
    """A function of one array, at several shapes."""
    function = getattr(ops, name)
    shapes: dict[str, tuple[int, ...]] = {"": (2, 3), "0d": (), "empty": (0, 2)}
    return [Case(name, function, (s,), analytic=analytic, low=low, label=label) for label, s in shapes.items()]


def binary(name: str, low: float = -1.5, analytic: bool = True) -> list[Case]:
    """A function of two arrays with broadcasting, and of an array and a Python number."""
    function = getattr(ops, name)
    pairs: dict[str, tuple[tuple[int, ...], ...]] = {
        "": ((2, 3), (2, 3)),
        "row": ((2, 3), (3,)),
        "both": ((2, 1), (1, 3)),
        "0d": ((), (2, 3)),
        "empty": ((0, 3), (1, 3)),
    }
    return [
        *(Case(name, function, shapes, analytic=analytic, low=low, label=label) for label, shapes in pairs.items()),
        Case(name, lambda x: function(x, 0.3), ((2, 3),), analytic=analytic, low=low, label="number right"),
        Case(name, lambda x: function(0.3, x), ((2, 3),), analytic=analytic, low=low, label="number left"),
        Case(name, lambda x: function(x, 2), ((2, 3),), analytic=analytic, low=low, label="integer"),
    ]


def reducing(name: str, analytic: bool = True) -> list[Case]:
    """A function that takes an axis, several axes, or everything together."""
    function = getattr(ops, name)
    uses: dict[str, dict[str, Any]] = {
        "all": {},
        "axis": {"axis": 1},
        "last": {"axis": -1, "keepdims": True},
        "axes": {"axis": (0, -1)},
        "kept": {"keepdims": True},
    }
    return [
        Case(name, lambda x, kw=kw: function(x, **kw), ((2, 3, 2),), analytic=analytic, label=label)
        for label, kw in uses.items()
    ] + [Case(name, lambda x: function(x, 1), ((2, 3),), analytic=analytic, label="axis by position")]


def products() -> list[Case]:
    """Matrix products and Einstein sums."""
    pairs: dict[str, tuple[tuple[int, ...], ...]] = {
        "matrices": ((2, 3), (3, 4)),
        "row": ((3,), (3, 2)),
        "column": ((2, 3), (3,)),
        "inner": ((3,), (3,)),
        "sequence": ((4, 2, 3), (3, 2)),
        "deep": ((2, 2, 2, 3), (3, 2)),
        "batch": ((2, 2, 3), (2, 3, 2)),
        "left broadcast": ((2, 3), (4, 3, 2)),
        "ones": ((1, 2, 3), (4, 3, 2)),
        "row times batch": ((3,), (4, 3, 2)),
        "batch times column": ((4, 2, 3), (3,)),
        "no rows": ((0, 2, 3), (3, 2)),
        "one row": ((1, 3), (3, 2)),
        "one row in all": ((1, 1, 3), (3, 2)),
        "one row times batch": ((1, 3), (2, 3, 2)),
    }
    sums: dict[str, tuple[tuple[int, ...], ...]] = {
        "ij,jk->ik": ((2, 3), (3, 2)),
        "tbi,ij->tbj": ((2, 2, 3), (3, 2)),
        "tbi,tbj->ij": ((2, 2, 3), (2, 2, 2)),
        "ij->ji": ((2, 3),),
        "ij->": ((2, 3),),
        "ij->j": ((2, 3),),
        "i,j->ij": ((2,), (3,)),
        "i,i->": ((3,), (3,)),
        "ij,k->i": ((2, 3), (2,)),
        "ij,jk,kl->il": ((2, 3), (3, 2), (2, 2)),
        " b i , b -> b i ": ((2, 3), (2,)),
    }
    return [Case("matmul", ops.matmul, shapes, label=label) for label, shapes in pairs.items()] + [
        Case("einsum", lambda *xs, s=s: ops.einsum(s, *xs), shapes, label=s) for s, shapes in sums.items()
    ]


def recurrences() -> list[Case]:
    """Whole sequences, and transitions all at once: T = 4 (or 0), B = 2, D = 3, H = 2."""
    cases = []
    for T, label in ((4, ""), (0, "no steps")):
        x, h = (T, 2, 3), (2, 2)
        cases += [
            Case("srn_unroll", srn_unroll("tanh"), (x, h, (3, 2), (2, 2), (2,)), label=label),
            Case("lstm_unroll", ops.lstm_unroll, (x, (2, 4), (3, 8), (2, 8), (8,)), label=label),
            Case("gru_unroll", ops.gru_unroll, (x, h, (3, 6), (2, 6), (6,), (6,)), label=label),
            Case("antisymmetric_unroll", antisymmetric_unroll, (x, h, (3, 4), (2, 2), (4,)), label=label),
        ]
    for act in ("tanh", "sigmoid", "relu", "linear"):
        shapes, smooth = ((3, 2), (2, 2), (2,)), act != "relu"
        cases += [
            Case("srn_unroll", srn_unroll(act), ((4, 2, 3), (2, 2), *shapes), analytic=smooth, label=act),
            Case("srn_local_loss", srn_local_loss(act), shapes, TRANSITIONS, analytic=smooth, label=act),
        ]
    none = tuple(array[:0] for array in TRANSITIONS)
    return [*cases, Case("srn_local_loss", srn_local_loss("tanh"), ((3, 2), (2, 2), (2,)), none, label="no steps")]


def srn_unroll(activation: str) -> Callable[..., Any]:
    """Of x, h0, W_xh, W_hh and b_h."""
    return lambda *arrays: ops.srn_unroll(*arrays, activation=activation)


def antisymmetric_unroll(*arrays: Any) -> Any:
    """Of x, h0, W_xh, W_hh and b_h."""
    return ops.antisymmetric_unroll(*arrays, epsilon=0.5, gamma=0.2)


def srn_local_loss(activation: str) -> Callable[..., Any]:
    """Of W_xh, W_hh and b_h, and x, h and target that are constant."""
    return lambda *arrays: ops.srn_local_loss(*arrays, activation=activation)


TRANSITIONS = tuple(random_arrays([(4, 2, 3), (4, 2, 2), (4, 2, 2)], 7))
"""Inputs, states and targets."""

CASES: list[Case] = [
    *binary("add"),
    *binary("subtract"),
    *binary("multiply"),
    *binary("divide", low=0.5),
    *binary("maximum", analytic=False),
    *binary("minimum", analytic=False),
    *unary("negative"),
    *unary("exp"),
    *unary("log", low=0.5),
    *unary("sqrt", low=0.5),
    *unary("tanh"),
    *unary("sigmoid"),
    *unary("linear"),
    *unary("relu", analytic=False),
    *unary("abs", analytic=False),
    *(Case("power", lambda x, n=n: ops.power(x, n), ((2, 3),), low=0.5, label=str(n)) for n in (0, 1, 2, 3, -1, 0.5)),
    Case("clip", lambda x: ops.clip(x, -0.5, 0.5), ((3, 4),), analytic=False),
    Case("clip", lambda x: ops.clip(x, low=-1, high=0.5), ((3, 4),), analytic=False, label="by name"),
    Case("where", lambda x, y, c: ops.where(c, x, y), ((2, 3), (2, 3)), (MASK,)),
    Case("where", lambda x, y, c: ops.where(c, x, y), ((3,), (2, 1)), (MASK,), label="broadcast"),
    Case("where", lambda x, c: ops.where(c, x, 0.0), ((2, 3),), (MASK,), label="number right"),
    Case("where", lambda x, c: ops.where(c, 0.0, x), ((2, 3),), (MASK,), label="number left"),
    Case("dropout", lambda x, m: ops.dropout(x, m), ((2, 3),), (DROPPED,)),
    Case("dropout", lambda x, m: ops.dropout(x, m), ((4, 2, 3),), (DROPPED,), label="same mask at all steps"),
    *reducing("sum"),
    *reducing("mean"),
    *reducing("max", analytic=False),
    *reducing("logsumexp"),
    Case("sum", ops.sum, ((),), label="0d"),
    Case("sum", ops.sum, ((0, 2),), label="empty"),
    Case("sum", lambda x: ops.sum(x, axis=0), ((0, 2),), label="empty axis"),
    *(Case("reshape", lambda x, s=s: ops.reshape(x, s), ((2, 6),), label=str(s)) for s in ((3, 4), (12,), (2, -1, 3))),
    Case("reshape", lambda x: ops.reshape(x, ()), ((1, 1),), label="0d"),
    Case("reshape", lambda x: ops.reshape(x, shape=(0, 6)), ((3, 0, 2),), label="empty"),
    Case("transpose", ops.transpose, ((2, 3, 4),)),
    Case("transpose", lambda x: ops.transpose(x, (1, -1, 0)), ((2, 3, 4),), label="axes"),
    Case("broadcast_to", lambda x: ops.broadcast_to(x, (4, 2, 3)), ((2, 1),)),
    Case("broadcast_to", lambda x: ops.broadcast_to(x, shape=(0, 2, 3)), ((2, 3),), label="empty"),
    Case("concatenate", lambda *xs: ops.concatenate(xs), ((2, 3), (1, 3), (0, 3))),
    Case("concatenate", lambda *xs: ops.concatenate(xs, axis=-1), ((2, 3, 1), (2, 3, 2)), label="last"),
    Case("concatenate", lambda x, c: ops.concatenate([c, x, x]), ((2, 3),), (DROPPED,), label="constant, twice"),
    Case("stack", lambda *xs: ops.stack(xs), ((2, 3), (2, 3))),
    Case("stack", lambda *xs: ops.stack(xs, axis=-1), ((2,), (2,), (2,)), label="last"),
    Case("stack", lambda *xs: ops.stack(xs), ((), ()), label="0d"),
    Case("unstack", lambda x: ops.stack(ops.unstack(x)[::-1]), ((3, 2),)),
    Case("unstack", lambda x: ops.multiply(*ops.unstack(x, axis=-1)[:2]), ((2, 3),), label="some"),
    Case("unstack", lambda x: ops.unstack(x)[1], ((3,),), label="0d"),
    Case("split", lambda x: ops.concatenate(ops.split(x, 3)[::-1], axis=-1), ((2, 6),)),
    Case("split", lambda x: ops.multiply(*ops.split(x, (2, 1, 2), axis=0)[::2]), ((5, 2),), label="lengths, some"),
    Case("split", lambda x: ops.split(x, (0, 3), axis=0)[1], ((3, 2),), label="empty piece"),
    Case("getitem", lambda x: ops.getitem(x, (1, ...)), ((3, 4),), label="integer"),
    Case("getitem", lambda x: ops.getitem(x, (-1, 2)), ((3, 4),), label="one number"),
    Case("getitem", lambda x: ops.getitem(x, (..., slice(None, None, -2))), ((3, 4),), label="slice"),
    Case("getitem", lambda x: ops.getitem(x, (slice(1, None), None, 0)), ((3, 4),), label="new axis"),
    Case("getitem", lambda x: ops.getitem(x, ...), ((),), label="0d"),
    Case("getitem", lambda x: ops.getitem(x, (slice(2, 2), ...)), ((3, 4),), label="nothing"),
    Case("take", lambda x, ids: ops.take(x, ids), ((4, 2),), (IDS,)),
    Case("take", lambda x, ids: ops.take(x, ids, axis=-1), ((2, 4),), (IDS,), label="last"),
    Case("take", lambda x, ids: ops.take(x, ids, 1), ((2, 4, 2),), (IDS,), label="by position"),
    Case("take", lambda x, ids: ops.take(x, ids), ((4, 2),), (IDS[:0],), label="nothing"),
    Case("take", lambda x, ids: ops.take(x, ids, axis=1), ((2, 9, 3),), (IDS,), label="few"),
    Case("take", lambda x, ids: ops.take(x, ids, axis=-1), ((2, 9),), (IDS[1:4],), label="few, each once"),
    Case("embedding", lambda E, ids: ops.embedding(E, ids), ((4, 2),), (GRID,)),
    Case("embedding", lambda E, ids: ops.embedding(E, ids), ((4, 2),), (GRID[:, :0],), label="nothing"),
    Case("embedding", lambda E, ids: ops.embedding(E, ids), ((9, 2),), (GRID,), label="few"),
    Case(
        "embedding",
        lambda E, ids, more: ops.multiply(ops.embedding(E, ids), ops.embedding(E, more)),
        ((9, 2),),
        (GRID, GRID + 1),
        label="twice",
    ),
    Case("scatter_add", lambda x, v, ids: ops.scatter_add(x, ids, v), ((4, 2), (5, 2)), (IDS,)),
    Case("scatter_add", lambda x, v, ids: ops.scatter_add(x, ids, v), ((4,), (5,)), (IDS,), label="numbers"),
    Case("scatter_add", lambda x, v, ids: ops.scatter_add(x, ids, v), ((4, 2), (0, 2)), (IDS[:0],), label="nothing"),
    *products(),
    Case("log_softmax", ops.log_softmax, ((2, 3, 4),)),
    Case("softmax", ops.softmax, ((2, 3, 4),)),
    Case("cross_entropy", lambda z, y: ops.cross_entropy(z, y), ((2, 3, 4),), (GRID,)),
    Case("cross_entropy", lambda z, y: ops.cross_entropy(z, y), ((4,),), (np.array(2),), label="one"),
    Case("linear_cross_entropy", lambda h, W, b, y: ops.linear_cross_entropy(h, W, b, y), READOUT, (GRID,)),
    Case(
        "linear_cross_entropy",
        lambda h, W, b, y: ops.linear_cross_entropy(h, W, b, y),
        ((2,), (2, 3), (3,)),
        (np.array(2),),
        label="one",
    ),
    Case("squared_error", ops.squared_error, ((2, 3), (2, 3))),
    Case("squared_error", lambda x, y: ops.squared_error(y, x), ((2, 3),), (DROPPED,), label="constant left"),
    Case("mse", ops.mse, ((4, 2, 3), (4, 2, 3))),
    Case("mse", ops.mse, ((), ()), label="0d"),
    *recurrences(),
]

every = pytest.mark.parametrize("case", CASES, ids=str)

some = settings(max_examples=25, deadline=None)
"""A few shapes or indices at random."""

Refusal: TypeAlias = tuple[Callable[[Any], Any], type[Exception], str]
"""What is asked of a tensor [2, 3], what is raised, and what the message says."""


def assert_refused(function: Callable[[Any], Any], error: type[Exception], words: str) -> None:
    with Tape() as tape:
        x = tape.watch(np.ones((2, 3)))
        with pytest.raises(error, match=words):
            function(x)
