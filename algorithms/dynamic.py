"""Dynamic evaluation of a language model (Krause et al. 2018): the parameters go on learning while a text is scored,
from each window of it once that has its score, so that the model adapts to what it has just read.

A pass through the training text, at the trained parameters W_0, finds how large the gradients of each parameter are:

    MS = sqrt(sum_k g_k^2)            g_k = dl/dW of window k, l the mean loss of its tokens
    Z  = sum over arrays of mean(MS)
    d  = min(MS / Z, 1 / lambda)

The text to be scored is then gone through from its beginning, in windows of some tokens each, W = W_0 at first:

    l_k                               what the score is made of, before anything is learned from window k
    W <- W + lambda d (W_0 - W) - lr g_k / (MS + eps)

The state is carried from window to window. The score is the mean of l_k, each counted as often as window k has tokens;
the perplexity is its exponential.

This is the form of the code that Kag & Saligrama use, with its constants (`statistic` sum). In the code that Krause et
al. released later MS is the root of the mean over windows, as in their paper, and Z a mean over arrays (`statistic`
mean). With K windows and n arrays the two are the same where lr and eps of the second are those of the first over
sqrt(K), and lambda is over n; the later code's own constants are lr 5e-5, lambda 0.002, eps 2e-5.

Source: Krause, Kahembwe, Murray & Renals 2018, Dynamic evaluation of neural sequence models, and their released code;
Kag & Saligrama 2021, released code.

Legend: T steps of a window, B streams side by side, S numbers in a state; h states [T, B, S], `root` MS, `decay` d.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from algorithms.model import Model
from algorithms.protocol import Batch, above_zero, at_least_zero, initial_state, last_state
from minigrad.backend import Array, Params, get_xp, numbers
from minigrad.tape import Tape


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of dynamic evaluation."""

    lr: float = 0.002
    """Learning rate, >= 0."""
    lam: float = 0.02
    """Rate of the decay towards the trained parameters (lambda, >= 0)."""
    eps: float = 0.001
    """Added to the root of the squared gradients, > 0."""
    window: int = 5
    """Tokens of a window, >= 1."""
    statistics_batch: int = 100
    """Streams in which the pass through the training text goes, >= 1."""
    statistic: Literal["sum", "mean"] = "sum"
    """Whether squared gradients are added up over windows, and means of arrays in Z, or the mean is taken of both."""

    def __post_init__(self) -> None:
        at_least_zero(self, "lr", "lam")
        above_zero(self, "eps", "window", "statistics_batch")


@dataclass(frozen=True)
class Statistics:
    """What the pass through the training text finds, for each parameter."""

    root: Params
    """MS."""
    decay: Params
    """d, at most 1 / lambda."""


@dataclass(frozen=True)
class Score:
    """What a window costs."""

    loss: float
    """l_k, nats a token."""
    tokens: int


def statistics(config: Config, model: Model, params: Params, batches: Iterable[Batch]) -> Statistics:
    """MS and d.

    Args:
        config: the options.
        model: a network that can `unroll` and `score`; no dropout.
        params: the trained parameters W_0.
        batches: windows of the training text in its order, ids [T, B].
    """
    squares = {name: get_xp(p).zeros_like(p) for name, p in params.items()}
    carry: Array | None = None
    windows = 0
    for batch in batches:
        _, g, carry = gradient(model, params, batch, carry)
        squares = {name: squares[name] + g[name] * g[name] for name in squares}
        windows += 1
    K, n = (max(windows, 1), len(params)) if config.statistic == "mean" else (1, 1)
    root = {name: get_xp(s).sqrt(s / K) for name, s in squares.items()}
    Z = sum(numbers([get_xp(r).mean(r) for r in root.values()])) / n
    if Z == 0:  # no gradient at all: nothing is pulled anywhere
        return Statistics(root, root)
    return Statistics(root, {name: _at_most(r / Z, config.lam) for name, r in root.items()})


def _at_most(d: Array, lam: float) -> Array:
    """min(d, 1 / lambda)."""
    return get_xp(d).minimum(d, 1 / lam) if lam > 0 else d


def dynamic(
    config: Config, model: Model, params: Params, found: Statistics, batches: Iterable[Batch]
) -> Iterator[Score]:
    """The scores of successive windows, the parameters moving after each.

    Args:
        config: the options.
        model: as in `statistics`.
        params: the trained parameters W_0, which stay as they are.
        found: of the pass through the training text.
        batches: windows of the text in its order, ids [T, B]; B is 1 in paper and released code.
    """
    W = params
    pull = {name: config.lam * d for name, d in found.decay.items()}
    push = {name: config.lr / (root + config.eps) for name, root in found.root.items()}
    carry: Array | None = None
    for batch in batches:
        l, g, carry = gradient(model, W, batch, carry)
        yield Score(float(l), batch.y.shape[0] * batch.y.shape[1])
        W = {name: w + pull[name] * (params[name] - w) - push[name] * g[name] for name, w in W.items()}


def static(model: Model, params: Params, batches: Iterable[Batch]) -> Iterator[Score]:
    """The scores of the same windows at W_0."""
    carry: Array | None = None
    for batch in batches:
        h = model.unroll(params, batch.x, initial_state(model, params, batch, carry))
        carry = last_state(h)
        yield Score(float(model.score(params, h, batch.y)), batch.y.shape[0] * batch.y.shape[1])


def gradient(model: Model, W: Params, batch: Batch, carry: Array | None) -> tuple[Array, Params, Array]:
    """l, dl/dW and the state in which a window ends, from the one in which the window before did."""
    h0 = initial_state(model, W, batch, carry)
    with Tape() as tape:
        w = tape.watch(W)
        h = model.unroll(w, batch.x, h0)
        l = model.score(w, h, batch.y)
    return l.value, tape.gradient(l, w), last_state(h.value)


def mean(scores: Iterable[Score]) -> float:
    """Nats a token: the mean of l_k, each counted as often as its window has tokens."""
    total, tokens = 0.0, 0
    for score in scores:
        total, tokens = total + score.loss * score.tokens, tokens + score.tokens
    return total / tokens
