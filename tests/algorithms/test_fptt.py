"""What FPTT does beyond its identities: memory, texts and their carried state, weights of parts, what is refused."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from algorithms import fptt, part_losses
from algorithms.model import Model
from algorithms.protocol import Info
from datasets.synthetic import Adding
from datasets.task import Batch
from minigrad.backend import Array, Params
from minigrad.errors import InputError
from minigrad.rng import stream
from minigrad.tape import Tape
from tests.minigrad.strategies import loose, strict

T, B, V = 12, 3, 5


def network(cell: str = "lstm", layers: int = 1) -> tuple[Model, Params]:
    model = Model.make(cell=cell, input_size=V, hidden=6, layers=layers, output_size=V, loss_at="every", tokens=True)
    return model, model.init(stream(1, "init"), "uniform", "float64")


def windows(count: int) -> list[Batch]:
    """A pass of so many windows through the streams of a text."""
    ids = np.random.default_rng(3).integers(V, size=(count * T + 1, B))
    x, y = ids[:-1].reshape(count, T, B), ids[1:].reshape(count, T, B)
    return [Batch(x[i], y[i], continues=i > 0, index=i, last=i == count - 1) for i in range(count)]


def train(
    given: list[Batch], cell: str = "lstm", layers: int = 1, **options: Any
) -> tuple[list[fptt.State], list[Info]]:
    model, params = network(cell, layers)
    config = fptt.Config(**{"parts": 3, **options})
    state, states, infos = fptt.init(config, model, params, stream(1, "method")), [], []
    for batch in given:
        state, info = fptt.step(config, model, state, batch, stream(1, "step"))
        states.append(state)
        infos.append(info)
    return states, infos


def gradient(params: Params, window: Batch, first: int, last: int, h: Array) -> tuple[Params, Array]:
    """Of the loss of the steps first, ..., last - 1 from the state h, and the state in which they end."""
    model, _ = network()
    with Tape() as tape:
        w = tape.watch(params)
        s = model.unroll(w, window.x[first:last], h)
        loss = model.score(w, model.scored(s), window.y[first:last])
    return tape.gradient(loss, w), s.value[-1]


@pytest.mark.parametrize("form", ["running", "algorithm2", "equation6"])
@pytest.mark.parametrize(
    ("cell", "layers", "share"), [("srn", 1, 0.5), ("gru", 1, 0.5), ("antisymmetric", 1, 0.99), ("lstm", 2, 0.5)]
)
def test_every_form_and_cell_learns_a_text(form: str, cell: str, layers: int, share: float) -> None:
    """Stacked cells are one transition."""
    ids = (np.arange(2 * T + 1)[:, None] + np.arange(B)) % V
    laid = [replace(b, x=ids[i * T : i * T + T], y=ids[i * T + 1 : i * T + T + 1]) for i, b in enumerate(windows(2))]
    _, infos = train(laid * 30, cell, layers, form=form, alpha=0.05, lr=0.03)
    losses = [float(info.loss) for info in infos]
    assert losses[-1] < share * losses[0]
    assert all(info.status == "ok" for info in infos)


def test_what_is_kept_is_told_by_the_tape() -> None:
    model, params = network()
    (window,) = windows(1)
    (_,), (info,) = train([window], parts=1)
    with Tape() as tape:
        w = tape.watch(params)
        model.score(w, model.unroll(w, window.x, model.initial_state(params, B)), window.y)
    assert info.kept_bytes == tape.stats().bytes_kept > 0


@pytest.mark.parametrize(("length", "longest"), [(11, (0, 3)), (12, (0, 4)), (5, (3, 5))])
@pytest.mark.parametrize("inner_steps", [1, 3])
def test_the_most_that_is_kept_is_told_of_many_parts(length: int, longest: tuple[int, int], inner_steps: int) -> None:
    """The largest of three parts or, with what remains, four is the first, each, or the last of them."""
    model, params = network()
    (whole,) = windows(1)
    window = replace(whole, x=whole.x[:length], y=whole.y[:length], last=False)
    (state,), (info,) = train([window], inner_steps=inner_steps)
    first, last = longest
    with Tape() as tape:
        w = tape.watch(params)
        model.score(w, model.unroll(w, window.x[first:last], model.initial_state(params, B)), window.y[first:last])
    config = fptt.Config(parts=3, inner_steps=inner_steps)
    assert fptt.measure(config, model, state, window, info)["tape_bytes"] == tape.stats().bytes_kept > 0


def test_the_loss_is_the_mean_of_what_each_part_met() -> None:
    (_,), (info,) = train(windows(1), parts=5, lr=0.1)
    losses = info.arrays["part_losses"]
    assert len(losses) == 6
    assert len(set(losses.tolist())) == 6
    assert_allclose(info.loss, np.mean(losses), rtol=1e-12)


@pytest.mark.parametrize("parts", [1, 4, 5])
def test_of_sequences_with_one_answer_it_is_the_loss_at_the_end(parts: int) -> None:
    """So that costs of methods stand on one scale."""
    task = Adding(length=12)
    batch = task.batch(1, "train", 0, B, "float64")
    model = Model.make(input_size=2, hidden=6, output_size=task.output_size, loss="mse", loss_at="last")
    params = model.init(stream(1, "init"), "uniform", "float64")
    config = fptt.Config(parts=parts, lr=0.0)
    _, info = fptt.step(config, model, fptt.init(config, model, params, stream(1, "m")), batch, stream(1, "step"))
    whole = model.score(params, model.scored(model.unroll(params, batch.x, model.initial_state(params, B))), batch.y)
    assert_allclose(info.loss, whole, rtol=1e-12)


def peak(call: Callable[[], Any]) -> int:
    """Bytes that are allocated at most while something is called for the second time."""
    call()
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def memory(steps: int, **options: Any) -> int:
    """What the second of two windows of so many steps of a text takes."""
    model = Model.make(cell="lstm", input_size=V, hidden=64, output_size=V, loss_at="every", tokens=True)
    params = model.init(stream(1, "init"), "uniform", "float32")
    config = fptt.Config(**options)
    ids = np.random.default_rng(3).integers(V, size=(2 * steps + 1, 8))
    one, two = (
        Batch(ids[i : i + steps], ids[i + 1 : i + steps + 1], continues=i > 0, index=i, last=False) for i in (0, steps)
    )
    state, _ = fptt.step(config, model, fptt.init(config, model, params, stream(1, "m")), one, stream(1, "step"))
    return peak(lambda: fptt.step(config, model, state, two, stream(1, "step")))


def test_memory_is_that_of_one_part_whatever_their_number() -> None:
    """Not of the tape alone: gradients of earlier parts are gone, and so are the states of the window before."""
    two = memory(2 * 16, parts=2)
    assert memory(16 * 16, parts=16) < 1.1 * two
    assert memory(16 * 16, parts=1) > 2 * two
    assert memory(16, parts=1, inner_steps=20) < 1.1 * memory(16, parts=1, inner_steps=4)


def test_the_carried_state_is_recomputed_with_todays_parameters() -> None:
    first, second = windows(2)
    (before,), _ = train([first], lr=0.1)
    model, params = network()
    h = model.unroll(before.params, first.x, model.initial_state(params, B))[-1]
    found = fptt.carried(fptt.Config(parts=3), model, before, stream(1))
    assert found is not None
    assert_allclose(found, h, rtol=1e-12)

    (last,), _ = train([first], lr=0.1, carry="last")
    assert last.window is None
    assert np.any(last.carry != found)
    states, infos = train([first, second], lr=0.0)
    _, others = train([first, second], lr=0.0, carry="last")
    assert_allclose(infos[1].loss, others[1].loss, rtol=1e-12)  # the same while nothing moves
    assert_array_equal(states[1].window, second.x)


def test_states_of_the_window_before_are_there_a_part_at_a_time() -> None:
    model, params = network()
    ids = np.random.default_rng(3).integers(V, size=(601, B))
    batch = Batch(ids[:-1], ids[1:], continues=False, index=0, last=False)

    def taken(parts: int) -> int:
        config = fptt.Config(parts=parts)
        state, _ = fptt.step(config, model, fptt.init(config, model, params, stream(1, "m")), batch, stream(1, "step"))
        return peak(lambda: fptt.carried(config, model, state, stream(2)))

    assert taken(20) < 0.2 * taken(1)


def test_a_new_pass_begins_with_zeros() -> None:
    _, infos = train([windows(2)[0]] * 2, lr=0.0)
    assert infos[0].loss == infos[1].loss


@pytest.mark.parametrize("length", [6, 7, 8])
def test_later_parts_count_for_more(length: int) -> None:
    model = Model.make(cell="lstm", input_size=2, hidden=8, output_size=1, loss="mse")
    params, whole = model.init(stream(1, "init"), "uniform", "float64"), Adding(60).batch(1, "train", 0, 4, "float64")
    batch = replace(whole, x=whole.x[:length])
    losses = []
    for weight in ("none", "linear"):
        config = fptt.Config(parts=3, part_weight=weight, lr=0.0)  # type: ignore[arg-type]
        _, info = fptt.step(config, model, fptt.init(config, model, params, stream(1, "m")), batch, stream(1, "s"))
        losses.append(info.arrays["part_losses"])
    count = 3 + (length % 3 > 0)
    assert_allclose(losses[1], losses[0] * np.arange(1, count + 1) / count, rtol=1e-12)


def test_several_steps_on_a_part_begin_in_one_state() -> None:
    (state,), (info,) = train([windows(1)[0]], inner_steps=3, parts=1, lr=0.1)
    states, infos = train([windows(1)[0]] * 3, parts=1, lr=0.1, alpha=0.0, carry="last")
    assert info.loss == infos[0].loss
    (plain,), _ = train([windows(1)[0]], inner_steps=3, parts=1, lr=0.1, alpha=0.0)
    for name, p in states[-1].params.items():
        assert_allclose(plain.params[name], p, rtol=1e-9, atol=1e-12)
        assert np.any(state.params[name] != network()[1][name])


def test_the_next_part_begins_where_the_last_step_on_a_part_ended() -> None:
    """By hand: two steps of gradient descent on each of three parts."""
    (window,) = windows(1)
    (state,), _ = train([window], inner_steps=2, alpha=0.0, carry="last", optimizer="sgd", lr=0.5)
    model, params = network()
    h = model.initial_state(params, B)
    for first in range(0, T, 4):
        ends = []
        for _ in range(2):
            g, ended = gradient(params, window, first, first + 4, h)
            params = {name: p - 0.5 * g[name] for name, p in params.items()}
            ends.append(ended)
        assert np.abs(ends[1] - ends[0]).max() > 1e-4
        h = ends[1]
    assert_allclose(state.carry, h, rtol=1e-12)
    for name, p in params.items():
        assert_allclose(state.params[name], p, rtol=1e-12, atol=1e-15)


def test_debias_corrects_by_the_gradient_at_w_bar() -> None:
    """A step goes along grad l(W) - grad l(W_bar) + mu, in which W is not W_bar."""
    model, params = network()
    (window,) = windows(1)
    config = fptt.Config(form="debias", parts=1, optimizer="sgd", lr=0.5)
    W_bar, mu = ({name: rng.normal(p) for name, p in params.items()} for rng in map(np.random.default_rng, (5, 6)))
    state = replace(fptt.init(config, model, params, stream(1)), regulariser={"W_bar": W_bar, "mu": mu})
    after, info = fptt.step(config, model, state, window, stream(1))
    h = model.initial_state(params, B)
    there, at_bar = (gradient(p, window, 0, T, h)[0] for p in (params, W_bar))
    for name, g in there.items():
        expected = g - at_bar[name] + mu[name]
        assert_allclose(info.grads[name], expected, rtol=1e-10, atol=1e-14)
        assert_allclose(after.params[name], params[name] - 0.5 * expected, rtol=1e-10, atol=1e-14)
        assert_allclose(after.regulariser["mu"][name], 0.5 * mu[name] + 0.5 * at_bar[name], rtol=1e-10, atol=1e-14)


def test_debias_averages_over_longer_the_more_passes_there_were() -> None:
    """By hand: in pass n, from 1, W_bar and mu keep n / (n + 1) of what they were, after each of two parts."""
    (window,) = windows(1)
    states, _ = train([window] * 3, form="debias", parts=2, optimizer="sgd", lr=0.5)
    model, W = network()
    W_bar, mu = W, {name: np.zeros_like(p) for name, p in W.items()}
    for n, state in enumerate(states, start=1):
        h = model.initial_state(W, B)
        for first, last in ((0, 6), (6, 12)):
            lam, _ = gradient(W_bar, window, first, last, h)
            g, h = gradient(W, window, first, last, h)
            W = {name: p - 0.5 * (g[name] - lam[name] + mu[name]) for name, p in W.items()}
            W_bar = {name: (n * W_bar[name] + p) / (n + 1) for name, p in W.items()}
            mu = {name: (n * mu[name] + p) / (n + 1) for name, p in lam.items()}
        for found, expected in ((state.params, W), (state.regulariser["W_bar"], W_bar), (state.regulariser["mu"], mu)):
            for name, p in expected.items():
                assert_allclose(found[name], p, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(
    ("form", "memory"),
    [("running", "lambda"), ("algorithm2", "last_grad"), ("equation6", "last_grad"), ("debias", "mu")],
)
def test_what_is_measured_of_the_regulariser(form: Any, memory: str) -> None:
    """||W - W_bar|| of what is trained, and the norm of what the form remembers."""
    (window,) = windows(1)
    (state,), (info,) = train([replace(window, last=False)], form=form, lr=0.1, frozen=("E",))
    config, (model, _) = fptt.Config(form=form, parts=3, frozen=("E",)), network()
    found = fptt.measure(config, model, state, window, info)
    apart = [(state.params[name] - p).ravel() for name, p in state.regulariser["W_bar"].items()]
    kept = [p.ravel() for p in state.regulariser[memory].values()]
    assert_allclose(found["distance"], np.linalg.norm(np.concatenate(apart)), rtol=1e-12)
    assert_allclose(found[memory], np.linalg.norm(np.concatenate(kept)), rtol=1e-12)
    assert min(found["distance"], found[memory]) > 1e-3
    assert set(found) == {"tape_bytes", "distance", memory}


def test_what_is_frozen_is_no_part_of_the_regulariser() -> None:
    states, infos = train(windows(2), frozen=("W_hh", "E"), lr=0.1)
    for name in ("W_hh", "E"):
        assert_array_equal(states[-1].params[name], network()[1][name])
        assert name not in states[-1].regulariser["W_bar"]
        assert name not in infos[-1].grads


@pytest.mark.parametrize("form", ["running", "algorithm2", "equation6"])
def test_any_array_library_comes_to_the_same(form: Any) -> None:
    config = fptt.Config(form=form, parts=5, clip=0.5, part_weight="linear", lr=0.01)
    model, params = network("gru")
    ends = []
    for wrap in (lambda array: array, strict):
        state = fptt.init(config, model, {name: wrap(p) for name, p in params.items()}, stream(1, "method"))
        for batch in windows(2) * 2:
            moved = replace(batch, x=wrap(batch.x), y=wrap(batch.y))
            state, _ = fptt.step(config, model, state, moved, stream(1, "step"))
        ends.append(state.params)
    for name, p in ends[0].items():
        assert_allclose(loose(ends[1][name]), p, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("length", "count"), [(12, 3), (11, 4), (5, 4)])
def test_the_rate_of_a_window_follows_its_length_and_its_parts(length: int, count: int) -> None:
    """To the last digit: lr T / (2 rate_window P'), the part that remains being one of the P'."""
    (whole,) = windows(1)
    window = replace(whole, x=whole.x[:length], y=whole.y[:length], last=False)
    assert len(part_losses.spans(length, 3)) == count
    options: dict[str, Any] = {"optimizer": "sgd", "alpha": 0.2}
    (scaled,), (a,) = train([window], lr=0.3, rate_window=70, **options)
    (plain,), (b,) = train([window], lr=0.3 * length / (2 * 70 * count), **options)
    for name, p in plain.params.items():
        assert_array_equal(scaled.params[name], p)
        assert_array_equal(a.grads[name], b.grads[name])
    (single,), (info,) = train([window], lr=0.3, rate_window=70, **options | {"parts": 1})
    for name, p in network()[1].items():
        assert_array_equal(single.params[name], p - 0.3 * length / (2 * 70 * 1) * info.grads[name])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"alpha": -0.1}, "alpha must be at least 0"),
        ({"parts": 0}, "parts must be at least 1"),
        ({"inner_steps": 0}, "inner_steps must be at least 1"),
        ({"beta": 1.5}, "beta and rho must be at most 1"),
        ({"rho": 1.5}, "beta and rho must be at most 1"),
        ({"penalty_factor": float("nan")}, "penalty_factor must be at least 0"),
        ({"clip": 0.0}, "clip must be above 0"),
        ({"rate_window": 0}, "rate_window must be at least 1"),
        ({"form": "equation6", "rho": 0.5}, "belong to form running: leave them out with equation6"),
        ({"form": "algorithm2", "beta": 0.7}, "belong to form running: leave them out with algorithm2"),
        ({"alpha": 1e-31}, "alpha must be 0 or at least 1e-30, got 1e-31"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        fptt.Config(**options)


def test_more_parts_than_steps_and_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="parts must be at most the 12 steps of a sequence, got 13"):
        train(windows(1), parts=13)
    with pytest.raises(InputError, match="there is no parameter 'W_hx'"):
        train(windows(1), frozen=("W_hx",))


def test_divergence_is_told() -> None:
    with np.errstate(all="ignore"):
        _, infos = train(windows(2), lr=1e200, optimizer="sgd")
    assert infos[-1].status == "diverged"
