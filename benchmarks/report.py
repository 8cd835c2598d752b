"""What was measured, as JSON and as a table."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from benchmarks.measure import OURS, Measured, Times, quartiles
from benchmarks.rows import PEERS
from benchmarks.threads import VARIABLES
from experiments.display import table
from experiments.run import manifest
from minigrad import kernels

FORMAT = 1
"""Version of the JSON."""

BUSY = 0.1
"""Part of our cores' time with others above which figures say nothing: threads that wait for each other lose far more
by it than one that works alone."""

_PACKAGES = ("numpy", "numba", "llvmlite", "torch", "jax", "jaxlib", "autograd", "mygrad")

Entry = dict[str, Any]


def document(rows: Sequence[Measured], peak: float, settings: Mapping[str, Any], cores: Sequence[int]) -> Entry:
    """Everything as one JSON object.

    Args:
        rows: in the order of the table.
        peak: FLOP/s of a large matrix product.
        settings: what was asked for.
        cores: the numbers of those that the process was kept on.
    """
    return {
        "format": FORMAT,
        "dtype": "float32",
        "settings": dict(settings),
        "machine": _machine(cores),
        "peak_flops": peak,
        "agreed": not any(measured.errors for measured in rows),
        "rows": [_row(measured, peak) for measured in rows],
    }


def _row(measured: Measured, peak: float) -> Entry:
    row, ours = measured.row, measured.times[OURS]
    # What the matrix products alone take at the peak, in seconds; all else would have to come for nothing.
    bound = row.flop / peak or None
    return {
        "name": row.name,
        "title": row.title,
        "sizes": dict(row.sizes),
        "steps": row.steps,
        "flop": row.flop,
        "ours": _times(ours),
        "share_of_peak": bound / ours.median if bound else None,
        "others": measured.others,
        "peers": {name: _peer(measured, name, bound) for name in measured.differences},
    }


def _peer(measured: Measured, name: str, bound: float | None) -> Entry:
    goal, ours, theirs = measured.row.peers[name], measured.times[OURS], measured.times.get(name)
    entry: Entry = {"goal": goal, "difference_over_tolerance": measured.differences[name]}
    if theirs is None:
        return {**entry, "error": measured.errors[name]}
    ratio = theirs.median / ours.median
    by_round = [b / a for a, b in zip(ours.seconds, theirs.seconds, strict=True)]
    return {
        **entry,
        "error": None,
        **_times(theirs),
        "ratio": ratio,
        "ratio_quartiles": quartiles(by_round),
        "reached": None if goal is None or measured.others > BUSY else ratio >= goal,
        "limit": theirs.median / bound if bound else None,
    }


def _times(times: Times) -> Entry:
    return {
        "median": times.median,
        "quartiles": times.quartiles,
        "rounds": len(times.seconds),
        "calls_per_round": times.calls,
    }


def _machine(cores: Sequence[int]) -> Entry:
    """Processor, versions, threads, kernels, revision."""
    known = manifest.entry(iteration=0, task="", device="cpu", kernels={})
    names = ("started", "python", "platform", "cpu", "cpu_features", "blas", "revision")
    return {
        **{name: known[name] for name in names},
        "cores": os.cpu_count(),
        "pinned_to": list(cores),
        "packages": _versions(),
        "environment": {name: os.environ.get(name) for name in VARIABLES},
        "kernels": _kernels(),
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _kernels() -> Entry:
    """Which twin runs for float32 arrays, and the processor that Numba compiles for."""
    import llvmlite.binding as llvm
    import numpy as np
    from numba.core import config as numba_config

    config: Any = numba_config
    features = config.CPU_FEATURES
    if features is None:
        features = "" if config.CPU_NAME else llvm.get_host_cpu_features().flatten()
    enabled = set(features.split(","))
    width = next((size for name, size in (("+avx512f", 64), ("+avx", 32)) if name in enabled), 16)
    return {
        "MINIGRAD_KERNELS": os.environ.get("MINIGRAD_KERNELS", "auto"),
        "twin": kernels.choose(np.zeros(1, np.float32)),
        "target": config.CPU_NAME or llvm.get_host_cpu_name(),
        "vector_bytes": width,
    }


# ----------------------------------------------------------------------------------------------------------------------
# The table

_HEAD = ("row", "ours", "peer", "its time", "ratio", "goal", "", "limit", "of peak")
_RIGHT = {1, 3, 4, 5, 7, 8}
"""Columns of numbers."""


def lines(found: Mapping[str, Any]) -> list[str]:
    """The document for people."""
    cells = [_HEAD, *(cells for row in found["rows"] for cells in _cells(row))]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    aligned = [
        [cell.rjust(width) if at in _RIGHT else cell for at, (cell, width) in enumerate(zip(line, widths, strict=True))]
        for line in cells
    ]
    return [*table(aligned), "", *_legend(found), *_doubts(found), *_disagreements(found)]


def _cells(row: Entry) -> list[tuple[str, ...]]:
    """A line a peer; the first one names the row."""
    share = "" if row["share_of_peak"] is None else f"{100 * row['share_of_peak']:.0f}%"
    first = (row["name"], _time(row["ours"], row["steps"]))
    rest = [_peer_cells(name, peer, row["steps"]) for name, peer in row["peers"].items()] or [("",) * 6]
    return [(*(("", "") if at else first), *cells, "" if at else share) for at, cells in enumerate(rest)]


def _verdict(peer: Entry) -> str:
    """Whether the goal is reached; `beyond`: the machine does not allow it; `busy`: nobody can tell."""
    if peer["goal"] is None:
        return ""
    if peer["reached"] is None:
        return "busy"
    beyond = peer["limit"] is not None and peer["limit"] < peer["goal"]
    return "yes" if peer["reached"] else "beyond" if beyond else "no"


def _peer_cells(name: str, peer: Entry, steps: int | None) -> tuple[str, ...]:
    """Peer, its time, ratio, goal, whether it is reached, limit."""
    goal = "" if peer["goal"] is None else f"{peer['goal']:g}"
    if peer["error"]:
        return name, "ERROR", "", goal, "", ""
    limit = "" if peer["limit"] is None else f"{peer['limit']:.{0 if peer['limit'] >= 100 else 1}f}"
    return name, _time(peer, steps), f"{peer['ratio']:.2f}", goal, _verdict(peer), limit


def _time(entry: Entry, steps: int | None) -> str:
    """A median for people: `3.21 ms`, `4.10 us/step`."""
    seconds = entry["median"] / (steps or 1)
    number, unit = (seconds * 1e3, "ms") if seconds >= 1e-3 else (seconds * 1e6, "us")
    digits = max(0, 2 - len(str(int(number))) + 1)
    return f"{number:.{digits}f} {unit}{'/step' if steps else ''}"


def _legend(found: Mapping[str, Any]) -> list[str]:
    machine, settings = found["machine"], found["settings"]
    packages = [f"{name} {machine['packages'][name]}" for name in ("numpy", *PEERS) if name in machine["packages"]]
    threads = settings["threads"]
    kernel = machine["kernels"]
    return [
        f"float32, {threads} thread{'s' if threads > 1 else ''} each of {machine['cores']} cores, {machine['cpu']}",
        ", ".join(dict.fromkeys(packages)),
        f"kernels: {kernel['twin']}, {8 * kernel['vector_bytes']}-bit vectors;"
        f" peak: {found['peak_flops'] / 1e9:.0f} GFLOP/s, NumPy's product of two 1024 x 1024 matrices",
        "ratio: the peer's time over ours, of medians; of peak: our matrix products, per second, over the peak",
        "limit: the ratio of a program with its products at the peak and all else for nothing; goals above it: beyond",
    ]


def _doubts(found: Mapping[str, Any]) -> list[str]:
    """Rows that were measured while others wanted the same cores."""
    busy = [f"{row['name']} {100 * row['others']:.0f}%" for row in found["rows"] if row["others"] > BUSY]
    return [f"BUSY MACHINE, measure again: part of our cores' time that others had: {', '.join(busy)}"] if busy else []


def _disagreements(found: Mapping[str, Any]) -> list[str]:
    return [
        f"ERROR {row['name']}: {name} computes something else: {peer['error']}"
        for row in found["rows"]
        for name, peer in row["peers"].items()
        if peer["error"]
    ]
