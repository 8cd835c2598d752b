"""Runs that were never run: directories with made-up logs, complete enough for tables, figures and reports."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets import registry
from experiments import files, record
from experiments.papers import entry as entries
from experiments.papers import measures
from experiments.papers.entry import Cell, Entry, Preset
from experiments.papers.measures import Measured
from experiments.parallel.job import Derived, Job
from experiments.run import result
from experiments.run.result import Result
from experiments.run.rundir import Run

NAMES = ("W_xh", "W_hh", "b_h", "W_hy", "b_y")

PASS = 40
"""Iterations of a pass through data, where checks come after each."""

CHECKPOINTS = ("last", "best")

Solves = Callable[[Job], bool]


def always(job: Job) -> bool:
    return True


def lines(job: Job, iterations: int, solved: bool) -> list[dict[str, Any]]:
    """A log in which the cost falls, with a wobble."""
    out: list[dict[str, Any]] = []
    settings = job.settings
    checked = settings.validate_every or PASS
    measured = settings.measure_every or checked
    length, score = settings.length or 1, "nll" if registry.has_option(settings.task, "layout") else "error"
    for i in range(1, iterations + 1):
        part = i / iterations
        fall = math.exp(-(4 if solved else 0.3) * part)
        line: dict[str, Any] = {"iteration": i}
        if i % settings.log_every == 0:
            line["loss"] = 1.4 * fall * (1 + 0.1 * math.sin(i / 7 + settings.seed))
            line["grad_norms"] = {name: fall * (n + 1) * (1.2 + math.sin(i / 30)) for n, name in enumerate(NAMES)}
        if i % checked == 0:
            error = 0.0 if solved and i == iterations else 0.75 * fall
            line["error"], line["scores"] = error, {score: error}
            line["spectral_radius"] = {"W_hh": 1 + 0.01 * part, "V_hh": 1 - 0.1 * part}
        if i % measured == 0 and job.method.startswith("tptt"):
            steps = [1e-6 * fall * (t + 1) for t in range(length)]
            line["measures"] = {"angle": 88 - 40 * part, "layers_f": steps, "layers_g": steps[::-1]}
        if len(line) > 1:
            out.append(line)
    return out


def write(path: Path, job: Job, log: Iterable[dict[str, Any]], done: Result | None) -> Run:
    """A run directory."""
    run = Run(path)
    path.mkdir(parents=True)
    config = {"format": 1, "method": job.method, "config": job.config, "settings": job.settings}
    run.config.write_text(json.dumps(record.plain(config), indent=2))
    run.metrics.write_text("".join(record.dump(line) + "\n" for line in log))
    run.timings.write_text('{"iteration": 100, "seconds": 1.5}\n')
    machine = {"from_iteration": 0, "started": "2020-01-01", "task": "x", "python": "3.11.7", "cpu": "a <cpu>"}
    machine |= {"packages": {"numpy": "2.4.6"}, "cores": 2, "platform": "Linux", "revision": "abc"}
    run.manifest.write_text(json.dumps({"format": 1, "processes": [machine]}))
    if done is not None:
        result.save(run, done)
    return run


def make(folder: Path, job: Job, solved: bool = True, iterations: int = 400, name: str = "", **changes: Any) -> Result:
    """A finished run."""
    settings = job.settings
    name = name or f"{job.method}-{settings.task}-{settings.length}-{settings.seed}-{len(list(folder.glob('*'))) + 1}"
    log = lines(job, iterations, solved)
    error = log[-1].get("error", 0.5)
    done = Result(
        run=folder / name,
        method=job.method,
        task=settings.task,
        seed=settings.seed,
        solved=solved,
        iterations=iterations,
        error=error,
        loss=log[-1].get("loss"),
        metric={"error": error},
        seconds=iterations / 100,
        iterations_per_second=100.0,
        status="solved" if solved else "patience",
        kernels={"srn": "fused"},
        figure=None,
        reason="error 0 is below 0.0001" if solved else "no better error for long",
    )
    write(folder / name, job, log, replace(done, **changes))
    return replace(done, **changes)


def fill(
    folder: Path, entry: Entry, preset: Preset, solves: Solves = always, cells: Iterable[Cell] | None = None
) -> dict[Cell, Measured]:
    """Make up every run of some cells (all), and measure them."""
    folder.mkdir(parents=True, exist_ok=True)
    made: dict[str, Result] = {}
    return {
        cell: _measure(folder, entry, preset, cell, solves, made)
        for cell in (entries.cells(entry, preset) if cells is None else cells)
    }


def _measure(
    folder: Path, entry: Entry, preset: Preset, cell: Cell, solves: Solves, made: dict[str, Result]
) -> Measured:
    chain = measures.chain(entry, preset, cell, {})
    answer: Any = None
    try:
        while True:
            wanted = chain.send(answer)
            answer = wanted.kept() if isinstance(wanted, Derived) else _run(folder, entry, cell, wanted, solves, made)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def _run(folder: Path, entry: Entry, cell: Cell, job: Job, solves: Solves, made: dict[str, Result]) -> Result:
    if job.key not in made:
        entrant = [e.name for e in entry.plan().entrants].index(cell.entrant)
        checks = 2 + cell.seed + 3 * entrant
        made[job.key] = make(folder, job, solves(job), checks * (job.settings.validate_every or PASS))
        _score(made[job.key], entry)
    return made[job.key]


def _score(done: Result, entry: Entry) -> None:
    """What looking at the network would have left beside the run."""
    kept: dict[str, dict[str, Any]] = {"moved": {"moved": 0.01 * done.seed}}
    if entry.plan().measure == "transfer":
        length = entry.plan().options["length"]
        kept |= {f"{w}-test-{length}-10000": {"scores": {"error": 0.3 + 0.1 * (done.seed % 3)}} for w in CHECKPOINTS}
    if entry.plan().measure == "perplexity":
        found = {"iteration": 100, "scores": {"nll": 0.8}, "static": {"nll": 0.9}}
        kept |= {f"{which}-test-{how}": found for which in CHECKPOINTS for how in ("whole", "dynamic")}
    if entry.plan().measure == "accuracy":
        kept |= {f"{which}-test-whole": {"scores": {"error": 0.2 + 0.1 * (done.seed % 3)}} for which in CHECKPOINTS}
    (done.run / "evaluations").mkdir()
    for name, found in kept.items():
        files.write_atomic(done.run / "evaluations" / f"{name}.json", record.dump(found).encode())
