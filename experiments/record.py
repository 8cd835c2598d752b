"""Dataclasses as JSON and back: what a run's config.json and result.json hold."""

from __future__ import annotations

import json
import math
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from experiments.errors import RunError
from experiments.run.settings import type_hints

T = TypeVar("T")


def dump(value: Any) -> str:
    """One line of strict JSON; a number that is not finite becomes null."""
    return json.dumps(plain(value), allow_nan=False, ensure_ascii=False)


def plain(value: Any) -> Any:
    """The value in terms that JSON knows: dataclasses and mappings as objects, paths as strings, NaN as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "__dataclass_fields__"):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if hasattr(value, "item"):  # a NumPy number
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def load(kind: type[T], values: Any, where: str, remedy: str = "restore the file") -> T:
    """The dataclass `kind` from a JSON object; a field left out takes its default.

    Args:
        kind: a dataclass whose fields are numbers, strings, paths, literals, or tuples, lists, dicts of those.
        values: what `plain` made of it.
        where: how to name the origin in an error.
        remedy: the way out that an error names.

    Raises:
        RunError: unless every entry names a field and fits its type.
    """
    if not isinstance(values, Mapping):
        raise RunError(f"{where} must be a JSON object, got {type(values).__name__}: {remedy}")
    hints = type_hints(kind)  # type: ignore[arg-type]  # a class can be a key
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    fitted = {}
    for name, value in values.items():
        if name not in names:
            raise RunError(
                f"{where} has an unknown entry {name!r}: another version of this program wrote it: use that one"
            )
        try:
            fitted[name] = _fit(hints[name], value)
        except _Misfit as error:
            raise RunError(f"{where}: {name}: {error}; {remedy}") from None
    try:
        return kind(**fitted)
    except TypeError as error:
        raise RunError(f"{where} does not fit {kind.__name__} ({error}): {remedy}") from None


class _Misfit(Exception):
    pass


def _fit(hint: Any, value: Any) -> Any:
    """The value in the type of a field."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _fit_any(args, value)
    if origin is Literal:
        if value not in args:
            raise _Misfit(f"{value!r} is none of {', '.join(map(str, args))}")
        return value
    if origin is tuple:
        _need(isinstance(value, list | tuple), value, hint)
        kinds = [args[0]] * len(value) if args[1:] == (...,) else args
        _need(len(kinds) == len(value), value, hint)
        return tuple(_fit(kind, item) for kind, item in zip(kinds, value, strict=True))
    if origin is list:
        return [_fit(args[0], item) for item in _need(isinstance(value, list), value, hint)]
    if origin is not None and issubclass(origin, Mapping):
        _need(isinstance(value, dict), value, hint)
        return {_fit(args[0], key): _fit(args[1], item) for key, item in value.items()}
    return _fit_plain(hint, value)


def _fit_any(kinds: tuple[Any, ...], value: Any) -> Any:
    for kind in kinds:
        try:
            return _fit(kind, value)
        except _Misfit:
            continue
    raise _Misfit(f"{value!r} fits none of {', '.join(_name(kind) for kind in kinds)}")


def _fit_plain(hint: Any, value: Any) -> Any:
    if isinstance(hint, type) and is_dataclass(hint):
        return load(hint, value, hint.__name__.lower())
    if hint is Path:
        return Path(_need(isinstance(value, str), value, hint))
    if hint is float:
        number = _need(isinstance(value, int | float) and not isinstance(value, bool), value, hint)
        try:
            return float(number)
        except OverflowError:
            raise _Misfit("the number is too large") from None
    if hint is int:
        return _need(isinstance(value, int) and not isinstance(value, bool), value, hint)
    if hint in (types.NoneType, None):
        return _need(value is None, value, hint)
    return _need(not isinstance(hint, type) or isinstance(value, hint), value, hint)


def _need(fits: bool, value: Any, hint: Any) -> Any:
    if not fits:
        raise _Misfit(f"{value!r} is no {_name(hint)}")
    return value


def _name(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(map(repr, get_args(hint)))
    if hint is types.NoneType:
        return "null"
    origin, names = get_origin(hint), ["..." if each is ... else _name(each) for each in get_args(hint)]
    if origin in (tuple, list):
        return f"JSON list [{', '.join(names)}]"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"JSON object {{{': '.join(names)}}}"
    return getattr(hint, "__name__", str(hint)) if origin is None else str(hint)
