"""From the command line to a process of its own, whose libraries all start with one number of threads."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import threads
from benchmarks.rows import PEERS, ROWS
from experiments.record import dump
from minigrad.errors import InputError, unknown

ROOT = Path(__file__).resolve().parent.parent
NAME = "cli.py bench"
PATIENCE = 2.0
"""Seconds that the measuring process has, after Ctrl-C, to end by itself: a terminal tells it too."""


@dataclass(frozen=True)
class Request:
    """What is to be measured."""

    rows: tuple[str, ...]
    peers: tuple[str, ...]
    threads: int
    runs: int | None
    out: Path | None
    json: bool


def bench(request: Request) -> int:
    """Measure in a process of its own; its exit code. Rows and peers that are not named: all, and all installed.

    Raises:
        InputError: if a row, a peer, a number or the file is impossible.
    """
    rows = _known("row", request.rows, ROWS)
    _check_numbers(request.threads, request.runs)
    if request.out is not None:
        _check_file(request.out)
    request = replace(request, rows=rows, peers=_present(request.peers))
    environment = os.environ | threads.environment(request.threads)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    # -P: a folder where this is called from must not stand in for a package.
    return _run([sys.executable, "-P", "-m", "benchmarks", dump(request)], environment)


def _known(kind: str, names: tuple[str, ...], known: Iterable[str]) -> tuple[str, ...]:
    """The names, each once, in the order in which they are known; all where none is given."""
    for name in names:
        if name not in known:
            raise InputError(unknown(kind, name, known))
    return tuple(name for name in known if not names or name in names)


def _present(names: tuple[str, ...]) -> tuple[str, ...]:
    """The peers that were asked for, or those that are installed."""
    chosen = _known("peer", names, PEERS)
    missing = [name for name in chosen if importlib.util.find_spec(name) is None]
    if missing and names:
        raise InputError(f"--peers: {_absent(missing)}")
    if missing:
        print(f"left out: {_absent(missing)}", file=sys.stderr, flush=True)
    return tuple(name for name in chosen if name not in missing)


def _absent(names: list[str]) -> str:
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} not installed: pip install '.[bench]'"


def _check_numbers(count: int, runs: int | None) -> None:
    most = threads.available()
    if not 1 <= count <= most:
        raise InputError(f"--threads must lie between 1 and {most}, the cores that this process may use, got {count}")
    if runs is not None and runs < 1:
        raise InputError(f"--runs must be at least 1, got {runs}")


def _check_file(path: Path) -> None:
    """Refuse now what could not be written after minutes of measuring."""
    if path.exists() and not path.is_file():
        raise InputError(f"--out: {path} is not a regular file")
    if not path.absolute().parent.is_dir():
        raise InputError(f"--out: there is no folder {path.absolute().parent}")
    if not os.access(path.absolute().parent, os.W_OK):
        raise InputError(f"--out: cannot write in {path.absolute().parent}")


def _run(command: list[str], environment: dict[str, str]) -> int:
    """Run a process to its end, also when it is interrupted; its exit code."""
    with subprocess.Popen(command, env=environment) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            try:
                code = process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
                code = process.wait()
    return code if code >= 0 else 128 - code
