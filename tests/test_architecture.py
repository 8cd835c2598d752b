"""The rooms and their arrows, nothing back: minigrad <- datasets, algorithms <- experiments <- benchmarks <- cli.py."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "minigrad": {"minigrad"},
    "datasets": {"datasets", "minigrad"},
    "algorithms": {"algorithms", "minigrad"},
    "experiments": {"experiments", "algorithms", "datasets", "minigrad"},
    "benchmarks": {"benchmarks", "experiments", "algorithms", "datasets", "minigrad"},
    "cli.py": {"benchmarks", "experiments", "algorithms", "datasets", "minigrad"},
}
OUTSIDE = {"minigrad": {"numpy", "scipy", "numba", "llvmlite", "cupy", "array_api_compat"}, "algorithms": {"numpy"}}
ROOMS = {name.removesuffix(".py") for name in ALLOWED} | {"tests"}


def imports(path: Path) -> set[str]:
    """The top-level packages that a file imports, wherever in the file it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def sources(room: str) -> list[Path]:
    return [ROOT / room] if room.endswith(".py") else sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", ALLOWED)
def test_arrows_point_one_way(room: str) -> None:
    files = sources(room)
    assert files
    for path in files:
        back = (imports(path) & ROOMS) - ALLOWED[room]
        assert not back, f"{path.relative_to(ROOT)} imports {', '.join(back)}"


def imported_modules(path: Path, modules: dict[str, Path]) -> set[str]:
    """The modules that a file imports, wherever in the file it does, but for the names of types alone."""
    found: set[str] = set()

    def look(node: ast.AST) -> None:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found.update(name if name in modules else node.module for name in names)
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        for child in ast.iter_child_nodes(node):
            look(child)

    look(ast.parse(path.read_text()))
    return found & modules.keys()


def test_no_module_needs_one_that_needs_it() -> None:
    """In the engine, arrays of a population and their library do, and kernels and their compiled twins."""
    files = [path for room in ALLOWED if room not in ("minigrad", "cli.py") for path in sources(room)]
    names = (".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files)
    modules = dict(zip(names, files, strict=True))
    graph = {name: imported_modules(path, modules) for name, path in modules.items()}
    assert sum(map(len, graph.values())) > len(files)  # it does see them
    tuple(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("room", OUTSIDE)
def test_the_inner_rooms_need_few_libraries(room: str) -> None:
    import sys

    for path in sources(room):
        others = imports(path) - OUTSIDE[room] - ALLOWED[room] - set(sys.stdlib_module_names)
        assert not others, f"{path.relative_to(ROOT)} imports {', '.join(others)}"


def test_nothing_is_pickled_or_evaluated() -> None:
    """No pickle, no eval, no exec, no allow_pickle=True anywhere."""
    for path in [p for room in ALLOWED for p in sources(room)]:
        text = path.read_text()
        assert "pickle" not in imports(path)
        assert "allow_pickle=True" not in text
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec"), f"{path.relative_to(ROOT)}:{node.lineno}"


def test_importing_the_engine_compiles_nothing_and_needs_no_numba() -> None:
    import subprocess
    import sys

    code = "import sys, minigrad.ops, minigrad.cells, algorithms.tptt; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
