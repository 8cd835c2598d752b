"""Settings that are impossible are refused in one line."""

from __future__ import annotations

import ast
import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments.run import settings
from experiments.run.settings import Settings
from minigrad.errors import InputError

ROOT = Path(__file__).parents[3]


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
        ({"cell": "lsmt"}, "cell: unknown value 'lsmt', did you mean lstm"),
        ({"dtype": "int8"}, r"dtype: unknown value 'int8' \(there are: float32, float64"),
        ({"activation": "softplus"}, "activation"),
        ({"init": None}, "init"),
        ({"top": 0}, "top must be at least 1"),
        ({"embedding": 2.5}, "embedding must be a whole number"),
        ({"readout": "tide"}, "readout: unknown value 'tide', did you mean tied"),
        ({"dropout_kind": "elemnts"}, "did you mean elements"),
        ({"dropout_latent": "half"}, "dropout_latent must be a number, got 'half'"),
        ({"ar": "much"}, "ar must be a number, got 'much'"),
    ],
)
def test_impossible_values(values: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        Settings(**values)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"dropout_between": 1.0}, r"dropout_between must lie in \[0, 1\), got 1.0"),
        ({"dropout_logits": float("nan")}, "dropout_logits must lie in"),
        ({"ar": -1.0}, "ar must be at least 0 and finite, got -1.0"),
        ({"tar": float("inf")}, "tar must be at least 0 and finite"),
    ],
)
def test_impossible_noise_is_refused_before_data_are_looked_for(
    tmp_path: Path, values: dict[str, Any], match: str
) -> None:
    from experiments.run.build import planned

    with pytest.raises(InputError, match=match):
        planned(Settings(task="ptb-word", data_dir=tmp_path, epochs=1, **values), "bptt")


def test_every_field_is_documented() -> None:
    source = Path(settings.__file__).read_text()
    body = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)).body
    for here, after in itertools.pairwise(body):
        if isinstance(here, ast.AnnAssign):
            assert isinstance(after, ast.Expr), ast.unparse(here)
            assert isinstance(after.value, ast.Constant)


def test_importing_them_is_light() -> None:
    code = "import sys, experiments.run.settings; print([m for m in ('numpy', 'numba', 'rich') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_noise_is_what_is_not_zero() -> None:
    assert Settings().noise == {}
    assert Settings(dropout_kind="elements", dropout_inputs=0.5, tar=1).noise == {"dropout_inputs": 0.5, "tar": 1}


def test_every_setting_of_the_network_reaches_the_model() -> None:
    from algorithms.dropout import Dropout
    from algorithms.model import Model
    from experiments.run.build import assemble

    rates = {name: 0.05 * i for i, name in enumerate(Dropout().rates(), 1) if name != "logits"}
    sizes: dict[str, Any] = {"cell": "lstm", "hidden": 6, "layers": 2, "top": 5, "embedding": 4, "ar": 2.0, "tar": 1.0}
    mixture: dict[str, Any] = {"readout": "mos", "experts": 3}
    noise = {f"dropout_{name}": rate for name, rate in rates.items()} | {"dropout_kind": "elements"}
    text: dict[str, Any] = {"task": "sample-char", "task_options": {"characters": "2000"}}
    made = assemble(Settings(**text, **sizes, **mixture, **noise), "bptt").model
    more = {"input_size": 9, "output_size": 9, "loss_at": "every", "tokens": True}
    assert made == Model.make(**sizes, **mixture, **more, dropout=Dropout(kind="elements", **rates))  # type: ignore[arg-type]
    images = Settings(task="digits-pixels", hidden=6, readout="two-linear", readout_width=7, dropout_logits=0.05)
    made, dropout = assemble(images, "fptt").model, Dropout(logits=0.05)
    more = {"input_size": 1, "output_size": 10, "readout": "two-linear"}
    assert made == Model.make(hidden=6, readout_width=7, dropout=dropout, **more)  # type: ignore[arg-type]


def test_task_options_reach_the_task() -> None:
    from experiments.run.build import make_task

    plain = make_task(Settings(task="adding", length=200))
    fixed = make_task(Settings(task="adding", length=200, task_options={"jitter": "false"}))
    lengths = [fixed.batch(1, "train", i, 2).x.shape[0] for i in range(5)]
    assert lengths == [200] * 5
    assert {plain.batch(1, "train", i, 2).x.shape[0] for i in range(5)} != {200}
    with pytest.raises(InputError, match="unknown option of task adding 'jiter'"):
        make_task(Settings(task="adding", task_options={"jiter": "false"}))
