"""NVIDIA's run-time compiler, where its package (`nvidia-cuda-nvrtc`) is installed; it needs no GPU."""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Sequence
from pathlib import Path


def _library() -> Path | None:
    spec = importlib.util.find_spec("nvidia")
    places = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    found = [file for place in places for file in sorted(place.rglob("libnvrtc.so*"))]
    return found[0] if found else None


LIBRARY = _library()


def compiled(text: str, architecture: str, flags: Sequence[str]) -> str:
    """What the compiler says of CUDA C++ for an architecture such as sm_90, registers included.

    Raises:
        RuntimeError: if it does not compile.
    """
    library, program = ctypes.CDLL(str(LIBRARY)), ctypes.c_void_p()
    options = [f"--gpu-architecture={architecture}", "--ptxas-options=-v", *flags]
    words = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"program.cu", 0, None, None)
    failed = library.nvrtcCompileProgram(program, len(options), words)
    size = ctypes.c_size_t()
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, log)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    if failed:
        raise RuntimeError(log.value.decode())
    return log.value.decode()
