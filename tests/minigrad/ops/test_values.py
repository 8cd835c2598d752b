"""Every operation's value, against its definition in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from minigrad import ops
from tests.minigrad.ops.cases import (
    CASES,
    DROPPED,
    GRID,
    IDS,
    MASK,
    READOUT,
    TRANSITIONS,
    antisymmetric_unroll,
    srn_unroll,
)
from tests.minigrad.strategies import random_arrays


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
