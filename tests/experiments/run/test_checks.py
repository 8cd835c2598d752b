"""Which sequences a check looks at: fresh ones of a task without end, the same ones of a finite split."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.task import Batch
from experiments.run import checks
from experiments.run.build import Parts
from tests.experiments.run import toy


@dataclass(frozen=True)
class Numbered:
    """A finite task: image n of a split is the number n, and n % 4 its class."""

    sizes: dict[str, int]
    loss_at: str = "last"
    streams: int | None = None
    seen: list[Any] = field(default_factory=list)

    def size_of(self, split: str) -> int:
        return self.sizes[split]

    def batch(self, seed: int, split: str, index: int, size: int, dtype: str = "float32") -> Batch:
        rows = np.arange(index * size, (index + 1) * size) % self.sizes[split]
        x = np.broadcast_to(rows.astype(dtype)[None, :, None], (3, size, 1))
        return Batch(x, rows % 4 if self.loss_at == "last" else np.tile(rows % 4, (3, 1)), index=index)

    def scores(self, output: Any, y: Any) -> dict[str, float]:
        """The fraction of class 0."""
        output = output[..., 0] if self.loss_at == "last" else output[0, :, 0]
        y = y if self.loss_at == "last" else y[0]
        np.testing.assert_array_equal(output % 4, y)
        self.seen.extend(output.astype(int).tolist())
        return {"error": float(np.mean(y == 0))}


@dataclass(frozen=True)
class Echo:
    """Puts out what it is given."""

    every: bool = False

    def output(self, p: Any, x: Any) -> Any:
        return x if self.every else x[-1]


def parts_of(task: Any, validate_size: int) -> Parts:
    made = toy.assemble(toy.settings(Path(), validate_size=validate_size), "toy")
    return replace(made, task=task, model=Echo(getattr(task, "loss_at", "") == "every"))  # type: ignore[arg-type]


@pytest.mark.parametrize("loss_at", ["last", "every"])
@given(there=st.integers(1, 1500), wished=st.integers(1, 2000), number=st.integers(1, 50))
def test_every_check_of_a_finite_split_sees_the_same_sequences_once(
    loss_at: str, there: int, wished: int, number: int
) -> None:
    task = Numbered({"valid": there}, loss_at)
    score = checks.check_scores(parts_of(task, wished), {}, number)
    expected = list(range(min(there, wished)))
    assert task.seen == expected
    assert score["error"] == pytest.approx(np.mean(np.array(expected) % 4 == 0))


@given(there=st.integers(1, 1500), wished=st.integers(1, 2000))
def test_the_untrained_network_is_judged_on_the_first_of_them(there: int, wished: int) -> None:
    task = Numbered({"valid": there})
    checks.untrained_scores(parts_of(task, wished), {})
    assert task.seen == list(range(min(there, wished, checks.BATCH)))


def test_checks_of_a_task_without_end_share_no_batch() -> None:
    asked: list[tuple[int, int]] = []

    class Endless(toy.Task):
        def batch(self, seed: int, split: str, index: int, size: int, dtype: str = "float32") -> Batch:
            asked.append((index, size))
            return super().batch(seed, split, index, size, dtype)

        def scores(self, output: Any, y: Any) -> dict[str, float]:
            return {"error": 0.0}

    parts = parts_of(Endless(5), 2500)
    checks.untrained_scores(parts, {})
    for number in (1, 2):
        checks.check_scores(parts, {}, number)
    sizes = (1000, 1000, 500)
    assert asked == [(0, 1000), *zip(range(1, 4), sizes, strict=True), *zip(range(4, 7), sizes, strict=True)]


def test_nats_come_with_perplexity_and_bits() -> None:
    found = checks.with_perplexity({"nll": 2.0, "error": 0.5})
    assert list(found) == ["nll", "error", "perplexity", "bits"]
    assert found["perplexity"] == pytest.approx(math.exp(2))
    assert 2 ** found["bits"] == pytest.approx(found["perplexity"])
    assert checks.with_perplexity({"error": 0.5}) == {"error": 0.5}
    assert checks.with_perplexity({"nll": 1e9})["perplexity"] == math.inf
    assert math.isnan(checks.with_perplexity({"nll": math.nan})["perplexity"])
