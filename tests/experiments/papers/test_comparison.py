"""Our numbers beside the paper's."""

from __future__ import annotations

from typing import Any

import pytest

from experiments import record
from experiments.papers import comparison
from experiments.papers.comparison import Summary
from experiments.papers.entry import Cell, Entry, Preset
from experiments.papers.measures import Measured


def entry(measure: str = "iterations", unit: str = "iterations", higher: bool = False, **more: Any) -> Entry:
    """A table of two rows, a method of the paper and a control."""
    values = {
        "id": "made-up",
        "paper": "Nobody 2000",
        "label": "Table 1",
        "title": "Nothing",
        "kind": "table",
        "unit": unit,
        "columns": ["problem", "theirs"],
        "rows": [["temporal", 1_000], ["adding", 2_000]],
        "run": {
            "measure": measure,
            "row": "problem",
            "columns": {"task": "problem"},
            "settings": {"length": 20},
            "options": {"length": 40} if measure == "transfer" else {},
            "entrants": [
                {"name": "TPTT", "method": "tptt", "published": "theirs"},
                {"name": "control", "method": "bptt", "rows": ["temporal"]},
            ],
        },
        "presets": {"quick": {"seeds": [1, 2, 3]}},
        "claims": [{"text": "TPTT is ahead", "more": "TPTT", "less": "control", "higher": higher}],
    }
    return record.load(Entry, values | more, "here")


def measured(*values: float | None, entrant: str = "TPTT", row: str = "temporal", **more: Any) -> dict[Cell, Measured]:
    """A cell a seed."""
    return {Cell(row, entrant, seed): Measured(value, [], **more) for seed, value in enumerate(values, 1)}


def summaries(given: Entry, found: dict[Cell, Measured]) -> dict[tuple[str, str], Summary]:
    return {(s.row, s.entrant): s for s in comparison.summarise(given, given.preset("quick"), found)}


def test_a_cell_shows_median_and_range() -> None:
    (ours, control, adding) = comparison.summarise(entry(), entry().preset("quick"), measured(900, 1_200, 1_000))
    assert (ours.median, ours.range, ours.published) == (1_000, (900, 1_200), 1_000)
    assert comparison.ours_text(ours, "iterations") == "1,000 (900 to 1,200)"
    assert (control.seeds, control.published) == (0, None)
    assert comparison.ours_text(adding, "iterations") == "not computed"


def test_a_seed_that_fails_counts_as_the_worst() -> None:
    one = summaries(entry(), measured(900, None, 1_000))["temporal", "TPTT"]
    assert (one.median, comparison.ours_text(one, "iterations")) == (1_000, "1,000 (900 to 1,000), 2 of 3")
    most = summaries(entry(), measured(900, None, None))["temporal", "TPTT"]
    assert (most.median, comparison.ours_text(most, "iterations")) == (None, "not reached (1 of 3)")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ((900, 1_050, 1_200), "agrees"),
        ((910, 920, 930), "agrees"),
        ((880, 890, 900), "lower"),
        ((1_120, 1_130, 1_200), "higher"),
        ((None, None, None), "not reached"),
        ((), "-"),
    ],
)
def test_agreement_is_the_range_widened_by_a_tenth(values: tuple[float | None, ...], says: str) -> None:
    given = entry()
    ours = summaries(given, measured(*values))["temporal", "TPTT"]
    assert comparison.agreement(given, given.preset("quick"), ours) == says


def test_percentages_agree_within_two_points() -> None:
    given = entry("accuracy", "% accuracy", rows=[["temporal", 90.0], ["adding", 50.0]])
    for value, says in ((88.5, "agrees"), (91.9, "agrees"), (87.0, "lower"), (93.0, "higher")):
        ours = summaries(given, measured(value))["temporal", "TPTT"]
        assert comparison.agreement(given, given.preset("quick"), ours) == says


def test_a_smaller_task_agrees_with_nothing() -> None:
    given = entry(presets={"quick": {"seeds": [1], "comparable": False}})
    ours = summaries(given, measured(1_000))["temporal", "TPTT"]
    assert comparison.agreement(given, given.preset("quick"), ours) == "-"


def test_a_lower_bound_below_the_paper_says_so() -> None:
    given = entry("depth", "steps")
    ours = summaries(given, measured(500, at_least=True))["temporal", "TPTT"]
    assert comparison.agreement(given, given.preset("quick"), ours) == "too little budget"
    assert comparison.ours_text(ours, "steps") == "at least 500"


def test_the_constant_answer_stands_beside_accuracies_in_both_readings() -> None:
    found = summaries(entry("transfer", "% accuracy"), {})
    assert found["temporal", "constant answer"].values == [25.0]
    adding = found["adding", "constant answer"]
    assert adding.values == [pytest.approx(64.0)]
    assert adding.second == pytest.approx(15.36)
    assert comparison.ours_text(adding, "% accuracy") == "64.00 [15.36]"
    assert ("temporal", "constant answer") not in summaries(entry(), {})


@pytest.mark.parametrize(
    ("tptt", "control", "says"),
    [
        ((100, 110, 120), (130, 140, 150), "holds"),
        ((130, 140, 150), (100, 110, 120), "does not hold"),
        ((100, 140, 120), (130, 140, 150), "no clear difference"),
        ((100, 110, 120), (None, None, None), "holds"),
        ((100, 110, None), (130, 140, 150), "no clear difference"),
        ((), (130, 140, 150), "not computed"),
    ],
)
def test_a_claim_holds_where_the_ranges_of_the_seeds_do_not_overlap(
    tptt: tuple[float | None, ...], control: tuple[float | None, ...], says: str
) -> None:
    found = measured(*tptt) | measured(*control, entrant="control")
    given = entry()
    (verdict,) = comparison.judge(given, comparison.summarise(given, given.preset("quick"), found))
    assert verdict.rows == {"temporal": says}  # the control takes no part in the other row
    assert verdict.sentence == f"{says}: temporal"
    assert verdict.seeds == 3


def test_a_control_stopped_by_its_budget_refutes_nothing_and_supports_nothing() -> None:
    given = entry("depth", "steps", higher=True)
    preset: Preset = given.preset("quick")
    for tptt, control, at_least, says in (
        (200, 100, False, "holds"),
        (200, 100, True, "no clear difference"),
        (100, 200, True, "does not hold"),
    ):
        found = measured(tptt) | measured(control, entrant="control", at_least=at_least)
        (verdict,) = comparison.judge(given, comparison.summarise(given, preset, found))
        assert verdict.rows["temporal"] == says
