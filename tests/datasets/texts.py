"""Small texts in files, and what is read of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from datasets.corpus import SPLITS, Corpus
from datasets.task import Split
from minigrad.errors import InputError

ROOT = Path(__file__).parents[2]


def write(folder: Path, train: str | bytes, valid: str | bytes = "v\n", test: str | bytes = "t\n") -> dict[Split, Path]:
    """Three files."""
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[Split, Path] = {split: folder / f"{split}.txt" for split in SPLITS}
    for path, text in zip(files.values(), (train, valid, test), strict=True):
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return files


def one(folder: Path, text: str | bytes) -> Path:
    """One file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "text"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def tokens(text: Corpus, split: Split) -> list[str]:
    """What the ids stand for."""
    return [text.vocabulary[number] for number in text.split(split).tolist()]


def refusal(call: Any) -> str:
    """The one line of an error."""
    with pytest.raises(InputError) as caught:
        call()
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    return line


def kept(folder: Path) -> list[Path]:
    return sorted(folder.glob("cache/*/train.npy"))
