"""`data`: which published data there are, fetching them, and telling whether they are whole."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, TextIO

from datasets import catalogue, fetch, registry, verify
from datasets.catalogue import DataSet
from datasets.folders import command, data_folder, require_folder
from experiments.display import duration, table
from experiments.exits import FAILED, FINISHED
from experiments.record import dump
from minigrad.errors import InputError

Action = Literal["list", "fetch", "verify"]


def data(action: Action, names: Sequence[str], folder: Path | None, as_json: bool) -> int:
    """List data sets, fetch them, or compare what is there with what was published.

    Args:
        action: which of the three.
        names: of the data sets, or of tasks that read them; none: all of them, but for fetching.
        folder: of the data; None: in the user's cache folder.
        as_json: print one JSON object in place of the lines.

    Returns:
        An exit code: 1 if a file is damaged, otherwise 0.

    Raises:
        InputError: for an unknown name, a folder that is none, or as `datasets.fetch.fetch`.
    """
    sets = list(dict.fromkeys(catalogue.find(name) for name in names))
    folder = data_folder(folder)
    require_folder(folder)
    if action == "fetch":
        if not sets:
            raise InputError(f"name what to fetch: there are {', '.join(catalogue.SETS)}")
        return _fetch(sets, folder, as_json)
    show = _list if action == "list" else _verify
    return show(sets or list(catalogue.SETS.values()), folder, as_json)


def _list(sets: Sequence[DataSet], folder: Path, as_json: bool) -> int:
    entries = [_entry(item, folder) for item in sets]
    if as_json:
        print(dump({"folder": folder, "sets": entries}))
        return FINISHED
    columns = ("name", "state", "size", "tasks", "licence", "summary")
    rows = [columns, *(tuple(", ".join(entry[c]) if c == "tasks" else entry[c] for c in columns) for entry in entries)]
    print("\n".join([f"data in {folder}", "", *table(rows)]))
    return FINISHED


def _entry(item: DataSet, folder: Path) -> dict[str, Any]:
    """All there is to say about a data set."""
    state = verify.present(item, folder)
    return asdict(item) | {
        "tasks": [name for name in item.tasks if name in registry.names()],
        "state": f"{state} (to be put there by hand)" if item.by_hand and state == "absent" else state,
    }


def _fetch(sets: Sequence[DataSet], folder: Path, as_json: bool) -> int:
    display = DownloadProgress()
    fetched = []
    # Those that cannot be fetched come first: nobody waits for a download to read that.
    for item in sorted(sets, key=lambda item: not item.by_hand):
        try:
            files = fetch.fetch(item, folder, display)
        except KeyboardInterrupt:
            display.note("what was downloaded is kept: the same command goes on with it")
            raise
        finally:
            display.finished()
        fetched += [{"set": item.name, "path": file.path, "state": file.state} for file in files]
        if not as_json:
            print("\n".join(table((file.state, str(file.path)) for file in files)), flush=True)
    if as_json:
        print(dump({"folder": folder, "files": fetched}))
    return FINISHED


def _verify(sets: Sequence[DataSet], folder: Path, as_json: bool) -> int:
    found = []
    for item in sets:
        for file in item.files:
            finding = verify.verify(file, folder)
            found.append({"set": item.name, **asdict(finding)})
            if not as_json:
                words = "there" if finding.state == "unpublished" else finding.state
                print(f"{words:<7}  {finding.path}  {_advice(item, finding, folder)}".rstrip(), flush=True)
    sound = all(entry["state"] != "damaged" for entry in found)
    if as_json:
        print(dump({"folder": folder, "sound": sound, "files": found}))
    return FINISHED if sound else FAILED


def _advice(item: DataSet, finding: verify.Finding, folder: Path) -> str:
    """What there is to say about a file, and to do."""
    fetching = f"run {command('fetch', item.name, folder)}"
    if finding.state == "unpublished":
        return "no published checksum"
    if finding.state == "ok":
        return finding.detail
    if finding.state == "other":
        way = "use the published one" if item.by_hand else fetching
        return f"whole, but not the published file ({finding.detail}): say so with any result, or {way}"
    way = "put the right file there" if item.by_hand else fetching
    return f"{finding.detail}: {way}" if finding.state == "damaged" else way


class DownloadProgress:
    """Progress of downloads on standard error: one line that moves on a terminal, elsewhere a line now and then."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """Write to `stream` (default: standard error)."""
        self._stream = sys.stderr if stream is None else stream
        self._moving = self._stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._clock = clock
        self._name, self._began, self._first = "", 0.0, 0
        self._last = -math.inf
        self._drawn = False

    def note(self, line: str) -> None:
        """Write a line at once."""
        self.finished()
        print(line, file=self._stream, flush=True)

    def progress(self, name: str, done: int, total: int | None) -> None:
        """Take note of where a file is; writes a line when the last one is old enough."""
        now = self._clock()
        if name != self._name:
            self._name, self._began, self._first, self._last = name, now, done, -math.inf
        if now - self._last < (0.1 if self._moving else 5.0) and done != total:
            return
        self._last = now
        line = "  ".join(_words(name, done, total, (done - self._first) / max(now - self._began, 1e-9)))
        print(
            f"\r\x1b[K{line}" if self._moving else line, end="" if self._moving else "\n", file=self._stream, flush=True
        )
        self._drawn = self._moving

    def finished(self) -> None:
        """End the moving line."""
        if self._drawn:
            print(file=self._stream, flush=True)
        self._drawn = False


def _words(name: str, done: int, total: int | None, rate: float) -> list[str]:
    """The parts of a line of progress; `rate` in bytes a second."""
    parts = [name, f"{done / 1e6:,.1f} of {total / 1e6:,.1f} MB" if total else f"{done / 1e6:,.1f} MB"]
    if rate > 0:
        parts.append(f"{rate / 1e6:,.1f} MB/s")
        if total and total > done:
            parts.append(f"{duration((total - done) / rate)} left")
    return parts
