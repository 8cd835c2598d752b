"""The gradient checker, held against gradients that are wrong on purpose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from minigrad import ops
from minigrad.check import GradientError, check_gradient
from minigrad.tape import Forward, Indexed, operation
from tests.minigrad.strategies import random_arrays, strict

Rule = Callable[..., Sequence[Any]]


def planted(forward: Callable[..., Any], rule: Rule) -> Callable[..., Any]:
    """An operation whose rule is given its arguments: rule(g, *arrays)."""

    @operation
    def made(*arrays: Any) -> Forward:
        return forward(*arrays), arrays

    @made.vjp
    def _(g: Any, needs: Sequence[bool], *arrays: Any) -> Sequence[Any]:
        return rule(g, *arrays)

    return made


def first_only(g: Any, x: Any) -> Sequence[Any]:
    gradient = 2 * g * x
    gradient.flat[0] += 1e-3 * np.abs(g).max()
    return (gradient,)


SQUARE = ((3, 3), (3, 3))
WRONG: dict[str, tuple[Callable[..., Any], Rule, tuple[tuple[int, ...], ...]]] = {
    "sign": (np.tanh, lambda g, x: (-g * (1 - np.tanh(x) ** 2),), ((2, 3),)),
    "factor": (lambda x: x**3, lambda g, x: (g * x**2,), ((2, 3),)),
    "count of a mean": (lambda x: np.mean(x, axis=0), lambda g, x: (np.broadcast_to(g, x.shape),), ((2, 3),)),
    "a row for the sum of rows": (lambda x, b: x + b, lambda g, x, b: (g, g[0]), ((2, 3), (3,))),
    "the mean for the sum of rows": (lambda x, b: x + b, lambda g, x, b: (g, g.mean(0)), ((2, 3), (3,))),
    "arguments exchanged": (lambda x, y: x * y, lambda g, x, y: (g * x, g * y), ((2, 3), (2, 3))),
    "an argument left out": (lambda x, y: x * y, lambda g, x, y: (g * y, None), ((2, 3), (2, 3))),
    "transposed": (lambda a, b: a @ b, lambda g, a, b: (g @ b, a.T @ g), SQUARE),
    "transposed result": (lambda a, b: a @ b, lambda g, a, b: (g @ b.T, g.T @ a), SQUARE),
    "another element": (lambda x: x[1], lambda g, x: (Indexed(0, g),), ((3,),)),
    "one element of many": (lambda x: x * x, first_only, ((10, 10),)),
    "a gradient of the wrong layer": (lambda x: np.exp(np.sin(x)), lambda g, x: (g * np.exp(np.sin(x)),), ((4,),)),
}


@pytest.mark.parametrize("analytic", [True, False], ids=["complex step", "differences"])
@pytest.mark.parametrize("what", WRONG)
def test_wrong_gradients_are_caught(what: str, analytic: bool) -> None:
    forward, rule, shapes = WRONG[what]
    with pytest.raises(GradientError, match=r"the gradient says .* the numbers say"):
        check_gradient(planted(forward, rule), *random_arrays(shapes), analytic=analytic)


@pytest.mark.parametrize("analytic", [True, False], ids=["complex step", "differences"])
@pytest.mark.parametrize("n", [3, 20], ids=["every element", "random directions"])
def test_right_gradients_pass(n: int, analytic: bool) -> None:
    square = planted(lambda x: x * x, lambda g, x: (2 * g * x,))
    product = planted(lambda a, b: a @ b, lambda g, a, b: (g @ b.T, a.T @ g))
    (x, a, b) = random_arrays([(n, n)] * 3)
    check_gradient(square, x, analytic=analytic)
    check_gradient(lambda a, b: ops.tanh(product(square(a), b)) * a, a, b, analytic=analytic)
    check_gradient(lambda a: ops.sum(a), np.zeros((0, n)), analytic=analytic)


@pytest.mark.parametrize("analytic", [True, False], ids=["complex step", "differences"])
def test_a_detached_input_is_caught(analytic: bool) -> None:
    (x,) = random_arrays([(3,)])
    with pytest.raises(GradientError, match=r"argument 0 at \(0,\)"):
        check_gradient(lambda x: ops.value(x) * x, x, analytic=analytic)
    with pytest.raises(GradientError, match="does not depend on the arguments"):
        check_gradient(lambda x: ops.tanh(ops.value(x)), x, analytic=analytic)


def test_the_message_names_argument_and_element() -> None:
    wrong = planted(lambda x, y: x + y, lambda g, x, y: (g, g * np.array([1, 1, 2])))
    with pytest.raises(GradientError, match=r"^argument 1 at \(2,\): the gradient says \S+, the numbers say \S+$"):
        check_gradient(wrong, *random_arrays([(3,), (3,)]))
    with pytest.raises(GradientError, match=r"^random direction 0: "):
        check_gradient(wrong, *random_arrays([(3,), (3,)]), directions=5)


KINKS: dict[str, tuple[Callable[..., Any], float]] = {
    "relu at 0": (ops.relu, 0.0),
    "relu just before 0": (ops.relu, -2e-4),
    "relu just after 0": (ops.relu, 7e-4),
    "abs at 0": (ops.abs, 0.0),
    "clip at its border": (lambda x: ops.clip(x, -1.0, 1.0), 1.0),
    "a tie": (lambda x: ops.maximum(x, 2 * x), 0.0),
    "a step": (lambda x: x * np.where(ops.value(x).real >= 0.5, 2.0, 1.0), 0.5),
}


@pytest.mark.parametrize("what", KINKS)
def test_a_point_without_a_derivative_is_told_from_a_wrong_gradient(what: str) -> None:
    function, x = KINKS[what]
    with pytest.raises(GradientError, match=r"argument 0 at \(1,\): not differentiable here \(slopes \S+ behind, "):
        check_gradient(function, np.array([-3.0, x, 3.0]), analytic=False)
    check_gradient(function, np.array([-3.0, x + 0.1, 3.0]), analytic=False)


def test_strong_bends_are_no_kinks() -> None:
    x = np.array([-0.3, 0.0, 1e-4, 2.0])
    check_gradient(lambda x: ops.tanh(20 * x), x, analytic=False, rtol=1e-4)
    check_gradient(lambda x: 1e4 * x * x, x, analytic=False)
    check_gradient(lambda x: ops.power(x, 4), x, analytic=False)


def test_functions_without_complex_numbers_are_not_analytic() -> None:
    """The complex step of |x| sees no slope: such functions must be said to be what they are."""
    (x,) = random_arrays([(3,)])
    with pytest.raises(GradientError):
        check_gradient(ops.abs, x)
    check_gradient(ops.abs, x, analytic=False)


def test_value_and_tape_must_agree_in_shape() -> None:
    def fickle(x: Any) -> Any:
        return x if hasattr(x, "tape") else x[:2]

    with pytest.raises(GradientError, match=r"shape changes: \(3,\) with a tape, \(2,\) without"):
        check_gradient(fickle, *random_arrays([(3,)]))


def test_the_tolerance_can_be_set() -> None:
    nearly = planted(lambda x: x * x, lambda g, x: (2.00001 * g * x,))
    x = np.array([1.0, 1.5])
    check_gradient(nearly, x, rtol=1e-4)
    for analytic in (True, False):
        with pytest.raises(GradientError):
            check_gradient(nearly, x, analytic=analytic)


def test_the_complex_step_is_strict() -> None:
    """An error that differences would not see."""
    nearly = planted(lambda x: x * x, lambda g, x: ((2 + 1e-8) * g * x,))
    x = np.array([1.0, 1.5])
    check_gradient(nearly, x, analytic=False)
    with pytest.raises(GradientError):
        check_gradient(nearly, x)


def test_arguments_are_not_changed() -> None:
    (x,) = random_arrays([(3,)])
    before = x.copy()
    check_gradient(ops.tanh, x)
    check_gradient(ops.tanh, x, analytic=False)
    assert x.flags.writeable
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize(
    "array",
    [np.ones(3, "float32"), np.arange(3), np.ones(3, complex), [1.0, 2.0], 1.0, strict(np.ones(3))],
    ids=["float32", "integers", "complex", "list", "number", "other library"],
)
def test_only_float64_arrays_of_numpy_are_checked(array: Any) -> None:
    with pytest.raises(TypeError, match="float64 NumPy arrays"):
        check_gradient(ops.linear, np.ones(3), array)
