"""Settings that are impossible are refused in one line."""

from __future__ import annotations

import ast
import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments import settings
from experiments.settings import Settings
from minigrad.errors import InputError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"length": 0}, "length must be at least 1, got 0"),
        ({"hidden": -3}, "hidden must be at least 1"),
        ({"batch_size": 2.5}, "batch_size must be a whole number"),
        ({"layers": True}, "layers must be a whole number"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"max_iterations": 0}, "max_iterations"),
        ({"validate_every": -1}, "validate_every"),
        ({"checkpoint_every": 0}, "checkpoint_every"),
        ({"log_every": "10"}, "log_every"),
        ({"cell": "lsmt"}, "cell cannot be 'lsmt': did you mean lstm"),
        ({"dtype": "int8"}, "dtype cannot be 'int8': choose from float32, float64"),
        ({"activation": "softplus"}, "activation"),
        ({"init": None}, "init"),
    ],
)
def test_impossible_values(values: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        Settings(**values)


def test_every_field_is_documented() -> None:
    source = Path(settings.__file__).read_text()
    body = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)).body
    for here, after in itertools.pairwise(body):
        if isinstance(here, ast.AnnAssign):
            assert isinstance(after, ast.Expr), ast.unparse(here)
            assert isinstance(after.value, ast.Constant)


def test_importing_them_is_light() -> None:
    code = "import sys, experiments.settings; print([m for m in ('numpy', 'numba', 'rich') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_task_options_reach_the_task() -> None:
    from experiments.build import make_task

    plain = make_task(Settings(task="adding", length=200))
    fixed = make_task(Settings(task="adding", length=200, task_options={"jitter": "false"}))
    lengths = [fixed.batch(1, "train", i, 2).x.shape[0] for i in range(5)]
    assert lengths == [200] * 5
    assert {plain.batch(1, "train", i, 2).x.shape[0] for i in range(5)} != {200}
    with pytest.raises(InputError, match="no option jiter"):
        make_task(Settings(task="adding", task_options={"jiter": "false"}))
