"""Iterations that TPTT needs on its tasks, beside the paper's and beside two controls, as a table.

    python -m experiments.convergence --out docs/convergence.md

Controls: BPTT-split is backpropagation through time whose rate for W_hh and b_h is 2 alpha_i / (B H) of the others',
which is what TPTT's local loss amounts to for linear units; frozen W_hh is TPTT with W_hh and b_h not trained at all.
Runs that are finished are not repeated: kill it at any moment and start it again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from experiments import files
from minigrad.errors import InputError


@dataclass(frozen=True)
class Row:
    """A task at one length, and what the paper reports for it."""

    task: str
    length: int
    budget: int
    paper: str


@dataclass(frozen=True)
class Entrant:
    """A method with its options, under the name that the table gives it."""

    name: str
    method: str
    options: dict[str, Any] = field(default_factory=dict, hash=False)


ROWS = (
    Row("temporal", 60, 4_000, "-"),
    Row("temporal", 120, 6_000, "1,600"),
    Row("temporal3", 60, 6_000, "1,300 (T=70)"),
    Row("permutation", 50, 20_000, "12,700 (T=70)"),
)
SPLIT = 2 * 0.1 / (20 * 100)
"""2 alpha_i / (B H) at the paper's settings."""

ENTRANTS = (
    Entrant("TPTT", "tptt", {"alpha_i": 0.1, "alpha_f": 0.01, "alpha_g": 0.001}),
    Entrant("BPTT-split", "bptt", {"lr": 0.01, "optimizer": "nag", "rates": {"W_hh": SPLIT, "b_h": SPLIT}}),
    Entrant("frozen W_hh, b_h", "tptt", {"frozen": ("W_hh", "b_h")}),
)

HEAD = """\
# Iterations until TPTT and its controls solve their tasks

Made by `{command}`; seeds 1 to {seeds}, settings as in the
paper (batch 20, 100 tanh units, orthogonal weights, NAG 0.9, rates 0.1 / 0.01 / 0.001), checked every 100 iterations on
10,000 fresh sequences. A seed that did not get there within the budget shows its status and its last error. The paper's
numbers are from its table 2.

BPTT-split: backpropagation through time with rate 0.01, for W_hh and b_h 1e-4 of that. Frozen: TPTT with W_hh and b_h
left as drawn.
"""


@dataclass(frozen=True)
class Job:
    """One run."""

    row: Row
    entrant: Entrant
    seed: int

    def folder(self, runs_dir: Path) -> Path:
        """Where runs of this job go: found again by name."""
        name = f"{self.row.task}-{self.row.length}-{self.entrant.name.replace(', ', '-').replace(' ', '-')}-{self.seed}"
        return runs_dir / name


def run(job: Job, runs_dir: Path) -> dict[str, Any]:
    """Train, or go on, or read what is finished: the result as JSON knows it."""
    import algorithms
    from experiments import loop, record
    from experiments.rundir import open_run
    from experiments.settings import Settings

    folder = job.folder(runs_dir)
    settings = Settings(
        task=job.row.task, length=job.row.length, seed=job.seed, max_iterations=job.row.budget, runs_dir=folder
    )
    method = algorithms.method(job.entrant.method)
    config = method.config(**job.entrant.options)
    for started in sorted(folder.glob("*/config.json")):
        written = json.loads(started.read_text())
        if (written["config"], written["settings"]) != (record.plain(config), record.plain(settings)):
            raise InputError(f"{started} is a run with other settings: name another --runs-dir, or remove it")
        return loop.resume(open_run(started.parent).path, loop.Quiet()).to_json()
    return loop.train(settings, method.name, config, loop.Quiet()).to_json()


def collect(seeds: int, workers: int, runs_dir: Path) -> dict[Job, dict[str, Any]]:
    """The results of all jobs, run side by side, with a line for each as it ends."""
    jobs = [Job(row, entrant, seed) for row in ROWS for entrant in ENTRANTS for seed in range(1, seeds + 1)]
    results: dict[Job, dict[str, Any]] = {}
    os.environ["OPENBLAS_NUM_THREADS"] = (
        "1"  # a process a core: threads of the matrix library would only get in the way
    )
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(run, job, runs_dir): job for job in jobs}
        for done in as_completed(futures):
            job, result = futures[done], done.result()
            results[job] = result
            told = f"{job.row.task} T={job.row.length} {job.entrant.name} seed {job.seed}"
            print(
                f"[{len(results)}/{len(jobs)}] {told}: {result['status']} after {result['iterations']:,} iterations "
                f"({result['seconds']:.0f} s)",
                file=sys.stderr,
                flush=True,
            )
    return results


def table(results: dict[Job, dict[str, Any]], seeds: int, command: str) -> Iterator[str]:
    """The page, line by line."""
    yield HEAD.format(command=command, seeds=seeds)
    yield "| task | T | budget | paper (TPTT) | method | solved | median | " + " ".join(
        f"seed {s} |" for s in range(1, seeds + 1)
    )
    yield "| --- | --- | --- | --- | --- | --- | --- |" + " --- |" * seeds
    for row in ROWS:
        for entrant in ENTRANTS:
            own = [results[Job(row, entrant, seed)] for seed in range(1, seeds + 1)]
            solved = [r["iterations"] for r in own if r["solved"]]
            median = f"{statistics.median(solved):,.0f}" if len(solved) > seeds / 2 else "-"
            cells = " | ".join(cell(r) for r in own)
            yield (
                f"| {row.task} | {row.length} | {row.budget:,} | {row.paper} | {entrant.name} "
                f"| {len(solved)}/{seeds} | {median} | {cells} |"
            )
    total = sum(r["seconds"] for r in results.values())
    yield ""
    yield f"The runs took {total / 60:.0f} minutes of one core. The median is over the seeds that solved the task."


def cell(result: dict[str, Any]) -> str:
    """One seed in the table."""
    if result["solved"]:
        return f"{result['iterations']:,}"
    error = result["error"]
    return f"no: {result['status']}" + (f", {100 * error:.2f} % wrong" if error is not None else "")


def main() -> None:
    """Read the options, run, write the page."""
    parser = argparse.ArgumentParser(prog="python -m experiments.convergence", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="seeds 1..N (default: 5)")
    parser.add_argument("--workers", type=int, default=2, help="processes side by side (default: 2)")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/convergence"), help="where the runs are kept")
    parser.add_argument("--out", type=Path, default=None, help="Markdown file to write (default: standard output)")
    options = parser.parse_args()
    results = collect(options.seeds, options.workers, options.runs_dir)
    command = " ".join(["python -m experiments.convergence", *sys.argv[1:]])
    page = "\n".join(table(results, options.seeds, command)) + "\n"
    if options.out is None:
        print(page, end="")
        return
    files.write_atomic(options.out, page.encode())
    raw = {f"{j.row.task}/{j.row.length}/{j.entrant.name}/{j.seed}": r for j, r in results.items()}
    files.write_atomic(options.runs_dir / "results.json", json.dumps(raw, indent=1).encode())


if __name__ == "__main__":
    main()
