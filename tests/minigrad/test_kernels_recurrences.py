"""The fused recurrences against their reference twins: values, all gradients, every shape; and bits."""

from __future__ import annotations

from typing import Any

import array_api_strict as strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from minigrad import kernels
from minigrad.backend import to_numpy
from minigrad.errors import InputError
from minigrad.kernels import srn, target

ACTIVATIONS = ("tanh", "sigmoid", "relu", "linear")
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}
SHAPES = [
    (0, 2, 3),
    (1, 1, 1),
    (2, 1, 33),
    (7, 3, 1),
    (2, 5, 17),
    (3, 21, 100),
    (100, 20, 100),
    (4, 7, 113),
    (2, 64, 64),
]
MANY = settings(max_examples=40, deadline=None, derandomize=True)


def problem(shape: tuple[int, int, int], dtype: str, seed: int = 0, gain: float = 0.9) -> dict[str, Any]:
    """Random arguments; `gain` is the largest singular value of the recurrent weights."""
    T, B, H = shape
    rng = np.random.default_rng(seed)
    W = gain * np.linalg.qr(rng.standard_normal((H, H)))[0]
    arrays = {
        "u": rng.standard_normal((T, B, H)),
        "h0": rng.standard_normal((B, H)),
        "W": W,
        "g": rng.standard_normal((T, B, H)),
        "target_T": rng.standard_normal((B, H)),
    }
    return {name: array.astype(dtype) for name, array in arrays.items()}


def run(p: dict[str, Any], activation: str, twin: Any) -> dict[str, Any]:
    """Everything that the recurrences compute from a problem."""
    h = srn.forward(p["u"], p["h0"], p["W"], activation, twin)
    d, g_h0, g_W = srn.backward(p["g"], h, p["h0"], p["W"], activation, twin)
    targets = target.targets(p["u"], h, p["target_T"], p["W"], activation, twin)
    return {"h": h, "d": d, "g_h0": g_h0, "g_W": g_W, "targets": targets}


def close(found: dict[str, Any], expected: dict[str, Any], tolerance: float) -> None:
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        assert found[name].shape == array.shape, name
        scale = max(1.0, float(np.abs(array).max(initial=0)))
        assert_allclose(found[name], array, rtol=tolerance, atol=tolerance * scale, err_msg=name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_fused_equals_reference(shape: tuple[int, int, int], activation: str, dtype: str) -> None:
    p = problem(shape, dtype)
    close(run(p, activation, "fused"), run(p, activation, "reference"), TOLERANCE[dtype])


@MANY
@given(
    shape=st.tuples(st.integers(0, 6), st.integers(1, 30), st.integers(1, 70)),
    activation=st.sampled_from(ACTIVATIONS),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 2**32),
)
def test_fused_equals_reference_on_any_shape(shape: Any, activation: str, dtype: str, seed: int) -> None:
    p = problem(shape, dtype, seed)
    close(run(p, activation, "fused"), run(p, activation, "reference"), TOLERANCE[dtype])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_arrays_that_are_not_contiguous(activation: str) -> None:
    p = problem((5, 6, 21), "float32")
    strided = {name: np.repeat(array, 2, axis=-1)[..., ::2] for name, array in p.items()}
    strided["W"] = p["W"].T.copy().T
    strided["u"] = np.moveaxis(np.moveaxis(p["u"], 0, 1).copy(), 1, 0)
    assert not any(array.flags.c_contiguous for array in strided.values())
    for name, array in run(strided, activation, "fused").items():
        assert_array_equal(array, run(p, activation, "fused")[name])


@pytest.mark.parametrize("twin", ["reference", "fused"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nan_goes_through(activation: str, twin: Any) -> None:
    p = problem((4, 3, 20), "float32")
    p["u"][1, 2, 5] = np.nan
    found = run(p, activation, twin)
    assert np.isfinite(found["h"][:, :2]).all()  # other sequences are not touched
    assert np.isfinite(found["h"][0]).all()
    assert np.isnan(found["h"][1, 2, 5])
    assert np.isnan(found["h"][2:, 2]).all()
    assert activation == "linear" or np.isnan(found["d"][1, 2, 5])
    assert np.isnan(found["g_W"]).any()


@pytest.mark.parametrize("twin", ["reference", "fused"])
def test_saturated_units_pass_no_gradient(twin: Any) -> None:
    p = problem((3, 2, 16), "float32")
    p["u"] = np.where(p["u"] > 0, 50, -50).astype("float32")
    h = srn.forward(p["u"], p["h0"], p["W"], "tanh", twin)
    assert_array_equal(np.abs(h), np.ones_like(h))
    d, g_h0, g_W = srn.backward(p["g"], h, p["h0"], p["W"], "tanh", twin)
    assert not d.any()
    assert not g_h0.any()
    assert not g_W.any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_every_time_and_for_a_row_wherever_it_stands(dtype: str) -> None:
    p = problem((6, 23, 50), dtype)
    one, two = run(p, "tanh", "fused"), run(p, "tanh", "fused")
    for name in one:
        assert_array_equal(one[name], two[name])
    order = np.random.default_rng(1).permutation(23)[:9]
    part = {name: array if name == "W" else np.ascontiguousarray(array[..., order, :]) for name, array in p.items()}
    few = run(part, "tanh", "fused")
    for name in ("h", "d", "targets"):
        assert_array_equal(few[name], one[name][:, order])


@MANY
@given(
    shape=st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(1, 40)),
    activation=st.sampled_from(ACTIVATIONS),
    dtype=st.sampled_from(["float32", "float64"]),
    twin=st.sampled_from(["reference", "fused"]),
    seed=st.integers(0, 2**32),
)
def test_a_row_whose_target_is_its_state_keeps_its_states_bit_for_bit(
    shape: Any, activation: str, dtype: str, twin: Any, seed: int
) -> None:
    p = problem(shape, dtype, seed)
    h = srn.forward(p["u"], p["h0"], p["W"], activation, twin)
    still = np.random.default_rng(seed).random(shape[1]) < 0.5
    target_T = np.where(still[:, None], h[-1], p["target_T"])
    found = target.targets(p["u"], h, target_T, p["W"], activation, twin)
    assert_array_equal(found[:, still], h[:, still])
    assert_array_equal(found[-1], target_T)


@pytest.mark.parametrize("twin", ["reference", "fused"])
def test_gradients_below_1e_30_are_zero_not_subnormal(twin: Any) -> None:
    p = problem((1000, 3, 20), "float32", gain=0.5)
    p["g"][:-1] = 0
    h = srn.forward(p["u"], p["h0"], p["W"], "tanh", twin)
    d, g_h0, _ = srn.backward(p["g"], h, p["h0"], p["W"], "tanh", twin)
    assert np.abs(d[-1]).max() > 0.1
    assert not d[:800].any()
    assert not g_h0.any()
    assert np.abs(d[d != 0]).min() >= 1e-30


def test_only_what_is_asked_for_is_computed() -> None:
    p = problem((3, 2, 5), "float64")
    h = srn.forward(p["u"], p["h0"], p["W"], "tanh", "fused")
    whole = srn.backward(p["g"], h, p["h0"], p["W"], "tanh", "fused")
    for needs in [(True, False, False), (False, True, False), (False, False, True), (False, False, False)]:
        found = srn.backward(p["g"], h, p["h0"], p["W"], "tanh", "fused", needs)
        for asked, part, full in zip(needs, found, whole, strict=True):
            assert (part is not None) == asked
            if asked:
                assert_array_equal(part, full)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_reference_runs_in_another_library_on_another_device(activation: str) -> None:
    p = problem((4, 3, 6), "float64")
    device = strict.Device("device1")
    moved = {name: strict.asarray(array, device=device) for name, array in p.items()}
    found = run(moved, activation, "reference")
    assert all(array.device == device for array in found.values())
    close({name: to_numpy(array) for name, array in found.items()}, run(p, activation, "reference"), 1e-14)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "linear"])
def test_the_reference_backward_is_the_derivative_of_its_forward(activation: str) -> None:
    p = problem((4, 3, 5), "float64")
    h = srn.forward(p["u"], p["h0"], p["W"], activation, "reference")
    found = srn.backward(p["g"], h, p["h0"], p["W"], activation, "reference")
    rng = np.random.default_rng(5)
    for name, gradient in zip(("u", "h0", "W"), found, strict=True):
        direction = rng.standard_normal(gradient.shape)
        moved = {k: v + (1e-25j * direction if k == name else 0) for k, v in p.items()}
        ahead = srn.forward(moved["u"], moved["h0"], moved["W"], activation, "reference")
        slope = np.sum(ahead * p["g"]).imag / 1e-25
        assert_allclose(np.sum(gradient * direction), slope, rtol=1e-12)


def test_wrong_shapes_dtypes_and_names_are_refused() -> None:
    p = problem((4, 3, 5), "float32")
    with pytest.raises(InputError, match="h0 has shape"):
        srn.forward(p["u"], p["h0"][:2], p["W"], "tanh", "fused")
    with pytest.raises(InputError, match="W_hh has shape"):
        srn.forward(p["u"], p["h0"], p["W"][:4], "tanh", "fused")
    with pytest.raises(InputError, match="one dtype"):
        srn.forward(p["u"].astype("float64"), p["h0"], p["W"], "tanh", "fused")
    with pytest.raises(InputError, match="unknown activation 'relu6'"):
        srn.forward(p["u"], p["h0"], p["W"], "relu6", "fused")
    with pytest.raises(InputError, match="unknown twin"):
        target.targets(p["u"], p["u"], p["h0"], p["W"], "tanh", "cuda")  # type: ignore[arg-type]


def test_the_twin_is_chosen_by_the_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINIGRAD_KERNELS", raising=False)
    f32, f64 = np.zeros(1, "float32"), np.zeros(1)
    assert kernels.choose(f32) == kernels.choose(f64) == "fused"
    assert kernels.choose(f32, f64) == kernels.choose(f64 + 1j) == kernels.choose(strict.zeros(1)) == "reference"


def test_the_environment_forces_a_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGRAD_KERNELS", "reference")
    assert kernels.choose(np.zeros(1)) == "reference"
    monkeypatch.setenv("MINIGRAD_KERNELS", "fused")
    assert kernels.choose(np.zeros(1)) == "fused"
    with pytest.raises(InputError, match=r"MINIGRAD_KERNELS=fused is not possible here: .* complex128"):
        kernels.choose(np.zeros(1) + 1j)
    monkeypatch.setenv("MINIGRAD_KERNELS", "fast")
    with pytest.raises(InputError, match="use reference, fused or auto"):
        kernels.choose(np.zeros(1))
