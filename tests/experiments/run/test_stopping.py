"""When a run ends."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.run import stopping
from experiments.run.stopping import Counters, after_check


def checked(counters: Counters, error: float, radius: float = 1.0, patience: int = 3) -> Counters:
    counters = counters.after(1, [0.5])
    return after_check(counters, {"error": error}, {"W_hh": radius}, solved_below=1e-4, patience=patience)


def begin(error: float = 0.75, patience: int = 3) -> Counters:
    return stopping.start({"error": error}, patience)


def test_solved_when_the_error_is_below_the_bound() -> None:
    assert checked(begin(), 0.99e-4).status == "solved"
    assert checked(begin(), 1e-4).status == "running"


def test_solved_even_with_a_large_radius() -> None:
    assert checked(begin(), 0.0, radius=50.0).status == "solved"


def test_the_radius_may_be_twenty() -> None:
    assert checked(begin(), 0.5, radius=20.0).status == "running"
    ended = checked(begin(), 0.5, radius=20.5)
    assert ended.status == "spectral_radius"
    assert "W_hh is 20.5, above 20" in ended.reason


@settings(deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=30), st.integers(1, 4), st.integers(1, 5))
def test_patience_as_the_protocol_says(errors: list[int], patience: int, untrained: int) -> None:
    """A counter loses 1 at each check, is full again when the error beats the best so far, and ends the run at 0."""
    counters = begin(untrained, patience)
    best, left = untrained, patience
    for number, error in enumerate(errors, 1):
        counters = checked(counters, error, patience=patience)
        left -= 1
        if error < best:
            best, left = error, patience
            assert counters.is_best
        assert (counters.best_error, counters.patience, counters.iteration) == (best, left, number)
        assert (counters.status == "patience") == (left <= 0)
        if left <= 0:
            break


def test_an_error_that_is_no_number_beats_nothing() -> None:
    counters = checked(begin(), float("nan"))
    assert (counters.status, counters.best_error, counters.patience) == ("running", 0.75, 2)


def test_the_mean_loss_of_a_line() -> None:
    counters = begin().after(1, [1.0]).after(1, [2.0]).logged()
    assert (counters.loss, counters.loss_sum, counters.loss_count, counters.iteration) == (1.5, 0.0, 0, 2)


def test_losses_that_become_known_later_count_as_those_known_at_once() -> None:
    losses = [0.1, 0.7, 1e-9, 0.3]
    at_once = begin()
    for loss in losses:
        at_once = at_once.after(1, [loss])
    assert begin().after(1, []).after(1, losses[:2]).after(1, []).after(1, []).after(0, losses[2:]) == at_once


def test_nothing_is_best_before_the_first_check() -> None:
    assert not begin().is_best
