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
from minigrad.backend import Params
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
        ({"parts": 0}, "parts must be above 0"),
        ({"inner_steps": 0}, "inner_steps must be above 0"),
        ({"beta": 1.5}, "beta and rho must be at most 1"),
        ({"rho": 1.5}, "beta and rho must be at most 1"),
        ({"penalty_factor": float("nan")}, "penalty_factor must be at least 0"),
        ({"clip": 0.0}, "clip must be above 0"),
        ({"rate_window": 0}, "rate_window must be above 0"),
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
