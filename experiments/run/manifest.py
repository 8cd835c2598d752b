"""What a run ran on: everything that bitwise equality of two runs depends on besides config.json."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from experiments import files
from experiments.errors import RunError, cause
from experiments.run.rundir import Run, read_json
from minigrad import devices

FORMAT = 1
"""Version of manifest.json."""

_PACKAGES = ("minigrad-lab", "numpy", "scipy", "numba", "llvmlite", "safetensors", *devices.PACKAGES)
_THREADS = ("MINIGRAD_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def entry(
    iteration: int, task: str, device: str, kernels: Mapping[str, str], data: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What one process that trains a run runs on.

    Args:
        iteration: the last one that was done before.
        task: its name.
        device: of the Settings.
        kernels: which twin of each fused recurrence ran.
        data: checksums of what the files of data hold, by their names (`datasets.originals.digests`).
    """
    return {
        "from_iteration": iteration,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "task": task,
        "data": dict(data or {}),
        "python": platform.python_version(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cpu_features": _numpy_build("SIMD Extensions", "found"),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": {name: os.environ.get(name) for name in _THREADS},
        "blas": _numpy_build("Build Dependencies", "blas"),
        "device": devices.describe(device),
        "MINIGRAD_KERNELS": os.environ.get("MINIGRAD_KERNELS", "auto"),
        "kernels": dict(kernels),
        "revision": _revision(),
    }


def add(run: Run, new: Mapping[str, Any]) -> None:
    """Append an entry to manifest.json: a run that was resumed has one for every process that trained it."""
    _write(run, [*_entries(run), dict(new)])


def data_of(run: Run) -> dict[str, Any]:
    """Checksums of the data that a run has read so far, by the names of the files; empty where none were kept.

    Raises:
        RunError: if the manifest is damaged.
    """
    known: dict[str, Any] = {}
    for each in _entries(run):
        data = each.get("data") if isinstance(each, dict) else None
        known |= data if isinstance(data, dict) else {}
    return known


def _entries(run: Run) -> list[dict[str, Any]]:
    if not run.manifest.exists():
        return []
    entries = read_json(run.manifest, "delete it and resume the run").get("processes")
    return entries if isinstance(entries, list) else []


def _write(run: Run, entries: list[dict[str, Any]]) -> None:
    text = json.dumps({"format": FORMAT, "processes": entries}, indent=2) + "\n"
    try:
        files.write_atomic(run.manifest, text.encode())
    except OSError as error:
        raise RunError(f"cannot write {run.manifest} ({cause(error)}): make room and resume the run") from error


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _numpy_build(*keys: str) -> Any:
    """A part of NumPy's record of its own build; None where this NumPy has no such part."""
    import numpy as np

    part: Any = np.show_config(mode="dicts")
    for key in keys:
        part = part.get(key) if isinstance(part, dict) else None
    if isinstance(part, dict):
        return {name: part[name] for name in ("name", "version", "openblas configuration") if name in part}
    return part


def _revision() -> str | None:
    """The git revision of this program, `-dirty` appended where files differ from it; None outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
