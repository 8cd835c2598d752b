"""Chains of jobs, computed side by side by processes of one thread each.

Whatever is finished in the store is not computed again, whatever was begun goes on from its last checkpoint: killed at
any moment and started again, the same chains come to the same end. A worker whose parent is gone stops by itself.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from experiments import record
from experiments.errors import RunError
from experiments.exits import one_line
from experiments.parallel.job import Chain, Derived, Job
from experiments.parallel.store import Store
from experiments.run.result import Result
from experiments.run.rundir import InUse, Lock
from minigrad.errors import InputError

K = TypeVar("K")
T = TypeVar("T")

Seat = tuple[int, int]
"""Number of a worker, and place of a job among those that it has at the same time."""

ROOT = Path(__file__).resolve().parents[2]

GRACE = 60.0
"""Seconds that a worker gets to write its checkpoint when it is asked to stop."""


class Watcher(Protocol):
    """Where the pool tells how it goes."""

    def note(self, line: str) -> None:
        """Something worth a line."""

    def moved(self, done: int, chains: int, running: Mapping[Seat, str]) -> None:
        """Chains done, chains in all, and what each worker is at; called often."""


class _Worker:
    """A process and the thread that reads what it says."""

    def __init__(self, number: int, events: queue.SimpleQueue[tuple[int, dict[str, Any] | None]], lock: Lock) -> None:
        self.number = number
        threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "MINIGRAD_THREADS"), "1")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "experiments.parallel.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
            cwd=ROOT,
            env={**os.environ, **threads},
            pass_fds=(lock.file,),
            start_new_session=True,  # Ctrl-C is for the parent, which lets the workers finish their checkpoints
        )
        self._events = events
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                with suppress(ValueError):  # cut short by a kill, or a library's own words
                    self._events.put((self.number, json.loads(line)))
        self._events.put((self.number, None))

    def give(self, requests: Sequence[Mapping[str, Any]]) -> None:
        """Hand over jobs, to be computed side by side."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # its reader will say that it is gone
            self.process.stdin.write(json.dumps(record.plain(list(requests))) + "\n")
            self.process.stdin.flush()

    def release(self) -> None:
        """Let it stop: with a checkpoint if it is in the middle of a run."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()

    def wait(self, deadline: float) -> bool:
        """Until it has ended, once it was released; whether it did so before the deadline, or had to be killed."""
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
            in_time = True
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            in_time = False
        self._reader.join()
        return in_time


@dataclass
class _Open(Generic[K]):
    """A chain that waits for the result of a job."""

    key: K
    chain: Chain[Any]
    job: Job
    fresh: bool = False
    """Whether nothing of the chain was computed in this call."""
    tries: int = 0


@dataclass
class _Course(Generic[K]):
    """What a call of `run` keeps track of."""

    total: int
    ready: deque[_Open[K]] = field(default_factory=deque)
    busy: dict[Seat, _Open[K]] = field(default_factory=dict)
    said: dict[Seat, str] = field(default_factory=dict)
    outcomes: dict[K, Any] = field(default_factory=dict)
    failures: dict[K, str] = field(default_factory=dict)
    noted: set[str] = field(default_factory=set)
    """What processes have said: what holds for many runs, such as a word about their data, is passed on once."""


def workers(asked: int | None) -> int:
    """How many processes: as many as asked for, or one a core.

    Raises:
        InputError: for fewer than one.
    """
    if asked is not None and asked < 1:
        raise InputError(f"jobs must be at least 1, got {asked}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return asked or cores


def require_some(together: int) -> None:
    """Raise InputError unless a process has a job at least."""
    if together < 1:
        raise InputError(f"population must be at least 1, got {together}")


def run(
    chains: Mapping[K, Chain[T]], store: Store, workers: int, watcher: Watcher, together: int = 1
) -> tuple[dict[K, T], dict[K, str]]:
    """Take every chain to its end.

    Args:
        chains: by any key; none is begun yet.
        store: where finished runs are found and new ones are put.
        workers: processes side by side.
        watcher: where to tell how it goes.
        together: how many jobs a process has at the same time, see `experiments.run.population`.

    Returns:
        what the chains returned, and for those that could not be taken to their end, why.

    Raises:
        InputError: if `together` is less than 1.
        RunError: if another process computes in the folder of the store.
    """
    require_some(together)
    course: _Course[K] = _Course(len(chains))
    for key, chain in chains.items():
        _advance(course, store, _begun(key, chain, course))
    for why in dict.fromkeys(course.failures.values()):
        watcher.note(why)
    if not course.ready:
        return course.outcomes, course.failures
    with _alone(store.folder, watcher) as lock:
        store.look()  # what another call finished meanwhile
        if store.unreadable:
            some = f"{len(store.unreadable)} in {store.folder}, such as {store.unreadable[0].name}"
            watcher.note(f"runs that cannot be read count for nothing: {some}")
        open_chains, course.ready = course.ready, deque()
        for at in open_chains:
            _advance(course, store, at)
        _compute(course, store, min(workers, -(-len(course.ready) // together)), together, watcher, lock)
    return course.outcomes, course.failures


@dataclass(frozen=True)
class Replayed(Generic[T]):
    """What a chain comes to without computing anything."""

    value: T | None
    """None if something is missing."""
    runs: list[Result]
    """The finished runs that it found."""
    complete: bool
    """Whether it rests on runs that went as far as they should, and on none that a smaller budget ended."""


def replay(chain: Chain[T], store: Store) -> Replayed[T]:
    """Take a chain as far as finished runs go; nothing is computed or written.

    Raises:
        InputError: if something kept is damaged.
    """
    runs: list[Result] = []
    complete = True
    try:
        job = _following(chain, None, _kept)
        while True:
            done = store.result(job)
            if done is None:
                done, complete = store.stopped(job), False
            if done is None:
                return Replayed(None, runs, False)
            runs.append(done)
            job = _following(chain, done, _kept)
    except StopIteration as end:
        return Replayed(end.value, runs, complete)
    except _NotKept:
        return Replayed(None, runs, False)


class _NotKept(Exception):
    pass


def _kept(wanted: Derived) -> dict[str, Any] | None:
    """What was derived before."""
    known = wanted.kept()
    if known is None and not wanted.optional:
        raise _NotKept
    return known


def _following(chain: Chain[Any], answer: Any, derive: Callable[[Derived], Any]) -> Job:
    """The next job that a chain asks for; what it derives from finished runs on the way is answered at once.

    Raises:
        StopIteration: at its end, with what it returns.
    """
    wanted = chain.send(answer)
    while isinstance(wanted, Derived):
        wanted = chain.send(derive(wanted))
    return wanted


def _begun(key: K, chain: Chain[Any], course: _Course[K]) -> _Open[K] | None:
    """A chain with its first job; None if it has none."""
    return _at_next(course, key, chain, None, fresh=True)


def _at_next(course: _Course[K], key: K, chain: Chain[Any], answer: Any, fresh: bool) -> _Open[K] | None:
    """A chain at its next job; None if it came to its end, or to a fault of its own."""
    try:
        return _Open(key, chain, _following(chain, answer, Derived.value), fresh)
    except StopIteration as end:
        course.outcomes[key] = end.value
    except (InputError, OSError) as error:
        course.failures[key] = one_line(str(error))
    return None


def _advance(course: _Course[K], store: Store, at: _Open[K] | None, done: Result | None = None) -> None:
    """Send a chain its result and all that follow from finished runs, up to a job that has to be computed."""
    while at is not None:
        done = done if done is not None else store.result(at.job)
        if done is None:
            try:
                at.job.look_for_data()
            except InputError as error:
                course.failures[at.key] = one_line(str(error))
                return
            # A chain that is begun comes first: finished cells are worth more than many half done.
            (course.ready.append if at.fresh else course.ready.appendleft)(at)
            return
        at, done = _at_next(course, at.key, at.chain, done, at.fresh), None


@contextmanager
def _alone(folder: Path, watcher: Watcher) -> Iterator[Lock]:
    """Hold the folder: two that compute the same at the same time would do it twice.

    Workers hold it too, so that one that outlives its parent for a moment has written its checkpoint before anybody
    looks for it.
    """
    deadline, told = time.monotonic() + GRACE, False
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = Lock(folder)
            break
        except InUse as error:
            if _alive(error.holder) or time.monotonic() > deadline:
                raise
            if not told:
                watcher.note("waiting for the workers of a call that was killed to write their checkpoints")
            told = True
            time.sleep(0.1)
        except OSError as error:
            raise RunError(f"cannot write in {folder} ({error.strerror}): use another --runs-dir") from error
    with lock:
        yield lock


def _alive(process: int | None) -> bool:
    """Whether a process exists."""
    try:
        os.kill(process or 0, 0)
    except OSError as error:
        return not isinstance(error, ProcessLookupError)
    return True


def _compute(course: _Course[K], store: Store, count: int, together: int, watcher: Watcher, lock: Lock) -> None:
    """Keep `count` workers busy until no chain is left, each with so many jobs at the same time."""
    events: queue.SimpleQueue[tuple[int, dict[str, Any] | None]] = queue.SimpleQueue()
    workers: dict[int, _Worker] = {}
    try:
        while True:
            for number in sorted(set(range(count)) - {number for number, _ in course.busy}):
                requests = _assigned(course, store, number, together)
                if requests:
                    if number not in workers:
                        workers[number] = _Worker(number, events, lock)
                    workers[number].give(requests)
            if not course.busy:
                return
            number, event = events.get()
            if event is None:  # the process is gone, and has said all that it had to say
                _lost(course, workers.pop(number), watcher)
            else:
                _heard(course, store, number, event, watcher)
            watcher.moved(len(course.outcomes) + len(course.failures), course.total, course.said)
    except KeyboardInterrupt:
        watcher.note("stopping: the runs write their checkpoints, the same command goes on from there")
        raise
    finally:
        for worker in workers.values():
            worker.release()
        deadline = time.monotonic() + GRACE
        late = [worker for worker in workers.values() if not worker.wait(deadline)]
        if late:
            watcher.note(f"a run took longer than {GRACE:.0f} s to stop: it goes on from the checkpoint before")


def _next(course: _Course[K], store: Store) -> _Open[K] | None:
    """Take the first chain whose job is to be computed and is not yet at work, as it may be for another chain."""
    at_work = {at.job.key for at in course.busy.values()}
    waiting: deque[_Open[K]] = deque()
    found = None
    while course.ready and found is None:
        at = course.ready.popleft()
        if at.job.key in at_work:
            waiting.append(at)
        elif store.result(at.job) is not None:
            _advance(course, store, at)
        else:
            found = at
    course.ready.extendleft(reversed(waiting))
    return found


def _assigned(course: _Course[K], store: Store, worker: int, together: int) -> list[dict[str, Any]]:
    """Requests for a worker: the next jobs, up to so many; one whose process died has the next one to itself."""
    requests: list[dict[str, Any]] = []
    while len(requests) < together and (at := _next(course, store)) is not None:
        if requests and at.tries:
            course.ready.appendleft(at)
            break
        seat = worker, len(requests)
        course.busy[seat], course.said[seat] = at, at.job.label
        requests.append(_request(store, at))
        if at.tries:
            break
    return requests


def _request(store: Store, at: _Open[K]) -> dict[str, Any]:
    """What a worker is told about the job of a chain."""
    data = at.job.settings.data_dir
    places = {"runs_dir": store.folder.absolute(), "data_dir": data and data.absolute()}
    request: dict[str, Any] = {"until": at.job.until, "data_dir": places["data_dir"]}
    if (begun := store.find(at.job)) is not None:
        return request | {"run": begun.path.absolute()}
    if (shorter := store.shorter(at.job)) is not None:
        request |= {"extend": shorter.path.absolute(), "max_iterations": at.job.settings.max_iterations}
        return request | {"runs_dir": places["runs_dir"]}
    request |= {"method": at.job.method, "config": at.job.config}
    return request | {"settings": record.plain(at.job.settings) | places}


def _heard(course: _Course[K], store: Store, worker: int, event: dict[str, Any], watcher: Watcher) -> None:
    """Take note of what a worker says."""
    seat = worker, event.pop("job")
    at = course.busy[seat]
    match event:
        case {"started": path}:
            store.add(Path(path))
        case {"note": line} if line not in course.noted:
            course.noted.add(line)
            watcher.note(line)
        case {"at": iteration, "error": error}:
            shown = "" if error is None else f" error {error:.4g}"
            course.said[seat] = f"{at.job.label}: iteration {iteration:,}{shown}"
        case {"refused": why}:
            _end(course, seat)
            _fail(course, at, why, watcher)
        case {"result": values}:
            _end(course, seat)
            done = record.load(Result, values, "the result of a worker")
            if done.status == "interrupted" and (at.job.until is None or done.iterations < at.job.until):
                _again(course, at, "was stopped twice, by a signal to its process", watcher)
            else:
                at.fresh = False
                _advance(course, store, at, done)


def _end(course: _Course[K], seat: Seat) -> None:
    del course.busy[seat], course.said[seat]


def _lost(course: _Course[K], worker: _Worker, watcher: Watcher) -> None:
    """A worker died."""
    worker.release()
    worker.wait(time.monotonic() + GRACE)
    for seat in [seat for seat in course.busy if seat[0] == worker.number]:
        at = course.busy[seat]
        _end(course, seat)
        _again(course, at, f"its process died twice, with exit code {worker.process.returncode}", watcher)


def _again(course: _Course[K], at: _Open[K], why: str, watcher: Watcher) -> None:
    """Try a job once more, from its last checkpoint; give its chain up, saying why, if that was tried already."""
    if at.tries:
        _fail(course, at, why, watcher)
    else:
        at.tries += 1
        course.ready.appendleft(at)


def _fail(course: _Course[K], at: _Open[K], why: str, watcher: Watcher) -> None:
    course.failures[at.key] = why
    watcher.note(f"{at.job.label}: {why}")
