"""The curves of a run, thinned to what a small picture can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from experiments import drawing

NAMES = 12
"""Curves of a picture at most; a network of many layers has more parameters than one could tell apart."""


@dataclass(frozen=True)
class Curve:
    """Numbers over iterations; a value that is not finite is NaN."""

    x: list[float]
    y: list[float]


@dataclass(frozen=True)
class Curves:
    """What is shown of a run, by name."""

    cost: dict[str, Curve] = field(default_factory=dict)
    error: dict[str, Curve] = field(default_factory=dict)
    gradients: dict[str, Curve] = field(default_factory=dict)
    radii: dict[str, Curve] = field(default_factory=dict)


def curves(lines: Sequence[Mapping[str, Any]], points: int) -> Curves:
    """The curves of a log, each of about so many points at most; none at all for no points."""
    if not points:
        return Curves()
    return Curves(
        cost=_known({"cost": _curve(lines, points, "loss")}),
        error=_below(lines, points, "scores"),
        gradients=_below(lines, points, "grad_norms"),
        radii=_below(lines, points, "spectral_radius"),
    )


def _below(lines: Sequence[Mapping[str, Any]], points: int, key: str) -> dict[str, Curve]:
    """A curve for every name below a key of the log."""
    names = drawing.names(lines, key)[:NAMES]
    return _known({str(name): _curve(lines, points, key, name) for name in names})


def _curve(lines: Sequence[Mapping[str, Any]], points: int, *keys: str) -> Curve:
    x, y = drawing.thin(*drawing.series(lines, *keys), points)
    return Curve([float(v) for v in x], [float(v) for v in y])


def _known(found: dict[str, Curve]) -> dict[str, Curve]:
    return {name: curve for name, curve in found.items() if curve.x}
