"""Many runs in one process, an iteration of all of them at a time.

On a GPU an iteration of runs whose operations are the same is one step of their method (`algorithms.population`); on a
CPU each run takes its own in a thread, to the same bits as alone. Everything around a step is each run's own, by the
code that serves a run alone: directory, log, checks, checkpoints, end. A run that ends leaves the others behind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from algorithms.population import Draws, joined, parted
from experiments import record
from experiments.interrupts import Interrupts
from experiments.run import build, checks
from experiments.run.progress import Display
from experiments.run.result import Result
from experiments.run.standing import Standing
from experiments.run.training import Ready, Training
from minigrad import devices
from minigrad.backend import Array, get_xp, to_numpy
from minigrad.errors import InputError
from minigrad.population import Population
from minigrad.rng import stream


@dataclass(frozen=True)
class Wish:
    """A run to be trained among others."""

    open: Callable[[Display], AbstractContextManager[Ready | Result]]
    """`loop.new` or `loop.again`, with their arguments."""
    until: int | None
    """Iteration at which to pause (None: train to the end)."""
    display: Display
    done: Callable[[Result], None]
    """Called with its result."""
    refused: Callable[[str], None]
    """Called with the reason, where it cannot be trained."""


@dataclass
class _Member:
    """A run in training."""

    wish: Wish
    ready: Ready
    at: Standing
    stack: ExitStack

    @cached_property
    def training(self) -> Training:
        """Begun when its group's turn has come, for its time counts from then on."""
        return Training(self.ready, self.wish.display, self.stack)

    @property
    def on_cpu(self) -> bool:
        """Whether it computes on the host."""
        return self.ready.parts.settings.device == "cpu"

    @property
    def kind(self) -> str:
        """What runs that can be stepped together have in common; on a CPU, where each takes its own step, nothing."""
        if self.on_cpu:
            return "cpu"
        parts = self.ready.parts
        settings = record.plain(replace(parts.settings, seed=0))
        what = [self.at.counters.iteration, parts.method.name, _choices(record.plain(parts.config)), settings]
        return record.dump({"kind": what})


Failures = list[tuple[_Member, Exception]]
"""Runs that could not go on, and why."""

FAULTS = InputError, OSError, MemoryError
"""What ends a run without a result: the fault of what was asked for, or of the machine."""


def train(wishes: Sequence[Wish]) -> None:
    """Train runs side by side; how each went is said to its wish."""
    with ExitStack() as stack, Interrupts() as interrupts, np.errstate(all="ignore"):
        members = [member for wish in wishes if (member := _opened(wish, stack)) is not None]
        groups: dict[str, list[_Member]] = {}
        for member in members:
            groups.setdefault(member.kind, []).append(member)
        for group in groups.values():
            _Group(group, interrupts).train()


def _opened(wish: Wish, stack: ExitStack) -> _Member | None:
    """A run whose directory is ours, if there is anything left to train."""
    own = stack.enter_context(ExitStack())
    try:
        ready = own.enter_context(wish.open(wish.display))
        if isinstance(ready, Ready):
            return _Member(wish, ready, ready.begin, own)
    except FAULTS as error:
        own.close()
        wish.refused(str(error) or type(error).__name__)
    else:
        own.close()
        wish.done(ready)
    return None


class _Group:
    """Runs that are stepped together."""

    def __init__(self, members: list[_Member], interrupts: Interrupts) -> None:
        self.members, self.interrupts = members, interrupts

    def train(self) -> None:
        """Until each has ended."""
        devices.use(self.members[0].ready.parts.settings.device)  # the one opened last may compute on another
        for member in self.members:
            member.training.started(member.at)
        with ThreadPoolExecutor(len(self.members)) as pool:
            together = _InThreads(pool) if self.members[0].on_cpu else _AsOne()
            while self.remaining():
                steps = _alone if len(self.members) == 1 else together
                for member, error in steps(self.members, self.interrupts.requested):
                    self.members.remove(member)
                    member.stack.close()
                    member.wish.refused(str(error) or type(error).__name__)

    def remaining(self) -> bool:
        """Take leave of those that have ended; whether any are left."""
        left = []
        for member in self.members:
            end = member.training.ended(member.at, member.wish.until, self.interrupts.requested)
            if end is None:
                left.append(member)
                continue
            result = member.training.conclude(end, draw=False)
            member.stack.close()
            member.wish.done(result)
        self.members = left
        return bool(left)


def _alone(members: Sequence[_Member], soon: bool) -> Failures:
    """One iteration of the only run there is."""
    (member,) = members
    try:
        member.at = member.training.iterate(member.at)
    except FAULTS as error:
        return [(member, error)]
    return []


class _InThreads:
    """Every run takes a step of its own."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.pool = pool

    def __call__(self, members: Sequence[_Member], soon: bool) -> Failures:
        """One iteration of each."""
        return [failure for failures in self.pool.map(self._one, members) for failure in failures]

    @staticmethod
    def _one(member: _Member) -> Failures:
        with np.errstate(all="ignore"):  # holds for a thread
            return _alone([member], soon=False)


class _AsOne:
    """One step for all runs. What is due after it is done for each when something is to be written down."""

    def __init__(self) -> None:
        self.members: list[_Member] = []
        self.config: Any = None
        self.state: Any = None

    def __call__(self, members: Sequence[_Member], soon: bool) -> Failures:
        """Iterations up to one after which something is due; to the next one, where they are to stop soon."""
        try:
            self.iterate(members, soon)
        except (*FAULTS, TypeError) as error:  # a TypeError where runs do not agree on what to do
            return [(member, error) for member in members]
        return []

    def iterate(self, members: Sequence[_Member], soon: bool) -> None:
        """The same; what cannot be done is raised."""
        if self.members != list(members):
            self.members = list(members)
            self.config = joined([member.ready.parts.config for member in members])
            self.state = joined([member.at.state for member in members])
        begun, losses = members[0].at.counters.iteration, list[Array]()
        while True:
            number = begun + len(losses) + 1
            state, info, batch = self.step(number)
            losses.append(info.loss)
            if soon or any(members[0].training.due(number, batch)) or any(m.wish.until == number for m in members):
                break
            self.state = state
        self.settle(state, info, batch, _on_host(losses))

    def step(self, number: int) -> tuple[Any, Any, Any]:
        """The step of iteration `number`: the state after it, what it computed, its batch."""
        parts = self.members[0].ready.parts
        index = number - 1 + build.first_index(parts.settings, parts.task)
        seeds = [member.ready.parts.settings.seed for member in self.members]
        own = {m.ready.parts.settings.seed: m.ready.parts for m in self.members}
        drawn = {
            seed: checks.batch_on_device(own[seed], "train", index, parts.settings.batch_size) for seed in own
        }  # runs of one seed train on the same
        batch = joined([drawn[seed] for seed in seeds])
        draws = Draws([stream(seed, "step", number) for seed in seeds])
        state, info = parts.method.step(self.config, parts.model, self.state, batch, draws)
        return state, info, batch

    def settle(self, state: Any, info: Any, batch: Any, losses: Any) -> None:
        """What is due for each run after the last of some iterations.

        Args:
            state: after it.
            info: of it.
            batch: of it.
            losses: of all of them, on the host, [iterations, R].
        """
        R = len(self.members)
        seen = replace(info, loss=losses[-1], grads=_fetched(info.grads), bounded=_fetched(info.bounded))
        each = zip(parted(self.state, R), parted(state, R), parted(seen, R), parted(batch, R), strict=True)
        for r, (member, (before, after, its_info, its_batch)) in enumerate(zip(self.members, each, strict=True)):
            training, counters = member.training, member.at.counters.after(len(losses) - 1, [])
            training.pending.losses.extend(losses[:-1, r])
            its_info = replace(its_info, loss=losses[-1, r])
            member.at = training.settle(Standing(before, counters), after, its_info, its_batch)
        self.state = joined([member.at.state for member in self.members])


def _choices(config: Any) -> Any:
    """A Config without the numbers that may differ between runs; zero is a choice: it leaves something out."""
    if isinstance(config, dict):
        return {name: _choices(value) for name, value in config.items()}
    if isinstance(config, list):
        return [_choices(value) for value in config]
    return "a number" if isinstance(config, float) and config and math.isfinite(config) else config


def _on_host(losses: Sequence[Population]) -> Any:
    """[iterations, R], in one transfer."""
    return to_numpy(get_xp(losses[0].data).stack([loss.data for loss in losses]))


def _fetched(arrays: dict[str, Population]) -> dict[str, Population]:
    """The same on the host, a transfer for each."""
    return {name: Population(to_numpy(array)) for name, array in arrays.items()}
