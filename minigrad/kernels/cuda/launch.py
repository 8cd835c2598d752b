"""Kernels from their sources to the GPU: the constants of a program, its text, and CuPy, which compiles and launches.

A program is compiled at its first launch, about a second; CuPy keeps the machine code on disk (CUPY_CACHE_DIR), under a
hash of the text, the GPU and the compiler. The constants are part of the text: CuPy asks the compiler about every new
set of options before it looks on the disk.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from minigrad.backend import Array
from minigrad.kernels.cuda.geometry import CLUSTERS, Cell, Device, Plan

SOURCES = Path(__file__).with_name("sources")
ACTIVATIONS = ("tanh", "sigmoid", "relu", "linear")
"""In the order of their numbers in `formulas.cuh`."""
STEP_THREADS = 256
"""Threads of a block where a launch is one step."""
PACKED = (np.dtype(np.float32), np.dtype(np.int32))
"""Number types of arrays that kernels take."""
ALWAYS_THERE = 48 * 1024
"""Bytes of shared memory that a kernel has without asking."""


@dataclass(frozen=True)
class Program:
    """A kernel with all its constants."""

    source: str
    """Name of the file in `sources`, without its ending."""
    constants: tuple[tuple[str, int], ...]
    """Macros that it is compiled with."""
    threads: int
    """Of a block."""
    cluster: int = 1
    """Blocks of a cluster."""
    shared: int = 0
    """Bytes of shared memory of a block."""

    def text(self, instead: Mapping[str, str] = MappingProxyType({})) -> str:
        """All that a compiler is given: the constants, and the source in one piece, see `text`."""
        return "".join(f"#define {name} {value}\n" for name, value in self.constants) + text(self.source, instead)


def whole_sequence(cell: Cell, H: int, plan: Plan, activation: str) -> Program:
    """The kernel of which one launch is all steps."""
    constants = {
        "HIDDEN": H,
        "CLUSTER": plan.cluster,
        "THREADS": plan.threads,
        "COLUMNS": plan.columns,
        "INNER": plan.inner,
        "ROWS": plan.rows,
    }
    return Program(
        cell.source, _constants(cell, constants, activation), plan.threads, cluster=plan.cluster, shared=plan.shared
    )


def single_step(cell: Cell, activation: str) -> Program:
    """The kernel of which one launch is what follows the product of one step."""
    constants = {"STEPWISE": 1, "CLUSTER": 1, "THREADS": STEP_THREADS}
    return Program(cell.source, _constants(cell, constants, activation), STEP_THREADS)


def by_blocks(source: str, threads: int, shared: int) -> Program:
    """A kernel whose blocks have nothing to do with each other, compiled for a number of threads alone."""
    return Program(source, (("CLUSTER", 1), ("THREADS", threads)), threads, shared=shared)


def _constants(cell: Cell, constants: dict[str, int], activation: str) -> tuple[tuple[str, int], ...]:
    backward = {"BACKWARD": 1} if cell.direction == "backward" else {}
    return tuple({**constants, **backward, "ACTIVATION": ACTIVATIONS.index(activation)}.items())


def text(source: str, instead: Mapping[str, str] = MappingProxyType({})) -> str:
    """A source in one piece: CuPy's cache would not see that an included file has changed.

    Args:
        source: name of the file in `sources`, without its ending.
        instead: texts that take the place of included files, by name.
    """
    seen: set[str] = set()

    def included(file: str) -> str:
        if file in seen:
            return ""
        seen.add(file)
        lines = (instead[file] if file in instead else (SOURCES / file).read_text()).splitlines(keepends=True)
        return "".join(map(line, lines))

    def line(written: str) -> str:
        include = re.fullmatch(r'#include "(\w+\.cuh)"\n', written)
        return included(include[1]) if include else "" if written == "#pragma once\n" else written

    return included(f"{source}.cu")


class Machine(Protocol):
    """What runs programs: a GPU, or a stand-in for one."""

    @property
    def device(self) -> Device:
        """What it can do."""

    def on(self, array: Array) -> AbstractContextManager[Any]:
        """Makes the device of an array the one on which new arrays lie and programs run."""

    def launch(self, program: Program, grid: tuple[int, int, int], arguments: Sequence[Array | int | float]) -> None:
        """Run a program: arrays of 32-bit numbers in C order and 32-bit numbers, in the order of the kernel."""


@dataclass(frozen=True)
class Cupy:
    """The GPU of a number."""

    number: int

    @property
    def device(self) -> Device:
        """What it can do."""
        return _device(self.number)

    def on(self, array: Array) -> AbstractContextManager[Any]:
        """Makes the device of an array the one on which new arrays lie and programs run."""
        context: AbstractContextManager[Any] = array.device
        return context

    def launch(self, program: Program, grid: tuple[int, int, int], arguments: Sequence[Array | int | float]) -> None:
        """Run a program in CuPy's current stream."""
        kernel = _kernel(program, self.number)
        kernel(grid, (program.threads, 1, 1), packed(arguments), shared_mem=program.shared)


def packed(arguments: Sequence[Array | int | float]) -> tuple[Any, ...]:
    """Arguments as a kernel takes them: 32-bit numbers, and arrays as they are.

    Raises:
        ValueError: if an array is not float32 or int32 in C order.
    """
    found: list[Any] = []
    for argument in arguments:
        if isinstance(argument, int | float):
            found.append(np.int32(argument) if isinstance(argument, int) else np.float32(argument))
        elif argument.dtype in PACKED and argument.flags.c_contiguous:
            found.append(argument)
        else:
            raise ValueError(f"a kernel takes float32 or int32 in C order, not {argument.dtype} {argument.shape}")
    return tuple(found)


@functools.cache
def _device(number: int) -> Device:
    import cupy

    found = cupy.cuda.runtime.getDeviceProperties(number)
    # A part of a GPU (MIG) can be smaller than a cluster.
    most = found["multiProcessorCount"] if (found["major"], found["minor"]) >= (9, 0) else 1
    clusters = tuple(size for size in CLUSTERS if size <= most)
    return Device(found["multiProcessorCount"], found["sharedMemPerBlockOptin"], clusters)


@functools.lru_cache(maxsize=512)
def _kernel(program: Program, number: int) -> Any:
    """A compiled kernel on the GPU of a number, which is the current one."""
    import cupy

    module = cupy.RawModule(code=program.text(), options=("--std=c++17",), backend="nvrtc")
    kernel = module.get_function("program")
    if program.shared > ALWAYS_THERE:
        kernel.max_dynamic_shared_size_bytes = program.shared
    return kernel
