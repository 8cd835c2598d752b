"""`data` as a person types it: what there is, fetching it, whether it is whole."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cli as command_line
from datasets import catalogue
from datasets.catalogue import DataSet, File
from experiments import data_command

ROOT = Path(__file__).parents[2]
CONTENT = bytes(range(256)) * 1000


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Where a file can be had."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/file"
        server.shutdown()


@pytest.fixture(autouse=True)
def made_up(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalogue of our own: one set that can be fetched, one that cannot be, one that must not be."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def item(name: str, urls: tuple[str, ...], by_hand: str = "") -> DataSet:
        checksum = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
        file = File(f"{name}/file.bin", len(CONTENT), checksum, urls)
        tasks = ("mnist-pixels", "a-task-of-the-future")
        return DataSet(name, f"The {name} set", "0.3 MB", "free", "@misc{x}", tasks, (file,), by_hand=by_hand)

    sets = (item("good", (url,)), item("gone", ("http://127.0.0.1:9/file",)), item("closed", (), "buy it and put it"))
    monkeypatch.setattr(catalogue, "SETS", {each.name: each for each in sets})


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `data`; exit code, standard output, standard error."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = command_line.main(["data", *arguments, "--data-dir", str(tmp_path / "data")])
        return code, *capsys.readouterr()

    return call


def refusal(outcome: tuple[int, str, str]) -> str:
    code, out, err = outcome
    assert (code, out) == (2, "")
    *_, line = err.splitlines()
    assert line.startswith("cli.py data: error: ")
    return line


def test_a_set_is_listed_fetched_and_verified(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "data" / "good" / "file.bin"
    code, out, err = run("list")
    assert (code, err) == (0, "")
    head, _, columns, *lines = out.splitlines()
    assert head == f"data in {tmp_path / 'data'}"
    assert columns.split() == ["name", "state", "size", "tasks", "licence", "summary"]
    assert lines[0].split() == ["good", "absent", "0.3", "MB", "mnist-pixels", "free", "The", "good", "set"]
    assert "absent (to be put there by hand)" in lines[2]
    assert not (tmp_path / "data").exists()

    code, out, err = run("fetch", "good", "good")
    assert (code, out) == (0, f"fetched  {path}\n")
    assert err.splitlines()[-1].startswith("file.bin  0.3 of 0.3 MB")
    assert path.read_bytes() == CONTENT
    assert run("fetch", "good") == (0, f"there  {path}\n", "")
    assert run("fetch", "mnist-pixels", "good") == (0, f"there  {path}\n", "")  # a task that reads it

    code, out, _ = run("list", "good")
    assert "good  present" in out
    code, out, err = run("verify")
    assert (code, err) == (0, "")
    folder = tmp_path / "data"
    assert out.splitlines() == [
        f"ok       {path}  published sha256",
        f"absent   {folder / 'gone' / 'file.bin'}  run `python cli.py data fetch gone --data-dir {folder}`",
        f"absent   {folder / 'closed' / 'file.bin'}  put the right file there",
    ]


def test_a_damaged_file_is_exit_code_1_and_fetching_mends_it(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "data" / "good" / "file.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT[::-1])
    code, out, _ = run("verify", "good")
    assert code == 1
    assert out.startswith(f"damaged  {path}  its sha256 is ")
    assert out.endswith(f"run `python cli.py data fetch good --data-dir {tmp_path / 'data'}`\n")
    path.write_bytes(b"short")
    assert "damaged: file.bin: it has 5 bytes" in run("list", "good")[1]
    code, _, err = run("fetch", "good")
    assert code == 0
    assert "file.bin was damaged: it is called file.bin.damaged now" in err
    assert run("verify", "good")[0] == 0


def test_another_file_than_the_published_one_is_called_so(run: Any, tmp_path: Path) -> None:
    found, wanted = (hashlib.sha256(content).hexdigest() for content in (CONTENT[::-1], CONTENT))
    lines = {}
    for name in ("good", "closed"):
        path = tmp_path / "data" / name / "file.bin.gz"
        path.parent.mkdir(parents=True)
        path.write_bytes(gzip.compress(CONTENT[::-1]))
        code, out, _ = run("verify", name)
        assert code == 0  # nothing is broken
        detail = f"whole, but not the published file (its sha256 is {found}, published is {wanted})"
        assert out.startswith(f"other    {path}  {detail}: say so with any result, or ")
        lines[name] = out
    assert lines["good"].endswith(f"or run `python cli.py data fetch good --data-dir {tmp_path / 'data'}`\n")
    assert lines["closed"].endswith("or use the published one\n")
    assert json.loads(run("verify", "good", "--json")[1])["sound"] is True
    code, _, err = run("fetch", "good")
    assert code == 0
    assert "file.bin.gz was not what was published: it is called file.bin.gz.other now" in err
    assert run("verify", "good")[1].startswith("ok")


def test_json_is_one_object(run: Any, tmp_path: Path) -> None:
    folder = str(tmp_path / "data")
    code, out, _ = run("list", "--json")
    listed = json.loads(out)
    assert (code, len(out.splitlines()), listed["folder"]) == (0, 1, folder)
    assert [entry["name"] for entry in listed["sets"]] == ["good", "gone", "closed"]
    first = listed["sets"][0]
    assert first["tasks"] == ["mnist-pixels"]
    assert {"summary", "size", "licence", "citation", "state", "files"} <= set(first)

    path = f"{folder}/good/file.bin"
    assert json.loads(run("fetch", "good", "--json")[1]) == {
        "folder": folder,
        "files": [{"set": "good", "path": path, "state": "fetched"}],
    }
    assert json.loads(run("verify", "good", "--json")[1]) == {
        "folder": folder,
        "sound": True,
        "files": [{"set": "good", "path": path, "state": "ok", "detail": "published sha256"}],
    }
    Path(path).write_bytes(b"")
    code, out, _ = run("verify", "good", "--json")
    assert code == 1
    assert json.loads(out)["sound"] is False


def test_what_is_impossible_is_one_line(run: Any, tmp_path: Path) -> None:
    assert "unknown data set 'god', did you mean good" in refusal(run("fetch", "god"))
    assert "unknown data set 'xyz' (there are: good, gone, closed)" in refusal(run("verify", "good", "xyz"))
    assert "name what to fetch: there are good, gone, closed" in refusal(run("fetch"))
    assert "unknown value 'lsit', did you mean list?" in refusal(run("lsit"))
    assert f"buy it and put it into {tmp_path / 'data' / 'closed'}" in refusal(run("fetch", "good", "closed"))
    assert not (tmp_path / "data").exists()  # before anything was downloaded
    line = refusal(run("fetch", "gone"))
    assert "Connection refused" in line
    assert f"put the file file.bin into {tmp_path / 'data' / 'gone'}" in line
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "good").write_text("")
    assert "cannot write" in refusal(run("fetch", "good"))
    assert len(run("fetch", "good")[2].splitlines()) == 1


@pytest.mark.parametrize("action", ["list", "verify", "fetch"])
@pytest.mark.parametrize("inside", ["", "deeper/still"])
def test_a_folder_of_data_that_is_a_file_is_refused(
    action: str, inside: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing can lie in it: to call everything absent would hide the slip."""
    (tmp_path / "data").write_text("")
    code = command_line.main(["data", action, "good", "--data-dir", str(tmp_path / "data" / inside)])
    line = refusal((code, *capsys.readouterr()))
    assert line.endswith(f"{tmp_path / 'data'} is no folder: name the folder of data with --data-dir")


def test_ctrl_c_says_that_nothing_is_lost(run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(data_command.DownloadProgress, "progress", interrupt)
    code, out, err = run("fetch", "good")
    assert (code, out) == (130, "")
    assert err.splitlines() == [
        "what was downloaded is kept: the same command goes on with it",
        "cli.py data: interrupted",
    ]
    assert [path.name for path in (tmp_path / "data" / "good").iterdir()] == [".file.bin.part"]


def test_the_real_catalogue_is_listed_by_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", str(ROOT / "cli.py"), "data", "list", "--data-dir", "here"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=os.environ, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    listed = [line.split()[0] for line in done.stdout.splitlines()[3:]]
    assert listed == ["ptb", "wikitext-2", "wikitext-103", "text8", "mnist", "cifar10"]
    assert list(tmp_path.iterdir()) == []


# --- progress ---


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_a_line_now_and_then() -> None:
    out, times = io.StringIO(), iter([0.0, 1.0, 5.0, 6.0, 7.0])
    display = data_command.DownloadProgress(out, lambda: next(times))
    for done in (1_000_000, 2_000_000, 6_000_000, 7_000_000, 10_000_000):
        display.progress("file", done, 10_000_000)
    display.note("that was all")
    assert out.getvalue().splitlines() == [
        "file  1.0 of 10.0 MB",
        "file  6.0 of 10.0 MB  1.0 MB/s  4.0 s left",
        "file  10.0 of 10.0 MB  1.3 MB/s",
        "that was all",
    ]


def test_on_a_terminal_one_line_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out, times = Terminal(), iter([0.0, 0.05, 1.0])
    display = data_command.DownloadProgress(out, lambda: next(times))
    for done in (1_000_000, 2_000_000, 3_000_000):
        display.progress("file", done, None)
    display.note("broken")
    assert out.getvalue() == "\r\x1b[Kfile  1.0 MB\r\x1b[Kfile  3.0 MB  2.0 MB/s\nbroken\n"
