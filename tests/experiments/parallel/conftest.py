"""Workers inherit the environment: without compiled kernels they start sooner."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def _reference_kernels() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIGRAD_KERNELS", "reference")
        yield
