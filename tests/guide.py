"""The method that docs/adding-a-method.md shows, and what the guide asks for to register it."""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

from algorithms.protocol import Method

GUIDE = Path(__file__).parent.parent / "docs" / "adding-a-method.md"


def source() -> str:
    """The file of the method."""
    return re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)[0]


@cache
def method() -> Method:
    """The method, without being registered."""
    module = ModuleType("tests.method_of_the_guide")
    sys.modules[module.__name__] = module  # dataclasses look their module up
    exec(compile(source(), str(GUIDE), "exec"), module.__dict__)
    found: Method = module.METHODS["readout"]
    return found


def follow(tree: Path) -> Path:
    """Do in a copy of the program what the guide asks for; the file of the method."""
    words = " ".join(GUIDE.read_text().split())
    (file,) = re.findall(r"Save it as `(.+?)`", words)
    ((line, table, registry),) = re.findall(r"add the line `(.+?)` to `(\w+)` in `(.+?)`", words)
    (tree / file).write_text(source())
    before = (tree / registry).read_text()
    after = before.replace(f"\n{table} = {{\n", f"\n{table} = {{\n    {line}\n")
    assert after != before, f"{registry} has no table {table}"
    (tree / registry).write_text(after)
    return tree / file


def command() -> list[str]:
    """The arguments of the command line that the guide ends with."""
    ((line),) = re.findall(r"^```sh\npython cli.py (.*?)\n```", GUIDE.read_text(), re.MULTILINE)
    return line.split()
