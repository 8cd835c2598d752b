"""Where a run stands between two iterations: at its beginning, on its way to a checkpoint, and back from one."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from experiments import record
from experiments.errors import RunError
from experiments.run import build, checkpoint, checks, journal, rundir, states, stopping
from experiments.run.build import Assemble, Parts
from experiments.run.checkpoint import Checkpoint
from experiments.run.rundir import Run
from experiments.run.settings import Settings
from experiments.run.stopping import Counters
from minigrad.backend import Params, to_device
from minigrad.errors import InputError
from minigrad.rng import stream


@dataclass(frozen=True)
class Standing:
    """All that the next iteration depends on."""

    state: Any
    """The method's State."""
    counters: Counters

    def within(self, max_iterations: int) -> Standing:
        """The same, on its way again where a smaller budget had ended it."""
        if self.counters.status != "budget" or self.counters.iteration >= max_iterations:
            return self
        return replace(self, counters=self.counters.end("running", ""))


def parts_of(run: Run, assemble: Assemble = build.assemble, **changes: Any) -> Parts:
    """The parts of a run from its config.json.

    Args:
        run: the run directory.
        assemble: makes the parts from names.
        changes: settings to replace.

    Raises:
        InputError: if config.json is damaged or from a newer version, or asks for what does not exist here.
    """
    config = rundir.read_config(run)
    settings = record.load(Settings, config["settings"], f"'settings' in {run.config}")
    parts = assemble(replace(settings, **changes), config["method"], config["config"])
    known, found = config.get("vocabulary"), parts.task.fingerprint
    if known != found:
        raise InputError(
            f"{parts.task.name}: the vocabulary has changed since the run began (fingerprint {found}, it was {known}): "
            "restore the text it was trained on, or train anew"
        )
    return parts


def beginning(parts: Parts) -> Standing:
    """Before the first iteration."""
    state = initial_state(parts)
    untrained = checks.untrained_scores(parts, state.params)
    return Standing(state, stopping.start(untrained, parts.settings.patience))


def initial_state(parts: Parts) -> Any:
    """The method's State before training; one stream draws the model's parameters and then the method's own."""
    settings = parts.settings
    rng = stream(settings.seed, "init")
    params = parts.model.init(rng, settings.init, settings.dtype)
    params = {name: to_device(array, settings.device) for name, array in params.items()}
    return states.owned(parts.method.init(parts.config, parts.model, params, rng))


def judged(parts: Parts, state: Any) -> Params:
    """The parameters of a State that checks and evaluations judge."""
    hook = parts.method.judged
    params: Params = state.params if hook is None else hook(parts.config, state)
    return params


def save(path: Path, standing: Standing, metrics_bytes: int) -> None:
    """Write a checkpoint.

    Args:
        path: where to.
        standing: state and counters.
        metrics_bytes: length of metrics.jsonl at this point.

    Raises:
        RunError: if it cannot be written; nothing else is lost.
    """
    counters = {item.name: getattr(standing.counters, item.name) for item in fields(Counters)}
    iteration = counters.pop("iteration")
    checkpoint.save(path, Checkpoint(iteration, states.fields_of(standing.state), counters, metrics_bytes))


def load(path: Path, parts: Parts) -> tuple[Standing, int]:
    """Read a checkpoint: where the run stood, and the length of metrics.jsonl there.

    Raises:
        RunError: if it is damaged, from another version, or does not fit the parts.
    """
    loaded = checkpoint.load(path, parts.settings.device)
    try:
        counters = Counters(iteration=loaded.iteration, **loaded.counters)
        state = parts.method.state(**loaded.state)
    except TypeError:
        raise RunError(
            f"{path} holds no state of {parts.method.name} as this version knows it: use the version that wrote it"
        ) from None
    fresh = initial_state(parts)
    _require_fit(path, state.params, fresh.params)
    for item in fields(fresh):
        if item.name.startswith("optimizer"):
            _require_kinds(path, getattr(state, item.name), getattr(fresh, item.name))
    return Standing(state, counters), loaded.metrics_bytes


def _require_fit(path: Path, found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Raise RunError unless names, shapes and dtypes of the parameters are those that config.json leads to."""
    if set(found) != set(expected):
        names = ", ".join(sorted(set(found) ^ set(expected)))
        raise RunError(f"{path} does not fit config.json (only one of them has {names}): restore config.json")
    for name, array in expected.items():
        if (array.shape, array.dtype) != (found[name].shape, found[name].dtype):
            raise RunError(
                f"{path} does not fit config.json ({name} is {_kind(found[name])}, not {_kind(array)}): "
                "restore config.json"
            )


def _require_kinds(path: Path, found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Raise RunError unless the optimiser remembers what config.json asks for, of the same parameters."""
    names = [
        {kind: sorted(part) if isinstance(part, dict) else [] for kind, part in memory.items()}
        for memory in (found, expected)
    ]
    if names[0] != names[1]:
        raise RunError(f"{path} does not fit config.json (its optimizer or frozen names differ): restore config.json")


def _kind(array: Any) -> str:
    return f"{array.dtype} {list(array.shape)}"


def restore(run: Run, parts: Parts) -> Standing:
    """The newest checkpoint, the logs cut back to it; without one, the beginning, the logs emptied.

    Raises:
        RunError: if the newest checkpoint or a log is damaged.
    """
    path = run.newest()
    standing, metrics_bytes = (beginning(parts), 0) if path is None else load(path, parts)
    journal.cut_back(run, standing.counters.iteration, metrics_bytes)
    return standing
