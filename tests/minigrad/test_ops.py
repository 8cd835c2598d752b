"""Every operation: its value, its gradient, and what holds for all of them alike.

One table lists the operations with the shapes of their arguments; the tests below the table run over all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal

from minigrad import ops
from minigrad.check import check_gradient
from minigrad.tape import Tape
from tests.minigrad.strategies import DEVICE, loose, random_arrays, seeds, strict, value_and_gradients

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


def test_the_table_names_every_operation() -> None:
    public = {name for name in ops.__all__ if name != "value"}  # `value` is what cuts the gradient
    assert {case.name for case in CASES} == public


def test_labels_tell_the_cases_apart() -> None:
    assert len({str(case) for case in CASES}) == len(CASES)


def sigmoid(x: Any) -> Any:
    """The definition."""
    return 1 / (1 + np.exp(-x))


def logarithms(z: Any) -> Any:
    """Of softmax, by the definition."""
    return z - np.log(np.sum(np.exp(z), axis=-1, keepdims=True))


def scattered(x: Any, values: Any) -> Any:
    """Rows added one by one."""
    x = x.copy()
    for i, value in zip(IDS, values, strict=True):
        x[i] += value
    return x


def unrolled(step: Callable[..., Any]) -> Callable[..., Any]:
    """States of a transition, step by step."""

    def states(x: Any, h: Any, *weights: Any) -> Any:
        found = []
        for x_t in x:
            h = step(x_t, h, *weights)
            found.append(h)
        return np.array(found)

    return states


def lstm_step(x: Any, s: Any, W: Any, R: Any, b: Any) -> Any:
    """The definition, for two hidden units."""
    h, c = s[:, :2], s[:, 2:]
    i, f, g, o = np.split(x @ W + h @ R + b, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return np.hstack([sigmoid(o) * np.tanh(c), c])


def gru_step(x: Any, h: Any, W: Any, R: Any, b: Any, c: Any) -> Any:
    """The definition."""
    (u_r, u_z, u_n), (v_r, v_z, v_n) = np.split(x @ W + b, 3, axis=1), np.split(h @ R + c, 3, axis=1)
    z, n = sigmoid(u_z + v_z), np.tanh(u_n + sigmoid(u_r + v_r) * v_n)
    return (1 - z) * n + z * h


def antisymmetric_step(x: Any, h: Any, V: Any, W: Any, b: Any) -> Any:
    """The definition."""
    u_z, u_h = np.split(x @ V + b, 2, axis=1)
    v = h @ (W - W.T - 0.2 * np.eye(2))
    return h + 0.5 * sigmoid(u_z + v) * np.tanh(u_h + v)


def local_loss(W: Any, R: Any, b: Any) -> Any:
    """The definition, of logistic units."""
    x, h, target = TRANSITIONS
    return np.sum((sigmoid(x @ W + h @ R + b) - target) ** 2)


M, C, THREE = (2, 3), (2, 3, 4), (4, 2, 3)
VALUES: list[tuple[str, Callable[..., Any], Callable[..., Any], tuple[tuple[int, ...], ...]]] = [
    ("abs", ops.abs, np.abs, (M,)),
    ("add", ops.add, np.add, (M, (3,))),
    ("broadcast_to", lambda x: ops.broadcast_to(x, THREE), lambda x: np.broadcast_to(x, THREE), (M,)),
    ("clip", lambda x: ops.clip(x, -0.5, 0.7), lambda x: np.clip(x, -0.5, 0.7), (M,)),
    ("concatenate", lambda *xs: ops.concatenate(xs, axis=1), lambda *xs: np.concatenate(xs, axis=1), (M, (2, 1))),
    ("concatenate", lambda *xs: ops.concatenate(xs), lambda *xs: np.concatenate(xs), (M, (1, 3))),
    ("cross_entropy", lambda z: ops.cross_entropy(z, GRID),
     lambda z: -np.mean([logarithms(z)[i, j, GRID[i, j]] for i in range(2) for j in range(3)]), (C,)),
    ("divide", ops.divide, np.divide, (M, (2, 1))),
    ("dropout", lambda x: ops.dropout(x, DROPPED), lambda x: x * DROPPED, (M,)),
    ("einsum", lambda *xs: ops.einsum("ij,jk->ki", *xs), lambda a, b: (a @ b).T, (M, (3, 4))),
    ("embedding", lambda E: ops.embedding(E, GRID), lambda E: E[GRID], ((4, 2),)),
    ("exp", ops.exp, np.exp, (M,)),
    ("getitem", lambda x: ops.getitem(x, (0, ..., slice(1, None))), lambda x: x[0, ..., 1:], (C,)),
    ("linear", ops.linear, lambda x: x, (M,)),
    ("log", lambda x: ops.log(x * x), lambda x: np.log(x * x), (M,)),
    ("linear_cross_entropy", lambda h, W, b: ops.linear_cross_entropy(h, W, b, GRID),
     lambda h, W, b: -np.mean([logarithms(h @ W + b)[i, j, GRID[i, j]] for i in range(2) for j in range(3)]), READOUT),
    ("log_softmax", ops.log_softmax, logarithms, (C,)),
    ("logsumexp", lambda x: ops.logsumexp(x, axis=1), lambda x: np.log(np.sum(np.exp(x), axis=1)), (C,)),
    ("matmul", ops.matmul, np.matmul, (THREE, (3, 2))),
    ("max", lambda x: ops.max(x, axis=(0, 2)), lambda x: np.max(x, axis=(0, 2)), (C,)),
    ("maximum", ops.maximum, np.maximum, (M, M)),
    ("mean", lambda x: ops.mean(x, axis=1), lambda x: np.mean(x, axis=1), (C,)),
    ("minimum", ops.minimum, np.minimum, (M, M)),
    ("mse", ops.mse, lambda x, y: np.mean(np.sum((x - y) ** 2, axis=-1)), (C, C)),
    ("multiply", ops.multiply, np.multiply, (M, (3,))),
    ("negative", ops.negative, np.negative, (M,)),
    ("power", lambda x: ops.power(x, 3), lambda x: x * x * x, (M,)),
    ("relu", ops.relu, lambda x: np.maximum(x, 0), (M,)),
    ("reshape", lambda x: ops.reshape(x, (-1, 2)), lambda x: x.reshape(-1, 2), (M,)),
    ("scatter_add", lambda x, v: ops.scatter_add(x, IDS, v), scattered, ((4, 2), (5, 2))),
    ("sigmoid", ops.sigmoid, sigmoid, (M,)),
    ("softmax", ops.softmax, lambda z: np.exp(logarithms(z)), (C,)),
    ("split", lambda x: ops.split(x, 2)[1], lambda x: x[..., 2:], (C,)),
    ("split", lambda x: ops.split(x, 2, axis=0)[1], lambda x: x[1:], (C,)),
    ("split", lambda x: ops.split(x, 1)[0], lambda x: x, (C,)),
    ("split", lambda x: ops.split(x, (1, 3))[1], lambda x: x[..., 1:], (C,)),
    ("sqrt", lambda x: ops.sqrt(x * x), np.abs, (M,)),
    ("squared_error", ops.squared_error, lambda x, y: np.sum((x - y) ** 2), (C, C)),
    ("srn_unroll", srn_unroll("tanh"), unrolled(lambda x, h, W, R, b: np.tanh(x @ W + h @ R + b)),
     (THREE, (2, 2), (3, 2), (2, 2), (2,))),
    ("srn_local_loss", lambda *a: ops.srn_local_loss(*a, *TRANSITIONS, activation="sigmoid"), local_loss,
     ((3, 2), (2, 2), (2,))),
    ("lstm_unroll", ops.lstm_unroll, unrolled(lstm_step), (THREE, (2, 4), (3, 8), (2, 8), (8,))),
    ("gru_unroll", ops.gru_unroll, unrolled(gru_step), (THREE, (2, 2), (3, 6), (2, 6), (6,), (6,))),
    ("antisymmetric_unroll", antisymmetric_unroll, unrolled(antisymmetric_step),
     (THREE, (2, 2), (3, 4), (2, 2), (4,))),
    ("stack", lambda *xs: ops.stack(xs, axis=1), lambda *xs: np.stack(xs, axis=1), (M, M)),
    ("stack", lambda *xs: ops.stack(xs), lambda *xs: np.stack(xs), (M, M)),
    ("subtract", ops.subtract, np.subtract, ((3,), M)),
    ("sum", lambda x: ops.sum(x, axis=-1), lambda x: np.sum(x, axis=-1), (C,)),
    ("take", lambda x: ops.take(x, IDS, axis=1), lambda x: x[:, IDS], ((2, 4, 3),)),
    ("take", lambda x: ops.take(x, IDS), lambda x: x[IDS], ((4, 3),)),
    ("tanh", ops.tanh, np.tanh, (M,)),
    ("transpose", ops.transpose, lambda x: x.T, (C,)),
    ("transpose", lambda x: ops.transpose(x, (1, -1, 0)), lambda x: np.transpose(x, (1, 2, 0)), (C,)),
    ("unstack", lambda x: ops.unstack(x)[1], lambda x: x[1], (C,)),
    ("unstack", lambda x: ops.unstack(x, axis=-2)[1], lambda x: x[:, 1], (C,)),
    ("where", lambda x, y: ops.where(MASK, x, y), lambda x, y: np.where(MASK, x, y), (M, M)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "function", "plain", "shapes"), VALUES)
def test_values_are_those_of_numpy(
    name: str, function: Callable[..., Any], plain: Callable[..., Any], shapes: tuple[tuple[int, ...], ...]
) -> None:
    arrays = random_arrays(shapes)
    assert_allclose(function(*arrays), plain(*arrays), rtol=1e-13, atol=1e-14)


def test_every_value_is_compared() -> None:
    assert {name for name, *_ in VALUES} == {case.name for case in CASES}


@every
def test_gradient_is_the_derivative(case: Case) -> None:
    check_gradient(case.bound(), *case.arrays(), analytic=case.analytic)


@every
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_shape_and_inputs_are_kept(case: Case, dtype: str) -> None:
    arrays = case.arrays(dtype)
    before = [array.copy() for array in arrays]
    value, gradients = value_and_gradients(case.bound(dtype), arrays, _seed(case, dtype))
    assert value.dtype == dtype
    for array, copy, gradient in zip(arrays, before, gradients, strict=True):
        assert gradient.dtype == dtype
        assert gradient.shape == array.shape
        assert_array_equal(array, copy)


@every
def test_float32_is_float64_rounded(case: Case) -> None:
    arrays = case.arrays("float32")
    value, gradients = value_and_gradients(case.bound("float32"), arrays, _seed(case, "float32"))
    wide = [array.astype("float64") for array in arrays]
    exact, exact_gradients = value_and_gradients(case.bound(), wide, _seed(case, "float32").astype("float64"))
    for found, expected in zip([value, *gradients], [exact, *exact_gradients], strict=True):
        assert_allclose(found, expected, rtol=2e-5, atol=2e-6)


@every
def test_a_tape_does_not_change_the_value(case: Case) -> None:
    arrays = case.arrays()
    value, _ = value_and_gradients(case.bound(), arrays, _seed(case))
    assert_array_equal(case.bound()(*arrays), value, strict=True)


@every
def test_other_libraries_and_devices(case: Case) -> None:
    arrays, seed = case.arrays(), _seed(case)
    value, gradients = value_and_gradients(case.bound(), arrays, seed)
    value_s, gradients_s = value_and_gradients(case.bound(place=strict), [strict(a) for a in arrays], strict(seed))
    assert value_s.device == DEVICE
    for found, expected in zip([value_s, *gradients_s], [value, *gradients], strict=True):
        assert_allclose(loose(found), expected, rtol=1e-12, atol=1e-14, strict=True)


@every
def test_arrays_need_not_be_contiguous(case: Case) -> None:
    arrays, seed = case.arrays(), _seed(case)
    value, gradients = value_and_gradients(case.bound(), arrays, seed)
    scattered = value_and_gradients(case.bound(place=_scattered), [_scattered(a) for a in arrays], _scattered(seed))
    for found, expected in zip([scattered[0], *scattered[1]], [value, *gradients], strict=True):
        assert_allclose(found, expected, rtol=1e-12, atol=1e-14, strict=True)


@every
def test_the_backward_pass_is_linear_and_repeats_to_the_bit(case: Case) -> None:
    with Tape() as tape:
        watched = tape.watch(case.arrays())
        y = case.bound()(*watched)
    g, h = _seed(case), _seed(case, seed=2)
    of_g, of_h = tape.gradient(y, watched, seed=g), tape.gradient(y, watched, seed=h)
    together = tape.gradient(y, watched, seed=np.asarray(2 * g - h))
    nothing = tape.gradient(y, watched, seed=np.zeros_like(g))
    for x, again, dg, dh, both, zero in zip(
        watched, tape.gradient(y, watched, seed=g), of_g, of_h, together, nothing, strict=True
    ):
        assert_array_equal(dg, again, strict=True)
        assert_allclose(both, 2 * dg - dh, rtol=1e-12, atol=1e-13)
        assert_array_equal(zero, np.zeros(x.shape))


@every
def test_what_is_not_asked_for_does_not_change_the_rest(case: Case) -> None:
    """One argument watched and the others constant, or all watched and one asked for: the same gradient."""
    arrays, seed = case.arrays(), _seed(case)
    _, gradients = value_and_gradients(case.bound(), arrays, seed)
    for i, expected in enumerate(gradients):
        with Tape() as tape:
            x = tape.watch(arrays[i])
            y = case.bound()(*arrays[:i], x, *arrays[i + 1 :])
        assert_allclose(tape.gradient(y, x, seed=seed), expected, rtol=1e-13, atol=1e-15)
        with Tape() as tape:
            watched = tape.watch(arrays)
            y = case.bound()(*watched)
        assert_allclose(tape.gradient(y, watched[i], seed=seed), expected, rtol=1e-13, atol=1e-15)


RECURRENCES = ["srn_unroll", "lstm_unroll", "gru_unroll", "antisymmetric_unroll", "srn_local_loss"]
COSTLY = ["multiply", "divide", "matmul", "linear_cross_entropy", *RECURRENCES]
"""Operations whose first gradient costs something too."""


@pytest.mark.parametrize("name", [*COSTLY, "subtract", "where", "scatter_add", "squared_error"])
def test_what_is_not_asked_for_is_not_computed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(case for case in CASES if case.name == name)
    with Tape() as tape:
        watched = tape.watch(case.arrays())
        y = case.bound()(*watched)
    answers: list[tuple[Any, Any]] = []
    for operation in {record[0] for record in tape._records}:

        def rule(g: Any, needs: Any, *kept: Any, rule: Any = operation.rule) -> Any:
            answers.append((needs, rule(g, needs, *kept)))
            return answers[-1][1]

        monkeypatch.setattr(operation, "rule", rule)
    for x in watched:
        tape.gradient(y, x, seed=_seed(case))
        needs, gradients = answers.pop()
        assert gradients[needs.index(True)] is not None
        if x is not watched[-1]:
            assert gradients[-1] is None
        elif name in COSTLY:
            assert gradients[0] is None


def _seed(case: Case, dtype: str = "float64", seed: int = 1) -> Any:
    shape = np.shape(case.bound()(*case.arrays()))
    return random_arrays([shape], seed, dtype=dtype)[0]


def _scattered(array: Any) -> Any:
    """The same numbers with gaps between them, columns before rows, and backwards in memory."""
    if not array.ndim:
        return array
    room = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype, order="F")
    view = room[::-1, ..., ::2] if array.ndim > 1 else room[::-2]
    view[...] = array
    assert array.size < 2 or not view.flags.c_contiguous
    return view


# --- shapes and indices at random ---


some = settings(max_examples=25, deadline=None)


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide", "maximum", "minimum", "where"])
@some
@given(shapes=hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3, min_side=0), seed=seeds)
def test_broadcasting_is_undone(name: str, shapes: Any, seed: int) -> None:
    low = 0.5 if name == "divide" else -1.5
    arrays = random_arrays(shapes.input_shapes, seed, low)
    function: Callable[..., Any] = getattr(ops, name)
    if name == "where":
        condition = random_arrays([shapes.result_shape], seed)[0] > 0

        def function(x: Any, y: Any) -> Any:
            return ops.where(condition, x, y)

    value, gradients = value_and_gradients(function, arrays, np.ones(shapes.result_shape))
    assert value.shape == shapes.result_shape
    assert [g.shape for g in gradients] == [a.shape for a in arrays]
    if name not in ("maximum", "minimum"):
        check_gradient(function, *arrays)


@some
@given(shapes=hnp.mutually_broadcastable_shapes(signature="(m?,n),(n,p?)->(m?,p?)", max_dims=2, max_side=3), seed=seeds)
def test_matmul_is_that_of_numpy(shapes: Any, seed: int) -> None:
    a, b = random_arrays(shapes.input_shapes, seed)
    assert_allclose(ops.matmul(a, b), np.matmul(a, b), rtol=1e-12, atol=1e-13, strict=True)
    check_gradient(ops.matmul, a, b)


@st.composite
def shapes_with_axes(draw: st.DrawFn) -> tuple[tuple[int, ...], Any]:
    """A shape and an axis, several, or None for all."""
    shape = draw(hnp.array_shapes(max_dims=3, max_side=3))
    n = len(shape)
    return shape, draw(st.none() | st.integers(-n, n - 1) | hnp.valid_tuple_axes(n, min_size=1))


@pytest.mark.parametrize("name", ["sum", "mean", "max", "logsumexp"])
@some
@given(shape_axis=shapes_with_axes(), keepdims=st.booleans(), seed=seeds)
def test_reductions_over_any_axes(name: str, shape_axis: Any, keepdims: bool, seed: int) -> None:
    shape, axis = shape_axis
    (x,) = random_arrays([shape], seed)
    function = getattr(ops, name)
    plain = getattr(np, name, lambda x, **kw: np.log(np.sum(np.exp(x), **kw)))
    assert_allclose(function(x, axis=axis, keepdims=keepdims), plain(x, axis=axis, keepdims=keepdims), rtol=1e-12)
    if name != "max":
        check_gradient(lambda x: function(x, axis=axis, keepdims=keepdims), x)


@some
@given(data=st.data(), shape=hnp.array_shapes(max_dims=3, max_side=4), seed=seeds)
def test_basic_indices(data: st.DataObject, shape: tuple[int, ...], seed: int) -> None:
    key = data.draw(hnp.basic_indices(shape, allow_newaxis=True))
    (x,) = random_arrays([shape], seed)
    assert_array_equal(ops.getitem(x, key), x[key])
    check_gradient(lambda x: ops.getitem(x, key), x)


@some
@given(data=st.data(), shape=hnp.array_shapes(max_dims=3, max_side=4), seed=seeds)
def test_taking_with_repeats(data: st.DataObject, shape: tuple[int, ...], seed: int) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    ids = np.array(data.draw(st.lists(st.integers(0, shape[axis] - 1), max_size=6)), int)
    (x,) = random_arrays([shape], seed)
    assert_array_equal(ops.take(x, ids, axis=axis), np.take(x, ids, axis))
    check_gradient(lambda x: ops.take(x, ids, axis=axis), x)


@some
@given(data=st.data(), shape=hnp.array_shapes(max_dims=4, max_side=3), seed=seeds)
def test_rearranging(data: st.DataObject, shape: tuple[int, ...], seed: int) -> None:
    """Transposing, splitting and joining, stacking and unstacking give every element its own gradient back."""
    (x,) = random_arrays([shape], seed)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    order = tuple(data.draw(st.permutations(range(len(shape)))))
    cut = data.draw(st.integers(0, shape[axis]))

    def there_and_back(x: Any) -> Any:
        x = ops.concatenate(ops.split(x, (cut, shape[axis] - cut), axis=axis), axis=axis)
        x = ops.stack(ops.unstack(x, axis=axis), axis=axis)
        x = ops.transpose(ops.transpose(x, order), tuple(np.argsort(order)))
        return ops.reshape(ops.reshape(x, (-1,)), shape)

    seed_array = random_arrays([shape], seed + 1)[0]
    value, (gradient,) = value_and_gradients(there_and_back, [x], seed_array)
    assert_array_equal(value, x)
    assert_array_equal(gradient, seed_array)


# --- repeated ids ---


def test_an_empty_axis_falls_into_nothing() -> None:
    """No pieces: nothing is recorded, and nothing recorded later is taken for one of them."""
    for cut in (lambda x: ops.unstack(x), lambda x: ops.split(x, 0, axis=0), lambda x: ops.split(x, (), axis=0)):
        with Tape() as tape:
            x, w = tape.watch([np.zeros((0, 2)), np.ones(3)])
            assert cut(x) == ()
            y = ops.sum(w)
        g_x, g_w = tape.gradient(y, [x, w])
        assert g_x.shape == (0, 2)
        assert_array_equal(g_w, np.ones(3))
        assert tape.stats().operations == 1


def test_repeated_ids_add_up() -> None:
    ids = np.array([1, 1, 1, 0])
    _, (g,) = value_and_gradients(lambda E: ops.embedding(E, ids), [np.ones((3, 2))], np.ones((4, 2)))
    assert_array_equal(g, [[1, 1], [3, 3], [0, 0]])
    _, (g,) = value_and_gradients(lambda x: ops.take(x, ids, axis=1), [np.ones((2, 3))], np.ones((2, 4)))
    assert_array_equal(g, [[1, 3, 0], [1, 3, 0]])
    value, (g, g_v) = value_and_gradients(
        lambda x, v: ops.scatter_add(x, ids, v), [np.ones(3), np.array([1.0, 2, 3, 4])], np.array([5.0, 6, 7])
    )
    assert_array_equal(value, [5, 7, 1])
    assert_array_equal(g, [5, 6, 7])
    assert_array_equal(g_v, [6, 6, 6, 5])


# --- far out ---


FAR = np.array([-1e4, -800.0, -40.0, -1e-300, 0.0, 1e-300, 40.0, 800.0, 1e4])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sigmoid_and_tanh_saturate_without_overflow(dtype: str) -> None:
    x = FAR.astype(dtype)
    for function, ends in ((ops.sigmoid, (0, 1)), (ops.tanh, (-1, 1))):
        value, (g,) = value_and_gradients(function, [x], np.ones_like(x))
        assert_array_equal(value[[0, -1]], ends)
        assert np.all(np.diff(value) >= 0)
        assert_array_equal(g[[0, -1]], 0)
        assert np.all(np.isfinite(g))
        assert np.all(g >= 0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_losses_of_large_logits_are_finite(dtype: str) -> None:
    z = np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4], [3e38, 0.0, 1.0]], dtype)
    value, (g,) = value_and_gradients(ops.logsumexp, [z], None)
    assert_allclose(value, z.max(), rtol=1e-6)
    assert_array_equal(g, [[0, 0, 0], [0, 0, 0], [1, 0, 0]])
    value, (g,) = value_and_gradients(lambda z: ops.logsumexp(z, axis=-1), [z], np.ones(3, dtype))
    assert_allclose(value, np.array([1e4, -1e4 + np.log(3), 3e38], dtype), rtol=1e-6)
    assert_allclose(g, [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3], [1, 0, 0]], rtol=1e-6)
    y = np.array([1, 0, 0])
    value, (g,) = value_and_gradients(lambda z: ops.cross_entropy(z, y), [z])
    assert_allclose(value, (2e4 + np.log(3)) / 3, rtol=1e-6)
    assert_allclose(g, np.array([[1, -1, 0], [1 / 3 - 1, 1 / 3, 1 / 3], [0, 0, 0]]) / 3, rtol=1e-6)
    value, (g,) = value_and_gradients(ops.log_softmax, [z], np.ones((3, 3), dtype))
    assert np.all(np.isfinite(value))
    assert_allclose(g, [[-2, 1, 1], [0, 0, 0], [-2, 1, 1]], atol=1e-6)
    value, (g,) = value_and_gradients(ops.softmax, [z], z / np.array(3e38, dtype))
    assert_allclose(value, [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3], [1, 0, 0]], rtol=1e-6)
    assert_allclose(g, np.zeros((3, 3)), atol=1e-6)


def test_a_class_may_be_impossible() -> None:
    """A logit of -inf: probability zero, and finite losses and gradients for the other classes."""
    z = np.array([[0.0, -np.inf, np.log(3.0)], [-np.inf, 5.0, -np.inf]])
    y = np.array([2, 1])
    value, (g,) = value_and_gradients(lambda z: ops.cross_entropy(z, y), [z])
    assert_allclose(value, -np.log(0.75) / 2)
    assert_allclose(g, np.array([[0.25, 0, -0.25], [0, 0, 0]]) / 2, atol=1e-16)
    value, (g,) = value_and_gradients(ops.softmax, [z], np.ones((2, 3)))
    assert_allclose(value, [[0.25, 0, 0.75], [0, 1, 0]])
    assert_array_equal(g, np.zeros((2, 3)))
    value, (g,) = value_and_gradients(ops.log_softmax, [z], np.array([[1.0, 0, 0], [0, 1, 0]]))
    assert_allclose(value, [[np.log(0.25), -np.inf, np.log(0.75)], [-np.inf, 0, -np.inf]])
    assert_allclose(g, [[0.75, 0, -0.75], [0, 0, 0]])
    value, (g,) = value_and_gradients(lambda z: ops.logsumexp(z, axis=1), [z], np.ones(2))
    assert_allclose(value, [np.log(4), 5])
    assert_allclose(g, [[0.25, 0, 0.75], [0, 1, 0]])


def test_logsumexp_of_nothing_possible() -> None:
    z = np.full((2, 3), -np.inf)
    assert_array_equal(ops.logsumexp(z, axis=-1), [-np.inf, -np.inf])
    assert ops.logsumexp(z) == -np.inf


def test_the_wrong_class_may_be_chosen_with_certainty() -> None:
    """An infinite loss stays infinite: nothing hides it."""
    value = ops.cross_entropy(np.array([[0.0, -np.inf]]), np.array([1]))
    assert value == np.inf


@pytest.mark.parametrize("power", [0, 1, 2, 3])
def test_powers_at_zero(power: int) -> None:
    value, (g,) = value_and_gradients(lambda x: ops.power(x, power), [np.zeros(2)], np.ones(2))
    assert_array_equal(value, 0.0**power)
    assert_array_equal(g, 1.0 if power == 1 else 0.0)


def test_kinks_have_the_stated_gradients() -> None:
    x = np.array([-1.0, 0.0, 2.0])
    one = np.ones(3)
    assert_array_equal(value_and_gradients(ops.relu, [x], one)[1][0], [0, 0, 1])
    assert_array_equal(value_and_gradients(ops.abs, [x], one)[1][0], [-1, 0, 1])
    assert_array_equal(value_and_gradients(lambda x: ops.clip(x, 0.0, 2.0), [x], one)[1][0], [0, 1, 1])
    for function in (ops.maximum, ops.minimum):  # ties share
        assert_array_equal(value_and_gradients(function, [x, x.copy()], one)[1], [one / 2, one / 2])
    assert_array_equal(value_and_gradients(ops.max, [np.array([1.0, 3.0, 3.0])])[1][0], [0, 0.5, 0.5])


def test_nan_is_not_hidden() -> None:
    x = np.array([np.nan, -1.0, 1.0])
    value, (g,) = value_and_gradients(ops.relu, [x], np.ones(3))
    assert_array_equal(value, [np.nan, 0, 1])
    assert_array_equal(g, [np.nan, 0, 1])
    for function in (ops.tanh, ops.sigmoid, ops.exp, ops.abs):
        value, (g,) = value_and_gradients(function, [x], np.ones(3))
        assert_array_equal(np.isnan(value), [True, False, False])
        assert_array_equal(np.isnan(g), [True, False, False])
    for function in (ops.maximum, ops.minimum):
        assert np.isnan(function(x, np.zeros(3))[0])
    assert np.isnan(ops.max(x))
    assert np.isnan(ops.cross_entropy(x[None], np.array([2])))


def test_where_keeps_the_other_branch_out() -> None:
    """No gradient reaches the branch not taken, not even NaN; a branch made safe beforehand gives finite gradients."""
    x = np.array([-1.0, 0.0, 4.0])
    y = np.array([np.nan, np.inf, 1.0])
    value, gradients = value_and_gradients(lambda x, y: ops.where(x.value < 1, x, y), [x, y], np.ones(3))
    assert_array_equal(value, [-1, 0, 1])
    assert_array_equal(gradients, [[1, 1, 0], [0, 0, 1]])

    def safe_root(x: Any) -> Any:
        positive = x > 0
        return ops.where(positive, ops.sqrt(ops.where(positive, x, 1.0)), 0.0)

    value, (g,) = value_and_gradients(safe_root, [x], np.ones(3))
    assert_array_equal(value, [0, 0, 2])
    assert_array_equal(g, [0, 0, 0.25])


def test_no_steps() -> None:
    """A sequence of length zero goes through everything that sequences go through."""
    x = np.zeros((0, 2, 3), "float32")

    def loss(x: Any, W: Any, h: Any) -> Any:
        h = ops.broadcast_to(h, (0, 2, 3))
        assert ops.unstack(x) == ()
        return ops.sum(ops.tanh(x @ W + h), axis=0)

    value, gradients = value_and_gradients(
        loss, [x, np.ones((3, 3), "float32"), np.ones((2, 3), "float32")], np.ones((2, 3), "float32")
    )
    assert_array_equal(value, np.zeros((2, 3)))
    assert [g.shape for g in gradients] == [(0, 2, 3), (3, 3), (2, 3)]
    assert all(g.dtype == "float32" and not g.any() for g in gradients)


# --- operators ---


def test_operators_are_the_operations() -> None:
    a, b, W = random_arrays([(2, 3), (2, 3), (3, 3)], low=0.5)

    def by_operators(a: Any, b: Any, W: Any) -> Any:
        y = (2.0 + a) * 3 - b / 2 + (1 - a) / b
        y = (y @ W.T) ** 2 - (-a) + abs(b) * np.full(3, 0.5)
        first, second = np.ones((2, 2)) @ y
        return 1 / first + second[::-1] * y[0, 1]

    def by_names(a: Any, b: Any, W: Any) -> Any:
        y = ops.subtract(ops.multiply(ops.add(2.0, a), 3), ops.divide(b, 2))
        y = ops.add(y, ops.divide(ops.subtract(1, a), b))
        y = ops.subtract(ops.power(ops.matmul(y, ops.transpose(W)), 2), ops.negative(a))
        y = ops.add(y, ops.multiply(ops.abs(b), np.full(3, 0.5)))
        first, second = ops.unstack(ops.matmul(np.ones((2, 2)), y))
        return ops.add(
            ops.divide(1, first), ops.multiply(ops.getitem(second, slice(None, None, -1)), ops.getitem(y, (0, 1)))
        )

    left = value_and_gradients(by_operators, [a, b, W], np.ones(3))
    right = value_and_gradients(by_names, [a, b, W], np.ones(3))
    assert_array_equal(left[0], right[0])
    for found, expected in zip(left[1], right[1], strict=True):
        assert_array_equal(found, expected)


def test_comparisons_answer_with_arrays() -> None:
    x = np.array([1.0, 2.0, 3.0])
    with Tape() as tape:
        w = tape.watch(x)
        assert_array_equal(w < 2, [True, False, False])
        assert_array_equal(w <= w, [True, True, True])
        assert_array_equal(w > 2.0, [False, False, True])
        assert_array_equal(w >= np.array([2.0, 2.0, 2.0]), [False, True, True])
        assert ops.sum(w) > 5
        assert not ops.sum(w) > 6


def test_value_cuts_the_gradient() -> None:
    value, (g,) = value_and_gradients(lambda x: ops.value(x) * x, [np.array([2.0, 3.0])], np.ones(2))
    assert_array_equal(value, [4, 9])
    assert_array_equal(g, [2, 3])
    assert ops.value(value) is value


def test_a_known_transition_is_not_computed_again() -> None:
    x, h, target = TRANSITIONS
    weights = random_arrays([(3, 2), (2, 2), (2,)])
    y = np.tanh(x @ weights[0] + h @ weights[1] + weights[2])
    loss, expected = value_and_gradients(lambda *w: srn_local_loss("tanh")(*w, *TRANSITIONS), weights)
    for known in (y, y + 1):  # which is not checked
        found, gradients = value_and_gradients(
            lambda *w, known=known: ops.srn_local_loss(*w, *TRANSITIONS, activation="tanh", known=known), weights
        )
        assert_allclose(found, np.sum((known - target) ** 2), rtol=1e-13)
        d = 2 * (known - target) * (1 - known**2)
        assert_allclose(gradients[0], np.einsum("tbi,tbj->ij", x, d), rtol=1e-12)
        if known is y:
            assert_allclose(found, loss, rtol=1e-13)
            for g, e in zip(gradients, expected, strict=True):
                assert_allclose(g, e, rtol=1e-12)


# --- what is refused ---


REFUSED: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "matmul of lengths that differ": (lambda x: ops.matmul(x, np.ones((2, 3))), ValueError, r"\(2, 3\).*3 != 2"),
    "split into unequal parts": (lambda x: ops.split(x, 2), ValueError, "length 3"),
    "split into no parts": (lambda x: ops.split(x, 0), ValueError, "length 3"),
    "split into a negative part": (lambda x: ops.split(x, (4, -1)), ValueError, "length 3"),
    "squared_error with broadcasting": (lambda x: ops.squared_error(x, np.ones(3)), ValueError, "differ"),
    "mse with broadcasting": (lambda x: ops.mse(x, np.ones(3)), ValueError, "differ"),
    "cross_entropy with broadcasting": (lambda x: ops.cross_entropy(x, np.array(1)), ValueError, "do not fit"),
    "einsum without an answer": (lambda x: ops.einsum("ij", x), ValueError, "must read like"),
    "einsum of a diagonal": (lambda x: ops.einsum("ii->i", x), ValueError, "at most once"),
    "einsum of another number of arrays": (lambda x: ops.einsum("ij,jk->ik", x), ValueError, "must read like"),
    "einsum of another number of axes": (lambda x: ops.einsum("i->i", x), ValueError, "does not fit"),
    "einsum of an unknown index": (lambda x: ops.einsum("ij->ik", x), ValueError, "does not fit"),
    "einsum of two lengths": (lambda x: ops.einsum("ij,jk->ik", x, np.ones((1, 2))), ValueError, "two lengths"),
    "an array of indices": (lambda x: x[np.array([0, 0])], TypeError, r"ops\.take"),
    "a list of indices": (lambda x: x[[0, 0]], TypeError, r"ops\.take"),
    "a mask as an index": (lambda x: x[x.value > 0], TypeError, r"ops\.take"),
    "take of a table of ids": (lambda x: ops.take(x, np.array([[0, 1]])), ValueError, r"ops\.embedding"),
    "linear_cross_entropy with broadcasting": (
        lambda x: ops.linear_cross_entropy(x, np.ones((3, 2)), np.ones(2), np.array(1)),
        ValueError,
        "do not fit",
    ),
    "an id that does not exist": (lambda x: ops.take(x, np.array([2])), IndexError, "row id 2 is out of bounds: .* 2"),
    "a negative id": (lambda x: ops.take(x, np.array([0, -1])), IndexError, "row id -1 is out of bounds"),
    "a row that does not exist": (lambda x: ops.embedding(x, np.array([[0, 2]])), IndexError, "id 2 is out of bounds"),
    "a negative row": (lambda x: ops.embedding(x, np.array([[0, -2]])), IndexError, "row id -2 is out of bounds"),
    "adding to no row": (lambda x: ops.scatter_add(x, np.array([-1]), x[:1]), IndexError, "id -1 is out of bounds"),
    "ids that are no integers": (lambda x: ops.embedding(x, np.array([0.0])), ValueError, "integers, got float64"),
    "a class that does not exist": (lambda x: ops.cross_entropy(x, np.array([0, 3])), IndexError, "out of bounds"),
    "a negative class": (lambda x: ops.cross_entropy(x, np.array([0, -1])), IndexError, "class id -1 is out of bounds"),
    "an array by name": (lambda x: ops.add(x, y=x), TypeError, "positional"),
    "a variable exponent": (lambda x: 2**x, TypeError, "unsupported operand"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_is_refused(what: str) -> None:
    function, error, words = REFUSED[what]
    with Tape() as tape:
        x = tape.watch(np.ones((2, 3)))
        with pytest.raises(error, match=words):
            function(x)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, c: ops.dropout(x, c),
        lambda x, c: ops.power(x, ops.sum(c)),
        lambda x, c: ops.clip(x, ops.sum(c), 9.0),
        lambda x, c: ops.srn_local_loss(
            x, np.eye(3), np.zeros(3), np.ones((1, 2, 2)), c[None], c[None], activation="tanh"
        ),
    ],
    ids=["the mask of dropout", "the exponent of power", "the border of clip", "the states of a local loss"],
)
def test_constants_have_no_gradient(function: Callable[..., Any]) -> None:
    with Tape() as tape:
        x, c = tape.watch([np.ones((2, 3)), np.ones((2, 3))])
        y = function(x, c)
    seed = np.ones(y.shape)
    assert tape.gradient(y, x, seed=seed).shape == (2, 3)
    with pytest.raises(TypeError, match="is a constant and has no gradient"):
        tape.gradient(y, c, seed=seed)


def test_other_libraries_do_not_mix() -> None:
    x = np.ones((2, 3))
    for function in (ops.maximum, ops.squared_error):
        with pytest.raises(TypeError):
            function(x, strict(x))
    with pytest.raises(TypeError, match="do not mix"):
        ops.cross_entropy(strict(x), np.array([0, 1]))
