"""Whether data lie where they belong, whole: by their sizes at a glance, by their checksums in full.

A file may lie gzipped though it is published bare, or bare though it is published gzipped. The first is known by its
content, the second where the catalogue says what the published file holds. Where a gzipped file holds other content
than was published, gzip's own checksum tells whether it broke or somebody packed something else, such as a copy that
was made anew: that is no damage, and never counts as the published file. A bare idx file is judged by its header,
which says how long it is. Nothing vouches for a bare text: another one than the published is damaged.

The checksum of a file that came without a published one is kept beside it, in NAME.sha256, as `sha256sum` writes it.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from datasets import idx
from datasets.catalogue import DataSet, File
from datasets.folders import command
from datasets.storage import checksum, replacing

State = Literal["ok", "other", "damaged", "absent", "unpublished"]
"""`other`: it is whole and of the right size, but not what was published. `unpublished`: it is there, but nothing is
known that it could be compared with."""


@dataclass(frozen=True)
class Finding:
    """What was found where a file belongs."""

    path: Path
    """The file, or where it belongs."""
    state: State
    detail: str = ""
    """What is wrong with a damaged one, or else what it was compared with, and how that ended."""


Measure = Callable[[Path, str, bool], tuple[str, int]]
"""The checksum of a kind of a file, or of what it unpacks to, and how many bytes that are."""


def glance(file: File, folder: Path) -> Finding:
    """Whether a file is there and has the right size; nothing is read. Never `unpublished`.

    Another size is no damage where what a file holds is published: somebody may have packed it anew. It is `other`.
    """
    path = locate(file, folder)
    return Finding(folder / file.path, "absent") if path is None else _glance(file, path)


def verify(file: File, folder: Path) -> Finding:
    """Whether a file is there and is, byte for byte, what was published, or else what came when it was fetched."""
    path = locate(file, folder)
    return Finding(folder / file.path, "absent") if path is None else examine(file, path, measured)


def examine(file: File, path: Path, measure: Measure) -> Finding:
    """Whether the file at a path, as a file of the catalogue, is what was published, or what came when it was fetched.

    Args:
        file: what it ought to be.
        path: where it lies, gzipped or bare.
        measure: how checksums are had: `measured`, or one that keeps them.
    """
    finding = _glance(file, path)
    if finding.state == "damaged":
        return finding
    try:
        return _by_content(file, path, measure) if file.holds else _by_bytes(file, path, measure)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        return Finding(path, "damaged", f"it cannot be unpacked: {error}")
    except OSError as error:
        return Finding(path, "damaged", f"it cannot be read: {error.strerror}")


def measured(path: Path, kind: str, unpack: bool) -> tuple[str, int]:
    """The checksum of a file, or of what it unpacks to, and how many bytes that are."""
    with gzip.open(path) if unpack else path.open("rb") as file:
        return checksum(file, kind), file.tell()


def _glance(file: File, path: Path) -> Finding:
    if not path.is_file():
        return Finding(path, "damaged", "it is not a file")
    there = path.stat().st_size
    if file.size is not None and path.name == file.name and there != file.size:
        detail = f"it has {there:,} bytes, published are {file.size:,}"
        return Finding(path, "other" if file.holds else "damaged", detail)
    return Finding(path, "ok")


def _by_bytes(file: File, path: Path, measure: Measure) -> Finding:
    """By the checksum of the file, which is bare as it was published, or somebody has packed it."""
    wanted, source = _known(file, path)
    if not wanted:
        return Finding(path, "unpublished")
    kind, _, digits = wanted.partition(":")
    is_packed = path.name == f"{file.name}.gz"
    found, size = measure(path, kind, is_packed)
    if found == digits:
        return Finding(path, "ok", f"{source} {kind}")
    if is_packed and file.size not in (None, size):
        return Finding(path, "damaged", f"it unpacks to {size:,} bytes, published are {file.size:,}")
    # It did unpack, so that it is what somebody packed.
    state: State = "other" if is_packed and source == "published" else "damaged"
    return Finding(path, state, f"its {kind} is {found}, {source} is {digits}")


def _by_content(file: File, path: Path, measure: Measure) -> Finding:
    """By what it holds, however it is packed; gzip, or the form of the file, vouches for its being whole."""
    kind, _, digits = file.checksum.partition(":")
    if path.name == file.name and measure(path, kind, False)[0] == digits:
        return Finding(path, "ok", f"published {kind}")
    kind, _, digits = file.holds.partition(":")
    found, _ = measure(path, kind, path.suffix == ".gz")
    if found == digits:
        return Finding(path, "ok", f"published {kind} of what it holds")
    if fault := _fault(path):
        return Finding(path, "damaged", fault)
    return Finding(path, "other", f"the {kind} of what it holds is {found}, published is {digits}")


def _fault(path: Path) -> str:
    """What is wrong with a file of a form that shows whether it is whole; empty if nothing is."""
    if "-idx" not in path.name:
        return ""
    return idx.fault(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())


def locate(file: File, folder: Path) -> Path | None:
    """Where a file lies, gzipped or bare; None if nowhere."""
    for path in (folder / file.path, *(folder / place for place in file.elsewhere)):
        for place in (path, other_form(path)):
            if place.exists():
                return place
    return None


def other_form(path: Path) -> Path:
    """The path of a bare file gzipped, that of a gzipped one bare."""
    return path.with_suffix("") if path.suffix == ".gz" else path.with_name(f"{path.name}.gz")


def present(item: DataSet, folder: Path) -> str:
    """In words, at a glance: `present`, `absent`, `2 of 6 files`, or which file has the wrong size, if that tells."""
    findings = [glance(file, folder) for file in item.files]
    for finding in findings:
        if finding.state == "damaged":
            return f"damaged: {finding.path.name}: {finding.detail}"
    there = sum(finding.state != "absent" for finding in findings)
    words = {0: "absent", len(findings): "present"}.get(there, f"{there} of {len(findings)} files")
    others = sum(finding.state == "other" for finding in findings)
    more = f"{others} of another size than published, see {command('verify', item.name, folder)}"
    return f"{words}, {more}" if others else words


def remember(path: Path, digits: str) -> None:
    """Keep the SHA-256 that a file had when it came."""
    with replacing(_pin(path)) as file:
        file.write(f"{digits}  {path.name}\n".encode())


def _known(file: File, path: Path) -> tuple[str, str]:
    """The checksum that a file must have, `kind:digits`, and whose it is; empty if there is none."""
    if file.checksum and path.name in (file.name, f"{file.name}.gz"):
        return file.checksum, "published"
    pin = _pin(path)
    return (f"sha256:{pin.read_text().split()[0]}", "when it was fetched") if pin.exists() else ("", "")


def _pin(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
