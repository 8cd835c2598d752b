"""The files that a task reads, compared with the published ones: damaged ones are refused before anything is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import catalogue, checksums, verify
from datasets.catalogue import DataSet, File
from datasets.folders import command, data_folder
from datasets.task import Published
from datasets.verify import Finding
from minigrad.errors import InputError


@dataclass(frozen=True)
class _Original:
    """A file that a task reads."""

    item: DataSet
    file: File
    path: Path
    folder: Path
    """The folder of data."""

    @property
    def finding(self) -> Finding:
        return verify.examine(self.file, self.path, checksums.measured)


def require_whole(task: Any) -> None:
    """Refuse files that are damaged; missing ones are left to who reads them, tasks without files are whole.

    Raises:
        InputError: naming the first one that is damaged, and the way out.
    """
    for each in _there(task):
        finding = each.finding
        if finding.state == "damaged":
            raise InputError(f"{each.path} is damaged ({finding.detail}): {_way_out(each)}")


def remarks(task: Any) -> list[str]:
    """A line about the files that are whole but not the published ones, if there are any."""
    others = [each for each in _there(task) if each.finding.state == "other"]
    if not others:
        return []
    more = f" and {len(others) - 1} more" if len(others) > 1 else ""
    files = "it is not what was published" if len(others) == 1 else "they are not what was published"
    first = others[0]
    compare = command("verify", first.item.name, first.folder)
    return [f"warning: {first.path}{more}: whole, but {files}; say so with any result ({compare})"]


def digests(task: Any) -> dict[str, str]:
    """The SHA-256 of what each file holds, unpacked, by its path in the folder of data without `.gz`.

    Raises:
        InputError: if a file cannot be read.
    """
    try:
        found = {e.file.content: checksums.measured(e.path, "sha256", e.path.suffix == ".gz")[0] for e in _there(task)}
    except OSError as error:
        raise InputError(f"cannot read {error.filename} ({error.strerror}): make it readable") from None
    return {name: f"sha256:{digits}" for name, digits in found.items()}


def differing(known: Mapping[str, Any], found: Mapping[str, str]) -> list[str]:
    """Names of the files that are others than they were, of those that were known."""
    return [name for name in found if known.get(name, found[name]) != found[name]]


def _there(task: Any) -> Iterator[_Original]:
    """The files that a task reads, of those that are there."""
    if not isinstance(task, Published):
        return
    for name, path in task.published().items():
        if path is not None and path.exists() and (known := catalogue.of_path(name)) is not None:
            yield _Original(*known, path, data_folder(task.data_dir))


def _way_out(each: _Original) -> str:
    if each.item.by_hand:
        return f"put the published file there ({command('verify', each.item.name, each.folder)} compares it)"
    return f"run {command('fetch', each.item.name, each.folder)}"
