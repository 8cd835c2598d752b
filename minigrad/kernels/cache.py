"""Compiled kernels on disk: compiled once, by one process at a time, and never older than their sources.

Numba keeps machine code beside the source, in `__pycache__`, or in the user's cache folder where that is read-only, and
compiles a function again when the file that defines it changes. It does not see that a file which this one uses has
changed, and says nothing before it compiles. So a stamp is kept there too: a file whose name holds a hash of all kernel
sources and a hash of the machine, written when everything was compiled. Without a stamp of these sources the machine
code is thrown away first.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.errors import InputError

SOURCES = Path(__file__).parent
COMPILED = SOURCES / "fused"

_ready: set[tuple[str, str]] = set()  # the kernels, by name and dtype, that this process has begun to use


def is_prepared(kernel: str, dtype: Any) -> bool:
    """Whether a fused kernel lies compiled on disk; quick, and without importing Numba.

    Args:
        kernel: a name in CASES of `minigrad.kernels.cases`.
        dtype: float32 or float64, as a name or a NumPy dtype.

    Raises:
        InputError: if there are no fused kernels for the dtype.
    """
    key = kernel, _name(dtype)
    return key in _ready or _stamped(*key)


def prepare(kernel: str, dtype: Any) -> None:
    """Load a fused kernel, compiling it first (some seconds) unless it lies compiled on disk.

    Several processes may call this at once: one compiles, the others wait and load.

    Args:
        kernel: a name in CASES of `minigrad.kernels.cases`.
        dtype: float32 or float64, as a name or a NumPy dtype.

    Raises:
        InputError: if there are no fused kernels for the dtype.
    """
    key = kernel, _name(dtype)
    if key in _ready:
        return
    with contextlib.nullcontext() if _stamped(*key) else _locked():
        compiled = _stamped(*key)
        if not compiled:
            _discard_stale()
        _ready.add(key)  # the kernel that runs now must not ask for itself again
        try:
            _compile(*key)
        except BaseException:
            _ready.discard(key)
            raise
        if not compiled:
            _write_stamp(*key)


@functools.cache
def _name(dtype: Any) -> str:
    name: str = np.dtype(dtype).name
    if name not in ("float32", "float64"):
        raise InputError(f"no fused kernels for {name}: use float32, float64, or MINIGRAD_KERNELS=reference")
    return name


def _compile(kernel: str, dtype: str) -> None:
    """Call a kernel, since Numba compiles at a call; what lies on disk is loaded."""
    from minigrad.kernels.cases import CASES  # the kernels, which import this module

    CASES[kernel](lambda *shape: np.zeros(shape, dtype), "fused")


# ----------------------------------------------------------------------------------------------------------------------
# The stamp


@functools.cache
def _folder() -> Path | None:
    """Where stamps and the lock lie: the first place that can be written, in the order in which Numba looks."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    user = os.environ.get("LOCALAPPDATA") or os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    for place in (*([Path(chosen)] if chosen else []), COMPILED / "__pycache__", Path(user) / "minigrad"):
        with contextlib.suppress(OSError):
            place.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=place).close()
            return place
    return None


def _stamp(kernel: str, dtype: str) -> Path | None:
    folder = _folder()
    return folder / f"minigrad-{_sources()}-{_machine()}-{kernel}-{dtype}.json" if folder else None


def _stamped(kernel: str, dtype: str) -> bool:
    """Whether a stamp says that a kernel is compiled, and the files that it names are still there."""
    stamp = _stamp(kernel, dtype)
    if stamp is None:
        return False
    try:
        files = json.loads(stamp.read_text())
    except (OSError, ValueError):
        return False
    return bool(files) and all(Path(file).exists() for file in files)


def _write_stamp(kernel: str, dtype: str) -> None:
    stamp, files = _stamp(kernel, dtype), [str(file) for file in _index_files(kernel)]
    if stamp is not None and files:
        draft = stamp.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(files))
        draft.replace(stamp)


def _discard_stale() -> None:
    """Make Numba forget machine code of other sources, unless some of these sources is there already."""
    folder = _folder()
    if folder is None or any(folder.glob(f"minigrad-{_sources()}-*.json")):
        return
    from minigrad.kernels.cases import CASES

    for kernel in CASES:
        for file in _index_files(kernel):
            file.unlink(missing_ok=True)
    for file in folder.glob("minigrad-*.json"):
        file.unlink(missing_ok=True)


def _index_files(kernel: str) -> list[Path]:
    """Numba's index files of a fused kernel."""
    module = importlib.import_module(f"minigrad.kernels.fused.{kernel}")  # its functions are known once it is imported
    from minigrad.kernels.fused.compiler import COMPILED_KERNELS

    found: list[Path] = []
    for compiled in COMPILED_KERNELS:
        place, function = compiled.stats.cache_path, compiled.py_func
        if place and function.__module__ == module.__name__:
            found += Path(place).glob(f"{kernel}.{function.__qualname__}-*.nbi")
    return sorted(found)


@functools.cache
def _sources() -> str:
    """A hash of the kernel sources: their text, and the times by which Numba judges them."""
    digest = hashlib.sha256()
    for file in sorted(SOURCES.rglob("*.py")):
        digest.update(f"{file.relative_to(SOURCES)} {file.stat().st_mtime_ns}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def _machine() -> str:
    """A hash of what machine code depends on besides its source: versions, processor, settings of Numba."""
    facts = [sys.version, platform.machine(), _processor()]
    facts += [importlib.metadata.version(package) for package in ("numba", "llvmlite")]
    facts += [f"{key}={value}" for key, value in sorted(os.environ.items()) if key.startswith("NUMBA_")]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def _processor() -> str:
    """Name and abilities of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    kinds = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(kinds)}))


# ----------------------------------------------------------------------------------------------------------------------
# The lock


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Hold a lock that only one process on this machine can hold; the system releases it if the process dies."""
    folder = _folder()
    if folder is None:  # nothing is kept on disk, so there is nothing to guard
        yield
        return
    with open(folder / "minigrad-kernels.lock", "a+b") as file:
        if sys.platform == "win32":
            import msvcrt

            while True:
                with contextlib.suppress(OSError):  # it gives up after ten seconds
                    msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
                    break
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield
