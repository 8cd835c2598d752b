"""When a run ends: the protocol of the TPTT experiments as a pure function of what was counted and measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from experiments.run.checks import first_score

Status = Literal["running", "solved", "budget", "patience", "spectral_radius", "diverged", "interrupted"]

LARGEST_RADIUS = 20.0
"""A run whose W_hh or V_hh has a larger spectral radius is given up."""


@dataclass(frozen=True)
class Counters:
    """What the loop carries from one iteration to the next besides the method's State."""

    iteration: int = 0
    """Iterations done."""
    scores: dict[str, float] | None = None
    """Scores of the last check, before the first one those of the untrained network."""
    best_error: float = math.inf
    """Lowest error so far."""
    best_iteration: int = 0
    """The iteration that reached it."""
    patience: int = 1
    """Checks left without a new best error."""
    loss_sum: float = 0.0
    """Sum of the losses since the last line of the log."""
    loss_count: int = 0
    """Number of those losses."""
    loss: float | None = None
    """Mean loss of the last line of the log."""
    status: Status = "running"
    """`running`, or how it ended."""
    reason: str = ""
    """Why it ended."""

    @property
    def error(self) -> float:
        """First score of the last check."""
        return first_score(self.scores) if self.scores else math.nan

    @property
    def is_best(self) -> bool:
        """Whether the last iteration reached the lowest error so far."""
        return self.iteration > 0 and self.best_iteration == self.iteration

    def end(self, status: Status, reason: str) -> Counters:
        """The same, ended."""
        return replace(self, status=status, reason=reason)

    def after(self, iterations: int, losses: Sequence[float]) -> Counters:
        """So many iterations more, and losses that have become known, of these iterations or of earlier ones."""
        total = self.loss_sum
        for loss in losses:
            total += loss
        count = self.loss_count + len(losses)
        return replace(self, iteration=self.iteration + iterations, loss_sum=total, loss_count=count)

    def logged(self) -> Counters:
        """Mean loss taken, and a new mean begun."""
        return replace(self, loss=self.loss_sum / self.loss_count, loss_sum=0.0, loss_count=0)


def start(untrained: dict[str, float], patience: int) -> Counters:
    """Counters before the first iteration: the first check has to beat the untrained network."""
    return Counters(scores=untrained, best_error=first_score(untrained), patience=patience)


def after_check(
    counters: Counters,
    scores: dict[str, float],
    radii: Mapping[str, float],
    *,
    solved_below: float,
    patience: int,
) -> Counters:
    """What follows from a check whose cost and parameters are finite.

    The patience loses 1 at each check and is full again when the error beats the best so far.

    Args:
        counters: after the iteration.
        scores: of the check.
        radii: spectral radius of each recurrent matrix.
        solved_below: the task counts as solved when the first score is below this.
        patience: checks in a row without a new best error after which the run gives up.
    """
    error = first_score(scores)
    counters = replace(counters, scores=scores, patience=counters.patience - 1)
    if error < counters.best_error:
        counters = replace(counters, best_error=error, best_iteration=counters.iteration, patience=patience)
    if error < solved_below:
        return counters.end("solved", f"error {error:g} is below {solved_below:g}")
    for name, radius in radii.items():
        if radius > LARGEST_RADIUS:
            return counters.end(
                "spectral_radius", f"spectral radius of {name} is {radius:.3g}, above {LARGEST_RADIUS:g}"
            )
    if counters.patience <= 0:
        return counters.end("patience", f"no error below {counters.best_error:g} in {patience} checks")
    return counters
