"""HTML from Python, safe by default: whatever is not Html already is text, and is escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Any

_VOID = {"br", "hr", "input", "meta", "wbr"}

_EMPTY = {"path"}
"""Elements of SVG that hold nothing."""

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Characters that a page must not hold, and those that turn the direction of the text around them."""


class Html(str):
    """Text that is HTML already."""


def text(value: Any) -> Html:
    """Anything as HTML: Html as it is, the rest as plain text."""
    if isinstance(value, Html):
        return value
    plain = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(value))
    return Html(html.escape(plain.encode("utf-8", "replace").decode("utf-8")))


def tag(_name: str, *children: Any, **attributes: Any) -> Html:
    """An element; None among the children is left out.

    Attributes are named in Python's way: a trailing underscore is dropped (`class_`), others become hyphens (`data_x`);
    True stands for an attribute without a value, None and False for none.
    """
    given = "".join(_attribute(key, value) for key, value in attributes.items() if value not in (None, False))
    if _name in _VOID:
        return Html(f"<{_name}{given}>")
    if _name in _EMPTY:
        return Html(f"<{_name}{given}/>")
    return Html(f"<{_name}{given}>{join(children)}</{_name}>")


def wide(content: Html, label: str) -> Html:
    """What may be wider than the window: it scrolls within itself, by keys too."""
    return tag("div", content, class_="scroll", tabindex="0", role="region", aria_label=label)


def _attribute(key: str, value: Any) -> str:
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{text(value)}"'


def join(parts: Iterable[Any], between: str = "") -> Html:
    """Parts one after the other."""
    return Html(text(between).join(text(part) for part in parts if part is not None))
