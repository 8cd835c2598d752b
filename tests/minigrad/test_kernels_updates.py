"""The arithmetic of the update rules: both twins to the bit, at every length, for all kinds of numbers and layouts."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from minigrad import optim
from minigrad.errors import InputError
from minigrad.kernels import updates
from minigrad.kernels.fused import threads
from tests.minigrad.formulas import DTYPES, FORMULAS, arrays_of, odd_numbers
from tests.minigrad.strategies import seeds, strict

MANY = settings(max_examples=150, deadline=None, derandomize=True)

every = pytest.mark.parametrize("name", FORMULAS)
both = pytest.mark.parametrize("twin", ["reference", "fused"])
either = pytest.mark.parametrize("dtype", DTYPES)


def run(name: str, arrays: Any, twin: Any, numbers: Any = None, **factors: float) -> tuple[Any, ...]:
    (p, *rest), (formula, _, usual) = arrays, FORMULAS[name]
    with np.errstate(all="ignore"):
        return updates.step(formula, p, tuple(rest), numbers or usual, twin, **factors)


def same_bits(found: Any, expected: Any) -> None:
    """Equal, and zeros of one sign; NaN for NaN, whatever it carries."""
    for one, other in zip(found, expected, strict=True):
        assert_array_equal(one, other, strict=True)
        assert_array_equal(np.signbit(one[~np.isnan(one)]), np.signbit(other[~np.isnan(other)]))


# --- both twins are the same arithmetic ---


@every
@either
@MANY
@given(size=st.integers(1, 200), seed=seeds, data=st.data())
def test_both_twins_to_the_bit(name: str, dtype: str, size: int, seed: int, data: st.DataObject) -> None:
    _, arity, usual = FORMULAS[name]
    arrays = arrays_of(name, size, dtype, seed)
    some = st.floats(1e-6, 1.0)
    numbers = tuple(data.draw(st.one_of(st.just(x), some)) for x in usual)
    factors = {which: data.draw(st.one_of(st.just(1.0), some)) for which in ("before", "after")}
    same_bits(run(name, arrays, "fused", numbers, **factors), run(name, arrays, "reference", numbers, **factors))
    assert len(arrays) == arity


@every
@both
def test_factors_of_gradient_and_update(name: str, twin: Any) -> None:
    p, g, *state = arrays_of(name, 9, "float64")
    scaled = run(name, (p, 0.3 * g, *state), twin)
    found = run(name, (p, g, *state), twin, before=0.3, after=0.5)
    assert_allclose(found[0] - p, 0.5 * (scaled[0] - p), rtol=1e-9)
    same_bits(found[1:], scaled[1:])


@every
@either
@MANY
@given(size=st.integers(1, 200), seed=seeds)
def test_both_twins_to_the_bit_for_odd_numbers(name: str, dtype: str, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    arrays = [odd_numbers(size, dtype, rng) for _ in range(FORMULAS[name][1])]
    same_bits(run(name, arrays, "fused"), run(name, arrays, "reference"))


@every
@pytest.mark.parametrize("size", [updates.LEAST - 1, updates.LEAST, 3 * updates.LEAST + 7])
def test_both_twins_to_the_bit_for_large_arrays(name: str, size: int) -> None:
    arrays = arrays_of(name, size)
    same_bits(run(name, arrays, "fused"), run(name, arrays, "reference"))


@every
def test_numbers_are_rounded_once_to_the_dtype_of_the_arrays(name: str) -> None:
    """A number that no float32 holds, tiny ones, and integers."""
    for number in (1 / 3, 1 + 2**-24, 1 + 3 * 2**-25, 1e-45, 1e-300, 2):
        numbers = (number,) * len(FORMULAS[name][2])
        arrays = arrays_of(name, 50)
        same_bits(run(name, arrays, "fused", numbers), run(name, arrays, "reference", numbers))


# --- layouts ---

LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "columns first": np.asfortranarray,
    "every second": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "backwards": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    "part of a matrix": lambda a: np.pad(a, 3)[3:-3, 3:-3],
    "not aligned": lambda a: np.frombuffer(b"x" + a.tobytes(), a.dtype, offset=1).reshape(a.shape),
}


@every
@pytest.mark.parametrize("layout", LAYOUTS)
def test_arrays_of_any_layout(name: str, layout: str) -> None:
    arrays = arrays_of(name, (7, 13), "float64")
    laid = [LAYOUTS[layout](a) for a in arrays]
    for a, b in zip(arrays, laid, strict=True):
        assert_array_equal(a, b)
    same_bits(run(name, laid, "fused"), run(name, arrays, "reference"))


@every
def test_a_gradient_that_is_one_number_everywhere(name: str) -> None:
    p, g, *state = arrays_of(name, (7, 13))
    g = np.broadcast_to(g[0, 0], g.shape)
    same_bits(run(name, (p, g, *state), "fused"), run(name, (p, g.copy(), *state), "reference"))


@every
@both
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,), (2, 3, 5)])
def test_any_shape(name: str, shape: Any, twin: Any) -> None:
    arrays = arrays_of(name, shape)
    found = run(name, arrays, twin)
    assert [(a.shape, a.dtype) for a in found] == [(shape, np.float32)] * (len(arrays) - 1)
    same_bits(found, run(name, arrays, "reference"))


@every
@both
def test_arrays_are_new_and_arguments_stay(name: str, twin: Any) -> None:
    arrays = arrays_of(name, 100)
    copies = [a.copy() for a in arrays]
    for a in arrays:
        a.flags.writeable = False
    found = run(name, arrays, twin)
    for i, new in enumerate(found):
        assert new.flags.writeable
        assert not any(np.shares_memory(new, other) for other in (*arrays, *found[:i]))
    for a, copy in zip(arrays, copies, strict=True):
        assert_array_equal(a, copy)


# --- one compilation, one pass ---


@either
def test_nothing_compiles_for_other_numbers_shapes_and_layouts(dtype: str) -> None:
    from minigrad.kernels.fused.updates import KERNELS

    for name, (_, _, usual) in FORMULAS.items():
        run(name, arrays_of(name, 9, dtype), "fused")
        before = len(KERNELS[name].signatures)
        for shape in ((), (0,), (1,), (4, 5)):
            arrays = arrays_of(name, shape, dtype)
            run(name, arrays, "fused", tuple(x / 2 for x in usual))
            run(name, [a.T for a in arrays], "fused", (1,) * len(usual))
        assert len(KERNELS[name].signatures) == before


def peak(function: Callable[[], Any]) -> int:
    """The most bytes that are held at a time on the way to an answer, the answer included."""
    tracemalloc.start()
    function()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


@every
def test_nothing_but_the_answer_is_held(name: str) -> None:
    arrays = arrays_of(name, 100_000)
    run(name, arrays, "fused")
    assert peak(lambda: run(name, arrays, "fused")) < 1.05 * sum(a.nbytes for a in arrays[1:])


# --- the sum of squares ---


@either
@MANY
@given(size=st.one_of(st.integers(0, 200), st.integers(4000, 9000)), seed=seeds)
def test_both_sums_of_squares_are_the_exact_one(dtype: str, size: int, seed: int) -> None:
    (g,) = arrays_of("nag", size, dtype, seed)[:1]
    exact = math.fsum(float(x) ** 2 for x in g)
    for twin in ("reference", "fused"):
        assert_allclose(float(updates.squares(g, twin)), exact, rtol=1e-14)  # type: ignore[arg-type]


def test_the_sum_of_many_squares_is_precise() -> None:
    g = np.full(1_000_003, 0.1, np.float32)
    exact = len(g) * float(g[0]) ** 2
    assert_allclose(updates.squares(g, "fused"), exact, rtol=1e-13)


@both
def test_squares_neither_overflow_nor_vanish_nor_hide_what_is_not_finite(twin: Any) -> None:
    for size in (1e30, 1e-30, 1e-45):
        g = np.full(37, size, np.float32)
        assert_allclose(float(updates.squares(g, twin)), 37 * float(g[0]) ** 2, rtol=1e-14)
    for bad, expected in ((np.inf, np.inf), (-np.inf, np.inf), (np.nan, np.nan)):
        for place in (0, 20, 36):
            g = np.ones(37, np.float32)
            g[place] = bad
            assert_array_equal(float(updates.squares(g, twin)), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_squares_of_any_layout(layout: str) -> None:
    (g,) = arrays_of("nag", (7, 13), "float64")[:1]
    assert updates.squares(LAYOUTS[layout](g), "fused") == updates.squares(g, "fused")
    assert updates.squares(np.float32(3), "fused") == 9.0


@either
def test_no_copy_is_squared(dtype: str) -> None:
    (g,) = arrays_of("nag", 100_000, dtype)[:1]
    updates.squares(g, "fused")
    assert peak(lambda: updates.squares(g, "fused")) < 0.01 * g.nbytes


# --- which twin ---


def test_small_arrays_and_arrays_of_others_have_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = np.ones(updates.LEAST - 1, np.float32), np.ones((2, updates.LEAST), np.float32)
    monkeypatch.delenv("MINIGRAD_KERNELS", raising=False)
    assert updates.choose(small, small) == updates.choose() == "reference"
    assert updates.choose(large, large) == updates.choose(large[0]) == updates.choose(small, large) == "fused"
    assert updates.choose(large, large.astype("float64")) == updates.choose(large + 1j) == "reference"
    assert updates.choose(strict(large)) == "reference"
    monkeypatch.setenv("MINIGRAD_KERNELS", "reference")
    assert updates.choose(large) == "reference"
    monkeypatch.setenv("MINIGRAD_KERNELS", "fused")
    assert updates.choose(small) == "fused"
    assert updates.choose() == "reference"
    with pytest.raises(InputError, match="not possible here"):
        updates.choose(small + 1j)


@pytest.mark.parametrize(
    "optimizer",
    [
        optim.sgd(0.02),
        optim.momentum(0.02, 0.9),
        optim.nag(0.02, 0.9),
        optim.adagrad(0.5),
        optim.adam(0.05),
        optim.adam(0.05, (0.8, 0.99), 1e-3, rule="tprnn"),
        optim.rmsprop(0.01),
        optim.adadelta(),
        optim.chain(optim.clip_global_norm(0.5), optim.adagrad(0.5)),
        optim.chain(optim.nag(0.02, 0.9), optim.scale({"W": 0.3})),
        optim.chain(optim.chain(optim.clip_global_norm(0.5, "pytorch"), optim.adam(0.05)), optim.scale({"b": 0.0})),
        optim.chain(optim.clip_global_norm(0.5), optim.weight_decay(0.1), optim.adagrad(0.5)),
        optim.chain(optim.weight_decay(0.1), optim.momentum(0.02, 0.9), optim.scale({"W": 0.3})),
        optim.chain(optim.weight_decay(0.1), optim.clip_global_norm(0.5), optim.adam(0.05)),
        optim.chain(optim.scale({"W": 0.3}), optim.adagrad(0.5)),
        optim.chain(optim.clip_global_norm(0.5), optim.clip_global_norm(0.4), optim.sgd(0.1)),
    ],
)
@either
def test_a_rule_takes_the_same_steps_with_both_in_one_pass_or_two(
    optimizer: optim.Optimizer, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit, small arrays and large ones, with two threads too; but a norm, which is a sum, to the last bits."""
    monkeypatch.setattr(threads, "ALONE", 0)
    rng = np.random.default_rng(0)
    shapes = {"W": (150, 130), "b": (17,)}
    start, *steps = [{k: rng.standard_normal(shape).astype(dtype) for k, shape in shapes.items()} for _ in range(6)]

    def outcome(wish: str, count: int = 1, passes: int = 1) -> list[Any]:
        monkeypatch.setenv("MINIGRAD_KERNELS", wish)
        monkeypatch.setenv("MINIGRAD_THREADS", str(count))
        params, state = start, optimizer.init(start)
        for grads in steps:
            if passes == 1:
                params, state = optimizer.step(grads, state, params)
            else:
                found, state = optimizer.update(grads, state, params)
                params = optim.apply(params, found)
        kept = [state[kind] for kind in sorted(state.keys() - {"t"})]
        return [arrays[key] for arrays in (params, *kept) for key in shapes]

    for wish in ("reference", "fused", "auto"):
        same_bits(outcome(wish), outcome(wish, passes=2))
    if not any(stage.factor for stage in optimizer.stages):
        same_bits(outcome("fused", count=2), outcome("fused"))
        same_bits(outcome("fused"), outcome("reference"))
        same_bits(outcome("auto"), outcome("reference"))


@both
@either
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_seen_and_what_overflows_in_a_sum_is_finite(bad: float, dtype: str, twin: Any) -> None:
    g = np.full((3, 50), np.finfo(dtype).max, dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        assert updates.finite(g, twin)
        g[1, 7] = bad
        assert not updates.finite(g, twin)


# --- what is refused ---


@every
@both
def test_a_state_of_another_shape_is_refused(name: str, twin: Any) -> None:
    p, g, *state = arrays_of(name, (4, 5))
    for other in (g[0], g[:1], g.T, g[None]):
        for arrays in ((p, other, *state), (other, g, *state)):
            with pytest.raises(InputError, match=f"{name}: parameter, gradient and state differ in shape"):
                run(name, arrays, twin)


def test_dtypes_and_libraries_that_the_fused_twin_does_not_take() -> None:
    p, g, v = arrays_of("nag", 5)
    other = [(p, g, v.astype("float64")), tuple(a.astype(complex) for a in (p, g, v)), tuple(map(strict, (p, g, v)))]
    for arrays in other:
        with pytest.raises(InputError, match="nag: fused kernels take"):
            run("nag", arrays, "fused")
    with pytest.raises(InputError, match="squares: fused kernels take"):
        updates.squares(g + 1j, "fused")
    with pytest.raises(TypeError, match="do not mix"):
        run("nag", (p, g, strict(v)), "reference")
