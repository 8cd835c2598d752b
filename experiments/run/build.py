"""From names and settings to the pieces that a run is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from datasets import originals
from datasets.task import Finite, Windowed
from experiments import record
from experiments.run.settings import Settings
from minigrad import devices
from minigrad.backend import Array, Params
from minigrad.errors import InputError

if TYPE_CHECKING:
    from algorithms.protocol import Method
    from datasets.task import Task


class Network(Protocol):
    """What the loop asks of a model; a method may ask for more."""

    def init(self, rng: np.random.Generator, scheme: Any, dtype: str) -> Params:
        """Fresh parameters, host arrays."""

    def output(self, p: Params, x: Array) -> Array:
        """What is scored: [B, O], or [T, B, O] where the loss is at every step."""

    def initial_state(self, p: Params, batch_size: int) -> Array:
        """h_0 [B, S]; this one and those below are asked for by texts alone."""

    def unroll(self, p: Params, x: Array, h0: Array) -> Array:
        """States [T, B, S]."""

    def readout(self, p: Params, h: Array) -> Array:
        """Outputs [T, B, O] of states."""


@dataclass(frozen=True)
class Parts:
    """Everything that a run is made of."""

    settings: Settings
    """With the length that the task has."""
    method: Method
    config: Any
    """The method's Config."""
    task: Task
    model: Network


Assemble = Callable[[Settings, str, Any], Parts]
"""assemble(settings, method name, Config | its fields | None for the defaults) -> Parts."""


def make_task(settings: Settings) -> Task:
    """The task that the settings name.

    Raises:
        InputError: if there is no such task, or not at this length or with these options.
    """
    from datasets import registry

    return registry.make(settings.task, settings.length, settings.data_dir, **settings.task_options)


def make_model(settings: Settings, task: Task) -> Any:
    """The network of the settings, with inputs, outputs and loss of the task."""
    from algorithms.dropout import Dropout
    from algorithms.model import Model

    return Model.make(
        cell=settings.cell,
        activation=settings.activation,
        input_size=task.input_size,
        hidden=settings.hidden,
        layers=settings.layers,
        top=settings.top,
        output_size=task.output_size,
        loss=task.loss,
        loss_at=task.loss_at,
        tokens=task.tokens,
        embedding=settings.embedding,
        readout=settings.readout,
        readout_width=settings.readout_width,
        experts=settings.experts,
        dropout=Dropout(**settings.dropout),
        ar=settings.ar,
        tar=settings.tar,
    )


@dataclass(frozen=True)
class Plan:
    """What a run is to be, all that is left open decided; no data were needed for it, but to count epochs."""

    settings: Settings
    method: Method
    config: Any
    """The method's Config."""
    task: Task


def planned(settings: Settings, method_name: str, config: Any = None) -> Plan:
    """A plan from names and settings, with the arguments and refusals of `assemble`."""
    import algorithms

    method = algorithms.method(method_name)
    devices.check(settings.device)
    _trainable(settings, method)
    if method.blocks:
        settings = replace(settings, task_options=_in_blocks(settings, method))
    task = make_task(settings)
    settings = replace(_counted(settings, task), length=task.length)
    config = config_of(method, config)
    _check_ends(config, task)
    _check_length(config, method, task)
    return Plan(settings, method, config, task)


def assemble(settings: Settings, method_name: str, config: Any = None) -> Parts:
    """All parts of a run; its device becomes the one on which this thread computes.

    Args:
        settings: task, network and budget.
        method_name: as the registry knows it.
        config: the method's Config, its fields as JSON holds them, or None for the method's defaults.

    Raises:
        InputError: if something does not exist or does not fit, or a file of data is damaged.
    """
    plan = planned(settings, method_name, config)
    devices.use(plan.settings.device)
    originals.require_whole(plan.task)
    return Parts(plan.settings, plan.method, plan.config, plan.task, make_model(plan.settings, plan.task))


def require_an_update(parts: Parts) -> None:
    """Refuse a budget that ends before the method first moves the parameters.

    Raises:
        InputError: naming the iteration with which it does.
    """
    task, settings, name = parts.task, parts.settings, parts.method.name

    def end_of(passes: int) -> float:
        if not isinstance(task, Finite):
            return math.inf
        return task.batches_of(settings.seed, passes, settings.batch_size) - first_index(settings, task)

    first = parts.method.first_update(parts.config, end_of)
    if settings.max_iterations >= first:
        return
    if first == math.inf:
        raise InputError(
            f"{name} with these options moves the parameters at the end of a pass through the data, and {task.name} "
            "has none: use other options, or a text or images"
        )
    known, instead = "", ""
    if isinstance(task, Finite):
        known = f", and a pass through the data takes {task.batches_of(settings.seed, 1, settings.batch_size):,}"
        instead = f", or --epochs {next(passes for passes in count(1) if end_of(passes) >= first)}"
    raise InputError(
        f"{settings.max_iterations:,} iterations make no update: {name} first moves the parameters in iteration "
        f"{first:,}{known}: use --max-iterations {first} or more{instead}"
    )


def _trainable(settings: Settings, method: Method) -> None:
    """Raise InputError for a network, or a way to train one, that cannot be or that the method knows nothing of."""
    import algorithms
    from algorithms.dropout import Dropout
    from algorithms.model import check_penalties
    from algorithms.protocol import check_layout

    Dropout(**settings.dropout)  # refused before data are looked for
    check_penalties(ar=settings.ar, tar=settings.tar)
    if settings.readout not in method.readouts:
        raise InputError(f"{method.name} is defined for readout {' or '.join(method.readouts)}, not {settings.readout}")
    if settings.noise and not method.draws:
        others = " or ".join(name for name in algorithms.names() if algorithms.method(name).draws)
        raise InputError(
            f"{method.name} trains the network as it is: leave out {', '.join(settings.noise)}, or take {others}"
        )
    check_layout(bool(settings.noise), settings.task_options.get("layout") == "blocks")


def _in_blocks(settings: Settings, method: Method) -> dict[str, str]:
    """The options of a text laid out in blocks, for a method that knows no other layout."""
    from datasets import registry

    if not registry.has_option(settings.task, "layout"):
        raise InputError(f"{method.name} needs a text, such as sample-char or ptb-word: {settings.task} is none")
    if settings.task_options.get("layout", "blocks") != "blocks":
        raise InputError(f"{method.name} needs the text in blocks: leave the option layout out")
    return {**settings.task_options, "layout": "blocks"}


def _counted(settings: Settings, task: Task) -> Settings:
    """With the iterations that its epochs come to."""
    if settings.epochs is None:
        if not settings.validate_every and not isinstance(task, Finite):
            raise InputError(
                f"validate_every 0 is a check after each pass through the data, those of {task.name} have no end: "
                "give a number of iterations"
            )
        return settings
    if not isinstance(task, Finite):
        raise InputError(f"epochs are passes through the data, those of {task.name} have no end: use --max-iterations")
    originals.require_whole(task)
    batches = task.batches_of(settings.seed, settings.epochs, settings.batch_size)
    # Passes of one length have always been written down as that length, by which finished runs are found again.
    every = task.batches_of_each(settings.batch_size) if isinstance(task, Windowed) else None
    return replace(settings, epochs=None, max_iterations=batches, validate_every=every or 0)


def _check_ends(config: Any, task: Task) -> None:
    """Raise InputError if the Config speaks of passes through data that have no end, or of what is met again there."""
    if isinstance(task, Finite):
        return
    if named := [name for name in ("decay_at", "pass_end") if getattr(config, name, None)]:
        raise InputError(f"{named[0]} is about passes through the data, those of {task.name} have no end: leave it out")
    if getattr(config, "divergence", None) == "per-example":
        raise InputError(
            f"divergence per-example is for sequences that are met again, those of {task.name} are not: use class-mean"
        )


def _check_length(config: Any, method: Method, task: Task) -> None:
    """Raise InputError if the shortest sequences are too short for the Config: it might show late in a run."""
    least, there = method.least(config), task.shortest if isinstance(task, Windowed) else task.length
    if least > there:
        which = "variable windows" if there < task.length else "sequences"
        raise InputError(
            f"{method.name} with {least} parts needs as many steps, {which} of {task.name} may have {there}: take "
            "fewer parts"
        )


def first_index(settings: Settings, task: Task) -> int:
    """Number of the batch that the first iteration trains on.

    A text is read from its first window on, and what is checked pass by pass begins where a pass does; otherwise, where
    it is all the same which of what is drawn comes first, runs have always begun with number 1.
    """
    return 0 if task.streams is not None or not settings.validate_every else 1


def first_check(settings: Settings) -> int:
    """The iteration after which a run is checked first.

    Raises:
        InputError: if that is the end of a pass through data that are missing.
    """
    if settings.validate_every:
        return settings.validate_every
    task = make_task(settings)
    assert isinstance(task, Finite)
    return task.batches_of(settings.seed, 1, settings.batch_size)


def checked_after(settings: Settings, iteration: int) -> bool:
    """Whether a run is checked after an iteration however far it is to go.

    Raises:
        InputError: as `first_check`.
    """
    if settings.validate_every:
        return iteration % settings.validate_every == 0
    task = make_task(settings)
    return task.batch(settings.seed, "train", iteration - 1, settings.batch_size, settings.dtype).last


def iterations_of_a_pass(settings: Settings, task: Task) -> int | None:
    """Iterations of the first pass through data that have an end, others about as many; None of those without one."""
    return task.batches_of(settings.seed, 1, settings.batch_size) if isinstance(task, Finite) else None


def tokens_of(settings: Settings, task: Task) -> int | None:
    """Tokens of a training batch, of a text."""
    return task.tokens_of(settings.seed, settings.batch_size) if isinstance(task, Windowed) else None


def config_of(method: Method, config: Any) -> Any:
    """The Config of a method from a Config, from its fields, or from nothing."""
    if config is None:
        return method.config(**method.defaults)
    if isinstance(config, Mapping):
        config = record.load(method.config, config, "config")
    for name, value in method.defaults.items():
        if getattr(config, name) != value:
            raise InputError(f"{method.name} stands for {name} {value}: leave the option out, or take another method")
    return config
