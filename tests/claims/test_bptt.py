"""Claims about backpropagation through time: the controls that every table needs (C1, C2), truncation, clipping.

Legend: T time, B batch; E loss; lr the learning rate. Everything is float64.
"""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from algorithms import bptt
from algorithms.protocol import without
from datasets.task import Batch
from minigrad.backend import Params
from minigrad.tape import Tape
from tests.claims.examples import Net, assert_close, for_all, kernels_set, nets, norm

cells = nets(
    cell=st.sampled_from(["srn", "gru", "lstm"]),
    activation="tanh",
    T=st.integers(1, 8),
    loss_at=st.sampled_from(["last", "every"]),
    tokens=st.booleans(),
)
optimizers = st.sampled_from(["sgd", "momentum", "nag", "adagrad", "adam"])


@for_all(net=cells, optimizer=optimizers, data=st.data())
def test_c1_frozen(net: Net, optimizer: str, data: st.DataObject) -> None:
    """C1 Frozen parameters do not move by a bit, and the others move as if nothing were frozen (read-out only, ...)."""
    frozen = data.draw(st.sets(st.sampled_from(list(net.params))), label="frozen")
    config = bptt.Config(lr=0.01, optimizer=optimizer, frozen=tuple(frozen))
    free = bptt.Config(lr=0.01, optimizer=optimizer)
    a, info = net.step(bptt, config, net.start(bptt, config))
    b, _ = net.step(bptt, free, net.start(bptt, free))
    assert set(info.grads) == set(net.params) - frozen
    for name in net.params:
        assert_array_equal(a.params[name], net.params[name] if name in frozen else b.params[name])


@for_all(net=cells, optimizer=optimizers, rate=st.sampled_from([1e-4, 0.0, 0.5, 1.0, 2.0]), data=st.data())
def test_c2_rates(net: Net, optimizer: str, rate: float, data: st.DataObject) -> None:
    """C2 A rate r on a parameter makes its step r times as long, under any rule, and leaves all others alone."""
    name = data.draw(st.sampled_from(list(net.params)), label="name")
    plain = bptt.Config(lr=0.01, optimizer=optimizer)
    split = bptt.Config(lr=0.01, optimizer=optimizer, rates={name: rate})
    a, b = net.start(bptt, plain), net.start(bptt, split)
    one, other = net.step(bptt, plain, a)[0], net.step(bptt, split, b)[0]
    p = net.params[name]
    assert_close(other.params[name] - p, rate * (one.params[name] - p), size=1e-2 * norm(p))
    if rate == 0:
        assert_array_equal(other.params[name], p)
    for left in without(net.params, name):
        assert_array_equal(other.params[left], one.params[left])


def windows(net: Net, length: int) -> Params:
    """T dE/dw summed over windows of a length, the state carried over: truncated BPTT without updates."""
    config, found = bptt.Config(lr=0.0), {name: np.zeros_like(p) for name, p in net.params.items()}
    state = net.start(bptt, config)
    for start in range(0, net.T, length):
        x, y = net.batch.x[start : start + length], net.batch.y[start : start + length]
        with kernels_set(net.twin):
            state, info = bptt.step(config, net.model, state, Batch(x, y, continues=start > 0 or net.carried), None)
        found = {name: g + len(x) * info.grads[name] for name, g in found.items()}
    return found


language = nets(
    cell=st.sampled_from(["srn", "gru", "lstm"]), activation="tanh", T=st.integers(2, 8), loss_at="every", tokens=True
)


@for_all(net=language, length=st.integers(1, 7))
def test_c3_shorter_windows(net: Net, length: int) -> None:
    """C3 Shorter windows lose exactly what flows back over their borders: (dE after one / dh) (dh / dw before it)."""
    found, whole = windows(net, length), net.bptt(lr=0.0).grads
    p, model, x, y = net.params, net.model, net.batch.x, net.batch.y
    states = np.concatenate([net.h_0[None], model.unroll(p, x, net.h_0)])
    for end in range(length, net.T, length):
        with Tape() as tape:
            h = tape.watch(states[end].copy())
            E = (net.T - end) * model.score(p, model.unroll(p, x[end:], h), y[end:])
        flow = tape.gradient(E, h)
        with Tape() as tape:
            w = tape.watch(p)
            last = model.unroll(w, x[end - length : end], states[end - length])[-1]
        lost = tape.gradient(last, w, seed=flow)
        found = {name: g + lost[name] for name, g in found.items()}
    for name, g in whole.items():
        assert_close(found[name], net.T * g)


@for_all(net=cells, clip=st.sampled_from([1e-3, 0.1, 10.0]), optimizer=st.sampled_from(["sgd", "adagrad"]))
def test_c4_clipping(net: Net, clip: float, optimizer: str) -> None:
    """C4 Clipping scales all gradients by one factor, min(1, clip / N), N their global norm without the frozen ones."""
    frozen = ("W_hh",)
    config = bptt.Config(lr=0.5, optimizer=optimizer, clip=clip, frozen=frozen)
    start = net.start(bptt, config)
    after, info = net.step(bptt, config, start)
    N = sum(norm(g) ** 2 for g in info.grads.values()) ** 0.5
    clipped = {name: min(1, clip / N) * g for name, g in info.grads.items()}
    updates, _ = config.rule(0.5).update(clipped, start.optimizer, net.params)
    for name, u in updates.items():
        assert_close(after.params[name], net.params[name] + u, rtol=1e-12)
    if optimizer == "sgd":
        step = sum(norm(after.params[name] - net.params[name]) ** 2 for name in updates) ** 0.5
        assert step <= 0.5 * clip * (1 + 1e-9)
