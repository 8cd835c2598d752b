"""Texts as numbers: tokens, vocabulary, splits, and what is no text."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from datasets import corpus
from datasets.corpus import SPLITS
from datasets.task import Split
from tests.datasets.texts import ROOT, kept, one, refusal, tokens, write

pytestmark = pytest.mark.usefixtures("users_cache")


TEXTS = st.text(st.sampled_from("ab €\n "), max_size=40)


# --- words ---


def test_words_are_what_stands_between_blanks(tmp_path: Path) -> None:
    text = corpus.words(write(tmp_path, " the  cat\n\nsat \tdown\n \n", "the dog\n", "a  \n"))
    end = "<eos>"
    assert tokens(text, "train") == ["the", "cat", end, end, "sat", "\tdown", end, end]
    assert tokens(text, "valid") == ["the", "dog", end]
    assert tokens(text, "test") == ["a", end]
    assert text.vocabulary == ("the", "cat", end, "sat", "\tdown", "dog", "a")
    assert text.name == f"{tmp_path.name}/train.txt"


def test_lines_of_one_blank_can_be_left_out(tmp_path: Path) -> None:
    files = write(tmp_path, " \n \na\n \n\n  \nb \n \n ")
    assert tokens(corpus.words(files, skip_blank=True), "train") == ["a", "<eos>", "<eos>", "<eos>", "b", "<eos>"]
    assert tokens(corpus.words(files), "train").count("<eos>") == 8


@pytest.mark.parametrize(("end", "lines"), [("", 2), ("\n", 2), (" ", 2), ("\n ", 2), ("\n  ", 2), ("\n\n", 3)])
def test_the_last_line_needs_no_end(tmp_path: Path, end: str, lines: int) -> None:
    text = corpus.words(write(tmp_path, "a\nb" + end))
    assert tokens(text, "train") == ["a", "<eos>", "b"] + ["<eos>"] * (lines - 1)


def expected(text: str, skip_blank: bool) -> list[str]:
    """The tokens of a text, the slow way."""
    *lines, last = text.split("\n")
    lines += [last] if last.strip(" ") else []
    kept = [line for line in lines if not (skip_blank and line == " ")]
    return list(chain.from_iterable([*filter(None, line.split(" ")), "<eos>"] for line in kept))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.tuples(TEXTS, TEXTS, TEXTS), skip_blank=st.booleans(), block=st.integers(12, 50))
def test_words_by_the_definition_whatever_the_blocks(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    texts: tuple[str, str, str],
    skip_blank: bool,
    block: int,
) -> None:
    monkeypatch.setattr(corpus, "BLOCK", block)
    wanted = [expected(text, skip_blank) for text in texts]
    files = write(tmp_path_factory.mktemp("text"), *texts)
    longest = max(len(word.encode()) for text in texts for word in text.replace("\n", " ").split(" "))
    assume(longest < block)
    if not all(wanted):
        assert "holds no tokens" in refusal(lambda: corpus.words(files, skip_blank=skip_blank))
    else:
        text = corpus.words(files, skip_blank=skip_blank)
        assert [tokens(text, split) for split in SPLITS] == wanted
        assert text.vocabulary == tuple(dict.fromkeys(chain.from_iterable(wanted)))


# --- characters ---


def test_characters_are_split_from_the_end(tmp_path: Path) -> None:
    text = corpus.characters(one(tmp_path, "hello €uro"), valid=3, test=2)
    assert ["".join(tokens(text, split)) for split in SPLITS] == ["hello", " €u", "ro"]
    assert text.vocabulary == tuple("helo €ur")


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(min_size=3, max_size=60), block=st.integers(1, 9), valid=st.integers(1, 20), test=st.integers(1, 20)
)
def test_characters_by_the_definition_whatever_the_blocks(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    block: int,
    valid: int,
    test: int,
) -> None:
    monkeypatch.setattr(corpus, "BLOCK", block)
    path = one(tmp_path_factory.mktemp("text"), text)
    if len(text) <= valid + test:
        assert "use a longer text" in refusal(lambda: corpus.characters(path, valid=valid, test=test))
        return
    found = corpus.characters(path, valid=valid, test=test)
    cuts = (text[: -valid - test], text[-valid - test : -test], text[-test:])
    assert tuple("".join(tokens(found, split)) for split in SPLITS) == cuts
    assert found.vocabulary == tuple(dict.fromkeys(text))


# --- rare words ---


def test_rare_words_are_unknown_and_cuts_fall_between_words(tmp_path: Path) -> None:
    train = "one two two three three three " * 2
    text = corpus.rare_words(one(tmp_path, f"{train}one two four five six"), valid=9, test=7, least=4)
    assert text.vocabulary == ("<unk>", "two", "three")
    # The first cut fell into `two`, the second into `five`.
    assert tokens(text, "train") == [*["<unk>", "two", "two", "three", "three", "three"] * 2, "<unk>", "two"]
    assert tokens(text, "valid") == ["<unk>", "<unk>"]
    assert tokens(text, "test") == ["<unk>"]
    assert len(corpus.rare_words(one(tmp_path, "a b " * 50), valid=10, test=10, least=1).train) == 90


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.lists(st.text("abc", min_size=1, max_size=3), min_size=20, max_size=60),
    valid=st.integers(8, 20),
    test=st.integers(8, 20),
    least=st.integers(1, 4),
    block=st.integers(8, 30),
)
def test_no_word_is_lost_or_torn(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    valid: int,
    test: int,
    least: int,
    block: int,
) -> None:
    monkeypatch.setattr(corpus, "BLOCK", block)
    text = corpus.rare_words(one(tmp_path_factory.mktemp("text"), " ".join(words)), valid=valid, test=test, least=least)
    kept = [words[: len(text.train)], words[len(text.train) : -len(text.test)], words[-len(text.test) :]]
    often = [word for word in dict.fromkeys(kept[0]) if kept[0].count(word) >= least]
    assert text.vocabulary == ("<unk>", *often)
    for split, part in zip(SPLITS, kept, strict=True):
        assert tokens(text, split) == [word if word in often else "<unk>" for word in part]
    assert (len(text.valid) <= valid, len(text.test) <= test) == (True, True)


# --- bad texts ---


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "train.txt holds no tokens: use another file"),
        (b"    ", "train.txt holds no tokens: use another file"),
        (b"a b\nc \xff d\n", "train.txt is not UTF-8 at byte 6: convert it"),
        (b"a b\nc\xe2\x82", "train.txt is not UTF-8 at byte 5: convert it"),
        ("a b\n".encode("utf-16"), "train.txt is not UTF-8 at byte 0: convert it"),
    ],
)
def test_a_bad_text_is_one_line(tmp_path: Path, text: bytes, words: str) -> None:
    files = write(tmp_path, text)
    assert words in refusal(lambda: corpus.words(files))
    assert kept(tmp_path) == []
    write(tmp_path, "a\n")
    corpus.words(files)


def test_the_offset_of_what_is_not_utf8_counts_from_the_beginning_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "BLOCK", 16)
    text = "€ ".encode() * 25 + b"\xff" + b" a" * 30
    for path, call in (
        (write(tmp_path / "a", text)["train"], lambda: corpus.words(write(tmp_path / "a", text))),
        (one(tmp_path / "b", text), lambda: corpus.characters(tmp_path / "b" / "text", valid=1, test=1)),
        (one(tmp_path / "c", text), lambda: corpus.rare_words(tmp_path / "c" / "text", valid=9, test=9)),
    ):
        assert f"{path} is not UTF-8 at byte 100:" in refusal(call)


def test_text_without_blanks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "BLOCK", 16)
    assert "has no blank in 16 bytes from byte 4 on" in refusal(
        lambda: corpus.words(write(tmp_path, "a b\n" + "x" * 99))
    )


def test_missing_files_are_named(tmp_path: Path) -> None:
    files = write(tmp_path, "a\n")
    files["valid"].unlink()
    assert f"there is no file {files['valid']}: put it there, or --data-dir" in refusal(lambda: corpus.words(files))
    assert "there is no file" in refusal(lambda: corpus.characters(tmp_path / "nothing"))
    del files["valid"]
    assert "none is given for valid" in refusal(lambda: corpus.words(files))
    assert "cannot read" in refusal(lambda: corpus.rare_words(tmp_path))


@pytest.mark.parametrize("call", [corpus.characters, corpus.rare_words])
def test_a_text_that_is_too_short_is_refused(tmp_path: Path, call: Any) -> None:
    path = one(tmp_path, "a b c d")
    assert "has 7 " in refusal(lambda: call(path))
    assert "at least 1, got 0 and 2" in refusal(lambda: call(path, valid=0, test=2))


def test_a_text_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write(tmp_path, "a b\n")
    blocks = corpus._blocks
    calls = 0

    def changing(path: Path, start: int, stop: int) -> Iterator[bytes]:
        nonlocal calls
        calls += 1
        if calls == 4:  # the second reading begins
            write(tmp_path, "c c\n")
        return blocks(path, start, path.stat().st_size)

    monkeypatch.setattr(corpus, "_blocks", changing)
    assert "changed while it was read" in refusal(lambda: corpus.words(files))
    assert kept(tmp_path) == []


# --- what a task asks ---


def test_too_few_tokens_are_refused_and_other_vocabularies_told(tmp_path: Path) -> None:
    text, other = (corpus.words(write(tmp_path / name, f"a {name}\n")) for name in ("here", "there"))
    text.require("train", 3)
    line = refusal(lambda: text.require("train", 4))
    assert line == "here/train.txt: train has 3 tokens, 4 are needed: use a longer text, or a smaller batch or length"
    assert text.fingerprint != other.fingerprint
    assert len(text.fingerprint) == 16
    assert "unknown split 'tset'" in refusal(lambda: text.split("tset"))  # type: ignore[arg-type]


def test_the_fingerprint_is_that_of_the_tokens_and_their_order(tmp_path: Path) -> None:
    first = corpus.words(write(tmp_path / "a", "a b\n"))
    again = corpus.words(write(tmp_path / "b", "a a b a\n"))
    turned = corpus.words(write(tmp_path / "c", "b a\n"))
    assert first.fingerprint == again.fingerprint != turned.fingerprint
    assert first.fingerprint == "23224d8d30a50c0a"  # checkpoints of earlier versions


# --- real texts ---


def real(folder: Path, pattern: str, tmp_path: Path) -> dict[Split, Path]:
    """Real files, seen from a folder of their own: nothing is written beside them."""
    chosen = os.environ.get("MINIGRAD_TEST_DATA")
    data = Path(chosen) if chosen else ROOT.parent / "shared" / "data"
    files: dict[Split, Path] = {}
    for split in SPLITS:
        path = data / folder / pattern.format(split)
        if not path.exists():
            pytest.skip(f"needs {folder}: name a folder that holds {folder}/ in MINIGRAD_TEST_DATA")
        files[split] = tmp_path / path.name
        files[split].symlink_to(path)
    return files


@pytest.mark.parametrize(
    ("folder", "pattern", "counts", "types"),
    [
        ("ptb", "ptb.{}.txt", (929_589, 73_760, 82_430), 10_000),
        ("ptb", "ptb.char.{}.txt", (5_017_482, 393_042, 442_423), 50),
        ("wikitext-2", "{}.txt", (2_088_628, 217_646, 245_569), 33_278),
    ],
)
def test_published_counts(folder: str, pattern: str, counts: tuple[int, ...], types: int, tmp_path: Path) -> None:
    files = real(Path(folder), pattern, tmp_path)
    text = corpus.words(files)
    assert tuple(len(text.split(split)) for split in SPLITS) == counts
    assert len(text.vocabulary) == types
    assert all(int(text.split(split).max()) < types for split in SPLITS)


def test_ids_stand_for_the_words_of_the_text(tmp_path: Path) -> None:
    files = real(Path("ptb"), "ptb.{}.txt", tmp_path)
    text = corpus.words(files)
    for split, path in files.items():
        assert tokens(text, split) == path.read_text().replace("\n", " <eos> ").split()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak of a process by itself")
def test_a_hundred_million_characters_take_less_memory_than_the_text(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    words = np.array(["".join(map(chr, rng.integers(97, 123, n))) for n in rng.integers(1, 9, 200_000)], object)
    with (tmp_path / "text8").open("w") as file:
        while file.tell() < 100_000_000:
            file.write(" " + " ".join(words[np.minimum(rng.zipf(1.2, 100_000), 200_000) - 1]))
        file.truncate(100_000_000)
    code = """
import re, sys
from pathlib import Path
from datasets import corpus
text = getattr(corpus, sys.argv[2])(Path(sys.argv[1]))
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024)
print(len(text.train), len(text.test))
"""
    for kind in ("rare_words", "characters"):
        command = [sys.executable, "-W", "error", "-c", code, str(tmp_path / "text8"), kind]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        megabytes, train, test = map(float, done.stdout.split())
        assert megabytes < 100
        assert train > 10 * test
        if kind == "characters":
            assert (train, test) == (90_000_000, 5_000_000)
