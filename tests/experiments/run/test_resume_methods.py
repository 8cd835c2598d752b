"""Every method of the registry goes on after a kill as if there had been none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

import algorithms
from algorithms.protocol import OptimizerName
from experiments.run import build, loop
from experiments.run.build import Parts
from experiments.run.settings import Settings
from tests.experiments.run import toy

OPTIMIZERS = get_args(OptimizerName)
CASES = [
    *((name, {}) for name in algorithms.names()),
    *(("bptt", {"optimizer": optimizer}) for optimizer in OPTIMIZERS),
    ("tptt", {"noise": 0.1, "p_g": 0.5}),
    ("tptt", {"feedback": "transpose"}),
    *(("fptt", {"form": form, "parts": 3}) for form in ("algorithm2", "equation6", "debias")),
]


class Killed(BaseException):
    """Ends a process, as far as a test in the same process can."""


def mortal(number: int) -> Any:
    """Parts whose method does not survive step `number`."""

    def assemble(settings: Settings, name: str, config: Any = None) -> Parts:
        parts, steps = build.assemble(settings, name, config), 0

        def step(*arguments: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps > number:  # one more is tried before the run begins
                raise Killed
            return parts.method.step(*arguments)

        return replace(parts, method=replace(parts.method, step=step))

    return assemble


NOISE = {
    **{f"dropout_{name}": 0.2 for name in ("embedding", "inputs", "between", "recurrent", "outputs", "latent")},
    **{"ar": 1.0, "tar": 1.0},
}
MIXTURE = {"cell": "lstm", "layers": 3, "top": 5, "embedding": 4, "readout": "mos", "experts": 2}


@pytest.mark.parametrize("kind", ["locked", "elements"])
@pytest.mark.parametrize(("name", "changes"), [("bptt", {"wd": 1e-4}), ("fptt", {"parts": 3, "wd": 1e-4, "clip": 0.5})])
def test_killed_and_resumed_with_dropout(tmp_path: Path, name: str, changes: dict[str, Any], kind: str) -> None:
    """Passes of 10 windows through a text: the kill comes in the middle of the second, where a state is carried."""
    text = {"task": "sample-char", "length": 10, "batch_size": 20, "task_options": {"characters": "2000"}}
    settings = toy.settings(tmp_path, hidden=7, max_iterations=30, dropout_kind=kind, **text, **MIXTURE, **NOISE)
    killed_and_resumed(tmp_path, settings, name, algorithms.method(name).config(**changes))


@pytest.mark.parametrize("name", ["bptt", "fptt", "btprop"])
def test_killed_and_resumed_with_a_tied_embedding(tmp_path: Path, name: str) -> None:
    text = {"task": "sample-char", "length": 10, "batch_size": 20, "task_options": {"characters": "2000"}}
    settings = toy.settings(tmp_path, hidden=7, max_iterations=30, readout="tied", **text)
    killed_and_resumed(tmp_path, settings, name, algorithms.method(name).config())


@pytest.mark.parametrize(("name", "changes"), CASES, ids=str)
def test_killed_and_resumed(tmp_path: Path, name: str, changes: dict[str, Any]) -> None:
    method = algorithms.method(name)
    config = method.config(**{**method.defaults, **changes})
    task: dict[str, Any] = {"task": "temporal", "length": 10}
    if method.blocks:  # passes of 10 batches: the kill comes in the middle of the second
        task = {"task": "sample-char", "length": 10, "batch_size": 20, "task_options": {"characters": "2000"}}
    settings = toy.settings(tmp_path, hidden=7, max_iterations=30, **task)
    killed_and_resumed(tmp_path, settings, name, config)


@pytest.mark.parametrize("name", ["bptt", "fptt"])
@pytest.mark.parametrize(("kind", "train_size"), [("class-mean", "200"), ("code", "25"), ("per-example", "100")])
def test_killed_and_resumed_on_images(tmp_path: Path, name: str, kind: Any, train_size: str) -> None:
    """Passes of 8, 1 and 4 batches, and a rate that falls after some: the kill comes when there is an estimate of the
    answers to parts; that of the released code is read from the twentieth on."""
    images = {"task": "digits-pixels", "length": None, "batch_size": 25, "task_options": {"train_size": train_size}}
    settings = toy.settings(tmp_path, hidden=7, max_iterations=30, **images)
    config = algorithms.method(name).config(parts=4, divergence=kind, lr=0.05, decay_at=(1, 3))
    killed_and_resumed(tmp_path, settings, name, config)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("bptt", {"decay_after": 0}),
        ("bptt", {"optimizer": "nt-asgd", "nonmono": 1, "rates": {"W_hh": 0.5}}),
        ("fptt", {"parts": 3, "carry": "last", "decay_at": (1,), "decay_after": 1, "pass_end": "keep-lambda"}),
    ],
    ids=str,
)
def test_killed_and_resumed_on_a_text(tmp_path: Path, name: str, changes: dict[str, Any]) -> None:
    """Passes of 10 windows with checks on the way, at a rate so large that some are worse than the one before."""
    text = {"task": "sample-char", "length": 10, "batch_size": 20, "task_options": {"characters": "2000"}}
    settings = toy.settings(tmp_path, hidden=7, max_iterations=30, validate_every=2, **text)
    killed_and_resumed(tmp_path, settings, name, algorithms.method(name).config(lr=4.0, clip=1.0, **changes))


def killed_and_resumed(tmp_path: Path, settings: Settings, name: str, config: Any) -> None:
    """A run that was killed in its 18th iteration ends like one that was not."""
    whole = loop.train(settings, name, config, loop.Quiet(), draw=False).run
    with pytest.raises(Killed):
        loop.train(settings, name, config, loop.Quiet(), assemble=mortal(18), draw=False)
    (cut,) = set(tmp_path.iterdir()) - {whole}
    loop.resume(cut, loop.Quiet(), draw=False)
    assert toy.outcome(cut) == toy.outcome(whole)
