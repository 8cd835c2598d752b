"""Claims about block target propagation (Wiseman et al. 2017), TPROP being blocks of one step.

Legend: B steps of a block, n blocks; theta parameters; h_j free states, hh_j what block j predicts for h_{j+1}, u_j
duals; nll_j the mean loss of block j over its steps; g the transition; eta the rate of an H-step (plain gradient
descent on n J), lambda the weight of the penalty. TBPTT is truncated backpropagation through time: the state carried,
gradients cut at the blocks' borders. Everything is float64; "equals" is up to a relative 1e-10.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from algorithms import bptt, btprop
from algorithms.model import Model
from algorithms.protocol import Info
from datasets.task import Batch
from datasets.text import TASKS
from minigrad import ops
from minigrad.backend import Array, Params
from minigrad.tape import Tape
from tests.claims.examples import Net, assert_close, assert_first_order, for_all, kernels_set, nets, norm

READOUT = ("W_hy", "b_y")


@dataclass(frozen=True)
class Text:
    """A random network, a text cut into blocks, and the state [S] carried into the first of them."""

    net: Net

    @property
    def model(self) -> Model:
        return self.net.model

    @property
    def theta(self) -> Params:
        return self.net.params

    @property
    def blocks(self) -> int:
        """n."""
        return self.net.B

    @cached_property
    def batch(self) -> Batch:
        return replace(self.net.batch, consecutive=True)

    @cached_property
    def carry(self) -> Array:
        return 0.5 * self.drawn("carry", self.model.cell.state_size)

    def drawn(self, name: str, *shape: int) -> Array:
        """Numbers N(0, 1)."""
        drawn: Array = np.random.default_rng([self.net.seed, *name.encode()]).standard_normal(shape)
        return drawn

    def states(self, name: str = "h") -> Array:
        """Any free states, [n+1, S], or one fewer for duals."""
        return 0.5 * self.drawn(name, self.blocks + (name != "u"), self.model.cell.state_size)

    def problem(self, **options: Any) -> btprop.Problem:
        return btprop.Problem(btprop.Config(**options), self.model, self.batch.x, self.batch.y)

    def sequential(self) -> Array:
        """h_0 = carry and h_{j+1} = hh_j, a step at a time."""
        h, out = self.carry[None], [self.carry]
        for j in range(self.blocks):
            for k in range(self.net.T):
                h = self.model.step(self.theta, self.batch.x[k, j : j + 1], h)
            out.append(h[0])
        return np.stack(out)

    def start(self, u: Array | None = None, **options: Any) -> tuple[btprop.Config, btprop.State]:
        config = btprop.Config(**{"clip": None, "u_start": 1, **options})
        state = btprop.init(config, self.model, self.theta, np.random.default_rng(0))
        return config, replace(state, carry=self.carry, u=u)

    def step(self, u: Array | None = None, **options: Any) -> tuple[btprop.State, Info]:
        """One step of the method from the carried state."""
        config, state = self.start(u, **options)
        with kernels_set(self.net.twin):
            return btprop.step(config, self.model, state, self.batch, np.random.default_rng(0))

    def nll(self, theta: Params, s: Array, j: int) -> Array:
        """nll_j of states s [B, 1, S]."""
        return self.model.score(theta, s, self.batch.y[:, j : j + 1])

    def gradient(self, lam: float, h: Array, u: Array | None = None, by: str = "theta") -> Any:
        """dJ by parameters or free states at (h, u)."""
        u = np.zeros_like(h[1:]) if u is None else u
        with kernels_set(self.net.twin), Tape() as tape:
            w = tape.watch(self.theta if by == "theta" else h)
            at = (w, h) if by == "theta" else (self.theta, w)
            J, _ = self.problem(lam=lam).objective(*at, u)
        return tape.gradient(J, w)

    def J(self, lam: float, theta: Params, h: Array, u: Array) -> float:
        with kernels_set(self.net.twin):
            return float(self.problem(lam=lam).objective(theta, h, u)[0])

    def truncated(self, span: int) -> Params:
        """n dJ/dtheta of TBPTT at one theta: each block's loss through itself and the `span` - 1 blocks before."""
        h, total = self.sequential(), {name: np.zeros_like(p) for name, p in self.theta.items()}
        for j in range(self.blocks):
            first = max(0, j - span + 1)
            with Tape() as tape:
                w, s = tape.watch(self.theta), h[first][None]
                for i in range(first, j + 1):
                    states = self.model.unroll(w, self.batch.x[:, i : i + 1], s)
                    s = states[-1]
                loss = self.nll(w, states, j)
            total = plus(total, tape.gradient(loss, w))
        return total


def texts(**fixed: Any) -> st.SearchStrategy[Text]:
    """Random networks with a text; T is the length of a block, B the number of blocks."""
    usual: dict[str, Any] = {
        "cell": st.sampled_from(["srn", "gru", "lstm"]),
        "activation": "tanh",
        "loss": "softmax",
        "loss_at": "every",
        "tokens": True,
        "D": st.integers(2, 5),
        "T": st.integers(1, 4),
        "B": st.integers(1, 5),
        "H": st.integers(1, 6),
        "carried": False,
    }
    return st.builds(Text, nets(**{**usual, **fixed}))


several = texts(B=st.integers(2, 5))
lams = st.sampled_from([1.0, 0.1, 3.0])
inits = st.sampled_from(["sequential", "restart", "zero"])


def assert_all_close(found: Params, expected: Params, names: Sequence[str] | None = None, rtol: float = 1e-10) -> None:
    """Gradients by all parameters as one vector."""
    chosen = list(expected) if names is None else list(names)
    assert_close(*(np.concatenate([np.ravel(tree[name]) for name in chosen]) for tree in (found, expected)), rtol=rtol)


def times(factor: float, tree: Params) -> Params:
    return {name: factor * array for name, array in tree.items()}


def plus(a: Params, b: Params) -> Params:
    return {name: a[name] + b[name] for name in a}


@for_all(text=texts(), lam=lams)
def test_g1_gradients(text: Text, lam: float) -> None:
    """G1 dJ/dh, dJ/du and dJ/dtheta equal central differences of J."""
    h, u = text.states(), text.states("u")
    along = {"h": text.drawn("dh", *h.shape), "u": text.drawn("du", *u.shape)}
    along |= {name: text.drawn(f"d{name}", *p.shape) for name, p in text.theta.items()}

    def J(step: float, *names: str) -> float:
        theta = {name: p + step * along[name] if name in names else p for name, p in text.theta.items()}
        moved = [a + step * along[name] if name in names else a for name, a in (("h", h), ("u", u))]
        return text.J(lam, theta, moved[0], moved[1])

    hh = text.problem(lam=lam).predictions(text.theta, h)
    found = {"h": text.gradient(lam, h, u, by="h"), "u": lam / text.blocks * (hh + u - h[1:])}
    for name, g in {**found, **text.gradient(lam, h, u)}.items():
        expected = (J(1e-5, name) - J(-1e-5, name)) / 2e-5
        assert abs(float((g * along[name]).sum()) - expected) <= 1e-7 * (1 + abs(expected)), name


@for_all(text=texts(), lam=lams, init=inits, h_steps=st.integers(0, 3), data=st.data())
def test_b1_pm_is_admm_without_duals(text: Text, lam: float, init: str, h_steps: int, data: st.DataObject) -> None:
    """B1 The penalty method is ADMM whose duals stay zero, by their rate or by their first epoch, to the last bit."""
    options = {"lam": lam, "h_init": init, "h_steps": h_steps, "theta_steps": data.draw(st.integers(1, 3))}
    wanted, told = text.step(**options)
    for duals in ({"u_lr": 0.0}, {"u_start": 2}):
        found, info = text.step(**{**options, "constraint": "admm", **duals})
        for name, p in wanted.params.items():
            assert_array_equal(found.params[name], p)
        for name, array in told.arrays.items():
            assert_array_equal(info.arrays[name], array)


@for_all(text=texts(), constraint=st.sampled_from(["pm", "admm", "alm"]), init=inits)
def test_b1_without_lambda(text: Text, constraint: str, init: str) -> None:
    """B1b With lambda = 0 the duals are of no consequence and do not move."""
    options = {"lam": 0.0, "constraint": constraint, "h_init": init}
    u = text.states("u")
    one, _ = text.step(**options)
    other, info = text.step(u, **options)
    for name, p in one.params.items():
        assert_array_equal(other.params[name], p)
    assert_array_equal(info.arrays["u"], u)


@for_all(text=texts(), lam=lams)
def test_b2_duals_that_answer_the_residual(text: Text, lam: float) -> None:
    """B2 With u_j = h_{j+1} - hh_j the penalty is 0, and so are its gradients."""
    h = text.states()
    u = h[1:] - text.problem().predictions(text.theta, h)
    assert_close(np.asarray(text.J(lam, text.theta, h, u)), np.asarray(text.J(0.0, text.theta, h, u)))
    assert_all_close(text.gradient(lam, h, u), text.gradient(0.0, h, u))
    assert_close(text.gradient(lam, h, u, by="h"), text.gradient(0.0, h, u, by="h"))


@for_all(text=texts(), h_steps=st.sampled_from([0, 2]))
def test_b3_without_lambda_it_is_truncated_bptt(text: Text, h_steps: int) -> None:
    """B3 With lambda = 0, states set to what is predicted and no H-steps, dJ/dtheta is that of TBPTT, state carried."""
    _, info = text.step(lam=0.0, h_steps=0)
    assert_all_close(times(text.blocks, info.grads), text.truncated(span=1))
    # From any other states it is backpropagation within each block, the states being constants.
    h, total = text.states(), {name: np.zeros_like(p) for name, p in text.theta.items()}
    for j in range(text.blocks):
        with Tape() as tape:
            w = tape.watch(text.theta)
            loss = text.nll(w, text.model.unroll(w, text.batch.x[:, j : j + 1], h[j][None]), j)
        total = plus(total, tape.gradient(loss, w))
    assert_all_close(times(text.blocks, text.gradient(0.0, h)), total)


@for_all(text=texts(B=1))
def test_b3_one_block_is_bptt(text: Text) -> None:
    """B3b One block that holds all steps, lambda = 0: dJ/dtheta is that of backpropagation through time."""
    _, info = text.step(lam=0.0, h_steps=0)
    state = bptt.init(bptt.Config(), text.model, text.theta, np.random.default_rng(0))
    whole = replace(text.batch, continues=True)
    _, expected = bptt.step(
        bptt.Config(), text.model, replace(state, carry=text.carry[None]), whole, np.random.default_rng(0)
    )
    assert_all_close(info.grads, expected.grads)


@for_all(text=several, lam=lams)
def test_b4_lambda_does_nothing_without_h_steps(text: Text, lam: float) -> None:
    """B4 States set to what is predicted, no H-steps: dJ/dtheta does not depend on lambda."""
    _, info = text.step(lam=lam, h_steps=0)
    _, without = text.step(lam=0.0, h_steps=0)
    assert_all_close(info.grads, without.grads)


@for_all(text=several)
def test_b4_unless_blocks_restart(text: Text) -> None:
    """B4b From the released code's states (each predicted from zero, the last zero) lambda acts without any H-step."""
    _, info = text.step(lam=1.0, h_steps=0, h_init="restart")
    _, without = text.step(lam=0.0, h_steps=0, h_init="restart")
    assert norm(np.concatenate([np.ravel(g - without.grads[name]) for name, g in info.grads.items()])) > 1e-9


# --- appendix A.1: blocks of one step, the loss taken at the free states ---


def _targets(text: Text, eta: float, lam: float, at: Sequence[int]) -> tuple[Array, Array]:
    """Sequential states, and the same after one step of size eta on A.1's objective; the loss counts in `at` alone.

    l_pm = sum_t [ l(h_t) + (lambda/2) ||g(x_t, h_{t-1}) - h_t||^2 ]
    """
    h = text.sequential()
    with Tape() as tape:
        w = tape.watch(h)
        s = text.model.unroll(text.theta, text.batch.x, w[:-1])[0]
        r = s - w[1:]
        value = (lam / 2) * ops.sum(r * r)
        for t in at:
            value = value + text.nll(text.theta, w[t + 1][None, None], t)
    moved = tape.gradient(value, w)
    moved = np.concatenate([np.zeros_like(moved[:1]), moved[1:]])  # h_0 is given
    return h, h - eta * moved


def _towards(text: Text, lam: float, inputs: Array, targets: Array) -> Params:
    """d/dtheta sum_t (lambda/2) ||g(x_t, inputs_{t-1}) - targets_t||^2."""
    with Tape() as tape:
        w = tape.watch(text.theta)
        r = text.model.unroll(w, text.batch.x, inputs[:-1])[0] - targets[1:]
        value = (lam / 2) * ops.sum(r * r)
    found: Params = tape.gradient(value, w)
    return found


tprop = texts(T=1, B=st.integers(2, 6), H=st.integers(2, 6))
etas = st.sampled_from([0.1, 0.01, 1.7])


def transition(text: Text) -> list[str]:
    """The parameters that are not the readout's."""
    return [name for name in text.theta if name not in READOUT]


@for_all(text=tprop, eta=etas, lam=lams)
def test_b5_appendix_a1(text: Text, eta: float, lam: float) -> None:
    """B5 A.1 of the paper: a state moved by one step, the one before it constant, gives eta lambda times the gradient.

    Of the loss of the next step alone, through one transition, for every eta and lambda, not only for small ones.
    """
    h = text.sequential()
    t = text.blocks - 1
    with Tape() as tape:
        w = tape.watch(h[t + 1])
        r = w - h[t + 1]
        value = text.nll(text.theta, w[None, None], t) + (lam / 2) * ops.sum(r * r)
    target = h[t + 1] - eta * tape.gradient(value, w)
    with Tape() as tape:
        p = tape.watch(text.theta)
        s = text.model.step(p, text.batch.x[0, t : t + 1], h[t][None])
        r = s[0] - target
        value = (lam / 2) * ops.sum(r * r)
        plain = text.nll(p, s[None], t)
    names = transition(text)
    assert_all_close(tape.gradient(value, p), times(eta * lam, tape.gradient(plain, p)), names)


@for_all(text=tprop, eta=etas, lam=lams)
def test_b6_a_whole_chain_is_truncated_to_one_step(text: Text, eta: float, lam: float) -> None:
    """B6 All states of a chain moved at once, predictions from the old ones: eta lambda times TBPTT with K = 1."""
    h, targets = _targets(text, eta, lam, range(text.blocks))
    found = _towards(text, lam, h, targets)
    assert_all_close(found, times(eta * lam, text.truncated(span=1)), transition(text))


@pytest.mark.refuted
def test_b6_a_whole_chain_is_not_bptt() -> None:
    """B6b One H-step makes the update of theta that of backpropagation through time."""
    text = Text(Net(seed=1, T=1, B=6, D=4, H=5, tokens=True, loss_at="every"))
    h, targets = _targets(text, 0.01, 1.0, range(text.blocks))
    found, whole = _towards(text, 1.0, h, targets), times(0.01, text.truncated(span=text.blocks))
    off = norm(found["W_hh"] - whole["W_hh"]) / norm(whole["W_hh"])
    assert off > 0.1


@for_all(text=tprop)
def test_b7_with_states_that_moved_too(text: Text) -> None:
    """B7 Predictions from the moved states, as any program computes them: to first order another sum than BPTT's.

    eta lambda sum_t (dg_t/dtheta)^T (dl_t/dh_t - J_t dl_{t-1}/dh_{t-1}), J_t = dg(x_t, h_{t-1})/dh_{t-1}.
    """
    lam = 1.0
    h = text.sequential()
    grads = []
    for t in range(text.blocks):
        with Tape() as tape:
            w = tape.watch(h[t + 1])
            loss = text.nll(text.theta, w[None, None], t)
        grads.append(tape.gradient(loss, w))
    with Tape() as tape:
        p, w = tape.watch(text.theta), h[:-1]
        s = text.model.unroll(p, text.batch.x, w)[0]
        # J_t v by a difference: the tape has gradients only.
        v = np.stack([np.zeros_like(grads[0]), *grads[:-1]])
        step = 1e-6
        ahead, behind = (text.model.unroll(text.theta, text.batch.x, w + d * v)[0] for d in (step, -step))
        value = ops.sum(s * (np.stack(grads) - (ahead - behind) / (2 * step)))
    formula = tape.gradient(value, p)

    def error(eta: float) -> float:
        _, moved = _targets(text, eta, lam, range(text.blocks))
        found = _towards(text, lam, moved, moved)
        return sum(norm(found[name] / (eta * lam) - formula[name]) for name in transition(text))

    assert_first_order(error, rounding=1e-7)


@for_all(text=tprop, eta=etas, lam=lams)
def test_b7_loss_at_the_end(text: Text, eta: float, lam: float) -> None:
    """B7b If only the last step is scored, it is exact again, from moved states too: TBPTT with K = 1 of that step."""
    last = text.blocks - 1
    _, moved = _targets(text, eta, lam, [last])
    found = _towards(text, lam, moved, moved)
    with Tape() as tape:
        p = tape.watch(text.theta)
        s = text.model.step(p, text.batch.x[0, last : last + 1], text.sequential()[last][None])
        loss = text.nll(p, s[None], last)
    assert_all_close(found, times(eta * lam, tape.gradient(loss, p)), transition(text))


# --- the published objective: the loss taken at the predictions (Eq. 7) ---


@for_all(text=several, eta=etas, lam=lams)
def test_b8_one_h_step_reaches_one_block_further(text: Text, eta: float, lam: float) -> None:
    """B8 Eq. 7, one H-step, predictions from old states: (1 - eta lambda) TBPTT over one block + eta lambda over two.

    So with eta lambda = 1 it is TBPTT where each block's loss flows through its own block and the one before.
    """
    h = text.sequential()
    # dJ/dh_0 has nothing before it to reach, and h_n only what is held to it.
    moved = h - eta * text.blocks * text.gradient(lam, h, by="h")
    with Tape() as tape:
        w = tape.watch(text.theta)
        problem = text.problem(lam=lam)
        s = text.model.unroll(w, text.batch.x, h[:-1])
        r = s[-1] - moved[1:]
        J = text.model.score(w, s, text.batch.y) + (problem.weight / 2) * ops.sum(r * r)
    found = times(text.blocks, tape.gradient(J, w))
    one, two = text.truncated(span=1), text.truncated(span=2)
    assert_all_close(found, plus(times(1 - eta * lam, one), times(eta * lam, two)))


@for_all(text=texts(T=st.integers(1, 2), B=st.integers(3, 6), H=st.integers(2, 6)), h_steps=st.integers(1, 3))
def test_b9_horizon(text: Text, h_steps: int) -> None:
    """B9 With the loss in the last block alone, k H-steps move the states of the last k blocks and no others.

    theta then learns from k + 1 blocks: that is how far credit goes.
    """
    n, h = text.blocks, text.sequential()
    before = h.copy()
    for _ in range(h_steps):
        with Tape() as tape:
            w = tape.watch(h)
            s = text.model.unroll(text.theta, text.batch.x, w[:-1])
            r = s[-1] - w[1:]
            J = text.nll(text.theta, s[:, n - 1 :], n - 1) + 0.5 * ops.sum(r * r)
        h = h - tape.gradient(J, w)
    moved = np.linalg.norm(h - before, axis=1)[:n]
    still = max(0, n - h_steps)
    assert (moved[:still] <= 1e-14 * norm(before)).all()
    assert moved[still] > 1e-13 * norm(before)


@for_all(text=texts(), lam=lams, u_lr=st.sampled_from([0.1, 1.0]), steps=st.integers(1, 5))
def test_b10_duals_without_residual(text: Text, lam: float, u_lr: float, steps: int) -> None:
    """B10 Where the constraint holds, literal dual steps let duals grow, by 1 + u_lr lambda/n each; scaled ones do not.

    So duals that live on need the scaled step.
    """
    u = text.states("u")
    for dual, factor in (("literal", (1 + u_lr * lam / text.blocks) ** steps), ("scaled", 1.0)):
        problem = text.problem(lam=lam, u_lr=u_lr, dual=dual)
        at = btprop.Point(text.theta, text.sequential(), u, {})
        for _ in range(steps):
            at = btprop.dual_step(problem, at)
        assert_close(at.u, factor * u)


@for_all(text=several, lam=lams, data=st.data())
def test_b11_parts_of_a_text(text: Text, lam: float, data: st.DataObject) -> None:
    """B11 J of a text is the sum of its parts' J, weighted by their blocks, if they share the states at borders."""
    cut = data.draw(st.integers(1, text.blocks - 1), label="cut")
    h, u, total = text.states(), text.states("u"), 0.0
    for part in (slice(0, cut), slice(cut, text.blocks)):
        problem = btprop.Problem(btprop.Config(lam=lam), text.model, text.batch.x[:, part], text.batch.y[:, part])
        J, _ = problem.objective(text.theta, h[part.start : part.stop + 1], u[part])
        total += float(J) * problem.n / text.blocks
    assert_close(np.asarray(total), np.asarray(text.J(lam, text.theta, h, u)))


@for_all(text=texts(), lam=lams, steps=st.integers(1, 4), init=inits, optimizer=st.sampled_from(["sgd", "adagrad"]))
def test_b12_joint_steps_with_one_rate_zero(text: Text, lam: float, steps: int, init: str, optimizer: str) -> None:
    """B12 ALM whose states stay is as many theta-steps at fixed states; ALM whose parameters stay is the H phase."""
    options = {"lam": lam, "h_init": init, "u_start": 2, "h_optimizer": optimizer}
    joint, _ = text.step(constraint="alm", alm_steps=steps, h_lr=0.0, **options)
    alone, _ = text.step(theta_steps=steps, h_steps=0, **options)
    for name, p in alone.params.items():
        assert_close(joint.params[name], p)
    _, joint_info = text.step(constraint="alm", alm_steps=steps, theta_lr=0.0, **options)
    _, info = text.step(h_steps=steps, **options)
    assert_close(joint_info.arrays["h"], info.arrays["h"])


@for_all(length=st.integers(1, 30), n=st.integers(1, 9), number=st.integers(0, 20))
def test_b13_layout(length: int, n: int, number: int) -> None:
    """B13 Targets are the inputs one token later, and each block begins with the token at which the one before ends."""
    task = TASKS["sample-char"](length=length, layout="blocks", characters=2_000)
    first = task.batch(0, "train", number % task.batches("train", n), n)
    x, y = (np.asarray(a).T.ravel() for a in (first.x, first.y))
    assert_array_equal(y[:-1], x[1:])
    assert first.consecutive
    following = number % task.batches("train", n) + 1
    if following < task.batches("train", n):
        assert task.batch(0, "train", following, n).x[0, 0] == y[-1]


@for_all(text=tprop, lam=lams)
def test_b13_blocks_of_one_step(text: Text, lam: float) -> None:
    """B13b Blocks of one step are TPROP: J is Eq. 6, term by term."""
    h, u = text.states(), text.states("u")
    total = 0.0
    for t in range(text.blocks):
        hh = text.model.step(text.theta, text.batch.x[0, t : t + 1], h[t][None])
        total += float(text.nll(text.theta, hh[None], t)) + lam / 2 * float(((hh[0] + u[t] - h[t + 1]) ** 2).sum())
    assert_close(np.asarray(text.J(lam, text.theta, h, u)), np.asarray(total / text.blocks))
