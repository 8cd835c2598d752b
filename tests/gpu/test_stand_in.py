"""Everything that is to run on a GPU, on what stands in for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from minigrad import devices
from tests.gpu import harness
from tests.gpu.harness import CASES, Case


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """array-api-strict in the place of CuPy."""
    monkeypatch.setitem(devices.KINDS, "cuda", harness.Strict())
    monkeypatch.setenv("MINIGRAD_KERNELS", "reference")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_steps_agree(case: Case, tmp_path: Path) -> None:
    harness.steps_agree(case, tmp_path, harness.strict_traffic(), "float64", 1e-10)
