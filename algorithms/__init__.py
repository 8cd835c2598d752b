"""The training methods, one a file, and the registry that finds them by name.

Adding a method is a file with `Config`, `State`, `init`, `step` and `METHODS`, and its names in the table below.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from minigrad.errors import InputError

if TYPE_CHECKING:
    from algorithms.protocol import Method

SUMMARIES: dict[str, str] = {
    "bptt": "backpropagation through time: the gradient of the loss, over the whole sequence or carried windows",
    "btprop": "block target propagation, TPROP with blocks of one step: penalty method, ADMM, augmented Lagrangian "
    "(Wiseman et al. 2017)",
    "btprop-batch": "BTPROP with free states and duals of the whole text that live on, one update an epoch",
    "fptt": "forward propagation through time (Kag & Saligrama 2021): an update after each part of a sequence",
    "tptt": "target propagation through time (Manchev & Spratling 2020), W_xh by backpropagation",
    "tptthx": "TPTT with the local rule for W_xh too (the paper's appendix A): no gradient passes through time",
}
"""Every method and what it does, readable without importing one."""

_HOMES = {
    "bptt": "bptt",
    "btprop": "btprop",
    "btprop-batch": "btprop_batch",
    "fptt": "fptt",
    "tptt": "tptt",
    "tptthx": "tptt",
}


def names() -> list[str]:
    """The names of all methods."""
    return list(SUMMARIES)


def method(name: str) -> Method:
    """The method of a name.

    Raises:
        InputError: for an unknown name, with the nearest ones.
    """
    if name not in _HOMES:
        from difflib import get_close_matches

        near = get_close_matches(name, names(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"methods: {', '.join(names())}"
        raise InputError(f"unknown method {name!r}: {hint}")
    found: Method = import_module(f"algorithms.{_HOMES[name]}").METHODS[name]
    return found
