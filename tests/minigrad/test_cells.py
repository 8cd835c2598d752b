"""Recurrent cells: their equations, the whole sequence against single steps, gradients through time.

Legend: T time, B batch, D input size, H hidden units, S numbers in a state.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from minigrad import cells, ops
from minigrad.backend import Params
from minigrad.cells import GRU, LSTM, SRN, Antisymmetric, Cell, ChoGRU, Stack
from minigrad.check import check_gradient
from minigrad.tape import Tape
from tests.minigrad.recurrences import record_calls
from tests.minigrad.small_cells import CELLS, B, D, H, T, every, parameters, sequence
from tests.minigrad.strategies import DEVICE, loose, random_arrays, strict

# --- equations ---


def logistic(a: float) -> float:
    """1 / (1 + exp(-a))."""
    return 1 / (1 + exp(-a))


def affine(x: Any, W: Any, b: Any, column: int) -> float:
    """One number of x @ W + b, by a loop."""
    return sum(float(x[i]) * float(W[i, column]) for i in range(len(x))) + float(b[column])


def srn_by_hand(cell: SRN, p: Params, x: Any, h: Any) -> Any:
    act = {"tanh": np.tanh, "sigmoid": logistic, "relu": lambda a: max(a, 0.0), "linear": lambda a: a}[cell.activation]
    zero = np.zeros(H)
    return [act(affine(x, p["W_xh"], p["b_h"], j) + affine(h, p["W_hh"], zero, j)) for j in range(H)]


def gru_by_hand(cell: GRU, p: Params, x: Any, h: Any) -> Any:
    new = []
    for j in range(H):
        from_x = [affine(x, p["W_xh"], p["b_xh"], gate * H + j) for gate in range(3)]
        from_h = [affine(h, p["W_hh"], p["b_hh"], gate * H + j) for gate in range(3)]
        r, z = logistic(from_x[0] + from_h[0]), logistic(from_x[1] + from_h[1])
        n = np.tanh(from_x[2] + r * from_h[2])
        new.append((1 - z) * n + z * h[j])
    return new


def cho_gru_by_hand(cell: ChoGRU, p: Params, x: Any, h: Any) -> Any:
    none = np.zeros(3 * H)

    def gate(number: int, j: int, h: Any) -> float:
        return affine(x, p["W_xh"], p["b_h"], number * H + j) + affine(h, p["W_hh"], none, number * H + j)

    reset = [logistic(gate(0, j, h)) * h[j] for j in range(H)]
    new = []
    for j in range(H):
        z = logistic(gate(1, j, h))
        new.append((1 - z) * np.tanh(gate(2, j, reset)) + z * h[j])
    return new


def lstm_by_hand(cell: LSTM, p: Params, x: Any, h: Any) -> Any:
    hidden, memory = [], []
    for j in range(H):
        gates = [
            affine(x, p["W_xh"], p["b_h"], gate * H + j) + affine(h[:H], p["W_hh"], np.zeros(4 * H), gate * H + j)
            for gate in range(4)
        ]
        i, f, o = logistic(gates[0]), logistic(gates[1]), logistic(gates[3])
        c = f * h[H + j] + i * np.tanh(gates[2])
        memory.append(c)
        hidden.append(o * np.tanh(c))
    return hidden + memory


def antisymmetric_by_hand(cell: Antisymmetric, p: Params, x: Any, h: Any) -> Any:
    A = p["W_hh"] - p["W_hh"].T - cell.gamma * np.eye(H)
    new = []
    for j in range(H):
        from_h = affine(h, A, np.zeros(H), j)
        z = logistic(affine(x, p["W_xh"], p["b_h"], j) + from_h)
        new.append(h[j] + cell.epsilon * z * np.tanh(affine(x, p["W_xh"], p["b_h"], H + j) + from_h))
    return new


BY_HAND = {
    SRN: srn_by_hand,
    GRU: gru_by_hand,
    ChoGRU: cho_gru_by_hand,
    LSTM: lstm_by_hand,
    Antisymmetric: antisymmetric_by_hand,
}


def by_hand(cell: Any, p: Params, x: Any, h: Any) -> Any:
    """One transition [B, S], number by number."""
    return np.array([BY_HAND[type(cell)](cell, p, x[b], h[b]) for b in range(len(x))])


@pytest.mark.parametrize("name", [name for name, cell in CELLS.items() if not isinstance(cell, Stack)])
def test_a_step_is_the_equations(name: str) -> None:
    cell = CELLS[name]
    p, (x, h) = parameters(cell), sequence(cell)
    for x_t in x:
        new = cells.step(cell, p, x_t, h)
        assert_allclose(new, by_hand(cell, p, x_t, h), rtol=1e-12, atol=1e-14)
        h = new


def test_a_stack_feeds_each_layer_with_the_one_below() -> None:
    cell = CELLS["two lstm"]
    p, (x, h) = parameters(cell), sequence(cell)
    lower = {name: p[f"layer0/{name}"] for name in ("W_xh", "W_hh", "b_h")}
    upper = {name: p[f"layer1/{name}"] for name in ("W_xh", "W_hh", "b_h")}
    first = by_hand(LSTM(D, H), lower, x[0], h[:, : 2 * H])
    second = by_hand(LSTM(H, H), upper, first[:, :H], h[:, 2 * H :])
    assert_allclose(cells.step(cell, p, x[0], h), np.hstack([first, second]), rtol=1e-12)
    assert_allclose(cell.output(np.hstack([first, second])), second[:, :H], rtol=1e-12)


def test_masks_between_layers_are_on_the_way_to_the_next_one_only() -> None:
    cell = CELLS["narrow top"]
    p, (x, h0) = parameters(cell), sequence(cell)
    masks = random_arrays([(1, B, 5), (T, B, 5)], 4)
    states, sizes = [], [10, 10, 2 * H]
    for i, (layer, own) in enumerate(zip(cell.layers, np.split(h0, np.cumsum(sizes)[:-1], axis=1), strict=True)):
        seen = states[-1][..., :5] * masks[i - 1] if i else x
        states.append(layer.unroll({n: p[f"layer{i}/{n}"] for n in ("W_xh", "W_hh", "b_h")}, seen, own))
    assert_array_equal(cell.unroll(p, x, h0, masks), np.concatenate(states, axis=-1))
    names = list(p)
    check_gradient(
        lambda *w: cell.unroll(dict(zip(names, w[1:], strict=True)), w[0], h0, masks), x, *p.values(), directions=20
    )


# --- sequences ---


@every
@pytest.mark.parametrize("steps", [0, 1, 2, 9])
def test_unroll_is_steps_one_after_the_other(name: str, steps: int) -> None:
    cell = CELLS[name]
    p, (x, h0) = parameters(cell), sequence(cell, steps)
    states = cell.unroll(p, x, h0)
    assert states.shape == (steps, B, cell.state_size)
    assert_allclose(cells.unroll_by_steps(cell, p, x, h0), states, rtol=1e-12, atol=1e-14, strict=True)
    h = h0
    for t in range(steps):
        h = cells.step(cell, p, x[t], h)
        assert_allclose(states[t], h, rtol=1e-12, atol=1e-14)


@every
@pytest.mark.parametrize("twin", ["reference", "fused"])
@pytest.mark.parametrize("steps", [0, 1, 2, 130])
def test_both_twins_are_steps_one_after_the_other(
    name: str, steps: int, twin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """States, and gradients by all parameters, the inputs and the first state."""
    cell = CELLS[name]
    p, (x, h0) = parameters(cell), sequence(cell, steps)
    (weights,) = random_arrays([(steps, B, cell.state_size)], 3)

    def run(unroll: Any) -> tuple[Any, Params]:
        with Tape() as tape:
            w = tape.watch({**p, "x": x, "h0": h0})
            h = unroll(w, w["x"], w["h0"])
        return h.value, tape.gradient(h, w, seed=weights)

    called = record_calls(monkeypatch)
    monkeypatch.setenv("MINIGRAD_KERNELS", twin)
    h, gradients = run(cell.unroll)
    h_by_steps, gradients_by_steps = run(lambda *arguments: cells.unroll_by_steps(cell, *arguments))
    assert bool(called) == (twin == "fused" and steps > 0 and bool(cell.kernels))
    assert_allclose(h, h_by_steps, rtol=1e-12, atol=1e-14, strict=True)
    for n, g in gradients_by_steps.items():
        assert_allclose(gradients[n], g, rtol=1e-11, atol=1e-13, strict=True)


@every
def test_steps_take_any_leading_axes(name: str) -> None:
    """All transitions of a sequence at once, from known states: what local losses are made of."""
    cell = CELLS[name]
    p, (x, h0) = parameters(cell), sequence(cell)
    states = cell.unroll(p, x, h0)
    before = np.concatenate([h0[None], states[:-1]])
    assert_allclose(cells.step(cell, p, x, before), states, rtol=1e-12, atol=1e-14)
    assert_allclose(cells.step(cell, p, x[0, 0], h0[0]), states[0, 0], rtol=1e-12, atol=1e-14)
    assert cell.output(states).shape == (T, B, cell.hidden)


@every
@pytest.mark.parametrize("steps", [0, 1, 4])
def test_gradients_of_whole_sequences(name: str, steps: int) -> None:
    """By all parameters, inputs and the first state; unrolled and step by step."""
    cell = CELLS[name]
    p, (x, h0) = parameters(cell), sequence(cell, steps)
    names = list(p)

    def loss(x: Any, h0: Any, *weights: Any) -> Any:
        h = cell.unroll(dict(zip(names, weights, strict=True)), x, h0)
        return ops.concatenate([ops.reshape(ops.sum(h * h), (1,)), ops.reshape(ops.sum(cell.output(h)), (1,))])

    def loss_by_steps(x: Any, h0: Any, *weights: Any) -> Any:
        return cells.unroll_by_steps(cell, dict(zip(names, weights, strict=True)), x, h0)

    analytic = "relu" not in name
    check_gradient(loss, x, h0, *p.values(), analytic=analytic, directions=40)
    check_gradient(loss_by_steps, x, h0, *p.values(), analytic=analytic, directions=20)


USES: dict[str, Callable[[Any], Any]] = {
    "the last": lambda h: h[-1],
    "the last, by its number": lambda h: h[T - 1, ...],
    "another": lambda h: h[1],
    "the last of a sequence": lambda h: h[-1, 1:],
    "a slice": lambda h: h[2:],
    "a part of all": lambda h: h[..., :2],
    "all, with one more axis": lambda h: h[None],
    "all, by no index": lambda h: h[()],
    "named ones": lambda h: ops.take(h, np.array([3, 1])),
    "one sequence": lambda h: ops.take(h, np.array([1]), axis=1),
}


@every
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("twin", ["reference", "fused"])
def test_gradients_where_some_states_are_used(twin: str, use: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bits as from a gradient by all of them that is zero elsewhere."""
    monkeypatch.setenv("MINIGRAD_KERNELS", twin)
    cell = CELLS[name]
    x, h0 = sequence(cell)
    p = parameters(cell) | {"h0": h0}
    found = []
    for whole in (False, True):
        with Tape() as tape:
            w = tape.watch(p)
            h = cell.unroll(w, x, w["h0"])
            part = USES[use](h * 1.0 if whole else h)
            loss = ops.sum(part * part)
        found.append(tape.gradient(loss, w))
    for label, g in found[0].items():
        assert_array_equal(g, found[1][label], err_msg=label)


@every
def test_float32_stays_float32(name: str) -> None:
    cell = CELLS[name]
    x, h0 = sequence(cell, dtype="float32")
    wide = cell.unroll(parameters(cell), *sequence(cell))
    with Tape() as tape:
        p = tape.watch(parameters(cell, "float32"))
        sources = tape.watch([x, h0])
        h = cell.unroll(p, *sources)
        loss = ops.mean(cells.step(cell, p, sources[0][0], sources[1])) + ops.mean(h)
    assert h.dtype == "float32"
    assert loss.dtype == "float32"
    assert_allclose(h.value, wide, rtol=1e-4, atol=1e-5)
    for g in (*tape.gradient(loss, p).values(), *tape.gradient(loss, sources)):
        assert g.dtype == "float32"


@every
@pytest.mark.parametrize(("steps", "constant"), [(0, ()), (1, ()), (4, ()), (1, ("x", "h0")), (4, ("x", "h0"))])
def test_other_libraries_and_devices(name: str, steps: int, constant: tuple[str, ...]) -> None:
    cell = CELLS[name]
    p, (x, h0) = parameters(cell), sequence(cell, steps)

    def run(p: Params, x: Any, h0: Any) -> tuple[Any, Params]:
        arrays = {**p, "x": x, "h0": h0}
        with Tape() as tape:
            w = tape.watch({n: a for n, a in arrays.items() if n not in constant})
            h = cell.unroll(arrays | w, (arrays | w)["x"], (arrays | w)["h0"])
            loss = ops.sum(ops.multiply(h, h))
        return h.value, tape.gradient(loss, w)

    h, gradients = run(p, x, h0)
    h_there, gradients_there = run({n: strict(a) for n, a in p.items()}, strict(x), strict(h0))
    assert h_there.device == DEVICE
    assert_allclose(loose(h_there), h, rtol=1e-12, atol=1e-14, strict=True)
    for n, g in gradients.items():
        assert_allclose(loose(gradients_there[n]), g, rtol=1e-10, atol=1e-12, strict=True)


@every
def test_arguments_are_never_changed(name: str) -> None:
    cell = CELLS[name]
    p, (x, h0) = parameters(cell), sequence(cell)
    before = {n: a.copy() for n, a in {**p, "x": x, "h0": h0}.items()}
    cell.unroll(p, x, h0)
    cells.step(cell, p, x[0], h0)
    for n, array in {**p, "x": x, "h0": h0}.items():
        assert_array_equal(array, before[n])
        assert array.flags.writeable


def test_the_symmetric_part_of_an_antisymmetric_network_does_nothing() -> None:
    cell = CELLS["antisymmetric"]
    p, (x, h0) = parameters(cell), sequence(cell)
    (M,) = random_arrays([(H, H)], 5)
    moved = {**p, "W_hh": p["W_hh"] + M + M.T}
    assert_allclose(cell.unroll(moved, x, h0), cell.unroll(p, x, h0), rtol=1e-12)


def test_saturated_gates_pass_the_state_on() -> None:
    """A gated cell with its gates wide open or shut keeps its state for a thousand steps, and its gradient."""
    x, h0 = np.zeros((1000, 1, 1)), np.array([[0.3]])
    gru = GRU(1, 1)
    p = {"W_xh": np.zeros((1, 3)), "W_hh": np.zeros((1, 3)), "b_xh": np.array([0, 1e4, 0]), "b_hh": np.zeros(3)}
    with Tape() as tape:
        h = tape.watch(h0)
        last = gru.unroll(p, x, h)[-1]
    assert last.value == 0.3
    assert tape.gradient(last, h) == 1
    lstm = LSTM(1, 1)
    p = {"W_xh": np.zeros((1, 4)), "W_hh": np.zeros((1, 4)), "b_h": np.array([-1e4, 1e4, 0, 1e4])}
    with Tape() as tape:
        h = tape.watch(np.array([[0.0, 0.3]]))
        last = lstm.unroll(p, x, h)[-1]
    assert_allclose(last.value, [[np.tanh(0.3), 0.3]])
    assert_allclose(tape.gradient(last, h, seed=np.array([[0.0, 1.0]])), [[0, 1]])


# --- truncation ---


def windows_gradient(cell: Cell, p: Params, x: Any, h0: Any, weights: Any, k: int) -> Params:
    """The gradient of sum_t <weights_t, h_t> with the state held constant every k steps (truncated BPTT)."""
    total = {name: np.zeros_like(array) for name, array in p.items()}
    h = h0
    for start in range(0, len(x), k):
        with Tape() as tape:
            w = tape.watch(p)
            states = cell.unroll(w, x[start : start + k], h)
            loss = ops.sum(states * weights[start : start + k])
        total = {name: total[name] + g for name, g in tape.gradient(loss, w).items()}
        h = states.value[-1]
    return total


@pytest.mark.parametrize("name", ["srn tanh", "gru", "lstm", "two lstm"])
def test_truncation_at_the_length_is_no_truncation(name: str) -> None:
    cell = CELLS[name]
    p, (x, h0) = parameters(cell), sequence(cell, 6)
    (weights,) = random_arrays([(6, B, cell.state_size)], 3)
    with Tape() as tape:
        w = tape.watch(p)
        loss = ops.sum(cell.unroll(w, x, h0) * weights)
    full = tape.gradient(loss, w)
    for k in (6, 7, 100):
        truncated = windows_gradient(cell, p, x, h0, weights, k)
        for n in p:
            assert_array_equal(truncated[n], full[n])
    shorter = windows_gradient(cell, p, x, h0, weights, 3)
    assert any(np.max(np.abs(shorter[n] - full[n])) > 1e-3 for n in p)


@pytest.mark.parametrize("name", ["srn tanh", "gru", "lstm", "two lstm"])
@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_truncation_is_a_slice_with_its_state_held(name: str, k: int) -> None:
    """Against one unrolled graph in which the state is cut by `ops.value` between the windows."""
    cell = CELLS[name]
    p, (x, h0) = parameters(cell), sequence(cell, 7)
    (weights,) = random_arrays([(7, B, cell.state_size)], 3)
    with Tape() as tape:
        w = tape.watch(p)
        h, loss = h0, 0.0
        for t in range(7):
            h = cells.step(cell, w, x[t], ops.value(h) if t % k == 0 else h)
            loss = loss + ops.sum(h * weights[t])
    expected = tape.gradient(loss, w)
    for n, g in windows_gradient(cell, p, x, h0, weights, k).items():
        assert_allclose(g, expected[n], rtol=1e-11, atol=1e-13)
