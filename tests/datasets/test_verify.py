"""Verifying: what lies in a folder of data, and the catalogue of what belongs there."""

from __future__ import annotations

import gzip
import re
from dataclasses import replace
from pathlib import Path

import pytest

from datasets import catalogue, registry, verify
from minigrad.errors import InputError
from tests.datasets.downloads import CONTENT, NOBODY, packed, sha256, single

# --- verifying ---


def test_a_file_may_lie_gzipped_or_bare(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    bare, (file,) = tmp_path / "set" / "file.bin", single().files
    zipped_file = tmp_path / "set" / "file.bin.gz"
    assert verify.verify(file, tmp_path) == verify.Finding(bare, "absent")
    zipped_file.write_bytes(gzip.compress(CONTENT))
    assert verify.verify(file, tmp_path) == verify.Finding(zipped_file, "ok", "published sha256")
    zipped_file.write_bytes(gzip.compress(CONTENT)[:-20])
    assert "cannot be unpacked" in verify.verify(file, tmp_path).detail
    zipped_file.unlink()
    published = replace(file, path="set/file.bin.gz")
    bare.write_bytes(CONTENT)
    assert verify.verify(published, tmp_path) == verify.Finding(bare, "unpublished")


def test_whole_files_that_are_not_the_published_ones_are_called_other(tmp_path: Path) -> None:
    """What gzip's own checksum vouches for is not damaged; neither is it ever taken for the published file."""
    (file,), path = single().files, tmp_path / "set" / "file.bin.gz"
    path.parent.mkdir()
    found, wanted = (sha256(content).removeprefix("sha256:") for content in (CONTENT[::-1], CONTENT))
    for size in (len(CONTENT), None):
        path.write_bytes(gzip.compress(CONTENT[::-1]))
        other = verify.Finding(path, "other", f"its sha256 is {found}, published is {wanted}")
        assert verify.verify(replace(file, size=size), tmp_path) == other
    path.write_bytes(gzip.compress(CONTENT[:-1]))
    too_short = verify.Finding(path, "damaged", "it unpacks to 299,999 bytes, published are 300,000")
    assert verify.verify(file, tmp_path) == too_short
    path.write_bytes(gzip.compress(CONTENT[::-1])[:-8] + bytes(8))  # neither CRC nor size
    assert "cannot be unpacked" in verify.verify(file, tmp_path).detail
    path.unlink()
    path.with_suffix("").write_bytes(CONTENT[::-1])  # bare, nothing vouches for it
    assert verify.verify(file, tmp_path).state == "damaged"
    path.with_suffix("").unlink()
    path.write_bytes(gzip.compress(CONTENT))
    verify.remember(path, found)
    assert verify.verify(replace(file, checksum=""), tmp_path).state == "damaged"  # it was another one when it came


def test_a_file_may_lie_elsewhere(tmp_path: Path) -> None:
    file = replace(single().files[0], elsewhere=("set/unpacked/file.bin", "old.bin"))
    places = [tmp_path / "old.bin.gz", *(tmp_path / "set" / place for place in ("unpacked/file.bin", "file.bin.gz"))]
    for path in places:  # each comes before those that are there already
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(CONTENT) if path.suffix == ".gz" else CONTENT)
        name = path.name.removesuffix(".gz")
        assert verify.locate(file, tmp_path) == path
        if name == file.name:
            assert verify.verify(file, tmp_path) == verify.Finding(path, "ok", "published sha256")
    places[2].unlink()
    places[1].write_bytes(b"short")
    assert verify.glance(file, tmp_path).state == "damaged"


def test_a_file_that_was_packed_anew_is_no_damage_at_a_glance_either(tmp_path: Path) -> None:
    (bare,), path = single().files, tmp_path / "set" / "file.bin.gz"
    published = gzip.compress(CONTENT, 9, mtime=0)
    file = replace(bare, path="set/file.bin.gz", checksum=sha256(published), size=len(published), holds=bare.checksum)
    path.parent.mkdir()
    path.write_bytes(gzip.compress(CONTENT, 0))
    item = replace(single(), files=(file,))
    see = f"`python cli.py data verify {item.name} --data-dir {tmp_path}`"
    assert verify.present(item, tmp_path) == f"present, 1 of another size than published, see {see}"
    assert verify.verify(file, tmp_path).state == "ok"  # what it holds was published
    path.write_bytes(gzip.compress(CONTENT, 0)[:-9])
    assert verify.verify(file, tmp_path).state == "damaged"
    path.unlink()
    path.mkdir()
    assert verify.present(item, tmp_path) == "damaged: file.bin.gz: it is not a file"


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    (file,) = single().files
    path = tmp_path / "set" / "file.bin"
    path.mkdir(parents=True)
    assert verify.verify(file, tmp_path) == verify.Finding(path, "damaged", "it is not a file")
    path.rmdir()
    path.write_bytes(CONTENT[:-1])
    assert verify.verify(file, tmp_path).detail == "it has 299,999 bytes, published are 300,000"
    assert verify.present(single(), tmp_path) == "damaged: file.bin: it has 299,999 bytes, published are 300,000"
    path.write_bytes(CONTENT[::-1])
    assert verify.present(single(), tmp_path) == "present"  # at a glance
    assert verify.verify(file, tmp_path).state == "damaged"
    item = packed(b"", NOBODY)
    assert verify.present(item, tmp_path) == "absent"
    (tmp_path / "set" / "b.txt").write_bytes(b"short")
    assert verify.present(item, tmp_path) == "1 of 2 files"


# --- the catalogue ---


def test_the_catalogue_is_sound() -> None:
    files = [
        file for item in catalogue.SETS.values() for file in (*item.files, *([item.archive] if item.archive else []))
    ]
    paths = [path for file in files for path in (file.path, *file.elsewhere)]
    assert len(set(paths)) == len(paths)
    for path in paths:
        assert not path.startswith("/")
        assert ".." not in path
    for file in files:
        assert re.fullmatch("(sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}|)", file.checksum)
        assert all(re.fullmatch(r"https?://\S+", url) for url in file.urls)
        assert all(place.endswith(f"/{file.name}") for place in file.elsewhere)  # checksums go by names
        assert file.checksum or not file.urls  # whatever is downloaded can be checked
    for name, item in catalogue.SETS.items():
        assert item.name == name
        assert item.citation.startswith("@")
        assert item.citation.count("{") == item.citation.count("}")
        assert all(file.member if item.archive else file.urls or item.by_hand for file in item.files)
        assert bool(item.by_hand) == (name == "ptb")
    with pytest.raises(InputError, match="did you mean wikitext-2"):
        catalogue.find("wikitext2")


def test_a_data_set_is_found_by_its_name_or_that_of_a_task_that_reads_it() -> None:
    for name, item in catalogue.SETS.items():
        assert {id(catalogue.find(each)) for each in (name, *item.tasks)} == {id(item)}
    tasks = [task for item in catalogue.SETS.values() for task in item.tasks]
    assert len(set(tasks)) == len(tasks)  # no name means two sets
    assert set(tasks) <= set(registry.names())


@pytest.mark.parametrize("name", ["ptb", "wikitext-2", "mnist"])
def test_real_files_are_the_published_ones(name: str, real_data: Path) -> None:
    item = catalogue.find(name)
    if not (real_data / item.files[0].path).exists():
        pytest.skip(f"needs {name}: name a folder that holds it in MINIGRAD_TEST_DATA")
    states = {file.name: verify.verify(file, real_data).state for file in item.files}
    assert {state for file, state in states.items() if ".char." not in file} == {"ok"}
    assert set(states.values()) <= {"ok", "unpublished"}
