"""A network: a cell, an embedding where inputs are tokens, a readout, and a loss.

A model is judged as it is, and trained as it is drawn: `drawn` gives a model of which a part is left out at random (see
`algorithms.dropout`) and whose loss has the penalties AR and TAR beside it (Merity, McCann & Socher 2017), for one
forward pass. For a model that has neither, it is the model itself.

Legend: T time, B batch, D input size, V vocabulary, H hidden units, S numbers in a state, O outputs.
Parameters beside the cell's: those of `algorithms.readouts`; with tokens E [V, D].
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import isfinite
from typing import Literal, get_args

import numpy as np

from algorithms import dropout as dropouts
from algorithms import readouts
from algorithms.dropout import NONE, Dropout, Masks, dropped
from algorithms.readouts import Readout
from minigrad import cells, init, kernels, ops
from minigrad.backend import Array, Params, get_xp
from minigrad.cells import Activation, Cell, Scheme, Stack
from minigrad.errors import InputError

Loss = Literal["softmax", "mse"]
LossAt = Literal["last", "every"]

WHOLE = Masks()

AT_ONCE = 1 << 24
"""Numbers in the states that are there at once where nothing but the last one counts."""


@dataclass(frozen=True)
class Model:
    """Pure functions of a flat dict of parameters; the state never hides in an object."""

    cell: Cell
    head: Readout
    """The readout."""
    loss: Loss = "softmax"
    loss_at: LossAt = "last"
    vocabulary: int | None = None
    """V where inputs are token ids, None where they are vectors."""
    dropout: Dropout = NONE
    """What is left out in training."""
    ar: float = 0.0
    """Weight of the mean square of what the readout sees, beside the loss at every step (AR, >= 0)."""
    tar: float = 0.0
    """Weight of the mean square of how the highest layer's output changes from step to step (TAR, >= 0)."""
    masks: Masks | None = None
    """What was drawn for a forward pass; None: the model is judged, not trained."""

    def __post_init__(self) -> None:
        for name, value, known in (("loss", self.loss, Loss), ("loss_at", self.loss_at, LossAt)):
            if value not in get_args(known):
                raise InputError(f"unknown {name} {value!r}: use {' or '.join(get_args(known))}")
        if self.output_size < 1 or (self.vocabulary is not None and self.vocabulary < 1):
            raise InputError(f"sizes are at least 1, got output {self.output_size}, vocabulary {self.vocabulary}")
        if self.head.inputs != self.cell.hidden:
            raise InputError(f"a readout of {self.head.inputs} numbers does not fit {self.cell.hidden} hidden units")
        self._check_embedding()
        self._check_noise()

    def _check_embedding(self) -> None:
        """Raise InputError unless a readout that is tied to the embedding has one of its sizes."""
        name, D = self.head.name, self.head.embedding
        if D is None:
            return
        if self.loss != "softmax" or self.vocabulary is None or self.vocabulary != self.output_size:
            raise InputError(f"readout {name} is for tokens in, tokens out: use a text, or readout linear")
        if self.cell.input_size != D:
            raise InputError(
                f"readout {name} needs embeddings as large as the highest layer: they have {self.cell.input_size} "
                f"numbers, it has {D} (see embedding and top)"
            )

    def _check_noise(self) -> None:
        """Raise InputError where something is to be dropped or penalised that is not there."""
        check_penalties(ar=self.ar, tar=self.tar)
        for name, weight in (("ar", self.ar), ("tar", self.tar)):
            if weight and self.loss_at != "every":
                raise InputError(f"{name} is for a loss at every step, such as that of a text: leave it out")
        missing = {
            "embedding": "token inputs" if self.vocabulary is None else "",
            "between": "" if len(self._layers) > 1 else "several layers",
            "latent": "" if self.head.latent else "the readout mos",
            "logits": ""
            if self.loss == "softmax" and not self.head.latent
            else "classes, and a readout other than mos",
        }
        for name, p in self.dropout.rates().items():
            if p and missing.get(name):
                raise InputError(f"dropout_{name} needs {missing[name]}: leave it out")

    @staticmethod
    def make(
        *,
        cell: str = "srn",
        activation: Activation = "tanh",
        input_size: int,
        hidden: int,
        layers: int = 1,
        top: int | None = None,
        output_size: int,
        loss: Loss = "softmax",
        loss_at: LossAt = "last",
        tokens: bool = False,
        embedding: int | None = None,
        readout: readouts.Name = "linear",
        readout_width: int | None = None,
        experts: int | None = None,
        dropout: Dropout = NONE,
        ar: float = 0.0,
        tar: float = 0.0,
    ) -> Model:
        """A model from names and sizes.

        Args:
            cell: see `cells.make`, as for the next five.
            activation: of the cell.
            input_size: of vectors; with tokens, the vocabulary.
            hidden: units of a layer.
            layers: cells one above the other.
            top: units of the highest of several layers; None: as many as the others have.
            output_size: classes or values.
            loss: which.
            loss_at: the steps that have one.
            tokens: whether inputs are token ids.
            embedding: D of tokens; None: hidden.
            readout: see `readouts.make`, as for the next two.
            readout_width: between the layers of two-linear.
            experts: of mos.
            dropout: what is left out in training.
            ar: see the field.
            tar: see the field.

        Raises:
            InputError: if something does not exist or does not fit.
        """
        if embedding is not None and not tokens:
            raise InputError("embedding is the size of token embeddings: leave it out where inputs are vectors")
        D = (hidden if embedding is None else embedding) if tokens else input_size
        made = cells.make(cell, D, hidden, activation, layers, top)
        head = readouts.make(readout, made.hidden, output_size, embedding=D, width=readout_width, experts=experts)
        return Model(made, head, loss, loss_at, input_size if tokens else None, dropout, ar, tar)

    @property
    def output_size(self) -> int:
        """O."""
        return self.head.outputs

    @property
    def _layers(self) -> tuple[Cell, ...]:
        return self.cell.layers if isinstance(self.cell, Stack) else (self.cell,)

    def init(self, rng: np.random.Generator, scheme: Scheme, dtype: str) -> Params:
        """Fresh parameters, host arrays: the cell's, the readout's, E, drawn in this order."""
        p = self.cell.init(rng, scheme, dtype)
        p |= self.head.init(rng, scheme, dtype)
        if self.vocabulary is not None:
            p["E"] = init.uniform(rng, (self.vocabulary, self.cell.input_size), dtype, bound=0.1)
        return p

    # --- training ---

    @property
    def noisy(self) -> bool:
        """Whether it is trained otherwise than it is judged."""
        return any(self.dropout.rates().values()) or self.ar > 0 or self.tar > 0

    def drawn(self, rng: np.random.Generator, p: Params, steps: int, batch_size: int) -> Model:
        """The model to train with in one forward pass over [T, B]: `unroll`, `readout` and `score` leave out what was
        drawn, and `score` has the penalties in it.

        Args:
            rng: draws what is left out, in the order of `Dropout`; nothing where nothing is to be.
            p: parameters, for shapes, library, device and dtype.
            steps: T.
            batch_size: B.
        """
        if not self.noisy:
            return self
        d, B, reference = self.dropout, batch_size, some(p)
        T = steps if d.kind == "elements" else 1
        answers = (T, B) if self.loss_at == "every" else (B,)

        def mask(rate: float, *shape: int) -> Array | None:
            return dropouts.mask(rng, rate, shape, reference)

        masks = Masks(
            embedding=mask(d.embedding, self.vocabulary or 0),
            inputs=mask(d.inputs, T, B, self.cell.input_size),
            between=tuple(mask(d.between, T, B, layer.hidden) for layer in self._layers[:-1]) if d.between else (),
            recurrent={name: mask(d.recurrent, *p[name].shape) for name in _recurrent(p)} if d.recurrent else {},
            outputs=mask(d.outputs, *answers, self.cell.hidden),
            latent=mask(d.latent, *answers, self.head.latent),
            logits=mask(d.logits, *answers, self.output_size),
        )
        return replace(self, masks=masks)

    def during(self, first: int, last: int) -> Model:
        """The drawn model for `unroll` over steps first, ..., last - 1 of those that it was drawn for."""
        return self if self.masks is None else replace(self, masks=self.masks.during(first, last))

    # --- states ---

    def initial_state(self, p: Params, batch_size: int) -> Array:
        """h_0 = 0: [B, S] in the dtype and on the device of the parameters."""
        W = some(p)
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
        if self.masks is None:
            return self.cell.unroll(p, self.embed(p, x), h0)
        m = self.masks
        rows = None if m.embedding is None else ops.embedding(m.embedding[:, None], x)
        x = dropped(dropped(self.embed(p, x), rows), m.inputs)
        p = {name: dropped(array, m.recurrent.get(name)) for name, array in p.items()}
        if isinstance(self.cell, Stack):
            return self.cell.unroll(p, x, h0, m.between)
        return self.cell.unroll(p, x, h0)

    # --- answers ---

    def scored(self, h: Array) -> Array:
        """The states whose outputs are scored: the last one [B, S], or all [T, B, S]."""
        return h if self.loss_at == "every" else h[-1, ...]

    def readout(self, p: Params, h: Array) -> Array:
        """Logits or values [..., O] of states [..., S]."""
        m = self.masks or WHOLE
        return dropped(self.head.logits(p, dropped(self.cell.output(h), m.outputs), m.latent), m.logits)

    def score(self, p: Params, h: Array, y: Array) -> Array:
        """E: the mean loss (0-d) of scored states, nats for softmax; of a drawn model, with its penalties."""
        m, raw = self.masks or WHOLE, self.cell.output(h)
        seen = dropped(raw, m.outputs)
        if self.loss == "softmax" and m.logits is None:
            E = self.head.cross_entropy(p, seen, y, m.latent)
        else:
            z = dropped(self.head.logits(p, seen, m.latent), m.logits)
            E = ops.cross_entropy(z, y) if self.loss == "softmax" else ops.mse(z, y)
        return E if self.masks is None else self._penalised(E, raw, seen)

    def _penalised(self, E: Array, raw: Array, seen: Array) -> Array:
        """E + AR + TAR, from the highest layer's output [T, B, H] and what the readout sees of it.

        TAR is left out where there are no more than two steps, as in the released code of Kag & Saligrama 2021.
        """
        if self.ar:
            E = ops.add(E, self.ar * ops.mean(ops.power(seen, 2)))
        if self.tar and raw.shape[0] > 2:
            change = ops.subtract(raw[1:, ...], raw[:-1, ...])
            E = ops.add(E, self.tar * ops.mean(ops.power(change, 2)))
        return E

    @property
    def kernels(self) -> tuple[str, ...]:
        """Names of the kernels that unrolling and scoring call in training, see `minigrad.kernels`."""
        scoring = self.head.kernels if self.loss == "softmax" and not self.dropout.logits else ()
        embedding = ("scatter",) if self.vocabulary is not None else ()
        return tuple(dict.fromkeys((*self.cell.kernels, *scoring, *embedding)))

    def twins(self, called: Iterable[str], p: Params, batch_size: int) -> dict[str, str]:
        """Which twin of each kernel runs for [., B] and these parameters; both, where layers of two sizes differ."""
        sizes = sorted({layer.hidden for layer in self._layers})
        found = [kernels.twins(called, (batch_size, H), some(p)) for H in sizes]
        return {name: " and ".join(sorted({twins[name] for twins in found})) for name in called}

    def output(self, p: Params, x: Array) -> Array:
        """Logits or values at scored steps, from h_0 = 0; if that is the last one, a stretch of states at a time."""
        h = self.initial_state(p, x.shape[1])
        if self.loss_at == "every":
            return self.readout(p, self.unroll(p, x, h))
        T, steps = x.shape[0], max(1, AT_ONCE // max(1, h.size))
        for first in range(0, T, steps):
            last = min(first + steps, T)
            states = self.during(first, last).unroll(p, x[first:last, ...], h)
            h = get_xp(h).asarray(states[-1, ...], copy=True)  # of a view all of them would be kept
        return self.readout(p, h)


def check_penalties(**weights: float) -> None:
    """Raise InputError unless the weights of AR and TAR can be ones."""
    for name, weight in weights.items():
        if not (weight >= 0 and isfinite(weight)):
            raise InputError(f"{name} must be at least 0 and finite, got {weight}")


def some(p: Params) -> Array:
    """An array of the parameters: library, device and dtype are the same for all."""
    return ops.value(next(iter(p.values())))


def _recurrent(p: Params) -> list[str]:
    """The names of every W_hh."""
    return sorted(name for name in p if name.rpartition("/")[2] == "W_hh")
