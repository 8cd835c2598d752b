"""Options that would do nothing, refused where a person gives them.

Runs that exist, and tables of the papers, may hold them: what they compute is the same, and goes on as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

from experiments.run.settings import type_hints
from minigrad.errors import InputError

USED_BY = {
    "momentum": ("momentum", "nag"),
    "adagrad_eps": ("adagrad",),
    "adam_betas": ("adam",),
    "adam_eps": ("adam",),
}
"""Options of single update rules, and the rules that use them."""


def require_used(config: Any) -> None:
    """Refuse an option of an update rule that is not the one in use, as far as it is not the default.

    Args:
        config: the Config of a method.

    Raises:
        InputError: naming the option, and the rules that would use it.
    """
    from algorithms.protocol import UpdateRule

    if not isinstance(config, UpdateRule):
        return
    hints = type_hints(type(config))  # type: ignore[arg-type]  # a class can be a key
    rules = {name: getattr(config, name) for name in ("optimizer", "h_optimizer") if name in hints}
    for name, users in USED_BY.items():
        value = getattr(config, name)
        if value == getattr(type(config), name) or any(rule in users for rule in rules.values()):
            continue
        known = [
            f"--{rule.replace('_', '-')} {user}" for rule in rules for user in users if user in get_args(hints[rule])
        ]
        flag, words = f"--{name.replace('_', '-')}", " ".join(map(str, value if isinstance(value, tuple) else [value]))
        ways = "leave it out" + (f", or use {' or '.join(known)}" if known else "")
        raise InputError(f"{flag} {words} does nothing with --optimizer {config.optimizer}: {ways}")


def require_trained(names: Iterable[str], config: Any) -> None:
    """Refuse to freeze all that a method trains.

    Args:
        names: of the parameters.
        config: the Config of a method.

    Raises:
        InputError: naming them.
    """
    frozen = getattr(config, "frozen", ())
    learns = getattr(config, "learns", lambda name: name not in frozen)  # a method may train less than there is
    if frozen and not any(map(learns, names)):
        raise InputError(f"--frozen {' '.join(frozen)}: nothing would be trained, leave one of them out")
