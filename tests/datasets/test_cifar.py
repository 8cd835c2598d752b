"""CIFAR-10 pixel by pixel: what a step is given, which files are read, what missing or damaged ones are met with."""

from __future__ import annotations

import gzip
import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets import catalogue, cifar, fetch, verify
from datasets.registry import make
from minigrad.errors import InputError

COUNT = 30
"""Images of a small file."""
KEPT = 27
"""Of those, what is left to train on."""
NAMES = (*cifar.TRAIN, cifar.TEST)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files have few images."""
    monkeypatch.setattr(cifar, "IMAGES", COUNT)


@pytest.fixture(scope="module")
def records() -> Any:
    """What small files hold, [6, 30, 3073]: no two images are alike, and every class is there."""
    made = np.random.default_rng(3).integers(0, 256, (6, COUNT, 3073)).astype(np.uint8)
    made[:, :, 0] = np.arange(6)[:, None] + np.arange(COUNT) * 7
    made[:, :, 0] %= 10
    return made


def write(folder: Path, records: Any, place: str = "cifar10", suffix: str = "") -> Path:
    """A data folder with small files."""
    (folder / place).mkdir(parents=True)
    for name, content in zip(NAMES, records, strict=True):
        data = content.tobytes()
        (folder / place / f"{name}{suffix}").write_bytes(gzip.compress(data, 1, mtime=0) if suffix else data)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, records: Any) -> Path:
    return write(tmp_path_factory.mktemp("data") / "small", records)


def colours(record: Any) -> Any:
    """Images [N, 3073] as steps of colours, [1024, N, 3], one by one as the layout is told in words."""
    steps = np.empty((1024, len(record), 3), np.uint8)
    for row in range(32):
        for column in range(32):
            for colour in range(3):  # red, green, blue
                steps[32 * row + column, :, colour] = record[:, 1 + 1024 * colour + 32 * row + column]
    return steps


# --- what a step is given ---


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("place", ["cifar10", "cifar10/cifar-10-batches-bin"])
def test_a_step_is_given_the_colours_of_a_pixel_row_by_row(
    tmp_path: Path, records: Any, small: None, place: str, suffix: str
) -> None:
    task = make("cifar-pixels", None, write(tmp_path / "here", records, place, suffix))
    assert (task.length, task.input_size, task.output_size) == (1024, 3, 10)
    batch = task.batch(0, "test", 0, 4)
    assert batch.x.shape == (1024, 4, 3)
    assert (batch.x.dtype, batch.y.dtype) == (np.float32, np.int64)
    assert batch.x.flags.c_contiguous
    assert batch.y.tolist() == records[5, :4, 0].tolist()
    np.testing.assert_array_equal(batch.x, (colours(records[5, :4]) / 255).astype(np.float32))
    wide = task.batch(0, "test", 0, 4, "float64").x
    np.testing.assert_array_equal(wide.astype(np.float32), batch.x)


def test_standard_inputs_are_those_of_the_released_code(folder: Path, records: Any, small: None) -> None:
    """(pixel/255 - 0.5) / 0.5 for every colour."""
    x = make("cifar-pixels", None, folder, scale="standard").batch(0, "test", 0, COUNT, "float64").x
    np.testing.assert_allclose(x, (colours(records[5]) / 255 - 0.5) / 0.5, rtol=0, atol=1e-15)
    assert (x.min(), x.max()) == (-1, 1)


def test_chance_is_one_class_of_ten() -> None:
    assert make("cifar-pixels").chance == {"error": 0.9}


# --- which image comes when ---


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_files_follow_each_other_and_the_last_tenth_is_held_out(
    folder: Path, records: Any, small: None, count: int
) -> None:
    task = make("cifar-pixels", None, folder, train_files=count, shuffle=False)
    images = records[:count].reshape(-1, 3073)
    kept = count * KEPT
    assert [task.size_of(split) for split in ("train", "valid", "test")] == [kept, count * COUNT - kept, COUNT]
    for split, expected in (("train", images[:kept]), ("valid", images[kept:]), ("test", records[5])):
        batch = task.batch(0, split, 0, len(expected))  # type: ignore[arg-type]
        np.testing.assert_array_equal(np.rint(batch.x * 255), colours(expected))
        np.testing.assert_array_equal(batch.y, expected[:, 0])
    everything = make("cifar-pixels", None, folder, train_files=count, valid="test")
    assert [everything.size_of(split) for split in ("train", "valid", "test")] == [count * COUNT, COUNT, COUNT]


def test_all_files_are_read_unless_fewer_are_asked_for(folder: Path, small: None) -> None:
    assert make("cifar-pixels", None, folder) == make("cifar-pixels", None, folder, train_files=5)
    assert make("cifar-pixels", None, folder).size_of("train") == 5 * KEPT


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), size=st.integers(1, 40), count=st.integers(1, 5), data=st.data())
def test_every_epoch_is_a_permutation_and_labels_stay_with_their_images(
    folder: Path, records: Any, small: None, seed: int, size: int, count: int, data: Any
) -> None:
    chosen = data.draw(st.sampled_from([None, 1, 20]))
    task = make("cifar-pixels", None, folder, train_files=count, train_size=chosen)
    known = {record[1:].tobytes(): n for n, record in enumerate(records[:count].reshape(-1, 3073)[: count * KEPT])}
    epoch = task.size_of("train") or 0
    size = min(size, epoch)
    taken: list[int] = []
    for i in range(-(-2 * epoch // size)):
        batch = task.batch(seed, "train", i, size)
        images = np.rint(batch.x * 255).astype(np.uint8).transpose(1, 2, 0)
        numbers = [known[image.tobytes()] for image in images]
        assert batch.y.tolist() == [records.reshape(-1, 3073)[n, 0] for n in numbers]
        taken += numbers
    first, second = taken[:epoch], taken[epoch : 2 * epoch]
    assert len(set(first)) == epoch
    assert sorted(first) == sorted(second)


# --- files ---


def refusal(folder: Path, count: int = 5) -> str:
    """The one line that files are met with."""
    with pytest.raises(InputError) as caught:
        make("cifar-pixels", None, folder, train_files=count).size_of("train")
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_named(tmp_path: Path, records: Any, small: None, name: str) -> None:
    folder = write(tmp_path / "my data", records)
    (folder / "cifar10" / name).unlink()
    line = refusal(folder)
    assert f"there is no file {folder / 'cifar10' / name}, nor {name}.gz, nor in cifar-10-batches-bin there" in line
    assert f"`python cli.py data fetch cifar10 --data-dir '{folder}'`" in line
    before = NAMES.index(name)
    if 0 < before < 5:
        assert line.endswith(f"with --task-options train_files {before}")
        assert make("cifar-pixels", None, folder, train_files=before).size_of("train") == before * KEPT
    else:
        assert "train_files" not in line
    assert refusal(tmp_path / "nowhere").startswith(f"there is no file {tmp_path / 'nowhere' / 'cifar10'}")


def packed(change: Any) -> Any:
    return lambda data: gzip.compress(change(data), 1)


def labelled(image: int, label: int) -> Any:
    return lambda data: data[: 3073 * image] + bytes([label]) + data[3073 * image + 1 :]


DAMAGE: dict[str, tuple[Any, str]] = {
    "empty": (lambda data: b"", "is damaged (it is empty"),
    "cut off within an image": (lambda data: data[:-1], "it has 92,189 bytes, no whole number of images, of 3,073"),
    "one byte more": (lambda data: data + b"\0", "it has 92,191 bytes, no whole number of images"),
    "no label bytes": (lambda data: bytes(COUNT * 3072), "it has 92,160 bytes, no whole number of images"),
    "an image too few": (lambda data: data[:-3073], "its number of images is 29, not 30"),
    "an image too many": (lambda data: data + data[:3073], "its number of images is 31, not 30"),
    "a label of 10": (labelled(29, 10), "image 30 of 30 has the label 10, the largest possible is 9"),
    "a label of 255": (labelled(4, 255), "image 5 of 30 has the label 255"),
}


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("name", ["data_batch_3.bin", "test_batch.bin"])
@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_files_are_refused_in_one_line(
    tmp_path: Path, records: Any, small: None, case: str, name: str, suffix: str
) -> None:
    change, words = DAMAGE[case]
    folder = write(tmp_path / "data", records, suffix=suffix)
    path = folder / "cifar10" / f"{name}{suffix}"
    good = records[NAMES.index(name)].tobytes()
    path.write_bytes((packed(change) if suffix else change)(good))
    line = refusal(folder)
    assert line.startswith(f"{path} is damaged (")
    assert words in line
    known = next(file.checksum for file in catalogue.find(cifar.NAME).files if file.name == name)
    assert (f"published is {known.removeprefix('sha256:')}" in line) == (not suffix)  # that of the bare file
    assert line.endswith("fetch it again")
    path.write_bytes(gzip.compress(good) if suffix else good)  # mended
    assert make("cifar-pixels", None, folder).size_of("test") == COUNT


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-20], lambda data: data[5:], lambda data: data[:500] + b"\xff" * 99 + data[599:]],
    ids=["cut off", "not gzipped", "overwritten"],
)
def test_a_file_that_cannot_be_unpacked_is_named(tmp_path: Path, records: Any, small: None, damage: Any) -> None:
    folder = write(tmp_path / "data", records, suffix=".gz")
    path = folder / "cifar10" / "data_batch_1.bin.gz"
    path.write_bytes(damage(path.read_bytes()))
    assert refusal(folder).startswith(f"{path} is damaged (it cannot be unpacked")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, records: Any, small: None) -> None:
    folder = write(tmp_path / "data", records)
    path = folder / "cifar10" / "test_batch.bin"
    path.unlink()
    path.mkdir()
    assert f"cannot read {path} (Is a directory)" in refusal(folder)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), suffix=st.sampled_from(["", ".gz"]))
def test_whatever_the_bytes_they_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, records: Any, small: None, data: Any, suffix: str
) -> None:
    """No file leads to another error than that of bad input."""
    path = tmp_path_factory.mktemp("cifar") / f"data_batch_1.bin{suffix}"
    good = records[0].tobytes()
    good = gzip.compress(good, 1, mtime=0) if suffix else good
    at = data.draw(st.integers(0, len(good) - 1))
    path.write_bytes(good[:at] + data.draw(st.binary(max_size=12)) + good[at + data.draw(st.integers(0, 12)) :])
    try:
        found = cifar.read([path])
    except InputError as error:
        line = str(error)
        assert str(path) in line
        assert "\n" not in line
    else:
        assert found.pixels.shape == (COUNT, 3072)
        assert found.labels.max() < 10
        assert not any(array.flags.writeable for array in found)


# --- the published archive ---


def test_the_catalogue_has_the_files_that_are_read() -> None:
    item = catalogue.find("cifar-pixels")
    assert item.name == cifar.NAME
    assert tuple(file.name for file in item.files) == NAMES
    assert {file.size for file in item.files} == {cifar.IMAGES * cifar.RECORD} == {30_730_000}
    assert {file.path.partition("/")[0] for file in item.files} == {cifar.NAME}
    assert item.archive is not None
    assert item.archive.size == 170_052_171
    assert item.archive.checksum == "md5:c32a1d4ab5d03f1284b67883e8d87530"
    assert item.archive.urls == ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",)


class Quiet:
    def note(self, line: str) -> None:
        """Nothing."""

    def progress(self, name: str, done: int, total: int | None) -> None:
        """Nothing."""


@pytest.fixture
def archive(records: Any) -> Iterator[bytes]:
    """An archive of small files in the layout of the published one."""
    with io.BytesIO() as out:
        with tarfile.open(fileobj=out, mode="w:gz") as tape:
            for name, data in (
                ("batches.meta.txt", b"airplane\n"),
                *((name, content.tobytes()) for name, content in zip(NAMES, records, strict=True)),
                ("readme.html", b"<html>"),
            ):
                entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
                entry.size = len(data)
                tape.addfile(entry, io.BytesIO(data))
        yield out.getvalue()


def test_what_is_fetched_is_read(tmp_path: Path, records: Any, small: None, archive: bytes) -> None:
    """From the archive, put there by hand, to batches; only what is read is unpacked."""
    item = catalogue.find(cifar.NAME)
    assert item.archive is not None
    files = tuple(
        replace(file, size=content.size, checksum=f"sha256:{sha256(content.tobytes()).hexdigest()}")
        for file, content in zip(item.files, records, strict=True)
    )
    small_archive = replace(item.archive, size=len(archive), checksum=f"sha256:{sha256(archive).hexdigest()}")
    item = replace(item, files=files, archive=small_archive)
    (tmp_path / "cifar10").mkdir()
    (tmp_path / small_archive.path).write_bytes(archive)
    assert [file.state for file in fetch.fetch(item, tmp_path, Quiet())] == ["fetched"] * 6
    assert sorted(path.name for path in (tmp_path / "cifar10").iterdir()) == sorted([*NAMES, small_archive.name])
    batch = make("cifar-pixels", None, tmp_path).batch(0, "test", 0, COUNT)
    np.testing.assert_array_equal(np.rint(batch.x * 255), colours(records[5]))


def test_what_was_unpacked_by_hand_is_read_and_known(tmp_path: Path, records: Any, small: None, archive: bytes) -> None:
    (tmp_path / "cifar10" / "cifar-10-batches-bin").mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tape:
        for entry in tape:
            (tmp_path / "cifar10" / entry.name).write_bytes(tape.extractfile(entry).read())  # type: ignore[union-attr]
    assert make("cifar-pixels", None, tmp_path).size_of("train") == 5 * KEPT
    places = [verify.locate(file, tmp_path) for file in catalogue.find(cifar.NAME).files]
    assert places == [tmp_path / "cifar10" / "cifar-10-batches-bin" / name for name in NAMES]


# --- real files ---


def test_images_of_a_real_file_are_those_that_numpy_reads(real_cifar: Path) -> None:
    task = make("cifar-pixels", None, real_cifar, train_files=1, shuffle=False)
    assert [task.size_of(split) for split in ("train", "valid", "test")] == [9_000, 1_000, 10_000]
    (train,), test = cifar.find(real_cifar, 1)
    cases = ((train, "train", 8_999, 0), (train, "valid", 17, 9_000), (test, "test", 4_321, 0))
    for path, split, place, first in cases:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        record = np.frombuffer(data, np.uint8, 3073, 3073 * (first + place))
        batch = task.batch(0, split, place, 1)  # type: ignore[arg-type]
        assert batch.y.tolist() == [record[0]]
        expected = record[1:].reshape(3, 1024).T / 255
        np.testing.assert_array_equal(batch.x[:, 0], expected.astype(np.float32))


def test_cifar_10_holds_what_its_author_says(real_cifar: Path) -> None:
    task = make("cifar-pixels", None, real_cifar, train_files=1, valid="test", shuffle=False)
    assert np.bincount(task.batch(0, "test", 0, 10_000).y).tolist() == [1_000] * 10
    assert task.batch(0, "test", 0, 10).y.tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    assert task.batch(0, "train", 0, 10).y.tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]


def test_real_files_are_the_published_ones_or_are_said_not_to_be(real_cifar: Path) -> None:
    for file in catalogue.find(cifar.NAME).files:
        finding = verify.verify(file, real_cifar)
        assert finding.state in ("ok", "other", "absent")
        if finding.state == "other":
            assert re.fullmatch(r"its sha256 is \w{64}, published is \w{64}", finding.detail)
