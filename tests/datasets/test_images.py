"""Images pixel by pixel: which image comes when, what a step is given, and what damaged files are met with."""

from __future__ import annotations

import gzip
import re
import struct
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets import catalogue, images, mnist, verify
from datasets.folders import data_folder
from datasets.registry import make
from datasets.task import Batch
from minigrad.errors import InputError
from minigrad.rng import stream

SEEDS = st.integers(0, 10**6)
TRAIN, TEST = 48, 10
KEPT = TRAIN - TRAIN // 12
NAMES = {
    "train images": "train-images-idx3-ubyte",
    "train labels": "train-labels-idx1-ubyte",
    "test images": "t10k-images-idx3-ubyte",
    "test labels": "t10k-labels-idx1-ubyte",
}

PERMUTATION = "943e57742e1bba7d1d05e385ffd3f74481f6193c5b437590091a8890efbba6b4"
"""SHA-256 of the order of the pixels of `mnist-permuted`, as little-endian 64-bit integers."""


def packed(array: Any) -> bytes:
    """A file of the format, bare."""
    array = np.asarray(array, np.uint8)
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def numbered(count: int, first: int) -> Any:
    """Images that say in their first pixel who they are; every other pixel of the row counts on."""
    return (np.arange(first, first + count)[:, None, None] + np.arange(784).reshape(28, 28)) % 256


def write(folder: Path, suffix: str = ".gz") -> Path:
    """A data folder with small files: image n of the training file begins with n, of the test file with 100 + n."""
    (folder / "mnist").mkdir(parents=True)
    for half, count, first in (("train", TRAIN, 0), ("test", TEST, 100)):
        for kind, array in (("images", numbered(count, first)), ("labels", np.arange(count) % 10)):
            data = packed(array)
            path = folder / "mnist" / f"{NAMES[f'{half} {kind}']}{suffix}"
            path.write_bytes(gzip.compress(data, mtime=0) if suffix else data)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("data") / "small")


def numbers(batch: Batch) -> list[int]:
    """Which images of the small files a batch holds."""
    first_pixels: list[int] = np.rint(batch.x[0, :, 0] * 255).astype(int).tolist()
    return first_pixels


def drawn(task: Any, count: int, seed: int = 0, split: Any = "train", size: int = 1) -> list[int]:
    """The first images of a split, taken in batches."""
    return [n for i in range(count // size) for n in numbers(task.batch(seed, split, i, size))]


# --- what a step is given ---


@pytest.mark.parametrize("suffix", [".gz", ""])
def test_a_step_is_given_one_pixel_row_by_row(tmp_path: Path, suffix: str) -> None:
    task = make("mnist-pixels", None, write(tmp_path / "here", suffix))
    batch = task.batch(0, "test", 0, 3)
    assert batch.x.shape == (784, 3, 1)
    assert (batch.x.dtype, batch.y.dtype) == (np.float32, np.int64)
    assert batch.x.flags.c_contiguous
    assert batch.y.tolist() == [0, 1, 2]
    for n in range(3):
        expected = (100 + n + np.arange(784)) % 256 / 255
        np.testing.assert_array_equal(batch.x[:, n, 0], expected.astype(np.float32))
    wide = task.batch(0, "test", 0, 3, "float64").x
    np.testing.assert_array_equal(wide.astype(np.float32), batch.x)
    with pytest.raises(InputError, match="dtype must be float32 or float64"):
        task.batch(0, "test", 0, 3, "float16")


def test_the_permuted_task_moves_pixels_and_nothing_else(folder: Path) -> None:
    plain, permuted = (make(f"mnist-{name}", None, folder) for name in ("pixels", "permuted"))
    for split in ("train", "valid", "test"):
        a, b = plain.batch(7, split, 1, 5), permuted.batch(7, split, 1, 5)
        np.testing.assert_array_equal(a.x[images.permutation()], b.x)
        np.testing.assert_array_equal(a.y, b.y)
        assert b.x.flags.c_contiguous


def test_the_permutation_is_the_same_for_ever() -> None:
    order = images.permutation()
    assert sorted(order) == list(range(784))
    assert not order.flags.writeable
    assert images.PERMUTATION_SEED == 2015
    assert sha256(order.astype("<i8").tobytes()).hexdigest() == PERMUTATION


def test_standard_inputs_have_no_mean_and_unit_variance() -> None:
    task = make("digits-pixels", scale="standard")
    x = task.batch(0, "train", 0, task.size_of("train") or 0, "float64").x
    assert abs(x.mean()) < 1e-12
    assert abs(x.std() - 1) < 1e-12
    unit = make("digits-pixels").batch(0, "train", 0, 1_000).x
    assert (unit.min(), unit.max()) == (0, 1)


def test_standard_inputs_of_mnist_are_the_published_ones(folder: Path) -> None:
    unit, standard = (
        make("mnist-pixels", None, folder, scale=s).batch(0, "test", 0, 4).x for s in ("unit", "standard")
    )
    np.testing.assert_allclose(standard, (unit - 0.1307) / 0.3081, rtol=1e-5, atol=1e-6)


# --- which image comes when ---


@settings(deadline=None, max_examples=40)
@given(
    seed=SEEDS, index=st.integers(0, 1000), size=st.integers(1, 150), split=st.sampled_from(["train", "valid", "test"])
)
def test_a_batch_follows_from_its_arguments(folder: Path, seed: int, index: int, size: int, split: Any) -> None:
    size = min(size, KEPT) if split == "train" else size
    a = make("mnist-pixels", None, folder).batch(seed, split, index, size)
    make("mnist-pixels", None, folder).batch(seed, split, index + 7, size)
    b = make("mnist-pixels", None, folder).batch(seed, split, index, size)
    np.testing.assert_array_equal(a.x, b.x)
    np.testing.assert_array_equal(a.y, b.y)
    assert (len(a.y), a.index, a.continues) == (size, index, False)


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, size=st.integers(1, KEPT), epoch=st.integers(0, 5))
def test_every_epoch_is_a_permutation_whatever_the_size_of_batches(
    folder: Path, seed: int, size: int, epoch: int
) -> None:
    """Batches of any size cut one and the same sequence, which goes through all images epoch by epoch."""
    task = make("mnist-pixels", None, folder)
    first = epoch * KEPT // size
    last = -(-(epoch + 1) * KEPT // size)
    taken = [n for i in range(first, last) for n in numbers(task.batch(seed, "train", i, size))]
    of_epoch = taken[epoch * KEPT - first * size :][:KEPT]
    assert sorted(of_epoch) == list(range(KEPT))
    assert of_epoch == [numbers(task.batch(seed, "train", epoch * KEPT + i, 1))[0] for i in range(KEPT)]


def test_labels_stay_with_their_images(folder: Path) -> None:
    for split, size in (("train", KEPT), ("valid", 60), ("test", 60)):
        batch = make("mnist-pixels", None, folder).batch(3, split, 2, size)  # type: ignore[arg-type]
        assert batch.y.tolist() == [n % 100 % 10 for n in numbers(batch)]


@settings(deadline=None, max_examples=40)
@given(size=st.integers(1, 150), passes=st.integers(1, 6), split=st.sampled_from(["train", "valid", "test"]))
def test_a_pass_ends_with_the_batch_that_holds_its_last_image(folder: Path, size: int, passes: int, split: Any) -> None:
    task: Any = make("mnist-pixels", None, folder)
    there = task.size_of(split)
    size = min(size, KEPT) if split == "train" else size
    ends = {-(-there * n // size) - 1 for n in range(1, passes + 1)}
    found = {n for n in range(max(ends) + 1) if task.batch(3, split, n, size).last}
    assert found == ends
    if split == "train":
        assert task.batches_of(3, passes, size) == max(ends) + 1
        assert len(ends) == passes


def test_epochs_and_seeds_differ_in_their_order(folder: Path) -> None:
    task = make("mnist-pixels", None, folder)
    orders = [drawn(task, 3 * KEPT, seed)[e * KEPT :][:KEPT] for seed in (0, 1) for e in range(3)]
    assert len({tuple(order) for order in orders}) == 6


def test_without_shuffling_every_epoch_is_in_the_order_of_the_file(folder: Path) -> None:
    task = make("mnist-pixels", None, folder, shuffle=False)
    assert drawn(task, 2 * KEPT, size=11) == (2 * list(range(KEPT)))[: 2 * KEPT // 11 * 11]


def test_what_is_held_out_is_never_trained_on(folder: Path) -> None:
    task = make("mnist-pixels", None, folder)
    assert [task.size_of(split) for split in ("train", "valid", "test")] == [KEPT, TRAIN - KEPT, TEST]
    assert max(drawn(task, 5 * KEPT)) < KEPT
    assert drawn(task, TRAIN - KEPT, split="valid") == list(range(KEPT, TRAIN))


def test_checks_may_look_at_the_test_images_and_then_all_others_are_trained_on(folder: Path) -> None:
    task = make("mnist-pixels", None, folder, valid="test")
    assert [task.size_of(split) for split in ("train", "valid", "test")] == [TRAIN, TEST, TEST]
    assert sorted(drawn(task, TRAIN)) == list(range(TRAIN))
    assert drawn(task, TEST, split="valid") == drawn(task, TEST, split="test") == list(range(100, 100 + TEST))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 10, 25])
def test_batches_of_the_test_images_follow_each_other(folder: Path, size: int) -> None:
    task = make("mnist-pixels", None, folder)
    taken = drawn(task, 50, split="test", size=size)
    assert taken == [100 + i % TEST for i in range(len(taken))]


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_part_of_the_training_images_is_drawn_by_the_seed(folder: Path, shuffle: bool) -> None:
    task = make("mnist-pixels", None, folder, train_size=12, shuffle=shuffle)
    assert task.size_of("train") == 12
    assert task.size_of("valid") == TRAIN - KEPT
    chosen = {seed: drawn(task, 36, seed) for seed in range(4)}
    for taken in chosen.values():
        for epoch in range(3):
            assert len(set(taken[12 * epoch :][:12])) == 12
        assert len(set(taken)) == 12
        assert max(taken) < KEPT
        assert shuffle or taken == 3 * sorted(set(taken))
    assert len({frozenset(taken) for taken in chosen.values()}) == 4


def test_more_training_images_than_there_are_cannot_be_drawn(folder: Path) -> None:
    assert make("mnist-pixels", None, folder, train_size=KEPT).size_of("train") == KEPT
    task = make("mnist-pixels", None, folder, train_size=KEPT + 1)
    for ask in (lambda: task.size_of("train"), lambda: task.batch(0, "train", 0, 1)):
        with pytest.raises(InputError, match=f"train_size is {KEPT + 1}, but mnist-pixels has {KEPT} images"):
            ask()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [((0, "dev", 0, 5), "split"), ((0, "train", -1, 5), "index"), ((0, "test", 0, 0), "size")],
)
def test_impossible_batches_are_refused(arguments: tuple[Any, ...], word: str) -> None:
    with pytest.raises(InputError, match=word):
        make("digits-pixels").batch(*arguments)


# --- the digits ---


def test_the_digits_ship_with_the_project() -> None:
    task = make("digits-pixels")
    assert [task.size_of(split) for split in ("train", "valid", "test")] == [1_000, 200, 597]
    files = images.Digits().files()
    assert files.train.pixels.shape == (1_200, 64)
    pixels = np.concatenate([half.pixels for half in files])
    assert (pixels.min(), pixels.max()) == (0, 16)
    assert not pixels.sum(axis=0)[0]  # the first pixel of every image is empty
    first = files.train.pixels[0].reshape(8, 8)
    assert first[0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    assert files.train.labels[:10].tolist() == list(range(10))
    with pytest.raises(ValueError, match="read-only"):
        files.train.pixels[0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        files.test.labels[0] = 1


def test_chance_is_the_most_frequent_digit() -> None:
    task = make("digits-pixels")
    y = task.batch(0, "test", 0, 597).y
    errors = [task.scores(np.tile(np.eye(10)[k], (597, 1)), y)["error"] for k in range(10)]
    assert min(errors) == pytest.approx(task.chance["error"])
    assert task.scores(np.eye(10)[y], y) == {"error": 0.0}
    assert task.scores(np.full((597, 10), np.nan), y) == {"error": 1.0}
    assert not task.scores(np.eye(10)[y], y)["error"] < task.solved_below


# --- files ---


def refusal(folder: Path) -> str:
    """The one line that files are met with."""
    with pytest.raises(InputError) as caught:
        make("mnist-pixels", None, folder).size_of("train")
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize("kind", NAMES)
def test_a_missing_file_is_named(tmp_path: Path, kind: str) -> None:
    folder = write(tmp_path / "data")
    (folder / "mnist" / f"{NAMES[kind]}.gz").unlink()
    line = refusal(folder)
    assert f"there is no file {folder / 'mnist' / NAMES[kind]}.gz" in line
    assert line.endswith(
        f", nor {NAMES[kind]}: run `python cli.py data fetch mnist --data-dir {folder}`, or choose another folder than "
        f"{folder} with --data-dir"
    )


def test_a_folder_without_anything_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "nowhere" / "mnist" / NAMES["train images"]) in refusal(tmp_path / "nowhere")


DAMAGE: dict[str, tuple[str, Any, str]] = {
    "not an idx file": ("train images", b"GIF89a" + bytes(100), "does not begin as an idx file"),
    "empty": ("train images", b"", "does not begin as an idx file"),
    "too short for a header": ("test images", packed(numbered(TEST, 0))[:9], "ends within its header"),
    "labels for images": ("train images", packed(np.zeros(TRAIN)), "holds labels where images belong"),
    "images for labels": ("train labels", packed(numbered(TRAIN, 0)), "holds images where labels belong"),
    "four dimensions": ("test images", packed(np.zeros((2, 28, 28, 3))), "holds arrays of 4 dimensions where images"),
    "floats": ("train labels", b"\0\0\x0d\x01" + bytes(8), "type 0x0d, not unsigned bytes"),
    "other sizes": ("train images", packed(np.zeros((TRAIN, 20, 14))), "holds images of 20 x 14 pixels, not 28 x 28"),
    "no images": ("train images", packed(np.zeros((0, 28, 28))), "48 labels"),
    "data cut off": ("train images", packed(numbered(TRAIN, 0))[:-5], "ends too early: 37,627 bytes where its header"),
    "data appended": (
        "test labels",
        packed(np.zeros(TEST)) + b"\0",
        "goes on after its end: 11 bytes where its header",
    ),
    "a label of 10": (
        "test labels",
        packed(np.full(TEST, 10)),
        "image 1 of 10 has the label 10, the largest possible is 9",
    ),
    "a label too few": ("test labels", packed(np.zeros(TEST - 1)), "10 images and .* 9 labels"),
}


@pytest.mark.parametrize("suffix", [".gz", ""])
@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_files_are_refused_in_one_line(tmp_path: Path, case: str, suffix: str) -> None:
    kind, data, words = DAMAGE[case]
    folder = write(tmp_path / "data", suffix)
    path = folder / "mnist" / f"{NAMES[kind]}{suffix}"
    path.write_bytes(gzip.compress(data) if suffix else data)
    line = refusal(folder)
    assert str(path) in line
    assert re.search(words, line)


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-20], lambda data: b"nothing packed", lambda data: data[:50] + b"\xff" * 9 + data[59:]],
    ids=["cut off", "not gzipped", "overwritten"],
)
def test_a_file_that_cannot_be_unpacked_is_told_by_its_checksum(tmp_path: Path, damage: Any) -> None:
    folder = write(tmp_path / "data")
    path = folder / "mnist" / f"{NAMES['train images']}.gz"
    path.write_bytes(damage(path.read_bytes()))
    line = refusal(folder)
    assert line.startswith(f"{path} is damaged (it cannot be unpacked")
    known = next(file.checksum for file in catalogue.find("mnist").files if file.name == path.name)
    assert (
        f"its sha256 is {sha256(path.read_bytes()).hexdigest()}, published is {known.removeprefix('sha256:')}" in line
    )
    assert line.endswith("fetch it again")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "data")
    path = folder / "mnist" / f"{NAMES['test labels']}.gz"
    path.unlink()
    path.mkdir()
    assert f"cannot read {path} (Is a directory)" in refusal(folder)


def test_no_images_at_all_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", "")
    for kind, array in (("images", np.zeros((0, 28, 28))), ("labels", np.zeros(0))):
        (folder / "mnist" / NAMES[f"test {kind}"]).write_bytes(packed(array))
    assert "holds no images" in refusal(folder)


def test_a_mended_file_is_read_again(tmp_path: Path) -> None:
    folder = write(tmp_path / "data")
    path = folder / "mnist" / f"{NAMES['test labels']}.gz"
    good = path.read_bytes()
    path.write_bytes(good[:-3])
    refusal(folder)
    path.write_bytes(good)
    assert make("mnist-pixels", None, folder).size_of("test") == TEST


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_whatever_the_bytes_they_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """No file leads to another error than that of bad input."""
    path = tmp_path_factory.mktemp("idx") / "some-images-idx3-ubyte"
    good = packed(np.zeros((2, 3, 4)))
    at = data.draw(st.integers(0, len(good) - 1))
    path.write_bytes(good[:at] + data.draw(st.binary(max_size=12)) + good[at + data.draw(st.integers(0, 12)) :])
    try:
        array = mnist.array(path, 3)
    except InputError as error:
        line = str(error)
    else:
        line = str(path)
        assert packed(array) == path.read_bytes()
        assert not array.flags.writeable
    assert str(path) in line
    assert "\n" not in line


@settings(deadline=None, max_examples=30)
@given(shape=st.tuples(st.integers(0, 4), st.integers(1, 5), st.integers(1, 5)), seed=SEEDS)
def test_what_was_written_is_read(tmp_path_factory: pytest.TempPathFactory, shape: Any, seed: int) -> None:
    array = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    path = tmp_path_factory.mktemp("idx") / "images.gz"
    path.write_bytes(gzip.compress(packed(array)))
    np.testing.assert_array_equal(mnist.array(path, 3), array)


def test_data_lie_in_the_chosen_folder_or_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert data_folder(tmp_path) == tmp_path
    assert data_folder(Path("here")) == Path.cwd() / "here"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert data_folder(None) == tmp_path / "minigrad-lab" / "data"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert data_folder(None) == Path.home() / ".cache" / "minigrad-lab" / "data"
    monkeypatch.setattr("sys.platform", "darwin")
    assert data_folder(None) == Path.home() / "Library" / "Caches" / "minigrad-lab" / "data"


# --- the published files ---


def test_the_published_files_are_those_that_are_read(real_mnist: Path) -> None:
    item = catalogue.find(mnist.NAME)
    assert {verify.locate(file, real_mnist) for file in item.files} == {
        p for half in mnist.find(real_mnist) for p in half
    }
    for file in item.files:
        finding = verify.verify(file, real_mnist)
        if finding.path.name == file.name:  # they may lie there without .gz
            assert finding.state == "ok"


def test_mnist_holds_what_its_authors_say(real_mnist: Path) -> None:
    task = make("mnist-pixels", None, real_mnist)
    assert [task.size_of(split) for split in ("train", "valid", "test")] == [55_000, 5_000, 10_000]
    files = task.files()  # type: ignore[attr-defined]
    assert files.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert files.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(files.train.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert 1 - np.bincount(files.test.labels).max() / 10_000 == pytest.approx(task.chance["error"])
    unit = files.train.pixels / np.float32(255)
    assert abs(float(unit.mean()) - 0.1307) < 1e-4
    assert abs(float(unit.std()) - 0.3081) < 1e-4
    epoch = np.concatenate([task.batch(5, "train", i, 1_000).y for i in range(55)])
    np.testing.assert_array_equal(np.bincount(epoch), np.bincount(files.train.labels[:55_000]))


def test_the_order_of_an_epoch_is_not_made_anew_for_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(images, "stream", lambda *names: drawn.append(names) or stream(*names))
    task = make("digits-pixels")
    for i in range(100):
        task.batch(20_150_001, "train", i, 16)  # a seed of which nothing is kept
    assert len(drawn) == 2


def test_a_batch_is_no_larger_than_a_pass() -> None:
    """Passes that end within one and the same batch would count as one."""
    task = images.Digits(train_size=5)
    for ask in (lambda: task.batch(0, "train", 0, 6), lambda: task.batches_of(1, 2, 6)):
        with pytest.raises(InputError, match="a batch of 6 is larger than the 5 images that digits-pixels is trained"):
            ask()
    assert [task.batch(0, "train", index, 5).last for index in range(3)] == [True] * 3
    assert task.batches_of(1, 3, 5) == 3
    assert len(task.batch(0, "valid", 0, 1_001).y) == 1_001  # passes of checks are not counted
