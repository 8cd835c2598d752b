"""Settings and Configs as JSON, and back."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from experiments import record
from experiments.errors import RunError
from experiments.run.settings import Settings
from tests.experiments.run import toy


@dataclass(frozen=True)
class Example:
    """A field of every kind."""

    count: int = 1
    rate: float = 0.5
    word: Literal["a", "b"] = "a"
    maybe: float | None = None
    folder: Path | None = None
    names: tuple[str, ...] = ()
    pair: tuple[int, float] = (1, 2.0)
    listed: list[int] | None = None
    rates: dict[str, float] | None = None
    anything: Any = None
    switch: bool = False


EXAMPLE = Example(2, 1e-17, "b", 0.1, Path("x/y"), ("W_hh",), (3, 0.25), [1, 2], {"W": 0.1}, [1], True)


@pytest.mark.parametrize("value", [Example(), EXAMPLE])
def test_a_dataclass_comes_back(value: Example) -> None:
    assert record.load(Example, json.loads(record.dump(value)), "it") == value


def test_settings_and_config_come_back(tmp_path: Path) -> None:
    for value in (toy.settings(tmp_path, data_dir=Path("d")), toy.Config(clip=1.0, rates={"W_hh": 0.5})):
        again = record.load(type(value), json.loads(record.dump(value)), "it")
        assert again == value
        assert {field.name for field in fields(value)} == set(record.plain(value))


def test_a_field_left_out_takes_its_default() -> None:
    assert record.load(Settings, {"seed": 5}, "it") == Settings(seed=5)


def test_whole_numbers_do_for_floats() -> None:
    rate = record.load(Example, {"rate": 1}, "it").rate
    assert isinstance(rate, float)


@pytest.mark.parametrize(
    "values",
    [
        {"count": "1"}, {"count": 1.5}, {"count": True}, {"count": None}, {"rate": "x"}, {"rate": False}, {"word": "c"},
        {"maybe": "x"}, {"folder": 3}, {"names": "W_hh"}, {"names": [1]}, {"pair": [1]}, {"listed": {}}, {"rates": []},
        {"rates": {"W": "x"}}, {"switch": 1},
    ],
)  # fmt: skip
def test_values_that_do_not_fit(values: dict[str, Any]) -> None:
    with pytest.raises(RunError, match=f"^it: {next(iter(values))}: .*; restore the file$"):
        record.load(Example, values, "it")


def test_unknown_entries_and_other_things() -> None:
    with pytest.raises(RunError, match="unknown entry 'news'"):
        record.load(Example, {"news": 1}, "it")
    with pytest.raises(RunError, match="must be a JSON object"):
        record.load(Example, [], "it")


def test_numbers_that_are_not_finite_become_null() -> None:
    line = record.dump({"a": float("nan"), "b": [np.float32("inf"), np.int64(3)], "c": {"d": -float("inf")}})
    assert line == '{"a": null, "b": [null, 3], "c": {"d": null}}'
