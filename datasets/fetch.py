"""Downloads of published files.

A file gets its name once it is whole and its checksum right. Until then it lies under a name of its own, which begins
with a dot and ends in `.part`: what a broken or interrupted download leaves there is gone on with. One process at a
time holds that file; others that want the same wait, and then find it there.

Only what has a checksum is pieced together from several answers: for the rest nobody could tell whether the pieces
belong together.

It is urllib that downloads, not Pooch: Pooch neither goes on with a broken download nor tries a second place, and two
processes that fetch the same file both download it.
"""

from __future__ import annotations

import errno
import http.client
import os
import re
import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from gzip import BadGzipFile
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, Protocol
from urllib.parse import urlsplit

from datasets import verify
from datasets.catalogue import DataSet, File
from datasets.storage import CHUNK, checksum, locked, replacing, sync_folder
from minigrad.errors import InputError

TIMEOUT = 30.0
"""Seconds without an answer after which a connection counts as broken."""

WANTED = ("absent", "damaged", "other")
"""States of a file that is fetched."""


class Display(Protocol):
    """Who is told how it goes."""

    def note(self, line: str) -> None:
        """Something worth a line."""

    def progress(self, name: str, done: int, total: int | None) -> None:
        """Bytes of a file that are there, and that there will be, where known; called many times a second."""


class Fetched(NamedTuple):
    """A file that is there now."""

    path: Path
    state: Literal["fetched", "there"]
    """`there`: it was there before."""


class _Fault(Exception):
    """What one place gave, or did not give; the message says what is wrong with it."""


class _Broken(Exception):
    """A connection failed; the message says why."""


def fetch(item: DataSet, folder: Path, display: Display) -> list[Fetched]:
    """Have all files of a data set in a folder, whole; those that are there already are checked and kept.

    A damaged file is put aside as NAME.damaged, one that is not what was published as NAME.other, once there is the
    right one. An archive that somebody put into the folder is unpacked and kept.

    Args:
        item: what to fetch.
        folder: the folder of data, made if need be.
        display: is told how it goes.

    Raises:
        InputError: if the licence forbids it, no place gives the file, or the folder cannot be written or has no room.
    """
    before = {file: verify.verify(file, folder) for file in item.files}
    wanted = [file for file, finding in before.items() if finding.state in WANTED]
    if wanted and item.by_hand:
        lacking = ", ".join(f"{before[file].state}: {file.name}" for file in wanted)
        raise InputError(f"{item.name}: {item.by_hand} into {(folder / wanted[0].path).parent} ({lacking})")
    with _writing(folder, item.files[0].path.rpartition("/")[0]):
        if wanted and item.archive:
            _fetch_packed(item, item.archive, folder, display)
        else:
            for file in wanted:
                _fetch_bare(file, folder, display)
    return [
        Fetched(folder / file.path, "fetched") if file in wanted else Fetched(before[file].path, "there")
        for file in item.files
    ]


def _fetch_bare(file: File, folder: Path, display: Display) -> None:
    """Have a file that is published by itself."""
    path = folder / file.path
    with _part(path, display) as part:
        if not _is_wanted(file, folder):  # another process was faster
            return
        _Transfer(file, part, path.parent, display).run()
        os.fsync(part.fileno())
        _put_aside(file, folder, display)
        if not file.checksum:
            _remember(path, _digits(part, "sha256"), display)
        _part_of(path).replace(path)
        sync_folder(path.parent)


def _fetch_packed(item: DataSet, archive: File, folder: Path, display: Display) -> None:
    """Have the files that an archive holds."""
    path = folder / archive.path
    with _part(path, display) as part:
        wanted = [file for file in item.files if _is_wanted(file, folder)]
        if not wanted:  # another process was faster
            return
        if path.exists():  # somebody put it there: it stays
            finding = verify.verify(archive, folder)
            if finding.state == "damaged":
                raise InputError(f"{path} is damaged ({finding.detail}): delete it and fetch again")
            with path.open("rb") as given:
                _unpack(wanted, given, path, folder, display)
            return
        _Transfer(archive, part, path.parent, display).run()
        _unpack(wanted, part, path, folder, display)
        part.truncate(0)


def _is_wanted(file: File, folder: Path) -> bool:
    return verify.verify(file, folder).state in WANTED


# --- downloading ---


class _Transfer:
    """A file on its way into an open part of it."""

    def __init__(self, file: File, part: BinaryIO, folder: Path, display: Display) -> None:
        self._file, self._part, self._folder, self._display = file, part, folder, display

    def run(self) -> None:
        """Make the part whole, from the first place that gives it.

        Raises:
            InputError: if none does.
        """
        faults: list[str] = []
        for url in self._file.urls:
            try:
                self._take(url)
            except _Fault as fault:
                faults.append(f"{urlsplit(url).scheme}://{urlsplit(url).netloc}: {fault}")
                continue
            for said in faults:  # otherwise the error says them
                self._display.note(f"{self._file.name}: {said}")
            return
        raise InputError(
            f"cannot fetch {self._file.name} ({'; '.join(faults)}): try again later, or put the file "
            f"{self._file.name} into {self._folder} and fetch again"
        )

    def _take(self, url: str) -> None:
        """Go on from one place until the part is whole, or nothing new comes.

        Raises:
            _Fault: if it does not become whole.
        """
        furthest = _length(self._part)
        is_old = furthest > 0  # what came another time, or from another place, may not belong to what comes now
        while True:
            if not self._file.checksum:
                self._part.truncate(0)
            try:
                self._receive(url)
            except _Broken as fault:
                if _length(self._part) <= furthest:
                    raise _Fault(str(fault)) from None
                furthest = _length(self._part)
                continue
            misfit = _misfit(self._file, self._part)
            if not misfit:
                return
            self._part.truncate(0)
            if not is_old:
                raise _Fault(misfit)
            furthest, is_old = 0, False

    def _receive(self, url: str) -> None:
        """Add what one answer brings.

        Raises:
            _Broken: if the connection fails.
            _Fault: if something else is offered.
        """
        start = _length(self._part)
        if start and start == self._file.size:
            return
        with _ask(url, start) as answer:
            if answer is None:  # there is no more of it: the checksum tells whether that is all
                return
            first, total = _extent(answer)
            if start and first not in (0, start):  # not what was asked for: all of it, then
                self._part.truncate(0)
                return self._receive(url)
            if self._file.size is not None and total not in (None, self._file.size):
                raise _Fault(f"offers {total:,} bytes, published are {self._file.size:,}")
            _need_room(self._folder, (total or self._file.size or first) - first)
            self._append(answer, first, self._file.size if total is None else total)

    def _append(self, answer: Any, place: int, total: int | None) -> None:
        """Write an answer that begins at a place of the file, of `total` bytes if that is known."""
        self._part.truncate(place)
        self._part.seek(place)
        while block := _next(answer):
            _write(self._part, block)
            place += len(block)
            self._display.progress(self._file.name, place, total)
            if total is not None and place > total:
                raise _Fault(f"sends more than the {total:,} bytes that are published")
        if total is not None and place < total:
            raise _Broken(f"broke off after {place:,} of {total:,} bytes")


@contextmanager
def _ask(url: str, start: int) -> Iterator[Any]:
    """The answer of a server, asked for what follows `start` bytes; None if it says that nothing does."""
    headers = {"User-Agent": "minigrad-lab", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if not start or error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise _Broken(f"{error.code} {error.reason}") from None
        answer = None
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(_reason(error)) from None
    with answer or nullcontext():
        yield answer


def _next(answer: Any) -> bytes:
    """What has arrived since; empty at the end."""
    try:
        block: bytes = answer.read1(CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(_reason(error)) from None
    return block


def _extent(answer: Any) -> tuple[int, int | None]:
    """At which byte of the file an answer begins, and how many the file has, where the server says it."""
    if answer.status != HTTPStatus.PARTIAL_CONTENT:
        length = answer.headers["Content-Length"]
        return 0, int(length) if (length or "").isdecimal() else None
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers["Content-Range"] or "")
    if found is None:
        raise _Fault("sends a part and does not say which")
    return int(found[1]), None if found[2] == "*" else int(found[2])


def _reason(error: Exception) -> str:
    """Why a connection failed, in words."""
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        return _reason(error.reason)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


# --- unpacking ---


def _unpack(wanted: list[File], archive: BinaryIO, path: Path, folder: Path, display: Display) -> None:
    """Take files out of an open archive, each by its name in there: nothing else is written, and nowhere else.

    Raises:
        InputError: if the archive is none, or holds something else; an open part is emptied then.
    """
    _need_room(folder, sum(file.size or 0 for file in wanted))
    archive.seek(0)
    lacking = {file.member: file for file in wanted}
    try:
        for name, member in _members(archive, path.name):
            if name in lacking:
                _place(lacking.pop(name), member, folder, display)
        if lacking:
            raise _Fault(f"it lacks {', '.join(lacking)}")
    except (_Fault, zipfile.BadZipFile, tarfile.TarError, zlib.error, BadGzipFile, EOFError) as error:
        if archive.writable():
            archive.truncate(0)
        raise InputError(
            f"{path.name} is not what was published ({error}): if it lies in {path.parent}, delete it; fetch again"
        ) from None


def _members(archive: BinaryIO, name: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Names of the files in an archive, and what opens them, in the order in which they lie there."""
    if name.endswith(".zip"):
        with zipfile.ZipFile(archive) as packed:
            for member in packed.namelist():
                yield member, lambda member=member: packed.open(member)  # type: ignore[misc]
        return
    with tarfile.open(fileobj=archive, mode="r:gz") as tape:
        for entry in tape:
            if entry.isreg():
                yield entry.name.removeprefix("./"), lambda entry=entry: tape.extractfile(entry)  # type: ignore[misc]


def _place(file: File, member: Callable[[], Any], folder: Path, display: Display) -> None:
    """Write one file of an archive where it belongs."""
    path, done = folder / file.path, 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as out:
        with member() as source:
            while (block := source.read(CHUNK)) and done <= (file.size or done):
                _write(out, block)
                done += len(block)
                display.progress(f"unpacking {file.name}", done, file.size)
        out.flush()
        if fault := _misfit(file, out):
            raise _Fault(f"{file.member}: {fault}")
        _put_aside(file, folder, display)
        if not file.checksum:
            _remember(path, _digits(out, "sha256"), display)


# --- the folder ---


@contextmanager
def _part(path: Path, display: Display) -> Iterator[BinaryIO]:
    """Hold, alone, what there is of a file that is to lie at `path`; left there unless it is empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    place = _part_of(path)
    with locked(place, lambda: display.note(f"another process is fetching {path.name}: waiting for it")) as part:
        try:
            yield part
        finally:
            if not _length(part):
                with suppress(OSError):
                    place.unlink()


def _part_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _put_aside(file: File, folder: Path, display: Display) -> None:
    """Give what lies where a file belongs, and is damaged or another one, another name."""
    finding = verify.verify(file, folder)
    if finding.state != "absent":
        path, kind = finding.path, "other" if finding.state == "other" else "damaged"
        aside = path.with_name(f"{path.name}.{kind}")
        path.replace(aside)
        told = "not what was published" if kind == "other" else "damaged"
        display.note(f"{path.name} was {told}: it is called {aside.name} now")


def _remember(path: Path, digits: str, display: Display) -> None:
    verify.remember(path, digits)
    display.note(f"{path.name}: no checksum is published; its sha256 is {digits}, kept to compare with")


def _misfit(file: File, opened: BinaryIO) -> str:
    """What is wrong with an open file that ought to be the published one; empty if nothing is."""
    there = _length(opened)
    if file.size is not None and there != file.size:
        return f"{there:,} bytes came, published are {file.size:,}"
    kind, _, published = file.checksum.partition(":")
    if not kind or (found := _digits(opened, kind)) == published:
        return ""
    return f"what came has the {kind} {found}, published is {published}"


def _digits(opened: BinaryIO, kind: str) -> str:
    opened.seek(0)
    return checksum(opened, kind)


def _length(opened: BinaryIO) -> int:
    return os.fstat(opened.fileno()).st_size


def _need_room(folder: Path, size: int) -> None:
    if size > shutil.disk_usage(folder).free:
        raise _full(folder, f"{size:,} bytes are needed")


def _write(file: BinaryIO, block: bytes) -> None:
    """Write all of a block, however many calls the system takes."""
    left = memoryview(block)
    while left:
        left = left[file.write(left) :]


def _full(folder: Path, why: str) -> InputError:
    return InputError(
        f"there is no room in {folder} ({why}): make room there, or choose another folder with --data-dir; what was "
        "downloaded is kept, and gone on with"
    )


@contextmanager
def _writing(folder: Path, place: str) -> Iterator[None]:
    """Turn errors of the file system into InputError; folders that were made for nothing are removed."""
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    inside = folder / place
    made = made if inside.exists() else [inside, *made]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except InputError:
        with suppress(OSError):  # from the first that something lies in
            for each in made:
                each.rmdir()
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full(folder, error.strerror or "disk full") from None
        where = error.filename or folder
        raise InputError(
            f"cannot write {where} ({error.strerror}): make {folder} writable, or choose another folder with --data-dir"
        ) from None
