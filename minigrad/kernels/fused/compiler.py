"""Numba and llvmlite as this package uses them: untyped, because their own annotations are partial and change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import llvmlite.binding as _binding
import numba as _numba
import numba.core.cgutils as _cgutils
import numba.core.config as _config
import numba.extending as _extending
from llvmlite import ir as _ir

Function = TypeVar("Function", bound=Callable[..., Any])

ir: Any = _ir
cgutils: Any = _cgutils
types: Any = _numba.types

COMPILED_KERNELS: list[Any] = []
"""Every function that `kernel` compiles."""


def kernel(function: Function) -> Any:
    """A function that Python calls: compiled at the first call for a dtype, and kept on disk where there is a place."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    njit: Any = _numba.njit
    try:
        compiled = njit(function, cache=True, **options)
    except RuntimeError:  # neither beside the source nor in the user's cache folder
        compiled = njit(function, **options)
    COMPILED_KERNELS.append(compiled)
    return compiled


def part(function: Function) -> Function:
    """A function that kernels call."""
    njit: Any = _numba.njit
    return cast(Function, njit(function, error_model="numpy"))


def phrase(function: Function) -> Function:
    """A function that is written out where it is called: a few lines compile faster there than by themselves."""
    njit: Any = _numba.njit
    return cast(Function, njit(function, error_model="numpy", inline="always"))


def intrinsic(function: Callable[..., Any]) -> Any:
    """A function that kernels call and whose LLVM code it returns itself."""
    decorate: Any = _extending.intrinsic
    return decorate(function)


def target_features() -> str:
    """What the processor that Numba compiles for can do, in LLVM's words."""
    config: Any = _config
    if config.CPU_FEATURES is not None:
        return str(config.CPU_FEATURES)
    return str(_binding.get_host_cpu_features().flatten())  # also where a CPU is named: Numba does the same
