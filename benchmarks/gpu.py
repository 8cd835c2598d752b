"""Our recurrences beside PyTorch's (cuDNN's) on a GPU: `python -m benchmarks.gpu [rows] [--out FILE.json]`.

Forward and backward pass of a layer, float32 on both sides (no TF32), the same numbers, compared before anything is
timed. Times are those between two events in the GPU's own queue, medians of turns taken one after the other.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.contestant import Arrays, Inputs, Job
from benchmarks.rows import Row

NAME = "python -m benchmarks.gpu"
ROUNDS = 21
SLOT = 0.02
"""Seconds of a turn: as many calls as fit, at least one."""
WARM = 3
"""Calls of every contestant that are not timed."""
GATED = {"784": {"T": 784, "B": 128, "D": 1, "H": 128}, "100": {"T": 100, "B": 20, "D": 6, "H": 100}}
GOAL = 1.5

ROWS = {
    f"{cell}-{size}": Row(
        f"{cell}-{size}",
        f"{cell.upper()}: forward and backward, T = {s['T']}, B = {s['B']}, H = {s['H']}",
        cell,
        s,
        {"torch": GOAL},
    )
    for size, s in GATED.items()
    for cell in ("lstm", "gru", "srn")
}
"""By name."""

Seconds = Callable[[Callable[[], Any], int], float]
"""The mean time of so many calls."""


@dataclass(frozen=True)
class Contestant:
    """Who takes part."""

    job: Callable[[str, Inputs], Job]
    """Of the recurrence's name and its numbers."""
    seconds: Seconds


# ----------------------------------------------------------------------------------------------------------------------
# Who takes part


def ours(device: str) -> Callable[[str, Inputs], Job]:
    """The twin that `auto` takes on a device."""

    def make(cell: str, inputs: Inputs) -> Job:
        from minigrad import kernels
        from minigrad.backend import to_device, to_numpy
        from minigrad.kernels import gru, lstm, srn

        p = {name: to_device(array, device) for name, array in inputs["params"].items()}
        x, h0, g = (to_device(inputs[name], device) for name in ("x", "h0", "g"))
        W, H, names = (p["W_xh"], p["W_hh"]), p["W_hh"].shape[0], ("W_xh", "W_hh", *(n for n in p if n[0] == "b"))
        twin, needs = kernels.choose(x, kernel=cell), (False, False, True, True, True)

        def call() -> Any:
            match cell:
                case "srn":
                    h = srn.forward(x, h0, *W, p["b_h"], "tanh", twin)
                    return h, srn.backward(g, x, h, h0, *W, "tanh", twin, needs)[2:]
                case "lstm":
                    s, gates = lstm.forward(x, h0, *W, p["b_h"], twin)
                    return s[..., :H], lstm.backward(g, x, s, h0, gates, *W, twin, needs)[2:]
                case _:
                    h, gates = gru.forward(x, h0, *W, p["b_xh"], p["b_hh"], twin)
                    return h, gru.backward(g, x, h, h0, gates, *W, twin, (*needs, True))[2:]

        def answer(result: Any) -> Arrays:
            h, gradients = result
            return {"h": to_numpy(h), **dict(zip(names, map(to_numpy, gradients), strict=True))}

        return Job(call, answer)

    return make


def theirs(device: str) -> Callable[[str, Inputs], Job]:
    """PyTorch's recurrent layers; on a GPU these are cuDNN's."""

    def make(cell: str, inputs: Inputs) -> Job:
        import torch

        from benchmarks import with_torch

        layer, trained = with_torch.recurrent(cell, inputs["params"])
        layer.to(device)
        x, g = (torch.from_numpy(inputs[name]).to(device) for name in ("x", "g"))

        def call() -> Any:
            h = layer(x)[0]
            return h, torch.autograd.grad(h, list(trained.values()), g)

        def answer(result: Any) -> Arrays:
            h, gradients = result
            found = {name: gradient.cpu().numpy().T for name, gradient in zip(trained, gradients, strict=True)}
            return {"h": h.detach().cpu().numpy(), **found}

        return Job(call, answer)

    return make


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
    """A row's times, ours and those of a peer that computes the same.

    Returns:
        For JSON: name, sizes; difference of the peer, as a part of what is tolerated; seconds a call by contestant,
        median and quartiles (none of a peer that computes something else); ratio of the medians.
    """
    from benchmarks.inputs import INPUTS
    from benchmarks.measure import compare, quartiles

    inputs = INPUTS[row.work](row.sizes)
    jobs = {name: contestant.job(row.work, inputs) for name, contestant in contestants.items()}
    answers = {name: job.answer(job.call()) for name, job in jobs.items()}
    array, gap = compare(row, answers["ours"], answers["torch"])
    agreed = bool(gap <= 1)
    names = list(jobs) if agreed else ["ours"]
    repeats, times = {}, {name: list[float]() for name in names}
    for name in names:
        contestants[name].seconds(jobs[name].call, WARM)
        repeats[name] = max(1, int(SLOT / max(contestants[name].seconds(jobs[name].call, 1), 1e-9)))
    for number in range(rounds):
        for name in names if number % 2 else reversed(names):
            times[name].append(contestants[name].seconds(jobs[name].call, repeats[name]))
    medians = {name: statistics.median(found) for name, found in times.items()}
    return {
        "name": row.name,
        "sizes": dict(row.sizes),
        "difference": {"array": array, "of_tolerated": gap},
        "agreed": agreed,
        "seconds": {name: {"median": medians[name], "quartiles": quartiles(times[name])} for name in names},
        "ratio": medians["torch"] / medians["ours"] if agreed else None,
        "goal": row.peers["torch"],
    }


def line(found: Mapping[str, Any]) -> str:
    """A row for people."""
    ours = f"{found['name']:10} {1000 * found['seconds']['ours']['median']:9.3f} ms"
    if not found["agreed"]:
        gap = found["difference"]
        return f"{ours}   torch differs in {gap['array']}: {gap['of_tolerated']:.2g} of what is tolerated"
    theirs = 1000 * found["seconds"]["torch"]["median"]
    return f"{ours}   torch {theirs:9.3f} ms   ratio {found['ratio']:5.2f} (goal {found['goal']})"


def check() -> None:
    """Raise InputError unless there are a GPU, CuPy, and a PyTorch that sees the GPU."""
    from experiments.exits import bad_input
    from minigrad.backend import check_device

    check_device("cuda")
    try:
        import torch
    except ImportError as error:
        raise bad_input(f"torch cannot be imported ({error}): pip install '.[bench]'") from error
    if not torch.cuda.is_available():
        raise bad_input("this PyTorch sees no GPU: install one that is built for CUDA")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def about() -> dict[str, Any]:
    """What was measured on."""
    import cupy
    import torch

    from experiments import manifest

    entry = manifest.entry(iteration=0, task="", device="cuda", kernels={})
    return {
        "format": 1,
        "gpu": cupy.cuda.runtime.getDeviceProperties(0)["name"].decode(),
        "cuda": cupy.cuda.runtime.runtimeGetVersion(),
        "cudnn": torch.backends.cudnn.version(),
        "packages": {**entry["packages"], "cupy": cupy.__version__, "torch": torch.__version__},
        "revision": entry["revision"],
    }


def run(rows: Sequence[str], out: Path | None) -> int:
    """Measure rows, all where none is named; print and keep the figures. 1 if PyTorch computes something else."""
    from experiments import exits, files
    from experiments.record import dump

    for name in rows:
        if name not in ROWS:
            raise exits.bad_input(exits.unknown("row", name, ROWS))
    check()
    contestants = {"ours": Contestant(ours("cuda"), by_cupy), "torch": Contestant(theirs("cuda"), by_torch)}
    found = []
    for name in rows or ROWS:
        found.append(measure(ROWS[name], contestants))
        print(line(found[-1]), flush=True)
    if out:
        files.write_atomic(out, (dump({**about(), "rows": found}) + "\n").encode())
    return exits.FINISHED if all(row["agreed"] for row in found) else exits.FAILED


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
