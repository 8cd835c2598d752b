"""A figure of matplotlib's as a part of a page: no ids or rules that reach beyond it, colours of the page."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from experiments import drawing
from experiments.report.html import Html

_NAMES = {"#ffffff": "none", drawing.INK: "--ink", drawing.MUTED: "--muted", drawing.FAINT: "--faint"}
_NAMES |= {drawing.GRID: "--line"} | {colour: f"--c{i}" for i, colour in enumerate(drawing.COLOURS)}
_COLOURS = {old.lower(): new if new == "none" else f"var({new}, {old})" for old, new in _NAMES.items()}
"""Colours of drawings, and what the page calls them: on a dark page they are others."""

_LINK = "{http://www.w3.org/1999/xlink}href"


def inline(svg: bytes, name: str, title: str) -> Html:
    """The SVG for the middle of a page.

    Args:
        svg: what matplotlib wrote.
        name: what its ids are to begin with; no two figures of a page share one.
        title: what it shows, for those who do not see it.
    """
    root = ElementTree.fromstring(svg)
    used = set(re.findall(rb'(?:url\(|href=")#([\w.-]+)', svg))
    for element in root.iter():
        for child in [child for child in element if child.tag.rpartition("}")[2] in ("metadata", "style")]:
            element.remove(child)
        element.tag = element.tag.rpartition("}")[2]
        element.text = None if element.text and not element.text.strip() else element.text
        element.tail = None if element.tail and not element.tail.strip() else element.tail
        _attributes(element, name, {found.decode() for found in used})
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    root.attrib |= {"role": "img", "class": "drawing", "style": "stroke-linejoin:round;stroke-linecap:butt"}
    head = ElementTree.Element("title")
    head.text = title
    root.insert(0, head)
    return Html(ElementTree.tostring(root, encoding="unicode"))


def _attributes(element: ElementTree.Element, name: str, used: set[str]) -> None:
    """Shorter numbers, colours of the page, ids of this figure alone."""
    given = dict(element.attrib)
    element.attrib.clear()
    for key, value in given.items():
        if key == "id":
            if value in used:
                element.set("id", f"{name}-{value}")
        elif key == _LINK:
            element.set("href", f"#{name}-{value[1:]}" if value.startswith("#") else value)
        else:
            element.set(key, _value(key, value, name))


def _value(key: str, value: str, name: str) -> str:
    if key in ("clip-path", "mask"):
        return value.replace("url(#", f"url(#{name}-")
    if key == "style":
        value = re.sub(r"font-family:[^;]*;? ?", "", value)
        value = re.sub(r"#[0-9a-fA-F]{6}", lambda found: _COLOURS.get(found[0].lower(), found[0]), value)
        return value.replace("; ", ";").replace(": ", ":")
    value = re.sub(r"-?\d+\.\d{2,}", lambda found: f"{float(found[0]):.1f}".removesuffix(".0"), value)
    return re.sub(r"\s+", " ", value).strip()
