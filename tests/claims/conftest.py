"""Claims of the papers as tests: the first line of each docstring is the claim, and begins with its number."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "refuted: passes by showing that a claim does not hold as published")
