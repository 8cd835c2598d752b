"""A stand-in for a GPU: the CUDA kernels compiled by the host's C++ compiler, their threads run as fibers.

cluster.cuh    what takes the place of the kernels' file of this name
fibers.cpp     the threads of a cluster, their barriers and shared memory

It runs what the kernels compute and how their threads wait for each other, on NumPy arrays; not what a GPU's compiler
makes of them, nor how fast that is.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minigrad.kernels import libraries
from minigrad.kernels.cuda import sequences, updates
from minigrad.kernels.cuda.geometry import CLUSTERS, Device
from minigrad.kernels.cuda.launch import Program, packed
from minigrad.kernels.cuda.updates import TYPES, Elementwise

HERE = Path(__file__).parent
COMPILER = shutil.which("g++")
OPTIONS = ("-O1", "-std=c++17", "-fPIC", "-U_FORTIFY_SOURCE", "-ffp-contract=off", "-w")
HOPPER = Device(multiprocessors=132, shared=227 * 1024, clusters=CLUSTERS)
"""What an H200 says of itself."""
AROUND = np.full(1024, np.nan, "float32")
"""What lies before and behind an array while a program runs."""


@dataclass(frozen=True)
class Host:
    """The stand-in, with the abilities of some GPU."""

    device: Device = HOPPER
    order: int = 0
    """In which threads take turns; see `fibers.cpp`."""

    def on(self, array: Any) -> AbstractContextManager[Any]:
        """There is one device."""
        return contextlib.nullcontext()

    def launch(self, program: Program, grid: tuple[int, int, int], arguments: Sequence[Any]) -> None:
        """Run a program to its end.

        Raises:
            RuntimeError: if its threads do what they must not.
        """
        assert grid[0] % program.cluster == 0, grid
        held: list[Any] = []
        guarded: list[tuple[Any, Any]] = []
        for argument in packed(arguments):
            if isinstance(argument, np.ndarray):
                guarded.append((argument, np.concatenate((AROUND, argument.ravel().view("float32"), AROUND))))
                held.append(ctypes.c_void_p(guarded[-1][1].ctypes.data + AROUND.nbytes))
            elif isinstance(argument, np.int32):
                held.append(ctypes.c_int32(int(argument)))
            else:
                held.append(ctypes.c_float(float(argument)))
        addresses = (ctypes.c_void_p * len(held))(*map(ctypes.addressof, held))
        run = _compiled(program).run
        wrong = launched(run, addresses, grid, program.cluster, program.threads, program.shared, self.order)
        if wrong:
            raise RuntimeError(f"{program.source}: {wrong}")
        for number, (array, copy) in enumerate(guarded):
            for margin in (copy[: AROUND.size], copy[-AROUND.size :]):
                if (margin.view("uint32") != AROUND.view("uint32")).any():
                    raise RuntimeError(f"{program.source}: a write outside of array {number}, {array.shape}")
            array[...] = copy[AROUND.size : -AROUND.size].view(array.dtype).reshape(array.shape)


def take_the_place_of_cupy(patch: pytest.MonkeyPatch, host: Host) -> None:
    """Make NumPy's arrays count as CuPy's, with a stand-in as their GPU."""
    patch.setattr(libraries, "is_cupy", lambda xp: True)
    patch.setattr(sequences, "machine_of", lambda array: host)
    patch.setattr(updates, "by_cupy", elementwise)


def elementwise(function: Elementwise) -> Callable[..., Any]:
    """In the place of `updates.by_cupy`: a loop over the elements."""
    kind = TYPES[function.dtype]
    taken = "".join(f"{kind} {name} = in[{i}][e]; " for i, name in enumerate(function.inputs))
    made = "".join(f"{kind} {name}; " for name in function.outputs)
    given = "".join(f"out[{i}][e] = {name}; " for i, name in enumerate(function.outputs))
    loop = f"for (long e = 0; e < n; ++e) {{ {taken}{made}{function.operation} {given}}}"
    entry = f'extern "C" void run(long n, {kind}** in, {kind}** out) {{ {loop} }}'
    library = ctypes.CDLL(str(_built(f"#include <cmath>\nusing std::sqrt;\n{entry}\n")))

    def call(*arguments: Any) -> Any:
        assert len(arguments) == len(function.inputs)
        assert all(isinstance(a, float) or a.dtype == function.dtype for a in arguments), function.name
        broadcast = np.broadcast_arrays(*(np.asarray(a, function.dtype) for a in arguments))
        old = [np.array(array, order="C") for array in broadcast]
        new = [np.empty(old[0].shape, function.dtype) for _ in function.outputs]
        pointers = ((ctypes.c_void_p * len(group))(*(a.ctypes.data for a in group)) for group in (old, new))
        library.run(ctypes.c_long(old[0].size), *pointers)
        return new[0] if len(new) == 1 else tuple(new)

    return call


def launched(
    run: Any, addresses: Any, grid: tuple[int, int, int], cluster: int, threads: int, shared: int, order: int
) -> str:
    """Launch a kernel by its `run`; what went wrong, or nothing."""
    wrong = _fibers().host_launch(run, addresses, *grid, cluster, threads, shared, order)
    return wrong.decode() if wrong else ""


def compiled(text: str) -> ctypes.CDLL:
    """A library of a kernel `program`, whose `run` takes the addresses of the kernel's arguments."""
    _fibers()  # whose names the library needs
    entry = 'extern "C" void run(void** arguments) { call(program, arguments); }\n'
    return ctypes.CDLL(str(_built(text + entry)))


@functools.cache
def _compiled(program: Program) -> ctypes.CDLL:
    stand_in = {"cluster.cuh": (HERE / "cluster.cuh").read_text()}
    return compiled(program.text(stand_in))


@functools.cache
def _fibers() -> ctypes.CDLL:
    library = ctypes.CDLL(str(_built((HERE / "fibers.cpp").read_text())), mode=ctypes.RTLD_GLOBAL)
    library.host_launch.restype = ctypes.c_char_p
    return library


@functools.cache
def _built(text: str, *options: str) -> Path:
    """A shared library of some C++."""
    folder = Path(_folder().name)
    source = folder / f"{hashlib.sha256(repr((text, options)).encode()).hexdigest()[:20]}.cpp"
    source.write_text(text)
    library = source.with_suffix(".so")
    command = [str(COMPILER), *OPTIONS, *_native(), *options, "-shared", "-o", str(library), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
    return library


@functools.cache
def _native() -> tuple[str, ...]:
    """Options for this machine's multiply-add; without one it is a slow function."""
    command = [str(COMPILER), "-march=native", "-fsyntax-only", "-x", "c++", os.devnull]
    return ("-march=native",) if subprocess.run(command, capture_output=True, check=False).returncode == 0 else ()


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Of this process, gone with it."""
    return tempfile.TemporaryDirectory(prefix="minigrad-cuda-host-", ignore_cleanup_errors=True)
