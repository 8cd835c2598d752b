"""Which twin runs: by the arrays, by what was measured, or by what the environment says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import array_api_strict
import numpy as np
import pytest

from minigrad import kernels
from minigrad.errors import InputError
from minigrad.kernels import selection
from minigrad.kernels.cases import CASES

F32, F64 = np.zeros(1, "float32"), np.zeros(1)
MEASURED = {
    "srn float32": [[1, 8, 3.0], [64, 8, 0.5], [1, 1000, 0.9], [64, 1000, 1.0]],
    "srn float64": [[4, 16, 0.99]],
    "gru float32": [[4, 16, 2.0]],
}
"""Batch size, hidden units, ratio."""


@pytest.fixture(autouse=True)
def _auto(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINIGRAD_KERNELS", raising=False)


@pytest.fixture
def _measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """MEASURED in the place of the table."""
    file = tmp_path / "measured.json"
    file.write_text(json.dumps({"ratios": MEASURED}))
    caches = selection.faster, selection._table
    with monkeypatch.context() as context:
        context.setattr(selection, "FILE", file)
        for cached in caches:
            cached.cache_clear()
        yield
    for cached in caches:
        cached.cache_clear()


def test_the_twin_is_chosen_by_the_arrays() -> None:
    assert kernels.choose(F32) == kernels.choose(F64) == kernels.choose(F64, F64[None]) == "fused"
    for arrays in ((F32, F64), (F64 + 1j,), (array_api_strict.zeros(1),), (F32.astype("float16"),), (F64.astype(int),)):
        assert kernels.choose(*arrays) == "reference"
    with pytest.raises(TypeError, match="do not mix"):
        kernels.choose(F64, array_api_strict.zeros(1))


@pytest.mark.parametrize(
    ("kernel", "array", "size", "twin"),
    [
        ("srn", F32, (1, 8), "fused"),
        ("srn", F32, (64, 8), "reference"),
        ("srn", F32, (64, 1000), "fused"),  # as fast: fused
        ("srn", F32, (7, 88), "fused"),  # nearest by ratios, not by differences: (1, 8)
        ("srn", F32, (9, 88), "reference"),  # (64, 8)
        ("srn", F32, (7, 90), "reference"),  # (1, 1000)
        ("srn", F32, (9, 90), "fused"),  # (64, 1000)
        ("srn", F32, (10**6, 1), "reference"),
        ("srn", F64, (10**6, 1), "reference"),  # the only one that was measured
        ("gru", F32, (1, 1), "fused"),
        ("gru", F64, (1, 1), "fused"),  # not measured
        ("lstm", F32, (64, 8), "fused"),
        ("srn", F32, (0, 8), "fused"),  # nothing to do
        ("srn", F32, None, "fused"),
        ("srn", F64 + 1j, (1, 8), "reference"),
    ],
)
@pytest.mark.usefixtures("_measured")
def test_the_nearest_size_that_was_measured_decides(kernel: str, array: Any, size: Any, twin: str) -> None:
    assert kernels.choose(array, kernel=kernel, size=size) == twin
    assert kernels.twins((kernel, "scatter"), size, array)[kernel] == twin


def test_the_table_is_one_of_ratios_by_kernel_dtype_and_size() -> None:
    ratios = json.loads(selection.FILE.read_text())["ratios"]
    assert ratios.keys() <= {f"{kernel} {dtype}" for kernel in CASES for dtype in ("float32", "float64")}
    for name, rows in ratios.items():
        assert len({(batch, hidden) for batch, hidden, _ in rows}) == len(rows) > 0
        for batch, hidden, ratio in rows:
            assert batch >= 1
            assert hidden >= 1
            assert ratio > 0
            assert selection.faster(*name.split(), batch, hidden) == ("fused" if ratio >= 1 else "reference")


@pytest.mark.usefixtures("_measured")
def test_the_environment_forces_a_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGRAD_KERNELS", "reference")
    assert kernels.choose(F64) == "reference"
    assert kernels.twins(("srn", "gru"), (1, 8), F32) == {"srn": "reference", "gru": "reference"}
    monkeypatch.setenv("MINIGRAD_KERNELS", "fused")
    assert kernels.choose(F64) == "fused"
    assert kernels.twins(("srn", "gru"), (64, 8), F32) == {"srn": "fused", "gru": "fused"}
    with pytest.raises(InputError, match=r"MINIGRAD_KERNELS=fused is not possible here: .* complex128"):
        kernels.choose(F64 + 1j)
    monkeypatch.setenv("MINIGRAD_KERNELS", "fast")
    with pytest.raises(InputError, match="use reference, fused or auto"):
        kernels.choose(F64)
