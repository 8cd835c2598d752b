"""What a recurrence may be given: compiled code would read past the end of an array of the wrong shape."""

from __future__ import annotations

import functools

from minigrad.backend import Array
from minigrad.errors import InputError
from minigrad.kernels.activations import ACTIVATIONS
from minigrad.kernels.libraries import why_not_fused


def check(name: str, twin: str, activation: str = "linear", **arrays: tuple[Array, str]) -> None:
    """Raise unless the arrays fit together.

    Args:
        name: of the recurrence and its pass, such as `srn.forward`.
        twin: `reference` or `fused`; what arrays the fused twin takes says `minigrad.kernels.libraries`.
        activation: must be a name in ACTIVATIONS.
        arrays: name = (array, its axes as letters); one letter stands for one size throughout, a digit before a letter
            for a multiple of its size.

    Raises:
        InputError: that names the recurrence, the array and the shapes.
        TypeError: if the arrays belong to different libraries or devices.
    """
    # libraries and devices do not mix either
    obstacle = why_not_fused([array for array, _ in arrays.values()], name.partition(".")[0])
    sizes: dict[str, int] = {}
    for label, (array, letters) in arrays.items():
        axes = _axes(letters)
        fits = len(axes) == array.ndim and all(
            n % multiple == 0 and sizes.setdefault(letter, n // multiple) == n // multiple
            for (multiple, letter), n in zip(axes, array.shape, strict=True)
        )
        if not fits:
            expected = ", ".join(_expected(multiple, letter, sizes) for multiple, letter in axes)
            raise InputError(f"{name}: {label} has shape {tuple(array.shape)}, expected [{expected}]")
    if activation not in ACTIVATIONS:
        raise InputError(f"{name}: unknown activation {activation!r}: use one of {', '.join(ACTIVATIONS)}")
    if twin not in ("reference", "fused"):
        raise InputError(f"{name}: unknown twin {twin!r}: use reference or fused")
    if twin == "fused" and obstacle:
        raise InputError(f"{name}: {obstacle}; use the reference twin")


def of_states(g: Array, states: Array, letters: str) -> tuple[Array, str]:
    """For `check`: a gradient by all states, whose axes have these letters, or by the last one alone."""
    return (g[0, ...], letters[1:]) if g.shape[:1] == (1,) != states.shape[:1] else (g, letters)


@functools.cache
def _axes(letters: str) -> list[tuple[int, str]]:
    """`TB4H` -> (1, T), (1, B), (4, H)."""
    axes, multiple = [], 1
    for character in letters:
        if character.isdigit():
            multiple = int(character)
        else:
            axes.append((multiple, character))
            multiple = 1
    return axes


def _expected(multiple: int, letter: str, sizes: dict[str, int]) -> str:
    name = letter if multiple == 1 else f"{multiple}{letter}"
    return f"{name}={multiple * sizes[letter]}" if letter in sizes else name
