"""`trace` against independent references, to 1e-9, and its refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from experiments.trace import trace
from minigrad.errors import InputError
from tests.trace import references

BLOCKS = {"srn": 1, "gru": 3, "lstm": 4}


def fixture(config: dict[str, Any], seed: int, *, sizes: Any = (4, 3, 2, 3, 2), tokens: int = 0, **extra: Any) -> Any:
    """Random arrays that fit a config: sizes are T, S, D, H, O."""
    T, S, D, H, O = sizes
    rng = np.random.default_rng(seed)
    draw = rng.standard_normal
    k = BLOCKS[config.get("cell", "srn")]
    params = {"W_xh": draw((D, k * H)), "W_hh": draw((H, k * H)), "W_hy": draw((H, O)), "b_y": draw(O)}
    params |= {name: draw(k * H) for name in (("b_xh", "b_hh") if k == 3 else ("b_h",))}
    params |= {"E": draw((tokens, D))} if tokens else {}
    params |= {"V_hh": draw((H, H)), "c_h": draw(H)} if extra.get("feedback") else {}
    lead = (T, S) if config.get("loss_at") == "every" else (S,)
    y = draw((*lead, O)) if config.get("loss") == "mse" else rng.integers(0, O, lead)
    x = rng.integers(0, tokens, (T, S)) if tokens else draw((T, S, D))
    arrays = {f"params/{name}": array / 2 for name, array in params.items()} | {"batch/x": x, "batch/y": y}
    if extra.get("h0"):
        arrays["batch/h0"] = draw((S, H * (2 if k == 4 else 1)))
    if config.get("noise"):
        arrays["batch/noise"] = config["noise"] * draw((T, S, H))
    kinds = {"momentum": ["velocity"], "nag": ["velocity"], "adagrad": ["adagrad"], "adam": ["m", "v"]}
    default = "nag" if extra.get("feedback") else "sgd"
    if extra.get("state"):
        for kind in kinds.get(config.get("optimizer", default), []):
            for name, array in params.items():
                if name not in config.get("frozen", []):
                    arrays[f"state/{kind}/{name}"] = np.abs(draw(array.shape))
        if config.get("optimizer") == "adam":
            arrays["state/t"] = np.int32(7)
    return arrays


def run(method: str, config: dict[str, Any], arrays: dict[str, Any], folder: Path) -> dict[str, Any]:
    np.savez(folder / "in.npz", config=json.dumps(config), **arrays)
    trace(method, folder / "in.npz", folder / "out.npz")
    with np.load(folder / "out.npz") as out:
        return {key: out[key] for key in out.files}


def agree(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert set(ours) == set(theirs)
    for key, array in theirs.items():
        assert ours[key].shape == np.shape(array), key
        assert_allclose(ours[key], np.real(array), rtol=1e-9, atol=1e-12, err_msg=key)


UPDATES = {
    "optimizer": st.sampled_from(["sgd", "momentum", "nag", "adagrad"]),
    "momentum": st.sampled_from([0.0, 0.5, 0.9]),
    "adagrad_eps": st.sampled_from([1e-5, 1e-2]),
    "activation": st.sampled_from(["tanh", "sigmoid", "linear"]),
    "loss": st.sampled_from(["softmax", "mse"]),
}
MANY = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


@MANY
@given(
    config=st.fixed_dictionaries(
        {},
        optional={
            **UPDATES,
            "optimizer": st.sampled_from(["sgd", "momentum", "nag", "adagrad", "adam"]),
            "adam_betas": st.just([0.8, 0.95]),
            "loss_at": st.sampled_from(["last", "every"]),
            "lr": st.sampled_from([0.0, 0.01, 0.5]),
            "clip": st.sampled_from([None, 0.05, 100.0]),
            "frozen": st.sampled_from([["W_hh"], ["W_xh", "b_h"]]),
        },
    ),
    seed=st.integers(0, 2**32),
    h0=st.booleans(),
    state=st.booleans(),
)
def test_bptt_of_an_srn(tmp_path: Path, config: Any, seed: int, h0: bool, state: bool) -> None:
    arrays = fixture(config, seed, h0=h0, state=state)
    agree(run("bptt", config, arrays, tmp_path), references.bptt(config, arrays))


@pytest.mark.parametrize("cell", ["srn", "gru", "lstm"])
@pytest.mark.parametrize("loss_at", ["last", "every"])
@pytest.mark.parametrize("tokens", [0, 5])
def test_bptt_of_every_cell(tmp_path: Path, cell: str, loss_at: str, tokens: int) -> None:
    config = {"cell": cell, "loss_at": loss_at, "optimizer": "adam", "clip": 0.1}
    arrays = fixture(config, seed=3, tokens=tokens, h0=True)
    agree(run("bptt", config, arrays, tmp_path), references.bptt(config, arrays))


@MANY
@given(
    config=st.fixed_dictionaries(
        {},
        optional={
            **UPDATES,
            "alpha_i": st.sampled_from([0.0, 0.1, 2.0]),
            "alpha_f": st.sampled_from([0.01, 0.5]),
            "alpha_g": st.sampled_from([0.001, 0.5]),
            "w_xh": st.sampled_from(["bptt", "local"]),
            "reduction": st.sampled_from(["mean_bh", "sum_h"]),
            "noise": st.sampled_from([0, 0.1]),
            "frozen": st.sampled_from([["W_hh", "b_h"], ["V_hh"], ["V_hh", "c_h"], ["W_xh"]]),
        },
    ),
    seed=st.integers(0, 2**32),
    h0=st.booleans(),
    state=st.booleans(),
)
def test_tptt(tmp_path: Path, config: Any, seed: int, h0: bool, state: bool) -> None:
    arrays = fixture(config, seed, feedback=True, h0=h0, state=state)
    agree(run("tptt", config, arrays, tmp_path), references.tptt(config, arrays))


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1), (1, 2, 3, 1, 2), (2, 1, 1, 2, 1)])
@pytest.mark.parametrize("loss", ["softmax", "mse"])
def test_small_sizes(tmp_path: Path, sizes: Any, loss: str) -> None:
    for method, reference, feedback in (("bptt", references.bptt, False), ("tptt", references.tptt, True)):
        arrays = fixture({"loss": loss}, 5, sizes=sizes, feedback=feedback)
        agree(run(method, {"loss": loss}, arrays, tmp_path), reference({"loss": loss}, arrays))


def test_narrow_and_whole_numbers_are_accepted(tmp_path: Path) -> None:
    arrays = fixture({}, 1)
    narrow = {k: v.astype(np.float32) if v.dtype.kind == "f" else v.astype(np.uint8) for k, v in arrays.items()}
    narrow["batch/x"] = np.arange(24).reshape(4, 3, 2) % 3
    wide = {k: v.astype(np.float64) if v.dtype.kind == "f" else v.astype(np.int64) for k, v in narrow.items()}
    agree(run("bptt", {}, narrow, tmp_path), references.bptt({}, wide | {"batch/x": narrow["batch/x"] * 1.0}))


def test_tptthx_is_tptt_with_the_local_rule(tmp_path: Path) -> None:
    arrays = fixture({}, 2, feedback=True)
    agree(run("tptthx", {}, arrays, tmp_path), references.tptt({"w_xh": "local"}, arrays))


def text_fixture(config: dict[str, Any], seed: int, carry: bool, duals: bool, state: bool = False) -> Any:
    """A fixture of blocks: three steps, four blocks, five tokens."""
    arrays = fixture({**config, "loss_at": "every"}, seed, sizes=(3, 4, 2, 3, 5), tokens=5)
    rng, S = np.random.default_rng([seed, 1]), 6 if config.get("cell") == "lstm" else 3
    arrays |= {"batch/carry": rng.standard_normal(S) / 2} if carry else {}
    arrays |= {"state/u": rng.standard_normal((4, S)) / 2} if duals else {}
    if state and config.get("optimizer", "adagrad") == "adagrad":
        for name in [key.removeprefix("params/") for key in arrays if key.startswith("params/")]:
            arrays[f"state/adagrad/{name}"] = rng.random(arrays[f"params/{name}"].shape)
    return arrays


@MANY
@given(
    config=st.fixed_dictionaries(
        {},
        optional={
            "cell": st.sampled_from(["srn", "gru", "lstm"]),
            "constraint": st.sampled_from(["pm", "admm", "alm"]),
            "lambda": st.sampled_from([0, 0.3, 2.0]),
            "h_steps": st.integers(0, 3),
            "h_lr": st.sampled_from([0.0, 0.1, 1.0]),
            "h_optimizer": st.sampled_from(["adagrad", "sgd"]),
            "theta_steps": st.integers(1, 3),
            "theta_lr": st.sampled_from([0.01, 0.5]),
            "alm_steps": st.integers(1, 3),
            "optimizer": st.sampled_from(["sgd", "momentum", "nag", "adagrad", "adam"]),
            "u_lr": st.sampled_from([0.0, 1.0]),
            "dual": st.sampled_from(["literal", "scaled"]),
            "h_init": st.sampled_from(["sequential", "restart", "zero"]),
            "clip": st.sampled_from([None, 0.05, 100.0]),
            "h_clip": st.sampled_from([None, 0.01]),
            "loss": st.just("softmax"),
        },
    ),
    seed=st.integers(0, 2**32),
    carry=st.booleans(),
    duals=st.booleans(),
    state=st.booleans(),
)
def test_btprop(tmp_path: Path, config: Any, seed: int, carry: bool, duals: bool, state: bool) -> None:
    arrays = text_fixture(config, seed, carry, duals, state)
    agree(run("btprop", config, arrays, tmp_path), references.btprop(config, arrays))


@MANY
@given(
    config=st.fixed_dictionaries(
        {},
        optional={
            "cell": st.sampled_from(["srn", "gru", "lstm"]),
            "form": st.sampled_from(["running", "algorithm2", "equation6"]),
            "alpha": st.sampled_from([0, 0.2, 1.5]),
            "parts": st.integers(1, 5),
            "part_weight": st.sampled_from(["none", "linear"]),
            "optimizer": st.sampled_from(["sgd", "momentum", "nag", "adagrad", "adam"]),
            "lr": st.sampled_from([0.01, 0.5]),
            "clip": st.sampled_from([None, 0.05, 100.0]),
            "loss": st.sampled_from(["softmax", "mse"]),
            "loss_at": st.sampled_from(["last", "every"]),
        },
    ),
    running=st.fixed_dictionaries(
        {},
        optional={
            "beta": st.sampled_from([0.3, 1.0]),
            "penalty_factor": st.sampled_from([0, 2]),
            "rho": st.sampled_from([0.4, 1.0]),
        },
    ),
    seed=st.integers(0, 2**32),
    h0=st.booleans(),
    state=st.booleans(),
    tokens=st.sampled_from([0, 4]),
)
def test_fptt(tmp_path: Path, config: Any, running: Any, seed: int, h0: bool, state: bool, tokens: int) -> None:
    config |= running if config.get("form", "running") == "running" else {}
    arrays = fixture(config, seed, sizes=(7, 3, 2, 3, 2), tokens=tokens, h0=h0, state=state)
    if state and config.get("alpha", 0.5):
        rng = np.random.default_rng([seed, 2])
        for kind in ("W_bar", "lambda" if config.get("form", "running") == "running" else "last_grad"):
            for name in [key.removeprefix("params/") for key in arrays if key.startswith("params/")]:
                arrays[f"state/{kind}/{name}"] = rng.standard_normal(arrays[f"params/{name}"].shape) / 2
    agree(run("fptt", config, arrays, tmp_path), references.fptt(config, arrays))


def broken(change: Any, config: Any = None, feedback: bool = False) -> Any:
    """A good fixture, spoilt: (config, arrays)."""
    config = {} if config is None else config
    arrays = fixture(config, 1, feedback=feedback)
    change(arrays)
    return config, arrays


def text_with(name: str, *shape: int) -> Any:
    """A good fixture of blocks, of an LSTM for a carry, and an array of a shape."""
    cell = {"cell": "lstm"} if name == "batch/carry" else {}
    return {**text_fixture(cell, 1, False, False), name: np.zeros(shape)}


REFUSALS = {
    "params/W_hh": ("bptt", *broken(lambda a: a.pop("params/W_hh"))),
    "params/b_h": ("bptt", *broken(lambda a: a.update({"params/b_h": np.zeros(4)}))),
    "params/W_zz": ("bptt", *broken(lambda a: a.update({"params/W_zz": np.zeros(4)}))),
    "batch/x: holds NaN": ("bptt", *broken(lambda a: a["batch/x"].__setitem__((0, 0, 0), np.nan))),
    "params/W_xh: holds NaN or infinity": ("bptt", *broken(lambda a: a["params/W_xh"].__setitem__((0, 0), np.inf))),
    "batch/y: an id": ("bptt", *broken(lambda a: a["batch/y"].__setitem__(0, 2))),
    "batch/y: must hold integer": ("bptt", *broken(lambda a: a.update({"batch/y": np.zeros(3)}))),
    "batch/y: missing": ("bptt", *broken(lambda a: a.pop("batch/y"))),
    "batch/x: has shape": ("bptt", *broken(lambda a: a.update({"batch/x": np.zeros((4, 3))}))),
    "batch/h0: has shape": ("bptt", *broken(lambda a: a.update({"batch/h0": np.zeros((3, 4))}))),
    "batch/noise: unknown": ("tptt", *broken(lambda a: a.update({"batch/noise": np.zeros((4, 3, 3))}), {}, True)),
    "batch/noise: missing": ("tptt", *broken(lambda a: a.pop("batch/noise"), {"noise": 0.1}, True)),
    "params/V_hh: missing": ("tptt", *broken(lambda a: None)),
    "params/V_hh: bptt has no": ("bptt", *broken(lambda a: None, {}, True)),
    "unknown key 'learning_rate'": ("bptt", *broken(lambda a: None, {"learning_rate": 1})),
    "unknown key 'alpha_j', did you mean alpha_i?": ("tptt", *broken(lambda a: None, {"alpha_j": 1}, True)),
    "lr": ("bptt", *broken(lambda a: None, {"lr": -1.0})),
    "lr ": ("bptt", *broken(lambda a: None, {"lr": float("nan")})),
    "momentum": ("bptt", *broken(lambda a: None, {"momentum": "big"})),
    "optimizer": ("tptt", *broken(lambda a: None, {"optimizer": "adam"}, True)),
    "clip must be null": ("tptt", *broken(lambda a: None, {"clip": 1.0}, True)),
    "cell": ("bptt", {"cell": "lstn"}, fixture({}, 1)),
    "activation must be one of": ("bptt", *broken(lambda a: None, {"activation": "relu"})),
    "reduction must be one of": ("tptt", *broken(lambda a: None, {"reduction": "sum"}, True)),
    "too large": ("bptt", *broken(lambda a: None, {"lr": 10**400})),
    "not finite": ("bptt", *broken(lambda a: a.update({"batch/y": np.full((3, 2), 1e300)}), {"loss": "mse"})),
    "an integer above": ("bptt", *broken(lambda a: a.update({"batch/x": np.full((4, 3, 2), 2**63, np.uint64)}))),
    "sum of squares": (
        "bptt",
        {"optimizer": "adagrad"},
        {k: -v if k == "state/adagrad/b_y" else v for k, v in fixture({"optimizer": "adagrad"}, 1, state=True).items()},
    ),
    "loss": ("bptt", *broken(lambda a: None, {"loss": "hinge"})),
    "activation": ("bptt", *broken(lambda a: None, {"activation": "relu6"})),
    "one SRN layer": ("tptt", {"loss_at": "every"}, fixture({"loss_at": "every"}, 1, feedback=True)),
    "frozen": ("bptt", *broken(lambda a: None, {"frozen": ["W_zz"]})),
    "state/velocity/W_hh: missing": (
        "bptt",
        *broken(lambda a: a.update({"state/velocity/W_xh": np.zeros((2, 3))}), {"optimizer": "nag"}),
    ),
    "loss_at is always every": ("btprop", {"loss_at": "last"}, text_fixture({}, 1, False, False)),
    "unknown key 'lam', did you mean lambda?": ("btprop", {"lam": 1}, text_fixture({}, 1, False, False)),
    "unknown key 'u_start'": ("btprop", {"u_start": 1}, text_fixture({}, 1, False, False)),
    "batch/carry: has shape (3,), must be (6)": ("btprop", {"cell": "lstm"}, text_with("batch/carry", 3)),
    "state/u: has shape (4, 2), must be (4, 3)": ("btprop", {}, text_with("state/u", 4, 2)),
    "batch/h0: unknown": ("btprop", {}, text_with("batch/h0", 4, 3)),
    "lambda must be at least 0": ("btprop", {"lambda": -1.0}, text_fixture({}, 1, False, False)),
    "h_init": ("btprop", {"h_init": "persist"}, text_fixture({}, 1, False, False)),
    "optimizer must be one of": ("btprop", {"optimizer": "rmsprop"}, text_fixture({}, 1, False, False)),
    "state/velocity/W_xh: unknown": ("bptt", *broken(lambda a: a.update({"state/velocity/W_xh": np.zeros((2, 3))}))),
}


@pytest.mark.parametrize("line", REFUSALS)
def test_a_wrong_fixture_is_refused_with_one_line_and_nothing_is_written(tmp_path: Path, line: str) -> None:
    method, config, arrays = REFUSALS[line]
    with pytest.raises(InputError) as refusal:
        run(method, config, arrays, tmp_path)
    assert line.strip() in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in.npz"]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "not a readable .npz file"),
        (b"PK\x03\x04 and then nothing", "not a readable .npz file"),
        (b"text", "not a readable .npz file"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes, line: str) -> None:
    (tmp_path / "in.npz").write_bytes(content)
    with pytest.raises(InputError, match=line):
        trace("bptt", tmp_path / "in.npz", tmp_path / "out.npz")


def test_pickled_objects_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", config=np.array({"lr": 1}, dtype=object))
    with pytest.raises(InputError, match="pickled"):
        trace("bptt", tmp_path / "in.npz", tmp_path / "out.npz")
    with pytest.raises(InputError, match="no such file"):
        trace("bptt", tmp_path / "none.npz", tmp_path / "out.npz")


def test_config_must_be_a_json_object(tmp_path: Path) -> None:
    for config in ("{", "[1]", "3"):
        np.savez(tmp_path / "in.npz", config=config, **fixture({}, 1))
        with pytest.raises(InputError, match="config"):
            trace("bptt", tmp_path / "in.npz", tmp_path / "out.npz")
