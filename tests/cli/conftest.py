"""The command line as a person starts it: another process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Runs `cli.py` in an empty folder, warnings being errors; keywords are environment variables."""

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", str(ROOT / "cli.py"), *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=os.environ | environment, timeout=120
        )

    return run


def refusal(done: subprocess.CompletedProcess[str], command: str) -> str:
    """What the one line of a refusal says after `cli.py COMMAND: error: `; checks that it is one."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    start = f"cli.py {command}: error: " if command else "cli.py: error: "
    assert line.startswith(start)
    return line.removeprefix(start)
