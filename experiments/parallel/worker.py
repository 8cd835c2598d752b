"""A process that trains: jobs come in as lines of JSON, how they go and end goes out as lines of JSON.

    python -m experiments.parallel.worker

In: a list of jobs, trained side by side. A job is {"run": DIRECTORY} to go on with a run, {"extend": DIRECTORY,
"max_iterations": ..., "runs_dir": ...} to go on beyond its budget in a copy, both with "data_dir" where the data lie
elsewhere now, or {"method": ..., "config": {...}, "settings": {...}} to begin one; all with "until". Out, each with
"job", its place in the list: {"started": DIRECTORY}, {"at": ITERATION, "error": ...}, {"note": ...}, and at the end
{"result": {...}} or {"refused": WHY}. When its input ends, because whoever gave it work is done or gone, it stops where
the runs stand, with a checkpoint of each.
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
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import process

if TYPE_CHECKING:
    from experiments.run.population import Wish
    from experiments.run.progress import Display
    from experiments.run.result import Result
    from experiments.run.training import Ready

EVERY = 1.0
"""Seconds between two lines about how a run goes, at least."""

AGAIN = 0.1
"""Seconds between two signals to stop."""

SAYING = threading.Lock()
"""Held while a line is written: runs side by side are threads."""


class Reporting:
    """A display that writes lines of JSON about a job."""

    def __init__(self, job: int) -> None:
        self._job, self._last = job, -math.inf

    def started(self, run_dir: Path, facts: Mapping[str, Any]) -> None:
        """Name the run directory."""
        tell(job=self._job, started=run_dir)

    def note(self, line: str) -> None:
        """Pass on a line."""
        tell(job=self._job, note=line)

    def progress(
        self, iteration: int, cost: float, error: float, iterations_per_second: float, seconds_left: float
    ) -> None:
        """Say where the run is, now and then."""
        if time.monotonic() - self._last >= EVERY:
            self._last = time.monotonic()
            tell(job=self._job, at=iteration, error=error)

    def finished(self) -> None:
        """Nothing: the result says it."""


def tell(**values: Any) -> None:
    """Write one line, unless nobody listens any more."""
    from experiments import record

    try:
        with SAYING:
            print(record.dump(values), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def work(requests: Sequence[Mapping[str, Any]]) -> None:
    """Train what a list of requests asks for."""
    from experiments.run import population

    population.train([_wish(job, request) for job, request in enumerate(requests)])


def _wish(job: int, request: Mapping[str, Any]) -> Wish:
    from experiments.run.population import Wish

    return Wish(
        open=partial(_opened, request),
        until=request["until"],
        display=Reporting(job),
        done=lambda result: tell(job=job, result=result),
        refused=lambda why: tell(job=job, refused=why),
    )


def _opened(request: Mapping[str, Any], display: Display) -> AbstractContextManager[Ready | Result]:
    """The run that a request is about."""
    from experiments import record
    from experiments.run import loop
    from experiments.run.settings import Settings

    places: dict[str, Any] = {"data_dir": Path(request["data_dir"])} if request.get("data_dir") else {}
    if "run" in request:
        return loop.again(Path(request["run"]), display, **places)
    if "extend" in request:
        copy = loop.longer(
            Path(request["extend"]), request["max_iterations"], runs_dir=Path(request["runs_dir"]), **places
        )
        return loop.again(copy, display, **places)
    settings = record.load(Settings, request["settings"], "settings")
    return loop.new(settings, request["method"], request["config"], display)


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
