"""Downloads: broken, interrupted, refused, wrong, wanted by several processes; never anything half under its name."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets import catalogue, fetch, registry, verify
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


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as made:
        threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
        yield made
        made.shutdown()


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy between a test and its server."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


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


# --- one file ---


@pytest.mark.parametrize("says_length", [True, False])
@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_a_file_is_fetched_once(server: Server, tmp_path: Path, size: int | None, says_length: bool) -> None:
    page, display = Page(says_length=says_length), Display()
    item = single(server.url("a", page), size=size)
    assert fetch.fetch(item, tmp_path / "new" / "data", display) == [
        (tmp_path / "new" / "data" / "set" / "file.bin", "fetched")
    ]
    assert (tmp_path / "new" / "data" / "set" / "file.bin").read_bytes() == CONTENT
    assert names(tmp_path) == ["new/data/set/file.bin"]
    assert [done for _, done, _ in display.seen] == sorted({done for _, done, _ in display.seen})
    assert display.seen[-1] == ("file.bin", len(CONTENT), len(CONTENT) if says_length or size else None)
    assert [file.state for file in fetch.fetch(item, tmp_path / "new" / "data", display)] == ["there"]
    assert page.asked == [""]


@pytest.mark.parametrize("says_length", [True, False])
def test_a_broken_download_is_gone_on_with(server: Server, tmp_path: Path, says_length: bool) -> None:
    page = Page(breaks=[100_000, 50_000, 1], says_length=says_length)
    fetch.fetch(single(server.url("a", page)), tmp_path, Display())
    if says_length:
        assert page.asked == ["", "bytes=100000-", "bytes=150000-", "bytes=150001-"]
    assert (tmp_path / "set" / "file.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("stop_at", [1, 150_000, len(CONTENT)])
def test_an_interrupted_download_is_gone_on_with(server: Server, tmp_path: Path, stop_at: int) -> None:
    page = Page()
    item = single(server.url("a", page))
    with pytest.raises(KeyboardInterrupt):
        fetch.fetch(item, tmp_path, Display(stop_at=stop_at))
    assert names(tmp_path) == ["set/.file.bin.part"]
    there = (tmp_path / "set" / ".file.bin.part").stat().st_size
    assert there >= stop_at
    fetch.fetch(item, tmp_path, Display())
    assert page.asked == ([""] if there == len(CONTENT) else ["", f"bytes={there}-"])
    assert names(tmp_path) == ["set/file.bin"]


@pytest.mark.parametrize(
    ("before", "page", "asked"),
    [
        (CONTENT[:1000], Page(ranges=False), ["bytes=1000-"]),
        (CONTENT[:1000], Page(shift=7), ["bytes=1000-", ""]),
        (CONTENT[:1000], Page(shift=-1000), ["bytes=1000-"]),
        (b"x" * 1000, Page(), ["bytes=1000-", ""]),
        (b"x" * len(CONTENT), Page(), [""]),
        (CONTENT + b"x", Page(), [f"bytes={len(CONTENT) + 1}-", ""]),
        (CONTENT, Page(), []),
    ],
    ids=["no ranges", "elsewhere", "from the start", "another file", "another whole file", "too long", "whole"],
)
def test_whatever_was_left_behind_the_file_is_right(
    server: Server, tmp_path: Path, before: bytes, page: Page, asked: list[str]
) -> None:
    part(tmp_path, before)
    page = replace(page, asked=[])
    fetch.fetch(single(server.url("a", page)), tmp_path, Display())
    assert page.asked == asked
    assert (tmp_path / "set" / "file.bin").read_bytes() == CONTENT
    assert names(tmp_path) == ["set/file.bin"]


def test_places_are_tried_in_order(server: Server, tmp_path: Path) -> None:
    display, last = Display(), Page()
    wrong, missing, busy = Page(CONTENT[::-1]), Page(status=404), Page(status=503)
    short = Page(CONTENT[:-1])
    pages = [missing, busy, short, wrong]
    urls = [server.url(f"{n}", page) for n, page in enumerate(pages)]
    fetch.fetch(single(NOBODY, *urls, server.url("last", last), server.url("never", Page())), tmp_path, display)
    assert (tmp_path / "set" / "file.bin").read_bytes() == CONTENT
    assert [page.asked for page in (*pages, last)] == [[""]] * 5
    refused, *others = display.notes
    assert "127.0.0.1:9: Connection refused" in refused
    for note, words in zip(
        others, ("404 Not Found", "503 Service", "offers 299,999 bytes", "what came has"), strict=True
    ):
        assert words in note


def test_a_second_place_goes_on_where_the_first_broke_off(server: Server, tmp_path: Path) -> None:
    first, second = Page(breaks=[100_000, 0, 0]), Page()
    fetch.fetch(single(server.url("a", first), server.url("b", second)), tmp_path, Display())
    assert first.asked == ["", "bytes=100000-"]
    assert second.asked == ["bytes=100000-"]
    assert (tmp_path / "set" / "file.bin").read_bytes() == CONTENT


def test_without_any_answer_one_line_names_the_way_out(tmp_path: Path) -> None:
    line = refusal(single(NOBODY, NOBODY), tmp_path / "data")
    assert (
        "cannot fetch file.bin (http://127.0.0.1:9: Connection refused; http://127.0.0.1:9: Connection refused)" in line
    )
    assert f"put the file file.bin into {tmp_path / 'data' / 'set'}" in line
    assert names(tmp_path) == []
    assert "file.bin" in refusal(single("http://nowhere.invalid/file.bin"), tmp_path)


def test_a_server_that_falls_silent_counts_as_broken(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "TIMEOUT", 0.1)
    page, display = Page(delay=0.5), Display()
    line = refusal(single(server.url("a", page), size=None), tmp_path)
    assert "timed out" in line
    assert names(tmp_path) == ["set/.file.bin.part"]
    page.delay = 0
    fetch.fetch(single(server.url("a", page)), tmp_path, display)
    assert (tmp_path / "set" / "file.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"x", b"", b"<html>log in first</html>"])
@pytest.mark.parametrize("says_length", [True, False])
def test_what_was_not_published_never_gets_the_name(
    server: Server, tmp_path: Path, content: bytes, says_length: bool
) -> None:
    url = server.url("a", Page(content, says_length=says_length))
    for item in (single(url), single(url, size=None)):
        assert "published" in refusal(item, tmp_path)
        assert not (tmp_path / "set" / "file.bin").exists()
    fetch.fetch(single(server.url("a", Page())), tmp_path, Display())


def test_without_a_published_checksum_the_one_that_came_is_kept(server: Server, tmp_path: Path) -> None:
    part(tmp_path, CONTENT[:1000])
    page, display = Page(breaks=[100_000]), Display()
    item = single(server.url("a", page), checksum="", size=None)
    fetch.fetch(item, tmp_path, display)
    assert page.asked == ["", ""]  # nothing is pieced together
    digits = sha256(CONTENT).removeprefix("sha256:")
    assert any(digits in note for note in display.notes)
    path = tmp_path / "set" / "file.bin"
    assert (tmp_path / "set" / "file.bin.sha256").read_text() == f"{digits}  file.bin\n"
    assert verify.verify(item.files[0], tmp_path) == (verify.Finding(path, "ok", "when it was fetched sha256"))
    path.write_bytes(CONTENT[::-1])
    assert verify.verify(item.files[0], tmp_path).state == "damaged"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    left=st.one_of(st.just(b""), st.builds(lambda n: CONTENT[:n], st.integers(0, 300_001)), st.binary(max_size=100)),
    pages=st.lists(
        st.builds(
            Page,
            content=st.sampled_from([CONTENT, CONTENT, CONTENT[::-1], CONTENT[:-1], b""]),
            status=st.sampled_from([200, 200, 200, 404, 500]),
            ranges=st.booleans(),
            shift=st.sampled_from([0, 0, 5, -5]),
            breaks=st.lists(st.integers(0, 200_000), max_size=4),
            says_length=st.booleans(),
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_whatever_servers_do_a_file_is_right_or_absent(
    server: Server, tmp_path_factory: pytest.TempPathFactory, left: bytes, pages: list[Page]
) -> None:
    folder = tmp_path_factory.mktemp("data")
    part(folder, left)
    path = folder / "set" / "file.bin"
    item = single(*(server.url(f"{n}", page) for n, page in enumerate(pages)))
    for _ in range(2):
        try:
            fetch.fetch(item, folder, Display())
        except InputError:
            assert not path.exists()
        else:
            assert path.read_bytes() == CONTENT
    fetch.fetch(single(server.url("good", Page())), folder, Display())
    assert names(folder) == ["set/file.bin"]
    assert path.read_bytes() == CONTENT


# --- several processes ---

CHILD = """
import sys
from pathlib import Path
from datasets import fetch
from datasets.catalogue import DataSet, File
class Display:
    def note(self, line): print(line, flush=True)
    def progress(self, name, done, total): print(done, flush=True)
url, checksum, folder = sys.argv[1:]
item = DataSet("set", "", "", "", "", (), (File("set/file.bin", None, checksum, (url,)),))
print(fetch.fetch(item, Path(folder), Display())[0].state)
"""


def child(url: str, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", CHILD, url, sha256(CONTENT), str(folder)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_one_of_several_processes_downloads(server: Server, tmp_path: Path) -> None:
    page = Page(delay=1.0)
    url = server.url("a", page)
    with child(url, tmp_path) as first, child(url, tmp_path) as second, child(url, tmp_path) as third:
        said = [process.communicate(timeout=60)[0] for process in (first, second, third)]
    assert [process.returncode for process in (first, second, third)] == [0, 0, 0]
    assert page.asked == [""]
    assert sum("another process is fetching file.bin" in text for text in said) >= 1
    assert names(tmp_path) == ["set/file.bin"]


def test_a_killed_download_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    page = Page(delay=30.0)
    url = server.url("a", page)
    with child(url, tmp_path) as process:
        assert process.stdout is not None
        while int(process.stdout.readline()) < len(CONTENT) // 2:
            pass
        process.send_signal(signal.SIGKILL)
    page.delay = 0.0
    assert names(tmp_path) == ["set/.file.bin.part"]
    fetch.fetch(single(url), tmp_path, Display())
    assert page.asked == ["", f"bytes={len(CONTENT) // 2}-"]
    assert names(tmp_path) == ["set/file.bin"]


# --- archives ---


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


TWO = {"in/a": CONTENT, "in/b": b"short"}
ESCAPES = {"../out": b"1", "/tmp/out": b"2", "in/../../out": b"3"}


@pytest.mark.parametrize(("name", "pack"), [("all.zip", zipped), ("all.tar.gz", tarred)])
@pytest.mark.parametrize("checksums", [True, False])
def test_an_archive_gives_its_files_and_nothing_else(
    server: Server, tmp_path: Path, name: str, pack: Any, checksums: bool
) -> None:
    content = pack(ESCAPES | TWO)
    page = Page(content)
    item = packed(content, server.url(name, page), name, checksums)
    data = tmp_path / "deep" / "data"
    assert [file.state for file in fetch.fetch(item, data, Display())] == ["fetched"] * 2
    assert (data / "set" / "a.txt").read_bytes() == CONTENT
    assert (data / "set" / "b.txt").read_bytes() == b"short"
    pins = [] if checksums else ["set/a.txt.sha256", "set/b.txt.sha256"]
    assert names(data) == sorted(["set/a.txt", "set/b.txt", *pins])
    assert names(tmp_path) == [f"deep/data/{file}" for file in names(data)]
    assert {verify.verify(file, data).state for file in item.files} == {"ok"}
    assert [file.state for file in fetch.fetch(item, data, Display())] == ["there"] * 2
    (data / "set" / "b.txt").unlink()
    assert [file.state for file in fetch.fetch(item, data, Display())] == ["there", "fetched"]
    assert page.asked == ["", ""]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("all.zip", zipped({"in/a": CONTENT}), "it lacks in/b"),
        ("all.zip", zipped({"in/a": CONTENT, "in/b": b"other"}), "in/b: what came has the sha256"),
        ("all.zip", zipped({"in/a": CONTENT * 9, "in/b": b"short"}), "in/a: "),
        ("all.zip", b"<html>", "not a zip file"),
        ("all.zip", zipped(TWO)[:-100], "not a zip file"),
        ("all.tar.gz", tarred({"in/a": CONTENT}, {"in/b": "/etc/passwd"}), "it lacks in/b"),
        ("all.tar.gz", tarred(TWO)[:500], "ended"),
        ("all.tar.gz", b"<html>", "not a gzip file"),
    ],
)
def test_an_archive_that_holds_something_else_is_refused(
    server: Server, tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    item = packed(content, server.url(name, Page(content)), name)
    line = refusal(item, tmp_path)
    assert f"{name} is not what was published" in line
    assert words in line
    assert set(names(tmp_path)) <= {"set/a.txt"}  # whole, if it is there
    good = (zipped if name.endswith("zip") else tarred)(TWO)
    fetch.fetch(packed(good, server.url(name, Page(good)), name), tmp_path, Display())
    assert names(tmp_path) == ["set/a.txt", "set/b.txt"]


def test_an_archive_that_was_put_there_by_hand_is_unpacked_and_kept(tmp_path: Path) -> None:
    content = zipped(TWO)
    item = packed(content, NOBODY)
    line = refusal(item, tmp_path)
    assert f"put the file all.zip into {tmp_path / 'set'}" in line
    (tmp_path / "set").mkdir(exist_ok=True)
    (tmp_path / "set" / "all.zip").write_bytes(content[:-1])
    assert f"{tmp_path / 'set' / 'all.zip'} is damaged (its sha256 is" in refusal(item, tmp_path)
    (tmp_path / "set" / "all.zip").write_bytes(content)
    fetch.fetch(item, tmp_path, Display())
    assert names(tmp_path) == ["set/a.txt", "set/all.zip", "set/b.txt"]


def test_an_interrupted_unpacking_is_done_again_without_a_download(server: Server, tmp_path: Path) -> None:
    content = zipped(TWO)
    page = Page(content)
    item = packed(content, server.url("all.zip", page))

    class Stops(Display):
        def progress(self, name: str, done: int, total: int | None) -> None:
            if name == "unpacking a.txt":
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch.fetch(item, tmp_path, Stops())
    assert names(tmp_path) == ["set/.all.zip.part"]
    assert (tmp_path / "set" / ".all.zip.part").read_bytes() == content
    assert item.archive is not None
    item = replace(item, archive=replace(item.archive, size=len(content)))
    fetch.fetch(item, tmp_path, Display())
    assert page.asked == [""]
    assert names(tmp_path) == ["set/a.txt", "set/b.txt"]


# --- folders ---


def test_a_damaged_file_is_put_aside_once_there_is_another(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "set" / "file.bin"
    path.parent.mkdir()
    path.write_bytes(b"mine")
    refusal(single(NOBODY), tmp_path)
    assert path.read_bytes() == b"mine"
    display = Display()
    fetch.fetch(single(server.url("a", Page())), tmp_path, display)
    assert path.read_bytes() == CONTENT
    assert path.with_name("file.bin.damaged").read_bytes() == b"mine"
    assert display.notes == ["file.bin was damaged: it is called file.bin.damaged now"]


def test_another_file_than_the_published_one_makes_room_for_it(server: Server, tmp_path: Path) -> None:
    item = single(server.url("a", Page()))
    item = replace(item, files=(replace(item.files[0], elsewhere=("set/in/file.bin",)),))
    path = tmp_path / "set" / "in" / "file.bin.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(CONTENT[::-1]))
    display = Display()
    assert fetch.fetch(item, tmp_path, display) == [(tmp_path / "set" / "file.bin", "fetched")]
    assert names(tmp_path) == ["set/file.bin", "set/in/file.bin.gz.other"]
    assert display.notes == ["file.bin.gz was not what was published: it is called file.bin.gz.other now"]


def test_a_folder_that_cannot_be_written_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    item = single(server.url("a", Page()))
    for folder in (tmp_path / "file", tmp_path / "file" / "data"):
        assert "--data-dir" in refusal(item, folder)
    assert names(tmp_path) == ["file"]


def test_too_little_room_is_told_before_the_download(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Page()
    usage = type("Usage", (), {"free": len(CONTENT) - 1})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    for size in (len(CONTENT), None):
        line = refusal(single(server.url("a", page), size=size), tmp_path)
        assert "there is no room in" in line
        assert "300,000 bytes are needed" in line
    assert names(tmp_path) == []


def test_a_full_disk_leaves_nothing_half_under_the_name(server: Server, tmp_path: Path) -> None:
    """The disk is full as far as this process is concerned: it may write no longer files."""
    page = Page()
    url = server.url("a", page)
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    command = [sys.executable, "-c", limit + CHILD, url, sha256(CONTENT), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stderr.splitlines()[-1].startswith("minigrad.errors.InputError: cannot write")
    assert names(tmp_path) == ["set/.file.bin.part"]
    fetch.fetch(single(url), tmp_path, Display())
    assert page.asked == ["", "bytes=100000-"]
    assert names(tmp_path) == ["set/file.bin"]


def test_what_is_there_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "file.bin").write_bytes(CONTENT)
    before = os.stat(tmp_path / "set").st_mtime_ns
    assert [file.state for file in fetch.fetch(single(NOBODY), tmp_path, Display())] == ["there"]
    assert os.stat(tmp_path / "set").st_mtime_ns == before


def test_what_a_licence_forbids_is_not_fetched(tmp_path: Path) -> None:
    item = replace(single(), by_hand="get it from its owner and put it")
    line = refusal(item, tmp_path)
    assert line == f"set: get it from its owner and put it into {tmp_path / 'set'} (absent: file.bin)"
    assert names(tmp_path) == []
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "file.bin").write_bytes(CONTENT)
    assert [file.state for file in fetch.fetch(item, tmp_path, Display())] == ["there"]


# --- verifying ---


def test_a_file_may_lie_gzipped_or_bare(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    bare, (file,) = tmp_path / "set" / "file.bin", single().files
    zipped_file = tmp_path / "set" / "file.bin.gz"
    assert verify.verify(file, tmp_path) == verify.Finding(bare, "absent")
    zipped_file.write_bytes(gzip.compress(CONTENT))
    assert verify.verify(file, tmp_path) == verify.Finding(zipped_file, "ok", "published sha256")
    zipped_file.write_bytes(gzip.compress(CONTENT)[:-20])
    assert "cannot be unpacked" in verify.verify(file, tmp_path).detail
    zipped_file.unlink()
    published = replace(file, path="set/file.bin.gz")
    bare.write_bytes(CONTENT)
    assert verify.verify(published, tmp_path) == verify.Finding(bare, "unpublished")


def test_whole_files_that_are_not_the_published_ones_are_called_other(tmp_path: Path) -> None:
    """What gzip's own checksum vouches for is not damaged; neither is it ever taken for the published file."""
    (file,), path = single().files, tmp_path / "set" / "file.bin.gz"
    path.parent.mkdir()
    found, wanted = (sha256(content).removeprefix("sha256:") for content in (CONTENT[::-1], CONTENT))
    for size in (len(CONTENT), None):
        path.write_bytes(gzip.compress(CONTENT[::-1]))
        other = verify.Finding(path, "other", f"its sha256 is {found}, published is {wanted}")
        assert verify.verify(replace(file, size=size), tmp_path) == other
    path.write_bytes(gzip.compress(CONTENT[:-1]))
    too_short = verify.Finding(path, "damaged", "it unpacks to 299,999 bytes, published are 300,000")
    assert verify.verify(file, tmp_path) == too_short
    path.write_bytes(gzip.compress(CONTENT[::-1])[:-8] + bytes(8))  # neither CRC nor size
    assert "cannot be unpacked" in verify.verify(file, tmp_path).detail
    path.unlink()
    path.with_suffix("").write_bytes(CONTENT[::-1])  # bare, nothing vouches for it
    assert verify.verify(file, tmp_path).state == "damaged"
    path.with_suffix("").unlink()
    path.write_bytes(gzip.compress(CONTENT))
    verify.remember(path, found)
    assert verify.verify(replace(file, checksum=""), tmp_path).state == "damaged"  # it was another one when it came


def test_a_file_may_lie_elsewhere(tmp_path: Path) -> None:
    file = replace(single().files[0], elsewhere=("set/unpacked/file.bin", "old.bin"))
    places = [tmp_path / "old.bin.gz", *(tmp_path / "set" / place for place in ("unpacked/file.bin", "file.bin.gz"))]
    for path in places:  # each comes before those that are there already
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(CONTENT) if path.suffix == ".gz" else CONTENT)
        name = path.name.removesuffix(".gz")
        assert verify.locate(file, tmp_path) == path
        if name == file.name:
            assert verify.verify(file, tmp_path) == verify.Finding(path, "ok", "published sha256")
    places[2].unlink()
    places[1].write_bytes(b"short")
    assert verify.glance(file, tmp_path).state == "damaged"


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    (file,) = single().files
    path = tmp_path / "set" / "file.bin"
    path.mkdir(parents=True)
    assert verify.verify(file, tmp_path) == verify.Finding(path, "damaged", "it is not a file")
    path.rmdir()
    path.write_bytes(CONTENT[:-1])
    assert verify.verify(file, tmp_path).detail == "it has 299,999 bytes, published are 300,000"
    assert verify.present(single(), tmp_path) == "damaged: file.bin: it has 299,999 bytes, published are 300,000"
    path.write_bytes(CONTENT[::-1])
    assert verify.present(single(), tmp_path) == "present"  # at a glance
    assert verify.verify(file, tmp_path).state == "damaged"
    item = packed(b"", NOBODY)
    assert verify.present(item, tmp_path) == "absent"
    (tmp_path / "set" / "b.txt").write_bytes(b"short")
    assert verify.present(item, tmp_path) == "1 of 2 files"


# --- the catalogue ---


def test_the_catalogue_is_sound() -> None:
    files = [
        file for item in catalogue.SETS.values() for file in (*item.files, *([item.archive] if item.archive else []))
    ]
    paths = [path for file in files for path in (file.path, *file.elsewhere)]
    assert len(set(paths)) == len(paths)
    for path in paths:
        assert not path.startswith("/")
        assert ".." not in path
    for file in files:
        assert re.fullmatch("(sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}|)", file.checksum)
        assert all(re.fullmatch(r"https?://\S+", url) for url in file.urls)
        assert all(place.endswith(f"/{file.name}") for place in file.elsewhere)  # checksums go by names
        assert file.checksum or not file.urls  # whatever is downloaded can be checked
    for name, item in catalogue.SETS.items():
        assert item.name == name
        assert item.citation.startswith("@")
        assert item.citation.count("{") == item.citation.count("}")
        assert all(file.member if item.archive else file.urls or item.by_hand for file in item.files)
        assert bool(item.by_hand) == (name == "ptb")
    with pytest.raises(InputError, match="did you mean wikitext-2"):
        catalogue.find("wikitext2")


def test_a_data_set_is_found_by_its_name_or_that_of_a_task_that_reads_it() -> None:
    for name, item in catalogue.SETS.items():
        assert {id(catalogue.find(each)) for each in (name, *item.tasks)} == {id(item)}
    tasks = [task for item in catalogue.SETS.values() for task in item.tasks]
    assert len(set(tasks)) == len(tasks)  # no name means two sets
    assert set(tasks) <= set(registry.names())


@pytest.mark.parametrize("name", ["ptb", "wikitext-2", "mnist"])
def test_real_files_are_the_published_ones(name: str, real_data: Path) -> None:
    item = catalogue.find(name)
    if not (real_data / item.files[0].path).exists():
        pytest.skip(f"needs {name}: name a folder that holds it in MINIGRAD_TEST_DATA")
    states = {file.name: verify.verify(file, real_data).state for file in item.files}
    assert {state for file, state in states.items() if ".char." not in file} == {"ok"}
    assert set(states.values()) <= {"ok", "unpublished"}


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of data that do not ship with the project."""
    chosen = os.environ.get("MINIGRAD_TEST_DATA")
    return Path(chosen) if chosen else ROOT.parent / "shared" / "data"
