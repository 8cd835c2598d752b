"""Texts as tasks: which token stands where in both layouts, what a network's answers score, what is refused."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from datasets import corpus, hidden_markov, text
from datasets.registry import make
from datasets.task import Batch
from minigrad.errors import InputError

ROOT = Path(__file__).parents[2]

HELD_OUT = {"valid": 150, "test": 97}
"""Tokens of the small texts."""

COUNTS = st.integers(40, 130)
LENGTHS = st.integers(1, 25)
SIZES = st.integers(1, 25)
LAYOUTS = st.sampled_from(["streams", "blocks"])


@pytest.fixture(autouse=True, scope="module")
def users_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The user's cache folder, empty."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_CACHE_HOME", "HOME"):
            patch.setenv(name, str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("texts")


def write(folder: Path, train: str, valid: str = "a b\n", test: str = "a b\n") -> Path:
    """A folder of data with the word files of PTB; the folder."""
    (folder / "ptb").mkdir(parents=True, exist_ok=True)
    for split, words in (("train", train), ("valid", valid), ("test", test)):
        (folder / "ptb" / f"ptb.{split}.txt").write_text(words)
    return folder


def counting(folder: Path, count: int) -> Path:
    """A text whose token n of the training split has the id n; the other splits count on, from 0 again at the end."""
    place = folder / str(count)
    if not place.exists():
        train = " ".join(f"w{n}" for n in range(count - 1)) + "\n"
        others = (" ".join(f"w{n % (count - 1)}" for n in range(size - 1)) + "\n" for size in HELD_OUT.values())
        write(place, train, *others)
    return place


def tokens(task: Any, split: Any) -> Any:
    return np.asarray(task.corpus.split(split), np.int64)


def epoch(task: Any, split: Any, size: int, number: int = 0) -> list[Batch]:
    """The batches of one pass through a split."""
    count = task.batches(split, size)
    return [task.batch(0, split, number * count + n, size) for n in range(count)]


def refusal(call: Any) -> str:
    """The one line of an error."""
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- streams ---


@settings(deadline=None, max_examples=80)
@given(count=COUNTS, length=LENGTHS, size=SIZES, number=st.integers(0, 3), layout=LAYOUTS)
def test_training_streams_lie_side_by_side(
    folder: Path, count: int, length: int, size: int, number: int, layout: str
) -> None:
    task = make("ptb-word", length, counting(folder, count))
    if size * length + 1 > count:
        line = f"ptb/ptb.train.txt: train has {count} tokens, {size * length + 1} are needed: use a longer text, or a"
        assert line in refusal(lambda: task.batch(0, "train", 0, size))
        return
    batches, rows = epoch(task, "train", size, number), (count - 1) // size
    x = np.concatenate([batch.x for batch in batches])
    assert x.shape == (rows // length * length, size)
    for stream in range(size):
        np.testing.assert_array_equal(x[:, stream], stream * rows + np.arange(len(x)))
    for n, batch in enumerate(batches):
        np.testing.assert_array_equal(batch.y, batch.x + 1)
        assert batch.x.shape == batch.y.shape == (length, size)
        assert (batch.continues, batch.index, batch.consecutive) == (n > 0, n, False)
        assert batch.last == (n == len(batches) - 1)


@settings(deadline=None, max_examples=80)
@given(count=COUNTS, length=LENGTHS, size=SIZES, split=st.sampled_from(["valid", "test"]), layout=LAYOUTS)
def test_the_other_splits_lose_nothing_of_their_streams(
    folder: Path, count: int, length: int, size: int, split: Any, layout: str
) -> None:
    task = make("ptb-word", length, counting(folder, count), layout=layout)
    batches, ids, rows = epoch(task, split, size, 1), tokens(task, split), (HELD_OUT[split] - 1) // size
    x, y = (np.concatenate([getattr(batch, name) for batch in batches]) for name in "xy")
    np.testing.assert_array_equal(x, ids[: rows * size].reshape(size, rows).T)
    np.testing.assert_array_equal(y, ids[1 : rows * size + 1].reshape(size, rows).T)
    assert {len(batch.x) for batch in batches[:-1]} <= {length}
    assert 1 <= len(batches[-1].x) <= length
    assert [batch.continues for batch in batches] == [n > 0 for n in range(len(batches))]
    assert [batch.index for batch in batches] == list(range(len(batches)))
    assert [batch.last for batch in batches] == [n == len(batches) - 1 for n in range(len(batches))]
    assert not any(batch.consecutive for batch in batches)


@given(count=COUNTS, length=LENGTHS)
@settings(deadline=None, max_examples=40)
def test_what_is_scored_counts_the_windows_of_all_streams(folder: Path, count: int, length: int) -> None:
    task = make("ptb-word", length, counting(folder, count))
    assert task.size_of("train") == (count - 1) // length
    for split in ("valid", "test"):
        rows = (HELD_OUT[split] - 1) // text.STREAMS
        assert task.size_of(split) == text.STREAMS * math.ceil(rows / length)  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", ["streams", "blocks"])
def test_the_text_of_training_can_be_validated_on(folder: Path, layout: Any) -> None:
    """In the streams of a validation, of which nothing is dropped, whatever the layout of training."""
    place = counting(folder, 101)
    task = make("ptb-word", 7, place, layout=layout, valid="train")
    assert task.size_of("valid") == text.STREAMS  # of three tokens each
    whole = np.concatenate([batch.x for batch in epoch(task, "valid", 4)])
    assert whole.T.ravel().tolist() == tokens(task, "train")[:100].tolist()
    assert task.size_of("test") == make("ptb-word", 7, place).size_of("test")
    assert "valid must be valid or train" in refusal(lambda: make("ptb-word", 7, place, valid="test"))


# --- variable windows ---


def variable(folder: Path, length: int = 20, **options: Any) -> Any:
    return make("ptb-word", length, counting(folder, 2000), windows="variable", **options)


@settings(deadline=None, max_examples=60)
@given(length=st.integers(5, 60), size=st.integers(1, 25), number=st.integers(0, 9), seed=st.integers(0, 99))
def test_variable_windows_lose_nothing(folder: Path, length: int, size: int, number: int, seed: int) -> None:
    """Each pass goes through every token of the streams once, in order, in windows of at least five."""
    task, rows = variable(folder, length), 1999 // size
    begin = task.batches_of(seed, number, size)
    count = task.batches("train", size, seed, number)
    assert task.batches_of(seed, number + 1, size) == begin + count
    batches = [task.batch(seed, "train", begin + n, size) for n in range(count)]
    x = np.concatenate([batch.x for batch in batches])
    np.testing.assert_array_equal(x, np.arange(size) * rows + np.arange(rows)[:, None])
    for n, batch in enumerate(batches):
        np.testing.assert_array_equal(batch.y, batch.x + 1)
        assert batch.x.shape == batch.y.shape
        assert task.shortest <= len(batch.x) <= length + 44
        assert (batch.continues, batch.index, batch.consecutive) == (n > 0, n, False)
        assert batch.last == (n == count - 1)
    assert not task.batch(seed, "train", begin + count, size).continues


def test_lengths_are_drawn_as_stated(folder: Path) -> None:
    """Means and spread of many windows; a twentieth of them around half of T."""
    task = make("sample-char", 70, windows="variable", characters=1_000_000)
    lengths = np.array([len(task.batch(3, "train", n, 1).x) for n in range(14_000)])
    halves = lengths[lengths < 52]  # ten standard deviations lie between 35 and 70
    assert len(halves) / len(lengths) == pytest.approx(0.05, abs=0.008)
    for part, base in ((halves, 35), (lengths[lengths >= 52], 70)):
        assert part.mean() == pytest.approx(base - 0.5, abs=0.6 if base == 35 else 0.2)  # int() cuts off half a token
        assert part.std() == pytest.approx(5, abs=0.5 if base == 35 else 0.15)
    assert lengths.max() < 110


def ends(task: Any, size: int, seed: int = 0, number: int = 0) -> list[int]:
    """Where the windows of a pass end in each of so many streams."""
    begin, count = task.batches_of(seed, number, size), task.batches("train", size, seed, number)
    found: list[int] = np.cumsum([len(task.batch(seed, "train", begin + n, size).x) for n in range(count)]).tolist()
    return found


def test_lengths_follow_from_seed_and_epoch_alone(folder: Path) -> None:
    """Whatever was asked before; every pass and every seed has its own; fewer rows cut the same lengths off earlier."""
    task = variable(folder)
    first = [task.batch(1, "train", n, 2).x for n in range(200)]
    for other in range(2, 50):  # more than is kept
        task.batch(other, "train", 0, 2)
    for n in (150, 3, 199, 0):
        np.testing.assert_array_equal(variable(folder).batch(1, "train", n, 2).x, first[n])
    passes = [tuple(ends(task, 2, seed, number)) for seed in (1, 2) for number in (0, 1)]
    assert len(set(passes)) == 4
    short = ends(task, 4, 1)  # in streams of half as many rows
    assert short[:-2] == ends(task, 2, 1)[: len(short) - 2]


@pytest.mark.parametrize("length", [5, 20])
def test_a_short_rest_falls_to_the_window_before(length: int) -> None:
    for rows in range(max(length, 9), 400):
        task = make("sample-char", length, windows="variable", characters=rows + 1)
        found = ends(task, 1)
        assert found[-1] == rows
        assert np.diff(found, prepend=0).min() >= 5


def test_only_training_windows_vary(folder: Path) -> None:
    task, fixed = variable(folder), make("ptb-word", 20, counting(folder, 2000))
    for split in ("valid", "test"):
        assert task.size_of(split) == fixed.size_of(split)
        for n in range(5):
            np.testing.assert_array_equal(task.batch(1, split, n, 3).x, fixed.batch(2, split, n, 3).x)  # type: ignore[arg-type]


def test_impossible_windows_are_refused(folder: Path) -> None:
    assert "windows must be fixed or variable, got 'long'" in refusal(lambda: make("ptb-word", 20, windows="long"))
    assert "layout streams alone" in refusal(lambda: variable(folder, layout="blocks"))
    assert "a length of at least 5, got 4" in refusal(lambda: variable(folder, 4))
    assert "train has 2,000 tokens, 2,001 are needed" in refusal(lambda: variable(folder).batches_of(1, 3, 100))


@pytest.mark.parametrize("layout", ["streams", "blocks"])
def test_passes_of_fixed_windows_are_alike(folder: Path, layout: Any) -> None:
    task: Any = make("ptb-word", 7, counting(folder, 300), layout=layout)
    count = task.batches("train", 4)
    assert [task.batches_of(5, n, 4) for n in range(3)] == [0, count, 2 * count]


# --- blocks ---


@settings(deadline=None, max_examples=100)
@given(count=COUNTS, length=LENGTHS, size=SIZES, number=st.integers(0, 3))
def test_consecutive_blocks_lie_side_by_side(folder: Path, count: int, length: int, size: int, number: int) -> None:
    """Y is X moved on by one token, and a column starts where the one before it ends, from batch to batch too."""
    task: Any = make("ptb-word", length, counting(folder, count), layout="blocks")
    batches = epoch(task, "train", size, number)
    x, y = (np.concatenate([getattr(batch, name) for batch in batches], axis=1) for name in "xy")
    blocks = (count - 1) // length
    assert x.shape == y.shape == (length, blocks)
    np.testing.assert_array_equal(y, x + 1)
    np.testing.assert_array_equal(x[0, 1:], y[-1, :-1])
    np.testing.assert_array_equal(x.T.reshape(-1), np.arange(blocks * length))
    assert blocks == task.size_of("train")
    assert y[-1, -1] > count - 1 - length  # fewer tokens than a block are left
    for n, batch in enumerate(batches):
        assert (batch.continues, batch.index, batch.consecutive) == (n > 0, n, True)
        assert batch.last == (n == len(batches) - 1)
        assert batch.x.shape[1] == (size if n < len(batches) - 1 else blocks - n * size)


def test_blocks_of_one_token_are_the_text_itself(folder: Path) -> None:
    batch = make("ptb-word", 1, counting(folder, 50), layout="blocks").batch(0, "train", 1, 12)
    np.testing.assert_array_equal(batch.x, np.arange(12, 24)[None])


# --- batches of both ---


@pytest.mark.parametrize("layout", ["streams", "blocks"])
def test_a_batch_holds_arrays_of_its_own_whatever_the_seed(folder: Path, layout: str) -> None:
    task = make("ptb-word", 4, counting(folder, 60), layout=layout)
    for split in ("train", "valid", "test"):
        one, other = task.batch(1, split, 1, 5), task.batch(2, split, 1, 5, "float64")  # type: ignore[arg-type]
        for array in (one.x, one.y):
            assert (type(array), array.dtype.name) == (np.ndarray, "int64")
            assert array.flags.c_contiguous
            assert array.flags.writeable
        one.x[:] = 0
        np.testing.assert_array_equal(other.x[0, 0] + 1, other.y[0, 0])
        np.testing.assert_array_equal(task.batch(1, split, 1, 5).x, other.x)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("tain", 0, 5), "unknown split 'tain'"),
        (("train", -1, 5), "index of at least 0"),
        (("train", 0, 0), "size of at least 1"),
    ],
)
def test_impossible_batches_are_refused(folder: Path, arguments: Any, words: str) -> None:
    task = make("ptb-word", 4, counting(folder, 60))
    assert words in refusal(lambda: task.batch(0, *arguments))


def test_too_short_a_text_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "a b c\n")
    for layout in ("streams", "blocks"):
        task: Any = make("ptb-word", 4, tmp_path, layout=layout)
        line = refusal(lambda task=task: task.size_of("train"))
        assert line.startswith("ptb/ptb.train.txt: train has 4 tokens, 5 are needed: use a longer text, or a smaller")
        assert "valid has 3 tokens, 33 are needed" in refusal(lambda task=task: task.size_of("valid"))
        assert "test has 3 tokens, 5 are needed" in refusal(lambda task=task: task.batch(0, "test", 0, 4))
    assert make("ptb-word", 3, tmp_path, layout="blocks").batch(0, "train", 9, 20).x.tolist() == [[0], [1], [2]]


@pytest.mark.parametrize("length", [0, -1, True, 2.0])
def test_impossible_lengths_are_refused(length: Any) -> None:
    assert "length must be a whole number and at least 1, got" in refusal(lambda: text.PtbWord(length=length))


# --- what is read, and when ---


def test_no_text_is_read_before_something_is_asked(tmp_path: Path) -> None:
    for name in text.TASKS:
        if name != "sample-char":
            task = make(name, None, tmp_path)
            assert (task.name, task.tokens, task.streams, task.solved_below) == (name, True, 32, 0.0)
            for ask in (lambda t: t.input_size, lambda t: t.size_of("train"), lambda t: t.chance):
                assert f"there is no file {tmp_path}" in refusal(lambda task=task, ask=ask: ask(task))


def test_a_text_is_read_once_in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a b c\n")
    assert make("ptb-word", 2, tmp_path).input_size == 4
    monkeypatch.delattr(corpus, "words")
    task = make("ptb-300", None, tmp_path, layout="blocks")
    assert (task.input_size, task.output_size, task.length) == (4, 4, 300)


def test_a_text_that_was_mended_is_read_again(tmp_path: Path) -> None:
    write(tmp_path, "")
    task = make("ptb-word", 2, tmp_path)
    assert "holds no tokens" in refusal(lambda: task.input_size)
    write(tmp_path, "a b c\n")
    assert task.input_size == 4


def test_every_task_finds_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"ptb-word": "ptb/ptb.{}.txt", "ptb-char": "ptb/ptb.char.{}.txt"}
    names |= {name: name + "/{}.txt" for name in ("wikitext-2", "wikitext-103")}
    for number, (name, files) in enumerate(names.items()):
        for split in corpus.SPLITS:
            path = tmp_path / files.format(split)
            path.parent.mkdir(exist_ok=True)
            path.write_text(" \n" + "a b c d e f g h"[: 2 * number + 1] + "\n")
        assert make(name, None, tmp_path).input_size == number + 2
    for name in ("wikitext-2", "wikitext-103"):
        with_blank, without = (make(name, 1, tmp_path, skip_blank=skip).size_of("train") for skip in (False, True))
        assert (with_blank or 0) == (without or 0) + 1
    (tmp_path / "text8").mkdir()
    (tmp_path / "text8" / "text8").write_text(" the cat" * 20)
    assert "of which 10,000,000 are to be held out" in refusal(lambda: make("text8-char", None, tmp_path).input_size)
    monkeypatch.setattr(corpus, "characters", partial(corpus.characters, valid=20, test=20))
    monkeypatch.setattr(corpus, "rare_words", partial(corpus.rare_words, valid=20, test=20))
    assert make("text8-char", None, tmp_path).input_size == 6
    assert make("text8-word", None, tmp_path).input_size == 3


def text_files(folder: Path) -> dict[Any, Path]:
    return {split: folder / "ptb" / f"ptb.{split}.txt" for split in corpus.SPLITS}


# --- scores ---


@settings(deadline=None, max_examples=50)
@given(
    T=st.integers(1, 5),
    B=st.integers(1, 4),
    V=st.integers(1, 9),
    scale=st.sampled_from([1e-3, 1.0, 50.0, 1e4]),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 10**6),
)
def test_the_score_is_the_mean_of_what_each_token_costs(
    T: int, B: int, V: int, scale: float, dtype: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    output, y = (scale * rng.standard_normal((T, B, V))).astype(dtype), rng.integers(0, V, (T, B))
    kept = output.copy()
    found = text.SampleChar().scores(output, y)
    wide = output.astype(np.float64)
    expected = np.mean(logsumexp(wide, axis=2) - np.take_along_axis(wide, y[..., None], 2)[..., 0])
    assert found["nll"] == pytest.approx(expected, rel=1e-6 if dtype == "float32" else 1e-12, abs=1e-12)
    np.testing.assert_array_equal(output, kept)


def test_many_small_costs_add_up() -> None:
    """In float32 the mean of a million costs would lose its last digits."""
    output = np.zeros((1000, 100, 3), np.float32)
    assert text.SampleChar().scores(output, np.zeros((1000, 100), int))["nll"] == pytest.approx(math.log(3), rel=1e-14)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_no_success(bad: float) -> None:
    output = np.zeros((2, 3, 4), np.float32)
    output[1, 2, 0] = bad
    nll = text.SampleChar().scores(output, np.zeros((2, 3), int))["nll"]
    assert math.isnan(nll)
    assert not nll < math.inf
    output[1, 2, 0] = -math.inf
    assert text.SampleChar().scores(output, np.zeros((2, 3), int))["nll"] == math.inf


def test_answers_of_another_shape_are_refused() -> None:
    for shape in ((2, 4), (2, 3, 1, 4), (3, 2, 4)):
        line = refusal(lambda shape=shape: text.SampleChar().scores(np.zeros(shape), np.zeros((2, 3), int)))
        assert line.startswith("outputs [T, B, V] and targets [T, B] expected, got shapes")


def test_chance_is_what_the_frequencies_of_the_test_split_score(tmp_path: Path) -> None:
    task: Any = make("ptb-word", 2, write(tmp_path, "a b c d\n", test="a a b a c\na\n"))
    ids = tokens(task, "test")
    counts = np.bincount(ids, minlength=task.output_size)
    with np.errstate(divide="ignore"):
        logits = np.log(counts / len(ids))
    answers = np.broadcast_to(logits, (len(ids), 1, task.output_size))
    assert list(task.chance) == ["nll"]
    assert task.scores(answers, ids[:, None]) == pytest.approx(task.chance)
    assert task.scores(answers + np.linspace(0, 0.1, task.output_size), ids[:, None])["nll"] > task.chance["nll"]


# --- the text that ships ---


def test_the_sample_is_one_text_for_all_runs() -> None:
    task: Any = make("sample-char", 50, characters=3000)
    assert [len(tokens(task, split)) for split in corpus.SPLITS] == [3000, 300, 300]
    for split in corpus.SPLITS:
        np.testing.assert_array_equal(
            tokens(task, split), hidden_markov.sample(1948, split, 0, len(tokens(task, split)))
        )
    assert (task.input_size, task.output_size) == (9, 9)
    assert task.fingerprint == "808160f118ae5d7b"  # runs of earlier versions
    assert hidden_markov.text(tokens(task, "train")[:30]) == FIRST
    assert make("sample-char").size_of("train") == 999_999 // 75


FIRST = "]}abaaabbb[]abaaaaaaaabbbbbbbb"
"""How the text begins, for ever."""


def test_no_constant_knows_the_sample_as_its_source_does() -> None:
    chance = make("sample-char").chance["nll"]
    assert chance == pytest.approx(hidden_markov.conditional_entropy(0), abs=0.02)
    assert chance > hidden_markov.entropy_rate()


# --- real texts ---


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """A folder of data with real texts, seen from a folder of their own: nothing is written beside them."""
    chosen = os.environ.get("MINIGRAD_TEST_DATA")
    data = Path(chosen) if chosen else ROOT.parent / "shared" / "data"
    for name in ("ptb", "wikitext-2"):
        if not (data / name).is_dir():
            pytest.skip(f"needs {name}: name a folder that holds {name}/ in MINIGRAD_TEST_DATA")
        (tmp_path / name).mkdir()
        for path in (data / name).glob("*.txt"):
            (tmp_path / name / path.name).symlink_to(path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "types", "windows", "chance"),
    [
        ("ptb-word", 10_000, 929_588 // 20, 6.3303),
        ("ptb-300", 10_000, 929_588 // 300, 6.3303),
        ("ptb-char", 50, 5_017_481 // 75, 3.0115),
        ("wikitext-2", 33_278, 2_088_627 // 20, 6.5729),
    ],
)
def test_published_texts(real: Path, name: str, types: int, windows: int, chance: float) -> None:
    task = make(name, None, real)
    assert (task.input_size, task.output_size, task.size_of("train")) == (types, types, windows)
    assert task.chance["nll"] == pytest.approx(chance, abs=1e-4)
    for layout in ("streams", "blocks"):
        batch = make(name, None, real, layout=layout).batch(0, "train", 3, 20)
        assert batch.x.shape == (task.length, 20)
        np.testing.assert_array_equal(batch.x[1:], batch.y[:-1])
    np.testing.assert_array_equal(batch.x[0, 1:], batch.y[-1, :-1])


def test_the_summary_of_the_sample_names_its_entropy() -> None:
    assert f"{hidden_markov.entropy_rate():.4f} nats" in (text.SampleChar.__doc__ or "").splitlines()[0]
