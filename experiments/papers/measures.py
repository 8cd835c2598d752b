"""What a cell of a table is: the runs that it takes and the number that is read off them.

A measure takes the first job of a cell and its options from the entry's file, and is a chain (experiments/parallel):
it yields jobs, is sent their results, and returns a Measured. It depends on nothing else, so that a table that was
killed and started again comes to the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from algorithms.dynamic import Config as Dynamic
from datasets.task import Task
from experiments import record
from experiments.papers import entry as entries
from experiments.papers.entry import Cell, Entry, Preset
from experiments.parallel.job import Chain, Derived, Job
from experiments.run import build, checks, evaluate, journal, rundir, standing
from experiments.run.result import Result
from experiments.run.settings import Settings
from minigrad.errors import InputError

PERCENT = 100.0

MOST = 10**9
"""As many sequences as there are."""

PROTOCOL = 100_000
"""Iterations after which the papers' protocol counts a run as failed; one with a smaller budget was only stopped."""


@dataclass(frozen=True)
class Measured:
    """A cell for one seed."""

    value: float | None
    """The number that stands beside the paper's; None where there is none, as of a task that was not solved."""
    runs: list[Result]
    """All runs that it took."""
    bounds: tuple[float, float] | None = None
    """Where the number lies for a budget without end, infinity for never; None: it is `value`, for certain."""
    note: str = ""
    """What else is to say, such as why there is no number."""
    second: float | None = None
    """The number under the second reading of the task's criterion, where it has one."""

    @property
    def interval(self) -> tuple[float, float]:
        """Least and largest that the number can be."""
        if self.bounds is not None:
            return self.bounds
        return (-math.inf, math.inf) if self.value is None else (self.value, self.value)

    @property
    def budget(self) -> int:
        """Iterations that its runs could have used."""
        return max((run.iterations for run in self.runs if run.status == "budget"), default=0)

    def told(self) -> tuple[Settings, Task]:
        """What its (first) run was told, and the task of that; of the task's data nothing is read.

        Raises:
            InputError: if there is no such task any more.
            RunError: if the run's directory is gone or damaged.
        """
        run = rundir.Run(self.runs[0].run)
        settings = record.load(Settings, rundir.read_config(run)["settings"], str(run.config))
        return settings, build.make_task(settings)

    @property
    def seconds(self) -> float:
        """Time that the runs took, of one core."""
        return sum(run.seconds for run in self.runs)


def iterations(job: Job, *, patience: int = PROTOCOL) -> Chain[Measured]:
    """Iterations until the task is solved; notes how far W_hh moved, in parts of its norm.

    Args:
        job: the run.
        patience: iterations after which a run has failed; one with a smaller budget was only stopped.
    """
    done = yield job
    moved = yield Derived(done.run, "moved", partial(_moved, done), optional=True)
    far = f"; ||W_hh - W_hh(0)|| / ||W_hh(0)|| = {moved['moved']:.2g}" if moved and moved["moved"] is not None else ""
    if done.solved:
        return Measured(done.iterations, [done], note=f"solved{far}")
    never = (done.iterations if _stopped(done, patience) else math.inf, math.inf)
    return Measured(None, [done], never, note=_why_not(done) + far)


def depth(
    job: Job,
    *,
    start: int = 10,
    step: int = 10,
    longest: int | None = None,
    work: float | None = None,
    patience: int = PROTOCOL,
) -> Chain[Measured]:
    """Largest length that is solved when it grows by `step` after each success, each time with a fresh network.

    Args:
        job: at any length.
        start: the first length.
        step: by how much it grows.
        longest: length at which to stop even if it is solved.
        work: time steps (length times iterations, over all runs) after which no new length is begun.
        patience: iterations after which a run has failed; one with a smaller budget was only stopped.
    """
    runs: list[Result] = []
    solved, spent, length = 0, 0.0, start
    while (longest is None or length <= longest) and (work is None or spent < work):
        done = yield replace(job, settings=replace(job.settings, length=length))
        runs.append(done)
        spent += length * done.iterations
        if not done.solved:
            open_end = (solved, math.inf) if _stopped(done, patience) else None
            return Measured(solved, runs, open_end, note=f"at {length} {_why_not(done)}")
        solved, length = length, length + step
    return Measured(solved, runs, (solved, math.inf), note="ended by the budget, not by a failure")


def accuracy(job: Job, *, of: Literal["valid", "test"] = "valid", patience: int = PROTOCOL) -> Chain[Measured]:
    """Highest accuracy of all checks, in percent; or that on all test sequences of the network which had it.

    Args:
        job: the run.
        of: which sequences: those of the checks, or those of testing.
        patience: iterations of a whole run; one with a smaller budget might have become better.
    """
    done = yield job
    judged = [x for x in journal.read_metrics(rundir.Run(done.run).metrics) if x.get("error") is not None]
    if not judged:
        return Measured(None, [done], note="its log holds no check")
    best = min(judged, key=lambda line: line["error"])
    value, second = _accuracies(best["scores"])
    note = f"at iteration {best['iteration']:,}"
    if of == "test":
        found = yield _tested(done, job)
        note = f"{value:.2f} % in the checks, {note}"
        value, second = _accuracies(found["scores"])
    bounds = (value, PERCENT) if _stopped(done, patience) else None
    return Measured(value, [done], bounds, note=note, second=second)


def _tested(done: Result, job: Job, dynamic: bool = False) -> Derived:
    """Scores of the network with the lowest error of all checks on everything there is to test on."""
    which: Literal["last", "best"] = "best" if rundir.Run(done.run).best.exists() else "last"
    adapted = Dynamic() if dynamic else None
    compute = partial(evaluate.evaluate, done.run, which, "test", MOST, data_dir=job.settings.data_dir, dynamic=adapted)
    return Derived(done.run, f"{which}-test-{'dynamic' if dynamic else 'whole'}", compute)


def transfer(job: Job, *, length: int, size: int = 10_000, patience: int = PROTOCOL) -> Chain[Measured]:
    """Accuracy in percent on sequences of another length.

    Of the network that solved the task; where it was not solved, of the one with the lowest error of all checks.

    Args:
        job: the run.
        length: of the sequences to test on.
        size: how many.
        patience: iterations of a whole run; one with a smaller budget might have become better, or worse.
    """
    done = yield job
    has_best = rundir.Run(done.run).best.exists()  # not where no check beat the untrained network
    which: Literal["last", "best"] = "last" if done.solved or not has_best else "best"
    compute = partial(evaluate.evaluate, done.run, which, "test", size, length=length, data_dir=job.settings.data_dir)
    found = yield Derived(done.run, f"{which}-test-{length}-{size}", compute)
    value, second = _accuracies(found["scores"])
    bounds = (0.0, PERCENT) if _stopped(done, patience) else None
    return Measured(value, [done], bounds, note=f"at {job.settings.length}: {_how(done)}", second=second)


def angle(job: Job, *, window: int = 10) -> Chain[Measured]:
    """Smallest mean over `window` measurements of the angle between local and backpropagated update, in degrees."""
    done = yield job
    lines = journal.read_metrics(rundir.Run(done.run).metrics)
    means = window_means([line["measures"]["angle"] for line in lines if "measures" in line], window)
    if not means:
        return Measured(None, [done], note="its log holds no angle")
    ends = f"{means[0]:.0f} at first, {means[-1]:.0f} at last, largest {max(means):.0f}"
    return Measured(min(means), [done], note=f"{ends}; {_how(done)}")


def memory(job: Job, *, against: Mapping[str, Any]) -> Chain[Measured]:
    """Mebibytes that the tape of a step keeps for the way back, at the most; notes the ratio to that of another run.

    Args:
        job: the run; one iteration will do.
        against: fields of the method's Config that the other one has.
    """
    done = yield job
    other = yield replace(job, config=replace(job.config, **against))
    ours, theirs = (_tape_bytes(run) for run in (done, other))
    if ours is None or theirs is None:
        return Measured(None, [done, other], note="its log holds no measurement")
    return Measured(ours / 2**20, [done, other], note=f"one part takes {theirs / ours:.3g} times as much")


def _tape_bytes(done: Result) -> int | None:
    """The last measurement of a run."""
    lines = journal.read_metrics(rundir.Run(done.run).metrics)
    found = [line["measures"]["tape_bytes"] for line in lines if "tape_bytes" in line.get("measures", {})]
    return found[-1] if found else None


def perplexity(
    job: Job, *, of: Literal["valid", "train", "test"] = "valid", bits: bool = False, dynamic: bool = False
) -> Chain[Measured]:
    """Perplexity of the network with the lowest error of all checks.

    Args:
        job: the run.
        of: which text: that of the checks; that of training, by the mean cost of the last pass; or that of testing.
        bits: whether to take bits a token instead.
        dynamic: whether the network goes on learning while it is tested (`algorithms.dynamic`, with its defaults).
    """
    done = yield job
    if of == "test":
        found = yield _tested(done, job, dynamic)
        note = f"at iteration {found['iteration']:,}"
        if dynamic:
            note += f"; {_told(found['static']['nll'], bits):.2f} without dynamic evaluation"
        return Measured(_told(found["scores"]["nll"], bits), [done], note=note)
    if of == "train":
        lines = [x for x in journal.read_metrics(rundir.Run(done.run).metrics) if x.get("loss") is not None]
        begun = _before_last_pass(lines, done, job.settings.validate_every)
        last = [x["loss"] for x in lines if x["iteration"] > begun]
        if not last:
            return Measured(None, [done], note="its log holds no cost")
        return Measured(_told(sum(last) / len(last), bits), [done], note="over the last pass")
    return _lowest_perplexity(done, bits)


def _before_last_pass(lines: list[dict[str, Any]], done: Result, every: int) -> int:
    """The iteration after which the last pass began: passes end with a check."""
    if every:
        return done.iterations - every
    return max((x["iteration"] for x in lines if "error" in x and x["iteration"] < done.iterations), default=0)


def constant_perplexity(measured: Measured, *, bits: bool = False) -> float | None:
    """What the frequencies of the tokens score in testing; None where the text cannot be read.

    Args:
        measured: a cell of the measure `perplexity`.
        bits: as there.
    """
    with suppress(InputError, OSError):
        return _told(measured.told()[1].chance["nll"], bits)
    return None


def _told(nll: float, bits: bool) -> float:
    """Nats a token as perplexity or bits."""
    return nll / math.log(2) if bits else math.exp(nll)


def _lowest_perplexity(done: Result, bits: bool = False) -> Measured:
    judged = [x for x in journal.read_metrics(rundir.Run(done.run).metrics) if x.get("error") is not None]
    if not judged:
        return Measured(None, [done], note="its log holds no check")
    best = min(judged, key=lambda line: line["error"])
    note = f"at iteration {best['iteration']:,} of {done.iterations:,}"
    return Measured(_told(best["error"], bits), [done], note=note)


def change(job: Job, *, baseline: Mapping[str, Any]) -> Chain[Measured]:
    """By how much the lowest perplexity lies above that of a run that differs in fields of the method's Config.

    Args:
        job: the run.
        baseline: the fields that the other one has.
    """
    done = yield job
    other = yield replace(job, config=replace(job.config, **baseline))
    ours, theirs = _lowest_perplexity(done), _lowest_perplexity(other)
    if ours.value is None or theirs.value is None:
        return Measured(None, [done, other], note="a log holds no check")
    note = f"{ours.value:.2f} against {theirs.value:.2f}"
    return Measured(ours.value - theirs.value, [done, other], note=note)


def window_means(values: list[float | None], window: int) -> list[float]:
    """Means of `window` successive values each, values that are not numbers left out."""
    groups = [values[i : i + window] for i in range(0, len(values), window)]
    known = [[v for v in group if v is not None] for group in groups]
    return [sum(group) / len(group) for group in known if group]


MEASURES: dict[str, Callable[..., Chain[Measured]]] = {
    "iterations": iterations,
    "depth": depth,
    "accuracy": accuracy,
    "transfer": transfer,
    "angle": angle,
    "perplexity": perplexity,
    "change": change,
    "memory": memory,
}
"""By the name that an entry's file calls it."""


def chain(entry: Entry, preset: Preset, cell: Cell, places: Mapping[str, Any]) -> Chain[Measured]:
    """The chain of a cell, with the arguments and the refusals of `entry.first_job`."""
    options = options_of(entry, preset, cell.row, cell.entrant)
    return measure(entry.plan().measure, entries.first_job(entry, preset, cell, places), options)


def options_of(entry: Entry, preset: Preset, row: str, entrant: str) -> dict[str, Any]:
    """Options of the measure in a row and for an entrant."""
    plan = entry.plan()
    own = next(e.options for e in plan.entrants if e.name == entrant)
    of_row = plan.cases[row].options if row in plan.cases else {}
    return {**plan.options, **of_row, **own, **preset.options}


def measure(name: str, job: Job, options: dict[str, Any]) -> Chain[Measured]:
    """A measure of a run.

    Raises:
        InputError: for an unknown measure, or options that it does not have.
    """
    if name not in MEASURES:
        raise InputError(f"unknown measure {name!r}: there are {', '.join(MEASURES)}")
    try:
        return MEASURES[name](job, **options)
    except TypeError as error:
        raise InputError(f"measure {name}: {error}") from None


def _how(done: Result) -> str:
    """How a run ended."""
    return f"solved after {done.iterations:,}" if done.solved else _why_not(done)


def _why_not(done: Result) -> str:
    """How a run ended that did not solve its task."""
    if done.error is None:
        wrong = ""
    else:
        wrong = f", error {done.error:.3g}" if "mse" in done.metric else f", {PERCENT * done.error:.2f} % wrong"
    words = {"budget": "not solved", "patience": "gave up", "spectral_radius": "spectral radius too large"}
    return f"{words.get(done.status, done.status)} after {done.iterations:,}{wrong}"


def _accuracies(scores: dict[str, float]) -> tuple[float, float | None]:
    """100 (1 - error), and the same under the second reading of the criterion where the task has one."""
    second = scores.get("error_abs")
    return PERCENT * (1 - scores["error"]), None if second is None else PERCENT * (1 - second)


def _stopped(done: Result, patience: int) -> bool:
    """Whether a run was ended by a budget smaller than that of the protocol."""
    return done.status == "budget" and done.iterations < patience


def _moved(done: Result) -> dict[str, Any]:
    """How far training moved W_hh, relative to its norm before; None where no checkpoint is left."""
    run = rundir.Run(done.run)
    newest = run.newest()
    if newest is None:
        return {"moved": None}
    parts = standing.parts_of(run)
    before, after = standing.initial_state(parts).params, standing.load(newest, parts)[0].state.params
    name = next(name for name in before if name.rpartition("/")[2] == "W_hh")
    moved = checks.norms({name: after[name] - before[name]})[name]
    return {"moved": moved / checks.norms(before)[name]}
