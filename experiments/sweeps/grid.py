"""The points of a sweep: every combination of some values of some options, or a random part of them."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minigrad.errors import InputError

Point = tuple[tuple[str, Any], ...]
"""Values of the options that vary, by name."""


def points(texts: Sequence[str], sample: int | None = None, sample_seed: int = 0) -> list[Point]:
    """The points of a grid, or a random part of them, in the order of the grid.

    Args:
        texts: an option and its values each, see `axis`.
        sample: how many points, drawn at random (None: all).
        sample_seed: seed of that draw.

    Raises:
        InputError: for no option, an option named twice, or a text that makes no sense.
    """
    if not texts:
        raise InputError("a sweep needs --grid NAME=VALUE,VALUE,... for at least one option")
    axes = [axis(text) for text in texts]
    names = [name for name, _ in axes]
    if len(set(names)) < len(names):
        raise InputError(f"grid: {', '.join(names)}: every option once")
    every = [tuple(zip(names, values, strict=True)) for values in itertools.product(*(values for _, values in axes))]
    if sample is None or sample >= len(every):
        return every
    if sample < 1:
        raise InputError(f"sample must be at least 1, got {sample}")
    drawn = np.random.default_rng(sample_seed).choice(len(every), sample, replace=False)
    return [every[i] for i in sorted(drawn)]


def axis(text: str) -> tuple[str, list[Any]]:
    """NAME=VALUE,VALUE,... with values as JSON or as words, or NAME=1e-6..1e-1 for the powers of ten between.

    Raises:
        InputError: if there is no name or no value.
    """
    name, sign, rest = text.partition("=")
    name = name.strip().lstrip("-").replace("-", "_")
    if not name or not sign or not rest:
        raise InputError(f"grid: cannot use {text!r}: write NAME=VALUE,VALUE,... or NAME=1e-6..1e-1")
    if ".." in rest:
        return name, _decades(text, rest)
    return name, [_value(part) for part in _split(rest)]


def _decades(text: str, rest: str) -> list[float]:
    """Powers of ten from one to another."""
    try:
        low, high = (math.log10(float(end)) for end in rest.split(".."))
    except ValueError:
        raise InputError(f"grid: cannot use {text!r}: write two powers of ten, such as 1e-6..1e-1") from None
    if not (low.is_integer() and high.is_integer() and low <= high):
        raise InputError(f"grid: cannot use {text!r}: the ends must be powers of ten, the smaller one first")
    return [float(f"1e{exponent}") for exponent in range(int(low), int(high) + 1)]


def _split(text: str) -> list[str]:
    """Parts between commas that stand outside of brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[{") - (character in "]}")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text.strip()
