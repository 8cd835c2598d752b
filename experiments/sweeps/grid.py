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


def points(texts: Sequence[str], sample: int | None = None, sample_seed: int | None = None) -> list[Point]:
    """The points of a grid, or a random part of them, in the order of the grid.

    Args:
        texts: an option and its values each, see `axis`.
        sample: how many points, drawn at random (None: all).
        sample_seed: seed of that draw (None: 0).

    Raises:
        InputError: for no option, an option or a value that is named twice, a text that makes no sense, or an
            impossible number.
    """
    if not texts:
        raise InputError("a sweep needs --grid NAME=VALUE,VALUE,... for at least one option")
    if sample is not None and sample < 1:
        raise InputError(f"--sample must be at least 1, got {sample}")
    if sample_seed is not None and sample is None:
        raise InputError(f"--sample-seed {sample_seed} is the seed of a draw: give --sample, or leave it out")
    if sample_seed is not None and sample_seed < 0:
        raise InputError(f"--sample-seed must be at least 0, got {sample_seed}")
    axes = [axis(text) for text in texts]
    names = [name for name, _ in axes]
    if len(set(names)) < len(names):
        raise InputError(f"grid: {', '.join(names)}: every option once")
    every = [tuple(zip(names, values, strict=True)) for values in itertools.product(*(values for _, values in axes))]
    if sample is None or sample >= len(every):
        return every
    drawn = np.random.default_rng(sample_seed or 0).choice(len(every), sample, replace=False)
    return [every[i] for i in sorted(drawn)]


def axis(text: str) -> tuple[str, list[Any]]:
    """NAME=VALUE,VALUE,... with values as JSON or as words, or NAME=1e-6..1e-1 for the powers of ten between.

    Raises:
        InputError: if there is no name or no value, or a value is there twice.
    """
    name, sign, rest = text.partition("=")
    name = name.strip().lstrip("-").replace("-", "_")
    if not name or not sign or not rest:
        raise InputError(f"grid: cannot use {text!r}: write NAME=VALUE,VALUE,... or NAME=1e-6..1e-1")
    if ".." in rest:
        return name, _decades(text, rest)
    parts = _split(rest)
    values = [_value(name, part) for part in parts]
    kinds = [(isinstance(value, bool), value) for value in values]  # 1 equals true, and is another value
    for number, kind in enumerate(kinds):
        if kind in kinds[:number]:
            raise InputError(f"grid: {name}: {parts[number].strip()} twice")
    return name, values


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


def _value(name: str, text: str) -> Any:
    def with_names_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise InputError(f"grid: {name}: {text.strip()} has a name twice")
        return found

    try:
        return json.loads(text, object_pairs_hook=with_names_once)
    except InputError:
        raise
    except ValueError:
        return text.strip()
