"""Data that do not ship with the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def real_mnist() -> Path:
    """A data folder with the published files of MNIST; without one, the test is skipped."""
    chosen = os.environ.get("MINIGRAD_TEST_DATA")
    folder = Path(chosen) if chosen else ROOT.parent / "shared" / "data"
    if not (folder / "mnist").is_dir():
        pytest.skip("needs MNIST: name a folder that holds mnist/ in MINIGRAD_TEST_DATA")
    return folder
