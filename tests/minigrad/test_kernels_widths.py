"""The fused kernels compiled for other processors: narrower vectors, other tiles, no fused multiply-add.

LLVM splits the 64-byte vectors of the kernels for any processor. The tests of the kernels run once more, in a process
of their own in which Numba compiles for another one.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import llvmlite.binding
import pytest

ROOT = Path(__file__).parent.parent.parent
HERE = Path(__file__).parent.relative_to(ROOT)

WIDTHS = {
    "baseline": ("generic", "", ""),
    "avx": ("sandybridge", "+avx", "%ymm"),
    "avx2": ("haswell", "+avx,+avx2,+fma", "%ymm vfmadd"),
    "avx512": ("skylake-avx512", "+avx,+avx2,+fma,+avx512f,+avx512dq,+avx512vl,+avx512bw", "%zmm %ymm vfmadd"),
}
"""Name and abilities of a processor, and what gives itself away in the machine code."""

RUN = """
import sys
import pytest
status = pytest.main(sys.argv[1:])
from minigrad.kernels.fused.compiler import COMPILED_KERNELS
code = "".join(code for kernel in COMPILED_KERNELS for code in kernel.inspect_asm().values())
print("machine code with:", *(word for word in ("%zmm", "%ymm", "vfmadd") if word in code))
sys.exit(status)
"""


def run_tests(width: str, cache: Path, *tests: str, options: tuple[str, ...] = ()) -> None:
    """Run tests of kernels in a process that compiles for another processor, and see that it did."""
    name, features, signs = WIDTHS[width]
    here = llvmlite.binding.get_host_cpu_features()
    if features and not (platform.machine() in ("x86_64", "AMD64") and all(here[f[1:]] for f in features.split(","))):
        pytest.skip(f"this processor has no {width}")
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "MINIGRAD_", "COV"))}
    env |= {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(cache)}
    env |= {"OPENBLAS_NUM_THREADS": "1"}
    quiet = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header", "--tb=short", "--maxfail=5")
    command = [sys.executable, "-c", RUN, *quiet, *options, *(f"{HERE}/test_kernels_{test}" for test in tests)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    assert done.stdout.splitlines()[-1].removeprefix("machine code with:").strip() == signs


def test_all_kernels_on_the_narrowest_vectors(tmp_path: Path) -> None:
    tests = (
        "recurrences.py::test_fused_equals_reference",
        "recurrences.py::test_nothing_is_read_beyond_an_array",
        "activations.py",
        "readout.py::test_both_twins_are_the_definition",
        "readout.py::test_rows_are_added_in_one_order_by_both_twins",
        "updates.py::test_both_twins_to_the_bit",
    )
    run_tests("baseline", tmp_path, *tests, options=("-k", "not float64"))


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_all_kernels_in_both_precisions(width: str, tmp_path: Path) -> None:
    run_tests(width, tmp_path, "recurrences.py", "activations.py", "readout.py", "updates.py")
