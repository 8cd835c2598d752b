"""Which twin of a recurrence is faster, by the nearest size that was measured.

The table `measured.json` beside this file holds ratios, time of the reference / time of the fused twin, of forward and
backward pass together, over batch sizes and hidden units. `python -m benchmarks.twins` measures them anew.
"""

from __future__ import annotations

import functools
import json
from math import log
from pathlib import Path
from typing import Any, Literal

FILE = Path(__file__).with_name("measured.json")


@functools.cache
def faster(kernel: str, dtype: str, batch: int, hidden: int) -> Literal["reference", "fused"]:
    """The faster twin for NumPy arrays on this kind of machine; `fused` for a kernel that was not measured.

    Args:
        kernel: name of the recurrence.
        dtype: float32 or float64.
        batch: rows, at least 1.
        hidden: units, at least 1.
    """
    measured = _table()["ratios"].get(f"{kernel} {dtype}")
    if not measured:
        return "fused"
    _, _, ratio = min(measured, key=lambda row: log(row[0] / batch) ** 2 + log(row[1] / hidden) ** 2)
    return "fused" if ratio >= 1 else "reference"


@functools.cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(FILE.read_text())
    return table
