"""The batch regime of BTPROP: chunks of a text amount to the whole of it, and states and duals live on."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from algorithms import bptt, btprop, btprop_batch
from algorithms.model import Model
from algorithms.protocol import Info
from datasets.task import Batch
from minigrad.errors import InputError
from minigrad.rng import stream

B, V = 3, 5


def network(hidden: int = 6, cell: str = "gru") -> tuple[Model, Any]:
    model = Model.make(cell=cell, input_size=V, hidden=hidden, output_size=V, loss_at="every", tokens=True)
    return model, model.init(stream(1, "init"), "uniform", "float64")


def chunks(blocks: int, size: int) -> list[Batch]:
    """One pass through a text in chunks of `size` blocks, the last one smaller maybe."""
    ids = np.random.default_rng(2).integers(V, size=blocks * B + 1)
    x, y = (ids[i : blocks * B + i].reshape(blocks, B).T for i in (0, 1))
    starts = range(0, blocks, size)
    return [
        Batch(
            np.ascontiguousarray(x[:, s : s + size]),
            np.ascontiguousarray(y[:, s : s + size]),
            continues=s > 0,
            index=i,
            consecutive=True,
            last=i + 1 == len(starts),
        )
        for i, s in enumerate(starts)
    ]


def train(batches: list[Batch], passes: int, **options: Any) -> tuple[btprop_batch.State, list[Info]]:
    """The state after so many passes, and what every step told."""
    model, params = network()
    config = btprop.Config(**{"dual": "scaled", "first_state": "fixed", "u_start": 1, **options})
    state = btprop_batch.init(config, model, params, stream(1, "method"))
    infos = []
    for batch in batches * passes:
        state, info = btprop_batch.step(config, model, state, batch, stream(1, "step"))
        infos.append(info)
    return state, infos


def all_of(parts: Any) -> Any:
    """The rows of all chunks in their order."""
    return np.concatenate([parts[str(i)] for i in range(len(parts))])


@settings(max_examples=25, deadline=None)
@given(
    blocks=st.integers(1, 12),
    size=st.integers(1, 5),
    constraint=st.sampled_from(["pm", "admm", "alm"]),
    h_optimizer=st.sampled_from(["sgd", "adagrad"]),
    h_init=st.sampled_from(["sequential", "zero"]),
    h_clip=st.sampled_from([None, 0.01]),
)
def test_chunks_amount_to_the_whole(blocks: int, size: int, **options: Any) -> None:
    steps = "alm_steps" if options["constraint"] == "alm" else "h_steps"
    options |= {steps: 2, "lam": 0.7, "u_lr": 0.3}
    passes = 1 + 2 * (2 + 1 + 1)
    whole, _ = train(chunks(blocks, blocks), passes, **options)
    parts, _ = train(chunks(blocks, size), passes, **options)
    assert (parts.turn, parts.epoch) == (whole.turn, whole.epoch)
    for name, p in whole.params.items():
        assert_allclose(parts.params[name], p, rtol=1e-9, atol=1e-12)
    assert_allclose(all_of(parts.free), whole.free["0"], rtol=1e-7, atol=1e-10)
    assert_allclose(all_of(parts.duals), whole.duals["0"], rtol=1e-7, atol=1e-10)


def test_an_epoch_is_a_minibatch_that_is_the_whole_text() -> None:
    """With plain steps and rates that make up for the scaling by n."""
    n, model = 8, network()[0]
    (whole,) = chunks(n, n)
    options: dict[str, Any] = {"h_optimizer": "sgd", "first_state": "fixed", "h_steps": 2}
    state, infos = train([whole], 1 + 3, h_lr=0.1, **options)
    config = btprop.Config(h_lr=0.1 * n, **options)
    expected, info = btprop.step(
        config, model, btprop.init(config, model, network()[1], stream(1)), whole, stream(1, "step")
    )
    for name, p in expected.params.items():
        assert_allclose(state.params[name], p, rtol=1e-12)
        assert_allclose(infos[-1].grads[name], info.grads[name], rtol=1e-9, atol=1e-14)
    assert_allclose(state.free["0"], info.arrays["h"][1:], rtol=1e-12)


def test_states_and_duals_live_on() -> None:
    text = chunks(8, 3)
    before, _ = train(text, 1 + 3, constraint="admm")
    after, infos = train(text, 1 + 3 + 1, constraint="admm")
    assert (before.epoch, before.turn, after.turn) == (2, 0, 1)
    assert_array_equal(infos[-1].arrays["u"], before.duals["2"])
    assert np.any(before.duals["2"])
    moved = all_of(after.free) - all_of(before.free)
    assert (np.linalg.norm(moved, axis=1)[:-1] > 0).all()
    # Adagrad's sums live on too: later steps are shorter.
    assert np.abs(moved).max() < 0.1


def test_duals_move_by_the_residual_alone() -> None:
    text = chunks(6, 2)
    state, infos = train(text, 1 + 1 + 1, constraint="admm", lam=0.5, u_lr=0.2, h_steps=1)
    for info, chunk in zip(infos[-3:], ("0", "1", "2"), strict=True):
        residual = info.arrays["h_hat"] - info.arrays["h"][1:]
        assert_allclose(state.duals[chunk], 0.2 * 0.5 * residual, rtol=1e-12)


def test_without_h_steps_and_lambda_it_is_bptt_with_one_update_an_epoch() -> None:
    text = chunks(9, 4)
    state, infos = train(text, 2, h_steps=0, lam=0.0, clip=None, optimizer="sgd", theta_lr=0.5)
    model, params = network()
    config = bptt.Config(update_freq=0, lr=0.5)
    other = bptt.init(config, model, params, stream(1, "method"))
    # BPTT means over batches, which counts the last and smaller one more: as many batches as blocks avoid it.
    for batch in chunks(9, 1):
        assert_array_equal(other.params["W_hh"], params["W_hh"])
        other, _ = bptt.step(config, model, other, batch, stream(1, "step"))
    for name, p in other.params.items():
        assert_allclose(state.params[name], p, rtol=1e-9, atol=1e-13)
    assert [bool(info.grads) for info in infos] == [False] * 5 + [True]


@pytest.mark.parametrize("constraint", ["pm", "admm", "alm"])
def test_it_learns(constraint: str) -> None:
    _, infos = train(chunks(6, 2), 120, constraint=constraint, lam=0.1, theta_lr=0.05, h_lr=0.05)
    assert float(infos[0].loss) > 1.5
    assert float(infos[-1].loss) < 1.0


def test_memory_is_that_of_states_at_borders_and_one_chunk() -> None:
    """Four times the text: the states grow, what a step needs besides does not."""
    model, params = network(hidden=32)
    config = btprop.Config(dual="scaled", first_state="fixed")
    peaks, kept = [], []
    for count in (4, 16):
        text = chunks(count * 8, 8)
        state = btprop_batch.init(config, model, params, stream(1, "method"))
        for batch in text + text[:2]:
            state, _ = btprop_batch.step(config, model, state, batch, stream(1, "step"))
        tracemalloc.start()
        btprop_batch.step(config, model, state, text[2], stream(1, "step"))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        kept.append(sum(array.nbytes for array in (*state.free.values(), *state.duals.values())))
    assert kept == [2 * count * 8 * 32 * 8 for count in (4, 16)]
    assert peaks[1] < 1.1 * peaks[0] + 10_000


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="use sequential or zero"):
        train(chunks(4, 2), 1, h_init="restart")
    with pytest.raises(InputError, match="layout blocks"):
        train([replace(chunks(4, 4)[0], consecutive=False)], 1)
    with pytest.raises(InputError, match="another text or batch size"):
        train(chunks(4, 2) + chunks(4, 3), 1)
