"""The tape: what is recorded, what comes back, what it costs, and what is refused."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from minigrad import ops, tape
from minigrad.tape import Indexed, Operation, Stats, Tape, Tensor, operation, unbroadcast
from tests.minigrad.strategies import random_arrays, strict

X = np.array([1.0, 2.0, 3.0])


def fresh() -> Any:
    """An array of its own: watching makes arrays read-only."""
    return X.copy()


# --- structures ---


@pytest.mark.parametrize(
    "structure",
    [
        lambda a, b: a,
        lambda a, b: [a, b],
        lambda a, b: (a, b),
        lambda a, b: {"a": a, "b": b},
        lambda a, b: {"layers": [{"W": a}, (b, [a])], "none": {}, "empty": ()},
    ],
    ids=["array", "list", "tuple", "dict", "nested"],
)
def test_gradients_have_the_structure_of_the_sources(structure: Callable[[Any, Any], Any]) -> None:
    arrays = structure(fresh(), fresh())
    with Tape() as t:
        watched = t.watch(arrays)
        total = ops.sum(np.zeros(1))
        for tensor in leaves(watched):
            total = total + ops.sum(tensor * tensor)
    found = t.gradient(total, watched)
    assert shape_of(found) == shape_of(arrays)
    for tensor, g in zip(leaves(watched), leaves(found), strict=True):
        assert type(tensor) is Tensor
        assert_array_equal(g, 2 * X)


def leaves(tree: Any) -> list[Any]:
    """The leaves from left to right."""
    if isinstance(tree, dict | list | tuple):
        return [leaf for part in (tree.values() if isinstance(tree, dict) else tree) for leaf in leaves(part)]
    return [tree]


def shape_of(tree: Any) -> Any:
    """The structure without its leaves."""
    if isinstance(tree, dict):
        return {name: shape_of(part) for name, part in tree.items()}
    return type(tree)(shape_of(part) for part in tree) if isinstance(tree, list | tuple) else "leaf"


def test_one_array_watched_twice_is_two_sources() -> None:
    x = fresh()
    with Tape() as t:
        a, b = t.watch([x, x])
        y = ops.sum(a * a * b)
    assert_array_equal(t.gradient(y, [a, b]), [2 * X * X, X * X])


def test_a_tensor_can_be_watched_again() -> None:
    """Watching a tensor starts anew from its value: nothing flows through."""
    with Tape() as t:
        x = t.watch(fresh())
        again = t.watch(x * 2)
        y = ops.sum(again * again)
    assert_array_equal(t.gradient(y, again), 4 * X)
    assert_array_equal(t.gradient(y, x), np.zeros(3))


# --- sources and targets ---


def test_intermediate_tensors_are_sources_too() -> None:
    with Tape() as t:
        x = t.watch(fresh())
        y = x * x
        z = y * y
        s = ops.sum(z)
    assert_array_equal(t.gradient(s, z), np.ones(3))
    assert_array_equal(t.gradient(s, y), 2 * X**2)
    assert_array_equal(t.gradient(s, x), 4 * X**3)
    together = t.gradient(s, {"x": x, "y": y, "z": z, "s": s})
    assert_array_equal(together["x"], 4 * X**3)
    assert_array_equal(together["y"], 2 * X**2)
    assert_array_equal(together["z"], np.ones(3))
    assert together["s"] == 1


def test_one_of_several_results_is_a_source() -> None:
    with Tape() as t:
        x = t.watch(fresh())
        a, b, c = ops.unstack(x)
        y = a * b * b
    g_a, g_b, g_c, g_x = t.gradient(y, [a, b, c, x])
    assert (g_a, g_b, g_c) == (4, 4, 0)
    assert_array_equal(g_x, [4, 4, 0])


def test_one_of_several_results_is_the_target() -> None:
    with Tape() as t:
        x = t.watch(fresh())
        parts = ops.unstack(x * x)
    for i in range(3):
        assert_array_equal(t.gradient(parts[i], x), 2 * X * (np.arange(3) == i))
        assert [float(g) for g in t.gradient(parts[i], list(parts))] == [float(i == j) for j in range(3)]


def test_a_single_result_of_a_splitting_operation() -> None:
    """Cutting into one piece is cutting all the same."""
    for cut in (lambda x: ops.unstack(x), lambda x: ops.split(x, 1, axis=0)):
        with Tape() as t:
            x = t.watch(np.array([[1.0, 2.0]]))
            (y,) = cut(x)
        assert t.gradient(y, x, seed=np.ones(y.shape)).shape == (1, 2)
        assert_array_equal(t.gradient(y, x, seed=np.full(y.shape, 3.0)), [[3, 3]])


def test_a_source_beside_the_target() -> None:
    """Results of one operation do not lead to each other, whichever of them is asked for."""
    with Tape() as t:
        x = t.watch(fresh())
        a, b, c = ops.unstack(x)
        y = b * b
    assert t.gradient(b, [a, b, c]) == [0, 1, 0]
    assert t.gradient(y, [c, b, a, y]) == [0, 4, 0, 1]


def test_the_target_may_be_watched_itself() -> None:
    with Tape() as t:
        x = t.watch(np.array(2.0))
    assert t.gradient(x, x) == 1


def test_what_leads_nowhere_has_zero_gradient() -> None:
    with Tape() as t:
        x, other, later = t.watch([fresh(), np.ones((2, 2), "float32"), fresh()])
        y = ops.sum(x)
        after = ops.sum(y * later)  # made after the target: no part of its past
        beside = ops.exp(other)
    found = t.gradient(y, [x, other, later, after, beside])
    assert_array_equal(found[0], np.ones(3))
    assert_array_equal(found[1], np.zeros((2, 2), "float32"), strict=True)
    assert_array_equal(found[2], np.zeros(3))
    assert found[3] == 0
    assert_array_equal(found[4], np.zeros((2, 2), "float32"), strict=True)


def test_gradients_can_be_asked_for_again_and_again() -> None:
    with Tape() as t:
        x = t.watch(fresh())
        y = ops.sum(ops.exp(x) * x)
        z = ops.sum(x * x)
        inside = t.gradient(z, x)
    first = t.gradient(y, x)
    assert_array_equal(t.gradient(z, x), 2 * X)
    assert_array_equal(inside, 2 * X)
    assert_array_equal(t.gradient(y, x), first)
    assert_array_equal(t.gradient(y, [x])[0], first)


def test_recording_can_go_on_after_a_gradient() -> None:
    """A loss of a gradient of a loss is not differentiated through: gradients are constants."""
    with Tape() as t:
        x = t.watch(fresh())
        y = ops.sum(x * x)
        g = t.gradient(y, x)
        assert type(g) is np.ndarray
        z = ops.sum(g * x)
    assert_array_equal(t.gradient(z, x), 2 * X)
    with t:
        z = z * 3
    assert_array_equal(t.gradient(z, x), 6 * X)


def test_seeds() -> None:
    with Tape() as t:
        x = t.watch(fresh())
        y = x * x
        one = ops.reshape(ops.sum(y), (1, 1))
    assert_array_equal(t.gradient(y, x, seed=np.array([1.0, 0.0, -1.0])), [2, 0, -6])
    assert_array_equal(t.gradient(one, x), 2 * X)
    assert_array_equal(t.gradient(one, x, seed=np.full((1, 1), 0.5)), X)


@pytest.mark.parametrize(
    ("seed", "error", "words"),
    [
        (None, ValueError, r"shape \(3,\): give a seed"),
        (np.ones(2), ValueError, r"shape \(2,\).*float64.*the target \(3,\)"),
        (np.ones((3, 1)), ValueError, "the seed has shape"),
        (np.ones(3, "float32"), ValueError, "dtype float32, the target .* float64"),
        (1.0, ValueError, r"the seed has shape \(\) and dtype float,"),
        ([1.0, 1.0, 1.0], TypeError, "expected an array or a number, got list"),
        (strict(np.ones(3)), TypeError, "numpy and of array_api_strict do not mix"),
    ],
    ids=["none", "shape", "axes", "dtype", "number", "list", "library"],
)
def test_seeds_that_do_not_fit(seed: Any, error: type[Exception], words: str) -> None:
    with Tape() as t:
        x = t.watch(fresh())
        y = x * x
    with pytest.raises(error, match=words):
        t.gradient(y, x, seed=seed)


def test_a_tensor_is_no_seed() -> None:
    with Tape() as t:
        x = t.watch(fresh())
        y = x * x
    with pytest.raises(TypeError, match="got Tensor"):
        t.gradient(y, x, seed=y)


def test_only_tensors_of_this_tape_have_gradients() -> None:
    with Tape() as other:
        foreign = other.watch(fresh())
    with Tape() as t:
        x = t.watch(fresh())
        y = ops.sum(x)
    with pytest.raises(TypeError, match=r"got ndarray; use tape\.watch first"):
        t.gradient(y, [x, X])
    with pytest.raises(TypeError, match="got NoneType"):
        t.gradient(y, {"x": x, "y": None})
    with pytest.raises(TypeError, match="got float64"):
        t.gradient(ops.sum(X), x)
    with pytest.raises(TypeError, match="another tape"):
        t.gradient(y, foreign)
    with pytest.raises(TypeError, match="another tape"):
        other.gradient(y, foreign)


@pytest.mark.parametrize(
    "array", [np.arange(3), np.array([True]), 1.5, "words", None], ids=["integers", "booleans", "number", "str", "None"]
)
def test_only_floats_are_watched(array: Any) -> None:
    with Tape() as t, pytest.raises(TypeError):
        t.watch({"x": array})


def test_watching_is_for_open_tapes() -> None:
    t = Tape()
    with pytest.raises(TypeError, match="inside its `with` block"):
        t.watch(fresh())
    with t:
        t.watch(fresh())
    with pytest.raises(TypeError, match="inside its `with` block"):
        t.watch(fresh())


def test_a_tape_closes_when_something_fails() -> None:
    def fail() -> None:
        with t:
            tensors.append(t.watch(fresh()))
            raise ZeroDivisionError

    t, tensors = Tape(), []
    with pytest.raises(ZeroDivisionError):
        fail()
    assert type(tensors[0] * 2) is np.ndarray


# --- constants ---


def test_a_tensor_of_a_closed_tape_is_a_constant() -> None:
    with Tape() as first:
        x = first.watch(fresh())
        y = x * x
    assert type(y + 1) is np.ndarray
    assert type(ops.sum(y)) is np.float64
    with Tape() as second:
        w = second.watch(fresh())
        z = ops.sum(w * y)
    assert_array_equal(second.gradient(z, w), X**2)
    assert_array_equal(first.gradient(y, x, seed=np.ones(3)), 2 * X)
    assert first.stats().operations == 1


def test_arrays_alone_are_not_recorded() -> None:
    with Tape() as t:
        t.watch(fresh())
        assert type(ops.tanh(X)) is np.ndarray
        assert t.stats() == Stats()


def test_two_open_tapes_do_not_mix() -> None:
    with Tape() as outer:
        x = outer.watch(fresh())
        with Tape() as inner:
            w = inner.watch(fresh())
            with pytest.raises(TypeError, match=r"multiply: tensors of two open tapes do not mix; use \.value"):
                w * x
            y = ops.sum(w * x.value)
        z = ops.sum(x * w)
    assert_array_equal(inner.gradient(y, w), X)
    assert_array_equal(outer.gradient(z, x), X)


# --- writing in place ---


def test_recorded_arrays_cannot_be_written_to() -> None:
    array, constant, seed = fresh(), fresh(), np.ones(3)
    with Tape() as t:
        x = t.watch(array)
        y = ops.tanh(x * constant)
    g = t.gradient(y, x, seed=seed)
    for frozen in (array, constant, y.value, g, seed):
        with pytest.raises(ValueError, match="read-only"):
            frozen[0] = 5.0
        with pytest.raises(ValueError, match="read-only"):
            frozen *= 2


def test_tensors_cannot_be_written_to() -> None:
    with Tape() as t:
        x = t.watch(fresh())
        with pytest.raises(TypeError, match=r"cannot be written in place: .*ops\.where"):
            x[0] = 1.0
        before = x
        x += 1  # a new tensor under the old name
        assert x is not before
        assert_array_equal(before.value, X)
        with pytest.raises(AttributeError):
            x.data = fresh()


def test_zero_gradients_are_read_only_too() -> None:
    with Tape() as t:
        x, w = t.watch([fresh(), fresh()])
        y = ops.sum(x)
    with pytest.raises(ValueError, match="read-only"):
        t.gradient(y, w)[0] = 1


REFUSING: dict[str, Callable[[Any], Any]] = {
    "tanh": np.tanh,
    "sum": np.sum,
    "asarray": np.asarray,
    "float64": np.float64,
    "add": lambda x: np.add(X, x),
    "concatenate": lambda x: np.concatenate([x, x]),
    "stack": lambda x: np.stack([X, x]),
    "dot": lambda x: np.dot(X, x),
    "method": lambda x: X.dot(x),
    "where": lambda x: np.where(X > 1, x, 0.0),
    "out": lambda x: np.add(X, 1.0, out=x),
    "setitem": lambda x: np.zeros(3).__setitem__(slice(None), x),
    "fill": lambda x: np.zeros(3).fill(x),
}


@pytest.mark.parametrize("name", REFUSING)
def test_functions_of_numpy_refuse_tensors(name: str) -> None:
    """A gradient is never lost silently."""
    with Tape() as t:
        x = t.watch(fresh())
        with pytest.raises((TypeError, ValueError)):
            REFUSING[name](x)


def test_a_tensor_says_what_it_is() -> None:
    with Tape() as t:
        x = t.watch(np.ones((2, 3), "float32"))
        s = ops.sum(x)
    assert (x.shape, x.ndim, x.dtype, x.device, len(x)) == ((2, 3), 2, np.dtype("float32"), "cpu", 2)
    assert float(s) == 6
    assert bool(s > 5)
    assert bool(s)
    with pytest.raises(ValueError, match="ambiguous"):
        bool(x)
    assert repr(x).startswith("Tensor(shape=(2, 3), dtype=float32, value=array")
    assert repr(ops.tanh) == "<operation tanh>"
    assert ops.tanh.__doc__ == "Hyperbolic tangent."


# --- graphs of awkward shapes ---


def test_depth_has_no_limit() -> None:
    depth = 20_000
    with Tape() as t:
        x = y = t.watch(np.array(1.0))
        for _ in range(depth):
            y = y + 1.0
    assert y.value == depth + 1
    assert t.gradient(y, x) == 1
    del t, x, y  # letting go of it must not recurse either


def test_a_node_counts_once_per_use() -> None:
    with Tape() as t:
        a = t.watch(np.array(3.0))
        b = a + a  # both arguments are one node
        c = b * b * b
        d = c + b + a
    assert t.gradient(d, a) == 3 * b.value**2 * 2 + 2 + 1
    assert t.gradient(c, b) == 3 * b.value**2
    with Tape() as t:
        a, b = t.watch([np.array(-2.0), np.array(3.0)])
        d = a * b
        e = a + b
        f = d * e
    assert t.gradient(f, [a, b]) == [-3, -8]


def test_a_ladder_of_shared_nodes_is_walked_once() -> None:
    """2^60 paths lead down, 60 operations are walked."""
    calls = []

    @operation
    def double(x: Any, y: Any, /) -> tape.Forward:
        return x + y, ()

    @double.vjp
    def _(g: Any, needs: Any) -> Any:
        calls.append(1)
        return g, g

    with Tape() as t:
        x = y = t.watch(np.array(1.0))
        for _ in range(60):
            y = double(y, y)
    assert t.gradient(y, x) == 2.0**60
    assert len(calls) == 60


def test_only_what_lies_between_is_walked() -> None:
    called = []

    @operation
    def watched(x: Any, /, name: str) -> tape.Forward:
        return x * 1, (name,)

    @watched.vjp
    def _(g: Any, needs: Any, name: str) -> Any:
        called.append(name)
        return (g,)

    with Tape() as t:
        x, w = t.watch([np.array(1.0), np.array(1.0)])
        before = watched(x, name="before")
        y = watched(before, name="between") * watched(w, name="beside")
        watched(y, name="after")
    t.gradient(y, before)
    assert called == ["between"]


def test_what_is_kept_is_not_shared_between_gradients() -> None:
    """Sums of gradients go into buffers of their own: neither the seed nor another gradient is changed."""
    seed = np.ones(3)
    with Tape() as t:
        x = t.watch(fresh())
        y = x + 0.0
        z = y + y + y + x  # seed, y's and x's gradients begin as one array
    g_z, g_y, g_x = t.gradient(z, [z, y, x], seed=seed)
    assert_array_equal(seed, np.ones(3))
    assert_array_equal(g_z, np.ones(3))
    assert_array_equal(g_y, np.full(3, 3.0))
    assert_array_equal(g_x, np.full(3, 4.0))
    with Tape() as t:
        x = t.watch(fresh())
        y = x * 1.0
        z = ops.concatenate([y, y[1:], y[:2], y])
    g_y, g_x = t.gradient(z, [y, x], seed=np.arange(10.0))
    assert_array_equal(g_y, [0 + 5 + 7, 1 + 3 + 6 + 8, 2 + 4 + 9])
    assert_array_equal(g_x, g_y)
    seed = np.ones(3)
    with Tape() as t:
        x = t.watch(fresh())
        part = x[1:]
        z = x + ops.concatenate([part, part[:1]])  # a slice falls into what is the seed so far
    g_x, g_z = t.gradient(z, [x, z], seed=seed)
    assert_array_equal(g_x, [1, 3, 2])
    assert_array_equal(g_z, np.ones(3))
    assert_array_equal(seed, np.ones(3))


def test_sums_of_gradients_allocate_once() -> None:
    """A node used n times: the first gradient is taken as it is, the second allocates, the rest is added in place."""
    calls = []

    class Counting(np.ndarray):
        """An array that tells how it is added to."""

        def __add__(self, other: Any) -> Any:
            calls.append("new")
            return super().__add__(other)

        def __iadd__(self, other: Any) -> Any:
            calls.append("in place")
            return super().__iadd__(other)

    with Tape() as t:
        x = t.watch(fresh())
        y = ops.concatenate([x] * 5)
    assert_array_equal(t.gradient(y, x, seed=np.ones(15).view(Counting)), np.full(3, 5.0))
    assert calls == ["new", "in place", "in place", "in place"]


# --- what it costs ---


@pytest.fixture
def arrays_made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of all the arrays of zeros, and of all the copies, that are made."""
    made: list[int] = []

    def counting(make: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            array = make(*args, **kwargs)
            made.append(array.size)
            return array

        return counted

    for name in ("zeros", "zeros_like", "asarray"):
        monkeypatch.setattr(np, name, counting(getattr(np, name)))
    return made


@pytest.mark.parametrize("T", [10, 100])
def test_slices_in_a_loop_cost_one_array(T: int, arrays_made: list[int]) -> None:
    """T slices of a [T, 4] tensor: their gradients fall into one array, not into T of its size."""
    (array,) = random_arrays([(T, 4)])
    with Tape() as t:
        x = t.watch(array)
        h: Any = np.ones(4)
        for i in range(T):
            h = ops.tanh(h * x[i])
        y = ops.sum(h)
    kept = t.stats().bytes_kept
    arrays_made.clear()
    g = t.gradient(y, x)
    assert arrays_made == [T * 4]
    assert kept <= 3 * T * 4 * 8  # h, x_t and tanh of each step
    with Tape() as t:
        x = t.watch(array)
        h = np.ones(4)
        for x_i in ops.unstack(x):
            h = ops.tanh(h * x_i)
        y = ops.sum(h)
    arrays_made.clear()
    assert_array_equal(t.gradient(y, x), g)
    assert sum(arrays_made) <= 4  # the slice of zeros that would stand in for an unused one


def test_memory_of_a_backward_pass_does_not_grow_with_the_square() -> None:
    def peak(T: int) -> int:
        with Tape() as t:
            x = t.watch(np.ones((T, 100)))
            y: Any = np.zeros(100)
            for i in range(T):
                y = y + x[i] * 2.0
            y = ops.sum(y)
        tracemalloc.start()
        t.gradient(y, x)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)
    assert peak(400) < 8 * peak(100)  # 16 times, if every slice cost an array of its own


def test_gradients_are_let_go_as_the_walk_goes() -> None:
    """A chain of 200 operations on 80 kB needs a few arrays backwards, not 200."""
    with Tape() as t:
        x = y = t.watch(np.ones(10_000))
        for _ in range(200):
            y = y * 1.01
    seed = np.ones(10_000)
    tracemalloc.start()
    t.gradient(y, x, seed=seed)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 6 * 80_000


def test_stats_count_what_is_kept_and_nothing_else() -> None:
    x_array, constant = np.ones((4, 5)), np.ones((4, 5))
    with Tape() as t:
        x = t.watch(x_array)
        assert t.stats() == Stats(0, 0, {})
        y = ops.tanh(x)  # keeps its value
        assert t.stats() == Stats(1, 160, {"tanh": 160})
        z = y + x  # keeps nothing
        assert t.stats() == Stats(2, 160, {"tanh": 160})
        z = z * y  # keeps both: z is new, y is counted already
        assert t.stats() == Stats(3, 320, {"tanh": 160, "multiply": 160})
        z = z * x * constant  # x is watched; the product before and the constant are new
        assert t.stats().by_operation == {"tanh": 160, "multiply": 160 + 160 + 160 + 160}
        ops.sum(z)
    assert t.stats().bytes_kept == 5 * 160
    assert t.stats().operations == 6


def test_a_view_counts_as_the_buffer_it_holds() -> None:
    with Tape() as t:
        x = t.watch(np.ones((4, 5)))
        y = ops.exp(x)
        ops.transpose(y)[1:3] * ops.reshape(y, (2, 10))[:, :4]
    assert t.stats().by_operation == {"exp": 160}


def test_sums_of_products_are_counted() -> None:
    with Tape() as t:
        x = t.watch(np.ones((4, 5)))
        ops.einsum("ij,jk->ik", ops.exp(x), np.ones((5, 2)))
    assert t.stats().by_operation == {"exp": 160, "einsum": 80}


def test_other_libraries_are_counted_alike() -> None:
    def record(array: Any) -> Stats:
        with Tape() as t:
            x = t.watch(array)
            y = ops.tanh(ops.getitem(ops.exp(x), (slice(0, 2), ...)))
            ops.multiply(y, ops.getitem(y, (0, ...)))
        return t.stats()

    assert record(strict(np.ones((4, 5)))) == record(np.ones((4, 5)))


def test_a_tape_over_one_part_keeps_one_part() -> None:
    """A sequence cut into K parts with a tape each: no tape holds more than 1/K of what one tape would."""
    T, K, B, H = 60, 6, 4, 16
    x, W = random_arrays([(T, B, H), (H, H)])
    W *= 0.1

    def states(t: Tape, part: Any, h: Any) -> Any:
        w = t.watch(W)
        for x_t in ops.unstack(part):
            h = ops.tanh(ops.add(x_t, ops.matmul(h, w)))
        return h

    with Tape() as whole:
        h = states(whole, x, np.zeros((B, H)))
    held, carried = [], np.zeros((B, H))
    for part in np.split(x, K):
        with Tape() as t:
            carried = states(t, part, carried).value
        held.append(t.stats().bytes_kept)
    assert_array_equal(carried, h.value)
    assert whole.stats().bytes_kept == (T + 1) * B * H * 8
    assert set(held) == {(T // K + 1) * B * H * 8}


def test_memory_is_released_with_the_tape() -> None:
    class Marked(np.ndarray):
        """An array that can be told from all others."""

    def run() -> weakref.ref[Any]:
        kept = np.ones(3).view(Marked)
        with Tape() as t:
            x = t.watch(fresh())
            y = ops.sum(x * kept)
        t.gradient(y, x)
        return weakref.ref(kept)

    gc.disable()  # no cycles: reference counts suffice
    try:
        kept = run()
        assert kept() is None
    finally:
        gc.enable()


# --- operations of one's own ---


def test_an_operation_without_a_rule() -> None:
    @operation
    def floor(x: Any, /) -> tape.Forward:
        return np.floor(x), ()

    with Tape() as t:
        x = t.watch(fresh())
        y = floor(x) + x
    with pytest.raises(NotImplementedError, match="floor has no gradient"):
        t.gradient(y, x, seed=np.ones(3))


def test_a_rule_that_changes_the_dtype_is_found_out() -> None:
    @operation
    def widened(x: Any, /) -> tape.Forward:
        return x * 1, ()

    @widened.vjp
    def _(g: Any, needs: Any) -> Any:
        return (g.astype("float64"),)

    with Tape() as t:
        x = t.watch(np.ones(3, "float32"))
        y = widened(x)
    with pytest.raises(TypeError, match="the gradient of widened turned float32 into float64"):
        t.gradient(y, x, seed=np.ones(3, "float32"))


def test_a_rule_may_leave_arguments_out() -> None:
    @operation
    def scaled(x: Any, factor: Any, /) -> tape.Forward:
        return x * factor, (factor,)

    @scaled.vjp
    def _(g: Any, needs: Any, factor: Any) -> Any:
        return (g * factor,)

    with Tape() as t:
        x, factor = t.watch([fresh(), np.array(2.0)])
        y = scaled(x, factor)
    assert_array_equal(t.gradient(y, x, seed=np.ones(3)), np.full(3, 2.0))
    with pytest.raises(TypeError, match="scaled: argument 2 is a constant and has no gradient"):
        t.gradient(y, [x, factor], seed=np.ones(3))


def test_a_rule_may_answer_at_an_index() -> None:
    @operation
    def second(x: Any, /) -> tape.Forward:
        return x[1], ()

    @second.vjp
    def _(g: Any, needs: Any) -> Any:
        return (Indexed(1, g),)

    assert isinstance(second, Operation)
    with Tape() as t:
        x = t.watch(fresh())
        y = second(x) * 2.0 + second(x * x)
    assert_array_equal(t.gradient(y, x), [0, 2 + 4, 0])


def test_unbroadcast() -> None:
    g = np.arange(24.0).reshape(2, 3, 4)
    assert_array_equal(unbroadcast(g, (2, 3, 4)), g)
    assert_array_equal(unbroadcast(g, (3, 4)), g.sum(0))
    assert_array_equal(unbroadcast(g, (3, 1)), g.sum((0, 2))[:, None])
    assert_array_equal(unbroadcast(g, (2, 1, 4)), g.sum(1, keepdims=True))
    assert_allclose(unbroadcast(g, ()), g.sum())
    assert_array_equal(unbroadcast(np.zeros((0, 3)), (1, 3)), np.zeros((1, 3)))
    assert_array_equal(unbroadcast(g[:1], (3, 4)), g[0])
    assert_array_equal(unbroadcast(g[:1], (1, 1, 4)), g[:1].sum(1, keepdims=True))
    assert_array_equal(unbroadcast(g[:, :1], (4,)), g[:, 0].sum(0))
    assert unbroadcast(g, ()).shape == ()


def test_a_rule_of_the_wrong_shape_is_found_out() -> None:
    @operation
    def shortened(x: Any, /) -> tape.Forward:
        return x * 1, ()

    @shortened.vjp
    def _(g: Any, needs: Any) -> Any:
        return (g[:2],)

    with Tape() as t:
        x = t.watch(fresh())
        y = shortened(x)
    with pytest.raises(ValueError, match="reshape"):
        t.gradient(y, x, seed=np.ones(3))


def test_an_indexed_gradient_reaches_a_rule_that_takes_it_as_it_is() -> None:
    seen = []

    @operation
    def double(x: Any) -> Any:
        return 2 * x, ()

    @double.vjp
    def _(g: Any, needs: Any) -> Any:
        seen.append(type(g))
        return (2 * (g.dense((3,)) if isinstance(g, Indexed) else g),)

    for takes, uses, kind in ((False, 1, np.ndarray), (True, 1, Indexed), (True, 2, np.ndarray)):
        double.takes_indexed = takes
        with Tape() as tape:
            x = tape.watch(np.arange(3.0))
            y = double(x)
            z = y[1] if uses == 1 else y[1] + y[2]
        g_x, g_y = tape.gradient(z, (x, y))
        assert_array_equal(g_y, [0, 1, uses - 1])
        assert_array_equal(g_x, 2 * g_y)
        assert seen.pop() is kind
