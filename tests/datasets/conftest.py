"""Data that do not ship with the project, a server of data, and a cache folder that is nobody's."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from datasets import cifar
from minigrad.errors import InputError
from tests.datasets.downloads import Server

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of data that do not ship with the project."""
    chosen = os.environ.get("MINIGRAD_TEST_DATA")
    return Path(chosen) if chosen else ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def real_mnist(real_data: Path) -> Path:
    """A data folder with the published files of MNIST; without one, the test is skipped."""
    if not (real_data / "mnist").is_dir():
        pytest.skip("needs MNIST: name a folder that holds mnist/ in MINIGRAD_TEST_DATA")
    return real_data


@pytest.fixture(scope="session")
def real_cifar(real_data: Path) -> Path:
    """A data folder with the first training file and the test file of CIFAR-10; without one, the test is skipped."""
    try:
        cifar.find(real_data, 1)
    except InputError:
        pytest.skip("needs CIFAR-10: name a folder that holds cifar10/ in MINIGRAD_TEST_DATA")
    return real_data


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as made:
        threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
        yield made
        made.shutdown()


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy between a test and its server."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def users_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder, empty."""
    folder = tmp_path_factory.mktemp("home")
    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(name, str(folder))
    return folder
