"""The fused twin of every recurrence beside its reference, over sizes: the table by which `auto` chooses.

    python -m benchmarks.twins [--out minigrad/kernels/measured.json]

A ratio is the time of the reference over that of the fused twin, forward and backward pass together, medians of turns
taken one after the other, on one thread, at T = 32 and D = 8.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

T, D = 32, 8
BATCHES = (1, 4, 16, 64, 256)
HIDDEN = (8, 32, 128, 512, 1024)
LARGEST = 64 * 1024 * 1024
"""Rows times squared hidden units beyond which the nearest smaller size stands for a size."""
BUDGET = 0.15
"""Seconds for a size."""


def calls(kernel: str, dtype: str, B: int, H: int) -> dict[str, Callable[[], Any]]:
    """Forward and backward pass of a kernel, by twin."""
    import numpy as np

    from minigrad.kernels import antisymmetric, gru, local, lstm, srn, target

    rng = np.random.default_rng(0)

    def draw(*shape: int) -> Any:
        return (rng.standard_normal(shape) * shape[-1] ** -0.5).astype(dtype)

    gates = {"lstm": 4, "gru": 3, "antisymmetric": 2}.get(kernel, 1)
    S = 2 * H if kernel == "lstm" else H
    x, h, h0, g = draw(T, B, D), draw(T, B, S), draw(B, S), draw(T, B, S)
    W_xh, W_hh, b = draw(D, gates * H), draw(H, H if kernel == "antisymmetric" else gates * H), draw(gates * H)

    def run(twin: Any) -> None:
        match kernel:
            case "srn":
                s = srn.forward(x, h0, W_xh, W_hh, b, "tanh", twin)
                srn.backward(g, x, s, h0, W_xh, W_hh, "tanh", twin)
            case "lstm":
                s, kept = lstm.forward(x, h0, W_xh, W_hh, b, twin)
                lstm.backward(g, x, s, h0, kept, W_xh, W_hh, twin)
            case "gru":
                s, kept = gru.forward(x, h0, W_xh, W_hh, b, b, twin)
                gru.backward(g, x, s, h0, kept, W_xh, W_hh, twin)
            case "antisymmetric":
                s, kept = antisymmetric.forward(x, h0, W_xh, W_hh, b, 0.01, 0.01, twin)
                antisymmetric.backward(g, x, s, h0, kept, W_xh, W_hh, 0.01, 0.01, twin)
            case "target":
                target.targets(x, h, h0, W_xh, W_hh, b, "tanh", twin)
            case "local":
                local.loss(x, h, g, None, W_xh, W_hh, b, "tanh", twin)

    return {"reference": lambda: run("reference"), "fused": lambda: run("fused")}


KERNELS = ("srn", "lstm", "gru", "antisymmetric", "target", "local")


def ratios(kernel: str, dtype: str) -> list[tuple[int, int, float]]:
    """(batch, hidden units, ratio) for every size."""
    from benchmarks.measure import interleaved

    found = []
    for B in BATCHES:
        for H in HIDDEN:
            if B * H * H <= LARGEST:
                jobs = calls(kernel, dtype, B, H)
                for job in jobs.values():
                    job()
                times = interleaved(jobs, None, budget=BUDGET)
                found.append((B, H, round(times["reference"].median / times["fused"].median, 2)))
    return found


def written(about: dict[str, Any], table: dict[str, list[tuple[int, int, float]]]) -> str:
    """JSON, a line a kernel and dtype."""
    lines = [f"  {json.dumps(name)}: {json.dumps(rows)}" for name, rows in table.items()]
    return json.dumps(about, indent=1).removesuffix("\n}") + ',\n "ratios": {\n' + ",\n".join(lines) + "\n }\n}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=None, help="write the table to this file")
    options = parser.parse_args()

    from benchmarks import threads
    from experiments import process

    process.limit_blas_threads()
    process.keep_memory()
    threads.pin(1)

    from experiments import files
    from experiments.run import manifest
    from minigrad.kernels.fused.tile import PANEL, ROWS

    table = {}
    for kernel in KERNELS:
        for dtype in ("float32", "float64"):
            table[f"{kernel} {dtype}"] = measured = ratios(kernel, dtype)
            worst = min(measured, key=lambda row: row[2])
            print(f"{kernel} {dtype}: from {worst[2]} at B={worst[0]}, H={worst[1]}", file=sys.stderr, flush=True)
    entry = manifest.entry(iteration=0, task="", device="cpu", kernels={})
    about = {
        "columns": ["batch", "hidden units", "time of the reference / time of the fused twin"],
        "steps": T,
        "inputs": D,
        "tile": [ROWS, PANEL],
        **{key: entry[key] for key in ("cpu", "packages", "blas")},
    }
    text = written(about, table)
    if options.out:
        files.write_atomic(options.out, text.encode())
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
