"""Checkpoints are written whole or not at all, and read only if every bit is right."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save as to_safetensors

from experiments.errors import RunError
from experiments.run import checkpoint
from experiments.run.checkpoint import Checkpoint


def example(iteration: int = 12) -> Checkpoint:
    params = {"W_hh": np.arange(6, dtype=np.float32).reshape(2, 3), "b_h": np.array([0.5, np.nan])}
    state = {"params": params, "steps": iteration, "carry": None, "decay": 0.1}
    return Checkpoint(iteration, state, {"patience": 300, "best_error": float("inf"), "loss": None}, 1234)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "00000012.safetensors"
    checkpoint.save(path, example())
    return path


def refused(path: Path, match: str) -> str:
    """Loading fails with one line that names the file."""
    with pytest.raises(RunError, match=match) as caught:
        checkpoint.load(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_a_checkpoint_comes_back(file: Path) -> None:
    loaded = checkpoint.load(file)
    assert (loaded.iteration, loaded.metrics_bytes, loaded.counters) == (12, 1234, example().counters)
    params = loaded.state["params"]
    assert params["W_hh"].tobytes() == example().state["params"]["W_hh"].tobytes()
    assert np.isnan(params["b_h"][1])
    assert params["W_hh"].flags.writeable
    assert params["W_hh"].flags.aligned
    assert os.listdir(file.parent) == [file.name]


def test_equal_checkpoints_are_equal_files(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    checkpoint.save(other, example())
    assert other.read_bytes() == file.read_bytes()


def test_other_programs_can_read_the_arrays(file: Path) -> None:
    from safetensors.numpy import load_file

    assert sorted(load_file(file)) == ["state/params/W_hh", "state/params/b_h"]


def test_a_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "none.safetensors", "No such file")


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_no_flipped_bit_goes_unnoticed(data: st.DataObject) -> None:
    raw = bytearray(checkpoint.encode(example()))
    place = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[place // 8] ^= 1 << place % 8
    with pytest.raises(Exception) as caught:  # noqa: PT011  (load turns these into one line, see below)
        checkpoint.decode(bytes(raw), "cpu")
    assert isinstance(caught.value, checkpoint.Damaged | checkpoint.Newer | KeyError | ValueError | TypeError)


def test_every_truncation_is_noticed(file: Path) -> None:
    raw = file.read_bytes()
    header = int.from_bytes(raw[:8], "little")
    cuts = {0, 1, 7, 8, 9, 8 + header // 2, 8 + header - 1, 8 + header, 8 + header + 1, len(raw) - 1}
    for cut in sorted(cuts):
        file.write_bytes(raw[:cut])
        assert "delete it to resume from the one before" in refused(file, "damaged")


def test_bytes_appended_are_noticed(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\0")
    refused(file, "damaged")


@pytest.mark.parametrize("size", [0, 1, 2**31, 2**40, 2**63, 2**64 - 1])
def test_a_hostile_header_length(file: Path, size: int) -> None:
    file.write_bytes(size.to_bytes(8, "little") + file.read_bytes()[8:])
    refused(file, "damaged")


@pytest.mark.parametrize(
    "raw",
    [
        b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94.",
        b"PK\x03\x04" + b"\0" * 100,
        (b"[" * 100_000).rjust(100_008, b"\0"),
        (100_000).to_bytes(8, "little") + b"[" * 100_000,
        (100_000).to_bytes(8, "little") + b'{"a":' * 20_000,
    ],
    ids=["pickle", "zip", "brackets", "deep list", "deep object"],
)
def test_files_of_another_kind(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(raw)
    refused(path, "damaged")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"checkpoint": "{}", "more": ""}, {"checkpoint": "no"}])
def test_safetensors_files_of_another_program(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(to_safetensors({"W": np.zeros(2)}, metadata))
    refused(path, "damaged")


def rewritten(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the JSON text of a checkpoint, and leave the rest as it is."""
    from safetensors.numpy import load

    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    content = json.loads(header["__metadata__"]["checkpoint"])
    change(content)
    path.write_bytes(to_safetensors(load(raw), {"checkpoint": json.dumps(content)}))


def test_a_newer_version_says_so(file: Path) -> None:
    rewritten(file, lambda content: content.update(format=checkpoint.FORMAT + 1, news=1))
    refused(file, "format 2, this program reads up to 1: update")


@pytest.mark.parametrize("change", [
    lambda content: content.update(iteration=13),
    lambda content: content.pop("sha256"),
    lambda content: content.pop("tree"),
    lambda content: content.update(format="1"),
    lambda content: content.update(tree={"array": "state/params/W_hh"}),
])  # fmt: skip
def test_an_edited_text_is_noticed(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    rewritten(file, change)
    refused(file, "damaged")


CALLS = ("open", "write", "fsync", "replace")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("number", [1, 2])
def test_a_write_that_fails_anywhere_leaves_the_old_file(
    file: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, code: int
) -> None:
    real, calls = getattr(os, call), 0

    def failing(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            raise OSError(code, os.strerror(code))
        return real(*args, **options)

    monkeypatch.setattr(os, call, failing)
    happens = number == 1 or call in ("open", "fsync")  # the second ones are those of the folder
    with pytest.raises(RunError, match=os.strerror(code)) if happens else nullcontext():
        checkpoint.save(file, example(99))
    monkeypatch.undo()
    assert os.listdir(file.parent) == [file.name]
    assert checkpoint.load(file).iteration == (12 if number == 1 else 99)


def test_a_disk_that_fills_up_in_the_middle_of_a_write(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, room = os.write, 100

    def filling(descriptor: int, data: Any) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = real(descriptor, bytes(data[:room]))
        room -= written
        return written

    monkeypatch.setattr(os, "write", filling)
    with pytest.raises(RunError, match="No space left on device"):
        checkpoint.save(file, example(99))
    monkeypatch.undo()
    assert checkpoint.load(file).iteration == 12
    assert os.listdir(file.parent) == [file.name]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, bytes(data[:10])))
    checkpoint.save(tmp_path / "x", example())
    assert checkpoint.load(tmp_path / "x").iteration == 12


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ValueError, match="lab"):
        checkpoint.require_safetensors()
