"""Whether this machine has what the laboratory needs."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from experiments.display import duration
from experiments.exits import FAILED, FINISHED, one_line
from experiments.record import dump
from minigrad.errors import InputError

PACKAGES = {
    "": ("numpy", "scipy", "numba", "llvmlite"),
    "lab": ("tyro", "rich", "matplotlib", "safetensors"),
    "test": ("pytest", "hypothesis", "pytest-xdist", "array-api-strict"),
}
"""What is used, by the extra that installs it; only the test extra can be missed."""


@dataclass(frozen=True)
class Finding:
    """What was found out about one thing."""

    name: str
    state: Literal["ok", "note", "FAILED"]
    """`note`: worth knowing, nothing to mend."""
    detail: str


def examine(as_json: bool) -> int:
    """Look at everything, print a line each; 0 if runs can be trained here, otherwise 1.

    Args:
        as_json: print one JSON object in place of the lines.
    """
    findings = []
    for finding in _findings():
        findings.append(finding)
        if not as_json:
            print(f"{finding.state:<6}  {finding.name:<16}  {finding.detail}", flush=True)
    usable = all(finding.state != "FAILED" for finding in findings)
    if as_json:
        print(dump({"usable": usable, "findings": findings}))
    else:
        print("this machine is ready" if usable else "something is missing: see the lines marked FAILED")
    return FINISHED if usable else FAILED


def _findings() -> Iterator[Finding]:
    for name, part in _PARTS.items():
        try:
            yield from part()
        except Exception as error:  # a part that cannot even be looked at is a finding too
            yield Finding(name, "FAILED", one_line(f"{type(error).__name__}: {error}")[:300])


def _packages() -> Iterator[Finding]:
    yield Finding("python", "ok", f"{platform.python_version()} at {sys.executable}")
    for extra, names in PACKAGES.items():
        for name in names:
            try:
                yield Finding(name, "ok", metadata.version(name))
            except metadata.PackageNotFoundError:
                state: Literal["note", "FAILED"] = "note" if extra == "test" else "FAILED"
                yield Finding(name, state, f"not installed: pip install '.{f'[{extra}]' if extra else ''}'")


def _machine() -> Iterator[Finding]:
    from experiments.run import manifest

    entry = manifest.entry(iteration=0, task="", device="cpu", kernels={})
    yield Finding("platform", "ok", entry["platform"])
    features = entry["cpu_features"]
    vectors = f", {', '.join(features)}" if isinstance(features, list) and features else ""
    yield Finding("processor", "ok", f"{entry['cpu']}, {entry['cores']} cores{vectors}")
    blas = entry["blas"]
    yield Finding("BLAS", "ok", f"{blas.get('name')} {blas.get('version')}" if isinstance(blas, dict) else str(blas))
    chosen = [f"{name}={value}" for name, value in entry["threads"].items() if value is not None]
    yield Finding("threads", "ok", ", ".join(chosen) or "chosen by the libraries")


def _kernels() -> Iterator[Finding]:
    """Every fused kernel on a small random case beside its reference, in both precisions."""
    from minigrad.kernels.cases import CASES

    wanted = os.environ.get("MINIGRAD_KERNELS", "")
    known = wanted in ("", "auto", "reference", "fused")
    yield Finding("MINIGRAD_KERNELS", "ok" if known else "FAILED", wanted or "not set: auto")
    print("compiling the kernels, which takes a while the first time ...", file=sys.stderr, flush=True)
    for name in CASES:
        start = time.perf_counter()
        gap = max(_gap(name, dtype) for dtype in ("float32", "float64"))
        seconds = duration(time.perf_counter() - start)
        detail = f"fused and reference differ by {gap:.1g} of what rounding allows ({seconds})"
        yield Finding(f"kernel {name}", "ok" if gap <= 1 else "FAILED", detail)


def _gap(name: str, dtype: str) -> float:
    """Largest difference of the two twins of a kernel, in units of the tolerance, 1,000 roundings."""
    import numpy as np

    from minigrad.kernels.cases import CASES

    outcomes = []
    for twin in ("reference", "fused"):
        rng = np.random.default_rng(0)
        outcomes.append(CASES[name](lambda *shape, rng=rng: rng.normal(0, 0.3, shape).astype(dtype), twin))
    differences = [np.max(np.abs(a - b)) for a, b in zip(*outcomes, strict=True)]
    return float(np.max(differences) / (1_000 * np.finfo(dtype).eps))  # NaN stays NaN


def _gpu() -> Iterator[Finding]:
    """The GPU, or why there is none; several packages of CuPy side by side overwrite each other's files."""
    from minigrad import devices

    try:
        devices.use("cuda")
        yield Finding("GPU", "ok", devices.describe("cuda"))
    except InputError as error:
        yield Finding("GPU", "note", str(error))
    names = sorted({str(found.name) for found in metadata.distributions() if str(found.name).startswith("cupy")})
    if len(names) > 1:
        yield Finding("CuPy", "FAILED", f"{' and '.join(names)} are installed: keep one, pip uninstall the others")


def _folders() -> Iterator[Finding]:
    from experiments.run.settings import Settings

    folder = Path(Settings().runs_dir)
    nearest = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=nearest):
            pass
    except OSError as error:
        yield Finding("runs", "FAILED", f"cannot write in {nearest}: {error.strerror} (choose another with --runs-dir)")
    else:
        yield Finding("runs", "ok", f"{folder} can be written")


_PARTS: dict[str, Callable[[], Iterator[Finding]]] = {
    "packages": _packages,
    "machine": _machine,
    "kernels": _kernels,
    "GPU": _gpu,
    "folders": _folders,
}
