"""What the documents show works as shown."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from algorithms.model import Model
from datasets.synthetic import Temporal
from minigrad.rng import stream

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


def test_the_method_of_the_guide_trains_its_readout(monkeypatch: pytest.MonkeyPatch) -> None:
    path = ROOT / "docs" / "adding-a-method.md"
    method = run(path, blocks(path, "python")[0], monkeypatch).METHODS["readout"]
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
