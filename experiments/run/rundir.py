"""Run directories: made whole under a name that nobody else gets, opened, locked, and their checkpoints listed.

config.json       method, its Config and the Settings, complete: enough to run it again
manifest.json     on what it ran
metrics.jsonl     the log: depends on nothing but config.json
timings.jsonl     what depends on the clock
checkpoints/      00000500.safetensors, ... (the last two) and best.safetensors
figures/
result.json       how it ended; missing while the run is unfinished
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.storage import sync_folder
from experiments import files, record
from experiments.errors import RunError, cause

FORMAT = 1
"""Version of config.json and of the layout."""

KEPT = 2
"""Numbered checkpoints that are kept."""


@dataclass(frozen=True)
class Run:
    """Paths of a run directory."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def manifest(self) -> Path:
        return self.path / "manifest.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def timings(self) -> Path:
        return self.path / "timings.jsonl"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        return self.checkpoints / "best.safetensors"

    def numbered(self, iteration: int) -> Path:
        """Path of the checkpoint after an iteration."""
        return self.checkpoints / f"{iteration:08d}.safetensors"

    def all_numbered(self) -> list[Path]:
        """Numbered checkpoints, oldest first."""
        found = (path for path in self.checkpoints.glob("*.safetensors") if path.stem.isdigit())
        return sorted(found, key=lambda path: int(path.stem))

    def newest(self) -> Path | None:
        """The newest numbered checkpoint."""
        return next(reversed(self.all_numbered()), None)

    def prune(self) -> None:
        """Remove all numbered checkpoints but the last ones."""
        for path in self.all_numbered()[:-KEPT]:
            path.unlink(missing_ok=True)


class InUse(RunError):
    """Another process writes in a folder."""

    def __init__(self, folder: Path, holder: str) -> None:
        super().__init__(f"{folder} is in use by process {holder}: wait until it ends, or stop it")
        self.holder = int(holder) if holder.isdecimal() else None


class Lock:
    """The right to write in a run directory, held until it is released or the process ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        """Take the lock of a run directory.

        Raises:
            RunError: if another process holds it.
        """
        import fcntl  # POSIX only

        self._file = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._file, 0)
            os.write(self._file, str(os.getpid()).encode())
        except OSError as error:
            holder = os.read(self._file, 20).decode(errors="replace")
            os.close(self._file)
            if isinstance(error, BlockingIOError):
                raise InUse(folder, holder) from None
            raise

    @property
    def file(self) -> int:
        """Number of the open file: a child process that inherits it holds the lock as well."""
        return self._file

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let others write."""
        os.close(self._file)


def lock(run: Run) -> Lock:
    """The lock of an existing run directory, for a `with` block.

    Raises:
        RunError: if another process holds it, or the directory cannot be written.
    """
    try:
        return Lock(run.path)
    except OSError as error:
        raise RunError(f"cannot write in {run.path} ({cause(error)}): make it writable") from error


def check_parent(parent: Path) -> None:
    """Refuse a folder in which no run directory can be made, as far as that shows without writing: before long work.

    Raises:
        RunError: if it, or the nearest folder above it that exists, is no folder or cannot be written.
    """
    nearest = next(folder for folder in (parent, *parent.absolute().parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        reason = "cannot be written" if nearest.is_dir() else "is not a folder"
        raise RunError(f"cannot make a run directory in {parent} ({nearest} {reason}): use another --runs-dir")


def create(parent: Path, stem: str, config: Mapping[str, Any], goes_on_from: Run | None = None) -> tuple[Run, Lock]:
    """A new run directory `parent/stem-N`, locked; N is above all numbers there, and no two processes get the same.

    It is filled under a temporary name and then renamed: no other process ever sees half of it.

    Args:
        parent: where.
        stem: how its name begins.
        config: what goes into config.json.
        goes_on_from: a run whose logs and checkpoints it begins with (None: it begins empty).

    Raises:
        RunError: if it cannot be written; then nothing of it is left.
    """
    path = parent / f".{stem}-{os.getpid()}-{secrets.token_hex(4)}{files.TEMPORARY}"
    held = None
    try:
        path.mkdir(parents=True)
        held = Lock(path)
        _fill(Run(path), config, goes_on_from)
        path = _rename_to_free(path, parent / stem)
        sync_folder(parent)
    except BaseException as error:
        if held is not None:
            held.release()
        shutil.rmtree(path, ignore_errors=True)
        if not isinstance(error, OSError):
            raise
        raise RunError(f"cannot make a run directory in {parent} ({cause(error)}): use another --runs-dir") from error
    return Run(path), held


def _fill(run: Run, config: Mapping[str, Any], before: Run | None) -> None:
    run.checkpoints.mkdir()
    run.figures.mkdir()
    files.write_atomic(run.config, (json.dumps({"format": FORMAT} | record.plain(config), indent=2) + "\n").encode())
    if before is None:
        run.metrics.touch()
        run.timings.touch()
        return
    for source in (before.metrics, before.timings, before.manifest, *before.checkpoints.glob("*.safetensors")):
        files.write_atomic(run.path / source.relative_to(before.path), source.read_bytes())


def _rename_to_free(folder: Path, stem: Path) -> Path:
    """Rename to STEM-N; the system refuses a name that is taken, so two processes never get the same."""
    numbers = [
        int(path.name[len(stem.name) + 1 :]) for path in stem.parent.glob(f"{stem.name}-*") if _numbered(path, stem)
    ]
    number = max(numbers, default=0) + 1
    while True:
        target = stem.with_name(f"{stem.name}-{number}")
        try:
            os.rename(folder, target)
            return target
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
            number += 1


def _numbered(path: Path, stem: Path) -> bool:
    return path.name[len(stem.name) + 1 :].isdecimal()


def open_run(path: Path) -> Run:
    """An existing run directory.

    Raises:
        RunError: if there is none at `path`.
    """
    run = Run(Path(path))
    if not run.path.is_dir():
        raise RunError(f"there is no run directory {path}: see what is in {Path(path).parent}")
    if not run.config.is_file():
        raise RunError(f"{path} is no run directory: it has no config.json")
    return run


def read_config(run: Run) -> dict[str, Any]:
    """config.json, its version checked.

    Raises:
        RunError: if it is missing, damaged, or written by a newer version.
    """
    config = read_json(run.config, "restore it, or start a new run")
    newer = config.get("format", 0)
    if not isinstance(newer, int) or newer > FORMAT:
        raise RunError(f"{run.config} has format {newer}, this program reads up to {FORMAT}: update the program")
    for name, kind in (("method", str), ("config", dict), ("settings", dict)):
        if not isinstance(config.get(name), kind):
            raise RunError(f"{run.config} is damaged (no {name}): restore it, or start a new run")
    return config


def read_json(path: Path, way_out: str) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        RunError: naming the file and `way_out`, unless it can be read and is an object.
    """
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged ({cause(error)}): {way_out}") from None
    if not isinstance(value, dict):
        raise RunError(f"{path} is damaged (not a JSON object): {way_out}")
    return value
