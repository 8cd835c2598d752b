"""The source of `sample-char`: its text is what the grammar says, its entropies are what the module says."""

from __future__ import annotations

import math
import re
from hashlib import sha256
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets import hidden_markov as source
from minigrad.errors import InputError

SEEDS = st.integers(0, 10**6)
SPLITS: Any = st.sampled_from(["train", "valid", "test"])

FIRST = "7661bb4b1311fde67b05fd0e96e993f83aa5bff417264adb86c32d6ede3c6b13"
"""SHA-256 of the first 100,000 ids of the training split of seed 1, as bytes."""


@pytest.fixture(scope="module")
def ids() -> Any:
    """A long text."""
    return source.sample(7, "train", 0, 300_000)


# --- which character comes when ---


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, split=SPLITS, start=st.integers(0, 100_000), sizes=st.lists(st.integers(0, 20_000), max_size=3))
def test_a_range_is_a_part_of_one_sequence(seed: int, split: Any, start: int, sizes: list[int]) -> None:
    cuts = np.cumsum([start, *sizes]).tolist()
    whole = source.sample(seed, split, start, cuts[-1])
    parts = [source.sample(seed, split, *pair) for pair in pairwise(cuts)]
    np.testing.assert_array_equal(whole, np.concatenate([*parts, whole[:0]]))
    assert whole.dtype == np.uint8
    assert len(whole) == sum(sizes)
    assert whole.max(initial=0) < len(source.ALPHABET)


def test_a_range_far_away_needs_nothing_before_it() -> None:
    assert len(source.sample(1, "train", 10**15, 10**15 + 100)) == 100  # would else take years


def test_the_text_is_the_same_for_ever() -> None:
    assert sha256(source.sample(1, "train", 0, 100_000).tobytes()).hexdigest() == FIRST


@settings(max_examples=20, deadline=None)
@given(seeds=st.tuples(SEEDS, SEEDS), splits=st.tuples(SPLITS, SPLITS))
def test_seeds_and_splits_have_texts_of_their_own(seeds: tuple[int, int], splits: tuple[Any, Any]) -> None:
    a, b = (source.sample(seed, split, 0, 5_000) for seed, split in zip(seeds, splits, strict=True))
    same = seeds[0] == seeds[1] and splits[0] == splits[1]
    assert np.array_equal(a, b) == same
    if not same:  # nor is one a part of the other
        assert bytes(a[2_000:2_100]) not in bytes(b)


def test_what_is_returned_belongs_to_the_caller() -> None:
    a = source.sample(1, "valid", 0, 10)
    a[:] = 0
    assert source.sample(1, "valid", 0, 10).any()


def test_impossible_ranges_are_refused() -> None:
    for start, stop in ((-1, 5), (5, 4)):
        with pytest.raises(InputError, match=f"got {start} and {stop}"):
            source.sample(0, "train", start, stop)
    with pytest.raises(InputError, match="unknown split 'tset'"):
        source.sample(0, "tset", 0, 1)  # type: ignore[arg-type]
    assert len(source.sample(0, "train", 7, 7)) == 0


# --- the grammar ---


def test_brackets_nest_and_runs_are_counted(ids: Any) -> None:
    text = source.text(ids)
    assert len(text) == len(ids)
    assert set(text) == set(source.ALPHABET)
    runs = re.findall("(a+)(b+)", text[text.index("b") :])[1:-1]
    assert all(len(a) == len(b) for a, b in runs)
    assert {len(a) for a, _ in runs} == set(range(1, source.LONGEST + 1))
    brackets = re.sub("[ab.]", "", text)
    while (shorter := re.sub(r"\(\)|\[\]|\{\}", "", brackets)) != brackets:
        brackets = shorter
    closing = re.match(r"[)\]}]*", brackets)
    assert closing is not None
    still_open = brackets[closing.end() :]  # what was open before the text, and after it
    assert not re.search(r"[)\]}]", still_open)
    assert max(closing.end(), len(still_open)) <= source.DEPTH


def test_depth_is_bounded_and_reached(ids: Any) -> None:
    steps = np.where(ids < 3, 1, np.where(ids < 6, -1, 0)).cumsum()
    assert steps.max() - steps.min() == source.DEPTH


# --- what is known of it ---


def test_the_entropy_rate_is_what_the_source_costs(ids: Any) -> None:
    losses = source.ideal_losses(ids)[2_000:]
    blocks = losses[: len(losses) // 2_000 * 2_000].reshape(-1, 2_000).mean(axis=1)
    error = blocks.std(ddof=1) / math.sqrt(len(blocks))
    assert error < 0.005
    assert abs(blocks.mean() - source.entropy_rate()) < 4 * error


def test_entropies_fall_with_the_context_towards_the_rate() -> None:
    entropies = [source.conditional_entropy(context) for context in range(5)]
    assert entropies == sorted(entropies, reverse=True)
    assert entropies[-1] - source.entropy_rate() > 0.25  # worth modelling


def test_the_numbers_of_the_docstring() -> None:
    table = dict(re.findall(r"^ +(\d\.\d{4}) +(none|\d|all)", source.__doc__ or "", re.MULTILINE))
    found = {context: float(number) for number, context in table.items()}
    expected = {str(n) if n else "none": source.conditional_entropy(n) for n in (0, 1, 2, 4)}
    assert found == {name: round(value, 4) for name, value in {**expected, "all": source.entropy_rate()}.items()}


@pytest.mark.parametrize("context", [0, 1, 2])
def test_conditional_entropies_are_those_of_the_text(ids: Any, context: int) -> None:
    """Counted in the text: frequencies of so many characters in a row."""
    entropies = []
    for length in (context, context + 1):
        words = sum(ids[n : len(ids) - context + n].astype(np.int64) * 9**n for n in range(length)) if length else []
        counts = np.unique(words, return_counts=True)[1] / max(len(words), 1)
        entropies.append(-(counts * np.log(counts)).sum())
    assert abs(entropies[1] - entropies[0] - source.conditional_entropy(context)) < 0.01


def test_the_text_is_stationary() -> None:
    """Over many seeds, what stands at the first place and at others is distributed alike."""
    texts = np.stack([source.sample(seed, "test", 0, 40) for seed in range(500)])
    ids = source.sample(1, "train", 0, 500_000)
    expected = np.bincount(ids, minlength=9) / len(ids)
    for place in (0, 1, 39):
        counts = np.bincount(texts[:, place], minlength=9)
        chi_square = ((counts - 500 * expected) ** 2 / (500 * expected)).sum()
        assert chi_square < 35  # 8 degrees of freedom: once in thirty thousand


def test_losses_are_those_of_the_past_alone(ids: Any) -> None:
    short, long = source.ideal_losses(ids[:50]), source.ideal_losses(ids[:200])
    np.testing.assert_allclose(short, long[:50], rtol=1e-12)
    assert abs(math.exp(-short[0]) - np.bincount(ids, minlength=9)[ids[0]] / len(ids)) < 0.01
    assert (long >= -1e-12).all()


def test_other_texts_cannot_be_judged() -> None:
    with pytest.raises(InputError, match="cannot produce character 2, '\\]'"):
        source.ideal_losses(np.array([0, 8, 4]))
    assert len(source.ideal_losses(np.array([], int))) == 0
    for context in (-1, 6):
        with pytest.raises(InputError, match=f"got {context}"):
            source.conditional_entropy(context)
