"""This program beside PyTorch on a GPU: `python -m benchmarks.gpu [rows] [--out FILE.json]`.

The jobs are those of `benchmarks.ours` and `benchmarks.with_torch`, their numbers moved to the GPU; float32 on both
sides (no TF32), and what they compute is compared before anything is timed. Times are those between two events in the
GPU's own queue, medians of turns taken one after the other.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import rows as on_a_cpu
from benchmarks.contestant import Arrays, Inputs, Job, load
from benchmarks.rows import Row
from minigrad.errors import InputError, unknown

NAME = "python -m benchmarks.gpu"
ROUNDS = 21
SLOT = 0.02
"""Seconds of a turn: as many calls as fit, at least one."""
WARM = 3
"""Calls of every contestant that are not timed."""
POPULATION = 132
"""Runs of a population, as many as an H200 has multiprocessors."""

_LAYERS = {"784": {"T": 784, "B": 128, "D": 1, "H": 128}, "100": {"T": 100, "B": 20, "D": 6, "H": 100}}
_ITERATION = on_a_cpu.ROWS["tptt-iteration"]

ROWS = {
    row.name: row
    for row in (
        *(
            Row(f"{cell}-{size}", f"{cell.upper()}: forward and backward (cuDNN)", work, sizes, {"torch": 1.5})
            for size, sizes in _LAYERS.items()
            for cell, work in (("lstm", "lstm"), ("gru", "gru"), ("srn", "srn-training"))
        ),
        replace(_ITERATION, peers={"torch": 5.0}),
        replace(on_a_cpu.ROWS["tptthx-iteration"], peers={"torch": 5.0}),
        replace(
            _ITERATION,
            name="tptt-population",
            title=f"TPTT: an iteration of one of {POPULATION} runs, stepped as one",
            work="tptt-population",
            peers={"torch": 1000.0, "alone": 50.0},
        ),
        replace(on_a_cpu.ROWS["words-iteration"], peers={"torch": 1.0}),
        replace(on_a_cpu.ROWS["fptt-update"], peers={"torch": None}),
    )
}
"""By name: how many times a peer's time ours is to fit into."""

Seconds = Callable[[Callable[[], Any], int], float]
"""The mean time of so many calls."""


@dataclass(frozen=True)
class Contestant:
    """Who takes part."""

    job: Callable[[str, Inputs], Job]
    """Of a work and its numbers."""
    seconds: Seconds


# ----------------------------------------------------------------------------------------------------------------------
# Who takes part


def ours(device: str) -> Callable[[str, Inputs], Job]:
    """This program with its arrays on a device; of a population, all runs in a call."""

    def make(work: str, inputs: Inputs) -> Job:
        from minigrad.backend import to_numpy

        there = _moved(inputs, device)
        job = _population(there) if work == "tptt-population" else load("ours")[work](there)
        return Job(job.call, lambda result: {name: to_numpy(array) for name, array in job.answer(result).items()})

    return make


def alone(device: str) -> Callable[[str, Inputs], Job]:
    """This program, one run where the row is about a population."""
    return lambda work, inputs: ours(device)(work.replace("population", "").rstrip("-"), inputs)


def theirs(device: str) -> Callable[[str, Inputs], Job]:
    """PyTorch, eager, one run where the row is about a population; recurrent layers are cuDNN's on a GPU."""

    def make(work: str, inputs: Inputs) -> Job:
        import torch

        table = load("torch")
        with torch.device(device):  # for what the job makes; its calls make nothing that is not like what they have
            return table[work.replace("population", "").rstrip("-")](inputs)

    return make


def _moved(inputs: Any, device: str) -> Any:
    """The same numbers, arrays on a device."""
    from minigrad.backend import to_device

    if isinstance(inputs, dict):
        return {name: _moved(item, device) for name, item in inputs.items()}
    return to_device(inputs, device) if hasattr(inputs, "shape") else inputs


def _population(inputs: Inputs) -> Job:
    """An iteration of TPTT by many runs with rates of their own, the first with the rates that a run has alone."""
    import algorithms
    from algorithms.model import Model
    from algorithms.population import Draws, joined, parted
    from datasets.task import Batch
    from minigrad.rng import stream

    params, method = inputs["params"], algorithms.method("tptt")
    (D, H), (O,) = params["W_xh"].shape, params["b_y"].shape
    model = Model.make(input_size=D, hidden=H, output_size=O)
    configs = [method.config(**method.defaults, alpha_f=0.01 / (1 + run / POPULATION)) for run in range(POPULATION)]
    streams = [stream(0, "bench", "step") for _ in configs]
    config = joined(configs)
    state = joined([method.init(each, model, params, rng) for each, rng in zip(configs, streams, strict=True)])
    batch, draws = joined([Batch(inputs["x"], inputs["y"])] * POPULATION), Draws(streams)

    def call() -> Any:
        nonlocal state
        state, info = method.step(config, model, state, batch, draws)
        return state, info

    def answer(result: Any) -> Arrays:
        at, info = parted(result, POPULATION)[0]
        velocities = {**at.optimizer_f["velocity"], **at.optimizer_g["velocity"]}
        return {"loss": info.loss, **at.params, **{f"velocity/{name}": v for name, v in velocities.items()}}

    return Job(call, answer)


def by_cupy(call: Callable[[], Any], repeats: int) -> float:
    """The mean time of so many calls, in CuPy's queue."""
    import cupy

    first, last = cupy.cuda.Event(), cupy.cuda.Event()
    first.record()
    for _ in range(repeats):
        call()
    last.record()
    last.synchronize()
    return float(cupy.cuda.get_elapsed_time(first, last)) / 1000 / repeats


def by_torch(call: Callable[[], Any], repeats: int) -> float:
    """The mean time of so many calls, in PyTorch's queue."""
    import torch

    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    for _ in range(repeats):
        call()
    last.record()
    last.synchronize()
    return float(first.elapsed_time(last)) / 1000 / repeats


# ----------------------------------------------------------------------------------------------------------------------
# Measuring


def measure(row: Row, contestants: Mapping[str, Contestant], rounds: int = ROUNDS) -> dict[str, Any]:
    """A row's times, ours and those of the peers that compute the same.

    Returns:
        For JSON: name, sizes; by peer its difference, as a part of what is tolerated; seconds a call, of one run, by
        contestant, median and quartiles (none of a peer that computes something else); by peer the ratio of the
        medians, and the goal.
    """
    from benchmarks.inputs import INPUTS
    from benchmarks.measure import compare, quartiles

    taking_part = ["ours", *row.peers]
    inputs = INPUTS[row.work.removesuffix("-population")](row.sizes)
    runs = {"ours": POPULATION if row.work.endswith("population") else 1}
    jobs = {name: contestants[name].job(row.work, inputs) for name in taking_part}
    answers = {name: job.answer(job.call()) for name, job in jobs.items()}
    gaps = {peer: compare(row, answers["ours"], answers[peer]) for peer in row.peers}
    names = ["ours", *(peer for peer, (_, gap) in gaps.items() if gap <= 1)]
    repeats, times = {}, {name: list[float]() for name in names}
    for name in names:
        contestants[name].seconds(jobs[name].call, WARM)
        repeats[name] = max(1, int(SLOT / max(contestants[name].seconds(jobs[name].call, 1), 1e-9)))
    for number in range(rounds):
        for name in names if number % 2 else reversed(names):
            taken = contestants[name].seconds(jobs[name].call, repeats[name])
            times[name].append(taken / runs.get(name, 1))
    medians = {name: statistics.median(found) for name, found in times.items()}
    return {
        "name": row.name,
        "sizes": dict(row.sizes),
        "differences": {peer: {"array": array, "of_tolerated": float(gap)} for peer, (array, gap) in gaps.items()},
        "seconds": {name: {"median": medians[name], "quartiles": quartiles(times[name])} for name in names},
        "ratios": {peer: medians[peer] / medians["ours"] for peer in names[1:]},
        "goals": dict(row.peers),
    }


def tried(row: Row, contestants: Mapping[str, Contestant]) -> dict[str, Any]:
    """`measure`, or why it came to no end: minutes of the rows before are not lost."""
    try:
        return measure(row, contestants)
    except Exception as error:  # whatever a library meets on a GPU
        return {"name": row.name, "failed": f"{type(error).__name__}: {' '.join(str(error).split())}"}


def agreed(found: Mapping[str, Any]) -> bool:
    """Whether all peers compute what we do."""
    return "failed" not in found and found["ratios"].keys() == found["differences"].keys()


def line(found: Mapping[str, Any]) -> str:
    """A row for people."""
    if "failed" in found:
        return f"{found['name']:16} failed: {found['failed']}"
    parts = [f"{found['name']:16} {1000 * found['seconds']['ours']['median']:9.4f} ms"]
    for peer, gap in found["differences"].items():
        if peer not in found["ratios"]:
            parts.append(f"{peer} differs in {gap['array']}: {gap['of_tolerated']:.2g} of what is tolerated")
            continue
        goal = "" if found["goals"][peer] is None else f" (goal {found['goals'][peer]:g})"
        theirs = 1000 * found["seconds"][peer]["median"]
        parts.append(f"{peer} {theirs:9.4f} ms   ratio {found['ratios'][peer]:5.2f}{goal}")
    return "   ".join(parts)


def check() -> None:
    """Raise InputError unless there are a GPU that CuPy can use, and a PyTorch that sees it."""
    from minigrad import devices

    devices.use("cuda")
    try:
        import torch
    except ImportError as error:
        raise InputError(f"torch cannot be imported ({error}): pip install '.[bench]'") from error
    if not torch.cuda.is_available():
        raise InputError("this PyTorch sees no GPU: install one that is built for CUDA")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def about() -> dict[str, Any]:
    """What was measured on."""
    import torch

    from experiments.run import manifest

    entry = manifest.entry(iteration=0, task="", device="cuda", kernels={})
    return {
        "format": 1,
        "device": entry["device"],
        "cudnn": torch.backends.cudnn.version(),
        "packages": {**entry["packages"], "torch": torch.__version__},
        "revision": entry["revision"],
    }


def run(rows: Sequence[str], out: Path | None) -> int:
    """Measure rows, all where none is named; print and keep the figures. 1 if one failed, or PyTorch differs."""
    from experiments import exits, files
    from experiments.record import dump

    for name in rows:
        if name not in ROWS:
            raise InputError(unknown("row", name, ROWS))
    check()
    contestants = {
        "ours": Contestant(ours("cuda"), by_cupy),
        "alone": Contestant(alone("cuda"), by_cupy),
        "torch": Contestant(theirs("cuda"), by_torch),
    }
    found = []
    for name in rows or ROWS:
        found.append(tried(ROWS[name], contestants))
        print(line(found[-1]), flush=True)
        if out:
            files.write_atomic(out, (dump({**about(), "rows": found}) + "\n").encode())
    return exits.FINISHED if all(map(agreed, found)) else exits.FAILED


def main(arguments: Sequence[str]) -> int:
    """Read the command line; whatever goes wrong is one line."""
    from experiments import exits

    parser = argparse.ArgumentParser(prog=NAME, description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(ROWS)}; none: all")
    parser.add_argument("--out", type=Path, default=None, help="keep the figures in this file, as JSON")
    options = parser.parse_args(arguments)
    return exits.guard(NAME, lambda: run(options.rows, options.out))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
