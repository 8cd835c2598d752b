"""The update rules by CUDA, compiled by the host's compiler: the bits of plain array code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from minigrad import kernels
from minigrad.errors import InputError
from minigrad.kernels import updates
from minigrad.kernels.cuda.updates import rule
from minigrad.population import Numbers, split, stack
from tests.minigrad import cuda_host
from tests.minigrad.formulas import FORMULAS, arrays_of, odd_numbers

pytestmark = pytest.mark.skipif(
    not cuda_host.COMPILER, reason="g++ is missing, which compiles the kernels for the host"
)
every = pytest.mark.parametrize("name", FORMULAS)
either = pytest.mark.parametrize("dtype", ["float32", "float64"])


@pytest.fixture(autouse=True)
def cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy's arrays count as CuPy's."""
    cuda_host.take_the_place_of_cupy(monkeypatch, cuda_host.Host())


def both(name: str, arrays: tuple[Any, ...], numbers: tuple[Any, ...], **factors: Any) -> list[tuple[Any, ...]]:
    """A step by plain array code, and by the kernel."""
    formula, (p, *rest) = FORMULAS[name][0], arrays
    return [updates.step(formula, p, tuple(rest), numbers, twin, **factors) for twin in ("reference", "fused")]


@every
@either
@pytest.mark.parametrize("factors", [{}, {"before": 0.3}, {"after": 0.7}, {"before": 0.3, "after": 0.7}])
def test_the_bits_of_plain_array_code(name: str, dtype: str, factors: dict[str, float]) -> None:
    for shape in ((), (5,), (3, 4), (0, 2)):
        reference, fused = both(name, arrays_of(name, shape, dtype), FORMULAS[name][2], **factors)
        for found, expected in zip(fused, reference, strict=True):
            assert_array_equal(found, expected, strict=True)


@every
@either
def test_odd_numbers(name: str, dtype: str) -> None:
    """Zeros of both signs, subnormal, huge and infinite numbers, NaN."""
    rng = np.random.default_rng(1)
    arrays = tuple(odd_numbers(200, dtype, rng) for _ in range(FORMULAS[name][1]))
    with np.errstate(all="ignore"):
        reference, fused = both(name, arrays, FORMULAS[name][2])
    for found, expected in zip(fused, reference, strict=True):
        assert_array_equal(found, expected, strict=True)


@every
def test_a_factor_on_the_device(name: str) -> None:
    """Clipping hands one in, in float64."""
    reference, fused = both(name, arrays_of(name, (3, 2)), FORMULAS[name][2], before=np.asarray(0.3))
    for found, expected in zip(fused, reference, strict=True):
        assert_array_equal(found, expected, strict=True)


@every
def test_a_population(name: str) -> None:
    """Every run with numbers of its own, to the bits that it comes to alone."""
    formula, _, usual = FORMULAS[name]
    runs = [arrays_of(name, (4, 3), seed=seed) for seed in range(3)]
    numbers = [tuple(number * (1 - 0.1 * r) for number in usual) for r in range(3)]
    befores, afters = [np.asarray(0.2 + r) for r in range(3)], [1.0, 0.5, 2.0]
    p, *rest = (stack(list(of_one)) for of_one in zip(*runs, strict=True))
    together = tuple(Numbers(each) for each in zip(*numbers, strict=True))
    found = updates.step(formula, p, tuple(rest), together, "fused", stack(befores), Numbers(afters))
    for r, arrays in enumerate(runs):
        reference, _ = both(name, arrays, numbers[r], before=befores[r], after=afters[r])
        for many, expected in zip(found, reference, strict=True):
            assert_array_equal(split(many)[r], expected, strict=True)


def test_an_operation_is_the_formula() -> None:
    found = rule(updates.momentum, 1, 2, "float32")
    assert found.inputs == ("p", "g", "s0", "n0", "n1", "before", "after")
    assert found.outputs == ("p_new", "s0_new")
    v = "((n1 * s0) + scaled)"
    assert found.operation == f"const float scaled = before * g; p_new = p + after * (n0 * {v}); s0_new = {v};"


@either
def test_it_is_chosen_for_arrays_of_any_size(dtype: str) -> None:
    x = np.zeros(3, dtype)
    assert updates.choose(x) == kernels.choose(x, kernel="updates") == "fused"
    assert updates.choose() == "reference"


def test_what_it_does_not_take_is_refused() -> None:
    x = np.zeros(3, "float16")
    with pytest.raises(InputError, match=r"sgd: .* cupy of dtype float32 or float64, not float16"):
        updates.step(updates.sgd, x, (x,), (0.1,), "fused")


def test_sums_of_squares_are_plain_array_code() -> None:
    x = np.arange(5, dtype="float32")
    assert updates.squares(x, "fused") == 30.0
    assert updates.squares(x, "fused").dtype == np.float64
