"""The fused recurrences against plain NumPy loops that compute the same.

    python benchmarks/recurrences.py [--json FILE]

Ours and the loop run in turn; a figure is the median over the runs. The share is of the arithmetic of the recurrent
products alone over what a large matrix product reaches on this machine. The last rows run a contracting network over
1,000 steps, whose gradients pass below 1e-30: without flushing, subnormal numbers would slow the later steps down.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from minigrad.kernels import prepare, srn, target

T, B, H = 100, 20, 100
RUNS = 60


def forward_loop(u: Any, h0: Any, W: Any) -> Any:
    h, states = h0, np.empty_like(u)
    for t in range(len(u)):
        h = np.tanh(h @ W + u[t])
        states[t] = h
    return states


def backward_loop(g: Any, h: Any, h0: Any, W: Any) -> Any:
    d, e, W_T = np.empty_like(g), np.zeros_like(h0), W.T.copy()
    for t in range(len(g) - 1, -1, -1):
        d[t] = (g[t] + e) * (1 - h[t] * h[t])
        e = d[t] @ W_T
    h_prev = np.concatenate([h0[None], h[:-1]])
    return d, e, h_prev.reshape(-1, h.shape[2]).T @ d.reshape(-1, h.shape[2])


def target_loop(u: Any, h: Any, target_T: Any, V: Any) -> Any:
    found = np.empty_like(h)
    found[-1] = target_T
    for t in range(len(h) - 2, -1, -1):
        found[t] = h[t] - np.tanh(u[t + 1] + h[t + 1] @ V) + np.tanh(u[t + 1] + found[t + 1] @ V)
    return found


def medians(ours: Callable[[], Any], loop: Callable[[], Any], runs: int) -> tuple[float, float]:
    """Seconds of both, run in turn."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs + 3):
        for function, times in zip((ours, loop), seconds, strict=True):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
    return statistics.median(seconds[0][3:]), statistics.median(seconds[1][3:])


def peak() -> float:
    """FLOP/s of a large matrix product on one thread, the best of ten."""
    a = np.ones((1024, 1024), np.float32)
    best = 0.0
    for _ in range(10):
        start = time.perf_counter()
        a @ a
        best = max(best, 2 * 1024**3 / (time.perf_counter() - start))
    return best


def rows(steps: int, gain: float, runs: int) -> list[dict[str, Any]]:
    """Forward, backward and target recursion at one length; `gain` is the recurrent weights' singular value."""
    rng = np.random.default_rng(0)
    u = rng.standard_normal((steps, B, H)).astype(np.float32)
    W = (gain * np.linalg.qr(rng.standard_normal((H, H)))[0]).astype(np.float32)
    h0 = np.zeros((B, H), np.float32)
    h = forward_loop(u, h0, W)
    g = np.zeros_like(h)
    g[-1] = rng.standard_normal((B, H))
    target_T = h[-1] + np.float32(0.1)
    product = 2 * B * H * H * steps
    jobs = [
        ("forward", product, lambda: srn.forward(u, h0, W, "tanh", "fused"), lambda: forward_loop(u, h0, W)),
        (
            "backward",
            2 * product,
            lambda: srn.backward(g, h, h0, W, "tanh", "fused"),
            lambda: backward_loop(g, h, h0, W),
        ),
        (
            "targets",
            2 * product,
            lambda: target.targets(u, h, target_T, W, "tanh", "fused"),
            lambda: target_loop(u, h, target_T, W),
        ),
    ]
    found = []
    for name, flop, ours, loop in jobs:
        a, b = medians(ours, loop, runs)
        found.append({"work": name, "T": steps, "gain": gain, "ours": a, "numpy": b, "flop": flop})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, default=None, help="write the figures to this file too")
    options = parser.parse_args()
    print("measuring ...", file=sys.stderr)
    prepare("float32")
    machine = peak()
    found = [*rows(T, 1.0, RUNS), *rows(T, 0.5, RUNS // 2), *rows(1000, 0.5, RUNS // 6)]
    print(f"float32, B={B}, H={H}, one thread; a 1024^3 matrix product reaches {machine / 1e9:.0f} GFLOP/s")
    print(f"{'work':<10}{'T':>6}{'gain':>6}{'ours us/step':>14}{'NumPy us/step':>15}{'ratio':>7}{'share of peak':>15}")
    for row in found:
        row["share"] = row["flop"] / row["ours"] / machine
        step, loop = row["ours"] / row["T"] * 1e6, row["numpy"] / row["T"] * 1e6
        print(
            f"{row['work']:<10}{row['T']:>6}{row['gain']:>6}{step:>14.2f}{loop:>15.2f}"
            f"{loop / step:>7.2f}{100 * row['share']:>14.0f}%"
        )
    if options.json:
        options.json.write_text(json.dumps({"peak": machine, "rows": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
