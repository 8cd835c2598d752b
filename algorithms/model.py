"""A network: a cell, an embedding where inputs are tokens, a linear readout, and a loss.

Legend: T time, B batch, D input size, V vocabulary, H hidden units, S numbers in a state, O outputs.
Parameters beside the cell's: W_hy [H, O], b_y [O]; with tokens E [V, D].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from minigrad import cells, init, ops
from minigrad.backend import Array, Params, get_xp
from minigrad.cells import Activation, Cell, Scheme
from minigrad.errors import InputError

Loss = Literal["softmax", "mse"]
LossAt = Literal["last", "every"]


@dataclass(frozen=True)
class Model:
    """Pure functions of a flat dict of parameters; the state never hides in an object."""

    cell: Cell
    output_size: int
    loss: Loss = "softmax"
    loss_at: LossAt = "last"
    vocabulary: int | None = None
    """V where inputs are token ids, None where they are vectors."""

    def __post_init__(self) -> None:
        for name, value, known in (("loss", self.loss, Loss), ("loss_at", self.loss_at, LossAt)):
            if value not in get_args(known):
                raise InputError(f"unknown {name} {value!r}: use {' or '.join(get_args(known))}")
        if self.output_size < 1 or (self.vocabulary is not None and self.vocabulary < 1):
            raise InputError(f"sizes are at least 1, got output {self.output_size}, vocabulary {self.vocabulary}")

    @staticmethod
    def make(
        *,
        cell: str = "srn",
        activation: Activation = "tanh",
        input_size: int,
        hidden: int,
        layers: int = 1,
        output_size: int,
        loss: Loss = "softmax",
        loss_at: LossAt = "last",
        tokens: bool = False,
    ) -> Model:
        """A model from names and sizes; with tokens, `input_size` is the vocabulary and embeddings have size H."""
        made = cells.make(cell, hidden if tokens else input_size, hidden, activation, layers)
        return Model(made, output_size, loss, loss_at, input_size if tokens else None)

    def init(self, rng: np.random.Generator, scheme: Scheme, dtype: str) -> Params:
        """Fresh parameters, host arrays: the cell's, W_hy, b_y, E, drawn in this order."""
        p = self.cell.init(rng, scheme, dtype)
        p["W_hy"] = self._readout_weights(rng, scheme, dtype)
        p["b_y"] = np.zeros(self.output_size, dtype)
        if self.vocabulary is not None:
            p["E"] = init.uniform(rng, (self.vocabulary, self.cell.input_size), dtype, bound=0.1)
        return p

    def _readout_weights(self, rng: np.random.Generator, scheme: Scheme, dtype: str) -> Array:
        H, O = self.cell.hidden, self.output_size
        match scheme:
            case "orthogonal":
                return init.rand_ortho(rng, H, O, dtype)
            case "normal" | "sigmoid":
                return init.normal(rng, H, O, dtype, std=0.1 if scheme == "normal" else 0.01)
            case "uniform":
                return init.uniform(rng, (H, O), dtype, bound=0.1)
            case "identity":
                return init.normal(rng, H, O, dtype, std=0.001)
        raise InputError(f"unknown initialisation {scheme!r}")

    def initial_state(self, p: Params, batch_size: int) -> Array:
        """h_0 = 0: [B, S] in the dtype and on the device of the parameters."""
        W = ops.value(p["W_hy"])
        return get_xp(W).zeros((batch_size, self.cell.state_size), dtype=W.dtype, device=W.device)

    def embed(self, p: Params, x: Array) -> Array:
        """Vectors [..., D] for token ids [...]; vectors pass."""
        return x if self.vocabulary is None else ops.embedding(p["E"], x)

    def project(self, p: Params, x: Array) -> Array:
        """u: the part of the transition that needs no state, for the whole of x."""
        return self.cell.project(p, self.embed(p, x))

    def step(self, p: Params, x: Array, h: Array) -> Array:
        """F(x, h): the next state [..., S]."""
        return self.cell.advance(p, self.project(p, x), h)

    def unroll(self, p: Params, x: Array, h0: Array) -> Array:
        """h_t = F(x_t, h_{t-1}) for t = 1..T: states [T, B, S] from h0 [B, S]."""
        return self.cell.unroll(p, self.embed(p, x), h0)

    def scored(self, h: Array) -> Array:
        """The states whose outputs are scored: the last one [B, S], or all [T, B, S]."""
        return h if self.loss_at == "every" else h[-1, ...]

    def readout(self, p: Params, h: Array) -> Array:
        """Logits or values [..., O] of states [..., S]."""
        return ops.add(ops.matmul(self.cell.output(h), p["W_hy"]), p["b_y"])

    def score(self, p: Params, h: Array, y: Array) -> Array:
        """E: the mean loss (0-d) of scored states; nats for softmax."""
        if self.loss == "softmax":
            return ops.linear_cross_entropy(self.cell.output(h), p["W_hy"], p["b_y"], y)
        return ops.mse(self.readout(p, h), y)

    @property
    def kernels(self) -> tuple[str, ...]:
        """Names of the kernels that unrolling and scoring call, see `minigrad.kernels`."""
        ends = [("readout", self.loss == "softmax"), ("scatter", self.vocabulary is not None)]
        return (*self.cell.kernels, *(name for name, called in ends if called))

    def output(self, p: Params, x: Array) -> Array:
        """Logits or values at the scored steps, from h_0 = 0."""
        return self.readout(p, self.scored(self.unroll(p, x, self.initial_state(p, x.shape[1]))))
