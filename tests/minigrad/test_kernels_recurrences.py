"""The fused recurrences against their reference twins: values, all gradients, every shape, numbers at the edge.

Legend: T time, B batch, D input size, H hidden units.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from minigrad import cells, ops
from minigrad.cells import GRU, LSTM, SRN, Antisymmetric, Cell
from minigrad.kernels import lstm, srn
from minigrad.tape import Tape
from tests.minigrad.recurrences import (
    ACTIVATIONS,
    DTYPES,
    EPSILON,
    GAMMA,
    MANY,
    RECURRENCES,
    UNROLLED,
    assert_agrees,
    assert_same_bits,
    both,
    difference,
    every,
    in_new_process,
    of_rows,
    problem,
    run,
    shape_of,
)
from tests.minigrad.strategies import loose, strict

SHAPES = [
    (0, 2, 3, 4),
    (3, 0, 2, 4),  # no sequences
    (1, 1, 1, 1),
    (2, 1, 3, 33),
    (7, 3, 1, 1),
    (2, 5, 4, 17),
    (3, 21, 2, 100),
    (4, 7, 5, 113),
    (5, 4, 70, 65),
    (2, 13, 1, 64),
    (127, 1, 2, 5),  # a chunk is 128 rows of all steps, or little more
    (128, 1, 2, 16),
    (129, 1, 2, 5),
    (64, 2, 3, 8),
    (43, 3, 3, 16),
    (86, 3, 1, 7),
    (2, 127, 2, 9),
    (3, 128, 2, 9),
    (3, 129, 2, 9),  # a batch of more than 128 goes in parts
    (2, 256, 3, 8),
    (4, 257, 5, 20),
    (400, 2, 3, 10),
    (100, 20, 6, 40),
]
every_unrolled = pytest.mark.parametrize("name", UNROLLED)

sizes = st.tuples(st.integers(0, 9), st.integers(1, 150), st.integers(1, 40), st.integers(1, 70))


# --- what is computed ---


@pytest.mark.parametrize("dtype", DTYPES)
@every
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_fused_equals_reference(shape: tuple[int, int, int, int], name: str, dtype: str) -> None:
    assert_agrees(name, problem(name, *shape, dtype))


@MANY
@given(shape=sizes, name=st.sampled_from(list(RECURRENCES)), dtype=st.sampled_from(DTYPES), seed=st.integers(0, 2**32))
def test_fused_equals_reference_on_any_shape(shape: Any, name: str, dtype: str, seed: int) -> None:
    assert_agrees(name, problem(name, *shape, dtype, seed))


CELLS: dict[str, Callable[[int, int], Cell]] = {
    **{f"srn {act}": lambda D, H, act=act: SRN(D, H, act) for act in ACTIVATIONS},
    "lstm": LSTM,
    "gru": GRU,
    "antisymmetric": lambda D, H: Antisymmetric(D, H, EPSILON, GAMMA),
}


@every_unrolled
@pytest.mark.parametrize("shape", [(0, 2, 3, 4), (1, 1, 1, 1), (5, 3, 2, 4)], ids=str)
def test_the_reference_is_the_cell_step_by_step(shape: tuple[int, int, int, int], name: str) -> None:
    """The definition: T steps of the cell made of single operations, and the tape's gradients by all arguments."""
    p = problem(name, *shape)
    found = run(name, p, "reference")
    cell = CELLS[name](*shape[2:])
    with Tape() as tape:
        w = tape.watch({label: p[label] for label in RECURRENCES[name].arguments})
        x, h0, *_ = w.values()
        states = cells.unroll_by_steps(cell, w, x, h0)
    assert_allclose(next(iter(found.values())), states.value, rtol=1e-13, atol=1e-14, strict=True)
    for label, gradient in tape.gradient(states, w, seed=p["g"]).items():
        assert_allclose(found[f"dE/d{label}"], gradient, rtol=1e-12, atol=1e-13, strict=True)


@every_unrolled
def test_the_reference_backward_is_the_derivative_of_its_forward(name: str) -> None:
    p = problem(name, 4, 3, 2, 5)
    found = run(name, p, "reference")
    rng = np.random.default_rng(5)
    for label in RECURRENCES[name].arguments:
        direction = rng.standard_normal(p[label].shape)
        states, *_ = RECURRENCES[name].forward(p | {label: p[label] + 1e-25j * direction}, "reference").values()
        slope = np.sum(states * p["g"]).imag / 1e-25
        assert_allclose(np.sum(found[f"dE/d{label}"] * direction), slope, rtol=1e-12, err_msg=label)


@both
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (7, 3, 2, 17), (3, 130, 4, 16)], ids=str)
def test_an_lstm_whose_cell_is_not_looked_at(shape: tuple[int, int, int, int], dtype: str, twin: Any) -> None:
    """Gradients by h alone stand for gradients by h and zeros by c, to the bit."""
    T, B, D, H = shape
    rng = np.random.default_rng(0)
    x, s0, g = (rng.standard_normal(size).astype(dtype) for size in ((T, B, D), (B, 2 * H), (T, B, H)))
    W_xh, W_hh, b_h = (rng.standard_normal(size).astype(dtype) for size in ((D, 4 * H), (H, 4 * H), (4 * H,)))
    s, gates = lstm.forward(x, s0, W_xh, W_hh, b_h, twin)
    whole = np.concatenate([g, np.zeros_like(g)], axis=-1)
    found, expected = (lstm.backward(each, x, s, s0, gates, W_xh, W_hh, twin) for each in (g, whole))
    for a, b in zip(found, expected, strict=True):
        assert_array_equal(a, b)


@every_unrolled
@both
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 2, 5), (7, 3, 2, 17), (3, 130, 4, 16)], ids=str)
def test_a_gradient_by_the_last_state_alone(shape: tuple[int, int, int, int], dtype: str, twin: Any, name: str) -> None:
    """It stands for zeros by the states before, to the bit."""
    p = problem(name, *shape, dtype)
    p["g"][:-1] = 0
    assert_same_bits(run(name, p | {"g": p["g"][-1:]}, twin), run(name, p, twin))


@both
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("T", [1, 2, 6])
def test_targets_are_the_definition(T: int, activation: Any, twin: Any) -> None:
    """target_t = h_t - (G(x_{t+1}, h_{t+1}) - G(x_{t+1}, target_{t+1})), G a transition of the cell."""
    p = problem(f"target {activation}", T, 3, 2, 5)
    found = run(f"target {activation}", p, twin)["targets"]
    assert_array_equal(found[-1], p["target_T"])
    G = {"W_xh": p["W_xh"], "W_hh": p["V_hh"], "b_h": p["c_h"]}
    for t in range(T - 1):
        there, back = (cells.step(SRN(2, 5, activation), G, p["x"][t + 1], s[t + 1]) for s in (p["h"], found))
        assert_allclose(found[t], p["h"][t] - (there - back), rtol=1e-12, atol=1e-13)


@both
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_local_loss_is_the_definition(activation: Any, twin: Any) -> None:
    """The sum of (F(x, h) - target)^2, F a transition of the cell, and the tape's gradients."""
    p = problem(f"local {activation}", 4, 3, 2, 5)
    with Tape() as tape:
        w = tape.watch({label: p[label] for label in ("W_xh", "W_hh", "b_h")})
        L = ops.squared_error(cells.step(SRN(2, 5, activation), w, p["x"], p["h"]), p["target"])
    expected = {"L": L.value} | {f"dL/d{label}": g for label, g in tape.gradient(L, w).items()}
    for label, array in run(f"local {activation}", p, twin).items():
        assert_allclose(array, expected[label], rtol=1e-12, atol=1e-13, err_msg=label)


@both
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_known_transition_gives_the_same_bits(dtype: str, activation: str, twin: Any) -> None:
    """The states of a recurrence are transitions, so handing them in as known changes no bit of the fused twin."""
    p = problem(f"local {activation}, known", 30, 9, 3, 20, dtype)
    h0, weights = p["h"][0], (p["W_xh"], p["W_hh"], p["b_h"])
    states = srn.forward(p["x"], h0, *weights, activation, twin)
    before = np.concatenate([h0[None], states[:-1]])
    found = run(f"local {activation}, known", p | {"h": before, "known": states}, twin)
    del p["known"]
    expected = run(f"local {activation}", p | {"h": before}, twin)
    if twin == "fused":
        assert_same_bits(found, expected)
    for label, array in expected.items():
        assert difference(found[label], array) <= {"float32": 1e-5, "float64": 1e-14}[dtype], label


@every_unrolled
@both
def test_only_what_is_asked_for_is_computed(twin: Any, name: str) -> None:
    backward, p = RECURRENCES[name].backward, problem(name, 3, 2, 4, 5)
    assert backward is not None
    states = RECURRENCES[name].forward(p, twin)
    whole = backward(p, states, twin)
    for number in range(2 ** len(whole)):
        needs = tuple(bool(number >> i & 1) for i in range(len(whole)))
        for asked, part, full in zip(needs, backward(p, states, twin, needs), whole, strict=True):
            assert (part is not None) == asked
            if asked:
                assert_array_equal(part, full, strict=True)


@every
def test_the_reference_runs_in_another_library_on_another_device(name: str) -> None:
    for T in (0, 4):
        p = problem(name, T, 3, 2, 6)
        found = run(name, {label: strict(array) for label, array in p.items()}, "reference")
        for label, array in run(name, p, "reference").items():
            assert_allclose(loose(found[label]), array, rtol=1e-13, atol=1e-14, err_msg=label, strict=True)


# --- arrays of every layout ---


def fortran(a: Any) -> Any:
    return np.asfortranarray(a)


def with_gaps(a: Any) -> Any:
    return np.repeat(a, 2, axis=-1)[..., ::2]


def backwards(a: Any) -> Any:
    return np.flip(np.flip(a).copy())


def batch_first(a: Any) -> Any:
    return np.swapaxes(np.swapaxes(a, 0, 1).copy(), 0, 1) if a.ndim == 3 else a


def amid_nan(a: Any) -> Any:
    """In the middle of a longer array, whose other numbers must not be read."""
    room = np.full(a.size + 64, np.nan, a.dtype)
    room[32:-32] = a.ravel()
    return room[32:-32].reshape(a.shape)


def between_addresses(a: Any) -> Any:
    """From an address on that is no multiple of the size of a number."""
    return np.frombuffer(b"\0" + a.tobytes(), np.uint8)[1:].view(a.dtype).reshape(a.shape)


def read_only(a: Any) -> Any:
    a = a.copy()
    a.flags.writeable = False
    return a


@pytest.mark.parametrize(
    "layout",
    [fortran, with_gaps, backwards, batch_first, amid_nan, between_addresses, read_only],
    ids=lambda f: f.__name__,
)
@pytest.mark.parametrize("dtype", DTYPES)
@every
def test_arrays_of_any_layout(name: str, dtype: str, layout: Callable[[Any], Any]) -> None:
    p = problem(name, 5, 6, 3, 21, dtype)
    moved = {label: layout(array) for label, array in p.items()}
    some = {label: layout(array) if i % 2 else array for i, (label, array) in enumerate(p.items())}
    # before the plain arrays: what is left unwritten must not hold the same numbers by chance
    found, found_of_some = run(name, moved, "fused"), run(name, some, "fused")
    expected = run(name, p, "fused")
    assert_same_bits(found, expected)
    assert_same_bits(found_of_some, expected)
    assert_same_bits(moved, p)  # nothing is written into an argument


@every
def test_one_array_for_all_rows(name: str) -> None:
    """Arrays without a size of their own in memory, as broadcasting makes them."""
    p = problem(name, 4, 3, 2, 5)
    moved = {
        label: np.broadcast_to(array[..., :1, :] if array.ndim > 1 else array[:1], array.shape)
        for label, array in p.items()
    }
    assert_same_bits(
        run(name, moved, "fused"), run(name, {label: array.copy() for label, array in moved.items()}, "fused")
    )


def guarded(a: Any, at_end: bool) -> Any:
    """At the end, or at the beginning, of memory that lies between pages which nobody may touch."""
    page = mmap.PAGESIZE
    whole = -(-a.nbytes // page) * page
    memory = np.frombuffer(mmap.mmap(-1, whole + 2 * page), np.uint8)
    for first in (0, page + whole):
        assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(memory.ctypes.data + first), page, 0) == 0
    start = page + (whole - a.nbytes if at_end else 0)
    moved = memory[start : start + a.nbytes].view(a.dtype).reshape(a.shape)
    moved[...] = a
    return moved


def run_guarded(dtype: str) -> None:
    """All recurrences on arguments whose neighbours in memory must not be read: that ends the process."""
    for name in RECURRENCES:
        for shape in ((3, 2, 3, 5), (2, 13, 17, 33)):
            p = problem(name, *shape, dtype)
            expected = run(name, p, "fused")
            states = RECURRENCES[name].forward(p, "fused") if name in UNROLLED else {}
            for at_end in (False, True):
                moved, kept = ({k: guarded(a, at_end) for k, a in arrays.items()} for arrays in (p, states))
                assert_same_bits(run(name, moved, "fused", kept), expected)


@pytest.mark.skipif(sys.platform != "linux", reason="protects memory in the way of Linux")
@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_is_read_beyond_an_array(dtype: str) -> None:
    in_new_process(f"from {__name__} import run_guarded; run_guarded('{dtype}')")


# --- numbers at the edge ---


@pytest.mark.parametrize("dtype", DTYPES)
@every
def test_nan_goes_through_and_stays_in_its_sequence(name: str, dtype: str) -> None:
    """NaN in any argument makes the same numbers NaN in both twins; sequences without it keep their bits."""
    p, axes = problem(name, 5, 7, 3, 20, dtype), RECURRENCES[name].axes
    clean = of_rows(run(name, p, "fused"))
    others = np.arange(7) != 4
    for label, array in p.items():
        broken = array.copy()
        broken[tuple({"T": 2, "B": 4}.get(axis, 1) for axis in axes[label] if not axis.isdigit())] = np.nan
        with np.errstate(invalid="ignore"):
            found, expected = (run(name, p | {label: broken}, twin) for twin in ("fused", "reference"))
        for result, numbers in expected.items():
            assert_array_equal(np.isnan(found[result]), np.isnan(numbers), err_msg=f"{label} -> {result}")
        unread = name.endswith("known") and label in ("W_xh", "W_hh", "b_h")
        assert any(np.isnan(numbers).any() for numbers in found.values()) != unread
        if "B" in axes[label]:
            for result, numbers in clean.items():
                assert_array_equal(of_rows(found)[result][..., others, :], numbers[..., others, :])


@both
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [n for n in UNROLLED if n not in ("srn relu", "srn linear")])
def test_saturated_units_pass_no_gradient(name: str, dtype: str, twin: Any) -> None:
    """All gates shut or wide open: finite numbers, and not a trace of a gradient by what goes into them."""
    p = problem(name, 4, 3, 2, 17, dtype)
    for label in ("b_h", "b_xh"):
        if label in p:
            p[label] = np.where(p[label] > 0, 2000, -2000).astype(dtype)
    found = run(name, p, twin)
    assert all(np.isfinite(array).all() for array in found.values())
    for label in RECURRENCES[name].arguments:
        if label not in ("h0", "s0"):
            assert not found[f"dE/d{label}"].any(), label
    assert_agrees(name, p)


@both
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [n for n in UNROLLED if n != "antisymmetric"])  # which forgets nothing
def test_gradients_below_1e_30_are_zero_not_subnormal(name: str, dtype: str, twin: Any) -> None:
    """A network that forgets; by input weights of 1 the gradient by x is that by what goes into the gates."""
    T, H = 700, 7
    D = shape_of(RECURRENCES[name].arguments["W_xh"], T, 2, 1, H)[1]
    p = problem(name, T, 2, D, H, dtype, gain=0.4) | {"W_xh": np.eye(D, dtype=dtype)}
    p["g"][:-1] = 0
    found = run(name, p, twin)
    d = found["dE/dx"]
    assert np.abs(d[-1]).max() > 0.01
    assert not d[:100].any()
    assert np.abs(d[d != 0]).min() >= 1e-30
    assert not found["dE/ds0" if name == "lstm" else "dE/dh0"].any()


@both
@pytest.mark.parametrize("dtype", DTYPES)
@every_unrolled
def test_the_border_is_1e_30(name: str, dtype: str, twin: Any) -> None:
    """Of one step of one sequence the gradients by the biases are those by what goes into the gates, on either side."""
    p = problem(name, 1, 1, 2, 200, dtype)
    large = run(name, p, twin)
    biases = [label for label in large if label.startswith("dE/db")]
    factor = 1e-30 / np.median(np.abs(large[biases[-1]][large[biases[-1]] != 0]))
    found = run(name, p | {"g": p["g"] * np.array(factor, dtype)}, twin)
    for label in biases:
        expected = large[label].astype("float64") * factor
        above, below = np.abs(expected) > 1.001e-30, np.abs(expected) < 0.999e-30
        assert above.sum() > 20
        assert below.sum() > 20
        assert_allclose(found[label][above], expected[above], rtol=1e-4)
        assert not found[label][below].any()


@both
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_errors_below_1e_30_are_learnt_from_no_more(activation: str, dtype: str, twin: Any) -> None:
    name = f"local {activation}, known"
    p = problem(name, 2, 3, 2, 5, dtype)
    p["target"] = np.zeros_like(p["target"])
    for size, learns in ((1e-29, activation != "sigmoid"), (1e-31, False)):
        p["known"] = np.full_like(p["target"], size)
        found = run(name, p, twin)
        assert [found[label].any() for label in found if label != "L"] == [learns] * 3
