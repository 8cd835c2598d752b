"""The fused recurrences: bits, threads, what is refused.

Legend: T time, B batch, D input size, H hidden units.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from minigrad.errors import InputError
from minigrad.kernels import local, srn, target
from minigrad.kernels.fused import threads
from tests.minigrad.recurrences import (
    ACTIVATIONS,
    DTYPES,
    MANY,
    RECURRENCES,
    UNROLLED,
    Arrays,
    assert_agrees,
    assert_same_bits,
    both,
    every,
    in_new_process,
    of_rows,
    problem,
    run,
)
from tests.minigrad.strategies import strict

# --- bits ---


@pytest.mark.parametrize("shape", [(6, 23, 3, 50), (3, 300, 2, 20)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@every
def test_the_same_bits_every_time_and_for_a_row_wherever_it_stands(
    name: str, dtype: str, shape: tuple[int, int, int, int]
) -> None:
    p = problem(name, *shape, dtype)
    one = run(name, p, "fused")
    with ThreadPoolExecutor(2) as pool:
        for again in pool.map(lambda _: run(name, p, "fused"), range(2)):
            assert_same_bits(again, one)
    order = np.random.default_rng(1).permutation(shape[1])[: shape[1] * 2 // 3]
    axes = RECURRENCES[name].axes
    few = {label: array[..., order, :] if "B" in axes[label] else array for label, array in p.items()}
    assert_same_bits(
        of_rows(run(name, few, "fused")),
        {label: array[..., order, :] for label, array in of_rows(one).items()},
    )


@MANY
@given(
    shape=st.tuples(st.integers(2, 140), st.sampled_from([1, 2, 3, 50, 131]), st.integers(1, 5), st.integers(1, 20)),
    name=st.sampled_from(UNROLLED),
    cut=st.floats(0, 1),
    seed=st.integers(0, 2**32),
)
def test_a_sequence_may_be_cut_anywhere(shape: Any, name: str, cut: float, seed: int) -> None:
    """Two halves, the second from the last state of the first, have the same states bit for bit."""
    p, t = problem(name, *shape, "float32", seed), int(cut * shape[0])
    first_state = list(p)[1]
    whole = RECURRENCES[name].forward(p, "fused")
    left = RECURRENCES[name].forward(p | {"x": p["x"][:t]}, "fused")
    state = next(iter(left.values()))[-1] if t else p[first_state]
    right = RECURRENCES[name].forward(p | {"x": p["x"][t:], first_state: state}, "fused")
    assert_same_bits({label: np.concatenate([left[label], right[label]]) for label in whole}, whole)


@MANY
@given(
    shape=st.tuples(st.integers(1, 6), st.integers(1, 140), st.integers(1, 4), st.integers(1, 40)),
    activation=st.sampled_from(ACTIVATIONS),
    dtype=st.sampled_from(DTYPES),
    twin=st.sampled_from(["reference", "fused"]),
    seed=st.integers(0, 2**32),
)
def test_a_row_whose_target_is_its_state_keeps_its_states_bit_for_bit(
    shape: Any, activation: str, dtype: str, twin: Any, seed: int
) -> None:
    p = problem(f"target {activation}", *shape, dtype, seed)
    still = np.random.default_rng(seed).random(shape[1]) < 0.5
    p["target_T"] = np.where(still[:, None], p["h"][-1], p["target_T"])
    found = run(f"target {activation}", p, twin)["targets"]
    assert_array_equal(found[:, still], p["h"][:, still])
    assert_array_equal(found[-1], p["target_T"])


# --- threads ---


@pytest.mark.parametrize("count", [2, 3, 7])
@every
def test_threads_share_the_rows(name: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few they are; what belongs to a row has the same bits, and so have the sums of as many threads."""
    monkeypatch.setattr(threads, "ALONE", 0)
    for shape in ((5, 1, 2, 9), (40, 5, 2, 9), (3, 300, 3, 8)):
        p = problem(name, *shape, "float32")
        monkeypatch.setenv("MINIGRAD_THREADS", str(count))
        assert_agrees(name, p)
        found = run(name, p, "fused")
        assert_same_bits(run(name, p, "fused"), found)
        monkeypatch.setenv("MINIGRAD_THREADS", "1")
        assert_same_bits(of_rows(found), of_rows(run(name, p, "fused")))


FORK = """
import os, signal
from minigrad.kernels.fused import threads
from tests.minigrad.recurrences import problem, run
threads.ALONE = 0
p = problem("target tanh", 3, 4, 2, 5)
before = run("target tanh", p, "fused")["targets"]
child = os.fork()
signal.alarm(60)
assert (run("target tanh", p, "fused")["targets"] == before).all()
if child:
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_has_threads_of_its_own() -> None:
    in_new_process(FORK, MINIGRAD_THREADS="2")


@pytest.mark.parametrize("wish", ["0", "-1", "two", "1.5", "", "²"])
def test_an_impossible_number_of_threads_is_refused(wish: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGRAD_THREADS", wish)
    monkeypatch.setattr(threads, "ALONE", 0)
    with pytest.raises(InputError, match=rf"MINIGRAD_THREADS='{wish}' is no number of threads"):
        run("gru", problem("gru", 2, 2, 2, 2), "fused")


# --- what is refused ---


def calls(name: str, label: str, p: Arrays, twin: Any) -> list[Callable[[Any], Any]]:
    """The functions of a recurrence that take the array of this name, as functions of it alone."""
    recurrence, found = RECURRENCES[name], []
    if label in recurrence.arguments:
        found.append(lambda array: recurrence.forward(p | {label: array}, twin))
    backward = recurrence.backward
    if backward and not label.startswith("b_"):
        states = recurrence.forward(p, "reference")
        found.append(lambda array: backward(p | {label: array}, states | {label: array}, twin))
    return found


@both
@every
def test_arrays_that_do_not_fit_are_refused(name: str, twin: Any) -> None:
    """The message names the recurrence, an array that does not fit to those before it, and the shapes."""
    p, family = problem(name, 4, 3, 2, 5, "float32"), name.split()[0]
    states = RECURRENCES[name].forward(p, "reference") if name in UNROLLED else {}
    for label, array in (p | states).items():
        for number, call in enumerate(calls(name, label, p, twin)):
            for wrong in (array[None], array[..., 0]):
                with pytest.raises(InputError, match=rf"^{family}\.\w+: {label} has shape \(.*\), expected \[.+\]$"):
                    call(wrong)
            for axis, length in enumerate(array.shape):
                if (number, label, axis) == (0, "x", 0) and name in UNROLLED:
                    continue  # another length of the sequence
                for indices in ([*range(length - 1)], [*range(length), 0]):
                    with pytest.raises(InputError, match=rf"^{family}\.\w+: \w+ has shape \(.*\), expected \[.+\]$"):
                        call(np.take(array, indices, axis))


def test_a_message_says_what_was_expected() -> None:
    p = problem("lstm", 4, 3, 2, 5)
    expected = r"lstm\.forward: W_hh has shape \(5, 19\), expected \[H=5, 4H=20\]"
    with pytest.raises(InputError, match=expected):
        RECURRENCES["lstm"].forward(p | {"W_hh": p["W_hh"][:, :-1]}, "fused")


@every
def test_arrays_of_other_dtypes_are_refused(name: str) -> None:
    p = problem(name, 4, 3, 2, 5, "float32")
    for label in p | (RECURRENCES[name].forward(p, "reference") if name in UNROLLED else {}):
        for call in calls(name, label, p, "fused"):
            for dtype in ("float64", "float16", "int32", "complex64", ">f4"):
                array = (p | RECURRENCES[name].forward(p, "reference"))[label].astype(dtype)
                with pytest.raises(InputError, match=r"of one dtype, .* use the reference twin"):
                    call(array)
        moved = strict(p[label]) if label in p else None
        if moved is not None:
            for twin in ("reference", "fused"):
                for call in calls(name, label, p, twin):
                    with pytest.raises(TypeError, match="do not mix"):
                        call(moved)


@both
def test_unknown_names_are_refused(twin: Any) -> None:
    p = problem("srn tanh", 4, 3, 2, 5) | problem("local tanh", 4, 3, 2, 5) | problem("target tanh", 4, 3, 2, 5)
    weights, G = (p["W_xh"], p["W_hh"], p["b_h"]), (p["W_xh"], p["V_hh"], p["c_h"])
    for function, arrays in (
        (srn.forward, (p["x"], p["h0"], *weights)),
        (srn.backward, (p["h"], p["x"], p["h"], p["h0"], *weights[:2])),
        (target.targets, (p["x"], p["h"], p["target_T"], *G)),
        (local.loss, (p["x"], p["h"], p["target"], None, *weights)),
    ):
        with pytest.raises(InputError, match="unknown activation 'relu6': use one of tanh, sigmoid, relu, linear"):
            function(*arrays, "relu6", twin)
        with pytest.raises(InputError, match="unknown twin 'cuda': use reference or fused"):
            function(*arrays, "tanh", "cuda")
