"""Ends of runs that were never computed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from experiments.run.result import Result

ENDED = Result(
    run=Path("nowhere"),
    method="tptt",
    task="temporal",
    seed=1,
    solved=True,
    iterations=300,
    error=0.0,
    loss=0.1,
    metric={"error": 0.0},
    seconds=2.0,
    iterations_per_second=150.0,
    status="solved",
    kernels={},
    figure=None,
    reason="",
)
"""Solved after 300 iterations."""

UNSOLVED = replace(ENDED, solved=False, status="patience", error=0.25, iterations=1_000)
"""Gave up after 1,000."""

STOPPED = replace(UNSOLVED, status="budget", iterations=5_000)
"""Used up 5,000 iterations."""
