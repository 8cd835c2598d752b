"""BTPROP over several batches, its options, and what it refuses; one step's numbers are held in tests/trace."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from algorithms import blocks, bptt, btprop, btprop_batch
from algorithms.model import Model
from algorithms.protocol import Info
from datasets.task import Batch
from minigrad.backend import Array
from minigrad.errors import InputError
from minigrad.rng import stream
from tests.minigrad.strategies import loose, strict

B, n, V, H = 3, 4, 5, 6


def network(**changes: Any) -> tuple[Model, Any]:
    options = {"cell": "gru", "input_size": V, "hidden": H, "output_size": V, "loss_at": "every", "tokens": True}
    model = Model.make(**{**options, **changes})
    return model, model.init(stream(1, "init"), "uniform", "float64")


def batches(count: int, epochs: int = 1) -> list[Batch]:
    """A text in blocks, `count` batches of n blocks, over and over."""
    ids = np.random.default_rng(2).integers(V, size=count * n * B + 1)
    x, y = (ids[i : len(ids) - 1 + i].reshape(count, n, B).transpose(0, 2, 1) for i in (0, 1))
    pass_ = [Batch(x[i], y[i], continues=i > 0, index=i, consecutive=True) for i in range(count)]
    return pass_ * epochs


def train(given: list[Batch], model: Model | None = None, **options: Any) -> tuple[list[btprop.State], list[Info]]:
    """The states after each batch and what the steps told."""
    made, params = network() if model is None else (model, model.init(stream(1, "init"), "uniform", "float64"))
    config = btprop.Config(**options)
    state = btprop.init(config, made, params, stream(1, "method"))
    states, infos = [], []
    for batch in given:
        state, info = btprop.step(config, made, state, batch, stream(1, "step"))
        states.append(state)
        infos.append(info)
    return states, infos


def test_each_batch_begins_where_the_last_prediction_of_the_one_before_ended() -> None:
    states, infos = train(batches(3, epochs=2), h_lr=0.0, theta_lr=0.0)
    for state, info, following in zip(states, infos, infos[1:], strict=False):
        assert_array_equal(state.carry, info.arrays["h_hat"][-1])
        assert_array_equal(following.arrays["h"][0], state.carry)  # at the start of an epoch too
    assert_array_equal(infos[0].arrays["h"][0], np.zeros(H))


def test_without_updates_the_states_are_those_of_one_long_unroll() -> None:
    _, infos = train(batches(3), h_lr=0.0, theta_lr=0.0)
    model, params = network()
    ids = np.concatenate([blocks.in_a_row(batch.x) for batch in batches(3)])
    h = model.unroll(params, ids, model.initial_state(params, 1))[:, 0]
    assert_allclose(np.concatenate([info.arrays["h"][1:] for info in infos]), h[B - 1 :: B], rtol=1e-12)


def test_epochs_are_counted_and_open_the_duals() -> None:
    states, infos = train(batches(2, epochs=3), constraint="admm", u_start=2)
    assert [state.epoch for state in states] == [1, 1, 2, 2, 3, 3]
    moved = [bool(np.any(info.arrays["u"])) for info in infos]
    assert moved == [False, False, True, True, True, True]
    assert all(state.u is None for state in states)  # they start at zero with every batch


@pytest.mark.parametrize("constraint", ["pm", "admm", "alm"])
@pytest.mark.parametrize("cell", ["srn", "gru", "gru-cho", "lstm"])
def test_it_learns(constraint: Any, cell: str) -> None:
    model, _ = network(cell=cell, hidden=16)
    again = [replace(batch, continues=False) for batch in batches(1) * 60]
    _, infos = train(again, model, constraint=constraint, u_start=1, lam=0.1, theta_lr=0.05)
    assert float(infos[0].loss) > 1.5
    assert float(infos[-1].loss) < 0.8


def test_a_penalty_per_token_is_a_block_times_as_large_for_the_same_steps() -> None:
    one, _ = train(batches(3), lam=0.6)
    other, _ = train(batches(3), lam=0.6 * B, per_token=True)
    for name, p in one[-1].params.items():
        assert_allclose(other[-1].params[name], p, rtol=1e-12)


def test_the_first_state_can_be_held() -> None:
    for first_state, same in (("free", False), ("fixed", True)):
        states, infos = train(batches(2), first_state=first_state, theta_lr=0.0)
        assert np.array_equal(infos[1].arrays["h"][0], states[0].carry) == same
        assert not np.array_equal(infos[1].arrays["h"][1], infos[1].arrays["h_hat"][0])


def test_the_papers_order_moves_duals_last() -> None:
    options: dict[str, Any] = {"constraint": "admm", "u_start": 1, "h_init": "restart"}
    _, (code,) = train(batches(1), **options)
    _, (paper,) = train(batches(1), order="paper", **options)
    _, (without,) = train(batches(1), **options | {"constraint": "pm"})
    for name, g in without.grads.items():
        assert_array_equal(paper.grads[name], g)
    assert np.any(code.grads["W_hh"] != without.grads["W_hh"])
    assert np.any(paper.arrays["u"] != code.arrays["u"])  # they answer the moved parameters


@pytest.mark.parametrize("cell", ["srn", "gru", "gru-cho"])
def test_steps_on_z_keep_states_inside_tanh(cell: str) -> None:
    model = network(cell=cell)[0]
    options: dict[str, Any] = {"h_lr": 100.0, "h_optimizer": "sgd", "lam": 3.0, "theta_lr": 0.0, "h_init": "restart"}
    largest = [
        np.abs(train(batches(1), model, opt_arctanh=on, **options)[1][0].arrays["h"]).max() for on in (False, True)
    ]
    assert largest[0] > 1 >= largest[1]
    _, (still,) = train(batches(1), model, opt_arctanh=True, h_lr=0.0)
    _, (plain,) = train(batches(1), model, h_lr=0.0)
    assert_allclose(still.arrays["h"], plain.arrays["h"], rtol=1e-12)


def test_the_gradient_by_z_is_that_by_h_times_the_slope() -> None:
    model, params = network()
    step = {"h_optimizer": "sgd", "h_lr": 1e-7, "theta_lr": 0.0, "h_init": "restart"}
    _, (plain,) = train(batches(1), **step)
    _, (bent,) = train(batches(1), opt_arctanh=True, **step)
    config = btprop.Config(h_init="restart")
    problem = btprop.Problem(config, model, batches(1)[0].x, batches(1)[0].y)
    h = btprop.first_states(problem, params, np.zeros(H))
    by_h, by_z = ((info.arrays["h"] - h) / 1e-7 for info in (plain, bent))
    assert_allclose(by_z, by_h * (1 - h**2) ** 2, rtol=1e-4, atol=1e-7)  # once for the gradient, once for the step


@pytest.mark.parametrize("value", [1.0, -1.0, 1.5])
def test_states_at_the_ends_of_tanh_are_cut(value: float) -> None:
    config = btprop.Config(opt_arctanh=True)
    z = btprop.to_z(config, np.array([value, 0.5]))
    assert_array_equal(z, [np.sign(value) * btprop.LARGEST_Z, np.arctanh(0.5)])


def test_the_h_phase_ends_when_there_is_nothing_left_to_do() -> None:
    """A gradient of zero is found with the first step; one that the rate of zero never lowers, with none."""
    steps = {"h_optimizer": "sgd", "lam": 1e9, "h_init": "restart", "theta_lr": 0.0, "h_lr": 0.0}
    calls = []

    class Counting(btprop.Problem):
        def objective(self, theta: Any, h: Array, u: Array) -> Any:
            calls.append(1)
            return super().objective(theta, h, u)

    model, params = network()
    for lam, expected in ((1.0, 50), (0.0, 1)):
        config = btprop.Config(h_steps=50, **{**steps, "lam": lam})  # type: ignore[arg-type]
        # A readout that does not look at the state, and no penalty: the gradient is zero.
        flat = {**params, "W_hy": np.zeros_like(params["W_hy"])}
        problem = Counting(config, model, batches(1)[0].x, batches(1)[0].y)
        h = btprop.first_states(problem, flat, np.zeros(H))
        calls.clear()
        btprop.h_steps(problem, btprop.Point(flat, h, np.zeros((n, H)), {}))
        assert len(calls) == expected


def test_what_is_measured() -> None:
    config = btprop.Config(h_init="zero", h_lr=0.0, constraint="admm", u_start=1)
    model, params = network()
    state = btprop.init(config, model, params, stream(1, "method"))
    _, info = btprop.step(config, model, state, batches(1)[0], stream(1, "step"))
    found = btprop.measure(config, model, state, batches(1)[0], info)
    rows = info.arrays["h_hat"]
    assert found["residual"] == pytest.approx(np.sqrt((rows**2).sum(axis=1).mean()))
    assert found["dual"] == pytest.approx(np.sqrt((info.arrays["u"] ** 2).sum(axis=1).mean()))
    assert found["state"] == 0
    for k, nll in enumerate(found["positions"]):
        z = model.output(params, batches(1)[0].x)[k]  # from states of zeros, as here
        own = np.take_along_axis(z, batches(1)[0].y[k][:, None], axis=1)[:, 0]
        assert nll == pytest.approx(np.mean(np.log(np.exp(z).sum(axis=1)) - own), rel=1e-5)
    assert len(found["positions"]) == len(batches(1)[0].x)


def test_divergence_is_told() -> None:
    with np.errstate(all="ignore"):
        _, (info,) = train(batches(1), lam=1e300, theta_lr=1e300, h_lr=1e300, h_init="restart", h_optimizer="sgd")
    assert info.status == "diverged"
    assert info.reason


@pytest.mark.parametrize(
    ("method", "options"),
    [
        (btprop, {}),
        (btprop, {"constraint": "alm", "opt_arctanh": True, "h_init": "restart"}),
        (btprop, {"constraint": "admm", "h_init": "zero", "u_start": 1, "first_state": "fixed"}),
        (btprop_batch, {"constraint": "admm", "u_start": 1, "dual": "scaled", "first_state": "fixed"}),
        (bptt, {}),
    ],
)
def test_any_array_library_comes_to_the_same(method: Any, options: dict[str, Any]) -> None:
    """What runs on a GPU is this code: here on a library that has nothing but the standard, and a device of its own."""
    config = bptt.Config() if method is bptt else btprop.Config(**options)
    model, params = network()
    ends = []
    for wrap in (lambda array: array, strict):
        state = method.init(config, model, {name: wrap(p) for name, p in params.items()}, stream(1, "method"))
        text = [replace(b, x=wrap(b.x), y=wrap(b.y), last=b.index == 1) for b in batches(2)]
        for batch in text * 3:
            state, _ = method.step(config, model, state, batch, stream(1, "step"))
        ends.append(state.params)
    for name, p in ends[0].items():
        assert_allclose(loose(ends[1][name]), p, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lam": -1.0}, "lam must be at least 0"),
        ({"h_steps": -1}, "h_steps must be at least 0"),
        ({"theta_steps": 0}, "theta_steps must be at least 1"),
        ({"alm_steps": 0}, "alm_steps must be at least 1"),
        ({"alm_steps": 3}, "alm_steps belongs to alm: leave it out with pm"),
        ({"constraint": "admm", "alm_steps": 3}, "leave it out with admm"),
        ({"constraint": "alm", "h_steps": 3}, "h_steps and theta_steps belong to pm and admm"),
        ({"constraint": "alm", "theta_steps": 3}, "h_steps and theta_steps belong to pm and admm"),
        ({"u_start": 0}, "u_start must be at least 1"),
        ({"h_clip": 0.0}, "h_clip must be above 0"),
        ({"clip": float("nan")}, "clip must be above 0"),
    ],
)
def test_impossible_options(options: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        btprop.Config(**options)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="there is no parameter 'W_x'"):
        train(batches(1), frozen=("W_x",))
    with pytest.raises(InputError, match="opt_arctanh needs states between -1 and 1"):
        train(batches(1), network(cell="lstm")[0], opt_arctanh=True)
    with pytest.raises(InputError, match="a loss at every step"):
        train(batches(1), network(loss_at="last")[0])
    with pytest.raises(InputError, match="layout blocks"):
        train([replace(batches(1)[0], consecutive=False)])
