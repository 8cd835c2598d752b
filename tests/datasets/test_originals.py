"""The files that tasks read, beside the published ones: what is refused, what is remarked, what is written down."""

from __future__ import annotations

import gzip
import os
from dataclasses import replace
from hashlib import md5, sha256
from pathlib import Path
from typing import Any

import pytest

from datasets import catalogue, checksums, originals, text, verify
from datasets.registry import make
from minigrad.errors import InputError
from tests.datasets.test_images import packed
from tests.datasets.test_images import write as write_images

TEXT = b"the cat sat on the mat\n" * 20


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of data with a text in the place of PTB, which is the published one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    (tmp_path / "ptb").mkdir()
    ptb = catalogue.SETS["ptb"]
    files = [replace(f, size=len(TEXT), checksum=f"md5:{md5(TEXT).hexdigest()}") for f in ptb.files[:3]]
    for file in files:
        (tmp_path / file.path).write_bytes(TEXT)
    monkeypatch.setitem(catalogue.SETS, "ptb", replace(ptb, files=(*files, *ptb.files[3:])))
    return tmp_path


def task_of(folder: Path) -> Any:
    return make("ptb-word", 5, folder)


def test_published_files_are_named_with_their_checksums(folder: Path) -> None:
    task = task_of(folder)
    originals.require_whole(task)
    assert originals.remarks(task) == []
    names = [f"ptb/ptb.{split}.txt" for split in ("train", "valid", "test")]
    assert originals.digests(task) == dict.fromkeys(names, f"sha256:{sha256(TEXT).hexdigest()}")


@pytest.mark.parametrize("content", [TEXT[:-30], TEXT + b"word\n", TEXT.replace(b"cat", b"dog", 1)])
def test_a_truncated_a_longer_and_a_changed_text_are_refused(folder: Path, content: bytes) -> None:
    """Also where the whole one has been read before, and its ids and checksums are kept."""
    originals.require_whole(task_of(folder))
    assert text.PtbWord(data_dir=folder, length=5).size_of("train")
    path = folder / "ptb" / "ptb.test.txt"
    path.write_bytes(content)
    with pytest.raises(
        InputError, match=r"ptb.test.txt is damaged \(.*published is|are.*`python cli.py data verify ptb"
    ):
        originals.require_whole(task_of(folder))
    known = {"ptb/ptb.test.txt": f"sha256:{sha256(TEXT).hexdigest()}", "ptb/other": "sha256:0"}
    assert originals.differing(known, originals.digests(task_of(folder))) == ["ptb/ptb.test.txt"]


def test_missing_files_are_left_to_who_reads_them(tmp_path: Path) -> None:
    for name in ("ptb-word", "mnist-pixels", "cifar-pixels", "text8-char", "temporal", "sample-char", "digits-pixels"):
        task = make(name, None, tmp_path)
        originals.require_whole(task)
        assert (originals.remarks(task), originals.digests(task)) == ([], {})


def test_checksums_are_computed_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "ptb" / "ptb.test.txt"
    state = path.stat()
    first = checksums.measured(path, "sha256", False)
    with monkeypatch.context() as patch:
        patch.delattr(verify, "measured")
        assert checksums.measured(path, "sha256", False) == first
    path.write_bytes(TEXT[::-1])
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # same size, same time of change
    assert checksums.measured(path, "sha256", False) == (sha256(TEXT[::-1]).hexdigest(), len(TEXT))
    (folder / "ptb" / "cache" / "checksums.json").write_text("broken")
    assert checksums.measured(path, "sha256", False)[1] == len(TEXT)


def test_checksums_of_a_folder_that_is_not_to_be_written_are_kept_in_the_users(folder: Path) -> None:
    path = folder / "ptb" / "ptb.test.txt"
    path.parent.chmod(0o555)
    try:
        checksums.measured(path, "sha256", False)
    finally:
        path.parent.chmod(0o755)
    assert not (path.parent / "cache").exists()
    assert (folder / "home" / "minigrad-lab" / "data" / "cache" / "checksums.json").exists()


@pytest.mark.parametrize("suffix", [".gz", ""])
def test_whole_images_that_are_others_are_read_with_a_remark(tmp_path: Path, suffix: str) -> None:
    """However they are packed, what they hold is the same."""
    folder = write_images(tmp_path / "data", suffix)
    task = make("mnist-pixels", None, folder)
    originals.require_whole(task)
    (line,) = originals.remarks(task)
    assert line.startswith(
        f"warning: {folder / 'mnist' / 'train-images-idx3-ubyte'}{suffix} and 3 more: whole, but they"
    )
    assert line.endswith(f"(`python cli.py data verify mnist --data-dir {folder}`)")
    found = originals.digests(task)
    content = packed([n % 10 for n in range(10)])
    assert found["mnist/t10k-labels-idx1-ubyte"] == f"sha256:{sha256(content).hexdigest()}"
    assert len(found) == 4


def test_a_bare_file_that_goes_on_after_its_end_is_damaged(tmp_path: Path) -> None:
    """For `data verify` as for training."""
    folder = write_images(tmp_path / "data", "")
    path = folder / "mnist" / "t10k-labels-idx1-ubyte"
    file = catalogue.SETS["mnist"].files[3]
    assert verify.verify(file, folder).state == "other"
    path.write_bytes(path.read_bytes() + b"abc")
    finding = verify.verify(file, folder)
    assert finding == verify.Finding(path, "damaged", "it goes on after its end: 13 bytes where its header promises 10")
    with pytest.raises(InputError, match=f"{path} is damaged .*data fetch mnist --data-dir {folder}`"):
        originals.require_whole(make("mnist-pixels", None, folder))


def test_a_copy_packed_anew_is_the_published_file(tmp_path: Path, real_mnist: Path) -> None:
    file = catalogue.SETS["mnist"].files[3]
    content = gzip.decompress((real_mnist / file.path).read_bytes())
    (tmp_path / "mnist").mkdir()
    for name, data in ((file.name, gzip.compress(content, 1)), (file.name.removesuffix(".gz"), content)):
        path = tmp_path / "mnist" / name
        path.write_bytes(data)
        assert verify.verify(file, tmp_path) == verify.Finding(path, "ok", "published sha256 of what it holds")
        path.unlink()
