"""The model: readout and losses against plain NumPy, token inputs, parameters, and what is refused.

Legend: T time, B batch, D input size, V vocabulary, H hidden units, O outputs.
"""

from __future__ import annotations

import dataclasses
import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from algorithms import bptt
from algorithms.dropout import NONE, Dropout
from algorithms.model import Model
from algorithms.readouts import Linear
from datasets.task import Batch
from minigrad.cells import LSTM, SRN
from minigrad.check import check_gradient
from minigrad.errors import InputError
from minigrad.rng import stream
from minigrad.tape import Tape
from tests.minigrad.recurrences import record_calls
from tests.minigrad.strategies import DEVICE, loose, random_arrays, strict

T, B, D, H, O, V = 5, 3, 2, 4, 3, 7

MODELS: dict[str, Model] = {
    f"{cell} {loss} {at}{' tokens' if tokens else ''}": Model.make(
        cell=cell,
        input_size=V if tokens else D,
        hidden=H,
        layers=layers,
        output_size=O,
        loss=loss,
        loss_at=at,
        tokens=tokens,
    )
    for cell, layers, loss, at, tokens in [
        ("srn", 1, "softmax", "last", False),
        ("srn", 1, "mse", "last", False),
        ("srn", 1, "softmax", "every", False),
        ("srn", 1, "mse", "every", False),
        ("lstm", 1, "softmax", "every", True),
        ("gru", 2, "softmax", "last", True),
        ("lstm", 2, "mse", "last", True),
    ]
}

every = pytest.mark.parametrize("name", MODELS)


def parameters(model: Model, dtype: str = "float64") -> Any:
    """Parameters of which none is zero."""
    p = model.init(stream(0, "init"), "uniform", dtype)
    (b_y,) = random_arrays([(O,)], 9, dtype=dtype)
    return {**p, "b_y": b_y}


def batch(model: Model, dtype: str = "float64") -> tuple[Any, Any]:
    """Inputs and targets."""
    rng = stream(1, "batch")
    x = rng.integers(0, V, (T, B)) if model.vocabulary else random_arrays([(T, B, D)], dtype=dtype)[0]
    lead = (T, B) if model.loss_at == "every" else (B,)
    y = rng.integers(0, O, lead) if model.loss == "softmax" else random_arrays([(*lead, O)], 2, dtype=dtype)[0]
    return x, y


def expected_loss(model: Model, p: Any, h: Any, y: Any) -> float:
    """By loops, for states [T, B, S]."""
    top = h[..., model.cell.state_size - model.cell.layers[-1].state_size :] if hasattr(model.cell, "layers") else h
    losses = []
    for t in range(T) if model.loss_at == "every" else [T - 1]:
        for b in range(B):
            output = top[t, b, :H] @ p["W_hy"] + p["b_y"]
            target = y[t, b] if model.loss_at == "every" else y[b]
            if model.loss == "softmax":
                losses.append(np.log(np.sum(np.exp(output))) - output[target])
            else:
                losses.append(np.sum((output - target) ** 2))
    return float(np.mean(losses))


def loss_of(model: Model, p: Any, x: Any, y: Any) -> Any:
    """E of a batch."""
    h = model.unroll(p, x, model.initial_state(p, x.shape[1]))
    return model.score(p, model.scored(h), y)


@every
def test_the_loss_is_the_mean_over_all_that_is_scored(name: str) -> None:
    model = MODELS[name]
    p, (x, y) = parameters(model), batch(model)
    h = model.unroll(p, x, model.initial_state(p, B))
    E = model.score(p, model.scored(h), y)
    assert E.shape == ()
    assert_allclose(E, expected_loss(model, p, h, y), rtol=1e-12)


@every
def test_steps_and_sequences_agree(name: str) -> None:
    model = MODELS[name]
    p, (x, _) = parameters(model), batch(model)
    h = model.initial_state(p, B)
    assert_array_equal(h, np.zeros((B, model.cell.state_size)))
    states = model.unroll(p, x, h)
    for t in range(T):
        h = model.step(p, x[t], h)
        assert_allclose(states[t], h, rtol=1e-12, atol=1e-14)
    assert_allclose(model.output(p, x), model.readout(p, states if model.loss_at == "every" else states[-1]))
    assert_allclose(model.cell.advance(p, model.project(p, x)[0], model.initial_state(p, B)), states[0], rtol=1e-12)


@pytest.mark.parametrize("kind", [None, "locked", "elements"])
@pytest.mark.parametrize("at_once", [1, 7, 8, 1000])
def test_only_the_last_state_takes_memory(kind: Any, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever number of steps is gone through at once, what is left out of each is the same."""
    dropout = NONE if kind is None else Dropout(kind=kind, inputs=0.5, between=0.5, recurrent=0.5)
    model = Model.make(cell="lstm", layers=2, input_size=D, hidden=H, output_size=O, loss="mse", dropout=dropout)
    p, (x, _) = parameters(model), batch(model)
    model = model.drawn(stream(1, "drawn"), p, T, B)
    whole = model.readout(p, model.unroll(p, x, model.initial_state(p, B))[-1])
    monkeypatch.setattr("algorithms.model.AT_ONCE", at_once)
    assert_allclose(model.output(p, x), whole, rtol=1e-12)


def test_a_long_sequence_takes_the_memory_of_a_stretch(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model.make(cell="lstm", input_size=D, hidden=H, output_size=O, loss="mse")
    p, x = parameters(model), np.zeros((1000, 20, D))
    sizes = []
    for at_once in (1 << 10, 1 << 24):
        monkeypatch.setattr("algorithms.model.AT_ONCE", at_once)
        model.output(p, x)
        tracemalloc.start()
        model.output(p, x)
        sizes.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert 10 * sizes[0] < sizes[1]


@every
def test_gradients_by_all_parameters(name: str) -> None:
    model = MODELS[name]
    p, (x, y) = parameters(model), batch(model)
    names = list(p)
    check_gradient(lambda *w: loss_of(model, dict(zip(names, w, strict=True)), x, y), *p.values(), directions=30)


@every
def test_float32_stays_float32(name: str) -> None:
    model = MODELS[name]
    x, y = batch(model, "float32")
    with Tape() as tape:
        p = tape.watch(parameters(model, "float32"))
        E = loss_of(model, p, x, y)
    assert E.dtype == "float32"
    assert {g.dtype for g in tape.gradient(E, p).values()} == {np.dtype("float32")}
    assert model.initial_state(p, B).dtype == "float32"


@every
def test_other_libraries_and_devices(name: str) -> None:
    model = MODELS[name]
    p, (x, y) = parameters(model), batch(model)

    def run(p: Any, x: Any, y: Any) -> tuple[Any, Any]:
        with Tape() as tape:
            w = tape.watch(p)
            E = loss_of(model, w, x, y)
        return E.value, tape.gradient(E, w)

    E, gradients = run(p, x, y)
    there, gradients_there = run({n: strict(a) for n, a in p.items()}, strict(x), strict(y))
    assert there.device == DEVICE
    assert_allclose(loose(there), E, rtol=1e-12)
    for n, g in gradients.items():
        assert_allclose(loose(gradients_there[n]), g, rtol=1e-10, atol=1e-13)


def test_tokens_are_rows_of_the_embedding() -> None:
    model = MODELS["lstm softmax every tokens"]
    p, (ids, _) = parameters(model), batch(model)
    assert p["E"].shape == (V, H)
    assert_array_equal(model.embed(p, ids), p["E"][ids])
    vectors = MODELS["srn softmax last"]
    (x,) = random_arrays([(T, B, D)])
    assert vectors.embed({}, x) is x


@pytest.mark.parametrize("scheme", ["orthogonal", "normal", "sigmoid", "uniform"])
def test_first_values(scheme: Any) -> None:
    """Names in order; the cell's values are those of the cell alone; a bias of zero; embeddings within 0.1."""
    model = Model(LSTM(6, H), Linear(H, O), vocabulary=V)
    p = model.init(stream(3, "init"), scheme, "float32")
    assert {n: a.shape for n, a in p.items()} == {
        "W_xh": (6, 4 * H),
        "W_hh": (H, 4 * H),
        "b_h": (4 * H,),
        "W_hy": (H, O),
        "b_y": (O,),
        "E": (V, 6),
    }
    assert {a.dtype for a in p.values()} == {np.dtype("float32")}
    for n, array in LSTM(6, H).init(stream(3, "init"), scheme, "float32").items():
        assert_array_equal(p[n], array)
    for n, array in model.init(stream(3, "init"), scheme, "float32").items():
        assert_array_equal(p[n], array)
    assert not p["b_y"].any()
    assert np.max(np.abs(p["E"])) <= 0.1
    if scheme == "orthogonal":
        assert_allclose(p["W_hy"].T @ p["W_hy"], np.eye(O), atol=1e-6)
    else:
        size = {"normal": 0.1, "sigmoid": 0.01, "uniform": 0.1 / np.sqrt(3)}[scheme]
        assert 0.5 * size < np.std(p["W_hy"]) < 1.5 * size


def test_identity_keeps_the_readout_small() -> None:
    """Le, Jaitly & Hinton 2015: all weights that do not recur are N(0, 0.001^2)."""
    p = Model.make(input_size=1, hidden=50, output_size=40, activation="relu").init(stream(3), "identity", "float64")
    assert_array_equal(p["W_hh"], np.eye(50))
    assert_allclose(np.std(p["W_hy"]), 0.001, rtol=0.1)
    assert not p["b_y"].any()


def test_sizes_by_name() -> None:
    model = Model.make(cell="lstm", input_size=V, hidden=H, layers=2, output_size=O, tokens=True)
    assert model.vocabulary == V
    assert (model.cell.input_size, model.cell.hidden, model.cell.state_size) == (H, H, 4 * H)
    plain = Model.make(input_size=D, hidden=H, output_size=O)
    assert plain == Model(SRN(D, H), Linear(H, O))
    assert plain.vocabulary is None


@every
def test_the_kernels_that_run_are_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the model and by BPTT: those that loss and gradient call, and no others; update rules are no part of them."""
    monkeypatch.setenv("MINIGRAD_KERNELS", "fused")
    called = record_calls(monkeypatch)
    model = MODELS[name]
    x, y = batch(model)
    config = bptt.Config()
    state = bptt.init(config, model, parameters(model), stream(2))
    _, info = bptt.step(config, model, state, Batch(x, y), stream(2))
    called.discard("updates")
    assert called == set(model.kernels) == set(bptt.METHODS["bptt"].kernels(config, model))
    assert info.kernels == dict.fromkeys(called, "fused")
    monkeypatch.setenv("MINIGRAD_KERNELS", "reference")
    _, info = bptt.step(config, model, state, Batch(x, y), stream(2))
    assert info.kernels == dict.fromkeys(called, "reference")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"loss": "hinge"}, "unknown loss 'hinge': use softmax or mse"),
        ({"loss_at": "first"}, "unknown loss_at 'first': use last or every"),
        ({"output_size": 0}, "sizes are at least 1, got output 0"),
        ({"input_size": 0, "tokens": True}, "vocabulary 0"),
        ({"hidden": 0}, "hidden 0"),
        ({"cell": "elman"}, "unknown cell 'elman'"),
        ({"activation": "softplus"}, "unknown activation 'softplus'"),
    ],
)
def test_impossible_models(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Model.make(**({"input_size": D, "hidden": H, "output_size": O} | settings))


def test_the_smallest_model() -> None:
    model = Model.make(input_size=1, hidden=1, output_size=1, tokens=True)
    p = model.init(stream(0), "normal", "float64")
    assert model.output(p, np.zeros((1, 1), int)).shape == (1, 1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.output_size = 2


def test_unknown_schemes() -> None:
    with pytest.raises(InputError, match="unknown initialisation"):
        MODELS["srn softmax last"].init(stream(0), "zeros", "float64")


def test_targets_that_do_not_fit() -> None:
    """Nothing is broadcast in silence: a target for the last step does not score all steps."""
    softmax, mse = MODELS["srn softmax every"], MODELS["srn mse every"]
    p = parameters(softmax)
    (x, y), (_, values) = batch(softmax), batch(mse)
    for model, target in ((softmax, y[-1]), (softmax, y.T), (mse, values[-1]), (mse, values[..., :1])):
        with pytest.raises(ValueError, match=r"do not fit|differ"):
            loss_of(model, p, x, target)
    with pytest.raises(IndexError, match="out of bounds"):
        loss_of(softmax, p, x, y + O)
    with pytest.raises(ValueError, match=r"W_xh has shape \(2, 4\), expected \[D=1, H=4\]"):
        loss_of(softmax, p, x[..., :1], y)
    tokens = MODELS["lstm softmax every tokens"]
    ids, y = batch(tokens)
    with pytest.raises(IndexError, match="out of bounds"):
        loss_of(tokens, parameters(tokens), ids + V, y)
