"""Archives: unpacked as far as they are asked for, whole, and never beyond their folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from datasets import fetch, verify
from tests.datasets.downloads import CONTENT, NOBODY, Display, Page, Server, names, packed, refusal, tarred, zipped

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
