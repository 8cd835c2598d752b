"""Runs that share an array: every operation does to each of them what it would do to it alone."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from minigrad import population
from minigrad.backend import get_xp, to_numpy
from minigrad.errors import InputError
from minigrad.population import Numbers, Population
from tests.minigrad.ops.cases import CASES, Case
from tests.minigrad.strategies import loose, random_arrays, strict, value_and_gradients

RUNS = 3


def stacked(arrays: list[list[Any]]) -> list[Population]:
    """The arguments of several runs as populations."""
    return [population.stack(list(of_one)) for of_one in zip(*arrays, strict=True)]


def everywhere(array: Any) -> Population:
    """A constant that all runs share."""
    return population.stack([array] * RUNS)


@pytest.mark.parametrize("library", ["numpy", "strict"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_operation_acts_on_each_run_alone(case: Case, library: str) -> None:
    place: Callable[[Any], Any] = strict if library == "strict" else np.asarray
    back: Callable[[Any], Any] = loose if library == "strict" else np.asarray
    runs = [case.arrays(seed=seed) for seed in range(RUNS)]
    shapes = np.shape(case.bound()(*runs[0]))
    seeds = [random_arrays([shapes], seed=10 + r)[0] for r in range(RUNS)]
    value, gradients = value_and_gradients(
        case.bound(place=lambda constant: everywhere(place(constant))),
        stacked([[place(array) for array in arrays] for arrays in runs]),
        population.stack([place(seed) for seed in seeds]),
    )
    for r, (arrays, seed) in enumerate(zip(runs, seeds, strict=True)):
        alone, expected = value_and_gradients(case.bound(), arrays, seed)
        for found, one in zip([value, *gradients], [alone, *expected], strict=True):
            assert_allclose(back(population.split(found)[r]), one, rtol=1e-12, atol=1e-14, strict=True)


def test_a_population_looks_like_the_array_of_one_run() -> None:
    one = np.zeros((2, 3), "float32")
    many = everywhere(one)
    assert (many.shape, many.ndim, many.size, many.dtype, many.nbytes) == ((2, 3), 2, 6, one.dtype, one.nbytes)
    assert many.device.runs == RUNS
    assert get_xp(many, 1.0, many) is get_xp(many[0])
    assert_array_equal(to_numpy(many), np.zeros((RUNS, 2, 3), "float32"), strict=True)


def test_populations_mix_with_their_own_kind_alone() -> None:
    many = everywhere(np.ones(2))
    with pytest.raises(TypeError, match="population of numpy and of numpy do not mix"):
        get_xp(many, np.ones(2))
    with pytest.raises(TypeError, match="3 runs and on cpu, 2 runs do not mix"):
        get_xp(many, population.stack([np.ones(2)] * 2))
    with pytest.raises(TypeError, match="operand"):
        many + np.ones(2)
    with pytest.raises(InputError, match=r"one shape and dtype, got .*float32 and .*float64"):
        population.stack([np.ones(2), np.ones(2, "float32")])
    with pytest.raises(InputError, match="got none at all"):
        population.stack([])


def test_runs_that_do_not_agree_on_what_to_do_are_refused() -> None:
    assert population.stack([np.ones(()), np.full((), 2.0)]) > 0
    with pytest.raises(TypeError, match="do not agree"):
        bool(population.stack([np.ones(()), np.zeros(())]) > 0)
    with pytest.raises(TypeError, match="2 numbers here"):
        float(population.stack([np.ones(()), np.zeros(())]))
    with pytest.raises(TypeError, match="at ids"):
        everywhere(np.ones(2))[everywhere(np.array([0]))]


@given(st.lists(st.floats(-4, 4), min_size=1, max_size=3), st.floats(0.5, 2))
def test_numbers_compute_as_the_numbers_of_each_run(values: list[float], other: float) -> None:
    numbers = Numbers(values)
    for function in (operator.add, operator.sub, operator.mul, operator.truediv):
        assert function(numbers, other).values == tuple(function(value, other) for value in values)
        assert function(other, numbers + 5).values == tuple(function(other, value + 5) for value in values)
    assert (-numbers).values == tuple(-value for value in values)
    assert (numbers == other) is all(value == other for value in values)
    x = population.stack([np.full(2, other, "float32")] * len(values))
    added = population.stack([np.zeros(2, "float32")] * len(values))
    added += numbers
    assert_array_equal(to_numpy(added), np.repeat(np.array(values, "float32")[:, None], 2, axis=1))
    found = numbers * x
    assert found.dtype == np.float32
    assert_array_equal(to_numpy(found), np.stack([value * np.full(2, other, "float32") for value in values]))


def test_numbers_are_no_single_number() -> None:
    numbers = Numbers([1.0, 2.0])
    assert numbers > 0
    assert math.isnan(math.sqrt(numbers))  # what takes it for one number gets none
    with pytest.raises(TypeError, match="2 numbers here"):
        float(numbers)
    with pytest.raises(TypeError, match="do not agree"):
        bool(numbers > 1)
