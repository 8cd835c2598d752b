"""What passes through the data and checks on the way change in the updates of a method: a learning rate that falls, and
averaged parameters.

    rate  = lr / decay^n,  n the passes of `decay_at` that are done, and one more each time that the validation error
            has not become better in more than `decay_after` checks in a row
    nt-asgd: gradient descent whose parameters are averaged from the check on that is worse than the best of all but
            the last `nonmono`; checks judge the averages, training goes on from the others (minigrad.averaging)

The State of a method that has a schedule holds it as `schedule`, by the names of `fresh`.

Source: `decay_after` with 0 and 4: Kag & Saligrama 2021, released code, Penn Treebank in sequences of 300, with 2:
Wiseman et al. 2017, released code, `tol`; `decay_at`: Kag & Saligrama 2021, released code, images and Penn Treebank by
characters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isnan
from typing import Any, TypeVar

from algorithms.protocol import UpdateRule, above_zero, at_least_zero, clipped
from minigrad import averaging, optim
from minigrad.backend import Params
from minigrad.errors import InputError

Schedule = dict[str, Any]
S = TypeVar("S")


@dataclass(frozen=True, kw_only=True)
class Scheduled(UpdateRule):
    """The options of a schedule; the Config of a method that has one extends it."""

    lr: float = 0.01
    """Learning rate, >= 0."""
    decay: float | None = None
    """Number that the learning rate is divided by where it falls, >= 1 (None: 2)."""
    decay_at: tuple[int, ...] = ()
    """Passes through the data after which it falls, such as 50 75 90."""
    decay_after: int | None = None
    """Checks in a row without a better validation error, more than which let it fall, >= 0 (None: they do not)."""
    nonmono: int | None = None
    """Checks that are granted to become better before nt-asgd averages, >= 1 (None: 5)."""
    clip: float | None = None
    """Largest global norm of the gradient, with what a method adds to it, > 0 (None: no clipping)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_zero(self, "lr", "decay_after")
        above_zero(self, "nonmono", "clip")
        if self.decay is not None and not 1 <= self.decay < float("inf"):
            raise InputError(f"decay must be at least 1 and finite, got {self.decay}")
        if self.decay is not None and not self.decay_at and self.decay_after is None:
            raise InputError("decay says by how much the rate falls: say when with decay_at or decay_after")
        if self.nonmono is not None and self.optimizer != "nt-asgd":
            raise InputError("nonmono belongs to optimizer nt-asgd: leave it out")
        if any(passes < 1 for passes in self.decay_at):
            raise InputError(f"decay_at: passes are counted from 1, got {min(self.decay_at)}")

    def rate(self, schedule: Schedule) -> float:
        """The learning rate of today."""
        falls = schedule["falls"] + sum(passes <= schedule["passes"] for passes in self.decay_at)
        return self.lr / (self.decay or 2.0) ** int(falls)

    def update_rule(self, at: Schedule) -> optim.Optimizer:
        """Clipping, then the optimiser at the rate of today."""
        return clipped(self.clip, self.rule(self.rate(at)))


def fresh() -> Schedule:
    """Before the first batch: `passes` through the data that are done; `falls` of the rate after checks; the `best`
    validation error (None: there was none, or NaN alone); `worse` checks since then, or since the rate fell."""
    return {"passes": 0, "falls": 0, "best": None, "worse": 0}


def passed(schedule: Schedule) -> Schedule:
    """After a pass through the data."""
    return schedule | {"passes": schedule["passes"] + 1}


def validated(config: Scheduled, state: S, error: float) -> S:
    """The State of a method after a check that found this validation error."""
    at: Any = state
    if config.optimizer == "nt-asgd":
        at = replace(at, optimizer=averaging.nt_asgd_validated(at.optimizer, at.params, error, config.nonmono or 5))
    kept = at.schedule
    if config.decay_after is None:
        return at  # type: ignore[no-any-return]
    if not isnan(error) and (kept["best"] is None or error < kept["best"]):
        kept = kept | {"best": error, "worse": 0}
    elif kept["worse"] < config.decay_after:
        kept = kept | {"worse": kept["worse"] + 1}
    else:
        kept = kept | {"falls": kept["falls"] + 1, "worse": 0}
    return replace(at, schedule=kept)  # type: ignore[no-any-return]


def judged(config: Scheduled, state: Any) -> Params:
    """The parameters that a check judges."""
    params: Params = state.params
    return averaging.nt_asgd_weights(state.optimizer, params) if config.optimizer == "nt-asgd" else params
