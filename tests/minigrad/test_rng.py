"""Random streams: one name, one stream; different names, independent streams."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigrad.rng import stream

NAMES = st.lists(st.one_of(st.text(max_size=4), st.integers()), max_size=4)


def first(seed: int, *names: str | int) -> list[int]:
    return [int(n) for n in stream(seed, *names).integers(2**62, size=4)]


def test_a_stream_begins_anew_whenever_it_is_asked_for() -> None:
    used = stream(1, "train", 7)
    used.random(1000)
    assert first(1, "train", 7) == first(1, "train", 7)
    assert used.integers(2**62, size=4).tolist() != first(1, "train", 7)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (("a", 1), ("a1",)),
        ((1,), ("1",)),
        (("ab", "c"), ("a", "bc")),
        (("a", "b"), ("b", "a")),
        ((), ("",)),
        (("",), ("", "")),
        ((1, 11), (11, 1)),
        ((-1,), (1,)),
        (("s1:a",), ("a",)),
    ],
)
def test_names_are_told_apart(a: tuple[str | int, ...], b: tuple[str | int, ...]) -> None:
    assert first(0, *a) != first(0, *b)


@settings(deadline=None)
@given(st.integers(), NAMES, st.integers(), NAMES)
def test_streams_are_equal_exactly_if_seed_and_names_are(
    seed_a: int, a: list[str | int], seed_b: int, b: list[str | int]
) -> None:
    assert (first(seed_a, *a) == first(seed_b, *b)) == ((seed_a, a) == (seed_b, b))


def test_integers_of_numpy_name_the_same_stream() -> None:
    assert first(np.int64(3), "a", np.int32(5)) == first(3, "a", 5)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [1.0, None, b"a"])
def test_other_names_are_refused(wrong: object) -> None:
    with pytest.raises(TypeError):
        stream(0, wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        stream(wrong)  # type: ignore[arg-type]


def test_neighbouring_streams_are_uncorrelated() -> None:
    draws = np.stack([stream(0, "x", i).standard_normal(10_000) for i in range(10)])
    correlations = np.asarray(np.corrcoef(draws)) - np.eye(10)
    assert np.abs(correlations).max() < 5 / np.sqrt(10_000)


def test_the_key_of_a_stream_never_changes() -> None:
    """Raw bits, recorded once: NumPy keeps Philox as it is, and another key would change every recorded run."""
    bits = stream(1, "train", 0).bit_generator.random_raw(2)
    assert bits.tolist() == [8286821853232066409, 6653094248537314775]
