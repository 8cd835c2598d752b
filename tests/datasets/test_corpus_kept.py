"""What is kept of texts beside them: read once, never that of another text, whatever breaks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datasets import corpus, verify
from datasets.corpus import SPLITS
from tests.datasets.texts import ROOT, kept, one, refusal, tokens, write

pytestmark = pytest.mark.usefixtures("users_cache")


def test_ids_are_mapped_read_only_and_as_small_as_they_can_be(tmp_path: Path) -> None:
    text = corpus.words(write(tmp_path / "few", "a b\n"))
    many = corpus.words(write(tmp_path / "many", " ".join(map(str, range(70_000)))))
    assert (text.train.dtype.name, many.train.dtype.name) == ("uint16", "int32")
    assert isinstance(text.train, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        text.train[0] = 1
    np.testing.assert_array_equal(many.train[:-1], np.arange(70_000))


def test_a_text_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write(tmp_path, "a b a\n")
    first = corpus.words(files)
    assert sorted(path.name for path in (tmp_path / "cache").glob("*/*")) == [
        "corpus.json",
        "test.npy",
        "train.npy",
        "valid.npy",
    ]
    for module, name in ((verify, "measured"), (corpus, "_blocks")):
        monkeypatch.delattr(module, name)  # it can neither be read nor compared
    second = corpus.words(files)
    np.testing.assert_array_equal(first.train, second.train)
    assert first.vocabulary == second.vocabulary


def test_a_changed_text_is_read_again(tmp_path: Path) -> None:
    files = write(tmp_path, "a b\n")
    state = files["train"].stat()
    corpus.words(files)
    files["train"].write_text("b a\n")
    os.utime(files["train"], ns=(state.st_atime_ns, state.st_mtime_ns))  # same size, same time of change
    assert tokens(corpus.words(files), "train") == ["b", "a", "<eos>"]
    write(tmp_path, "a b\n")
    assert len(kept(tmp_path)) == 2
    assert tokens(corpus.words(files), "train") == ["a", "b", "<eos>"]
    assert len(kept(tmp_path)) == 2  # known by its checksum


def test_rules_are_kept_apart(tmp_path: Path) -> None:
    path = one(tmp_path, "a b c d e f g h " * 9)
    first, second = (corpus.characters(path, valid=n, test=2) for n in (2, 3))
    third = corpus.rare_words(path, valid=10, test=10, least=2)
    assert (len(first.valid), len(second.valid), third.vocabulary[0]) == (2, 3, "<unk>")
    files = write(tmp_path, " \na\n")
    assert len(corpus.words(files).train) == len(corpus.words(files, skip_blank=True).train) + 1


def test_a_moved_folder_keeps_what_it_has(tmp_path: Path) -> None:
    corpus.words(write(tmp_path / "here", "a b\n"))
    (tmp_path / "here").rename(tmp_path / "there")
    corpus.words({split: tmp_path / "there" / f"{split}.txt" for split in SPLITS})
    assert len(kept(tmp_path / "there")) == 1


def test_a_read_only_folder_is_left_alone(
    tmp_path: Path, users_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = write(tmp_path / "data", "a b\n")
    (tmp_path / "data").chmod(0o555)
    try:
        for _ in range(2):
            assert tokens(corpus.words(files), "train") == ["a", "b", "<eos>"]
    finally:
        (tmp_path / "data").chmod(0o755)
    assert kept(tmp_path / "data") == []
    assert len(kept(users_cache / "minigrad-lab" / "data")) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"the ids of data/train.txt are kept in {users_cache / 'minigrad-lab' / 'data' / 'cache'}")


def test_nowhere_to_keep_ids_is_one_line(tmp_path: Path, users_cache: Path) -> None:
    files = write(tmp_path / "data", "a b\n")
    (tmp_path / "data" / "cache").write_text("")
    (users_cache / "minigrad-lab").write_text("")
    line = refusal(lambda: corpus.words(files))
    assert "cannot be kept" in line
    assert str(tmp_path / "data" / "cache") in line


@pytest.mark.parametrize("damage", ["short", "gone", "json", "vocabulary", "text"])
def test_damaged_ids_are_refused(tmp_path: Path, damage: str) -> None:
    files = write(tmp_path, "a b\n")
    corpus.words(files)
    (path,) = kept(tmp_path)
    told = path.with_name("corpus.json")
    if damage == "short":
        path.write_bytes(path.read_bytes()[:-2])
    elif damage == "gone":
        path.unlink()
    elif damage == "json":
        told.write_text(told.read_text()[:-5])
    elif damage == "vocabulary":
        told.write_text(json.dumps(json.loads(told.read_text()) | {"vocabulary": ["a", "c", "<eos>", "v", "t"]}))
    else:
        path.write_text("nonsense")
    assert refusal(lambda: corpus.words(files)) == f"{path.parent} is damaged: delete it, and it is made anew"


@pytest.mark.parametrize("content", ["", "[1]", '"word"', "[[1, 2]]", "{}", '{"a": 1'])
def test_a_damaged_index_is_made_anew(tmp_path: Path, content: str) -> None:
    files = write(tmp_path, "a b\n")
    corpus.words(files)
    index = tmp_path / "cache" / "index.json"
    index.write_text(content)
    assert tokens(corpus.words(files), "train") == ["a", "b", "<eos>"]
    assert len(json.loads(index.read_text())) >= 1
    assert len(kept(tmp_path)) == 1


def test_what_a_killed_process_left_is_in_nobodys_way(tmp_path: Path) -> None:
    files = write(tmp_path, "a b\n")
    corpus.words(files)
    (folder,) = (path.parent for path in kept(tmp_path))
    folder.rename(folder.with_name(f".{folder.name}.tmp"))
    assert tokens(corpus.words(files), "train") == ["a", "b", "<eos>"]
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()] == [folder.name]


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """The disk is full as far as this process is concerned: it may write no longer files."""
    write(tmp_path, "a b " * 100_000)
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n" + CHILD
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "InputError: the ids of" in done.stderr.splitlines()[-1]
    assert [path.name for path in (tmp_path / "cache").iterdir() if "checksums" not in path.name] == [".lock"]


CHILD = """
import sys
from pathlib import Path
from datasets import corpus
text = corpus.words({split: Path(sys.argv[1]) / f"{split}.txt" for split in corpus.SPLITS})
print(len(text.train), int(text.train.sum()), text.fingerprint)
"""


def test_several_processes_read_one_text_at_once(tmp_path: Path) -> None:
    files = write(tmp_path, "".join(f"{n % 1000} {n % 7}\n" for n in range(200_000)))
    command = [sys.executable, "-W", "error", "-c", CHILD, str(tmp_path)]
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = {process.communicate(timeout=60)[0] for process in running}
    text = corpus.words(files)
    assert said == {f"{len(text.train)} {text.train.sum()} {text.fingerprint}\n"}
    assert len(kept(tmp_path)) == 1
    assert not list((tmp_path / "cache").glob("*.tmp"))
