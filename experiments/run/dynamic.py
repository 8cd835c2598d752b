"""Dynamic evaluation of a run on a text, see `algorithms.dynamic`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from algorithms import dynamic
from algorithms.dynamic import Config, Score
from experiments.run import checks
from experiments.run.build import Parts
from experiments.run.progress import Display
from minigrad.backend import Params
from minigrad.errors import InputError

if TYPE_CHECKING:
    from datasets.task import Batch, Split, Task
    from datasets.text import Text

T = TypeVar("T")

REFRESH = 0.1
"""Seconds between two calls of a display's `progress`, at least."""


def score(
    config: Config, parts: Parts, params: Params, split: Split, size: int, run: Path, display: Display
) -> dict[str, Any]:
    """Score a text while the network goes on learning from it, and, beside it, while it does not.

    Args:
        config: the options.
        parts: of the run.
        params: its parameters.
        split: the text to score; that of training gives the statistics.
        size: windows of it to score, at most.
        run: the run directory, to be named.
        display: where to tell how it goes.

    Returns:
        sequences (windows scored), of (windows there are), nll (nats a token), static (the same of the same windows,
        the parameters staying as they are).

    Raises:
        InputError: if the task is no text, the text of training is too short for the statistics, or the parameters run
            away.
    """
    text, streams = in_windows(parts.task, config.window), config.statistics_batch
    model: Any = parts.model
    parts = replace(parts, task=text)
    windows, there = text.batches("train", streams), text.batches(split, 1)
    size = min(size, there)

    def told(items: Iterable[T], what: str, count: int, width: int, cost: Callable[[T], float]) -> Iterator[T]:
        facts = {"pass": what, "max_iterations": count, "tokens": width * config.window}
        display.started(run, facts)
        return _told(items, count, cost, display)

    with np.errstate(all="ignore"):  # what is not finite is looked for
        training = _batches(parts, "train", streams, windows)
        training = told(training, "statistics of the training text", windows, streams, lambda batch: math.nan)
        found = dynamic.statistics(config, model, params, training)
        fixed, moving = tee(_batches(parts, split, 1, size))
        pairs = zip(
            dynamic.static(model, params, fixed), dynamic.dynamic(config, model, params, found, moving), strict=True
        )
        scores = list(told(_kept_within(pairs), f"scores of the {split} text", size, 1, _Mean()))
    nll, static = (dynamic.mean(pair[which] for pair in scores) for which in (1, 0))
    return {"sequences": size, "of": there, "nll": nll, "static": static}


def in_windows(task: Task, length: int) -> Text:
    """A text in windows of some tokens, whatever those of training were.

    Raises:
        InputError: if the task is none.
    """
    from datasets.text import Text

    if not isinstance(task, Text):
        raise InputError(f"dynamic evaluation goes on learning from a text, {task.name} is none: leave --dynamic out")
    return replace(task, length=length, layout="streams", windows="fixed")


def _batches(parts: Parts, split: Split, streams: int, count: int) -> Iterator[Batch]:
    """The first so many windows of a text."""
    for number in range(count):
        yield checks.batch_on_device(parts, split, number, streams)


def _told(items: Iterable[T], count: int, cost: Callable[[T], float], display: Display) -> Iterator[T]:
    """The items, of which there are `count`, each told of once it was dealt with, but not too often."""
    began = shown = time.perf_counter()
    try:
        for number, item in enumerate(items, 1):
            yield item
            mean, now = cost(item), time.perf_counter()
            if now - shown >= REFRESH or number == count:
                shown, speed = now, number / max(now - began, 1e-9)
                display.progress(number, mean, mean, speed, (count - number) / speed)
    finally:
        display.finished()


def _kept_within(pairs: Iterable[tuple[Score, Score]]) -> Iterator[tuple[Score, Score]]:
    """The scores of windows, the parameters staying and moving.

    Raises:
        InputError: once those that move have run away.
    """
    tokens = 0
    for static, moved in pairs:
        if math.isfinite(static.loss) and not math.isfinite(moved.loss):
            raise InputError(
                f"after {tokens:,} tokens the parameters have run away (cost {moved.loss}): take a smaller --lr"
            )
        yield static, moved
        tokens += moved.tokens


class _Mean:
    """Nats a token of the windows so far, the parameters moving."""

    def __init__(self) -> None:
        self.total, self.tokens = 0.0, 0

    def __call__(self, pair: tuple[Score, Score]) -> float:
        _, moved = pair
        self.total, self.tokens = self.total + moved.loss * moved.tokens, self.tokens + moved.tokens
        return self.total / self.tokens
