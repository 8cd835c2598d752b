"""Many runs of one method in one step: seeds, learning rates, whatever else leaves the operations what they are.

    config, state = joined(configs), joined(states)                     # of R runs, each made as for itself
    state, info = step(config, model, state, joined(batches), Draws(rngs))
    states, infos = parted(state), parted(info)

A method's own code does it: what it is given are populations (`minigrad.population`), arrays of R runs that look like
those of one, and Draws in place of a generator. Runs of a population share the model, the shapes and every choice of a
config; its numbers may differ.

Legend: R runs.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minigrad import population
from minigrad.errors import InputError
from minigrad.population import Numbers, Population


class Draws:
    """Random numbers of R runs, what the generator of each would have drawn alone, as populations on the host."""

    def __init__(self, generators: Sequence[np.random.Generator]) -> None:
        self.generators = tuple(generators)

    def random(self, shape: tuple[int, ...] | None = None, dtype: Any = np.float64) -> Any:
        """Uniform in [0, 1): a population of `shape`, or Numbers."""
        if shape is None:
            return Numbers(generator.random() for generator in self.generators)
        return population.stack([generator.random(shape, dtype=dtype) for generator in self.generators])

    def normal(self, mean: float, deviation: float, shape: tuple[int, ...]) -> Population:
        """Normal numbers [*shape]; mean and deviation may be Numbers."""
        each = zip(
            self.generators, _each(mean, len(self.generators)), _each(deviation, len(self.generators)), strict=True
        )
        return population.stack([generator.normal(m, s, shape) for generator, m, s in each])


def joined(runs: Sequence[Any]) -> Any:
    """What R runs have, as that of a population: configs, states, batches, parameters.

    Arrays become populations, unequal numbers `Numbers`; everything else must be the same for all.

    Raises:
        InputError: that names what differs.
    """
    return _joined("", runs)


def parted(tree: Any, runs: int) -> list[Any]:
    """What each of R runs has of a population's state or info."""
    return [_map(functools.partial(_of, r), tree) for r in range(runs)]


def _joined(name: str, runs: Sequence[Any]) -> Any:
    first = runs[0]
    if any(type(one) is not type(first) for one in runs):
        raise InputError(f"the runs of a population differ in {name}: {_listed(runs)}")
    if dataclasses.is_dataclass(first):
        fields = {f.name: _joined(f.name, [getattr(one, f.name) for one in runs]) for f in dataclasses.fields(first)}
        whole = object.__new__(type(first))  # each was validated by itself
        for field, value in fields.items():
            object.__setattr__(whole, field, value)
        return whole
    if isinstance(first, dict):
        if any(one.keys() != first.keys() for one in runs):
            raise InputError(f"the runs of a population differ in the names of {name}")
        return {key: _joined(key, [one[key] for one in runs]) for key in first}
    if isinstance(first, tuple | list) and all(len(one) == len(first) for one in runs):
        return type(first)(_joined(name, parts) for parts in zip(*runs, strict=True))
    if hasattr(first, "dtype"):
        return population.stack(runs)
    if all(one == first for one in runs):
        return first
    if isinstance(first, float):
        return Numbers(runs)
    raise InputError(f"the runs of a population differ in {name}: {_listed(runs)}")


def _map(function: Callable[[Any], Any], tree: Any) -> Any:
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        whole = object.__new__(type(tree))
        for field in dataclasses.fields(tree):
            object.__setattr__(whole, field.name, _map(function, getattr(tree, field.name)))
        return whole
    if isinstance(tree, dict):
        return {key: _map(function, leaf) for key, leaf in tree.items()}
    if isinstance(tree, tuple | list):
        return type(tree)(_map(function, leaf) for leaf in tree)
    return function(tree)


def _of(run: int, leaf: Any) -> Any:
    if population.is_population(leaf):
        return leaf.data[run, ...]
    return leaf.values[run] if type(leaf) is Numbers else leaf


def _each(number: float, runs: int) -> tuple[float, ...]:
    return number.values if type(number) is Numbers else (number,) * runs


def _listed(runs: Sequence[Any]) -> str:
    return ", ".join(sorted({repr(one) for one in runs}))
