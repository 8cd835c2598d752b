"""Downloads: broken, interrupted, refused, wrong, wanted by several processes; never anything half under its name."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets import fetch, verify
from minigrad.errors import InputError
from tests.datasets.downloads import CONTENT, NOBODY, ROOT, Display, Page, Server, names, part, refusal, sha256, single

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


# --- folders ---


def test_what_no_place_gives_is_said_once_and_leaves_no_folders(tmp_path: Path) -> None:
    display = Display()
    with pytest.raises(InputError, match=r"cannot fetch file.bin \(http://127.0.0.1:9: .*; http://127.0.0.1:9: "):
        fetch.fetch(single(NOBODY, NOBODY), tmp_path / "new" / "data", display)
    assert display.notes == []
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    refusal(single(NOBODY), tmp_path / "mine")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


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
