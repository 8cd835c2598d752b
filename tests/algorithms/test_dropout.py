"""Models as they are drawn for training: masks and where they act, AR and TAR, against plain NumPy and finite
differences; what is judged has none of it.

Legend: T time, B batch, V vocabulary, D embedding, H units of a layer, N units of the highest.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import algorithms
from algorithms import bptt, fptt
from algorithms.dropout import Dropout, Masks, mask
from algorithms.model import Model
from algorithms.protocol import READOUTS, initial_state
from datasets.task import Batch
from minigrad.check import check_gradient
from minigrad.errors import InputError
from minigrad.rng import stream
from minigrad.tape import Tape
from tests.minigrad.strategies import DEVICE, loose, random_arrays, seeds, strict

T, B, V, D, H, N = 6, 3, 5, 4, 6, 4
MANY = settings(max_examples=40, deadline=None, derandomize=True)

EVERYTHING = dict.fromkeys(("embedding", "inputs", "between", "recurrent", "outputs", "latent"), 0.3)


def text_model(kind: Any = "locked", cell: str = "lstm", ar: float = 0.0, tar: float = 0.0, **rates: float) -> Model:
    """Three layers and a mixture of softmaxes: everything there is to drop but logits."""
    return Model.make(
        cell=cell,
        input_size=V,
        hidden=H,
        layers=3,
        top=N,
        output_size=V,
        loss_at="every",
        tokens=True,
        embedding=D,
        readout="mos",
        experts=2,
        dropout=Dropout(kind=kind, **rates),
        ar=ar,
        tar=tar,
    )


def classifier(kind: Any = "locked", loss: Any = "softmax", **rates: float) -> Model:
    return Model.make(
        cell="gru",
        input_size=D,
        hidden=H,
        output_size=V,
        loss=loss,
        readout="two-linear",
        dropout=Dropout(kind=kind, **rates),
    )


def parameters(model: Model, dtype: str = "float64") -> Any:
    """Parameters of which none is zero."""
    p = model.init(stream(0, "init"), "uniform", dtype)
    (b_y,) = random_arrays([(V,)], 9, dtype=dtype)
    return {**p, "b_y": b_y}


def batch(steps: int = T, seed: int = 1, **changes: Any) -> Batch:
    ids = stream(seed, "batch").integers(0, V, (steps + 1, B))
    return Batch(ids[:-1], ids[1:], **changes)


def drawn(model: Model, p: Any, seed: int = 2, steps: int = T) -> tuple[Model, Masks]:
    found = model.drawn(stream(seed, "step"), p, steps, B)
    assert found.masks is not None
    return found, found.masks


def loss(model: Model, p: Any, given: Batch) -> Any:
    h = model.unroll(p, given.x, model.initial_state(p, B))
    return model.score(p, model.scored(h), given.y)


# --- masks ---


@MANY
@given(st.floats(0.01, 0.95), seeds)
def test_a_mask_keeps_the_mean(p: float, seed: int) -> None:
    """Each element is 0 with probability p, else 1 / (1 - p): within five standard deviations."""
    found = mask(stream(seed), p, (50, 200), np.zeros(1))
    assert found is not None
    assert_allclose(np.unique(found), [0, 1 / (1 - p)], rtol=1e-12)
    assert abs(np.mean(found) - 1) < 5 * np.sqrt(p / (1 - p) / found.size)


def test_nothing_is_drawn_where_nothing_is_dropped() -> None:
    rng, same = stream(1), stream(1)
    assert mask(rng, 0.0, (3,), np.zeros(1)) is None
    model = text_model()
    assert model.drawn(rng, {}, T, B) is model
    assert rng.random() == same.random()
    penalised = text_model(ar=1.0)
    rng = stream(1)
    assert penalised.drawn(rng, parameters(penalised), T, B).masks is not None
    assert rng.random() == stream(1).random()


def test_masks_are_in_the_precision_of_the_parameters_and_the_same_in_both() -> None:
    model = text_model(**EVERYTHING)
    _, narrow = drawn(model, parameters(model, "float32"))
    _, wide = drawn(model, parameters(model, "float64"))
    assert narrow.outputs.dtype == np.float32
    assert_array_equal(narrow.outputs == 0, wide.outputs == 0)
    for name, found in narrow.recurrent.items():
        assert found.dtype == np.float32
        assert_array_equal(found == 0, wide.recurrent[name] == 0)


@pytest.mark.parametrize(("kind", "steps"), [("locked", 1), ("elements", T)])
def test_shapes_of_masks(kind: str, steps: int) -> None:
    """Locked: one for all steps. Rows of E and elements of W_hh are the same at all steps with both."""
    model = text_model(kind, **EVERYTHING)
    p = parameters(model)
    _, m = drawn(model, p)
    assert m.embedding.shape == (V,)
    assert m.inputs.shape == (steps, B, D)
    assert [found.shape for found in m.between] == [(steps, B, H)] * 2
    assert {name: found.shape for name, found in m.recurrent.items()} == {
        f"layer{i}/W_hh": p[f"layer{i}/W_hh"].shape for i in range(3)
    }
    assert m.outputs.shape == (steps, B, N)
    assert m.latent.shape == (steps, B, 2 * D)
    assert m.logits is None
    images = classifier(kind, logits=0.3, outputs=0.2, inputs=0.1)
    _, m = drawn(images, parameters(images))
    assert m.inputs.shape == (steps, B, D)
    assert (m.outputs.shape, m.logits.shape) == ((B, H), (B, V))


def test_the_same_seed_draws_the_same_and_another_another() -> None:
    model = text_model(**EVERYTHING)
    p = parameters(model)
    first, again, other = (loss(drawn(model, p, seed)[0], p, batch()) for seed in (2, 2, 3))
    assert first == again != other


# --- where they act ---


def by_hand(model: Model, p: Any, m: Masks, given: Batch) -> tuple[Any, Any]:
    """States of the highest layer before and after dropout, in plain NumPy; lstm."""
    x = p["E"][given.x] * m.embedding[given.x][..., None] * m.inputs
    for i, width in enumerate((H, H, N)):
        W_hh = p[f"layer{i}/W_hh"] * m.recurrent[f"layer{i}/W_hh"]
        h, c, states = np.zeros((B, width)), np.zeros((B, width)), []
        for x_t in x:
            gates = x_t @ p[f"layer{i}/W_xh"] + h @ W_hh + p[f"layer{i}/b_h"]
            i_t, f_t, g_t, o_t = np.split(gates, 4, axis=1)
            c = c / (1 + np.exp(-f_t)) + np.tanh(g_t) / (1 + np.exp(-i_t))
            h = np.tanh(c) / (1 + np.exp(-o_t))
            states.append(h)
        raw = np.stack(states)
        x = raw * (m.between[i] if i < 2 else m.outputs)
    return raw, x


@pytest.mark.parametrize("kind", ["locked", "elements"])
def test_a_drawn_model_is_the_formula(kind: str) -> None:
    model = text_model(kind, ar=2.0, tar=1.5, **EVERYTHING)
    p, data = parameters(model), batch()
    noisy, m = drawn(model, p)
    raw, seen = by_hand(model, p, m, data)
    h = noisy.unroll(p, data.x, noisy.initial_state(p, B))
    assert_allclose(noisy.cell.output(h), raw, rtol=1e-10, atol=1e-13)
    E = noisy.head.cross_entropy(p, seen, data.y, m.latent)
    E = E + 2.0 * np.mean(seen**2) + 1.5 * np.mean((raw[1:] - raw[:-1]) ** 2)
    assert_allclose(noisy.score(p, noisy.scored(h), data.y), E, rtol=1e-10)


def test_what_is_carried_on_is_not_dropped() -> None:
    model = text_model(outputs=0.5)
    p, data = parameters(model), batch()
    h = model.initial_state(p, B)
    assert_array_equal(drawn(model, p)[0].unroll(p, data.x, h), model.unroll(p, data.x, h))


@pytest.mark.parametrize("at", ["softmax", "mse"])
def test_logits_of_a_classifier(at: str) -> None:
    model = classifier(loss=at, outputs=0.4, **({"logits": 0.3} if at == "softmax" else {}))
    p = parameters(model)
    x, values = random_arrays([(T, B, D), (B, V)], 3)
    noisy, m = drawn(model, p)
    h = noisy.scored(noisy.unroll(p, x, noisy.initial_state(p, B)))
    z = model.head.logits(p, h * m.outputs) * (1.0 if m.logits is None else m.logits)
    assert_allclose(noisy.readout(p, h), z, rtol=1e-12)
    if at == "mse":
        assert_allclose(noisy.score(p, h, values), np.mean(np.sum((z - values) ** 2, axis=1)), rtol=1e-12)
    else:
        y = np.arange(B)
        assert_allclose(
            noisy.score(p, h, y), np.mean(np.log(np.sum(np.exp(z), axis=1)) - z[np.arange(B), y]), rtol=1e-12
        )


@pytest.mark.parametrize("kind", ["locked", "elements"])
def test_gradients_with_masks_and_penalties(kind: str) -> None:
    model = text_model(kind, ar=2.0, tar=1.0, **EVERYTHING)
    p, data = parameters(model), batch()
    noisy, _ = drawn(model, p)
    names = list(p)
    check_gradient(lambda *w: loss(noisy, dict(zip(names, w, strict=True)), data), *p.values(), directions=30)
    images = classifier(kind, logits=0.3, outputs=0.2, inputs=0.1, recurrent=0.2)
    p = parameters(images)
    noisy, _ = drawn(images, p)
    data = Batch(random_arrays([(T, B, D)], 3)[0], np.arange(B))
    names = list(p)
    check_gradient(lambda *w: loss(noisy, dict(zip(names, w, strict=True)), data), *p.values(), directions=30)


def test_what_is_left_out_of_the_weights_has_no_gradient() -> None:
    model = text_model(recurrent=0.5, embedding=0.5)
    p = parameters(model)
    noisy, m = drawn(model, p)
    with Tape() as tape:
        w = tape.watch(p)
        E = loss(noisy, w, batch())
    grads = tape.gradient(E, w)
    for name, found in m.recurrent.items():
        assert not grads[name][found == 0].any()
        assert grads[name][found > 0].all()


def test_on_average_a_drawn_linear_network_is_the_network() -> None:
    """Inverted scaling: for linear units the mean over masks of what is put out is what is judged."""
    model = Model.make(
        activation="linear",
        input_size=D,
        hidden=H,
        layers=2,
        output_size=V,
        dropout=Dropout(inputs=0.4, between=0.3, outputs=0.2, logits=0.1),
    )
    p = parameters(model)
    (x,) = random_arrays([(T, B, D)], 3)
    found = [drawn(model, p, seed)[0].output(p, x) for seed in range(3_000)]
    spread = np.std(found, axis=0) / np.sqrt(len(found))
    assert (np.abs(np.mean(found, axis=0) - model.output(p, x)) < 5 * spread).all()


# --- penalties ---


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_tar_asks_for_more_than_two_steps(steps: int) -> None:
    model = text_model(tar=3.0)
    p, data = parameters(model), batch(steps)
    noisy, _ = drawn(model, p, steps=steps)
    raw = model.cell.output(model.unroll(p, data.x, model.initial_state(p, B)))
    change = np.mean((raw[1:] - raw[:-1]) ** 2) if steps > 2 else 0.0
    assert_allclose(loss(noisy, p, data), loss(model, p, data) + 3.0 * change, rtol=1e-12)


def test_judging_knows_neither_masks_nor_penalties() -> None:
    model, plain = text_model(ar=2.0, tar=1.0, **EVERYTHING), text_model()
    p, data = parameters(model), batch()
    assert model.noisy
    assert not plain.noisy
    assert model.masks is None
    assert loss(model, p, data) == loss(plain, p, data)
    assert_array_equal(model.output(p, data.x), plain.output(p, data.x))


# --- libraries and precision ---


def test_float32_stays_float32() -> None:
    model = text_model(ar=2.0, tar=1.0, **EVERYTHING)
    p = parameters(model, "float32")
    noisy, _ = drawn(model, p)
    with Tape() as tape:
        w = tape.watch(p)
        E = loss(noisy, w, batch())
    assert E.dtype == np.float32
    assert {g.dtype for g in tape.gradient(E, w).values()} == {np.dtype("float32")}


def test_other_libraries_and_devices() -> None:
    """The masks are drawn on the host: the same wherever the parameters live."""
    model = text_model(ar=2.0, tar=1.0, **EVERYTHING)
    p, data = parameters(model), batch()
    there = {name: strict(array) for name, array in p.items()}
    noisy, _ = drawn(model, there)
    E = loss(noisy, there, Batch(strict(data.x), strict(data.y)))
    assert E.device == DEVICE
    assert_allclose(loose(E), loss(drawn(model, p)[0], p, data), rtol=1e-12)


# --- methods ---


def steps(method: Any, config: Any, model: Model, dtype: str = "float64", count: int = 4) -> tuple[Any, list[float]]:
    """The state after some windows of a text, and the losses."""
    state, losses = method.init(config, model, parameters(model, dtype), stream(1)), []
    for i in range(count):
        given = batch(seed=i, continues=i > 0, index=i)
        state, info = method.step(config, model, state, given, stream(1, "step", i))
        losses.append(float(info.loss))
        assert info.status == "ok"
    return state, losses


CONFIGS = [(bptt, bptt.Config(lr=0.1)), (fptt, fptt.Config(parts=2, lr=0.01))]


@pytest.mark.parametrize(("method", "config"), CONFIGS)
def test_the_random_numbers_of_a_step_decide(method: Any, config: Any) -> None:
    model = text_model(ar=1.0, tar=1.0, **EVERYTHING)
    (state, losses), (again, same) = (steps(method, config, model) for _ in range(2))
    assert losses == same
    assert losses != steps(method, config, text_model())[1]
    for name, array in state.params.items():
        assert_array_equal(array, again.params[name])


@pytest.mark.parametrize(("method", "config"), CONFIGS)
def test_parameters_and_states_stay_float32(method: Any, config: Any) -> None:
    state, _ = steps(method, config, text_model(ar=1.0, tar=1.0, **EVERYTHING), "float32")
    assert {array.dtype for array in state.params.values()} == {np.dtype("float32")}
    assert state.carry.dtype == np.float32


def test_bptt_takes_the_gradient_of_the_drawn_model() -> None:
    model = text_model(ar=1.0, tar=1.0, **EVERYTHING)
    p, data = parameters(model), batch()
    config = bptt.Config(lr=0.1)
    _, info = bptt.step(config, model, bptt.init(config, model, p, stream(1)), data, stream(2, "step"))
    noisy, _ = drawn(model, p)
    with Tape() as tape:
        w = tape.watch(p)
        E = loss(noisy, w, data)
    assert info.loss == E.value
    for name, g in tape.gradient(E, w).items():
        assert_array_equal(info.grads[name], g)


def test_fptt_draws_for_every_part_and_for_the_pass_to_the_next_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mask a part, also where the part is looked at twice; another for the recomputed state."""
    seen: list[int] = []
    draw = Model.drawn

    def counted(self: Model, rng: Any, p: Any, T: int, B: int) -> Model:
        seen.append(T)
        return draw(self, rng, p, T, B)

    monkeypatch.setattr(Model, "drawn", counted)
    for form in ("running", "algorithm2"):
        seen.clear()
        steps(fptt, fptt.Config(parts=4, form=form, lr=0.01, inner_steps=2), text_model(**EVERYTHING), count=3)
        assert seen == [1, 1, 1, 1, 2, T, 1, 1, 1, 1, 2, T, 1, 1, 1, 1, 2]


@pytest.mark.parametrize("kind", ["locked", "elements"])
def test_the_recomputed_state_is_that_of_a_drawn_model(kind: str) -> None:
    """One draw for the whole window, of which every part sees its steps."""
    model = text_model(kind=kind, **EVERYTHING)
    config = fptt.Config(parts=4, lr=0.01)
    state, _ = steps(fptt, config, model, count=1)
    noisy, _ = drawn(model, state.params, seed=7)
    expected = noisy.unroll(state.params, state.window, state.carry)[-1]
    assert_allclose(fptt.carried(config, model, state, stream(7, "step")), expected, rtol=1e-12)


def test_blocks_are_not_for_drawn_models() -> None:
    model = text_model(outputs=0.5)
    with pytest.raises(InputError, match="are for texts in streams"):
        initial_state(model, parameters(model), batch(consecutive=True), None)


def test_what_methods_say_of_themselves() -> None:
    """Those that ask for nothing but scores take all readouts, those that draw the model take dropout."""
    methods = [algorithms.method(name) for name in algorithms.names()]
    assert {m.name for m in methods if m.draws} == {"bptt", "fptt"}
    assert {m.name for m in methods if m.readouts == READOUTS} == {"bptt", "fptt", "btprop", "btprop-batch"}
    assert {m.readouts for m in methods} == {READOUTS, ("linear",)}


# --- refusals ---


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dropout": {"between": 0.1}, "layers": 1}, "dropout_between needs several layers"),
        ({"dropout": {"embedding": 0.1}, "tokens": False}, "dropout_embedding needs token inputs"),
        ({"dropout": {"latent": 0.1}}, "dropout_latent needs the readout mos"),
        ({"dropout": {"logits": 0.1}, "readout": "mos"}, "dropout_logits needs classes, and a readout other than mos"),
        ({"dropout": {"logits": 0.1}, "loss": "mse"}, "dropout_logits needs classes"),
        ({"ar": 1.0, "loss_at": "last"}, "ar is for a loss at every step"),
        ({"tar": 1.0, "loss_at": "last"}, "tar is for a loss at every step"),
        ({"ar": -1.0}, "ar must be at least 0 and finite, got -1.0"),
        ({"tar": float("nan")}, "tar must be at least 0 and finite, got nan"),
        ({"dropout": {"inputs": 1.0}}, r"dropout_inputs must lie in \[0, 1\), got 1.0"),
        ({"dropout": {"outputs": -0.1}}, r"dropout_outputs must lie in \[0, 1\), got -0.1"),
        ({"dropout": {"outputs": float("nan")}}, r"dropout_outputs must lie in \[0, 1\), got nan"),
        ({"dropout": {"kind": "rows"}}, "unknown dropout_kind 'rows': use locked or elements"),
    ],
)
def test_impossible_noise(changes: dict[str, Any], words: str) -> None:
    usual = {"cell": "lstm", "input_size": V, "hidden": 6, "layers": 2, "output_size": V, "tokens": True}
    with pytest.raises(InputError, match=words):
        Model.make(**usual | {"loss_at": "every"} | changes | {"dropout": Dropout(**changes.get("dropout", {}))})


def test_models_are_values() -> None:
    assert text_model(inputs=0.1) == text_model(inputs=0.1) != text_model(inputs=0.2)
    assert hash(text_model(inputs=0.1)) == hash(text_model(inputs=0.1))
    with pytest.raises(dataclasses.FrozenInstanceError):
        text_model().ar = 1.0  # type: ignore[misc]
