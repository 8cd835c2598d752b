"""The options of TPTT, and its measurements."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from algorithms import tptt
from algorithms.model import Model
from algorithms.protocol import Info
from datasets.synthetic import Temporal
from datasets.task import Batch
from minigrad.errors import InputError
from minigrad.rng import stream
from tests.minigrad.recurrences import record_calls

TASK = Temporal(10)
F_NAMES, G_NAMES = ("W_xh", "W_hh", "b_h", "W_hy", "b_y"), ("V_hh", "c_h")


def network(activation: Any = "tanh", hidden: int = 8) -> tuple[Model, dict[str, Any]]:
    model = Model.make(input_size=6, hidden=hidden, output_size=4, activation=activation)
    return model, model.init(stream(3, "init"), "orthogonal", "float64")


def batch(index: int = 0) -> Batch:
    return TASK.batch(3, "train", index, 5, "float64")


def train(config: tptt.Config, steps: int = 1, activation: Any = "tanh") -> tuple[tptt.State, tptt.State, Info]:
    """The state before and after some iterations, and the last one's Info."""
    model, params = network(activation)
    start = state = tptt.init(config, model, params, stream(3, "method"))
    for i in range(steps):
        state, info = tptt.step(config, model, state, batch(i), stream(3, "step", i))
    return start, state, info


def moved(before: tptt.State, after: tptt.State) -> set[str]:
    return {name for name in before.params if not np.array_equal(before.params[name], after.params[name])}


def test_both_phases_move_everything() -> None:
    before, after, info = train(tptt.Config())
    assert moved(before, after) == {*F_NAMES, *G_NAMES}
    assert set(info.grads) == {*F_NAMES, *G_NAMES}
    assert {"h", "targets", "loss_g", "loss_f"} == set(info.arrays)


def test_the_kernels_that_run_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGRAD_KERNELS", "fused")
    called = record_calls(monkeypatch)
    _, _, info = train(tptt.Config())
    called.discard("updates")
    assert (
        called
        == set(tptt.METHODS["tptt"].kernels(tptt.Config(), network()[0]))
        == {"srn", "readout", "local", "target"}
    )
    assert info.kernels == dict.fromkeys(called, "fused")


def test_fixed_feedback_stays_as_drawn() -> None:
    before, after, info = train(tptt.Config(feedback="fixed"), steps=3)
    assert moved(before, after) == set(F_NAMES)
    assert not set(G_NAMES) & set(info.grads)
    assert_allclose(after.params["V_hh"] @ after.params["V_hh"].T, np.eye(8), atol=1e-12)


def test_transposed_feedback_follows_w_hh() -> None:
    before, after, _ = train(tptt.Config(feedback="transpose", alpha_f=5.0), steps=3)
    assert_array_equal(before.params["V_hh"], before.params["W_hh"].T)
    assert "W_hh" in moved(before, after)
    assert_array_equal(after.params["V_hh"], after.params["W_hh"].T)


def test_the_papers_sum_leaves_out_the_last_step() -> None:
    model, params = network()
    config = tptt.Config(g_sum="paper", frozen=F_NAMES)
    start = tptt.init(config, model, params, stream(3, "method"))
    _, paper = tptt.step(config, model, start, batch(), stream(3, "step"))
    shorter = Batch(batch().x[:-1], batch().y)
    everything = tptt.Config(frozen=F_NAMES)
    _, code = tptt.step(everything, model, start, shorter, stream(3, "step"))
    for name in G_NAMES:
        assert_allclose(paper.grads[name], code.grads[name], rtol=1e-12)


@pytest.mark.parametrize(("p_g", "expected"), [(0.0, F_NAMES), (1.0, G_NAMES)])
def test_asynchronous_phases_update_one_of_the_two(p_g: float, expected: tuple[str, ...]) -> None:
    before, after, info = train(tptt.Config(p_g=p_g), steps=2)
    assert moved(before, after) == set(expected)
    assert set(info.grads) == set(expected)


def test_a_phase_is_drawn_with_its_probability() -> None:
    config = tptt.Config(p_g=1 / 3)
    drawn = [tptt.phases(config, stream(1, "step", i)) for i in range(3000)]
    assert all(g != f for g, f in drawn)
    assert abs(sum(g for g, _ in drawn) / 3000 - 1 / 3) < 0.04


def test_noise_reaches_only_g() -> None:
    _, quiet, _ = train(tptt.Config(alpha_g=0.0))
    _, noisy, info = train(tptt.Config(alpha_g=0.0, noise=0.5))
    assert moved(quiet, noisy) == set()
    _, _, silent = train(tptt.Config(alpha_g=0.0))
    assert float(info.arrays["loss_g"]) > float(silent.arrays["loss_g"])


def test_measurements() -> None:
    model, params = network("linear")
    config = tptt.Config(feedback="transpose")
    state = tptt.init(config, model, params, stream(3, "method"))
    _, info = tptt.step(config, model, state, batch(), stream(3, "step"))
    found = tptt.measure(config, model, state, batch(), info)
    assert found["angle"] == pytest.approx(0, abs=1e-5)  # linear units, V = W^T: the local update is BPTT's, scaled
    assert len(found["layers_f"]) == len(found["layers_g"]) == 10
    assert sum(found["layers_f"]) == pytest.approx(float(info.arrays["loss_f"]))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"alpha_i": -1.0}, "alpha_i must be at least 0"),
        ({"alpha_g": float("nan")}, "alpha_g must be at least 0"),
        ({"noise": float("inf")}, "noise must be at least 0"),
        ({"momentum": 1.0}, "momentum must be below 1"),
        ({"p_g": 1.5}, "p_g is a probability"),
        ({"p_g": 0.5, "feedback": "fixed"}, "no G phase"),
        ({"p_g": 0.5, "feedback": "transpose"}, "no G phase"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=line):
        tptt.Config(**options)


@pytest.mark.parametrize("network", [{"cell": "lstm"}, {"layers": 2}, {"tokens": True}, {"loss_at": "every"}])
def test_other_networks_are_refused(network: dict[str, Any]) -> None:
    model = Model.make(input_size=6, hidden=8, output_size=4, **network)
    params = model.init(stream(3, "init"), "orthogonal", "float64")
    with pytest.raises(InputError, match="one SRN layer"):
        tptt.init(tptt.Config(), model, params, stream(3, "method"))
