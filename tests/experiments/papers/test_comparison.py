"""Our numbers beside the paper's."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from datasets import registry
from experiments import record
from experiments.papers import comparison
from experiments.papers.comparison import Summary, Verdict
from experiments.papers.entry import Cell, Entry
from experiments.papers.measures import Measured
from experiments.parallel import job
from minigrad.errors import InputError
from tests.experiments.papers.results import STOPPED
from tests.experiments.report import fakes


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
        "presets": {"quick": {"seeds": [1, 2, 3, 10, 11, 12]}},
        "claims": [{"text": "TPTT is ahead", "more": "TPTT", "less": "control", "higher": higher}],
    }
    return record.load(Entry, values | more, "here")


def measured(*values: float | None, entrant: str = "TPTT", row: str = "temporal", **more: Any) -> dict[Cell, Measured]:
    """A cell a seed; one without a value failed for good."""
    cells = {}
    for seed, value in enumerate(values, 1):
        bounds = (math.inf, math.inf) if value is None else None
        cells[Cell(row, entrant, seed)] = Measured(value, [], **{"bounds": bounds, **more})
    return cells


def stopped(*budgets: int, entrant: str = "TPTT", row: str = "temporal") -> dict[Cell, Measured]:
    """Cells without a value because a budget ended them."""
    return {
        Cell(row, entrant, 10 + seed): Measured(None, [replace(STOPPED, iterations=budget)], (budget, math.inf))
        for seed, budget in enumerate(budgets)
    }


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


@pytest.mark.parametrize("low", [500, 950, 1_000])
def test_a_lower_bound_below_the_paper_agrees_with_nothing(low: float) -> None:
    given = entry("depth", "steps")
    ours = summaries(given, measured(low, bounds=(low, math.inf)))["temporal", "TPTT"]
    assert comparison.agreement(given, given.preset("quick"), ours) == "too little budget"
    assert comparison.ours_text(ours, "steps") == f"at least {low:,}"
    above = summaries(given, measured(1_200, bounds=(1_200, math.inf)))["temporal", "TPTT"]
    assert comparison.agreement(given, given.preset("quick"), above) == "higher"


@pytest.mark.parametrize(("budget", "says"), [(500, "too little budget"), (5_000, "not reached")])
def test_a_budget_below_the_published_number_refutes_nothing(budget: int, says: str) -> None:
    given = entry()
    ours = summaries(given, stopped(budget, budget))["temporal", "TPTT"]
    assert comparison.agreement(given, given.preset("quick"), ours) == says
    assert comparison.ours_text(ours, "iterations") == f"not within {budget:,} (0 of 2)"


def test_the_constant_answer_stands_beside_accuracies_in_both_readings() -> None:
    found = summaries(entry("transfer", "% accuracy"), {})
    assert found["temporal", "constant answer"].range == (25.0, 25.0)
    adding = found["adding", "constant answer"]
    assert adding.median == pytest.approx(64.0)
    assert adding.second == pytest.approx(15.36)
    assert comparison.ours_text(adding, "% accuracy") == "64.00 [15.36]"
    assert ("temporal", "constant answer") not in summaries(entry(), {})


def test_an_order_of_growth_stands_where_the_paper_has_no_number() -> None:
    given = entry("memory", "MiB", rows=[["temporal", "T/K"], ["adding", "1"]])
    ours = summaries(given, measured(1.5))["temporal", "TPTT"]
    assert (ours.published, comparison.paper_text(ours, "MiB")) == (None, "Ω(T/K)")
    assert comparison.agreement(given, given.preset("quick"), ours) == "-"
    number = summaries(entry(), measured(1.5))["temporal", "TPTT"]
    assert comparison.paper_text(number, "iterations") == "1,000"


NOBODY = (None, None, None)


@pytest.mark.parametrize(
    ("tptt", "control", "says"),
    [
        ((100, 110, 120), (130, 140, 150), "holds"),
        ((130, 140, 150), (100, 110, 120), "does not hold"),
        ((100, 140, 120), (130, 140, 150), "no clear difference"),
        ((100, 110, 120), NOBODY, "holds"),
        ((100, 110, None), (130, 140, 150), "no clear difference"),
        (NOBODY, NOBODY, "neither got there"),
        ((), (130, 140, 150), "not computed"),
    ],
)
def test_a_claim_holds_where_the_ranges_of_the_seeds_do_not_overlap(
    tptt: tuple[float | None, ...], control: tuple[float | None, ...], says: str
) -> None:
    (verdict,) = judged(entry(), measured(*tptt) | measured(*control, entrant="control"))
    assert verdict.rows == {"temporal": says}  # the control takes no part in the other row
    if tptt:
        assert verdict.sentence == f"{says}: temporal (3 against 3 seeds)"
        assert verdict.firm
    else:
        assert (verdict.sentence, verdict.seeds) == ("not computed: temporal", (0, 0))


def judged(given: Entry, found: dict[Cell, Measured]) -> list[Verdict]:
    return comparison.judge(given, given.preset("quick"), comparison.summarise(given, given.preset("quick"), found))


@pytest.mark.parametrize(
    ("tptt", "control", "says"),
    [
        ((100, 110, 120), 20_000, "holds"),  # the control may need 20,001, but not 120
        ((100, 110, 30_000), 20_000, "no clear difference"),
    ],
)
def test_a_run_that_a_budget_ended_may_have_needed_a_little_more(
    tptt: tuple[float, ...], control: int, says: str
) -> None:
    found = measured(*tptt) | stopped(control, control, control, entrant="control")
    assert judged(entry(), found)[0].rows == {"temporal": says}
    turned = measured(*tptt, entrant="control") | stopped(control, control, control)
    opposite = {"holds": "does not hold"}.get(says, says)
    assert judged(entry(), turned)[0].rows == {"temporal": opposite}


def test_fewer_than_three_seeds_are_a_hint() -> None:
    (verdict,) = judged(entry(), measured(100, 110) | measured(130, 140, 150, entrant="control"))
    assert verdict.sentence == "holds: temporal (2 against 3 seeds: a hint, no more)"
    assert not verdict.firm


def test_a_control_stopped_by_its_budget_refutes_nothing_and_supports_nothing() -> None:
    given = entry("depth", "steps", higher=True)
    for tptt, control, open_end, says in (
        (200, 100, False, "holds"),
        (200, 100, True, "no clear difference"),
        (100, 200, True, "does not hold"),
    ):
        bounds = (control, math.inf) if open_end else None
        found = measured(tptt) | measured(control, entrant="control", bounds=bounds)
        assert judged(given, found)[0].rows["temporal"] == says


def test_accuracies_of_networks_that_were_cut_short_compare_at_equal_budgets_alone() -> None:
    given = entry("accuracy", "% accuracy", higher=True, rows=[["temporal", 90.0], ["adding", 50.0]])
    for budget, says in ((5_000, "holds"), (4_000, "no clear difference")):
        runs = [replace(STOPPED, iterations=budget)]
        found = {}
        for seed in (1, 2, 3):
            found[Cell("temporal", "TPTT", seed)] = Measured(80.0 + seed, [STOPPED], (80.0 + seed, 100.0))
            found[Cell("temporal", "control", seed)] = Measured(70.0 + seed, runs, (70.0 + seed, 100.0))
        assert judged(given, found)[0].rows["temporal"] == says


def test_half_a_percent_is_no_difference() -> None:
    given = entry("accuracy", "% accuracy", higher=True, rows=[["temporal", 90.0], ["adding", 50.0]])
    for gap, says in ((0.5, "no clear difference"), (1.5, "holds")):
        found = measured(*(64.0 + gap,) * 3) | measured(64.0, 64.0, 64.0, entrant="control")
        assert judged(given, found)[0].rows["temporal"] == says


@pytest.mark.parametrize(
    ("tptt", "control", "says"),
    [
        (25.0, 20.0, "neither beats the constant answer"),
        (25.1, 20.0, "holds"),
        (20.0, 25.1, "does not hold"),
        (25.4, 25.1, "no clear difference"),
    ],
)
def test_of_two_networks_that_have_learnt_nothing_none_is_ahead(tptt: float, control: float, says: str) -> None:
    """A constant is right on a quarter of the sequences."""
    given = entry("accuracy", "% accuracy", higher=True, rows=[["temporal", 90.0], ["adding", 50.0]])
    found = measured(tptt, tptt, tptt) | measured(control, control, control, entrant="control")
    (verdict,) = judged(given, found)
    assert verdict.rows["temporal"] == says
    assert verdict.sentence.startswith(f"{says}: temporal")


def test_a_network_at_the_constant_answer_may_still_fail_to_beat_it() -> None:
    claims = [{"text": "TPTT learns something", "more": "TPTT", "less": "constant answer"}]
    given = entry("accuracy", "% accuracy", rows=[["temporal", 90.0], ["adding", 50.0]], claims=claims)
    (verdict,) = judged(given, measured(20.0, 20.0, 20.0))
    assert verdict.rows["temporal"] == "does not hold"


@pytest.mark.parametrize("bits", [True, False])
def test_perplexities_stand_beside_that_of_the_frequencies(bits: bool, tmp_path: Path) -> None:
    """In the unit of the table; a text that is not there any more leaves the verdict as it is."""
    given = entry("perplexity", "ppl", claims=[{"text": "ahead", "more": "TPTT", "less": "control", "higher": False}])
    assert given.run is not None
    given = replace(given, run=replace(given.run, options={"bits": bits}))
    nats = registry.make("sample-char", 70, None, characters="100000").chance["nll"]
    chance = nats / math.log(2) if bits else math.exp(nats)
    for offset, options, says in (
        (0.01, {"characters": "100000"}, "neither beats the constant answer"),
        (-0.01, {"characters": "100000"}, "holds"),
        (0.01, {}, "holds"),
    ):
        task = "sample-char" if options else "ptb-word"
        settings = {"task": task, "length": 70, "task_options": options, "data_dir": str(tmp_path)}
        run = fakes.make(tmp_path, job.make("bptt", {}, settings), name=f"{task}-{offset}")
        found = {}
        for name, value in (("TPTT", chance + offset), ("control", chance + 0.5)):
            found |= {Cell("temporal", name, seed): Measured(value, [run]) for seed in (1, 2, 3)}
        assert judged(given, found)[0].rows["temporal"] == says


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "holds: temporal"),
        ({"comparable": False, "settings": {"task": "permutation"}}, "holds on permutation: temporal"),
        ({"comparable": False, "on": "a tenth of it"}, "holds on a tenth of it: temporal"),
    ],
)
def test_a_verdict_about_something_else_says_so(changes: dict[str, Any], says: str) -> None:
    given = entry(presets={"quick": {"seeds": [1, 2, 3], **changes}})
    found = measured(100, 110, 120) | measured(130, 140, 150, entrant="control")
    assert judged(given, found)[0].sentence == f"{says} (3 against 3 seeds)"
    nothing = judged(given, measured(*NOBODY) | measured(*NOBODY, entrant="control"))
    assert nothing[0].sentence == "neither got there: temporal (3 against 3 seeds)"


def test_a_case_may_stand_for_several_of_the_papers_rows() -> None:
    rows = [["PTB", "ours", 1, 5, 137.0], ["PTB", "ours", 2, 5, 138.0], ["PTB", "theirs", "", 5, 135.0]]
    plan = {
        "measure": "perplexity",
        "cases": {"PTB B=5": {"printed": {"data": "PTB", "B": 5}}, "PTB B=7": {"printed": {"data": "PTB", "B": 7}}},
        "entrants": [
            {"name": "one", "method": "btprop", "published": "ppl", "printed": {"method": "ours", "steps": 1}},
            {"name": "theirs", "method": "bptt", "published": "ppl", "printed": {"method": "theirs"}},
            {"name": "control", "method": "bptt"},
        ],
    }
    given = entry(unit="ppl", columns=["data", "method", "steps", "B", "ppl"], rows=rows, run=plan, claims=[])
    assert given.published("PTB B=5", "one") == 137.0
    assert given.published("PTB B=5", "theirs") == 135.0
    assert given.published("PTB B=5", "control") is None
    with pytest.raises(InputError, match="PTB B=7, one stands for 0 of the paper's rows"):
        given.published("PTB B=7", "one")


def test_perplexities_agree_within_two_percent() -> None:
    rows = [["temporal", 100.0], ["adding", 100.0]]
    for value, expected in ((98.5, "agrees"), (97.5, "lower"), (101.5, "agrees"), (102.5, "higher")):
        given = entry(unit="ppl", measure="perplexity", rows=rows)
        (found,) = (s for s in summaries(given, measured(value)).values() if s.seeds)
        assert comparison.agreement(given, given.preset("quick"), found) == expected
        assert comparison.ours_text(found, "ppl") == f"{value:.2f}"
    given = entry(unit="ppl", measure="change", rows=[["temporal", -0.4], ["adding", 2.36]])
    for values, expected in (((-0.5, -0.3), "agrees"), ((-0.39, 0.1), "higher")):
        (found,) = (s for s in summaries(given, measured(*values)).values() if s.seeds)
        assert comparison.agreement(given, given.preset("quick"), found) == expected
