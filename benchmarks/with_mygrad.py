"""MyGrad."""

from __future__ import annotations

from typing import Any

import mygrad

from benchmarks.contestant import Inputs, Job, Table

mg: Any = mygrad  # its annotations name none of its functions


def _graph(inputs: Inputs) -> Job:
    x, h0, y = inputs["x"], inputs["h0"], inputs["y"]
    p = {name: mg.tensor(array) for name, array in inputs["params"].items()}

    def call() -> Any:
        h: Any = h0
        for x_t in x:
            h = mg.tanh(mg.matmul(x_t, p["W_xh"]) + mg.matmul(h, p["W_hh"]) + p["b_h"])
        loss = mg.sum((h - y) ** 2)
        loss.backward()
        return loss, {name: tensor.grad for name, tensor in p.items()}

    return Job(call, lambda result: {"loss": result[0].data, **result[1]})


JOBS: Table = {"graph": _graph}
