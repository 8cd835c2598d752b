"""Data that do not ship with the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from datasets import cifar
from minigrad.errors import InputError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def real_mnist() -> Path:
    """A data folder with the published files of MNIST; without one, the test is skipped."""
    folder = _data()
    if not (folder / "mnist").is_dir():
        pytest.skip("needs MNIST: name a folder that holds mnist/ in MINIGRAD_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def real_cifar() -> Path:
    """A data folder with the first training file and the test file of CIFAR-10; without one, the test is skipped."""
    folder = _data()
    try:
        cifar.find(folder, 1)
    except InputError:
        pytest.skip("needs CIFAR-10: name a folder that holds cifar10/ in MINIGRAD_TEST_DATA")
    return folder


def _data() -> Path:
    chosen = os.environ.get("MINIGRAD_TEST_DATA")
    return Path(chosen) if chosen else ROOT.parent / "shared" / "data"
