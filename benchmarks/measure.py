"""Agreement first, then time: contestants in turn, in one process, medians over the rounds."""

from __future__ import annotations

import gc
import itertools
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks import threads
from benchmarks.contestant import Arrays, Table
from benchmarks.inputs import INPUTS
from benchmarks.rows import Row

OURS = "ours"
BUDGET = 3.0
"""Seconds that a row may take, all contestants together."""
LEAST_ROUNDS = 5
SLOT = 0.005
"""Seconds of a contestant's turn that are timed: as many calls in a row as fit, at least one."""
LONG = 0.1
"""Seconds from which on a call fills the caches itself; a turn of shorter ones begins with a call that is not timed."""
SETTLE = 0.15
"""Seconds of calls that are not timed at the beginning of a turn where there are several threads: OpenBLAS keeps idle
ones spinning for 0.1 s, on cores that then belong to another contestant."""
VANISHED = 1e-30
"""What is smaller counts as zero, which our kernels make of such gradients."""


@dataclass(frozen=True)
class Times:
    """What was measured of one contestant."""

    seconds: list[float]
    """A call's, one entry a round."""
    calls: int
    """How many there are in a round."""

    @property
    def median(self) -> float:
        """Seconds a call."""
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Seconds a call: the first and the third quartile."""
        return quartiles(self.seconds)


@dataclass(frozen=True)
class Measured:
    """A row and what came of it."""

    row: Row
    times: Mapping[str, Times]
    """By contestant; a peer that computes something else has none."""
    differences: Mapping[str, float]
    """By peer: the largest difference from our numbers, as a part of what is tolerated (1: just tolerated)."""
    errors: dict[str, str] = field(default_factory=dict)
    """By peer: in what it computes something else."""
    others: float = math.nan
    """Part of the time of our cores that other processes had; NaN: not known."""


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """The first and the third one, of one value or more."""
    if len(values) == 1:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third


def measure(
    row: Row, contestants: Mapping[str, Table], runs: int | None, settle: float = 0.0, budget: float = BUDGET
) -> Measured:
    """Compare the numbers of all contestants with ours, then the times of those that agree.

    Args:
        row: what to measure.
        contestants: ours and peers; those that the row does not know are left out.
        runs: rounds; None: as many as fit into the budget, at least five.
        settle: seconds of calls at the beginning of each turn that are not timed.
        budget: seconds for all rounds together.
    """
    inputs = INPUTS[row.work](row.sizes)
    jobs = {name: table[row.work](inputs) for name, table in contestants.items() if name == OURS or name in row.peers}
    answers = {name: job.answer(job.call()) for name, job in jobs.items()}
    ours = answers.pop(OURS)
    worst = {peer: compare(row, ours, theirs) for peer, theirs in answers.items()}
    errors = {
        peer: f"{name} differs by {gap:.2g} of what is tolerated" for peer, (name, gap) in worst.items() if not gap <= 1
    }
    calls = {name: job.call for name, job in jobs.items() if name not in errors}
    differences = {peer: gap for peer, (_, gap) in worst.items()}
    start, used, worked = time.perf_counter(), time.process_time(), threads.worked()
    times = interleaved(calls, runs, settle, budget)
    others = (threads.worked() - worked) - (time.process_time() - used)
    share = others / (threads.available() * (time.perf_counter() - start))
    return Measured(row, times, differences, errors, max(share, 0.0))


def compare(row: Row, ours: Arrays, theirs: Arrays) -> tuple[str, float]:
    """The array that differs most and its largest difference, as a part of what the row tolerates (infinite: NaN, an
    array missing, another shape)."""
    if ours.keys() != theirs.keys():
        return ", ".join(sorted(ours.keys() ^ theirs.keys())), np.inf
    gaps = {name: _gap(ours[name], theirs[name]) / row.loose.get(name, row.tolerance) for name in ours}
    worst = max(gaps, key=lambda name: gaps[name])
    return worst, gaps[worst]


def _gap(a: Any, b: Any) -> float:
    """The largest difference of two arrays, as a part of the largest element."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        return np.inf
    largest, scale = np.max(np.abs(a - b)), np.max(np.abs(a))
    if largest < VANISHED:
        return 0.0
    return float(largest / scale) if scale > 0 and np.isfinite(largest) else np.inf


def interleaved(
    calls: Mapping[str, Callable[[], Any]], runs: int | None, settle: float = 0.0, budget: float = BUDGET
) -> dict[str, Times]:
    """Time several functions in turn, another one first in every round.

    Args:
        calls: what to time, each called once before.
        runs: rounds; None: as many as fit into the budget, at least five.
        settle: seconds of calls at the beginning of each turn that are not timed.
        budget: seconds for all rounds together.
    """
    # What is alive now is none of the garbage of the functions: the collector need not look at all of it every time.
    gc.collect()
    gc.freeze()
    once = {name: _seconds(call, 1) for name, call in calls.items()}
    repeats = {name: max(1, int(SLOT / max(once[name], 1e-9))) for name in calls}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    start, names = time.perf_counter(), list(calls)
    for number in itertools.count():
        if number >= (runs or LEAST_ROUNDS) and (runs or time.perf_counter() - start > budget):
            break
        first = number % len(names)
        for name in names[first:] + names[:first]:
            if settle or once[name] < LONG:
                _warm(calls[name], settle)
            seconds[name].append(_seconds(calls[name], repeats[name]))
    gc.unfreeze()
    return {name: Times(seconds[name], repeats[name]) for name in names}


def _warm(call: Callable[[], Any], seconds: float) -> None:
    """Call for so long, at least once."""
    start = time.perf_counter()
    call()
    while time.perf_counter() - start < seconds:
        call()


def _seconds(call: Callable[[], Any], repeats: int) -> float:
    """The mean time of so many calls."""
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def peak(threads: int, repeats: int = 10, size: int = 1024) -> float:
    """FLOP/s of float32 matrix products [size, size] x [size, size] of NumPy's, one a thread: the best of several."""
    a = np.full((size, size), 0.5, np.float32)
    with ThreadPoolExecutor(threads) as pool:
        best = min(_seconds(lambda: list(pool.map(a.__matmul__, [a] * threads)), 1) for _ in range(repeats + 1))
    return threads * 2 * size**3 / best
