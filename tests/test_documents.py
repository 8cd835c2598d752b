"""What the documents show works as shown."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import algorithms
from algorithms.model import Model
from datasets.synthetic import Temporal
from minigrad.rng import stream
from tests import guide

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


def run(path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Execute a block as a module of its own."""
    module = ModuleType("shown")
    monkeypatch.setitem(sys.modules, "shown", module)  # dataclasses look their module up
    code = compile(source, str(path), "exec")
    exec(code, module.__dict__)
    return module


def test_the_quick_start_is_two_lines() -> None:
    first, *_ = blocks(ROOT / "README.md", "sh")
    lines = first.splitlines()
    assert len(lines) == 2
    assert lines[0].endswith("python cli.py train")
    assert "pytest" in lines[1]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_python_blocks_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for source in blocks(path, "python"):
        run(path, source, monkeypatch)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / link).exists(), link


def test_the_method_of_the_guide_trains_its_readout() -> None:
    method = guide.method()
    model = Model.make(input_size=6, hidden=50, output_size=4)
    config = method.config(lr=0.1, optimizer="nag")
    task = Temporal(10)
    params = model.init(stream(1, "init"), "orthogonal", "float32")
    state = method.init(config, model, params, stream(1, "method"))
    losses = []
    for i in range(200):
        batch = task.batch(1, "train", i, 20)
        state, info = method.step(config, model, state, batch, stream(1, "step", i))
        losses.append(float(info.loss))
    assert np.mean(losses[-20:]) < 0.7 * np.mean(losses[:20])
    assert method.kernels(config, model) == model.kernels
    assert state.params["W_hh"] is params["W_hh"]
    assert not np.array_equal(state.params["W_hy"], params["W_hy"])


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the program in which somebody has followed the guide."""
    tree = tmp_path_factory.mktemp("extended")
    for room in ("minigrad", "algorithms", "datasets", "experiments"):
        shutil.copytree(ROOT / room, tree / room, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("cli.py", "pyproject.toml"):
        shutil.copy(ROOT / file, tree)
    guide.follow(tree)
    return tree


def cli(tree: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A command line of another tree, without kernels, which would have to be compiled there."""
    command = [sys.executable, "-W", "error", str(tree / "cli.py"), *map(str, arguments)]
    environment = os.environ | {"MINIGRAD_KERNELS": "reference"}
    return subprocess.run(command, capture_output=True, text=True, cwd=tree, env=environment, timeout=120)


def test_who_follows_the_guide_has_a_method_more(extended: Path) -> None:
    listed = cli(extended, "list", "--json")
    assert listed.returncode == 0, listed.stderr
    methods = {each["name"]: each for each in json.loads(listed.stdout)["methods"]}
    assert set(methods) == {*algorithms.names(), "readout"}
    assert methods["readout"] == {"name": "readout", "summary": guide.method().summary, "paper": "Jaeger 2001"}

    small = ["--hidden", 8, "--validate-size", 50, "--max-iterations", 3, "--json"]
    trained = cli(extended, *guide.command(), *small)
    assert trained.returncode == 0, trained.stderr
    assert json.loads(trained.stdout)["method"] == "readout"
    refused = cli(extended, "train", "readout", "--frozen", "nope")
    assert (refused.returncode, refused.stdout) == (2, "")
    (line,) = refused.stderr.splitlines()
    assert line.startswith("cli.py train: error: frozen: there is no parameter 'nope'; there are W_xh")
    refused = cli(extended, "train", "readout", "--frozen", "W_hy", "b_y")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "nothing would be trained" in refused.stderr


@pytest.mark.skipif(find_spec("ruff") is None, reason="needs ruff")
@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=" ".join)
def test_who_follows_the_guide_has_clean_files(extended: Path, command: list[str]) -> None:
    line = [sys.executable, "-m", "ruff", *command, "--no-cache", "algorithms"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=extended)
    assert done.returncode == 0, done.stdout + done.stderr
