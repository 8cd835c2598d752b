"""Windows of a text that vary in length, so that gradients are not cut at the same tokens in every pass.

The lengths follow from the seed and the number of the pass alone:

    base = T with probability 0.95, else T/2;   length = max(5, int(N(base, 5))), at most T + 40

The last window ends where the text does, and where fewer than 5 tokens of it would be left to a window of their own,
the one before it takes them too: nothing is dropped, and no window is shorter than 5. (The released code drops a last
token that is left alone, and makes a window of 2, 3 or 4.)

Source: Merity et al. 2018, Regularizing and optimizing LSTM language models, section 4.1; Kag & Saligrama 2021,
released code (the bound T + 40 is that for words).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from datasets.common import Ids, frozen
from minigrad.rng import stream

SHORTEST = 5
"""Tokens that a variable window holds at least."""

SPREAD = 5.0
"""Standard deviation of its length."""

BEYOND = 40
"""Tokens by which its length may be drawn above T: eight standard deviations, more a bound on memory than a rule."""

_DRAWN = 1024
"""Lengths that are drawn at once."""


@lru_cache(maxsize=4)
def ends(seed: int, epoch: int, T: int, rows: int) -> Ids:
    """Where the windows of a pass end in streams of so many rows, [windows], the last one at `rows`."""
    rng = stream(seed, "task", "text", "windows", T, epoch)
    drawn: list[Ids] = []
    covered = 0
    while covered < rows:
        base = np.where(rng.random(_DRAWN) < 0.95, T, T / 2)
        drawn.append(np.clip(rng.normal(base, SPREAD).astype(np.int64), SHORTEST, T + BEYOND))
        covered += int(drawn[-1].sum())
    drawn_ends = np.cumsum(np.concatenate(drawn))
    return frozen(np.append(drawn_ends[drawn_ends <= rows - SHORTEST], rows))


@lru_cache(maxsize=32)
def firsts(seed: int, epochs: int, T: int, rows: int) -> Ids:
    """Number of the first batch of each pass, and of the one after the last, [epochs + 1]."""
    counts = [len(ends(seed, epoch, T, rows)) for epoch in range(epochs)]
    return frozen(np.cumsum([0, *counts]))


def located(seed: int, index: int, T: int, rows: int) -> tuple[Ids, int]:
    """The ends of the windows of the pass that batch `index` falls into, and its number there.

    The tables of passes double until one reaches far enough: each is a pure function, and all of them together are
    little more work than the last.
    """
    epoch = passes(seed, index, T, rows)
    return ends(seed, epoch, T, rows), index - int(_firsts_beyond(seed, index, T, rows)[epoch])


def passes(seed: int, index: int, T: int, rows: int) -> int:
    """Passes that end before batch `index`: the number of its own."""
    return int(np.searchsorted(_firsts_beyond(seed, index, T, rows), index, side="right")) - 1


def _firsts_beyond(seed: int, index: int, T: int, rows: int) -> Ids:
    """A table of first batches that reaches beyond batch `index`."""
    epochs = 1
    while (table := firsts(seed, epochs, T, rows))[-1] <= index:
        epochs *= 2
    return table
