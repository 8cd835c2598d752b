"""What makes two runs the same run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.parallel import job
from experiments.parallel.job import Job
from experiments.run.settings import Settings
from minigrad.errors import InputError

HINTS = get_type_hints(Settings)
BASE = job.make("tptt", {}, {})


def another(name: str) -> Any:
    """A value of a setting that is not its default."""
    hint = HINTS[name]
    if get_origin(hint) is Literal:
        return get_args(hint)[-1]
    if get_origin(hint) is Mapping:
        return {"jitter": "false"}
    kind = next((kind for kind in get_args(hint) if kind in (int, Path)), hint)
    return {int: 7, float: 0.5, str: "other", Path: Path("elsewhere")}[kind]


@given(st.sets(st.sampled_from([f.name for f in fields(Settings)])), st.none() | st.integers(0, 100))
def test_every_setting_counts_but_places_and_budget(changed: set[str], until: int | None) -> None:
    changes = {name: another(name) for name in changed}
    assert all(getattr(BASE.settings, name) != value for name, value in changes.items())
    other = replace(BASE, settings=replace(BASE.settings, **changes), until=until)
    assert (other.key == BASE.key) == (changed <= {"runs_dir", "data_dir", "max_iterations"})


@given(st.floats(1e-6, 1e-1))
def test_method_and_config_count(rate: float) -> None:
    assert job.make("tptt", {"alpha_i": rate}, {}).key != job.make("tptthx", {"alpha_i": rate}, {}).key
    assert (job.make("bptt", {"lr": rate}, {}).key == job.make("bptt", {}, {}).key) == (rate == BPTT.config.lr)


BPTT = job.make("bptt", {}, {})


def test_what_is_left_out_has_its_default_and_order_does_not_count() -> None:
    spelled = job.make("bptt", {"lr": BPTT.config.lr}, {"hidden": BPTT.settings.hidden})
    assert spelled.key == BPTT.key
    rates = [{"W_hh": 0.1, "b_h": 0.2}, {"b_h": 0.2, "W_hh": 0.1}]
    one, other = (job.make("bptt", {"rates": each}, {}) for each in rates)
    assert one.key == other.key


@pytest.mark.parametrize(
    ("method", "config", "settings", "word"),
    [
        ("tppt", {}, {}, "tptt"),
        ("tptt", {"alpha_j": 0.1}, {}, "alpha_j"),
        ("tptt", {"alpha_i": "much"}, {}, "alpha_i"),
        ("tptt", {}, {"tsk": "adding"}, "tsk"),
        ("tptt", {}, {"task": "addign"}, "adding"),
        ("tptt", {}, {"hidden": 0}, "hidden"),
        ("tptt", {}, {"task_options": {"colour": "red"}}, "colour"),
    ],
)
def test_what_does_not_fit_is_refused(method: str, config: Any, settings: Any, word: str) -> None:
    with pytest.raises(InputError, match=word) as refusal:
        job.make(method, config, settings)
    assert "\n" not in str(refusal.value)


def test_a_label_says_which_run_it_is() -> None:
    made: Job = job.make("bptt", {}, {"task": "adding", "length": 40, "seed": 7})
    assert all(word in made.label for word in ("bptt", "adding", "40", "7"))
