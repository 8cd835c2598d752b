"""What a run meets before its first iteration, met once for the points of a sweep before any of them trains.

A worker would find it too, but after other points have trained, and once for every seed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from experiments import record
from experiments.parallel.job import Job
from experiments.run import build, effect
from minigrad.errors import InputError
from minigrad.rng import stream


class Impossible(InputError):
    """A job cannot begin."""

    def __init__(self, number: int, why: str) -> None:
        super().__init__(why)
        self.number = number
        """Which of them."""


def require_possible(jobs: Sequence[Job]) -> None:
    """Begin every job and forget it.

    Jobs that differ in their Configs alone share a task and a network, and those that read the same data stand side by
    side: a process keeps few texts and images at a time, and a large network takes seconds to draw.

    Raises:
        Impossible: for one that cannot begin.
    """
    alike: dict[tuple[str, str], list[int]] = {}
    for number, job in enumerate(jobs):
        data = json.dumps([job.settings.task, job.settings.task_options], sort_keys=True)
        alike.setdefault((data, record.dump(replace(job.settings, seed=0))), []).append(number)
    for _, numbers in sorted(alike.items()):
        number = numbers[0]
        try:
            begin = _Beginning(jobs[number])
            for number in numbers:
                begin.of(jobs[number])
        except InputError as error:
            raise Impossible(number, str(error)) from None


class _Beginning:
    """What jobs of the same settings share, on the host: a GPU's memory is for the runs."""

    def __init__(self, job: Job) -> None:
        self.parts = build.assemble(replace(job.settings, device="cpu"), job.method, job.config)
        settings = self.parts.settings
        self.parts.task.batch(settings.seed, "train", 0, settings.batch_size, settings.dtype)
        self.rng = stream(settings.seed, "init")
        # An orthogonal matrix takes an SVD, minutes for a large network: for a trial, any other does.
        scheme = "normal" if settings.init == "orthogonal" else settings.init
        self.params = self.parts.model.init(self.rng, scheme, settings.dtype)

    def of(self, job: Job) -> None:
        """Make the State of a job, as `standing.initial_state` does."""
        parts = replace(self.parts, config=job.config)
        build.require_an_update(parts)
        state = parts.method.init(parts.config, parts.model, self.params, self.rng)
        effect.require_trained(parts.method, parts.config, state.params)
        self.params = state.params  # with those that a method has of its own: the next job need not draw them
