"""A server that misbehaves as it is told, data sets that it has, and archives."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import time
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from datasets import fetch
from datasets.catalogue import DataSet, File
from minigrad.errors import InputError

ROOT = Path(__file__).parents[2]
CONTENT = bytes(i * i % 251 for i in range(300_000))
NOBODY = "http://127.0.0.1:9/file"
"""A place where nobody answers: the port is reserved."""


@dataclass
class Page:
    """What a server does when it is asked for a file."""

    content: bytes = CONTENT
    status: int = 200
    ranges: bool = True
    """Whether it goes on where it is asked to."""
    shift: int = 0
    """It goes on so many bytes from where it is asked to, and says so."""
    breaks: list[int] = field(default_factory=list)
    """Bytes after which it breaks off, for the first answers."""
    says_length: bool = True
    delay: float = 0.0
    """Seconds between the two halves of an answer."""
    asked: list[str] = field(default_factory=list)
    """The `Range` of every request, empty without one."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    pages: dict[str, Page]

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages = {}

    def url(self, name: str, page: Page) -> str:
        self.pages[f"/{name}"] = page
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The client went away, as some tests have it do."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        page = self.server.pages.get(self.path, Page(status=404))
        asked = self.headers["Range"] or ""
        page.asked.append(asked)
        self.close_connection = True
        if page.status != 200:
            self.send_error(page.status)
            return
        start = int(re.findall(r"\d+", asked)[0]) if asked and page.ranges else 0
        if start and start >= len(page.content):
            self.send_error(416)
            return
        start = max(start + page.shift, 0) if start else 0
        body = page.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(page.content) - 1}/{len(page.content)}")
        if page.says_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        body = body[: page.breaks.pop(0)] if page.breaks else body
        self.wfile.write(body[: len(body) // 2])
        time.sleep(page.delay)
        self.wfile.write(body[len(body) // 2 :])


class Display:
    """Remembers what it is told; `stop_at` interrupts as Ctrl-C would, once so many bytes are there."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.notes: list[str] = []
        self.seen: list[tuple[str, int, int | None]] = []
        self.stop_at = stop_at

    def note(self, line: str) -> None:
        self.notes.append(line)

    def progress(self, name: str, done: int, total: int | None) -> None:
        self.seen.append((name, done, total))
        if self.stop_at is not None and done >= self.stop_at:
            raise KeyboardInterrupt


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def single(*urls: str, content: bytes = CONTENT, checksum: str | None = None, size: int | None = -1) -> DataSet:
    """A data set of one file."""
    checksum = sha256(content) if checksum is None else checksum
    file = File("set/file.bin", len(content) if size == -1 else size, checksum, urls)
    return DataSet("set", "A set", "0.3 MB", "none", "@misc{nobody}", (), (file,))


def part(folder: Path, content: bytes, name: str = ".file.bin.part") -> Path:
    """What a download left behind."""
    path = folder / "set" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def names(folder: Path) -> list[str]:
    """All files in a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def refusal(item: DataSet, folder: Path, display: Display | None = None) -> str:
    """The one line of an error."""
    with pytest.raises(InputError) as caught:
        fetch.fetch(item, folder, display or Display())
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    return line


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return out.getvalue()


def packed(content: bytes, url: str, name: str = "all.zip", checksums: bool = True) -> DataSet:
    """A data set of two files in an archive."""
    files = tuple(
        File(f"set/{n}.txt", len(text) if checksums else None, sha256(text) if checksums else "", member=f"in/{n}")
        for n, text in (("a", CONTENT), ("b", b"short"))
    )
    archive = File(f"set/{name}", None, sha256(content), (url,))
    return DataSet("set", "A set", "0.3 MB", "none", "@misc{nobody}", (), files, archive)
