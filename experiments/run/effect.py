"""Options that would do nothing: those of another update rule, and to freeze all that is trained."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, get_args

from experiments.run.settings import type_hints
from minigrad.errors import InputError

if TYPE_CHECKING:
    from algorithms.protocol import Method

USED_BY = {
    "momentum": ("momentum", "nag"),
    "adagrad_eps": ("adagrad",),
    "adam_betas": ("adam",),
    "adam_eps": ("adam",),
}
"""Options of single update rules, and the rules that use them."""


def require_used(method: Method, config: Any) -> None:
    """Refuse an option of an update rule that is not the one in use, as far as it is not the default.

    It is for what a person gives: runs that exist, and tables of the papers, may hold such options.

    Args:
        method: the method.
        config: its Config.

    Raises:
        InputError: naming the option, and the rules that would use it.
    """
    from algorithms.protocol import UpdateRule

    if not isinstance(config, UpdateRule):
        return
    hints = type_hints(type(config))  # type: ignore[arg-type]  # a class can be a key
    rules = {name: getattr(config, name) for name in ("optimizer", "h_optimizer") if name in hints}
    usual = method.config(**method.defaults)
    for name, users in USED_BY.items():
        value = getattr(config, name)
        if value == getattr(usual, name) or any(rule in users for rule in rules.values()):
            continue
        known = [
            f"--{rule.replace('_', '-')} {user}" for rule in rules for user in users if user in get_args(hints[rule])
        ]
        flag, words = f"--{name.replace('_', '-')}", " ".join(map(str, value if isinstance(value, tuple) else [value]))
        ways = "leave it out" + (f", or use {' or '.join(known)}" if known else "")
        raise InputError(f"{flag} {words} does nothing with --optimizer {config.optimizer}: {ways}")


def require_trained(method: Method, config: Any, names: Iterable[str]) -> None:
    """Refuse to freeze all that a method trains.

    Args:
        method: the method.
        config: its Config.
        names: of the parameters.

    Raises:
        InputError: naming what is frozen.
    """
    frozen = getattr(config, "frozen", ())
    if frozen and not any(method.trains(config, name) for name in names):
        raise InputError(f"--frozen {' '.join(frozen)}: nothing would be trained, leave one of them out")
