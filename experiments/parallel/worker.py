"""A process that trains: jobs come in as lines of JSON, how they go and end goes out as lines of JSON.

    python -m experiments.parallel.worker

In: {"run": DIRECTORY} to go on with a run, {"extend": DIRECTORY, "max_iterations": ..., "runs_dir": ...} to go on
beyond its budget in a copy, both with "data_dir" where the data lie elsewhere now, or {"method": ..., "config": {...},
"settings": {...}} to begin one; all with "until". Out: {"started": DIRECTORY}, {"at": ITERATION, "error": ...},
{"note": ...}, and at the end {"result": {...}} or {"refused": WHY}. When its input ends, because whoever gave it work
is done or gone, it stops where the run stands, with a checkpoint.
"""

from __future__ import annotations

import json
import math
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments import process

EVERY = 1.0
"""Seconds between two lines about how a run goes, at least."""

AGAIN = 0.1
"""Seconds between two signals to stop."""


class Reporting:
    """A display that writes lines of JSON."""

    def __init__(self) -> None:
        self._last = -math.inf

    def started(self, run_dir: Path, facts: Mapping[str, Any]) -> None:
        """Name the run directory."""
        tell(started=run_dir)

    def note(self, line: str) -> None:
        """Pass on a line."""
        tell(note=line)

    def progress(
        self, iteration: int, cost: float, error: float, iterations_per_second: float, seconds_left: float
    ) -> None:
        """Say where the run is, now and then."""
        if time.monotonic() - self._last >= EVERY:
            self._last = time.monotonic()
            tell(at=iteration, error=error)

    def finished(self) -> None:
        """Nothing: the result says it."""


def tell(**values: Any) -> None:
    """Write one line, unless nobody listens any more."""
    from experiments import record

    try:
        print(record.dump(values), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def work(request: Mapping[str, Any]) -> None:
    """Train what a request asks for."""
    from experiments import loop, record
    from experiments.settings import Settings
    from minigrad.errors import InputError

    how: dict[str, Any] = {"draw": False, "until": request["until"]}
    data_dir = Path(request["data_dir"]) if request.get("data_dir") else None
    try:
        if "run" in request:
            result = loop.resume(Path(request["run"]), Reporting(), data_dir=data_dir, **how)
        elif "extend" in request:
            how |= {"runs_dir": Path(request["runs_dir"]), "data_dir": data_dir}
            result = loop.extend(Path(request["extend"]), request["max_iterations"], Reporting(), **how)
        else:
            settings = record.load(Settings, request["settings"], "settings")
            result = loop.train(settings, request["method"], request["config"], Reporting(), **how)
    except (InputError, OSError, MemoryError) as error:
        tell(refused=str(error) or type(error).__name__)
    else:
        tell(result=result)


def listen(requests: queue.SimpleQueue[str]) -> None:
    """Take lines from standard input; at its end, stop the run in progress as a signal would.

    Again and again, for a run that is only about to begin does not heed signals yet.
    """
    for line in sys.stdin:
        requests.put(line)
    requests.put("")
    while True:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(AGAIN)


def main() -> None:
    """Work until the input ends."""
    process.limit_blas_threads()
    process.keep_memory()
    signal.signal(signal.SIGTERM, lambda *_: None)  # outside training there is nothing to stop: the queue ends
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=listen, args=(requests,), daemon=True).start()
    while line := requests.get():
        work(json.loads(line))


if __name__ == "__main__":
    main()
