"""About how long a table takes on this machine if every run uses up its budget: arithmetic over the speed of a product.

Rough, and for a machine that has nothing else to do: runs take as many times longer as others keep its cores busy; runs
that solve their task early take less.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np

import algorithms
from algorithms.readouts import EXPERTS
from experiments.papers import entry as entries
from experiments.papers.entry import Cell, Entry, Preset
from experiments.parallel.job import Job
from experiments.run import build

SHARE = 0.4
"""Part of the peak of a matrix product that an iteration reaches."""

PER_ITERATION = 7e-4
"""Seconds that an iteration takes besides its arithmetic."""

START = 3.0
"""Seconds until processes have started and read their data."""

PER_RUN = 0.4
"""Seconds of a run before its first iteration and after its last one: a step on trial, checkpoints, log."""

RUNS = {"memory": 2, "change": 2}
"""Runs of a cell, by its measure: those that compare with another run."""

GATES = {"srn": 1, "antisymmetric": 2, "gru": 3, "gru-cho": 3, "lstm": 4}


@cache
def peak() -> float:
    """Floating point operations per second of one core, in float32, whatever else the machine does."""
    a = np.ones((384, 384), np.float32)
    a @ a
    best = 0.0
    for _ in range(5):
        began = time.process_time()
        for _ in range(10):
            a @ a
        best = max(best, 10 * 2 * 384**3 / (time.process_time() - began))
    return best


def about(entry: Entry, preset: Preset, cells: list[Cell], workers: int) -> float:
    """Seconds for cells of a table side by side, if every run uses up its budget; no less than its longest cell."""
    each = [_cell_seconds(entry, preset, cell) for cell in cells]
    return START + max(max(each), sum(each) / workers) if each else 0.0


def _cell_seconds(entry: Entry, preset: Preset, cell: Cell) -> float:
    job = entries.first_job(entry, preset, cell, {})
    if entry.plan().measure != "depth":
        return RUNS.get(entry.plan().measure, 1) * job_seconds(job)
    return _depth_seconds(entry, preset, cell, job)


def _depth_seconds(entry: Entry, preset: Preset, cell: Cell, job: Job) -> float:
    """All lengths up to ten more than the paper's longest in the row, or as far as the work allows.

    Work that is not quite spent allows for one more run, however long.
    """
    numbers = [v for v in entry.rows[entry.row_names().index(cell.row)] if isinstance(v, int)]
    work: float = {**entry.plan().options, **preset.options}.get("work", float("inf"))
    seconds = spent = 0.0
    for length in range(10, max(numbers) + 11, 10):
        at = replace(job, settings=replace(job.settings, length=length))
        seconds += job_seconds(at)
        spent += length * job.settings.max_iterations
        if spent > work:
            return seconds * work / spent + job_seconds(at)
    return seconds


def job_seconds(job: Job) -> float:
    """Seconds of a run that uses up its budget, checks included."""
    s = job.settings
    task = build.make_task(s)
    assert s.length is not None
    D, answers = (
        (s.embedding or s.hidden) if task.tokens else task.input_size,
        s.length if task.loss_at == "every" else 1,
    )
    sizes = [D, *[s.hidden] * (s.layers - 1), s.top or s.hidden]
    recurrent = s.length * sum(H * (below + H) for below, H in pairwise(sizes)) * GATES[s.cell]
    experts = (s.experts or EXPERTS) if s.readout == "mos" else 1
    forward = 2.0 * (recurrent + answers * experts * (D if s.readout == "mos" else sizes[-1]) * task.output_size)
    checks = max(1.0, s.max_iterations / build.first_check(s))  # the last iteration is checked anyway
    trained = algorithms.method(job.method).forward_passes(job.config) * s.batch_size * s.max_iterations
    operations = forward * (trained + checks * min(s.validate_size, 10_000))
    steps = s.max_iterations * max(1, getattr(job.config, "parts", 1))
    return PER_RUN + operations / (SHARE * peak()) + steps * PER_ITERATION
