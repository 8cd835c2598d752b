"""Losses that are still on a device: to look at one is to wait for it, so they are looked at many at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from minigrad.backend import Array, numbers


@dataclass
class Pending:
    """Losses of the latest iterations, in their order."""

    latest: float = math.nan
    """The last loss that was looked at."""
    losses: list[Array] = field(default_factory=list)
    """Those that were not, each 0-d."""

    def taken(self) -> list[float]:
        """The losses that nobody has looked at yet, in one transfer."""
        found = numbers(self.losses)
        self.losses.clear()
        self.latest = found[-1] if found else self.latest
        return found


def first_bad(losses: list[float], iteration: int) -> tuple[int, float] | None:
    """Number and loss of the first iteration whose loss is not finite, where the last of them has this number."""
    first = iteration - len(losses) + 1
    return next(((number, loss) for number, loss in enumerate(losses, first) if not math.isfinite(loss)), None)
