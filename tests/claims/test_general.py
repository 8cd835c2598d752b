"""Claims about recurrent networks, their gradients and update rules, whatever the method.

Legend: T time, B batch, H hidden units; E loss; act the activation, a_t its argument at step t; J_t = dh_t/dh_{t-1};
gamma the largest |act'|; sigma_max the largest singular value (2-norm); e_t = dE/dh_t. "Section" and "Eq." are those of
Manchev & Spratling 2020. Everything is float64; "equals" is up to a relative 1e-10 unless a test says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from algorithms import bptt, tptt
from algorithms.measures import spectral_radius
from algorithms.model import Model
from algorithms.protocol import select
from datasets.task import Batch
from minigrad import init, optim
from minigrad.backend import Array, Params
from minigrad.tape import Tape
from tests.claims.examples import (
    ACT,
    SLOPE,
    STEEPEST,
    Net,
    assert_close,
    bounded,
    for_all,
    kernels_set,
    nets,
    norm,
    rates,
    slope,
)

seeds = st.integers(0, 2**32 - 1)
gated = st.sampled_from(["gru", "lstm", "antisymmetric"])


def assert_slopes(net: Net, found: Params, f: Callable[[Params], Array], p: Params, size: float = 1.0) -> None:
    """Every gradient found is the slope of f along random directions, up to 1e-10 of the largest slope there can be.

    And up to the rounding of numbers of the given size.
    """
    for name, gradient in found.items():
        direction = np.random.default_rng(net.seed).standard_normal(gradient.shape)
        off = float(np.sum(gradient * direction)) - slope(f, p, name, direction)
        assert abs(off) <= 1e-10 * norm(gradient) * norm(direction) + 1e-13 * size, f"{name}: off by {off:.3g}"


# --- G1: gradients ---


@for_all(
    examples=60,
    net=st.one_of(
        nets(loss_at=st.sampled_from(["last", "every"]), tokens=st.booleans(), layers=st.integers(1, 2)),
        nets(
            cell=gated,
            activation="tanh",
            T=st.integers(1, 6),
            loss_at=st.sampled_from(["last", "every"]),
            tokens=st.booleans(),
            layers=st.integers(1, 2),
        ),
    ),
)
def test_g1_bptt(net: Net) -> None:
    """G1 BPTT's gradient by every parameter is the numerical derivative of E, for every cell, loss and input."""
    found = net.bptt(lr=0.0)
    assert set(found.grads) == set(net.params)
    assert_slopes(net, found.grads, net.E, net.params)
    assert_close(found.loss, net.E(net.params))


@for_all(net=nets(), alpha_i=rates, noise=st.sampled_from([0.0, 0.3]), hx=st.booleans())
def test_g1_local_losses(net: Net, alpha_i: float, noise: float, hx: bool) -> None:
    """G1 TPTT's local gradients are the numerical derivatives of L_F and L_G, with states and targets constant."""
    info = net.tptt(alpha_i=alpha_i, noise=noise, w_xh="local" if hx else "bptt", rng=np.random.default_rng(net.seed))
    p, x, act = net.all_params, net.batch.x, ACT[net.activation]
    h, targets = info.arrays["h"], info.arrays["targets"]
    before = net.before(h)
    q = before + np.random.default_rng(net.seed).normal(0.0, noise, h.shape)
    f = act(x @ p["W_xh"] + q @ p["W_hh"] + p["b_h"])

    def L_F(p: Params) -> Array:
        return np.sum((act(x @ p["W_xh"] + before @ p["W_hh"] + p["b_h"]) - targets) ** 2) / (net.B * net.H)

    def L_G(p: Params) -> Array:
        return np.sum((act(x @ p["W_xh"] + f @ p["V_hh"] + p["c_h"]) - q) ** 2) / (net.B * net.H)

    local = ("W_hh", "b_h", "W_xh") if hx else ("W_hh", "b_h")
    size = 1 + norm(h) * (norm(h) + norm(targets))
    assert_slopes(net, select(info.grads, *local), L_F, p, size)
    assert_slopes(net, select(info.grads, "V_hh", "c_h"), L_G, p, size)
    assert_close(info.arrays["loss_f"], L_F(p))
    assert_close(info.arrays["loss_g"], L_G(p))


# --- G2: orthogonal weights ---


@for_all(seed=seeds, rows=st.integers(1, 20), cols=st.integers(1, 20))
def test_g2_rand_ortho(seed: int, rows: int, cols: int) -> None:
    """G2 rand_ortho has orthonormal rows (then ||h W|| = ||h||) or, if there are more rows, columns, to 1e-12."""
    rng = np.random.default_rng(seed)
    W = init.rand_ortho(rng, rows, cols, "float64")
    gram = W @ W.T if rows <= cols else W.T @ W
    assert np.abs(gram - np.eye(len(gram))).max() <= 1e-12
    if rows <= cols:
        h = rng.standard_normal(rows)
        assert_close(norm(h @ W), norm(h), rtol=1e-12)


@for_all(net=nets(activation="linear", T=st.integers(2, 12)))
def test_g2_linear_units_keep_the_norm(net: Net) -> None:
    """G2 A linear SRN with orthogonal W_hh has one ||dE/dh_t|| at all t (to 1e-12)."""
    W_hh = init.rand_ortho(np.random.default_rng(net.seed), net.H, net.H, "float64")
    norms = [norm(e_t) for e_t in net.errors({"W_hh": W_hh})]
    assert norms[-1] > 0
    assert_close(norms, np.full(net.T, norms[-1]), rtol=1e-12, size=0)


@pytest.mark.refuted
@for_all(net=nets(activation="tanh", T=st.integers(2, 12)))
def test_g2_tanh_units_do_not(net: Net) -> None:
    """G2 Section 3.1: orthogonal W_hh preserves gradient norms in tanh units. (They shrink at every step.)"""
    W_hh = init.rand_ortho(np.random.default_rng(net.seed), net.H, net.H, "float64")
    norms = [norm(e_t) for e_t in net.errors({"W_hh": W_hh})]
    assert all(earlier < later for earlier, later in pairwise(norms))


# --- G3: vanishing and exploding ---


def jacobian(net: Net) -> tuple[Array, Array]:
    """dh_T/dh_0 [H, H], h_0 down and h_T across, of the first sequence of a batch; and its states [T, H]."""
    one = replace(net, B=1)
    h_0 = np.repeat(one.h_0, net.H, axis=0)
    with Tape() as tape:
        start = tape.watch(h_0)
        h = one.model.unroll(one.params, np.repeat(one.batch.x, net.H, axis=1), start)
        h_T = h[-1]
    return tape.gradient(h_T, start, seed=np.eye(net.H)).T, h.value[:, 0]


@for_all(net=nets())
def test_g3_bound(net: Net) -> None:
    """G3 dh_T/dh_0 is the product of W_hh diag(act'(a_t)); its 2-norm is at most (gamma sigma_max(W_hh))^T."""
    found, h = jacobian(net)
    one, W = replace(net, B=1), net.params["W_hh"]
    a = one.arguments(net.params, h[:, None])[:, 0]
    product = np.eye(net.H)
    for a_t in a:
        product = product @ (W * SLOPE[net.activation](a_t))
    assert_close(found, product)
    limit = STEEPEST[net.activation] * np.linalg.norm(W, 2)
    assert np.linalg.norm(found, 2) <= limit**net.T * (1 + 1e-12)


@pytest.mark.refuted
@for_all(net=nets(activation=st.sampled_from(["tanh", "sigmoid"]), T=1, H=st.integers(2, 8), carried=True))
def test_g3_argument_of_the_slope(net: Net) -> None:
    """G3 Section 1.1: the Jacobian is W_hh^T diag(act'(h_{t-1})). (act' belongs at a_t, the argument of h_t.)"""
    found, _ = jacobian(net)
    one, W = replace(net, B=1), net.params["W_hh"]
    published = W * SLOPE[net.activation](one.h_0[0])
    correct = W * SLOPE[net.activation](one.arguments(net.params, one.h_0[None])[0, 0])
    assert_close(found, correct)
    assert norm(found - published) > 1e-4 * norm(found)


def errors_of(activation: str, W_hh: Array, x: Array, h_0: Array) -> list[float]:
    """||dE/dh_t||, t = 1..T, where dE/dh_T = (1, 0, ...), for one sequence x [T, H], W_xh = I and b_h = 0."""
    H = len(W_hh)
    model = Model.make(activation=activation, input_size=H, hidden=H, output_size=1, loss="mse")
    p = {"W_xh": np.eye(H), "W_hh": W_hh, "b_h": np.zeros(H), "W_hy": np.eye(H, 1), "b_y": np.zeros(1)}
    states = []
    with Tape() as tape:
        h = tape.watch(h_0[None])
        for x_t in x:
            h = model.step(p, x_t[None], h)
            states.append(h)
        E = model.score(p, h, h.value[:, :1] - 0.5)
    return [norm(e_t) for e_t in tape.gradient(E, states)]


@pytest.mark.refuted
@for_all(H=st.integers(2, 8), c=st.floats(1.5, 4.0), seed=seeds)
def test_g3_spectral_radius_does_not_bound(H: int, c: float, seed: int) -> None:
    """G3 Section 1.1: with spectral radius 1/2 the gradients of linear units shrink. (They can first grow.)"""
    W_hh = 0.5 * np.eye(H) + c * np.eye(H, k=-1)
    assert spectral_radius(W_hh) == 0.5
    x = np.random.default_rng(seed).standard_normal((160, H))
    norms = errors_of("linear", W_hh, x, np.zeros(H))
    assert norms[-H] >= c ** (H - 1) * norms[-1]  # they grow for H - 1 steps back,
    assert norms[0] <= 1e-9 * norms[-1]  # and vanish in the end


@pytest.mark.refuted
@for_all(s=st.floats(2.5, 4.0))
def test_g3_spectral_radius_need_not_exceed_one(s: float) -> None:
    """G3 Section 1.1: with spectral radius 0 the gradients of tanh units vanish. (They can double at every step.)"""
    W_hh = s * np.array([[1.0, -1.0], [1.0, -1.0]])
    assert spectral_radius(W_hh) < 1e-6  # W_hh @ W_hh = 0
    a = np.array([0.0, np.arctanh(0.5**0.5)])  # where act' is 1 and 1/2
    h = np.tanh(a)
    steps = 30
    norms = errors_of("tanh", W_hh, np.tile(a - h @ W_hh, (steps, 1)), h)  # this input holds the state at h
    grown = [norms[steps - 1 - k] / norms[-1] for k in range(1, steps)]
    expected = [2**0.5 * s * (s / 2) ** (k - 1) for k in range(1, steps)]
    assert_close(np.array(grown) / expected, np.ones(steps - 1), rtol=1e-3)
    # Nor does the bound of the 2-norm fail here:
    assert all(g <= (2 * s) ** (k + 1) for k, g in enumerate(grown))


# --- G4: what a language model is judged by ---

texts = nets(
    cell=st.sampled_from(["srn", "gru", "lstm"]),
    activation="tanh",
    loss="softmax",
    loss_at="every",
    tokens=True,
    T=st.integers(2, 8),
    D=st.integers(2, 5),
    layers=st.integers(1, 2),
)


@for_all(net=texts)
def test_g4_perplexity(net: Net) -> None:
    """G4 exp(E) is the perplexity, the geometric mean of 1/p over all tokens; it is 2^bits, with bits = E / ln 2."""
    E = float(net.bptt().loss)
    h = net.model.unroll(net.params, net.batch.x, net.h_0)
    odds = np.exp(net.model.readout(net.params, h))
    p = np.take_along_axis(odds / odds.sum(axis=-1, keepdims=True), net.batch.y[..., None], axis=-1)
    assert_close(np.exp(E), np.prod(1 / p) ** (1 / p.size))
    assert_close(2.0 ** (E / np.log(2)), np.prod(1 / p) ** (1 / p.size))


@for_all(net=texts, window=st.integers(1, 8))
def test_g4_windows(net: Net, window: int) -> None:
    """G4 Cutting a text into windows does not change its total loss if the state is carried, and does if it is not."""
    config = bptt.Config(lr=0.0)

    def total(carry: bool) -> float:
        state, found = net.start(bptt, config), 0.0
        for start in range(0, net.T, window):
            x, y = net.batch.x[start : start + window], net.batch.y[start : start + window]
            batch = Batch(x, y, continues=net.carried if start == 0 else carry)
            with kernels_set(net.twin):
                state, info = bptt.step(config, net.model, state, batch, None)
            found += len(x) * float(info.loss)
        return found

    whole = net.T * float(net.bptt(lr=0.0).loss)
    assert_close(total(carry=True), whole, rtol=1e-12)
    assume(window < net.T)
    assert abs(total(carry=False) - whole) > 1e-9


# --- G5: update rules ---


def trajectory(net: Net, steps: int = 5, **options: Any) -> tuple[list[Params], list[Params]]:
    """Parameters before each step of BPTT and after the last, and the gradients of each step."""
    config = bptt.Config(**options)
    state = net.start(bptt, config)
    params, grads = [state.params], []
    for _ in range(steps):
        state, info = net.step(bptt, config, state)
        params.append(state.params)
        grads.append(info.grads)
    return params, grads


@for_all(net=bounded, mu=st.sampled_from([0.9, 0.5, 0.0]), lr=st.sampled_from([0.01, 0.001]))
def test_g5_nag(net: Net, mu: float, lr: float) -> None:
    """G5 NAG in Lasagne's form is v' = mu v - lr g, p' = p + mu v' - lr g; with mu = 0 it is gradient descent."""
    params, grads = trajectory(net, optimizer="nag", lr=lr, momentum=mu)
    for name in params[0]:
        p, v = params[0][name], 0.0
        for after, g in zip(params[1:], grads, strict=True):
            v = mu * v - lr * g[name]
            p = p + mu * v - lr * g[name] if mu else p - lr * g[name]
            assert_close(after[name], p, rtol=1e-12)


@for_all(seed=seeds, mu=st.floats(0.0, 0.99), lr=st.floats(1e-3, 0.5), n=st.integers(1, 4))
def test_g5_nesterov(seed: int, mu: float, lr: float, n: int) -> None:
    """G5 NAG in Lasagne's form is Nesterov's method v' = mu v - lr g(z + mu v), z' = z + v', seen at p = z + mu v."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, n))
    A = A @ A.T / norm(A @ A.T)
    z, v = rng.standard_normal(n), np.zeros(n)
    rule, params = optim.nag(lr, mu), {"p": z}
    state = rule.init(params)
    for _ in range(10):
        updates, state = rule.update({"p": A @ params["p"]}, state, params)
        params = optim.apply(params, updates)
        v = mu * v - lr * A @ (z + mu * v)
        z = z + v
        assert_close(params["p"], z + mu * v)


@for_all(net=bounded, mu=st.sampled_from([0.9, 0.5, 0.0]), lr=st.sampled_from([0.01, 0.001]))
def test_g5_momentum(net: Net, mu: float, lr: float) -> None:
    """G5 Momentum in PyTorch's form, v' = mu v + g, p' = p - lr v', is heavy ball: p'' - p' = mu (p' - p) - lr g'."""
    params, grads = trajectory(net, optimizer="momentum", lr=lr, momentum=mu)
    for name in params[0]:
        steps = [b[name] - a[name] for a, b in pairwise(params)]
        assert_close(steps[0], -lr * grads[0][name])
        for k in range(1, len(steps)):
            assert_close(steps[k], mu * steps[k - 1] - lr * grads[k][name])


@for_all(seed=seeds, lr=st.floats(1e-4, 10.0), eps=st.sampled_from([1e-5, 1e-10]))
def test_g5_adagrad(seed: int, lr: float, eps: float) -> None:
    """G5 Adagrad's first step is lr |g| / (|g| + eps) < lr against the sign of g; no later step exceeds lr."""
    rng = np.random.default_rng(seed)
    g = rng.choice([-1.0, 1.0], 50) * 10.0 ** rng.uniform(-12, 4, 50)
    rule, params = optim.adagrad(lr, eps), {"p": np.zeros(50)}
    first, state = rule.update({"p": g}, rule.init(params), params)
    assert_close(first["p"], -lr * np.sign(g) * np.abs(g) / (np.abs(g) + eps), rtol=1e-12, size=0)
    assert np.all(np.abs(first["p"]) < lr)
    for _ in range(5):
        later, state = rule.update({"p": g * rng.standard_normal(50)}, state, params)
        assert np.all(np.abs(later["p"]) <= lr)


@for_all(net=nets(carried=False), options=st.sampled_from([{"optimizer": "nag"}, {"optimizer": "adagrad"}, {}]))
def test_g5_methods_share_the_rules(net: Net, options: dict[str, str]) -> None:
    """G5 BPTT and TPTT apply the same rule to the same gradient: their W_hy and b_y agree bit for bit after a step."""
    one, _ = net.step(bptt, bptt.Config(lr=0.1, **options), net.start(bptt, bptt.Config(lr=0.1, **options)))
    config = tptt.Config(alpha_f=0.1, **({"optimizer": "sgd"} | options))
    other, _ = net.step(tptt, config, net.start(tptt, config))
    for name in ("W_hy", "b_y"):
        assert_array_equal(one.params[name], other.params[name])
