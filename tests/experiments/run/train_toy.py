"""Train or resume a toy in a process of its own: python train_toy.py FOLDER [STEP | CALL NUMBER].

With STEP (seconds), every step sleeps that long: somebody kills the process. With CALL and NUMBER, the process kills
itself at the NUMBER-th `os.CALL` after the run has begun.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.run import loop
from experiments.run.build import Parts
from experiments.run.settings import Settings
from tests.experiments.run import toy


def slow(seconds: float) -> Any:
    """Toys whose steps take a while."""

    def assemble(values: Settings, name: str, config: Any = None) -> Parts:
        parts = toy.assemble(values, name, config)

        def step(*arguments: Any) -> Any:
            time.sleep(seconds)
            return toy.step(*arguments)

        return replace(parts, method=replace(parts.method, step=step))

    return assemble


def die_at(call: str, number: int) -> None:
    """Replace `os.CALL` by one that is the process's last when it is called for the NUMBER-th time."""
    real, calls = getattr(os, call), 0

    def fatal(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            if call == "write":
                real(args[0], args[1][: len(args[1]) // 2])  # half of it is written
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **options)

    setattr(os, call, fatal)


class Announcing(loop.Quiet):
    """Says on standard output that the run has begun."""

    def started(self, run_dir: Path, facts: dict[str, Any]) -> None:
        print("started", flush=True)
        if len(sys.argv) == 4:
            die_at(sys.argv[2], int(sys.argv[3]))


def main() -> None:
    folder = Path(sys.argv[1])
    assemble = slow(float(sys.argv[2])) if len(sys.argv) == 3 else toy.assemble
    run = next(folder.glob("toy-*"), None)
    if run is None:
        loop.train(toy.settings(folder), "toy", toy.NEVER, Announcing(), assemble=assemble, draw=False)
    else:
        loop.resume(run, Announcing(), assemble=assemble, draw=False)


if __name__ == "__main__":
    main()
