"""Losses of the parts of a sequence, where it has one answer only (Kag & Saligrama 2021, section 3, "Intermediate
losses for terminal prediction").

A sequence of T steps is cut into parts of floor(T / K) steps, and one more with what remains: P' in all. Part p = 0, 1,
..., P' - 1 is scored at its end, with b = (p + 1) / P' in the place of the paper's beta = t / T:

    l_p = b CE(y, P_hat) + (1 - b) Div(Q, P_hat)
    CE(y, P_hat)  = -log P_hat[y]                   Div(Q, P_hat) = -sum over classes of Q log P_hat

P_hat = softmax of the readout at the end of the part, Q what the pass through the data before had estimated in its
place; l_p is a mean over sequences. Three readings of Q are at hand, for the paper has one sentence about it:

    class-mean    Q[y, p] = mean P_hat at part p over the sequences of class y in the pass before: the paper's sentence
    code          released code: Q = 1 / C for `WARM_UP` passes, then D[y, p], the last P_hat of a sequence of class y
                  that part p got wrong: of each batch the first such one counts; D is 0 at first. Parts from K - 1 on
                  take Q = y. Div is a mean over classes
    per-example   the released code's option, which does not run, by its description: Q belongs to a sequence and a
                  part; every fifth pass makes it 0.6 Q + 0.4 P_hat, D[y, p] standing in for a P_hat that is wrong

In the first pass class-mean and per-example take Q = 1 / C. Where data have no end there is no other pass: class-mean
goes on with it, per-example is refused.

For the adding task the released code has p + 1 / K in the place of b, a slip of precedence, and takes no step on parts
from K - 1 on, so that it never trains on the answer at the end: `part_weight` slip.

Legend: T steps, B sequences, C classes, N sequences of the data, K parts asked for (`parts`), P' parts there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from algorithms.model import Model
from algorithms.protocol import Batch, above_zero
from algorithms.schedule import Scheduled
from minigrad import ops
from minigrad.backend import Array, Params, get_xp, scatter_add
from minigrad.errors import InputError

Divergence = Literal["none", "class-mean", "code", "per-example"]
Estimate = dict[str, list[Array]]
"""What is remembered of P_hat, by the names of `fresh`; empty where there is no divergence."""

WARM_UP = 19
"""Passes in which the released code takes Q = 1 / C: those before its twentieth, which it counts from 1."""

REFRESHED = 5
"""Passes from one refreshment of a sequence's own Q to the next."""

KEPT = 0.6
"""How much of a sequence's own Q a refreshment leaves."""


@dataclass(frozen=True, kw_only=True)
class PartLosses(Scheduled):
    """The options of the losses of parts; the Config of a method that has such losses extends it."""

    parts: int = 1
    """Parts of a sequence (the paper's K), >= 1."""
    part_weight: Literal["none", "linear", "slip"] | None = None
    """Weight of a part's loss: 1, (p + 1) / P' for p = 0, 1, ..., or p + 1 / K and no training on the last part
    (released code, adding task); None: linear where a sequence has one answer, otherwise none."""
    divergence: Divergence | None = None
    """What is added to a part's loss where a sequence is to be classified: nothing, or the divergence from an estimate
    Q: class-mean (paper), code (released code), per-example; None: class-mean, where there is something to classify and
    part_weight and parts leave room for it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        above_zero(self, "parts")
        if self.part_weight == "slip" and self.parts == 1:
            raise InputError("part_weight slip leaves the last part out: ask for more parts than 1")


class Span(NamedTuple):
    """A part of a sequence: steps first, ..., last - 1, number p of P."""

    first: int
    last: int
    p: int
    P: int

    @property
    def b(self) -> float:
        """(p + 1) / P'."""
        return (self.p + 1) / self.P


def spans(T: int, K: int) -> list[Span]:
    """The parts of a sequence.

    Raises:
        InputError: if there are to be more parts than steps.
    """
    if K > T:
        raise InputError(f"parts must be at most the {T} steps of a sequence, got {K}")
    S = T // K
    ends = [(p * S, (p + 1) * S) for p in range(K)] + ([(K * S, T)] if K * S < T else [])
    return [Span(first, last, p, len(ends)) for p, (first, last) in enumerate(ends)]


def weight(config: PartLosses, model: Model, span: Span) -> float:
    """The factor of CE."""
    wished = config.part_weight or ("linear" if model.loss_at == "last" else "none")
    return {"none": 1.0, "linear": span.b, "slip": span.p + 1 / config.parts}[wished]


def trained_on(config: PartLosses, span: Span) -> bool:
    """Whether a part is trained on."""
    return config.part_weight != "slip" or span.p < config.parts - 1


def kind_of(config: PartLosses, model: Model) -> Divergence:
    """Which divergence there is; of one part alone, which is scored with weight 1, none unless it is asked for.

    Raises:
        InputError: if one is asked for that cannot be: nothing is classified, or every step has its own answer, or the
            parts' losses have no weights.
    """
    if config.part_weight == "slip" and model.loss_at == "every":
        raise InputError("part_weight slip is for sequences with one answer: leave it out for this task")
    classifies = model.loss == "softmax" and model.loss_at == "last"
    if config.divergence is None:
        room = config.parts > 1 and config.part_weight in (None, "linear")
        return "class-mean" if classifies and room else "none"
    if config.divergence != "none" and not classifies:
        raise InputError("divergence is for sequences that are classified as a whole: leave it out for this task")
    if config.divergence != "none" and config.part_weight not in (None, "linear"):
        raise InputError("divergence goes with part_weight linear: it takes what the weight leaves")
    return config.divergence


def loss(
    config: PartLosses, model: Model, W: Params, h: Array, batch: Batch, span: Span, Q: Array | None
) -> tuple[Array, Array | None]:
    """l_p (0-d) from the scored states [B, S] or [., B, S] of the part, and with Q [B, C] the logits [B, C]."""
    b = weight(config, model, span)
    if Q is None:
        y = batch.y[span.first : span.last, ...] if model.loss_at == "every" else batch.y
        l = model.score(W, h, y)
        return (l if b == 1.0 else l * b), None
    z = model.readout(W, h)
    xp = get_xp(Q)
    share = (1 - b) / (Q.shape[-1] if config.divergence == "code" else 1)
    target = b * one_hot(xp, batch.y, Q.shape[-1], Q.dtype) + share * Q
    return ops.sum(ops.log_softmax(z) * target) * (-1 / Q.shape[0]), z


def one_hot(xp: Any, y: Array, C: int, dtype: Any) -> Array:
    """y as probabilities [B, C]."""
    return xp.astype(y[:, None] == xp.arange(C, device=y.device)[None, :], dtype)


def called(config: PartLosses, model: Model) -> tuple[str, ...]:
    """The kernels that states and losses call: with a divergence, logits are met in plain array code."""
    scoring = model.head.kernels if kind_of(config, model) != "none" else ()
    return tuple(name for name in model.kernels if name not in scoring)


# --- Q ---


def fresh(config: PartLosses, model: Model, batch: Batch, like: Array) -> Estimate:
    """What is remembered before the first batch, in lists with an array a part.

    `Q`: class-mean [C, C], per-example [N, C]. `D`: code and per-example [C, C]. `sum` [C, C] and `count` [C]:
    class-mean, the P_hat of this pass by class, and how many they are.

    Args:
        config: the options.
        model: the network.
        batch: the first one.
        like: an array of the dtype and on the device wanted.

    Raises:
        InputError: as `kind_of`, or if the sequences of the data have no numbers and need some.
    """
    xp, C, P = get_xp(like), model.output_size, len(spans(batch.x.shape[0], config.parts))

    def everywhere(rows: int, value: float) -> list[Array]:
        return [xp.full((rows, C), value, dtype=like.dtype, device=like.device)] * P

    match kind_of(config, model):
        case "class-mean":
            count = xp.zeros((C,), dtype=like.dtype, device=like.device)
            return {"Q": everywhere(C, 1 / C), "sum": everywhere(C, 0.0), "count": [count] * P}
        case "code":
            return {"D": everywhere(C, 0.0)}
        case "per-example":
            if batch.of is None:
                raise InputError("divergence per-example is for data with an end, such as digits-pixels")
            return {"D": everywhere(C, 0.0), "Q": everywhere(batch.of, 1 / C)}
    return {}


def estimated(config: PartLosses, model: Model, kept: Estimate, batch: Batch, span: Span, passes: int) -> Array | None:
    """Q [B, C] of a part; None where there is no divergence. `passes`: those that are done."""
    xp, p, y, C = get_xp(batch.y), span.p, batch.y, model.output_size
    match kind_of(config, model):
        case "class-mean":
            return xp.take(kept["Q"][p], y, axis=0)
        case "code":
            D = kept["D"][p]
            if p >= config.parts - 1:
                return one_hot(xp, y, C, D.dtype)
            if passes < WARM_UP:
                return xp.full((y.shape[0], C), 1 / C, dtype=D.dtype, device=D.device)
            return xp.take(D, y, axis=0)
        case "per-example":
            return xp.take(kept["Q"][p], batch.rows, axis=0)
    return None


def told(
    config: PartLosses, model: Model, kept: Estimate, batch: Batch, span: Span, passes: int, z: Array | None
) -> Estimate:
    """What is remembered after a part that put out the logits z [B, C]; arguments as `estimated`."""
    if z is None:
        return kept
    xp, p, y = get_xp(z), span.p, batch.y
    P_hat = ops.softmax(z)
    match kind_of(config, model):
        case "class-mean":
            of_class = xp.matrix_transpose(one_hot(xp, y, z.shape[-1], z.dtype))
            total, count = kept["sum"][p] + of_class @ P_hat, kept["count"][p] + xp.sum(of_class, axis=1)
            kept = _replaced(kept, p, sum=total, count=count)
        case "code":
            kept = _replaced(kept, p, D=_mistaken(kept["D"][p], P_hat, y, xp.argmax(z, axis=-1) != y))
        case "per-example":
            wrong = xp.argmax(z, axis=-1) != y
            D = _mistaken(kept["D"][p], P_hat, y, wrong)
            kept = _replaced(kept, p, D=D)
            if passes % REFRESHED == 0:
                seen = xp.where(wrong[:, None], xp.take(D, y, axis=0), P_hat)
                kept = _replaced(kept, p, Q=_refreshed(kept["Q"][p], batch.rows, seen))
    return kept


def _refreshed(Q: Array, rows: Any, seen: Array) -> Array:
    """Q [N, C] with 0.6 Q + 0.4 `seen` [B, C] in its rows [B]; where one stands there several times, by their mean."""
    xp = get_xp(Q)
    change = (1 - KEPT) * (seen - xp.take(Q, rows, axis=0))
    often = scatter_add((Q.shape[0], 1), rows, xp.ones_like(change[:, :1]))
    return Q + scatter_add(Q.shape, rows, change / xp.take(often, rows, axis=0))


def _mistaken(D: Array, P_hat: Array, y: Array, wrong: Array) -> Array:
    """D [C, C] with the P_hat of the first sequence of each class that is wrong."""
    xp = get_xp(D)
    candidates = xp.matrix_transpose(one_hot(xp, y, D.shape[0], D.dtype)) * xp.astype(wrong, D.dtype)
    first = xp.take(P_hat, xp.argmax(candidates, axis=1), axis=0)
    return xp.where(xp.any(candidates > 0, axis=1)[:, None], first, D)


def turned(config: PartLosses, model: Model, kept: Estimate) -> Estimate:
    """What is remembered at the end of a pass: with class-mean, the means of this one are the Q of the next."""
    if kind_of(config, model) != "class-mean":
        return kept
    xp = get_xp(*kept["Q"])
    there = [(count > 0)[:, None] for count in kept["count"]]
    least = [xp.where(count > 0, count, xp.ones_like(count))[:, None] for count in kept["count"]]
    Q = [xp.where(t, s / n, q) for t, s, n, q in zip(there, kept["sum"], least, kept["Q"], strict=True)]
    return {"Q": Q, **{name: [xp.zeros_like(a) for a in kept[name]] for name in ("sum", "count")}}


def _replaced(kept: Estimate, p: int, **arrays: Array) -> Estimate:
    """What is remembered, with other arrays for part p."""
    return kept | {name: [*kept[name][:p], array, *kept[name][p + 1 :]] for name, array in arrays.items()}
