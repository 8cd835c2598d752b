"""Layouts, programs and the choice of a CUDA twin: what can be said without running a kernel."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigrad import kernels
from minigrad.errors import InputError
from minigrad.kernels import srn
from minigrad.kernels.cases import CASES
from minigrad.kernels.cuda import geometry, launch
from minigrad.kernels.cuda.geometry import CELLS, CLUSTERS, ROWS, THREADS, Cell, Device
from minigrad.kernels.cuda.launch import Cupy, Program
from minigrad.kernels.libraries import CUDA, RECURRENCES
from tests.minigrad import nvrtc

HOPPER = Device(multiprocessors=132, shared=227 * 1024, clusters=CLUSTERS)
ROOT = Path(__file__).resolve().parents[2]
TURING = Device(multiprocessors=40, shared=64 * 1024, clusters=(1,))

cells = st.sampled_from(list(CELLS.values()))
devices = st.sampled_from([HOPPER, TURING, replace(HOPPER, multiprocessors=1)])


# --- layouts ---


@settings(max_examples=300, deadline=None, derandomize=True)
@given(cell=cells, H=st.integers(1, 600), B=st.integers(1, 3000), R=st.integers(1, 300), device=devices)
def test_a_layout_fits(cell: Cell, H: int, B: int, R: int, device: Device) -> None:
    plan = geometry.plan(cell, H, B, R, device)
    assert (plan is None) == bool(geometry.why_not(cell, H, device))
    if plan is None:
        return
    units = -(-H // plan.cluster)
    groups, splits = -(-units * cell.sums // plan.columns), -(-H * cell.values // plan.inner)
    assert plan.cluster in device.clusters
    assert plan.threads in THREADS
    assert plan.rows in ROWS
    assert plan.inner % 4 == 0
    assert plan.columns * plan.inner <= device.weights
    assert groups * splits <= plan.threads
    assert plan.rows * units <= plan.threads
    assert plan.shared <= device.shared
    assert plan.grid == (plan.cluster, -(-B // plan.rows), R)
    line = splits * (plan.inner if plan.inner // 4 % 2 else plan.inner + 4)
    floats = plan.rows * cell.lanes * (2 * line + splits * 4 * -(-groups * plan.columns // 4)) + units * cell.constants
    assert plan.shared >= 4 * floats


@settings(max_examples=100, deadline=None, derandomize=True)
@given(cell=cells, H=st.integers(1, 300), B=st.integers(1, 3000), R=st.integers(1, 300), device=devices)
def test_the_order_of_a_sum_depends_on_h_alone(cell: Cell, H: int, B: int, R: int, device: Device) -> None:
    """So that what becomes of a row depends neither on the batch nor on the number of runs."""
    one, many = geometry.plan(cell, H, 1, 1, device), geometry.plan(cell, H, B, R, device)
    if one is None or many is None:
        assert one is many
        return
    assert replace(one, rows=0, shared=0, grid=(0, 0, 0)) == replace(many, rows=0, shared=0, grid=(0, 0, 0))


@pytest.mark.parametrize(
    ("name", "hidden"), [("srn", 512), ("lstm", 256), ("gru", 288), ("antisymmetric", 512), ("target", 512)]
)
def test_sizes_that_one_launch_takes(name: str, hidden: int) -> None:
    passes = [cell for cell in CELLS.values() if cell.source == name]
    for H in range(1, hidden + 1):
        assert not any(geometry.why_not(cell, H, HOPPER) for cell in passes), H
    assert any(geometry.why_not(cell, hidden + 1, HOPPER) for cell in passes)


def test_a_gpu_without_clusters_takes_what_one_block_keeps() -> None:
    assert not geometry.why_not(CELLS["srn forward"], 128, TURING)
    reason = "srn forward of 256 units has 65,536 recurrent weights, and 1 multiprocessors keep 32,768"
    assert geometry.why_not(CELLS["srn forward"], 256, TURING) == reason
    with pytest.raises(ValueError, match="65,536 recurrent weights"):
        geometry.step_cycles(CELLS["srn forward"], 256, 1, 1, TURING)


def test_tiles_fill_the_gpu_once() -> None:
    plan = geometry.plan(CELLS["lstm forward"], 128, 128, 1, HOPPER)
    assert plan is not None
    assert (plan.cluster, plan.rows, plan.grid) == (2, 2, (2, 64, 1))
    assert geometry.step_cycles(CELLS["lstm forward"], 128, 128, 1, HOPPER) == 512


def test_the_table_of_the_document_is_computed() -> None:
    text = (ROOT / "docs" / "kernels.md").read_text().partition("### Computed, not measured")[2]
    rows = [[entry.strip() for entry in line.split("|")[1:-1]] for line in re.findall(r"^\| `.*", text, re.MULTILINE)]
    assert len(rows) == 7
    for name, *numbers, tiles, cycles, time in rows:
        T, B, H, C = map(int, numbers)
        passes = [cell for cell in CELLS.values() if f"`{cell.source}`" == name]
        each = [geometry.step_cycles(cell, H, B, 1, HOPPER) for cell in passes]
        assert cycles == " + ".join(f"{n:.0f}" for n in each)
        assert int(time) == round(T * sum(each) / 1.98e3)
        for cell in passes:
            plan = geometry.plan(cell, H, B, 1, HOPPER)
            assert plan is not None
            assert (plan.cluster, f"{plan.grid[1]} x {plan.rows}") == (C, tiles)


# --- programs ---


def test_a_source_is_in_one_piece() -> None:
    for cell in CELLS.values():
        text = launch.text(cell.source)
        assert "#include" not in text
        assert "#pragma once" not in text
        for file in ("cluster.cuh", "formulas.cuh", "recurrence.cuh"):
            first = (launch.SOURCES / file).read_text().splitlines()[0]
            assert text.count(first + "\n") == 1


def test_sources_are_shipped() -> None:
    settings = (ROOT / "pyproject.toml").read_text()
    assert '"kernels/cuda/sources/*"' in settings
    assert {file.suffix for file in launch.SOURCES.iterdir()} == {".cu", ".cuh"}
    assert {file.stem for file in launch.SOURCES.glob("*.cu")} == CUDA.keys() - {"updates"}
    assert set(RECURRENCES) == {cell.source for cell in CELLS.values()}


class Kernel:
    """What CuPy makes of a program."""

    def __init__(self, made: dict[str, Any]) -> None:
        self.made = made
        self.max_dynamic_shared_size_bytes = 0
        self.calls: list[Any] = []
        made["kernel"] = self

    def __call__(self, grid: Any, block: Any, arguments: Any, *, shared_mem: int) -> None:
        self.calls.append((grid, block, arguments, shared_mem))


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What CuPy is asked for, in the place of CuPy."""
    facts = {"major": 9, "minor": 0, "multiProcessorCount": 132, "sharedMemPerBlockOptin": 227 * 1024}
    made: dict[str, Any] = {"facts": facts}

    def module(**options: Any) -> Any:
        made.update(options, modules=made.get("modules", 0) + 1)
        return SimpleNamespace(get_function=lambda name: made.update(name=name) or Kernel(made))

    runtime = SimpleNamespace(getDeviceProperties=lambda number: facts | {"major": 9 - number})
    stand_in = SimpleNamespace(RawModule=module, cuda=SimpleNamespace(runtime=runtime))
    monkeypatch.setitem(sys.modules, "cupy", stand_in)
    yield made
    launch._kernel.cache_clear()
    launch._device.cache_clear()


def test_cupy_compiles_a_program_once_and_launches_it(cupy: dict[str, Any]) -> None:
    cell, array = CELLS["lstm backward"], np.zeros((2, 3), "float32")
    plan = geometry.plan(cell, 256, 128, 1, HOPPER)
    assert plan is not None
    program = launch.whole_sequence(cell, 256, plan, "linear")
    for _ in range(2):
        Cupy(0).launch(program, plan.grid, (array, 5, 0.5))
    assert cupy["modules"] == 1
    constants, source, rest = cupy["code"].partition(launch.text("lstm"))
    assert source
    assert not rest
    for constant in ("HIDDEN 256", "CLUSTER 8", "THREADS 512", "BACKWARD 1"):
        assert f"#define {constant}\n" in constants
    assert cupy["backend"] == "nvrtc"
    assert cupy["options"] == ("--std=c++17",)  # the same for all programs, and nothing that makes sums less exact
    kernel = cupy["kernel"]
    assert cupy["name"] == "program"
    assert kernel.max_dynamic_shared_size_bytes == program.shared > 48 * 1024
    assert len(kernel.calls) == 2
    grid, block, (first, whole, part), shared = kernel.calls[0]
    assert (grid, block, shared) == ((8, 16, 1), (512, 1, 1), program.shared)
    assert first is array
    assert isinstance(whole, np.int32)
    assert isinstance(part, np.float32)


def test_cupy_says_what_a_gpu_can_do(cupy: dict[str, Any]) -> None:
    assert Cupy(0).device == HOPPER
    assert Cupy(1).device.clusters == (1,)


def test_a_part_of_a_gpu_has_clusters_that_fit_into_it(cupy: dict[str, Any]) -> None:
    cupy["facts"]["multiProcessorCount"] = 5
    assert Cupy(0).device.clusters == (1, 2, 4)


@pytest.mark.parametrize(
    "array",
    [np.zeros(3), np.zeros(3, "int64"), np.zeros((2, 3), "float32").T, np.zeros((4, 3), "float32")[::2]],
)
def test_a_kernel_takes_32_bits_in_c_order_only(array: Any) -> None:
    with pytest.raises(ValueError, match="a kernel takes float32 or int32 in C order"):
        launch.packed((array,))


# --- the choice ---


class CupyArray:
    """As much of CuPy's array as the choice looks at."""

    device = "gpu 0"

    def __init__(self, dtype: str, shape: tuple[int, ...] = (1,)) -> None:
        self.dtype, self.shape, self.ndim = np.dtype(dtype), shape, len(shape)

    def __array_namespace__(self) -> ModuleType:
        return WRAPPED


WRAPPED = ModuleType("array_api_compat.cupy")
F32, F64 = CupyArray("float32"), CupyArray("float64")


@pytest.mark.parametrize("wish", ["auto", "fused", "reference", None])
def test_cuda_has_most_kernels_in_float32_and_the_update_rules_in_both(
    wish: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All else is plain array code on a GPU, whatever is asked for."""
    monkeypatch.delenv("MINIGRAD_KERNELS", raising=False)
    if wish:
        monkeypatch.setenv("MINIGRAD_KERNELS", wish)
    expected = {kernel: "fused" if kernel in CUDA and wish != "reference" else "reference" for kernel in CASES}
    assert kernels.twins(CASES, (1, 1024), F32) == expected
    assert kernels.twins(CASES, None, F32, F32) == expected
    assert kernels.choose(F32) == "reference"
    assert kernels.choose(F64) == "reference"
    for kernel in CASES:
        if wish == "fused" and kernel in CUDA.keys() - {"updates"}:
            with pytest.raises(InputError, match=r"fused is not possible here: .* cupy of dtype float32, not float64"):
                kernels.choose(F64, kernel=kernel)
        else:
            assert kernels.choose(F64, kernel=kernel) == (expected[kernel] if kernel == "updates" else "reference")


def test_a_twin_that_is_not_there_is_refused() -> None:
    def arrays(dtype: str) -> list[CupyArray]:
        return [CupyArray(dtype, shape) for shape in ((2, 1, 1), (1, 3), (1, 3), (3, 3), (3,))]

    with pytest.raises(InputError, match=r"srn\.forward: .* cupy of dtype float32, not float64; use the reference"):
        srn.forward(*arrays("float64"), "tanh", "fused")


# --- what a compiler makes of it ---

SIZES = ((17, 40, 2), (100, 20, 1), (128, 128, 1), (256, 128, 1))
"""H, B, R."""


def compiled(program: Program, architecture: str, folder: Path) -> str:
    """What the compiler says of a program, compiled as CuPy does."""
    compiler, flags = shutil.which("nvcc"), ["-std=c++17", "-ftz=true"]
    if compiler is None:
        return nvrtc.compiled(program.text(), architecture, flags)
    source = folder / f"{program.source}.cu"
    source.write_text(program.text())
    options = [f"-arch={architecture}", "-Xptxas", "-v", "-cubin", "-o", str(folder / "program.cubin")]
    done = subprocess.run([compiler, *options, *flags, str(source)], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return done.stdout + done.stderr


def assert_in_registers(report: str, threads: int) -> None:
    assert "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" in report, report
    used = int(report.partition("Used ")[2].split()[0])
    assert used * threads <= 65536, report


needs_a_compiler = pytest.mark.skipif(
    not (shutil.which("nvcc") or nvrtc.LIBRARY), reason="neither nvcc nor NVRTC is here"
)


@needs_a_compiler
@pytest.mark.parametrize("source", ["readout", "scatter"])
@pytest.mark.parametrize("architecture", ["sm_75", "sm_90"])
def test_compiling_what_works_by_blocks(source: str, architecture: str, tmp_path: Path) -> None:
    for threads in (32, 512):
        program = launch.by_blocks(source, threads, shared=4 * threads)
        assert_in_registers(compiled(program, architecture, tmp_path), threads)


@needs_a_compiler
@pytest.mark.parametrize("name", CELLS)
class TestCompiling:
    @pytest.mark.parametrize(("H", "B", "R"), SIZES)
    def test_for_hopper(self, name: str, H: int, B: int, R: int, tmp_path: Path) -> None:
        """Clusters; nothing spilt and no local memory up to the sizes that one launch is for."""
        plan = geometry.plan(CELLS[name], H, B, R, HOPPER)
        assert plan is not None
        program = launch.whole_sequence(CELLS[name], H, plan, "tanh")
        assert_in_registers(compiled(program, "sm_90", tmp_path), program.threads)

    def test_for_gpus_without_clusters(self, name: str, tmp_path: Path) -> None:
        plan = geometry.plan(CELLS[name], 33, 20, 1, TURING)
        assert plan is not None
        for program in (launch.whole_sequence(CELLS[name], 33, plan, "relu"), launch.single_step(CELLS[name], "tanh")):
            assert_in_registers(compiled(program, "sm_75", tmp_path), program.threads)
