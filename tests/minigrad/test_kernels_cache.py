"""Kernels are compiled once, each by itself, by one process at a time, wherever there is a place to keep them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from minigrad import kernels
from minigrad.errors import InputError
from minigrad.kernels import cache
from minigrad.kernels.cases import CASES
from tests.minigrad.recurrences import RECURRENCES, problem, run

ROOT = Path(__file__).parent.parent.parent
USE = """
import sys
from minigrad import kernels
print(kernels.is_prepared("scatter", "float32"), "numba" in sys.modules)
kernels.prepare("scatter", "float32")
import numpy as np
from minigrad.kernels.scatter import scatter_add
print(kernels.is_prepared("scatter", "float32"), scatter_add((3,), np.array([2, 0, 2]), np.ones(3, "f"), "fused"))
print(kernels.is_prepared("scatter", "float64"), kernels.is_prepared("readout", "float32"))
from minigrad.kernels.fused.compiler import COMPILED_KERNELS
print("compiled", sum(sum(kernel.stats.cache_misses.values()) for kernel in COMPILED_KERNELS))
"""
FOUND = ["True False", "True [1. 0. 2.]", "False False", "compiled 0"]
COMPILED = ["False False", "True [1. 0. 2.]", "False False", "compiled 1"]


def start(folder: Path) -> subprocess.Popen[str]:
    env = os.environ | {"NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", USE], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def answer(process: subprocess.Popen[str]) -> list[str]:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out.splitlines()


def test_several_processes_may_start_at_once_and_the_next_finds_everything(tmp_path: Path) -> None:
    answers = [answer(process) for process in [start(tmp_path) for _ in range(3)]]
    assert [lines[1:3] for lines in answers] == [COMPILED[1:3]] * 3
    assert sorted(lines[3] for lines in answers) == ["compiled 0", "compiled 0", "compiled 1"]
    assert answer(start(tmp_path)) == FOUND  # known to be there without importing Numba


@pytest.mark.skipif(sys.platform == "win32", reason="locks files in the way of POSIX")
def test_who_finds_another_compiling_waits(tmp_path: Path) -> None:
    import fcntl

    with open(tmp_path / "minigrad-kernels.lock", "a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        process = start(tmp_path)
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(timeout=4)
        assert not list(tmp_path.rglob("*.nbi"))
    assert answer(process) == COMPILED


def of_other_sources(folder: Path) -> None:
    for stamp in folder.glob("minigrad-*.json"):
        _, _, *rest = stamp.name.split("-")
        stamp.rename(folder / "-".join(["minigrad", "0123456789abcdef", *rest]))


def without_machine_code(folder: Path) -> None:
    for file in folder.rglob("*.nbi"):
        file.unlink()


def with_a_damaged_stamp(folder: Path) -> None:
    for stamp in folder.glob("minigrad-*.json"):
        stamp.write_text("[")


@pytest.mark.parametrize("damage", [of_other_sources, without_machine_code, with_a_damaged_stamp])
def test_what_is_stale_or_damaged_is_compiled_again(damage: Callable[[Path], None], tmp_path: Path) -> None:
    assert answer(start(tmp_path)) == COMPILED
    (stamp,) = tmp_path.glob("minigrad-*.json")
    damage(tmp_path)
    # with the stamp alone damaged, the machine code may serve on
    again = COMPILED[:3] + (["compiled 0"] if damage is with_a_damaged_stamp else ["compiled 1"])
    assert answer(start(tmp_path)) == again
    assert list(tmp_path.glob("minigrad-*.json")) == [stamp]
    assert answer(start(tmp_path)) == FOUND


def test_every_kernel_has_a_case() -> None:
    compiled = {file.stem for file in cache.COMPILED.glob("*.py") if "\n@kernel\n" in file.read_text()}
    assert compiled == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_a_case_compiles_all_of_its_kernel(name: str) -> None:
    from minigrad.kernels.fused.compiler import COMPILED_KERNELS

    kernels.prepare(name, "float32")
    compiled = [kernel for kernel in COMPILED_KERNELS if kernel.py_func.__module__.endswith(f".fused.{name}")]
    assert compiled
    assert all(kernel.signatures for kernel in compiled)


@pytest.mark.parametrize("name", RECURRENCES)
def test_the_first_call_compiles_for_all_that_follow(name: str) -> None:
    """One compilation for a dtype, whatever the shapes and layouts; those of other tests count too."""
    from minigrad.kernels.fused.compiler import COMPILED_KERNELS

    family = name.split()[0]
    kernels.prepare(family, "float32")
    p = problem(name, 3, 2, 4, 5, "float32")
    for i, array in enumerate(p.values()):
        array.flags.writeable = i % 2 == 0
    run(name, p, "fused")
    run(name, {label: np.asfortranarray(array)[..., ::-1] for label, array in p.items()}, "fused")
    compiled = [kernel for kernel in COMPILED_KERNELS if kernel.py_func.__module__.endswith(f".{family}")]
    for kernel in compiled:
        dtypes = {signature[0].dtype for signature in kernel.signatures}
        assert 1 <= len(kernel.signatures) == len(dtypes) <= 2
    assert compiled


def test_only_floating_point_dtypes_have_kernels() -> None:
    with pytest.raises(InputError, match="no fused kernels for int64"):
        kernels.prepare("srn", np.int64)
    with pytest.raises(InputError, match="no fused kernels for float16"):
        kernels.is_prepared("srn", "float16")
