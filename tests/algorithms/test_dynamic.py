"""Dynamic evaluation: its formulas written out a second time, no score of what was learned, what it is good for."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from algorithms import bptt, dynamic
from algorithms.dynamic import Config, Score
from algorithms.model import Model
from datasets.task import Batch
from minigrad.backend import Params
from minigrad.errors import InputError
from minigrad.rng import stream
from tests.minigrad.strategies import loose, strict

V, H, T = 4, 3, 5


def network(cell: str = "srn", dtype: str = "float64", vocabulary: int = V, hidden: int = H) -> tuple[Model, Params]:
    model = Model.make(
        cell=cell, input_size=vocabulary, hidden=hidden, output_size=vocabulary, loss_at="every", tokens=True
    )
    params = model.init(stream(1, "init"), "uniform", dtype)
    return model, {name: 2 * p for name, p in params.items()}


def windows(ids: Any, streams: int = 1, length: int = T) -> list[Batch]:
    """A text in streams side by side, cut into windows, the last one shorter maybe."""
    ids = np.asarray(ids)
    rows = (len(ids) - 1) // streams
    x, y = (ids[i : i + rows * streams].reshape(streams, rows).T for i in (0, 1))
    starts = range(0, rows, length)
    return [
        Batch(x[i : i + length], y[i : i + length], continues=i > 0, index=n, last=i + length >= rows)
        for n, i in enumerate(starts)
    ]


def random_text(count: int, seed: int = 3, vocabulary: int = V) -> Any:
    return np.random.default_rng(seed).integers(vocabulary, size=count)


def evaluated(
    config: Config, ids: Any, cell: str = "srn", dtype: str = "float64", train: Any = None
) -> tuple[list[Score], Params]:
    model, params = network(cell, dtype)
    found = dynamic.statistics(config, model, params, windows(random_text(181) if train is None else train, 6))
    return list(dynamic.dynamic(config, model, params, found, windows(ids))), params


def spied(patch: pytest.MonkeyPatch) -> list[Params]:
    """The parameters at which gradients are taken from now on."""
    seen: list[Params] = []
    taken = dynamic.gradient

    def taking(model: Model, W: Params, batch: Batch, carry: Any) -> Any:
        seen.append(W)
        return taken(model, W, batch, carry)

    patch.setattr(dynamic, "gradient", taking)
    return seen


# --- the formulas, once more ---


def by_hand(p: Params, x: Any, y: Any, h: Any) -> tuple[float, Params, Any]:
    """Mean cost of a window, its gradient and the last state, of tanh(E[x] W_xh + h W_hh + b_h) W_hy + b_y."""
    steps, streams = x.shape
    hs, prob, cost = [h], [], 0.0
    for t in range(steps):
        hs.append(np.tanh(p["E"][x[t]] @ p["W_xh"] + hs[-1] @ p["W_hh"] + p["b_h"]))
        o = hs[-1] @ p["W_hy"] + p["b_y"]
        e = np.exp(o - o.max(axis=1, keepdims=True))
        prob.append(e / e.sum(axis=1, keepdims=True))
        cost -= np.log(prob[-1][np.arange(streams), y[t]]).sum()
    g = {name: np.zeros_like(array) for name, array in p.items()}
    back = np.zeros_like(h)
    for t in reversed(range(steps)):
        d_o = prob[t].copy()
        d_o[np.arange(streams), y[t]] -= 1
        d_o /= steps * streams
        g["W_hy"] += hs[t + 1].T @ d_o
        g["b_y"] += d_o.sum(axis=0)
        d_a = (d_o @ p["W_hy"].T + back) * (1 - hs[t + 1] ** 2)
        g["W_xh"] += p["E"][x[t]].T @ d_a
        g["W_hh"] += hs[t].T @ d_a
        g["b_h"] += d_a.sum(axis=0)
        np.add.at(g["E"], x[t], d_a @ p["W_xh"].T)
        back = d_a @ p["W_hh"].T
    return cost / (steps * streams), g, hs[-1]


@settings(deadline=None, max_examples=15)
@given(
    lr=st.sampled_from([0.0, 0.002, 0.05]),
    lam=st.sampled_from([0.0, 0.02, 0.5]),
    statistic=st.sampled_from(["sum", "mean"]),
    seed=st.integers(0, 99),
)
def test_the_formulas(lr: float, lam: float, statistic: Any, seed: int) -> None:
    """To 1e-12: statistics, scores and every update."""
    config = Config(lr=lr, lam=lam, statistic=statistic)
    model, W_0 = network()
    train, test = windows(random_text(181, seed), 6), windows(random_text(48, seed + 1))
    squares, h = {name: np.zeros_like(p) for name, p in W_0.items()}, np.zeros((6, H))
    for batch in train:
        _, g, h = by_hand(W_0, batch.x, batch.y, h)
        squares = {name: squares[name] + g[name] ** 2 for name in g}
    K, n = (len(train), len(W_0)) if statistic == "mean" else (1, 1)
    MS = {name: np.sqrt(s / K) for name, s in squares.items()}
    Z = sum(m.mean() for m in MS.values()) / n
    d = {name: np.minimum(m / Z, 1 / lam if lam else np.inf) for name, m in MS.items()}

    found = dynamic.statistics(config, model, W_0, train)
    with pytest.MonkeyPatch.context() as patch:
        seen = spied(patch)
        scores = list(dynamic.dynamic(config, model, W_0, found, test))
    W, h = W_0, np.zeros((1, H))
    for batch, score, at in zip(test, scores, seen, strict=True):
        for name, array in at.items():
            assert_allclose(array, W[name], rtol=1e-12, atol=1e-12)
        l, g, h = by_hand(at, batch.x, batch.y, h)  # from where the other stands: large steps would blow up roundings
        assert score.tokens == len(batch.x)
        assert score.loss == pytest.approx(l, rel=1e-12)
        W = {name: w + lam * d[name] * (W_0[name] - w) - lr * g[name] / (MS[name] + 0.001) for name, w in at.items()}
    for name in W_0:
        assert_allclose(found.root[name], MS[name], rtol=1e-12, atol=1e-15)
        assert_allclose(found.decay[name], d[name], rtol=1e-12, atol=1e-15)
    assert dynamic.mean(scores) == pytest.approx(sum(s.loss * s.tokens for s in scores) / 47, rel=1e-12)


def test_a_decay_never_overshoots() -> None:
    """lambda d is at most 1: back to the trained parameters, not past them."""
    model, params = network()
    train = windows(random_text(181), 6)
    free = dynamic.statistics(Config(lam=0.0), model, params, train).decay
    held = dynamic.statistics(Config(lam=5.0), model, params, train).decay
    assert max(d.max() for d in free.values()) > 0.2
    for name, d in held.items():
        assert_array_equal(d, np.minimum(free[name], 0.2))


def test_sum_and_mean_are_one_rule_in_two_units() -> None:
    ids = random_text(100)
    root_k, arrays = math.sqrt(len(windows(random_text(181), 6))), len(network()[1])
    config = Config(lr=0.05, lam=0.3, eps=0.01)
    same = Config(lr=0.05 / root_k, lam=0.3 / arrays, eps=0.01 / root_k, statistic="mean")
    first, second = (evaluated(each, ids)[0] for each in (config, same))
    assert_allclose([s.loss for s in first], [s.loss for s in second], rtol=1e-12)


# --- what it may know, and what it keeps ---


@pytest.mark.parametrize("cell", ["srn", "gru", "lstm"])
def test_without_rates_it_is_static(cell: str) -> None:
    """The same windows, the state carried: one unroll over the whole text."""
    ids = random_text(48)
    scores, params = evaluated(Config(lr=0.0, lam=0.0), ids, cell)
    model, _ = network(cell)
    static = list(dynamic.static(model, params, windows(ids)))
    assert [s.tokens for s in static] == [s.tokens for s in scores] == [5] * 9 + [2]
    assert_allclose([s.loss for s in scores], [s.loss for s in static], rtol=1e-13)
    h = model.unroll(params, ids[:-1, None], model.initial_state(params, 1))
    assert dynamic.mean(scores) == pytest.approx(float(model.score(params, h, ids[1:, None])), rel=1e-12)


@pytest.mark.parametrize("changed", [1, 5, 6, 23, 46])
def test_no_score_knows_later_tokens(changed: int) -> None:
    """A token is scored in the window whose targets it is among; windows before that stay as they were, to the bit."""
    ids = random_text(48)
    other = ids.copy()
    other[changed:] = (other[changed:] + 1) % V
    config = Config(lr=0.05)
    first, second = ([s.loss for s in evaluated(config, each)[0]] for each in (ids, other))
    before = (changed - 1) // T
    assert first[:before] == second[:before]
    assert first[before] != second[before]


def test_the_first_window_is_scored_as_it_stands() -> None:
    ids = random_text(48)
    scores, params = evaluated(Config(lr=10.0), ids)
    model, _ = network()
    assert scores[0].loss == pytest.approx(next(dynamic.static(model, params, windows(ids))).loss, rel=1e-13)
    assert scores[1].loss != pytest.approx(list(dynamic.static(model, params, windows(ids)))[1].loss, rel=1e-3)


def test_the_state_is_carried_into_the_statistics_too() -> None:
    model, params = network()
    train = windows(random_text(181), 6)
    afresh = [replace(batch, continues=False) for batch in train]
    carried, forgotten = (dynamic.statistics(Config(), model, params, each).root["W_hh"] for each in (train, afresh))
    assert np.any(carried != forgotten)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_keep_their_type_and_arguments_their_values(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, params = network("lstm", dtype)
    kept = {name: p.copy() for name, p in params.items()}
    seen = spied(monkeypatch)
    found = dynamic.statistics(Config(), model, params, windows(random_text(181), 6))
    scores = list(dynamic.dynamic(Config(), model, params, found, windows(random_text(48))))
    assert {array.dtype.name for W in seen for array in W.values()} == {dtype}
    assert {array.dtype.name for part in (found.root, found.decay) for array in part.values()} == {dtype}
    for name, p in params.items():
        assert_array_equal(p, kept[name])
        assert np.any(seen[-1][name] != p)
    assert all(math.isfinite(s.loss) for s in scores)


def test_any_array_library_comes_to_the_same() -> None:
    model, params = network("gru")
    ends = []
    for wrap in (lambda array: array, strict):
        given_ = {name: wrap(p) for name, p in params.items()}
        train, test = (
            [replace(b, x=wrap(b.x), y=wrap(b.y)) for b in each]
            for each in (windows(random_text(181), 6), windows(random_text(48)))
        )
        found = dynamic.statistics(Config(lam=0.5), model, given_, train)
        root = found.root["W_hh"] if wrap is not strict else loose(found.root["W_hh"])
        scores = dynamic.dynamic(Config(), model, given_, found, test)
        ends.append((root, [score.loss for score in scores]))
    assert_allclose(ends[1][0], ends[0][0], rtol=1e-9)
    assert_allclose(ends[1][1], ends[0][1], rtol=1e-9)


def test_without_gradients_nothing_moves() -> None:
    """A text of one word, of which the network is certain: no division by nothing."""
    model, params = network()
    certain = {**params, "W_hy": 0 * params["W_hy"], "b_y": np.array([1e4, 0.0, 0.0, 0.0])}
    ids = np.zeros(60, int)
    found = dynamic.statistics(Config(), model, certain, windows(ids, 2))
    scores = list(dynamic.dynamic(Config(), model, certain, found, windows(ids)))
    assert [s.loss for s in scores] == [0.0] * len(scores)


# --- what it is good for ---


def walk(up: Any, seed: int) -> Any:
    """A text that goes round among V tokens, one up with the probability `up` [N] of each step, otherwise one down."""
    steps = np.where(np.random.default_rng(seed).random(len(up)) < up, 1, -1)
    return np.cumsum(steps) % V


def test_it_lowers_the_perplexity_of_a_text_that_changes() -> None:
    """And of that alone: trained where up and down are equally likely, the network finds out which way a text leans."""
    model, params = network("gru")
    config = bptt.Config(lr=0.02, optimizer="adam")
    state = bptt.init(config, model, params, stream(1, "method"))
    train = walk(np.full(8001, 0.5), 1)
    for batch in windows(train, 20, 20) * 8:
        state, _ = bptt.step(config, model, state, batch, stream(1, "step"))
    trained = state.params
    leaning = walk(np.where(np.arange(2001) // 500 % 2 == 0, 0.95, 0.05), 2)
    options = Config(lr=0.02)
    found = dynamic.statistics(options, model, trained, windows(train, 20))
    gain = []
    for ids in (leaning, walk(np.full(2001, 0.5), 3)):
        fixed = dynamic.mean(dynamic.static(model, trained, windows(ids)))
        assert fixed == pytest.approx(math.log(2), abs=0.03)
        gain.append(fixed - dynamic.mean(dynamic.dynamic(options, model, trained, found, windows(ids))))
    assert gain[0] > 0.1
    assert gain[1] < 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lr": -1.0}, "lr must be at least 0"),
        ({"lam": math.inf}, "lam must be at least 0 and finite"),
        ({"eps": 0.0}, "eps must be above 0"),
        ({"window": 0}, "window must be at least 1"),
        ({"statistics_batch": 0}, "statistics_batch must be at least 1"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Config(**options)
