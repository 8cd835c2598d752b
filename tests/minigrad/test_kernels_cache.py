"""Kernels are compiled once, by one process at a time, wherever there is a place to keep them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minigrad import kernels
from minigrad.errors import InputError

ROOT = Path(__file__).parent.parent.parent
USE = """
import sys
from minigrad import kernels
before = kernels.is_prepared("float32")
print(before, "numba" in sys.modules)
kernels.prepare("float32")
import numpy as np
from minigrad.kernels import srn
h = srn.forward(np.ones((2, 1, 3), "f"), np.zeros((1, 3), "f"), np.eye(3, dtype="f"), "tanh", "fused")
print(kernels.is_prepared("float32"), h.sum())
"""


def start(folder: Path, **environment: str) -> subprocess.Popen[str]:
    env = os.environ | {"NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": str(ROOT)} | environment
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", USE], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_several_processes_may_start_at_once_and_the_next_finds_everything(tmp_path: Path) -> None:
    at_once = [start(tmp_path / "cache") for _ in range(3)]
    answers = [process.communicate(timeout=300) for process in at_once]
    for process, (out, err) in zip(at_once, answers, strict=True):
        assert process.returncode == 0, err
        assert out.splitlines()[1].startswith("True")
    assert len({out.splitlines()[1] for out, _ in answers}) == 1  # all compute the same
    out, err = start(tmp_path / "cache").communicate(timeout=300)
    assert out.splitlines()[0] == "True False", err  # known to be there without importing Numba


def test_only_floating_point_dtypes_have_kernels() -> None:
    with pytest.raises(InputError, match="no fused kernels for int64"):
        kernels.prepare(np.int64)
    with pytest.raises(InputError, match="no fused kernels for float16"):
        kernels.is_prepared("float16")
