"""Plain NumPy loops."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.contestant import Inputs, Job, Table


def forward(u: Any, h0: Any, W: Any) -> Any:
    """h_t = tanh(u_t + h_{t-1} @ W): u [T, B, H] -> [T, B, H]."""
    h, states = h0, np.empty_like(u)
    for t in range(len(u)):
        h = np.tanh(h @ W + u[t], out=states[t])
    return states


def backward(g: Any, x: Any, h: Any, h0: Any, W_hh: Any) -> Any:
    """Gradients by h0 [B, H], W_xh [D, H], W_hh [H, H] and b_h [H]."""
    d, e, W_T, slope = np.empty_like(g), np.zeros_like(h0), W_hh.T.copy(), 1 - h * h
    for t in range(len(g) - 1, -1, -1):
        d[t] = (g[t] + e) * slope[t]
        e = d[t] @ W_T
    flat = d.reshape(-1, len(W_hh))
    h_prev = np.concatenate([h0[None], h[:-1]]).reshape(-1, len(W_hh))
    return e, x.reshape(-1, x.shape[2]).T @ flat, h_prev.T @ flat, flat.sum(axis=0)


def targets(u: Any, h: Any, target_T: Any, V: Any) -> Any:
    """Targets [T, B, H] by difference target propagation; the states' side is one product for all steps."""
    found = np.empty_like(h)
    found[-1] = target_T
    known = h[:-1] - np.tanh(u[1:] + h[1:] @ V)
    for t in range(len(h) - 2, -1, -1):
        found[t] = known[t] + np.tanh(u[t + 1] + found[t + 1] @ V)
    return found


def _srn(inputs: Inputs) -> Job:
    p, x, h0 = inputs["params"], inputs["x"], inputs["h0"]
    return Job(lambda: forward(x @ p["W_xh"] + p["b_h"], h0, p["W_hh"]), lambda h: {"h": h})


def _backward(inputs: Inputs) -> Job:
    p, x, h, g, h0 = (inputs[name] for name in ("params", "x", "h", "g", "h0"))
    names = ("h0", "W_xh", "W_hh", "b_h")
    return Job(lambda: backward(g, x, h, h0, p["W_hh"]), lambda found: dict(zip(names, found, strict=True)))


def _targets(inputs: Inputs) -> Job:
    p, x, h, last = (inputs[name] for name in ("params", "x", "h", "target_T"))
    return Job(lambda: targets(x @ p["W_xh"] + p["b_h"], h, last, p["W_hh"]), lambda found: {"targets": found})


JOBS: Table = {"srn": _srn, "backward": _backward, "targets": _targets}
