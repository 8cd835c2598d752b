"""Losses of parts: weights, the divergence and its three estimates, held against plain loops over sequences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from algorithms import bptt, fptt, part_losses
from algorithms.model import Model
from datasets.task import Batch
from minigrad.backend import Array, Params
from minigrad.errors import InputError
from minigrad.rng import stream
from tests.minigrad.recurrences import record_calls
from tests.minigrad.strategies import loose, strict

T, B, C, N = 11, 6, 3, 18
K = 4
ENDS = [2, 4, 6, 8, 11]
"""Steps that parts of 2 end after, and of the one with what remains: it has 3."""


def network() -> tuple[Model, Params]:
    model = Model.make(cell="gru", input_size=2, hidden=5, output_size=C)
    return model, model.init(stream(1, "init"), "uniform", "float64")


def batches(passes: int) -> list[Batch]:
    """Passes through N sequences, B at a time, the same each time."""
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((T, N, 2)), rng.integers(C, size=N)
    cuts = [np.arange(i, i + B) for i in range(0, N, B)]
    return [
        Batch(x[:, rows], y[rows], index=i, last=rows[-1] == N - 1, rows=rows, of=N)
        for i, rows in enumerate(cuts * passes)
    ]


def answers(model: Model, p: Params, batch: Batch) -> list[Array]:
    """P_hat [B, C] at the end of each part."""
    h = model.unroll(p, batch.x, model.initial_state(p, batch.x.shape[1]))
    z = [model.readout(p, h[end - 1]) for end in ENDS]
    return [np.exp(a) / np.exp(a).sum(1, keepdims=True) for a in z]


def train(given: list[Batch], **options: Any) -> tuple[list[Any], list[Any]]:
    """States before, and what steps told, without learning."""
    model, params = network()
    config = fptt.Config(**{"parts": K, "optimizer": "sgd", "lr": 0.0, "alpha": 0.0} | options)
    state, states, infos = fptt.init(config, model, params, stream(1, "method")), [], []
    for batch in given:
        states.append(state)
        state, info = fptt.step(config, model, state, batch, stream(1, "step"))
        infos.append(info)
    return [*states, state], infos


def test_what_remains_is_a_part_of_its_own() -> None:
    assert [span.last for span in part_losses.spans(T, K)] == ENDS
    assert [span.last for span in part_losses.spans(T, 5)] == [2, 4, 6, 8, 10, 11]


def expected(P_hat: list[Array], y: Array, Q: list[Array], share: float = 1.0) -> list[float]:
    """The losses of parts by the definition, sequence by sequence."""
    found = []
    for p, P in enumerate(P_hat):
        b = (p + 1) / len(P_hat)
        each = [
            b * -np.log(P[i, y[i]]) + (1 - b) * share * -sum(Q[p][i, c] * np.log(P[i, c]) for c in range(C))
            for i in range(len(y))
        ]
        found.append(float(np.mean(each)))
    return found


def test_class_means_of_the_pass_before() -> None:
    model, params = network()
    given = batches(2)
    states, infos = train(given)
    all_y = np.concatenate([b.y for b in given[:3]])
    all_P = [np.concatenate(parts) for parts in zip(*(answers(model, params, b) for b in given[:3]), strict=True)]
    uniform = [np.full((B, C), 1 / C)] * 5
    for i in range(3):
        assert_allclose(
            infos[i].arrays["part_losses"], expected(answers(model, params, given[i]), given[i].y, uniform), rtol=1e-12
        )
    means = [np.stack([P[all_y == c].mean(0) for c in range(C)]) for P in all_P]
    for i in range(3, 6):
        Q = [mean[given[i].y] for mean in means]
        P_hat = answers(model, params, given[i])
        assert_allclose(infos[i].arrays["part_losses"], expected(P_hat, given[i].y, Q), rtol=1e-12)
    assert states[-1].schedule["passes"] == 2


def test_the_estimate_of_the_released_code() -> None:
    """Uniform for 19 passes, then the table of mistakes; from part K - 1 on the label; a mean over classes."""
    model, params = network()
    given = batches(22)
    _, infos = train(given, divergence="code")
    D = np.zeros((5, C, C))
    for number, (batch, info) in enumerate(zip(given, infos, strict=True)):
        P_hat, y, Q = answers(model, params, batch), batch.y, []
        for p in range(5):
            label = np.eye(C)[y]
            Q.append(label if p >= K - 1 else D[p][y].copy() if number >= 57 else np.full((B, C), 1 / C))
            if p < K - 1:
                for c in range(C):
                    wrong = [i for i in range(B) if y[i] == c and P_hat[p][i].argmax() != c]
                    if wrong:
                        D[p, c] = P_hat[p][wrong[0]]
        assert_allclose(info.arrays["part_losses"], expected(P_hat, y, Q, share=1 / C), rtol=1e-12)


def test_an_estimate_for_each_sequence() -> None:
    """Refreshed in every fifth pass, 0.6 of the old and 0.4 of the new, mistakes replaced by the table."""
    model, params = network()
    given = batches(7)
    _, infos = train(given, divergence="per-example")
    D, own = np.zeros((5, C, C)), np.full((5, N, C), 1 / C)
    for number, (batch, info) in enumerate(zip(given, infos, strict=True)):
        P_hat, y = answers(model, params, batch), batch.y
        Q = [own[p][batch.rows].copy() for p in range(5)]
        for p in range(5):
            wrong = P_hat[p].argmax(1) != y
            for c in range(C):
                if (wrong & (y == c)).any():
                    D[p, c] = P_hat[p][np.flatnonzero(wrong & (y == c))[0]]
            if (number // 3) % 5 == 0:
                for i, row in enumerate(batch.rows):
                    own[p][row] = 0.6 * own[p][row] + 0.4 * (D[p][y[i]] if wrong[i] else P_hat[p][i])
        assert_allclose(info.arrays["part_losses"], expected(P_hat, y, Q), rtol=1e-12)
    assert_allclose(own.sum(axis=2), 1, rtol=1e-12)


def test_a_sequence_that_stands_several_times_in_a_batch_is_refreshed_once() -> None:
    """By the mean of what is seen of it: three of one sequence leave a probability of it, not less than nothing."""
    model, params = network()
    (batch, *_) = batches(1)
    pick = np.array([0, 1, 1, 1, 2, 2])
    batch = replace(batch, x=batch.x[:, pick], y=batch.y[pick], rows=batch.rows[pick])
    (_, after), _ = train([batch], divergence="per-example")
    P_hat = answers(model, params, batch)
    for p in range(5):
        D, Q, wrong = after.estimate["D"][p], after.estimate["Q"][p], P_hat[p].argmax(1) != batch.y
        for i, row in enumerate(batch.rows):
            seen = D[batch.y[i]] if wrong[i] else P_hat[p][i]
            assert_allclose(Q[row], 0.6 / C + 0.4 * seen, rtol=1e-12)
        assert_allclose(Q[3:], 1 / C)


def test_an_estimate_is_of_what_was_put_out_before_the_first_of_several_steps() -> None:
    model, params = network()
    (batch, *_) = batches(1)
    (_, after), _ = train([batch], inner_steps=2, lr=0.5)
    P_hat = answers(model, params, batch)[0]
    assert_allclose(after.estimate["sum"][0], np.eye(C)[batch.y].T @ P_hat, rtol=1e-12)


@pytest.mark.parametrize("kind", ["none", "class-mean", "code", "per-example"])
def test_bptt_sums_the_same_losses(kind: str) -> None:
    """With auxiliary losses BPTT meets the losses that FPTT meets where neither learns."""
    model, params = network()
    given = batches(3)
    _, infos = train(given, divergence=kind)
    config = bptt.Config(lr=0.0, parts=K, divergence=kind)  # type: ignore[arg-type]
    state = bptt.init(config, model, params, stream(1, "method"))
    for batch, info in zip(given, infos, strict=True):
        state, other = bptt.step(config, model, state, batch, stream(1, "step"))
        assert_allclose(other.arrays["part_losses"], info.arrays["part_losses"], rtol=1e-12)
        assert other.loss == other.arrays["part_losses"][-1]


def test_the_slip_of_the_released_code() -> None:
    """Weights p + 1 / K, and no step on the last parts: here the fourth and what remains."""
    model, params = network()
    (batch, *_), options = batches(1), {"part_weight": "slip"}
    told = train([batch], **options)[1][0].arrays["part_losses"]
    plain = train([batch], part_weight="none")[1][0].arrays["part_losses"]
    assert_allclose(told, [(p + 1 / K) * plain[p] for p in range(K - 1)], rtol=1e-12)
    config = bptt.Config(lr=0.0, parts=K, **options)  # type: ignore[arg-type]
    _, info = bptt.step(config, model, bptt.init(config, model, params, stream(1, "m")), batch, stream(1, "step"))
    assert_allclose(info.arrays["part_losses"], told, rtol=1e-12)
    assert info.loss == info.arrays["part_losses"][-1]
    with pytest.raises(InputError, match="ask for more parts"):
        fptt.Config(parts=1, part_weight="slip")


def test_the_gradient_is_that_of_both_terms() -> None:
    """By central differences, through a table that is not uniform."""
    model, params = network()
    given = batches(2)
    config = bptt.Config(lr=0.0, parts=K)
    state = bptt.init(config, model, params, stream(1, "method"))
    for batch in given[:4]:
        state, _ = bptt.step(config, model, state, batch, stream(1, "step"))

    def at(W: Array) -> Any:
        return bptt.step(config, model, replace(state, params={**params, "W_hy": W}), given[4], stream(1, "step"))[1]

    W, d = params["W_hy"], np.random.default_rng(0).standard_normal(params["W_hy"].shape)
    above, below = (at(W + sign * 1e-5 * d).arrays["part_losses"].sum() for sign in (1, -1))
    slope = (above - below) / 2e-5
    assert_allclose(np.sum(at(W).grads["W_hy"] * d), slope, rtol=1e-7)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"divergence": "class-mean", "part_weight": "none"}, "goes with part_weight linear"),
        ({"divergence": "per-example"}, "for data with an end"),
        ({"parts": 12}, "parts must be at most the 11 steps"),
        ({"parts": 0}, "parts must be at least 1"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], words: str) -> None:
    endless = [replace(batch, rows=None, of=None) for batch in batches(1)]
    with pytest.raises(InputError, match=words):
        train(endless, **options)


def test_divergence_needs_a_classification_of_the_whole() -> None:
    model = Model.make(cell="gru", input_size=2, hidden=5, output_size=1, loss="mse")
    params = model.init(stream(1, "init"), "uniform", "float64")
    for method in (fptt, bptt):
        config = method.Config(parts=K, divergence="class-mean")
        with pytest.raises(InputError, match="classified as a whole"):
            method.init(config, model, params, stream(1, "method"))
    with pytest.raises(InputError, match="are for parts: ask for more than 1"):
        bptt.Config(divergence="code")


@pytest.mark.parametrize("kind", ["none", "class-mean"])
@pytest.mark.parametrize("method", [fptt, bptt])
def test_the_kernels_that_run_are_named(method: Any, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a divergence the logits are met in plain code."""
    monkeypatch.setenv("MINIGRAD_KERNELS", "fused")
    called = record_calls(monkeypatch)
    model, params = network()
    config = method.Config(parts=K, divergence=kind)
    state = method.init(config, model, params, stream(1, "method"))
    _, info = method.step(config, model, state, batches(1)[0], stream(1, "step"))
    called.discard("updates")
    named = method.METHODS[method.__name__.rpartition(".")[2]].kernels(config, model)
    assert called == set(named) == ({"gru", "readout"} if kind == "none" else {"gru"})
    assert info.kernels == dict.fromkeys(called, "fused")


def test_one_part_has_no_divergence_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weight is 0: nothing is remembered, and logits are met in the fused kernel."""
    monkeypatch.setenv("MINIGRAD_KERNELS", "fused")
    called = record_calls(monkeypatch)
    (_, after), (one,) = train([batches(1)[0]], parts=1)
    assert {"gru", "readout"} <= called
    assert after.estimate == {}
    _, (asked,) = train([batches(1)[0]], parts=1, divergence="class-mean")
    assert_allclose(one.loss, asked.loss, rtol=1e-12)


@pytest.mark.parametrize("kind", ["class-mean", "code", "per-example"])
def test_any_array_library_comes_to_the_same(kind: str) -> None:
    model, params = network()
    ends = []
    for wrap in (lambda array: array, strict):
        config = fptt.Config(parts=K, divergence=kind, lr=0.01)  # type: ignore[arg-type]
        state = fptt.init(config, model, {name: wrap(p) for name, p in params.items()}, stream(1, "method"))
        for batch in batches(2):
            moved = replace(batch, x=wrap(batch.x), y=wrap(batch.y), rows=wrap(batch.rows))
            state, _ = fptt.step(config, model, state, moved, stream(1, "step"))
        ends.append(state.params)
    for name, p in ends[0].items():
        assert_allclose(loose(ends[1][name]), p, rtol=1e-9, atol=1e-12)


def test_auxiliary_losses_need_one_answer() -> None:
    model = Model.make(cell="gru", input_size=4, hidden=5, output_size=4, loss_at="every", tokens=True)
    params = model.init(stream(1, "init"), "uniform", "float64")
    with pytest.raises(InputError, match="slip is for sequences with one answer"):
        fptt.init(fptt.Config(parts=2, part_weight="slip"), model, params, stream(1, "method"))
    with pytest.raises(InputError, match="where every step has one"):
        bptt.init(bptt.Config(parts=2), model, params, stream(1, "method"))
