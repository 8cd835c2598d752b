"""The CUDA twins on a GPU: against the reference in float64 on the CPU, to the bit from run to run, and populations.

Legend: T time, B batch, D input size, H hidden units, R runs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from minigrad import kernels
from minigrad.backend import to_device, to_numpy
from minigrad.kernels import readout, updates
from minigrad.kernels.cuda import antisymmetric, geometry, gru, launch, lstm, srn, target
from minigrad.kernels.cuda.geometry import CELLS
from minigrad.kernels.libraries import CUDA
from minigrad.kernels.scatter import scatter_add
from minigrad.population import split, stack
from tests.gpu import harness
from tests.minigrad.formulas import DTYPES, FORMULAS, arrays_of
from tests.minigrad.recurrences import EPSILON, RECURRENCES, Arrays, problem, run, wide
from tests.minigrad.strategies import random_arrays

harness.require_gpu()

NAMES = [name for name in RECURRENCES if not name.startswith("local")]
CELL_NAMES = ["srn tanh", "lstm", "gru", "antisymmetric", "target tanh"]
TOLERANCE = 1e-4
"""Largest ||found - expected|| / ||expected||."""
SHAPES = [
    (1, 1, 1, 1),
    (2, 3, 1, 17),
    (7, 5, 4, 33),
    (100, 20, 6, 100),
    (784, 128, 1, 128),
    (50, 300, 2, 64),
    (30, 128, 3, 256),
    (20, 7, 3, 255),
    (12, 60, 3, 150),  # four blocks a cluster: lstm, gru
    (12, 300, 3, 350),  # four: srn, antisymmetric, target
    (12, 128, 3, 505),  # eight: srn, antisymmetric, target, with more shared memory than there is without asking
    (9, 20, 5, 700),  # a launch a step
]


def moved(p: Arrays) -> Arrays:
    return {label: to_device(array, "cuda") for label, array in p.items()}


def fetched(found: Arrays) -> Arrays:
    return {label: to_numpy(array) for label, array in found.items()}


def error(found: Any, expected: Any) -> float:
    size = np.linalg.norm(expected.astype("float64"))
    return float(np.linalg.norm(found.astype("float64") - expected) / (size if size > 0 else 1.0))


def assert_same_bits(found: Arrays, expected: Arrays) -> None:
    assert list(found) == list(expected)
    for label, array in expected.items():
        assert_array_equal(found[label], array, err_msg=label, strict=True)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_equals_the_reference_in_float64(name: str, shape: tuple[int, int, int, int]) -> None:
    if name not in CELL_NAMES and shape != SHAPES[3]:
        pytest.skip("other activations are tested at one shape")
    p = problem(name, *shape, "float32")
    arrays = moved(p)
    assert kernels.choose(*arrays.values(), kernel=name.split()[0]) == "fused"
    found = fetched(run(name, arrays, "fused"))
    expected = run(name, wide(p), "reference", wide(found))
    for label, array in expected.items():
        assert found[label].dtype == np.float32
        assert found[label].shape == array.shape
        off = error(found[label], array)
        assert off <= TOLERANCE, f"{label} is off by {off:.2g}"


@pytest.mark.parametrize("name", CELL_NAMES)
@pytest.mark.parametrize("shape", SHAPES[2:-1], ids=str)
def test_it_repeats_to_the_bit(name: str, shape: tuple[int, int, int, int]) -> None:
    arrays = moved(problem(name, *shape, "float32"))
    first = fetched(run(name, arrays, "fused"))
    for _ in range(5):
        assert_same_bits(fetched(run(name, arrays, "fused")), first)


@pytest.mark.parametrize("name", ["srn tanh", "lstm", "gru", "antisymmetric"])
def test_the_gradient_by_the_last_state_alone(name: str) -> None:
    p = moved(problem(name, 30, 20, 3, 100, "float32"))
    p["g"][:-1] = 0
    assert_same_bits(fetched(run(name, p | {"g": p["g"][-1:]}, "fused")), fetched(run(name, p, "fused")))


@pytest.mark.parametrize("name", CELL_NAMES)
def test_nan_stays_in_its_sequence(name: str) -> None:
    p = problem(name, 20, 9, 3, 100, "float32")
    clean = fetched(run(name, moved(p), "fused"))
    p["x"][10, 4, 1] = np.nan
    found, label = fetched(run(name, moved(p), "fused")), next(iter(clean))
    others = np.arange(9) != 4
    assert np.isnan(found[label][:, 4]).any()
    assert_array_equal(found[label][:, others], clean[label][:, others])


def population(name: str, p: Arrays) -> list[Any]:
    """What the CUDA twin makes of arrays, or of populations."""
    x, W = p["x"], p["W_xh"]
    if name == "srn tanh":
        h = srn.forward(x, p["h0"], W, p["W_hh"], p["b_h"], "tanh")
        return [h, *srn.backward(p["g"], x, h, p["h0"], W, p["W_hh"], "tanh")]
    if name == "lstm":
        s, gates = lstm.forward(x, p["s0"], W, p["W_hh"], p["b_h"])
        return [s, gates, *lstm.backward(p["g"], x, s, p["s0"], gates, W, p["W_hh"])]
    if name == "gru":
        h, gates = gru.forward(x, p["h0"], W, p["W_hh"], p["b_xh"], p["b_hh"])
        return [h, gates, *gru.backward(p["g"], x, h, p["h0"], gates, W, p["W_hh"])]
    if name == "antisymmetric":
        h, gates = antisymmetric.forward(x, p["h0"], W, p["W_hh"], p["b_h"], EPSILON)
        return [h, gates, *antisymmetric.backward(p["g"], x, h, p["h0"], gates, W, p["W_hh"], EPSILON)]
    return [target.targets(x, p["h"], p["target_T"], W, p["V_hh"], p["c_h"], "tanh")]


@pytest.mark.parametrize("name", CELL_NAMES)
@pytest.mark.parametrize(("R", "B", "H"), [(3, 5, 17), (40, 20, 100), (5, 32, 256)])
def test_a_run_does_not_depend_on_how_many_there_are(name: str, R: int, B: int, H: int) -> None:
    runs = [problem(name, 12, B, 3, H, "float32", seed) for seed in range(R)]
    each = [moved(p) for p in runs]
    together = population(name, {label: stack([p[label] for p in each]) for label in each[0]})
    for number in {0, 1, R - 1}:
        alone = population(name, each[number])
        for found, expected in zip(together, alone, strict=True):
            # Products of all runs at once may be added up in another order than that of one.
            assert error(to_numpy(split(found)[number]), to_numpy(expected)) < 1e-5


@pytest.mark.parametrize(("N", "H", "V"), [(1, 1, 1), (700, 100, 10_000), (40, 7, 33)])
def test_the_readout_equals_the_reference_in_float64(N: int, H: int, V: int) -> None:
    h, W, b = random_arrays([(N, H), (H, V), (V,)], dtype="float32")
    y, one = np.random.default_rng(0).integers(0, V, N), np.ones((), "float32")

    def found(*arrays: Any) -> list[Any]:
        h, W, b, y, one = arrays
        twin = kernels.choose(h, W, b, kernel="readout") if h.dtype == np.float32 else "reference"
        E, (q, c) = readout.forward(h, W, b, y, twin)
        return [to_numpy(array) for array in (E, *readout.backward(one, h, W, q, c, twin))]

    there = [to_device(array, "cuda") for array in (h, W, b, y, one)]
    assert kernels.choose(*there[:3], kernel="readout") == "fused"
    wide = [array.astype("float64") if array.dtype == np.float32 else array for array in (h, W, b, y, one)]
    for array, expected in zip(found(*there), found(*wide), strict=True):
        assert array.dtype == np.float32
        assert array.shape == expected.shape
        assert error(array, expected) <= TOLERANCE
    for array, again in zip(found(*there), found(*there), strict=True):
        assert_array_equal(array, again, strict=True)


@pytest.mark.parametrize(("N", "V", "E"), [(1, 1, 1), (700, 10_000, 200), (6_400, 50, 130)])
def test_rows_are_added_to_the_bits_of_the_host(N: int, V: int, E: int) -> None:
    (values,), ids = random_arrays([(N, E)], dtype="float32"), np.random.default_rng(0).integers(0, V, N)
    found = scatter_add((V, E), to_device(ids, "cuda"), to_device(values, "cuda"), "fused")
    assert_array_equal(to_numpy(found), scatter_add((V, E), ids, values, "reference"), strict=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FORMULAS)
def test_update_rules_to_the_bits_of_the_host(name: str, dtype: str) -> None:
    formula, _, numbers = FORMULAS[name]
    p, *rest = arrays_of(name, (40, 30), dtype)
    q, *moved_rest = (to_device(array, "cuda") for array in (p, *rest))
    here = updates.step(formula, p, tuple(rest), numbers, "reference", before=0.3, after=0.7)
    there = updates.step(formula, q, tuple(moved_rest), numbers, "fused", before=0.3, after=0.7)
    for found, expected in zip(there, here, strict=True):
        assert_array_equal(to_numpy(found), expected, strict=True)


def test_what_has_no_cuda_twin_runs_as_plain_array_code(monkeypatch: pytest.MonkeyPatch) -> None:
    x = to_device(np.zeros((2, 3), "float32"), "cuda")
    for wish in ("auto", "fused"):
        monkeypatch.setenv("MINIGRAD_KERNELS", wish)
        for kernel in ("local", ""):
            assert kernels.choose(x, kernel=kernel) == "reference"
        assert {kernels.choose(x, kernel=kernel) for kernel in CUDA} == {"fused"}


def test_the_layout_uses_what_the_gpu_says_of_itself() -> None:
    device = launch.Cupy(0).device
    assert device.multiprocessors > 0
    assert device.shared >= 48 * 1024
    for cell in CELLS.values():
        assert not geometry.why_not(cell, 64, device)
