"""Every name that the engine and the methods ask an array library for, by reading their source."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
OWN = {"einsum", "errstate", "Device"}
"""Not of the standard: `minigrad.backend` and `minigrad.ops.reduction` ask for them where a library has them."""
LOOKING = {"clip", "sign", "nonzero", "unique_all", "unique_counts", "unique_inverse", "unique_values", "repeat"}
"""Of array-api-compat on CuPy: they look at numbers, if only to see how many of a mask are true."""


def sources() -> Iterator[Path]:
    for room in ("minigrad", "algorithms"):
        for path in sorted((ROOT / room).rglob("*.py")):
            if not {"fused", "cuda"} & set(path.relative_to(ROOT).parts):  # kernels for arrays of one library
                yield path


def is_library(node: ast.expr) -> bool:
    """Whether an expression is `xp` or `get_xp(...)`."""
    called = node.func if isinstance(node, ast.Call) else None
    return (isinstance(node, ast.Name) and node.id == "xp") or (isinstance(called, ast.Name) and called.id == "get_xp")


def asked() -> dict[str, set[str]]:
    """Names asked of a library, and the keywords with which each is called."""
    found: dict[str, set[str]] = {}
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and is_library(node.value) and not node.attr.startswith("__"):
                found.setdefault(node.attr, set())
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and is_library(node.func.value):
                found.setdefault(node.func.attr, set()).update(k.arg for k in node.keywords if k.arg is not None)
    return found


def keywords(function: Any) -> set[str] | None:
    """The keywords that a function knows; None where it does not say."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_KEYWORD for p in parameters) and len(parameters) <= 2:
        return None
    return {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def test_many_names_are_found() -> None:
    found = asked()
    assert {"tanh", "zeros", "take", "matrix_transpose", "isdtype", "where", "asarray", "atanh"} <= found.keys()
    assert found["zeros"] == {"dtype", "device"}
    assert found["asarray"] == {"dtype", "device", "copy"}


def test_none_of_them_waits_for_a_gpu() -> None:
    assert not LOOKING & asked().keys()


@pytest.mark.parametrize("library", ["numpy", "array_api_strict", "array_api_compat.cupy"])
def test_every_library_has_them(library: str) -> None:
    if library.endswith("cupy"):
        pytest.importorskip("cupy", reason="CuPy is not installed", exc_type=ImportError)
    xp = importlib.import_module(library)
    missing = {name for name in asked() if not hasattr(xp, name)}
    assert missing <= OWN
    for name, given in asked().items():
        known = None if name in missing else keywords(getattr(xp, name))
        assert known is None or given <= known, f"{name} knows {known}, not {given - known}"
