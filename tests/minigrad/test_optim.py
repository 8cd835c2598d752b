"""Update rules against straight-line references, by hand, on a parabola, on NumPy and under the strict standard."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from math import sqrt
from typing import Any

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigrad import averaging, optim
from minigrad.backend import to_numpy
from minigrad.errors import InputError
from tests.minigrad.updates import SHAPES, draw, triggered

STRICT_DEVICE = array_api_strict.Device("device1")


# One row an optimiser: adding a rule is adding a row here and a reference below.
OPTIMIZERS: dict[str, Callable[[], optim.Optimizer]] = {
    "sgd": lambda: optim.sgd(0.1),
    "momentum": lambda: optim.momentum(0.02, 0.9),
    "nag": lambda: optim.nag(0.02, 0.9),
    "adagrad": lambda: optim.adagrad(0.5),
    "adagrad_1e-10": lambda: optim.adagrad(0.5, 1e-10),
    "adam": lambda: optim.adam(0.05),
    "adam_tprnn": lambda: optim.adam(0.05, (0.8, 0.99), 1e-3, rule="tprnn"),
    "rmsprop": lambda: optim.rmsprop(0.01),
    "adadelta": lambda: optim.adadelta(),
    "nt_asgd": lambda: averaging.nt_asgd(0.1),
    "nt_asgd_triggered": lambda: triggered(0.1),
    "chain": lambda: optim.chain(
        optim.clip_global_norm(0.5), optim.weight_decay(1e-4), optim.nag(0.02, 0.9), optim.scale({"b": 0.5})
    ),
    "chain_pytorch": lambda: optim.chain(optim.clip_global_norm(0.5, "pytorch"), optim.adam(0.05)),
}


# References: one parameter, one step after the other, states in local variables.


def ref_sgd(p: Any, grads: Iterator[Any], lr: float = 0.1) -> Iterator[Any]:
    for g in grads:
        p = p - lr * g
        yield p


def ref_momentum(p: Any, grads: Iterator[Any], lr: float = 0.02, mu: float = 0.9) -> Iterator[Any]:
    v = None
    for g in grads:
        v = g if v is None else mu * v + g
        p = p - lr * v
        yield p


def ref_nag(p: Any, grads: Iterator[Any], lr: float = 0.02, mu: float = 0.9) -> Iterator[Any]:
    v = 0.0
    for g in grads:
        v = mu * v - lr * g
        p = p + mu * v - lr * g
        yield p


def ref_adagrad(p: Any, grads: Iterator[Any], eps: float = 1e-5) -> Iterator[Any]:
    total = 0.0
    for g in grads:
        total = total + g**2
        p = p - 0.5 * g / (np.sqrt(total) + eps)
        yield p


def ref_adam(p: Any, grads: Iterator[Any]) -> Iterator[Any]:
    m = v = 0.0
    for t, g in enumerate(grads, 1):
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g**2
        p = p - 0.05 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        yield p


def ref_adam_tprnn(p: Any, grads: Iterator[Any]) -> Iterator[Any]:
    m = v = 0.0
    for t, g in enumerate(grads, 1):
        m = 0.8 * m + 0.2 * g
        v = 0.99 * v + 0.01 * g**2
        p = p - 0.05 * sqrt(1 - 0.99**t) / (1 - 0.8**t) * m / (np.sqrt(v) + 1e-3)
        yield p


def ref_rmsprop(p: Any, grads: Iterator[Any]) -> Iterator[Any]:
    r = 0.0
    for g in grads:
        r = 0.9 * r + 0.1 * g**2
        p = p - 0.01 * g / np.sqrt(r + 1e-3)
        yield p


def ref_adadelta(p: Any, grads: Iterator[Any]) -> Iterator[Any]:
    r = s = 0.0
    for g in grads:
        r = 0.9 * r + 0.1 * g**2
        delta = np.sqrt(s + 1e-3) / np.sqrt(r + 1e-3) * g
        p = p - delta
        s = 0.9 * s + 0.1 * delta**2
        yield p


REFERENCES: dict[str, Callable[[Any, Iterator[Any]], Iterator[Any]]] = {
    "sgd": ref_sgd,
    "momentum": ref_momentum,
    "nag": ref_nag,
    "adagrad": ref_adagrad,
    "adagrad_1e-10": lambda p, grads: ref_adagrad(p, grads, 1e-10),
    "adam": ref_adam,
    "adam_tprnn": ref_adam_tprnn,
    "rmsprop": ref_rmsprop,
    "adadelta": ref_adadelta,
    "nt_asgd": ref_sgd,
    "nt_asgd_triggered": ref_sgd,
}


def read_only(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: read_only(leaf) for name, leaf in tree.items()}
    if isinstance(tree, np.ndarray):
        tree = tree.copy()
        tree.flags.writeable = False
    return tree


def run(optimizer: optim.Optimizer, params: dict[str, Any], grads: list[dict[str, Any]]) -> list[dict[str, Any]]:
    state, out = optimizer.init(params), []
    for g in grads:
        updates, state = optimizer.update(g, state, params)
        params = optim.apply(params, updates)
        out.append(params)
    return out


def leaves(tree: Any) -> Iterator[Any]:
    for leaf in tree.values() if isinstance(tree, dict) else [tree]:
        yield from leaves(leaf) if isinstance(leaf, dict) else [leaf]


def layout(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: layout(leaf) for name, leaf in tree.items()}
    return (tree.shape, str(tree.dtype)) if hasattr(tree, "shape") else type(tree)


# --- every rule ---


@pytest.mark.parametrize("name", REFERENCES)
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), steps=st.integers(1, 6), size=st.sampled_from([1e-6, 1.0, 1e3]))
def test_a_rule_is_its_formula(name: str, seed: int, steps: int, size: float) -> None:
    params = draw(seed)
    grads = [{key: size * g for key, g in draw(seed + 1 + t).items()} for t in range(steps)]
    got = run(OPTIMIZERS[name](), params, grads)
    for key in SHAPES:
        for t, expected in enumerate(REFERENCES[name](params[key], (g[key] for g in grads))):
            np.testing.assert_allclose(got[t][key], expected, rtol=1e-12, atol=1e-12 * max(1.0, size))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_rule_minimises_a_parabola(name: str, dtype: str) -> None:
    target = draw(1, dtype)
    optimizer = OPTIMIZERS[name]()
    params = {key: np.zeros_like(t) for key, t in target.items()}
    state = optimizer.init(params)
    before = layout(state)
    for _ in range(600):
        grads = {key: params[key] - target[key] for key in params}
        updates, state = optimizer.update(grads, state, params)
        params = optim.apply(params, updates)
    assert layout(state) == before
    assert layout(params) == layout(target)
    for key in params:
        np.testing.assert_allclose(params[key], target[key], atol=0.02)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_arguments_are_never_changed(name: str) -> None:
    """Read-only arrays raise on a write; dicts are compared."""
    optimizer = OPTIMIZERS[name]()
    params = read_only(draw(0))
    state = read_only(optimizer.init(params))
    for t in range(3):
        grads = read_only(draw(t))
        snapshot = (dict(grads), {k: dict(v) if isinstance(v, dict) else v for k, v in state.items()}, dict(params))
        updates, new = optimizer.update(grads, state, params)
        optim.apply(params, updates)
        assert snapshot[0] == grads
        assert snapshot[2] == params
        assert layout(snapshot[1]) == layout(state)
        assert all(a is b for a, b in zip(leaves(snapshot[1]), leaves(state), strict=True))
        state = read_only(new)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_without_a_gradient_parameter_and_state_stay(name: str) -> None:
    optimizer = OPTIMIZERS[name]()
    params = draw(0)
    _, state = optimizer.update(draw(1), optimizer.init(params), params)
    updates, new = optimizer.update({"b": draw(2)["b"]}, state, params)
    after = optim.apply(params, updates)
    assert updates.keys() == {"b"}
    assert after["W"] is params["W"]
    assert list(after) == list(params)
    assert not np.array_equal(after["b"], params["b"])
    for kind, entries in state.items():
        if isinstance(entries, dict):
            assert new[kind]["W"] is entries["W"]
            assert new[kind].keys() == entries.keys()


@pytest.mark.parametrize("name", REFERENCES)
def test_one_parameter_of_many_moves_as_if_it_were_alone(name: str) -> None:
    params, grads = draw(0), [draw(t) for t in range(1, 4)]
    together = run(OPTIMIZERS[name](), params, grads)
    alone = run(OPTIMIZERS[name](), {"W": params["W"]}, [{"W": g["W"]} for g in grads])
    assert np.array_equal(together[-1]["W"], alone[-1]["W"])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_array_library_gives_the_same_numbers_on_its_own_device(name: str) -> None:
    def strict(tree: dict[str, Any]) -> dict[str, Any]:
        return {key: array_api_strict.asarray(a, device=STRICT_DEVICE) for key, a in tree.items()}

    params, grads = draw(0, "float32"), [draw(t, "float32") for t in range(1, 4)]
    expected = run(OPTIMIZERS[name](), params, grads)[-1]
    got = run(OPTIMIZERS[name](), strict(params), [strict(g) for g in grads])[-1]
    for key, array in got.items():
        assert array.device == STRICT_DEVICE
        assert array.dtype == array_api_strict.float32
        np.testing.assert_array_equal(to_numpy(array), expected[key])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_is_arrays_and_json_numbers(name: str) -> None:
    optimizer = OPTIMIZERS[name]()
    params = draw(0)
    _, state = optimizer.update(draw(1), optimizer.init(params), params)
    for leaf in leaves(state):
        assert hasattr(leaf, "shape") or json.loads(json.dumps(leaf)) == leaf


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_zero_gradient_is_no_accident(name: str) -> None:
    params = draw(0, "float32")
    after = run(OPTIMIZERS[name](), params, [{key: np.zeros_like(p) for key, p in params.items()}])[-1]
    for key in params:
        np.testing.assert_allclose(after[key], params[key], rtol=1e-5)


def test_hyper_parameters_of_numpy_do_not_widen_float32() -> None:
    for optimizer in (
        optim.sgd(np.float64(0.1)),
        optim.adam(np.float64(0.1), (np.float64(0.9), np.float64(0.99)), np.float64(1e-8)),
        optim.chain(optim.clip_global_norm(np.float64(0.1)), optim.weight_decay(np.float64(0.1)), optim.sgd(0.1)),
        optim.scale({"W": np.float64(0.5)}),
    ):
        params = draw(0, "float32")
        updates, _ = optimizer.update(draw(1, "float32"), optimizer.init(params), params)
        assert {u.dtype for u in updates.values()} == {np.dtype("float32")}


# --- single rules, by hand ---


def two(optimizer: optim.Optimizer, g1: float = 2.0, g2: float = 1.0, p: float = 1.0) -> tuple[float, float]:
    """A single number after one and after two steps."""
    a, b = run(optimizer, {"p": np.array([p])}, [{"p": np.array([g1])}, {"p": np.array([g2])}])
    return float(a["p"][0]), float(b["p"][0])


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (optim.sgd(0.1), (0.8, 0.7)),
        (optim.momentum(0.1, 0.5), (0.8, 0.6)),  # v = 2, then 2
        (optim.nag(0.1, 0.5), (0.7, 0.5)),  # v = -0.2, then -0.2
        (optim.adagrad(0.1, 1.0), (1 - 0.2 / 3, 1 - 0.2 / 3 - 0.1 / (sqrt(5) + 1))),
        (optim.adam(0.1, (0.5, 0.0), 1.0), (1 - 0.2 / 3, 1 - 0.2 / 3 - 0.1 * (4 / 3) / 2)),
        (optim.adam(0.1, (0.0, 0.75), 1.0, "tprnn"), (0.95, 0.95 - 0.1 * sqrt(7 / 16) / 2)),  # v = 1, then 1
        (optim.rmsprop(0.1, 0.75, 3.0), (1 - 0.1, 0.9 - 0.05)),  # r = 1, then 1
        (optim.adadelta(0.75, 3.0), (1 - sqrt(3), 1 - sqrt(3) - sqrt(3.75) / 2)),  # r = 1, 1; s = 3/4
    ],
)
def test_two_steps_by_hand(optimizer: optim.Optimizer, expected: tuple[float, float]) -> None:
    assert two(optimizer) == pytest.approx(expected, rel=1e-14)


@settings(deadline=None)
@given(st.floats(1e-3, 1.0), st.integers(0, 10**6))
def test_without_momentum_both_forms_are_gradient_descent(lr: float, seed: int) -> None:
    params, grads = draw(seed), [draw(seed + t) for t in range(1, 4)]
    expected = run(optim.sgd(lr), params, grads)
    for optimizer in (optim.nag(lr, 0.0), optim.momentum(lr, 0.0)):
        for got, want in zip(run(optimizer, params, grads), expected, strict=True):
            assert all(np.array_equal(got[key], want[key]) for key in SHAPES)


@settings(deadline=None)
@given(st.floats(1e-3, 1.0), st.floats(0.0, 0.99), st.integers(0, 10**6))
def test_nag_is_momentum_looked_at_one_step_ahead(lr: float, mu: float, seed: int) -> None:
    """With q = p - mu v' the recursion is classical momentum, whose look-ahead point q + mu v is the stored p."""
    params, grads = draw(seed), [draw(seed + t) for t in range(1, 6)]
    got = run(optim.nag(lr, mu), params, grads)
    for key in SHAPES:
        q, v = params[key], 0.0
        for t, g in enumerate(grads):
            v = mu * v - lr * g[key]
            q = q + v
            np.testing.assert_allclose(got[t][key], q + mu * v, rtol=1e-9, atol=1e-9)


@settings(deadline=None)
@given(st.floats(1e-6, 1e6), st.floats(1e-10, 1e-1))
def test_the_first_step_of_adagrad_is_shorter_than_lr(g: float, eps: float) -> None:
    first, _ = two(optim.adagrad(0.5, eps), g1=g, p=0.0)
    assert first == pytest.approx(-0.5 * g / (g + eps), rel=1e-12)
    assert -0.5 <= first < 0


def test_a_schedule_is_a_new_optimizer_on_the_old_state() -> None:
    params, state = {"p": np.array([1.0])}, {"velocity": {"p": np.array([0.0])}}
    for lr, expected in ((0.1, 0.8), (0.01, 0.77)):  # v = 2, then 3
        updates, state = optim.momentum(lr, 0.5).update({"p": np.array([2.0])}, state, params)
        params = optim.apply(params, updates)
        np.testing.assert_allclose(params["p"], expected, rtol=1e-14)


def test_counters_may_come_back_from_a_file_as_arrays() -> None:
    params, grads = draw(0, "float32"), draw(1, "float32")
    state = optim.adam(0.1).init(params)
    expected, _ = optim.adam(0.1).update(grads, state, params)
    got, new = optim.adam(0.1).update(grads, state | {"t": np.array(0)}, params)
    assert all(np.array_equal(got[key], expected[key]) and got[key].dtype == np.float32 for key in got)
    assert new["t"] == 1
    assert type(new["t"]) is int


def test_apply_refuses_an_update_without_a_parameter() -> None:
    with pytest.raises(InputError, match=r"W_hx.*W_xh"):
        optim.apply({"W_xh": np.ones(2)}, {"W_hx": np.ones(2)})


# --- transformations ---


def clipped(grads: dict[str, Any], threshold: float, rule: Any = "tprnn") -> dict[str, Any]:
    return optim.clip_global_norm(threshold, rule).update(grads, {}, grads)[0]


def test_the_global_norm_by_hand() -> None:
    assert optim.global_norm({"a": np.array([[3.0]]), "b": np.array([0.0, 4.0])}) == 5.0
    assert optim.global_norm({}) == 0.0


def test_the_global_norm_neither_overflows_nor_vanishes_in_float32() -> None:
    for size in (1e30, 1e-30):
        g = {"a": np.full(4, size, np.float32)}
        assert optim.global_norm(g) == pytest.approx(2 * size, rel=1e-6)


def test_the_order_of_a_dict_does_not_show_in_the_norm() -> None:
    rng = np.random.default_rng(0)
    g = {str(i): rng.standard_normal(3) * 10.0**i for i in range(8)}
    assert optim.global_norm(g) == optim.global_norm(dict(reversed(g.items())))


@pytest.mark.parametrize("rule", ["tprnn", "pytorch"])
@settings(deadline=None)
@given(seed=st.integers(0, 10**6), size=st.floats(1e-3, 1e3), threshold=st.floats(1e-2, 1e2))
def test_clipping_keeps_directions_and_bounds_the_norm(rule: str, seed: int, size: float, threshold: float) -> None:
    g = {key: size * a for key, a in draw(seed).items()}
    norm = optim.global_norm(g)
    out = clipped(g, threshold, rule)
    if rule == "tprnn":
        factor = threshold / max(norm, 1e-6) if norm > threshold else 1.0
    else:
        factor = min(1.0, threshold / (norm + 1e-6))
    for key in g:
        np.testing.assert_allclose(out[key], factor * g[key], rtol=1e-12)
    assert optim.global_norm(out) <= threshold * (1 + 1e-12) or factor == 1.0


@pytest.mark.parametrize("rule", ["tprnn", "pytorch"])
@pytest.mark.parametrize("threshold", [1e-9, 0.5, 3.0])
@pytest.mark.parametrize("size", [0.0, 1e-12, 1e-7, 0.1, 0.5, 3.0, 1e30, np.inf, np.nan])
def test_clipping_on_a_device_looks_at_nothing_and_comes_to_the_same(rule: Any, threshold: float, size: float) -> None:
    g = {"a": np.array([size, 0.0], "float32"), "b": np.zeros((1, 2), "float32")}
    there = {name: array_api_strict.asarray(array, device=STRICT_DEVICE) for name, array in g.items()}
    found = clipped(there, threshold, rule)
    for name, array in clipped(g, threshold, rule).items():
        assert found[name].dtype == array_api_strict.float32
        np.testing.assert_array_equal(np.array(found[name]._array), array)


def test_the_two_clipping_rules_differ_near_the_threshold() -> None:
    g = {"a": np.array([1.0])}
    assert clipped(g, 1.0)["a"][0] == 1.0
    assert clipped(g, 1.0, "pytorch")["a"][0] == pytest.approx(1 / (1 + 1e-6), rel=1e-14)
    tiny = {"a": np.array([1e-7])}
    assert clipped(tiny, 1e-8)["a"][0] == pytest.approx(1e-9, rel=1e-12)  # 1e-7 * 1e-8 / 1e-6


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("rule", ["tprnn", "pytorch"])
def test_clipping_does_not_hide_which_gradient_diverged(rule: str, bad: float) -> None:
    g = {"a": np.array([bad]), "b": np.array([5.0])}
    out = clipped(g, 1.0, rule)
    np.testing.assert_array_equal(out["a"], g["a"])
    assert out["b"][0] == 5.0


def test_weight_decay_is_the_gradient_of_half_the_squares() -> None:
    params = {"p": np.array([2.0])}
    updates, _ = optim.chain(optim.weight_decay(0.1), optim.sgd(1.0)).update({"p": np.array([1.0])}, {}, params)
    np.testing.assert_allclose(updates["p"], -1.2, rtol=1e-14)


def test_a_rate_multiplies_the_update_of_its_parameter_only() -> None:
    params, grads = draw(0), draw(1)
    plain, _ = optim.nag(0.1, 0.9).update(grads, optim.nag(0.1, 0.9).init(params), params)
    split = optim.chain(optim.nag(0.1, 0.9), optim.scale({"W": 1e-4}))
    scaled, state = split.update(grads, split.init(params), params)
    np.testing.assert_array_equal(scaled["W"], 1e-4 * plain["W"])
    assert np.array_equal(scaled["b"], plain["b"])
    assert state.keys() == {"velocity"}


def test_a_rate_for_a_name_that_is_no_parameter_is_refused() -> None:
    with pytest.raises(InputError, match="W_hx"):
        optim.chain(optim.sgd(0.1), optim.scale({"W_hx": 0.5})).init(draw(0))


def test_stages_of_a_chain_share_one_flat_state() -> None:
    params = draw(0)
    state = optim.chain(optim.clip_global_norm(1.0), optim.adagrad(0.1), optim.momentum(1.0, 0.9)).init(params)
    assert state.keys() == {"adagrad", "velocity"}
    assert optim.chain().init(params) == {}


def test_stages_that_would_share_their_memory_are_refused() -> None:
    with pytest.raises(InputError, match="velocity"):
        optim.chain(optim.momentum(0.1, 0.9), optim.nag(0.1, 0.9)).init(draw(0))


def test_a_rule_passes_on_state_that_is_not_its_own() -> None:
    params = draw(0)
    for make in OPTIMIZERS.values():
        _, state = make().update(draw(1), make().init(params) | {"other": 7}, params)
        assert state["other"] == 7


# --- what is refused ---


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: optim.sgd(-0.1), "lr"),
        (lambda: optim.sgd(float("nan")), "lr"),
        (lambda: optim.sgd(float("inf")), "lr"),
        (lambda: optim.momentum(-1, 0.9), "lr"),
        (lambda: optim.momentum(0.1, 1.0), "mu"),
        (lambda: optim.nag(0.1, -0.1), "mu"),
        (lambda: optim.nag(0.1, float("nan")), "mu"),
        (lambda: optim.adagrad(0.1, 0.0), "eps"),
        (lambda: optim.adam(0.1, eps=0.0), "eps"),
        (lambda: optim.adam(0.1, betas=(1.0, 0.9)), "betas"),
        (lambda: optim.adam(0.1, betas=(0.9, -0.1)), "betas"),
        (lambda: optim.adam(0.1, rule="other"), "rule"),  # type: ignore[arg-type]
        (lambda: optim.rmsprop(0.1, decay=1.0), "decay"),
        (lambda: optim.rmsprop(0.1, eps=-1.0), "eps"),
        (lambda: optim.adadelta(decay=1.5), "decay"),
        (lambda: optim.adadelta(eps=0.0), "eps"),
        (lambda: optim.clip_global_norm(0.0), "threshold"),
        (lambda: optim.clip_global_norm(1.0, "other"), "rule"),  # type: ignore[arg-type]
        (lambda: optim.weight_decay(-1e-6), "wd"),
        (lambda: optim.scale({"W": -1.0}), "W"),
    ],
)
def test_impossible_hyper_parameters_are_refused(call: Callable[[], Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        call()


def test_a_learning_rate_of_zero_moves_nothing() -> None:
    params = draw(0)
    for optimizer in (optim.sgd(0.0), optim.adam(0.0), optim.nag(0.0, 0.9)):
        assert all(np.array_equal(run(optimizer, params, [draw(1)])[0][key], params[key]) for key in SHAPES)
