"""What holds for all operations alike: the gradient, dtypes and shapes, array libraries, and what is not asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from minigrad import ops
from minigrad.check import check_gradient
from minigrad.tape import Tape
from tests.minigrad.ops.cases import CASES, Case, every
from tests.minigrad.strategies import DEVICE, loose, random_arrays, strict, value_and_gradients


def test_the_table_names_every_operation() -> None:
    public = {name for name in ops.__all__ if name != "value"}  # `value` is what cuts the gradient
    assert {case.name for case in CASES} == public


def test_labels_tell_the_cases_apart() -> None:
    assert len({str(case) for case in CASES}) == len(CASES)


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
