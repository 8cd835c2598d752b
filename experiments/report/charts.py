"""Small pictures of curves as SVG, without a library: a chart with axes, and a sparkline.

Everything is drawn here; a script of the page only reads the numbers off again where the pointer is, which is why a
chart carries the ends of its axes as data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from experiments.report.html import Html, join, tag
from experiments.report.series import Curve

WIDE, HIGH = 320.0, 150.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 8.0, 8.0, 20.0
"""The chart and its margins, in units of its own."""

COLOURS = 7
"""Colours that the page defines, c0 to c6."""


@dataclass(frozen=True)
class Axis:
    """From numbers to places."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def place(self, value: float) -> float:
        """Where a number lies."""
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (self.end - self.start) * (at - low) / (high - low)

    def ticks(self, most: int) -> list[float]:
        """Round numbers in it."""
        return _log_ticks(self.low, self.high, most) if self.log else _ticks(self.low, self.high, most)


def chart(
    title: str, curves: Mapping[str, Curve], log: bool = False, level: float | None = None, names: Sequence[str] = ()
) -> Html:
    """A figure with a curve for every name.

    Args:
        title: its heading.
        curves: by name.
        log: a logarithmic axis, where the numbers span more than a factor of two.
        level: a number at which to draw a line.
        names: all names in the order of their colours, where other charts show them too.
    """
    names = names or [*curves]
    values = [v for curve in curves.values() for v in curve.y if math.isfinite(v)]
    if not values:
        nothing = tag("p", "no numbers", class_="nothing")
        return tag("figure", tag("figcaption", title), nothing, class_="chart")
    x = Axis(0, max(curve.x[-1] for curve in curves.values()) or 1.0, LEFT, WIDE - RIGHT)
    y = _vertical(values, log, level)
    drawing = tag(
        "svg",
        tag("title", f"{title} over {x.high:,.0f} iterations"),
        tag("desc", join((_told(name, curve) for name, curve in curves.items()), "; ")),
        _frame(x, y),
        _level(y, level),
        *(tag("path", class_=f"curve {_colour(names, name)}", d=_path(c, x, y)) for name, c in curves.items()),
        viewBox=f"0 0 {WIDE:g} {HIGH:g}",
        role="img",
        data_x=f"{x.low:g} {x.high:.10g} {x.start:g} {x.end:g}",
        data_y=f"{y.low:.9g} {y.high:.9g} {y.start:g} {y.end:g}{' log' if y.log else ''}",
    )
    key = tag("ul", *(_name(names, name) for name in curves), class_="key")
    return tag("figure", tag("figcaption", title, tag("span", class_="at")), drawing, key, class_="chart")


def sparkline(curve: Curve | None, points: int = 40) -> Html:
    """The shape of a curve, without numbers."""
    known = [] if curve is None else [(x, v) for x, v in zip(curve.x, curve.y, strict=True) if math.isfinite(v)]
    if len(known) < 2:
        return tag("span", "-", class_="nothing")
    step = -(-len(known) // points)
    known = [*known[:-1:step], known[-1]]
    values = [v for _, v in known]
    x, y = Axis(0, known[-1][0] or 1.0, 1, 79), _vertical(values, True, None, 19.0, 1.0)
    shown = Curve([at for at, _ in known], values)
    return tag(
        "svg", tag("path", class_="curve c0", d=_path(shown, x, y)), viewBox="0 0 80 20", class_="spark",
        aria_hidden="true",
    )  # fmt: skip


def _vertical(
    values: Sequence[float], log: bool, level: float | None, start: float = HIGH - BOTTOM, end: float = TOP
) -> Axis:
    """An axis that holds all values, with a little room."""
    low, high = min(values), max(values)
    positive = [v for v in values if v > 0]
    if log and positive and high > 2 * min(positive):
        return Axis(min(positive) / 1.1, high * 1.1, start, end, log=True)
    if level is not None:
        low, high = min(low, level), max(high, level)
    if low >= 0 and low < 0.5 * high:
        return Axis(0, high * 1.05, start, end)
    room = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    return Axis(low - room, high + room, start, end)


def _path(curve: Curve, x: Axis, y: Axis) -> str:
    """The way along a curve; it is interrupted where a number is missing or cannot be shown."""
    parts, pen, digits = [], "M", 0 if len(curve.x) < 100 else 1
    for at, value in zip(curve.x, curve.y, strict=True):
        if not math.isfinite(value) or (y.log and value <= 0):
            pen = "M"
            continue
        parts.append(f"{pen}{x.place(at):.{digits}f} {y.place(value):.1f}")
        pen = "L"
    return "".join(parts).replace(".0 ", " ").replace(".0L", "L").replace(".0M", "M")


def _frame(x: Axis, y: Axis) -> Html:
    """Lines and numbers of the axes."""
    rows = [(y.place(v), _short(v)) for v in y.ticks(4)]
    columns = [(x.place(v), _short(v)) for v in x.ticks(4)]
    lines = "".join(f"M{LEFT:g} {at:.0f}H{WIDE - RIGHT:g}" for at, _ in rows)
    return tag(
        "g",
        tag("path", class_="grid", d=lines),
        tag("path", class_="axis", d=f"M{LEFT:g} {TOP:g}V{HIGH - BOTTOM:g}H{WIDE - RIGHT:g}"),
        tag("g", *(tag("text", words, x=f"{LEFT - 5:g}", y=f"{at + 3:.0f}") for at, words in rows), class_="left"),
        tag("g", *(tag("text", words, x=f"{at:.0f}", y=f"{HIGH - 6:g}") for at, words in columns), class_="below"),
    )


def _level(y: Axis, level: float | None) -> Html | None:
    if level is None or y.log:
        return None
    return tag("path", class_="level", d=f"M{LEFT:g} {y.place(level):.1f}H{WIDE - RIGHT:g}")


def _name(names: Sequence[str], name: str) -> Html:
    """A curve's entry in the key; the script puts its value behind it."""
    return tag("li", tag("i", class_=_colour(names, name)), name.replace("/", " "), " ", tag("b"))


def _colour(names: Sequence[str], name: str) -> str:
    """Colour of a name, dashed where the colours begin again."""
    i = names.index(name)
    return f"c{i % COLOURS}" + (" again" if i >= COLOURS else "")


def _told(name: str, curve: Curve) -> str:
    """A curve in words, for those who do not see it."""
    known = [v for v in curve.y if math.isfinite(v)]
    return f"{name} from {known[0]:.3g} to {known[-1]:.3g}" if known else f"{name} without numbers"


def _ticks(low: float, high: float, most: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten."""
    least = (high - low) / most
    power = 10 ** math.floor(math.log10(least))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    """Powers of ten, or where there are fewer than two, also 2 and 5 times those."""
    decades = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    if len(decades) >= 2:
        return [10.0**n for n in decades][:: -(-len(decades) // most)]
    return list(_between(low, high))


def _between(low: float, high: float) -> Iterator[float]:
    for n in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        yield from (v for factor in (1, 2, 5) if low <= (v := factor * 10.0**n) <= high)


def _short(value: float) -> str:
    """A number that fits beside an axis."""
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return f"{value:,.6g}"
    digits, _, power = f"{value:.1e}".partition("e")
    return f"{digits.removesuffix('.0')}e{int(power)}"
