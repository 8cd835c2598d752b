"""Claims about forward propagation through time (Kag & Saligrama 2021), FPTT.

Legend: l_t loss of part t, g_t its gradient; W_t parameters before it, W_bar_t and lambda_t the running estimates;
alpha, beta, rho the options, c the penalty factor, eta the learning rate of plain gradient descent. Some claims are
about any losses: there l_t(w) = (w - a_t)^T A_t (w - a_t) / 2, with positive definite A_t. Everything is float64;
"equals" is up to a relative 1e-10.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from algorithms import bptt, fptt
from algorithms.part_losses import spans
from algorithms.protocol import Info
from minigrad.backend import Array, Params
from minigrad.tape import Tape
from tests.claims.examples import Net, assert_close, for_all, kernels_set, nets, norm

FORMS = ("running", "algorithm2", "equation6")

alphas = st.sampled_from([0.05, 0.3, 1.0, 2.5])
etas = st.sampled_from([0.01, 0.05, 0.2])
forms = st.sampled_from(FORMS)

sequences = nets(
    cell=st.sampled_from(["srn", "gru", "lstm", "antisymmetric"]),
    activation="tanh",
    loss_at=st.sampled_from(["last", "every"]),
    carried=False,
    T=st.integers(1, 9),
    H=st.integers(1, 6),
)


def taken(net: Net, times: int = 1, **options: Any) -> tuple[fptt.State, Info, list[fptt.State]]:
    """The state after some steps on one batch, what the last one told, and the states before each."""
    plain = {"optimizer": "sgd", "lr": 0.1, "parts": 1, "part_weight": "none", "divergence": "none"}
    config = fptt.Config(**plain | options)
    state, seen = fptt.init(config, net.model, net.params, np.random.default_rng(0)), []
    with kernels_set(net.twin):
        for _ in range(times):
            seen.append(state)
            state, info = fptt.step(config, net.model, state, net.batch, np.random.default_rng(0))
    return state, info, seen


@dataclass(frozen=True)
class Losses:
    """Quadratic losses with curvatures between 0.3 and about 3, and a point to start from."""

    seed: int
    count: int = 6
    size: int = 3
    common: bool = False
    """Whether all have the minimum of the first."""

    @cached_property
    def A(self) -> list[Array]:
        draws = self._rng.standard_normal((self.count, self.size, self.size))
        return [M @ M.T / self.size + 0.3 * np.eye(self.size) for M in draws]

    @cached_property
    def a(self) -> Array:
        drawn = np.random.default_rng([self.seed, 1]).standard_normal((self.count, self.size))
        return np.tile(drawn[0], (self.count, 1)) if self.common else drawn

    @cached_property
    def start(self) -> Array:
        return np.random.default_rng([self.seed, 2]).standard_normal(self.size)

    @property
    def _rng(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, 0])

    def gradient(self, t: int, w: Array) -> Array:
        found: Array = self.A[t % self.count] @ (w - self.a[t % self.count])
        return found


Step = Callable[[int, Array, dict[str, Params]], Array]
"""step(t, W_t, what the form remembers) -> W_{t+1}."""


def path(
    losses: Losses, config: fptt.Config, step: Step, steps: int, begin: Array | None = None
) -> list[tuple[Array, dict[str, Array]]]:
    """(W_t, what the form remembers before part t) for t = 0..steps, by the method's own formulas.

    `begin`: W, W_bar and what else is remembered, [3, size]; None: a fresh state.
    """
    W, W_bar, remembered = [losses.start, losses.start, 0 * losses.start] if begin is None else begin
    kept = {"W_bar": {"W": W_bar}, fptt.MEMORY[config.form]: {"W": remembered}}
    seen = [(W, {kind: arrays["W"] for kind, arrays in kept.items()})]
    for t in range(steps):
        W = step(t, W, kept)
        if config.form == "running":
            kept = fptt.running(config, kept, {"W": W})
        else:
            kept = fptt.averaged(config, kept, {"W": W}, {"W": losses.gradient(t, W)})
        seen.append((W, {kind: arrays["W"] for kind, arrays in kept.items()}))
    return seen


def affine(function: Callable[[Array], Array], size: int) -> tuple[Array, Array]:
    """M and b of function(z) = M z + b."""
    b = function(np.zeros(size))
    return np.stack([function(e) - b for e in np.eye(size)], axis=1), b


def radius(M: Array) -> float:
    """The largest modulus of an eigenvalue: below 1, z -> M z + b comes to rest from anywhere; above, from nowhere."""
    return float(np.abs(np.linalg.eigvals(M)).max())


def cycle(losses: Losses, config: fptt.Config, step: Step) -> list[tuple[Array, dict[str, Array]]]:
    """The path through all parts, as `path`, that ends where it begins: every path ends in it."""

    def turned(z: Array) -> Array:
        W, kept = path(losses, config, step, losses.count, z.reshape(3, -1))[-1]
        return np.concatenate([W, *kept.values()])

    M, b = affine(turned, 3 * losses.size)
    assert radius(M) < 1
    begin = np.linalg.solve(np.eye(len(b)) - M, b)
    return path(losses, config, step, losses.count, begin.reshape(3, -1))


def bias(losses: Losses, Ws: list[Array]) -> Array:
    """From the minimum of the sum of all parts' losses to the mean of W over a cycle."""
    best = np.linalg.solve(sum(losses.A), sum(A @ a for A, a in zip(losses.A, losses.a, strict=True)))
    found: Array = np.mean(Ws, axis=0) - best
    return found


def descending(losses: Losses, config: fptt.Config, eta: float) -> Step:
    """One step of gradient descent on l_t + R."""

    def step(t: int, W: Array, kept: dict[str, Params]) -> Array:
        g = fptt.regularised(config, kept, {"W": W}, {"W": losses.gradient(t, W)})["W"]
        moved: Array = W - eta * g
        return moved

    return step


def exactly(losses: Losses, config: fptt.Config) -> Step:
    """The minimum of l_t + R, from the method's own gradient of R at 0 and its slope."""

    def step(t: int, W: Array, kept: dict[str, Params]) -> Array:
        A, a, zero = losses.A[t % losses.count], losses.a[t % losses.count], np.zeros_like(W)
        offset = fptt.regularised(config, kept, {"W": zero}, {"W": zero})["W"]  # grad R(0)
        weight = config.alpha * (config.penalty_factor if config.form == "running" else 1.0)
        found: Array = np.linalg.solve(A + weight * np.eye(len(W)), A @ a - offset)
        return found

    return step


quadratics = st.builds(Losses, st.integers(0, 2**20))


# --- F1: where it begins ---


@for_all(net=sequences, form=forms, alpha=alphas, weight=st.sampled_from(["none", "linear"]))
def test_f1_the_first_step_is_plain(net: Net, form: str, alpha: float, weight: str) -> None:
    """F1 From W_bar = W, lambda = 0 the first step is a plain one on l_1 whatever alpha; with one part it is BPTT's."""
    state, info, _ = taken(net, form=form, alpha=alpha, part_weight=weight)
    expected = net.bptt()
    assert_close(info.loss, expected.loss)
    for name, g in expected.grads.items():
        assert_close(info.grads[name], g)
        assert_close(state.params[name], net.params[name] - 0.1 * g)


@for_all(net=sequences)
def test_f1_without_regulariser_it_stays_bptt(net: Net) -> None:
    """F1 Without regulariser (alpha = 0) every step of one part is BPTT's, and nothing else is remembered."""
    state, _, _ = taken(net, times=3, alpha=0.0)
    config = bptt.Config(lr=0.1)
    expected = bptt.init(config, net.model, net.params, np.random.default_rng(0))
    for _ in range(3):
        expected, _ = bptt.step(config, net.model, expected, net.batch, np.random.default_rng(0))
    assert state.regulariser == {}
    for name, p in expected.params.items():
        assert_close(state.params[name], p)


# --- F2: what W_bar and lambda are ---


@for_all(net=sequences, alpha=alphas, parts=st.integers(1, 3), c=st.sampled_from([1.0, 2.0]))
def test_f2_w_bar_is_no_average(net: Net, alpha: float, parts: int, c: float) -> None:
    """F2 beta = 1/2: W_bar_{t+1} = W_{t+1} - lambda_t / (2 alpha): the newest W and a correction, no average."""
    parts = min(parts, net.T)
    config = fptt.Config(optimizer="sgd", lr=0.1, parts=parts, divergence="none", alpha=alpha, penalty_factor=c)
    after = fptt.init(config, net.model, net.params, np.random.default_rng(0))
    for _ in range(3):
        h = net.model.initial_state(net.params, net.B)
        for span in spans(net.T, parts):
            before = after
            with kernels_set(net.twin):
                after, found = fptt.updated(fptt.Part(config, net.model, net.batch, span), before, h)
            h = found.ended
            for name in net.params:
                closed = after.params[name] - before.regulariser["lambda"][name] / (2 * alpha)
                assert_close(after.regulariser["W_bar"][name], closed)


@for_all(losses=quadratics, alpha=alphas, eta=etas)
def test_f2_lambda_answers_to_the_steps_alone(losses: Losses, alpha: float, eta: float) -> None:
    """F2 beta = 1/2: lambda_{t+1} = lambda_t - lambda_{t-1} / 2 - alpha (W_{t+1} - W_t)."""
    config = fptt.Config(alpha=alpha)
    seen = path(losses, config, descending(losses, config, eta), 8)
    for (_, earlier), (W, now), (W_new, later) in zip(seen, seen[1:], seen[2:], strict=False):
        assert_close(later["lambda"], now["lambda"] - earlier["lambda"] / 2 - alpha * (W_new - W))


@for_all(losses=quadratics, alpha=alphas, eta=etas, beta=st.floats(0.1, 1.0))
def test_f2_any_beta(losses: Losses, alpha: float, eta: float, beta: float) -> None:
    """F2 W_bar_{t+1} = (1 - 2 beta) W_bar_t + 2 beta W_{t+1} - (beta / alpha) lambda_t for any beta."""
    config = fptt.Config(alpha=alpha, beta=beta)
    seen = path(losses, config, descending(losses, config, eta), 6)
    for (_, before), (W, after) in pairwise(seen):
        closed = (1 - 2 * beta) * before["W_bar"] + 2 * beta * W - (beta / alpha) * before["lambda"]
        assert_close(after["W_bar"], closed)


@for_all(losses=quadratics, alpha=alphas, eta=etas, c=st.floats(0.0, 2.0), rho=st.floats(0.0, 1.0))
def test_f2_the_regulariser_sees_two_lambdas(losses: Losses, alpha: float, eta: float, c: float, rho: float) -> None:
    """F2 beta = 1/2: the regulariser's gradient at the next step is -(1 - rho) lambda_{t+1} + (c/2) lambda_t."""
    config = fptt.Config(alpha=alpha, penalty_factor=c, rho=rho)
    seen = path(losses, config, descending(losses, config, eta), 6)
    for (_, before), (W, now) in pairwise(seen):
        kept = {kind: {"W": array} for kind, array in now.items()}
        found = fptt.regularised(config, kept, {"W": W}, {"W": np.zeros_like(W)})["W"]
        assert_close(found, c / 2 * before["lambda"] - (1 - rho) * now["lambda"], size=100.0)


# --- F2: what a steady drift comes to, and what is stable ---


@for_all(seed=st.integers(0, 2**20), alpha=alphas, beta=st.sampled_from([0.3, 0.5, 0.7, 1.0]))
def test_f2_w_bar_is_ahead_of_a_drift(seed: int, alpha: float, beta: float) -> None:
    """F2 Under a steady drift dW a part lambda -> -2 alpha dW, and W_bar lies one step ahead: W_bar_t -> W_t + dW.

    So it is with any beta, but for lambda -> -(alpha/beta) dW.
    """
    losses, dW = Losses(seed), np.random.default_rng(seed).standard_normal(3)
    config = fptt.Config(alpha=alpha, beta=beta)
    W, kept = path(losses, config, lambda t, W, kept: W + dW, 250)[-1]
    assert_close(kept["W_bar"] - W, dW, size=1e4)
    assert_close(kept["lambda"], -alpha / beta * dW, size=1e4)


@for_all(seed=st.integers(0, 2**20), alpha=alphas, strength=st.floats(0.01, 1.0), c=st.sampled_from([1.0, 2.0]))
def test_f2_how_fast_a_steady_gradient_drives(seed: int, alpha: float, strength: float, c: float) -> None:
    """F2 A steady gradient g drives gradient descent by g / (1 + alpha eta) with c = 1, by g itself with c = 2.

    So it is where that drift is stable, alpha eta < 5 / (2 + c): here alpha eta is at most 1.
    """
    config, eta, g = fptt.Config(alpha=alpha, penalty_factor=c), strength / alpha, Losses(seed).start

    def step(t: int, W: Array, kept: dict[str, Params]) -> Array:
        moved: Array = W - eta * fptt.regularised(config, kept, {"W": W}, {"W": g})["W"]
        return moved

    seen = path(Losses(seed), config, step, 250)
    effective = (seen[-2][0] - seen[-1][0]) / eta
    assert_close(effective, g / (1 + alpha * eta) if c == 1.0 else g, rtol=1e-9)


def slowest(strength: float, eta_h: float, c: float, mu: float = 0.0) -> float:
    """The radius of gradient descent with momentum mu on h w^2 / 2 with the regulariser, alpha eta = strength."""
    config = fptt.Config(alpha=strength, penalty_factor=c)  # and eta = 1

    def after(z: Array) -> Array:
        W, W_bar, lam, v = ({"W": z[i : i + 1]} for i in range(4))
        kept = {"W_bar": W_bar, "lambda": lam}
        velocity = mu * v["W"] + fptt.regularised(config, kept, W, {"W": eta_h * W["W"]})["W"]
        new = {"W": W["W"] - velocity}
        kept = fptt.running(config, kept, new)
        return np.concatenate([new["W"], kept["W_bar"]["W"], kept["lambda"]["W"], velocity])

    return radius(affine(after, 4)[0])


@for_all(exponent=st.floats(-4.0, 1.0))
def test_f2_too_strong_a_regulariser_is_unstable(exponent: float) -> None:
    """F2 Gradient descent on h w^2 / 2 is unstable at alpha eta = 2 (c = 1), already at 1.5 (c = 2), for every h.

    At alpha eta = 1 it is stable for eta h <= 0.5 (c = 1), 0.1 (c = 2); with momentum 0.9 up to alpha eta = 2, for
    eta h <= 0.5.
    """
    eta_h = 10**exponent
    assert slowest(2.0, eta_h, c=1.0) > 1.3
    assert slowest(1.5, eta_h, c=2.0) > 1.2
    for c, bound in ((1.0, 0.5), (2.0, 0.1)):
        assert slowest(1.0, min(eta_h, bound), c) < 1
        for strength in (0.001, 0.1, 0.5, 1.0, 1.5, 2.0):
            assert slowest(strength, min(eta_h, 0.5), c, mu=0.9) < 1


@for_all(
    c=st.sampled_from([1.0, 2.0]),
    mu=st.sampled_from([0.0, 0.5, 0.9]),
    share=st.floats(0.001, 0.99),
    of_bound=st.one_of(st.floats(0.01, 0.99), st.floats(1.01, 3.0)),
)
def test_f2_where_it_is_stable(c: float, mu: float, share: float, of_bound: float) -> None:
    """F2 With momentum mu it is stable there exactly where eta h + (2/5) (2 + c) alpha eta < 2 (1 + mu), c = 1 or 2.

    Without regulariser it is so where eta h < 2 (1 + mu): what a regulariser adds counts as so much curvature.
    """
    eta_h = share * 2 * (1 + mu)
    strength = of_bound * (2 * (1 + mu) - eta_h) * 5 / (2 * (2 + c))
    assert (slowest(strength, eta_h, c, mu) < 1) == (of_bound < 1)


# --- F3: the second step ---


@for_all(net=sequences, alpha=alphas, c=st.sampled_from([0.0, 1.0, 2.0]))
def test_f3_the_second_step(net: Net, alpha: float, c: float) -> None:
    """F3 From a fresh state the second step of gradient descent has gradient g_1 - alpha eta g_0, whatever c."""
    after, first, _ = taken(net, alpha=alpha, penalty_factor=c)
    _, second, _ = taken(net, times=2, alpha=alpha, penalty_factor=c)
    with Tape() as tape:
        w = tape.watch(after.params)
        h = net.model.unroll(w, net.batch.x, net.model.initial_state(after.params, net.B))
        loss = net.model.score(w, net.model.scored(h), net.batch.y)
    g1 = tape.gradient(loss, w)
    for name, g0 in first.grads.items():
        assert_close(second.grads[name], g1[name] - alpha * 0.1 * g0)


# --- F4: a vanishing regulariser ---


def farthest(losses: Losses, form: str, alpha: float, eta: float = 0.05, steps: int = 20) -> float:
    """The largest distance to plain gradient descent on the parts."""
    config, W, most = fptt.Config(form=form, alpha=alpha), losses.start, 0.0  # type: ignore[arg-type]
    seen = path(losses, config, descending(losses, config, eta), steps)
    for t, (found, _) in enumerate(seen[1:]):
        W = W - eta * losses.gradient(t, W)
        most = max(most, norm(found - W))
    return most


@for_all(losses=quadratics)
def test_f4_running_tends_to_plain_steps(losses: Losses) -> None:
    """F4 alpha -> 0: form running tends to plain steps on the parts, as fast as alpha."""
    far = [farthest(losses, "running", alpha) for alpha in (1e-2, 1e-3, 1e-4)]
    assert far[1] < 0.2 * far[0]
    assert far[2] < 0.2 * far[1]


@for_all(examples=25, net=sequences, parts=st.integers(2, 3))
def test_f4_in_networks_too(net: Net, parts: int) -> None:
    """F4 In networks as well: after some batches form running is away from online truncated BPTT as far as alpha."""
    net = replace(net, T=max(net.T, 3))
    plain = taken(net, times=3, parts=parts, alpha=0.0)[0].params
    far = []
    for alpha in (1e-3, 1e-4, 1e-5):
        params = taken(net, times=3, parts=parts, alpha=alpha)[0].params
        far.append(sum(norm(params[name] - plain[name]) for name in plain))
    assert far[1] < 0.2 * far[0] + 1e-12
    assert far[2] < 0.2 * far[1] + 1e-12


@for_all(losses=quadratics, form=st.sampled_from(FORMS[1:]))
@pytest.mark.refuted
def test_f4_the_papers_forms_do_not(losses: Losses, form: str) -> None:
    """F4 Algorithm 2 and Eq. 6 tend to plain steps too as alpha -> 0. (They keep a distance, whatever alpha.)"""
    far = [farthest(losses, form, alpha) for alpha in (1e-3, 1e-5)]
    assert far[1] > 0.9 * far[0]
    assert far[1] > 1e-3 * norm(losses.start)


# --- F5, F6: what lambda is a gradient of ---


@for_all(losses=quadratics, alpha=alphas)
def test_f5_lambda_is_the_gradient_at_an_exact_minimum(losses: Losses, alpha: float) -> None:
    """F5 Where each part is solved exactly, c = 1, rho = 0: lambda_{t+1} = grad l_t(W_{t+1})."""
    config = fptt.Config(alpha=alpha)
    for t, (W, kept) in enumerate(path(losses, config, exactly(losses, config), 6)[1:]):
        assert_close(kept["lambda"], losses.gradient(t, W), rtol=1e-8)


@for_all(losses=quadratics, alpha=alphas, how=st.sampled_from(["c = 2", "one step"]))
@pytest.mark.refuted
def test_f5_but_not_as_it_is_used(losses: Losses, alpha: float, how: str) -> None:
    """F5 lambda is that gradient too with c = 2, as for texts, or after one step on a part, as always in practice."""
    config = fptt.Config(alpha=alpha, penalty_factor=2.0 if how == "c = 2" else 1.0)
    step = exactly(losses, config) if how == "c = 2" else descending(losses, config, 0.02)
    W, kept = path(losses, config, step, 1)[1]
    g = losses.gradient(0, W)
    assert norm(kept["lambda"] - g) > 0.02 * norm(g)


@for_all(losses=quadratics, alpha=alphas, eta=etas, form=st.sampled_from(FORMS[1:]))
def test_f6_the_stored_gradients_cancel(losses: Losses, alpha: float, eta: float, form: str) -> None:
    """F6 Algorithm 2's step begins along grad l_t(W_t) + (alpha/2) (W_t - W_bar_{t-1}): what is stored cancels.

    Eq. 6's begins along the same, less half of grad l_{t-1}(W_t).
    """
    config = fptt.Config(form=form, alpha=alpha)  # type: ignore[arg-type]
    seen = path(losses, config, descending(losses, config, eta), 6)
    for t in range(1, 6):
        W, kept = seen[t]
        memory = {kind: {"W": array} for kind, array in kept.items()}
        g = losses.gradient(t, W)
        found = fptt.regularised(config, memory, {"W": W}, {"W": g})["W"]
        expected = g + alpha / 2 * (W - seen[t - 1][1]["W_bar"])
        if form == "equation6":
            expected = expected - losses.gradient(t - 1, W) / 2
        assert_close(found, expected)


# --- F7: what proposition 1 says, and what it presupposes ---


@for_all(losses=quadratics, alpha=alphas, form=st.sampled_from(FORMS))
def test_f7_the_mean_gradient_vanishes(losses: Losses, alpha: float, form: str) -> None:
    """F7 Exact steps: grad l_t(W_{t+1}) has the mean 0 in the end if W_bar stays bounded; along the path, at no point.

    The gradients sum up to what W_bar moved and to the first and the last of them.
    """
    config = fptt.Config(form=form, alpha=alpha)  # type: ignore[arg-type]
    seen = path(losses, config, exactly(losses, config), 8)
    met = [losses.gradient(t, W) for t, (W, _) in enumerate(seen[1:])]
    moved = seen[-1][1]["W_bar"] - seen[0][1]["W_bar"]
    if form == "algorithm2":  # 1/4 of the last gradient is still to be taken away
        assert_close(np.sum(met, axis=0) * 3 / 4, -alpha * moved - met[-1] / 4)
    else:
        assert_close(np.sum(met, axis=0), -2 * alpha * moved - met[-1])


@for_all(seed=st.integers(0, 2**20), alpha=alphas, form=st.sampled_from(FORMS))
def test_f7_to_rest_takes_more(seed: int, alpha: float, form: str) -> None:
    """F7 Proposition 1 presupposes that each part's own gradient vanishes: to rest, g_{t+1} = g_t - g_{t-1} / 2.

    Where W has rested, an exact step moves it by (s g_t - s g_{t-1} / 2 - g_{t+1}) / alpha, s = 1 (Eq. 6 and running)
    or 1/2 (Algorithm 2). To stay, successive gradients must follow that recursion, which dies out; that their mean
    vanishes is not enough.
    """
    config = fptt.Config(form=form, alpha=alpha)  # type: ignore[arg-type]
    share, memory = (0.5 if form == "algorithm2" else 1.0), "lambda" if form == "running" else "last_grad"
    before, now, other = np.random.default_rng(seed).standard_normal((3, 3))

    def exact(kept: dict[str, Params], g: Array) -> Array:
        """The minimum of <g, W> + R."""
        return -fptt.regularised(config, kept, {"W": np.zeros(3)}, {"W": g})["W"] / alpha

    # As if W had rested at 0: such a W_bar that the exact step on <now, W> leads there again.
    kept = {"W_bar": {"W": (now - share * before) / alpha}, memory: {"W": before}}
    for _ in range(40):
        W = exact(kept, now)
        assert norm(W) <= 1e-8 * (norm(now) + norm(before)) / alpha + 1e-12
        if form == "running":
            kept = fptt.running(config, kept, {"W": W})
        else:
            kept = fptt.averaged(config, kept, {"W": W}, {"W": now})
        follows = share * now - share / 2 * before
        assert norm(exact(kept, other) - (follows - other) / alpha) <= 1e-8 * norm(other) / alpha
        before, now = now, follows
    assert norm(now) < 1e-4


# --- F8, F9, F10: where it comes to rest ---


@for_all(examples=15, losses=quadratics, form=forms)
def test_f8_a_common_minimum_is_found(losses: Losses, form: str) -> None:
    """F8 Where all parts have the same minimum, all three forms converge to it."""
    common = replace(losses, common=True)
    config = fptt.Config(form=form, alpha=0.5)  # type: ignore[arg-type]
    W, _ = path(common, config, descending(common, config, 0.1), 2_000)[-1]
    assert norm(W - common.a[0]) < 1e-8 * (1 + norm(losses.start))


@for_all(examples=15, losses=quadratics, form=forms, exact=st.booleans())
def test_f8_different_minima_are_a_cycle(losses: Losses, form: str, exact: bool) -> None:
    """F8 Where the parts' minima differ, no form comes to rest, by exact or by single steps: W ends in a cycle."""
    config = fptt.Config(form=form, alpha=2.0)  # type: ignore[arg-type]
    step = exactly(losses, config) if exact else descending(losses, config, 0.1)
    Ws = [W for W, _ in path(losses, config, step, 300 * losses.count)[-2 * losses.count :]]
    first, second = np.array(Ws[: losses.count]), np.array(Ws[losses.count :])
    assert norm(second - first) < 1e-6 * (1 + norm(first))
    assert max(norm(b - a) for a, b in pairwise(second)) > 1e-4 * (1 + norm(second))


@for_all(losses=quadratics, form=forms, c=st.sampled_from([1.0, 2.0]))
def test_f8_exact_steps_are_biased_as_one_over_alpha(losses: Losses, form: str, c: float) -> None:
    """F8 Different minima, exact steps: the mean of the cycle is off the joint minimum as 1 / alpha, in every form."""
    off = []
    for alpha in (1e2, 1e3, 1e4):
        shaped = {"penalty_factor": c} if form == "running" else {}
        config = fptt.Config(form=form, alpha=alpha, **shaped)  # type: ignore[arg-type]
        off.append(norm(bias(losses, [W for W, _ in cycle(losses, config, exactly(losses, config))[1:]])))
    assert off[0] < 0.1 * (1 + norm(losses.a))
    assert off[1] < 0.2 * off[0]
    assert 0.05 * off[1] < off[2] < 0.2 * off[1]


@for_all(losses=quadratics, alpha=alphas, form=forms)
def test_f8_single_steps_are_biased_as_eta(losses: Losses, alpha: float, form: str) -> None:
    """F8 Different minima, single steps: the mean of the cycle is off the joint minimum as eta, in every form."""
    config, off = fptt.Config(form=form, alpha=alpha), []  # type: ignore[arg-type]
    for eta in (1e-2, 1e-3, 1e-4):
        off.append(norm(bias(losses, [W for W, _ in cycle(losses, config, descending(losses, config, eta))[1:]])))
    assert off[0] < 0.1 * (1 + norm(losses.a))
    assert off[1] < 0.3 * off[0]
    assert 0.05 * off[1] < off[2] < 0.2 * off[1]


def bias_of_plain_steps(losses: Losses, eta: float) -> Array:
    """`bias` of gradient descent on the parts in turn."""

    def turned(W: Array) -> Array:
        for t in range(losses.count):
            W = W - eta * losses.gradient(t, W)
        return W

    M, b = affine(turned, losses.size)
    Ws = [np.linalg.solve(np.eye(len(b)) - M, b)]
    for t in range(losses.count):
        Ws.append(Ws[-1] - eta * losses.gradient(t, Ws[-1]))
    return bias(losses, Ws[1:])


@for_all(losses=quadratics, alpha=alphas, c=st.sampled_from([1.0, 2.0]))
def test_f8_as_biased_as_plain_steps(losses: Losses, alpha: float, c: float) -> None:
    """F8 To first order in eta the bias of form running is that of plain steps on the parts in turn, whatever alpha."""
    config, apart = fptt.Config(alpha=alpha, penalty_factor=c), []
    for eta in (1e-2, 1e-3, 1e-4):
        Ws = [W for W, _ in cycle(losses, config, descending(losses, config, eta))[1:]]
        plain = bias_of_plain_steps(losses, eta)
        apart.append(norm(bias(losses, Ws) - plain) / eta)
    assert apart[1] < 0.3 * apart[0] + 1e-8
    assert apart[2] < 0.2 * apart[1] + 1e-8
    assert apart[2] < 0.01 * (1 + norm(plain) / eta)


def test_f8_how_biased_the_papers_forms_are() -> None:
    """F8 Beside plain steps Algorithm 2 and Eq. 6 are half as biased, as much, or twice: that depends on the losses."""
    for form, seed, least, most in (
        ("algorithm2", 2, 0.4, 0.6),
        ("algorithm2", 21, 0.9, 1.1),
        ("equation6", 5, 0.4, 0.7),
        ("equation6", 21, 1.9, 2.2),
    ):
        losses, eta = Losses(seed), 0.001
        config = fptt.Config(form=form, alpha=2.0)  # type: ignore[arg-type]
        Ws = [W for W, _ in cycle(losses, config, descending(losses, config, eta))[1:]]
        assert least < norm(bias(losses, Ws)) / norm(bias_of_plain_steps(losses, eta)) < most


@for_all(losses=quadratics, alpha=st.sampled_from([1.0, 10.0, 1000.0]))
def test_f9_how_near_an_exact_step_stays(losses: Losses, alpha: float) -> None:
    """F9 ||W_{t+1} - W_bar_t|| = ||lambda_t - grad l_t(W_{t+1})|| / alpha where each part is solved exactly."""
    config = fptt.Config(alpha=alpha)
    seen = path(losses, config, exactly(losses, config), 5)
    for t, ((_, before), (W, _)) in enumerate(pairwise(seen)):
        expected = norm(before["lambda"] - losses.gradient(t, W)) / alpha
        assert abs(norm(W - before["W_bar"]) - expected) <= 1e-8 * (1 + expected)


@for_all(losses=quadratics, form=forms)
def test_f9_exact_steps_stay_near_in_the_end(losses: Losses, form: str) -> None:
    """F9 alpha -> infinity: an exact step's distance to W_bar vanishes as 1 / alpha, on the way and in the cycle.

    So it does in every form: what is taken away from the part's gradient stays bounded.
    """
    steps, far = 3 * losses.count, []
    for alpha in (1e2, 1e3, 1e4):
        config = fptt.Config(form=form, alpha=alpha)  # type: ignore[arg-type]
        step = exactly(losses, config)
        seen = [path(losses, config, step, steps), cycle(losses, config, step)]
        far.append([max(norm(W - kept["W_bar"]) for (_, kept), (W, _) in pairwise(s)) for s in seen])
    for near, farther in zip(far[1:], far, strict=False):
        assert np.all(np.array(near) < 0.2 * np.array(farther))
    assert max(far[-1]) < 1e-2 * (1 + norm(losses.a))


shapes = st.fixed_dictionaries(
    {
        "penalty_factor": st.sampled_from([0.0, 1.0, 2.0]),
        "rho": st.sampled_from([0.0, 0.5, 1.0]),
        "beta": st.sampled_from([0.1, 0.5, 1.0]),
    }
)
"""Options of form running alone."""


def moved(losses: Losses, config: fptt.Config, eta: float, begin: Array) -> Array:
    """How W, W_bar and what else is remembered, [3, size], move in a step of gradient descent on the first part."""
    W, kept = path(losses, config, descending(losses, config, eta), 1, begin)[-1]
    return np.stack([W, *kept.values()]) - begin


@for_all(losses=quadratics, form=forms, alpha=alphas, eta=etas, shape=shapes)
def test_f10_fixed_points(losses: Losses, form: str, alpha: float, eta: float, shape: dict[str, float]) -> None:
    """F10 For one loss, (W, W_bar, lambda) stays as it is exactly where W_bar = W, lambda = 0 and grad l(W) = 0.

    A disturbance of one of them, of two or of all three moves something whatever it is, with beta > 0. In Algorithm 2
    and Eq. 6 the last gradient is in the place of lambda.
    """
    config = fptt.Config(form=form, alpha=alpha, **(shape if form == "running" else {}))  # type: ignore[arg-type]
    rest = np.stack([losses.a[0], losses.a[0], np.zeros(3)])
    assert norm(moved(losses, config, eta, rest)) < 1e-12
    M, still = affine(lambda z: moved(losses, config, eta, rest + z.reshape(3, 3)).ravel(), 9)
    assert norm(still) < 1e-12
    assert np.linalg.svd(M, compute_uv=False)[-1] > 1e-5  # how far the disturbance of size 1 that moves least does
    off = np.random.default_rng([losses.seed, 3]).standard_normal((3, 3))
    assert_close(moved(losses, config, eta, rest + off).ravel(), M @ off.ravel(), size=1e3)


@for_all(losses=quadratics, alpha=alphas, eta=etas, still=st.sampled_from(["W, W_bar", "W, lambda", "W_bar, lambda"]))
def test_f10_no_two_of_three_are_enough(losses: Losses, alpha: float, eta: float, still: str) -> None:
    """F10 Disturbed so that two of W, W_bar, lambda stay for a step, the third moves: by something like grad l(W)."""
    config, W = fptt.Config(alpha=alpha), losses.start
    g = losses.gradient(0, W)
    begin, left = {
        "W, W_bar": ([W, W - g / alpha, 2 * g], -g),
        "W, lambda": ([W, W, g], -g / (2 * alpha)),
        "W_bar, lambda": ([W, W - eta / (1 - alpha * eta) * g, 0 * g], -eta / (1 - alpha * eta) * g),
    }[still]
    found = dict(zip(("W", "W_bar", "lambda"), moved(losses, config, eta, np.stack(begin)), strict=True))
    for name in still.split(", "):
        assert norm(found.pop(name)) < 1e-11 * (1 + norm(g) / alpha)
    assert_close(found.popitem()[1], left, size=1e3)


# --- F11, F12, F13: the losses at once, debias, the edges ---


@for_all(net=sequences, parts=st.integers(2, 4), weight=st.sampled_from(["none", "linear"]))
def test_f11_all_parts_at_once_are_the_auxiliary_losses(net: Net, parts: int, weight: str) -> None:
    """F11 The part losses at one W, in one graph, are BPTT with auxiliary losses: its gradient is that of their sum.
    With one part it is BPTT."""
    net = replace(net, loss_at="last", T=max(net.T, 4))
    whole = net.model.initial_state(net.params, net.B)
    with Tape() as tape:
        w = tape.watch(net.params)
        h = net.model.unroll(w, net.batch.x, whole)
        ends = [(span, net.model.score(w, h[span.last - 1], net.batch.y)) for span in spans(net.T, parts)]
        total = sum(l * (span.b if weight == "linear" else 1.0) for span, l in ends[1:])
        total = total + ends[0][1] * (ends[0][0].b if weight == "linear" else 1.0)
    g = tape.gradient(total, w)
    options: dict[str, Any] = {"parts": parts, "part_weight": weight, "divergence": "none"}
    config = bptt.Config(**options)
    state = bptt.init(config, net.model, net.params, np.random.default_rng(0))
    _, info = bptt.step(config, net.model, state, net.batch, np.random.default_rng(0))
    assert_close(np.sum(info.arrays["part_losses"]), total.value)
    for name in g:
        assert_close(info.grads[name], g[name])
    _, standing, _ = taken(net, lr=0.0, alpha=0.0, **options)
    assert_close(np.sum(standing.arrays["part_losses"]), total.value)
    assert_close(ends[-1][1].value, taken(net, parts=1)[1].loss)


@for_all(losses=quadratics, fresh=st.booleans())
def test_f12_debias(losses: Losses, fresh: bool) -> None:
    """F12 Debias: with mu the mean gradient of the parts at W_bar, corrected gradients have the mean of the true ones.

    At W = W_bar each of them is mu itself.
    """
    config, W_bar = fptt.Config(form="debias"), losses.start
    W = W_bar if fresh else losses.a[0]
    at_bar = [losses.gradient(t, W_bar) for t in range(losses.count)]
    mu = np.mean(at_bar, axis=0)
    steps = []
    for t, g_bar in enumerate(at_bar):
        kept = {"W_bar": {"W": W_bar}, "mu": {"W": mu}, "lambda": {"W": g_bar}}
        steps.append(fptt.regularised(config, kept, {"W": W}, {"W": losses.gradient(t, W)})["W"])
        if fresh:
            assert_close(steps[-1], mu)
    assert_close(np.mean(steps, axis=0), np.mean([losses.gradient(t, W) for t in range(losses.count)], axis=0))


def part_gradient(net: Net, params: Params, first: int, last: int, h: Array) -> tuple[Params, Array]:
    """grad of the loss of the steps first, ..., last - 1 from the state h, and the state in which they end."""
    y = net.batch.y[first:last] if net.model.loss_at == "every" else net.batch.y
    with Tape() as tape:
        w = tape.watch(params)
        s = net.model.unroll(w, net.batch.x[first:last], h)
        loss = net.model.score(w, net.model.scored(s), y)
    return tape.gradient(loss, w), s.value[-1]


def mean(gradients: list[Params]) -> Params:
    """The mean of several gradients."""
    return {name: np.mean([g[name] for g in gradients], axis=0) for name in gradients[0]}


def debias(parts: int, lr: float) -> fptt.Config:
    """Gradient descent by form debias."""
    options: dict[str, Any] = {"optimizer": "sgd", "part_weight": "none", "divergence": "none"}
    return fptt.Config(form="debias", parts=parts, lr=lr, **options)


@for_all(net=sequences, parts=st.integers(1, 4), fresh=st.booleans())
def test_f12_debias_in_a_pass_that_holds_mu(net: Net, parts: int, fresh: bool) -> None:
    """F12 That holds of the parts of sequences, each begun where the last one ended, while W, W_bar and mu are held."""
    parts, W = min(parts, net.T), net.params
    W_bar = W if fresh else replace(net, seed=net.seed ^ 1).params
    h, true, at_bar, begun = net.model.initial_state(W, net.B), [], [], []
    for span in spans(net.T, parts):
        begun.append((span, h))
        at_bar.append(part_gradient(net, W_bar, span.first, span.last, h)[0])
        g, h = part_gradient(net, W, span.first, span.last, h)
        true.append(g)
    config, mu = debias(parts, lr=1.0), mean(at_bar)
    fresh_state = fptt.init(config, net.model, W, np.random.default_rng(0))
    at, steps = replace(fresh_state, regulariser={"W_bar": W_bar, "mu": mu}), []
    for span, h in begun:
        with kernels_set(net.twin):
            after, _ = fptt.updated(fptt.Part(config, net.model, net.batch, span), at, h)
        steps.append({name: W[name] - after.params[name] for name in W})
        if fresh:
            for name in W:
                assert_close(steps[-1][name], mu[name], size=10.0)
    along = mean(steps)
    for name, g in mean(true).items():
        assert_close(along[name], g, size=10.0)


@for_all(examples=25, net=sequences, parts=st.integers(1, 4))
def test_f12_debias_in_a_pass_that_moves_mu(net: Net, parts: int) -> None:
    """F12 In a pass of the method itself mu moves, and those means differ by (mu_end - mu_begin) / (b P').

    The true gradients are those along the path. So corrections cancel only where mu ends as it began.
    """
    parts, lr = min(parts, net.T), 0.1
    config = debias(parts, lr)
    state = fptt.init(config, net.model, net.params, np.random.default_rng(0))
    for passes in range(3):
        at, h, true = state, net.model.initial_state(state.params, net.B), []
        for span in spans(net.T, parts):
            true.append(part_gradient(net, at.params, span.first, span.last, h)[0])
            with kernels_set(net.twin):
                at, found = fptt.updated(fptt.Part(config, net.model, net.batch, span), at, h)
            h = found.ended
        with kernels_set(net.twin):
            after, _ = fptt.step(config, net.model, state, replace(net.batch, last=True), np.random.default_rng(0))
        for name, g in mean(true).items():
            along = (state.params[name] - after.params[name]) / (lr * len(true))
            mu_moved = after.regulariser["mu"][name] - state.regulariser["mu"][name]
            assert_close(along, g - mu_moved * (2 + passes) / len(true), rtol=1e-9, size=1e3)
        state = after


@for_all(net=sequences, form=forms, parts=st.integers(1, 4))
def test_f13_no_regulariser_is_one_plain_step_a_part(net: Net, form: str, parts: int) -> None:
    """F13 alpha = 0 turns the regulariser off: one plain step a part, the state carried on, whatever the form."""
    parts = min(parts, net.T)
    after, info, _ = taken(net, alpha=0.0, form=form, parts=parts)
    params, h = net.params, net.model.initial_state(net.params, net.B)
    for (first, last, *_), told in zip(spans(net.T, parts), info.arrays["part_losses"], strict=True):
        y = net.batch.y[first:last] if net.model.loss_at == "every" else net.batch.y
        with Tape() as tape:
            w = tape.watch(params)
            s = net.model.unroll(w, net.batch.x[first:last], h)
            loss = net.model.score(w, net.model.scored(s), y)
        assert_close(told, loss.value)
        g = tape.gradient(loss, w)
        params, h = {name: p - 0.1 * g[name] for name, p in params.items()}, s.value[-1]
    for name, p in params.items():
        assert_close(after.params[name], p)


texts = st.integers(2, 5).flatmap(
    lambda V: nets(
        cell=st.sampled_from(["srn", "gru", "lstm"]),
        activation="tanh",
        loss="softmax",
        loss_at="every",
        tokens=True,
        carried=False,
        D=V,
        O=V,
        T=st.integers(1, 6),
        H=st.integers(1, 5),
    )
)
"""Networks that put out the tokens that they take in."""


@for_all(examples=25, net=texts, alpha=alphas, c=st.sampled_from([1.0, 2.0]), parts=st.integers(1, 3))
def test_f13_what_is_tied_is_there_once(net: Net, alpha: float, c: float, parts: int) -> None:
    """F13 Tied parameters enter the regulariser once: both places' gradients together, one W_bar, one lambda."""
    net, parts = replace(net, readout="tied"), min(parts, net.T)
    options: dict[str, Any] = {"alpha": alpha, "penalty_factor": c, "parts": parts}
    after, _, _ = taken(net, times=2, **options)
    assert set(after.regulariser["W_bar"]) == set(after.regulariser["lambda"]) == set(net.params)
    assert "W_hy" not in net.params

    apart = replace(net, readout="linear")
    W = W_bar = net.params
    lam = {name: 0 * p for name, p in W.items()}
    for _ in range(2):
        h = net.model.initial_state(W, net.B)
        for span in spans(net.T, parts):
            both, h = part_gradient(apart, W | {"W_hy": W["E"].T}, span.first, span.last, h)
            g = {name: both[name] + (both["W_hy"].T if name == "E" else 0) for name in W}
            new = {n: p - 0.1 * (g[n] - lam[n] + c * alpha * (p - W_bar[n])) for n, p in W.items()}
            lam = {n: lam[n] - alpha * (new[n] - W_bar[n]) for n in W}
            W_bar = {n: W_bar[n] / 2 + new[n] / 2 - lam[n] / (2 * alpha) for n in W}
            W = new
    for name, p in W.items():
        assert_close(after.params[name], p, size=10.0)
        assert_close(after.regulariser["W_bar"][name], W_bar[name], size=10.0)
        assert_close(after.regulariser["lambda"][name], lam[name], size=10.0)


@for_all(T=st.integers(1, 60), K=st.integers(1, 60))
def test_f13_parts(T: int, K: int) -> None:
    """F13 K parts of floor(T/K) steps and one more with what remains: every step once, in order."""
    K = min(K, T)
    found = spans(T, K)
    assert_array_equal([t for span in found for t in range(span.first, span.last)], np.arange(T))
    assert {span.last - span.first for span in found[:K]} == {T // K}
    assert len(found) == K + (T % K > 0)
    assert found[-1].b == 1.0


# --- F14: memory ---


@for_all(net=sequences, parts=st.integers(1, 6), form=forms)
def test_f14_one_part_is_kept(net: Net, parts: int, form: str) -> None:
    """F14 What a step keeps for the way back is what its longest part needs alone, and inputs: 1/K of BPTT's states.

    So it keeps less than BPTT does, by the states of all other parts.
    """
    net, parts = replace(net, H=max(net.H, 4)), min(parts, net.T)
    longest = max(span.last - span.first for span in spans(net.T, parts))
    kept = taken(net, parts=parts, form=form)[1].kept_bytes
    alone = taken(replace(net, T=longest), parts=1, form=form)[1].kept_bytes
    inputs = net.batch.x.nbytes + net.batch.y.nbytes
    assert 0 < alone <= kept <= alone + inputs
    states = (net.T - longest) * net.B * net.model.cell.state_size * 8
    assert kept <= taken(net, parts=1, form=form)[1].kept_bytes - states + (parts > 1) * inputs
