"""Dropout: what is left out of a network while it is trained, at random, all else being scaled up by 1 / (1 - p).

    embedding    rows of E, whole, the same in all places of a forward pass           (Gal & Ghahramani 2016)
    inputs       what the lowest layer sees: embeddings, or input vectors
    between      what every layer but the highest puts out
    recurrent    elements of every W_hh, the same at all steps: weight-drop           (Merity et al. 2018)
    outputs      what the highest layer puts out
    latent       the tanh layer of a mixture of softmaxes
    logits       what the readout puts out

Of activations one mask [1, B, H] is drawn for all steps of a forward pass (`locked`), or one for every element anew
(`elements`, Srivastava et al. 2014). States that are carried on are never dropped.

Legend: T steps, B sequences, H numbers that a layer puts out, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Literal, get_args

import numpy as np

from minigrad import ops
from minigrad.backend import Array, Params, like
from minigrad.errors import InputError

Kind = Literal["locked", "elements"]


@dataclass(frozen=True, kw_only=True)
class Dropout:
    """Probabilities p with which something is left out, each in [0, 1)."""

    kind: Kind = "locked"
    """What all steps of a forward pass have in common: their masks, or nothing."""
    embedding: float = 0.0
    inputs: float = 0.0
    between: float = 0.0
    recurrent: float = 0.0
    outputs: float = 0.0
    latent: float = 0.0
    logits: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise InputError(f"unknown dropout_kind {self.kind!r}: use {' or '.join(get_args(Kind))}")
        for name, p in self.rates().items():
            if not 0 <= p < 1:
                raise InputError(f"dropout_{name} must lie in [0, 1), got {p}")

    def rates(self) -> dict[str, float]:
        """The probabilities, by name."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name != "kind"}


NONE = Dropout()
"""Nothing is left out."""


@dataclass(frozen=True, eq=False)
class Masks:
    """What was drawn for one forward pass: 0 where something is left out, 1 / (1 - p) elsewhere; None: all stays."""

    embedding: Array | None = None
    """[V]."""
    inputs: Array | None = None
    """[1 or T, B, D]."""
    between: tuple[Array, ...] = ()
    """[1 or T, B, H] of every layer but the highest, from below."""
    recurrent: Params = field(default_factory=dict)
    """Of every W_hh, in its shape and under its name."""
    outputs: Array | None = None
    """[1 or T, B, H]; [B, H] where a sequence has one answer. So are the next two."""
    latent: Array | None = None
    logits: Array | None = None

    def during(self, first: int, last: int) -> Masks:
        """Those of steps first, ..., last - 1 for what states come from; the others are about answers."""

        def of(mask: Array | None) -> Array | None:
            return mask if mask is None or mask.shape[0] == 1 else mask[first:last, ...]

        return replace(self, inputs=of(self.inputs), between=tuple(map(of, self.between)))


def mask(rng: np.random.Generator, p: float, shape: tuple[int, ...], reference: Array) -> Array | None:
    """A mask, drawn on the host; None, and nothing is drawn, where p is 0.

    Args:
        rng: draws a number for each element, in single precision whatever the mask's is.
        p: probability that an element is 0, in [0, 1).
        shape: of the mask.
        reference: whose library, device and dtype it gets.
    """
    if p == 0:
        return None
    return like(reference, (rng.random(shape, dtype=np.float32) >= p) / (1 - p))


def dropped(x: Array, mask: Array | None) -> Array:
    """x times a mask, where there is one."""
    return x if mask is None else ops.dropout(x, mask)
