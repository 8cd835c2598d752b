"""Checkpoints: one safetensors file each, whose metadata holds a JSON text with everything that is not an array.

The text: format version, iteration, counters of the run, byte length of metrics.jsonl at that point, the tree of the
method's State, and a SHA-256 over itself and over name, dtype, shape and bytes of every array. A file is written
whole or not at all, and read only if every one of these agrees.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments import files
from experiments.errors import RunError, cause
from experiments.run import states
from minigrad.errors import InputError

FORMAT = 1
"""Version of the files written here."""

_KEY = "checkpoint"
"""The one entry of the metadata (with two, the library writes them in any order)."""


@dataclass(frozen=True)
class Checkpoint:
    """A run between two iterations."""

    iteration: int
    """Iterations done."""
    state: dict[str, Any]
    """Fields of the method's State."""
    counters: dict[str, Any]
    """What the loop carries from one iteration to the next: numbers and strings."""
    metrics_bytes: int
    """Length of metrics.jsonl at this point."""


def require_safetensors() -> None:
    """Raise InputError, naming the extra, where the library is missing."""
    try:
        import safetensors.numpy  # noqa: F401
    except ImportError:
        raise InputError("checkpoints need safetensors: pip install '.[lab]'") from None


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, atomically.

    Raises:
        RunError: if it cannot be written; the files that were there before are untouched.
    """
    try:
        files.write_atomic(path, encode(checkpoint))
    except OSError as error:
        raise RunError(
            f"cannot write {path} ({cause(error)}): the checkpoint before it is intact; make room and resume the run"
        ) from error


def load(path: Path, device: str = "cpu") -> Checkpoint:
    """Read a checkpoint, written on whatever device, with its arrays on `device`.

    Raises:
        RunError: if the file is missing, damaged, truncated, or written by a newer version.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunError(f"cannot read {path} ({cause(error)})") from None
    try:
        return decode(data, device)
    except Newer as error:
        raise RunError(f"{path} has format {error}, this program reads up to {FORMAT}: update the program") from None
    except (Damaged, KeyError, ValueError, TypeError, RecursionError) as error:
        raise RunError(f"{path} is damaged ({cause(error)}): delete it to resume from the one before") from None


class Damaged(Exception):
    """Bytes that are no checkpoint, or no longer."""


class Newer(Exception):
    """A checkpoint of a later format, whose number it holds."""


def encode(checkpoint: Checkpoint) -> bytes:
    """The bytes of a checkpoint file; the same for the same checkpoint."""
    from safetensors.numpy import save as to_bytes

    tree, arrays = states.pack({"state": checkpoint.state, "counters": checkpoint.counters})
    content = {
        "format": FORMAT,
        "iteration": checkpoint.iteration,
        "metrics_bytes": checkpoint.metrics_bytes,
        "tree": tree,
    }
    text = json.dumps({"sha256": _digest(content, arrays)} | content, allow_nan=False)
    return bytes(to_bytes(arrays, {_KEY: text}))


def decode(data: bytes, device: str) -> Checkpoint:
    """What `encode` was given."""
    arrays, text = _parts(data)
    content = json.loads(text)
    if content["format"] > FORMAT:
        raise Newer(content["format"])
    stated = content.pop("sha256")
    if stated != _digest(content, arrays):
        raise Damaged("its checksum does not match")
    values = states.unpack(content["tree"], arrays, device)
    return Checkpoint(content["iteration"], values["state"], values["counters"], content["metrics_bytes"])


def _parts(data: bytes) -> tuple[dict[str, Any], str]:
    """Arrays and JSON text of a file, once the library has found its layout sound."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    try:
        loaded = from_bytes(data)
    except (SafetensorError, MemoryError, OverflowError) as error:
        raise Damaged(cause(error)) from None
    size = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + size]).get("__metadata__", {})
    if set(metadata) != {_KEY}:
        raise Damaged("it is no checkpoint of this program")
    # The library's arrays are views of one read-only buffer: copies are writeable and aligned.
    return {name: np.array(array) for name, array in loaded.items()}, metadata[_KEY]


def _digest(content: Mapping[str, Any], arrays: Mapping[str, Any]) -> str:
    """SHA-256 over the JSON content and every array."""
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(json.dumps([name, array.dtype.str, list(array.shape)]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
