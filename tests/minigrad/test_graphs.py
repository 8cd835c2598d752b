"""Random graphs of operations, grown step by step, against an engine too simple to be wrong.

That engine goes forwards: with every value it carries the derivatives by all the values it was made from, whole
Jacobians, so it has no backward pass, nothing to accumulate, nothing to broadcast back, and no order to keep.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, multiple, rule, run_state_machine_as_test
from numpy.testing import assert_allclose

from minigrad import ops
from minigrad.tape import Tape, Tensor
from tests.minigrad.strategies import random_arrays, seeds

SHAPES = st.sampled_from([(), (1,), (2,), (3,), (1, 3), (2, 1), (2, 3), (3, 2), (2, 1, 3)])


@dataclass(eq=False)
class Node:
    """A tensor, and what the simple engine knows of it."""

    tensor: Tensor
    value: Any
    jacobians: dict[Node, Any]
    """By every node it depends on, itself included: d value / d node, [size of the node, *shape of the value]."""


def aligned(jacobian: Any, ndim: int) -> Any:
    """[n, *shape] with axes of length one after the first, so that the rest broadcasts as the values do."""
    return jacobian.reshape(jacobian.shape[0], *[1] * (ndim + 1 - jacobian.ndim), *jacobian.shape[1:])


def derived(tensor: Tensor, value: Any, *parts: tuple[Node, Callable[[Any], Any]]) -> Node:
    """A node whose derivative is a sum of linear functions of its arguments' derivatives."""
    node = Node(tensor, np.asarray(value), {})
    for argument, push in parts:
        for source, jacobian in argument.jacobians.items():
            pushed = np.broadcast_to(push(jacobian), (jacobian.shape[0], *node.value.shape))
            node.jacobians[source] = node.jacobians.get(source, 0.0) + pushed
    return itself(node)


def itself(node: Node) -> Node:
    """A node that depends on itself."""
    node.jacobians[node] = np.eye(node.value.size).reshape(node.value.size, *node.value.shape)
    return node


UNARY: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "tanh": (np.tanh, lambda x: 1 / np.cosh(x) ** 2),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), lambda x: np.exp(-x) / (1 + np.exp(-x)) ** 2),
    "negative": (lambda x: -x, lambda x: -np.ones_like(x)),
    "linear": (lambda x: x, np.ones_like),
    "relu": (lambda x: np.where(x > 0, x, 0), lambda x: np.where(x > 0, 1.0, 0)),
    "abs": (np.abs, np.sign),
}
BINARY: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any, Any], tuple[Any, Any]]]] = {
    "add": (lambda x, y: x + y, lambda x, y: (1.0, 1.0)),
    "subtract": (lambda x, y: x - y, lambda x, y: (1.0, -1.0)),
    "multiply": (lambda x, y: x * y, lambda x, y: (y, x)),
    "maximum": (
        np.maximum,
        lambda x, y: ((x > y) + 0.5 * (x == y), (x < y) + 0.5 * (x == y)),
    ),
}


class Graphs(RuleBasedStateMachine):
    """Grows a graph and asks for gradients in between."""

    nodes: Bundle[Node] = Bundle("nodes")

    def __init__(self) -> None:
        super().__init__()
        self.tape = Tape()
        self.tape.__enter__()

    def teardown(self) -> None:
        self.tape.__exit__(None, None, None)

    def leaf(self, shape: tuple[int, ...], seed: int) -> Node:
        (array,) = random_arrays([shape], seed)
        return itself(Node(self.tape.watch(array.copy()), array, {}))

    @initialize(target=nodes, shapes=st.tuples(SHAPES, SHAPES), seed=seeds)
    def start(self, shapes: tuple[tuple[int, ...], tuple[int, ...]], seed: int) -> Any:
        return multiple(*(self.leaf(shape, seed + i) for i, shape in enumerate(shapes)))

    @rule(target=nodes, shape=SHAPES, seed=seeds)
    def watch(self, shape: tuple[int, ...], seed: int) -> Node:
        return self.leaf(shape, seed)

    @rule(target=nodes, name=st.sampled_from(sorted(UNARY)), x=nodes)
    def unary(self, name: str, x: Node) -> Node:
        value, slope = UNARY[name]
        return derived(getattr(ops, name)(x.tensor), value(x.value), (x, lambda d: d * slope(x.value)))

    @rule(target=nodes, name=st.sampled_from(sorted(BINARY)), x=nodes, y=nodes)
    def binary(self, name: str, x: Node, y: Node) -> Node:
        """Where shapes do not broadcast, or numbers grow large, the second is summed or bent first."""
        if not _broadcast(x.value.shape, y.value.shape):
            y = self.reduce(y, None, False)
        if name == "multiply":
            x, y = (self.unary("tanh", n) if np.max(np.abs(n.value)) > 3 else n for n in (x, y))
        value, slopes = BINARY[name]
        z = np.asarray(value(x.value, y.value))
        to_x, to_y = slopes(x.value, y.value)
        return derived(
            getattr(ops, name)(x.tensor, y.tensor),
            z,
            (x, lambda d: aligned(d, z.ndim) * to_x),
            (y, lambda d: aligned(d, z.ndim) * to_y),
        )

    @rule(target=nodes, x=nodes, number=st.floats(-2, 2))
    def scale(self, x: Node, number: float) -> Node:
        return derived(1.0 - number * x.tensor, 1.0 - number * x.value, (x, lambda d: -number * d))

    @rule(target=nodes, x=nodes, axis=st.none() | st.integers(-1, 2), keepdims=st.booleans())
    def reduce(self, x: Node, axis: int | None, keepdims: bool) -> Node:
        n = x.value.ndim
        axis = None if axis is None or not n else min(axis, n - 1)
        after = tuple(range(1, n + 1)) if axis is None else axis % n + 1
        return derived(
            ops.mean(x.tensor, axis=axis, keepdims=keepdims),
            np.mean(x.value, axis=axis, keepdims=keepdims),
            (x, lambda d: np.mean(d, axis=after, keepdims=keepdims)),
        )

    @rule(target=nodes, x=nodes, y=nodes)
    def product(self, x: Node, y: Node) -> Node:
        """x @ y^T where the last axes agree, otherwise x times its own transpose."""
        x = self.flat(x)
        y = self.flat(y)
        y = y if y.value.shape[1] == x.value.shape[1] else x
        return derived(
            ops.tanh(x.tensor @ y.tensor.T),
            z := np.tanh(x.value @ y.value.T),
            (x, lambda d: (1 - z * z) * (d @ y.value.T)),
            (y, lambda d: (1 - z * z) * (x.value @ np.swapaxes(d, 1, 2))),
        )

    def flat(self, x: Node) -> Node:
        shape = (-1, x.value.shape[-1] if x.value.ndim else 1)
        return derived(
            ops.reshape(x.tensor, shape), x.value.reshape(shape), (x, lambda d: d.reshape(len(d), *_of(x, shape)))
        )

    @rule(target=nodes, x=nodes)
    def turn(self, x: Node) -> Node:
        axes = tuple(range(x.value.ndim))[::-1]
        return derived(x.tensor.T, x.value.T, (x, lambda d: np.transpose(d, (0, *(a + 1 for a in axes)))))

    @rule(target=nodes, x=nodes, start=st.integers(0, 2), step=st.sampled_from([1, 2, -1]))
    def cut(self, x: Node, start: int, step: int) -> Node:
        if not x.value.ndim:
            return self.unary("linear", x)
        start = min(start, x.value.shape[0] - 1)
        key = slice(start, None, step)
        return derived(x.tensor[key], x.value[key], (x, lambda d: d[:, key]))

    @rule(target=nodes, x=nodes, pick=st.integers(0, 2))
    def read(self, x: Node, pick: int) -> Node:
        if not x.value.ndim:
            return self.unary("linear", x)
        i = pick % x.value.shape[-1]
        return derived(x.tensor[..., i], x.value[..., i], (x, lambda d: d[..., i]))

    @rule(target=nodes, x=nodes, pick=st.integers(0, 2))
    def take_apart(self, x: Node, pick: int) -> Any:
        """All the pieces are nodes, and some of them will stay unused."""
        if not x.value.ndim:
            return self.unary("linear", x)
        return multiple(
            *(derived(part, x.value[i], (x, lambda d, i=i: d[:, i])) for i, part in enumerate(ops.unstack(x.tensor)))
        )

    @rule(target=nodes, x=nodes, y=nodes)
    def join(self, x: Node, y: Node) -> Node:
        x, y = self.flat(x), self.flat(y)
        y = y if y.value.shape[1] == x.value.shape[1] else x
        n, m = x.value.shape[0], y.value.shape[0]
        return derived(
            ops.concatenate([x.tensor, y.tensor]),
            np.concatenate([x.value, y.value]),
            (x, lambda d: np.pad(d, ((0, 0), (0, m), (0, 0)))),
            (y, lambda d: np.pad(d, ((0, 0), (n, 0), (0, 0)))),
        )

    @rule(target=nodes, x=nodes, ids=st.lists(st.integers(0, 2), min_size=1, max_size=4))
    def take(self, x: Node, ids: list[int]) -> Node:
        x = self.flat(x)
        rows = np.array(ids) % x.value.shape[0]
        return derived(ops.take(x.tensor, rows), x.value[rows], (x, lambda d: d[:, rows]))

    @rule(y=nodes, sources=st.lists(nodes, min_size=1, max_size=4), seed=seeds)
    def compare(self, y: Node, sources: list[Node], seed: int) -> None:
        """Values and gradients, for any target and any sources, made before or after it."""
        assert_allclose(y.tensor.value, y.value, rtol=1e-10, atol=1e-12)
        (g,) = random_arrays([y.value.shape], seed)
        for source, found in zip(
            sources, self.tape.gradient(y.tensor, [s.tensor for s in sources], seed=g), strict=True
        ):
            jacobian = y.jacobians.get(source)
            assert found.shape == source.value.shape
            expected = (
                np.zeros_like(source.value)
                if jacobian is None
                else (np.sum((jacobian * g).reshape(source.value.size, -1), axis=1).reshape(source.value.shape))
            )
            assert_allclose(
                found, expected, rtol=1e-9, atol=1e-9 * max(1.0, float(np.max(np.abs(expected), initial=0)))
            )


def _broadcast(*shapes: tuple[int, ...]) -> bool:
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        return False
    return True


def _of(x: Node, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape with its -1 worked out."""
    return tuple(x.value.reshape(shape).shape)


def test_random_graphs() -> None:
    run_state_machine_as_test(Graphs, settings=settings(max_examples=200, stateful_step_count=40, deadline=None))
