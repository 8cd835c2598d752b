"""One number of threads for every library, set before any of them is imported."""

from __future__ import annotations

import math
import os
from pathlib import Path

VARIABLES = (
    "OMP_NUM_THREADS",  # PyTorch, and OpenBLAS where it is built on OpenMP
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "MINIGRAD_THREADS",
    "NUMBA_NUM_THREADS",
    "NPROC",  # JAX: its pool on the CPU
    "PJRT_NPROC",  # JAX: the same in later versions
)


def environment(threads: int) -> dict[str, str]:
    """The environment variables that give every library so many threads, and keep JAX on the processor.

    NumPy's products keep one: this program shares its large ones out itself, and those of its peers are small.
    """
    return dict.fromkeys(VARIABLES, str(threads)) | {"OPENBLAS_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"}


def available() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pin(threads: int) -> list[int]:
    """Keep this process on so many cores, where the system can: their numbers, none where it cannot.

    A library that asks how many cores there are then gets the same answer as one that reads a variable.
    """
    if not hasattr(os, "sched_setaffinity"):
        return []
    chosen = _apart(sorted(os.sched_getaffinity(0)))[:threads]
    os.sched_setaffinity(0, chosen)
    return chosen


def worked() -> float:
    """Seconds that the cores of this process have worked so far, for whomever, and for other machines where this one is
    virtual; NaN: not known."""
    try:
        mine = {f"cpu{core}" for core in os.sched_getaffinity(0)}
        lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
        tick = os.sysconf("SC_CLK_TCK")
        # user, nice, system; then idle and waiting for a disk; then irq, softirq, steal. Guests are counted in user.
        return sum(sum(map(int, [*n[0:3], *n[5:8]])) for name, *n in lines if name in mine) / tick
    except (AttributeError, OSError, ValueError):
        return math.nan


def _apart(cores: list[int]) -> list[int]:
    """The same logical cores, one of every physical core first."""
    first: list[int] = []
    later: list[int] = []
    seen = set()
    for core in cores:
        siblings = _siblings(core)
        (later if siblings in seen else first).append(core)
        seen.add(siblings)
    return first + later


def _siblings(core: int) -> str:
    """The logical cores that share a physical one, in the words of the system."""
    try:
        return Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return str(core)
