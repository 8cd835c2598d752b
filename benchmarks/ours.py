"""This program, through its public functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import algorithms
from algorithms.model import Model
from algorithms.readouts import Linear
from benchmarks.contestant import Arrays, Inputs, Job, Table
from datasets.task import Batch
from minigrad import cells, kernels, ops, optim
from minigrad.cells import Cell
from minigrad.kernels import srn, target
from minigrad.rng import stream
from minigrad.tape import Tape


def _iteration(name: str) -> Callable[[Inputs], Job]:
    """An iteration of a method with the options it has by default; BPTT with the update rule of the others."""

    def make(inputs: Inputs) -> Job:
        params = inputs["params"]
        if name == "bptt":
            params = {key: array for key, array in params.items() if key not in ("V_hh", "c_h")}
        (D, H), (O,) = params["W_xh"].shape, params["b_y"].shape
        model = Model.make(input_size=D, hidden=H, output_size=O)
        return _steps(name, model, params, inputs, _velocities, optimizer="nag")

    return make


def _parts(inputs: Inputs) -> Job:
    """A sequence by FPTT, an update after each of its parts."""
    D, H = _sizes(inputs)
    model = Model.make(cell="lstm", input_size=D, hidden=H, output_size=inputs["y"].shape[1], loss="mse")

    def kept(state: Any) -> dict[str, Arrays]:
        return {**state.regulariser, "m": state.optimizer["m"], "v": state.optimizer["v"]}

    options = {"parts": inputs["K"], "part_weight": "linear", "clip": 1.0}
    return _steps("fptt", model, inputs["params"], inputs, kept, **options)


def _words(inputs: Inputs) -> Job:
    """An iteration of truncated BPTT on a text."""
    V, H = inputs["params"]["E"].shape
    model = Model.make(cell="gru", input_size=V, hidden=H, output_size=V, loss_at="every", tokens=True)

    def kept(state: Any) -> dict[str, Arrays]:
        return {"adagrad": state.optimizer["adagrad"]}

    options = {"optimizer": "adagrad", "lr": 0.03, "clip": 0.5}
    return _steps("bptt", model, inputs["params"], inputs, kept, **options)


def _steps(
    name: str, model: Model, params: Arrays, inputs: Inputs, kept: Callable[[Any], dict[str, Arrays]], **options: Any
) -> Job:
    """Steps of a method, one a call, each from where the one before ended.

    The answer: the loss before the step, the parameters after it, and what `kept` finds in the state, by kind.
    """
    method = algorithms.method(name)
    config = method.config(**{**method.defaults, **options})
    batch, rng = Batch(inputs["x"], inputs["y"]), stream(0, "bench", "step")
    state = method.init(config, model, params, rng)

    def call() -> Any:
        nonlocal state
        state, info = method.step(config, model, state, batch, rng)
        return state, info

    def answer(result: Any) -> Arrays:
        at, info = result
        others = {f"{kind}/{key}": array for kind, arrays in kept(at).items() for key, array in arrays.items()}
        return {"loss": info.loss, **at.params, **others}

    return Job(call, answer)


def _velocities(state: Any) -> dict[str, Arrays]:
    """Of the one optimiser, or of both."""
    optimizers = [state.optimizer] if hasattr(state, "optimizer") else [state.optimizer_f, state.optimizer_g]
    return {"velocity": {key: array for each in optimizers for key, array in each["velocity"].items()}}


def _sizes(inputs: Inputs) -> tuple[int, int]:
    """D, H of a cell's inputs."""
    return inputs["x"].shape[-1], inputs["params"]["W_hh"].shape[0]


def _forward(inputs: Inputs) -> Job:
    cell = cells.make("srn", *_sizes(inputs))
    p, x, h0 = inputs["params"], inputs["x"], inputs["h0"]
    return Job(lambda: cell.unroll(p, x, h0), lambda h: {"h": h})


def _training(name: str, by_x: bool = False) -> Callable[[Inputs], Job]:
    """Forward and backward of a cell."""

    def make(inputs: Inputs) -> Job:
        cell: Cell = cells.make(name, *_sizes(inputs))
        p, x, h0, g = inputs["params"], inputs["x"], inputs["h0"], inputs["g"]

        def call() -> Any:
            with Tape() as tape:
                w = tape.watch({**p, "x": x} if by_x else p)
                h = cell.output(cell.unroll(w, w.get("x", x), h0))
            return h.value, tape.gradient(h, w, seed=g)

        return Job(call, lambda result: {"h": result[0], **result[1]})

    return make


def _backward(inputs: Inputs) -> Job:
    """Gradients by everything but x."""
    p, x, h, g, h0 = (inputs[name] for name in ("params", "x", "h", "g", "h0"))
    twin = kernels.choose(g, kernel="srn", size=h0.shape)
    needs, names = (False, True, True, True, True), ("h0", "W_xh", "W_hh", "b_h")
    return Job(
        lambda: srn.backward(g, x, h, h0, p["W_xh"], p["W_hh"], "tanh", twin, needs)[1:],
        lambda found: dict(zip(names, found, strict=True)),
    )


def _targets(inputs: Inputs) -> Job:
    p, x, h, last = (inputs[name] for name in ("params", "x", "h", "target_T"))
    twin = kernels.choose(h, kernel="target", size=last.shape)
    return Job(
        lambda: target.targets(x, h, last, p["W_xh"], p["W_hh"], p["b_h"], "tanh", twin),
        lambda found: {"targets": found},
    )


def _readout(inputs: Inputs) -> Job:
    p, h, y = inputs["params"], inputs["h"], inputs["y"]
    H, V = p["W_hy"].shape
    model = Model(cells.make("srn", H, H), Linear(H, V), "softmax", "every")

    def call() -> Any:
        with Tape() as tape:
            w = tape.watch({**p, "h": h})
            E = model.score(w, w["h"], y)
        return E.value, tape.gradient(E, w)

    return Job(call, lambda result: {"loss": result[0], **result[1]})


def _embedding(inputs: Inputs) -> Job:
    p, ids, g = inputs["params"], inputs["ids"], inputs["g"]

    def call() -> Any:
        with Tape() as tape:
            w = tape.watch(p)
            x = ops.embedding(w["E"], ids)
        return x.value, tape.gradient(x, w, seed=g)

    return Job(call, lambda result: {"x": result[0], **result[1]})


def _graph(inputs: Inputs) -> Job:
    p, x, h0, y = inputs["params"], inputs["x"], inputs["h0"], inputs["y"]

    def call() -> Any:
        with Tape() as tape:
            w = tape.watch(p)
            h = h0
            for x_t in x:
                h = ops.tanh(x_t @ w["W_xh"] + h @ w["W_hh"] + w["b_h"])
            E = ops.squared_error(h, y)
        return E.value, tape.gradient(E, w)

    return Job(call, lambda result: {"loss": result[0], **result[1]})


def _update(rule: optim.Optimizer, *kinds: str) -> Callable[[Inputs], Job]:
    """A step of an optimiser whose state has these kinds of arrays."""

    def make(inputs: Inputs) -> Job:
        params, grads = inputs["params"], inputs["grads"]
        state = rule.init(params)

        def call() -> Any:
            nonlocal params, state
            params, state = rule.step(grads, state, params)
            return params, state

        def answer(result: Any) -> Arrays:
            p, kept = result
            return {**p, **{f"{kind}/{name}": array for kind in kinds for name, array in kept[kind].items()}}

        return Job(call, answer)

    return make


JOBS: Table = {
    **{name: _iteration(name) for name in ("tptthx", "tptt", "bptt")},
    "fptt": _parts,
    **dict.fromkeys(("words", "words-default"), _words),
    "srn": _forward,
    "srn-training": _training("srn"),
    **{name: _training(name) for name in ("lstm", "gru", "antisymmetric")},
    **{f"{name}-by-x": _training(name, by_x=True) for name in ("lstm", "gru")},
    "backward": _backward,
    "targets": _targets,
    "readout": _readout,
    "embedding": _embedding,
    "graph": _graph,
    **dict.fromkeys(("nag-srn", "nag-lstm"), _update(optim.nag(0.01, 0.9), "velocity")),
    **dict.fromkeys(("adam-srn", "adam-lstm"), _update(optim.adam(0.001), "m", "v")),
}
