"""Synthetic tasks: labels follow from inputs, positions lie where they should, constants score what is stated."""

from __future__ import annotations

from typing import Any, get_args

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.registry import make
from datasets.synthetic import TASKS
from datasets.task import Batch, Split, Task
from minigrad.errors import InputError

ORDER = {"temporal": (1, 5), "temporal3": (1, 3, 6)}
LENGTHS = st.integers(10, 70)
SEEDS = st.integers(0, 10**6)
SPLITS = get_args(Split)


def same(a: Batch, b: Batch) -> bool:
    return a.x.shape == b.x.shape and np.array_equal(a.x, b.x) and np.array_equal(a.y, b.y)


# --- every task ---


@pytest.mark.parametrize("name", TASKS)
@settings(deadline=None, max_examples=20)
@given(length=LENGTHS, size=st.integers(1, 9), seed=SEEDS, index=st.integers(0, 10**6))
def test_a_batch_has_the_stated_shapes_and_types(name: str, length: int, size: int, seed: int, index: int) -> None:
    task = make(name, length)
    for dtype in ("float32", "float64"):
        batch = task.batch(seed, "train", index, size, dtype)
        steps = batch.x.shape[0]
        assert length <= steps < length + max(1, length // 10)
        assert name == "adding" or steps == length
        assert batch.x.shape == (steps, size, task.input_size)
        assert str(batch.x.dtype) == dtype
        assert batch.x.flags.c_contiguous
        assert not batch.continues
        assert batch.index == index
        if task.loss == "softmax":
            assert batch.y.shape == (size,)
            assert batch.y.dtype == np.int64
            assert batch.y.min() >= 0
            assert batch.y.max() < task.output_size
        else:
            assert batch.y.shape == (size, task.output_size)
            assert str(batch.y.dtype) == dtype


@pytest.mark.parametrize("name", TASKS)
@settings(deadline=None, max_examples=10)
@given(seed=SEEDS, index=st.integers(0, 1000))
def test_the_same_arguments_give_the_same_batch(name: str, seed: int, index: int) -> None:
    a = make(name, 20).batch(seed, "train", index, 8)
    make(name, 20).batch(seed, "train", index + 1, 8)
    assert same(a, make(name, 20).batch(seed, "train", index, 8))


@pytest.mark.parametrize("name", TASKS)
def test_every_argument_names_another_sample(name: str) -> None:
    task = make(name, 40)
    batches = [task.batch(seed, split, index, 16) for seed in (0, 1) for split in SPLITS for index in (0, 1, 2)]
    assert not any(same(a, b) for i, a in enumerate(batches) for b in batches[:i])


def test_batches_of_another_size_or_length_share_no_draws() -> None:
    """The position of the first symbol is drawn first, from the same four steps each time."""

    def first_positions(length: int, size: int) -> Any:
        x = make("temporal", length).batch(0, "train", 0, size).x
        return (x[..., :2].sum(axis=2) == 1).argmax(axis=0)[:64]

    a, b, c = first_positions(40, 64), first_positions(40, 128), first_positions(41, 64)
    assert not np.array_equal(a, b)
    assert not np.array_equal(a, c)


@pytest.mark.parametrize("name", TASKS)
def test_both_dtypes_hold_the_same_numbers(name: str) -> None:
    a, b = (make(name, 30).batch(0, "valid", 0, 50, dtype) for dtype in ("float32", "float64"))
    assert np.array_equal(a.x, b.x)
    np.testing.assert_allclose(a.y, b.y, rtol=1e-7)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_a_value(name: str) -> None:
    task: Task = make(name, 30)
    assert task == make(name, 30)
    assert task != make(name, 31)
    assert hash(task) == hash(make(name, 30))
    with pytest.raises(AttributeError):
        task.length = 3  # type: ignore[attr-defined]
    assert task.name == name
    assert task.loss_at == "last"
    assert not task.tokens


# --- labels and positions ---


@pytest.mark.parametrize(("name", "options"), [("temporal", {}), ("temporal", {"t2": "paper"}), ("temporal3", {})])
@settings(deadline=None, max_examples=30)
@given(length=st.integers(10, 120), seed=SEEDS)
def test_the_label_is_the_order_of_the_two_symbols(name: str, options: dict[str, Any], length: int, seed: int) -> None:
    batch = make(name, length, **options).batch(seed, "train", 0, 50)
    x, y = batch.x, batch.y
    tenths = (1, 4) if options else ORDER[name]
    symbols = x.argmax(axis=2)
    assert np.array_equal(x.sum(axis=2), np.ones(x.shape[:2]))
    assert np.array_equal(np.sort(np.unique(x)), [0, 1])
    for b in range(50):
        marks = np.flatnonzero(symbols[:, b] < 2)
        assert len(marks) == len(tenths)
        assert y[b] == sum(symbols[p, b] << k for k, p in enumerate(marks))
        for p, tenth in zip(marks, tenths, strict=True):
            start = int(round(tenth / 10, 1) * length)
            assert start <= p < start + int(0.1 * length)


@settings(deadline=None, max_examples=30)
@given(length=LENGTHS, seed=SEEDS)
def test_the_last_symbol_of_a_permutation_is_the_first(length: int, seed: int) -> None:
    batch = make("permutation", length).batch(seed, "train", 0, 30)
    x, y = batch.x, batch.y
    symbols = x.argmax(axis=2)
    assert np.array_equal(x.sum(axis=2), np.ones(x.shape[:2]))
    assert np.array_equal(symbols[0], y)
    assert y.max() <= 1
    assert symbols[1:].min() >= 2


@pytest.mark.parametrize("jitter", [True, False])
@settings(deadline=None, max_examples=30)
@given(length=st.integers(10, 200), seed=SEEDS)
def test_adding_asks_for_the_mean_of_two_numbers_in_the_first_half(jitter: bool, length: int, seed: int) -> None:
    batch = make("adding", length, jitter=jitter).batch(seed, "train", 0, 50)
    x, y = batch.x, batch.y
    marks, numbers = x[:, :, 0], x[:, :, 1]
    steps = len(x)
    assert jitter or steps == length
    assert np.array_equal(np.unique(marks), [0, 1])
    assert numbers.min() >= 0
    assert numbers.max() < 1
    np.testing.assert_array_equal((marks * numbers).sum(axis=0) / 2, y[:, 0])
    for b in range(50):
        p0, p1 = np.flatnonzero(marks[:, b])
        assert 0 <= p0 < int(0.1 * steps) <= p1 < int(0.1 * steps) + int(0.4 * steps)


@settings(deadline=None, max_examples=30)
@given(length=st.integers(2, 100), seed=SEEDS)
def test_adding_sum_asks_for_the_sum_of_a_number_from_each_half(length: int, seed: int) -> None:
    batch = make("adding-sum", length).batch(seed, "train", 0, 50)
    x, y = batch.x, batch.y
    numbers, marks = x[:, :, 0], x[:, :, 1]
    np.testing.assert_array_equal((marks * numbers).sum(axis=0), y[:, 0])
    for b in range(50):
        p0, p1 = np.flatnonzero(marks[:, b])
        assert 0 <= p0 < length // 2
        assert (length + 1) // 2 <= p1 < length


def uniform_within_error(values: Any, low: int, high: int) -> bool:
    """Whether every integer of [low, high) turns up as often as five standard deviations allow, and no other."""
    counts = np.bincount(values, minlength=high)
    n, p = len(values), 1 / (high - low)
    return (
        counts[:low].sum() == 0
        and len(counts) == high
        and bool(np.all(np.abs(counts[low:] - n * p) <= 5 * np.sqrt(n * p * (1 - p))))
    )


def test_every_position_and_symbol_is_equally_likely() -> None:
    size = 20_000
    for name, tenths in ORDER.items():
        task = make(name, 40)
        batch = task.batch(0, "train", 0, size)
        x, y = batch.x, batch.y
        symbols = x.argmax(axis=2)
        assert uniform_within_error(y, 0, task.output_size)
        assert uniform_within_error(symbols[symbols >= 2], 2, 6)
        marks = np.nonzero((symbols < 2).T)[1].reshape(size, -1)
        for k, tenth in enumerate(tenths):
            assert uniform_within_error(marks[:, k], 4 * tenth, 4 * tenth + 4)
    symbols = make("permutation", 10).batch(0, "train", 0, size).x.argmax(axis=2)
    assert uniform_within_error(symbols[1:].ravel(), 2, 100)
    for name, channel, bounds in (("adding", 0, ((0, 4), (4, 20))), ("adding-sum", 1, ((0, 20), (20, 40)))):
        options = {"jitter": False} if name == "adding" else {}
        x = make(name, 40, **options).batch(0, "train", 0, size).x
        marks = np.nonzero(x[:, :, channel].T)[1].reshape(size, 2)
        for k, (low, high) in enumerate(bounds):
            assert uniform_within_error(marks[:, k], low, high)


def test_adding_batches_are_up_to_a_tenth_longer() -> None:
    lengths = {len(make("adding", 50).batch(0, "train", i, 1).x) for i in range(200)}
    assert lengths == {50, 51, 52, 53, 54}
    assert len(make("adding", 10).batch(0, "train", 0, 1).x) == 10


# --- scores ---


def constants(task: Task) -> list[Any]:
    """The best constant answer first, then others."""
    if task.loss == "softmax":
        return [np.eye(task.output_size)[k] for k in range(min(task.output_size, 3))]
    best = 0.5 if task.name == "adding" else 1.0
    return [np.array([best]), np.array([best + 0.1]), np.array([best - 0.1])]


@pytest.mark.parametrize("name", TASKS)
def test_the_best_constant_scores_what_is_stated(name: str) -> None:
    task = make(name, 10)
    size, batches = 10_000, 10
    targets = [task.batch(3, "test", i, size).y for i in range(batches)]

    def measured(constant: Any) -> dict[str, float]:
        output = np.broadcast_to(constant, (size, task.output_size))
        scores = [task.scores(output, y) for y in targets]
        return {key: float(np.mean([s[key] for s in scores])) for key in scores[0]}

    first, *others = constants(task)
    best = measured(first)
    assert best.keys() == task.chance.keys()
    for key, chance in task.chance.items():
        # A squared error varies less than its mean here, a fraction as a coin does.
        deviation = np.sqrt((chance if "mse" in key else chance * (1 - chance)) / (size * batches))
        assert abs(best[key] - chance) < 5 * deviation
        assert all(measured(other)[key] > chance - 5 * deviation for other in others)


@pytest.mark.parametrize("name", TASKS)
def test_the_right_answer_scores_zero_and_solves_the_task(name: str) -> None:
    task = make(name, 10)
    y = task.batch(0, "test", 0, 100).y
    scores = task.scores(np.eye(task.output_size)[y] if task.loss == "softmax" else y, y)
    assert set(scores.values()) == {0.0}
    assert scores.keys() == task.chance.keys()
    assert next(iter(scores.values())) < task.solved_below < next(iter(task.chance.values()))


def test_one_error_in_ten_thousand_is_not_solved() -> None:
    task = make("temporal", 10)
    y = np.zeros(10_000, np.int64)
    output = np.tile(np.eye(4)[0], (10_000, 1))
    output[17] = np.eye(4)[1]
    assert task.scores(output, y) == {"error": 1e-4}
    assert not task.scores(output, y)["error"] < task.solved_below


def test_adding_reports_both_readings_of_its_tolerance() -> None:
    y = np.full((4, 1), 0.5, np.float32)
    off = np.array([[0.03], [-0.1], [0.19], [-0.21]])
    scores = make("adding", 10).scores(y + off, y)
    assert scores["error"] == 0.25
    assert scores["error_abs"] == 0.75
    assert scores["mse"] == pytest.approx(np.mean(off**2), rel=1e-6)


@pytest.mark.parametrize("name", TASKS)
def test_an_answer_that_is_not_a_number_is_wrong(name: str) -> None:
    task = make(name, 10)
    y = task.batch(0, "test", 0, 100).y
    scores = task.scores(np.full((100, task.output_size), np.nan), y)
    assert all(np.isnan(value) if key == "mse" else value == 1.0 for key, value in scores.items())


@pytest.mark.parametrize("name", TASKS)
def test_outputs_of_any_array_library_are_judged(name: str) -> None:
    task = make(name, 10)
    y = task.batch(0, "test", 0, 50).y
    output = np.random.default_rng(0).standard_normal((50, task.output_size)).astype(np.float32)
    device = array_api_strict.Device("device1")
    strict = (array_api_strict.asarray(a, device=device) for a in (output, y))
    assert task.scores(*strict) == task.scores(output, y)


@pytest.mark.parametrize("name", TASKS)
def test_scores_refuse_shapes_that_would_broadcast(name: str) -> None:
    task = make(name, 10)
    y = task.batch(0, "test", 0, 5).y
    with pytest.raises(InputError, match="shape"):
        task.scores(np.zeros(5), y)
    with pytest.raises(InputError, match="shape"):
        task.scores(np.zeros((4, task.output_size)), y)


# --- what is refused ---


@pytest.mark.parametrize("name", TASKS)
def test_too_short_a_sequence_is_refused_in_one_line(name: str) -> None:
    least = 2 if name == "adding-sum" else 10
    make(name, least).batch(0, "train", 0, 3)
    for length in (least - 1, 0, -5, 20.0, True, "20"):
        with pytest.raises(InputError, match=rf"{name} .*at least {least}") as caught:
            make(name, length)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((0, "dev", 0, 5, "float32"), "split"),
        ((0, "train", -1, 5, "float32"), "index"),
        ((0, "train", 0, 0, "float32"), "size"),
        ((0, "train", 0, 5, "float16"), "dtype"),
        ((0, "train", 0, 5, "int64"), "dtype"),
    ],
)
@pytest.mark.parametrize("name", TASKS)
def test_impossible_batches_are_refused(name: str, arguments: tuple[Any, ...], word: str) -> None:
    with pytest.raises(InputError, match=word):
        make(name, 20).batch(*arguments)
