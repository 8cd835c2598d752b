"""Language modelling as a person types it."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from algorithms.dynamic import Config
from cli import evaluate

ROOT = Path(__file__).resolve().parents[2]

Cli = Callable[..., subprocess.CompletedProcess[str]]

SMALL = ["--hidden", 8, "--max-iterations", 10, "--validate-every", 5, "--length", 6, "--batch-size", 3, "--json"]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Runs `cli.py` in an empty folder with a user's cache of its own, warnings being errors."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", str(ROOT / "cli.py"), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=os.environ, timeout=120)

    return run


def write(folder: Path, sentence: str) -> None:
    """A small text in the place of PTB's."""
    (folder / "ptb").mkdir(parents=True, exist_ok=True)
    for split in ("train", "valid", "test"):
        (folder / "ptb" / f"ptb.char.{split}.txt").write_text(20 * sentence)


def refusal(done: subprocess.CompletedProcess[str], command: str) -> str:
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    (line,) = done.stderr.splitlines()
    return line.removeprefix(f"cli.py {command}: error: ")


def test_a_text_from_training_to_its_perplexity(cli: Cli, tmp_path: Path) -> None:
    options = ["--task-options", "characters", 4000, "--cell", "gru", "--optimizer", "adam"]
    done = cli("train", "bptt", "--task", "sample-char", *options, *SMALL)
    assert done.returncode == 0, done.stderr
    entries = json.loads(done.stdout)
    assert entries["error"] == entries["metric"]["nll"]
    scores = json.loads(cli("evaluate", entries["run"], "--json", "--length", 3).stdout)
    assert scores["scores"]["perplexity"] == pytest.approx(math.exp(scores["error"]))
    assert scores["scores"]["bits"] == pytest.approx(scores["error"] / math.log(2))
    said = cli("evaluate", entries["run"]).stdout
    rows = {line.split()[0]: line for line in said.splitlines()}
    assert f"nll {scores['error']:.4g}, perplexity {scores['scores']['perplexity']:.4g}, bits " in rows["scores"]


def test_a_text_is_evaluated_while_the_network_goes_on_learning(cli: Cli) -> None:
    options = ["--task-options", "characters", 4000, "windows", "variable", "--rate-window", 6, "--epochs", 1]
    options += ["--hidden", 8, "--length", 6, "--batch-size", 3, "--json"]
    trained = cli("train", "bptt", "--task", "sample-char", *options)
    assert trained.returncode == 0, trained.stderr
    run = json.loads(trained.stdout)["run"]
    done = cli("evaluate", run, "--dynamic", "--lr", 0.001, "--statistics-batch", 20, "--size", 50, "--json")
    assert done.returncode == 0, done.stderr
    assert "pass statistics of the training text" in done.stderr
    assert "iteration 50 of 50" in done.stderr
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert (found["sequences"], found["of"], found["dynamic"]["lr"]) == (50, 80, 0.001)
    assert found["scores"]["perplexity"] == pytest.approx(math.exp(found["error"]))
    assert found["static"]["nll"] != found["error"]
    assert refusal(cli("evaluate", run, "--window", 5), "evaluate") == (
        "--window belongs to a dynamic evaluation: add --dynamic"
    )
    assert (
        refusal(cli("evaluate", run, "--dynamic", "--eps", 0), "evaluate") == "eps must be above 0 and finite, got 0.0"
    )
    said = cli("evaluate", run, "--dynamic", "--size", 50).stdout
    assert any(row.startswith("static ") and "perplexity" in row for row in said.splitlines())


def test_the_help_tells_the_defaults_of_a_dynamic_evaluation() -> None:
    flags, words = inspect.signature(evaluate).parameters, " ".join((evaluate.__doc__ or "").split())
    for field in fields(Config):
        assert flags[field.name].default is None
        assert re.search(rf" {field.name}: With dynamic: [^:]*; None: {re.escape(str(field.default))}\. ", words), field


def test_another_vocabulary_is_refused(cli: Cli, tmp_path: Path) -> None:
    write(tmp_path / "data", "the cat sat on the mat\n")
    done = cli("train", "bptt", "--task", "ptb-char", "--data-dir", "data", *SMALL)
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)["run"]
    write(tmp_path / "data", "the mat sat on the cat\n")
    (tmp_path / run / "result.json").unlink()  # as if it had been killed before its end
    for command in ("resume", "evaluate"):
        assert refusal(cli(command, run), command).startswith(
            "ptb-char: the vocabulary has changed since the run began"
        )


def test_missing_and_short_texts_are_refused(cli: Cli, tmp_path: Path) -> None:
    line = refusal(cli("train", "bptt", "--task", "wikitext-2", "--data-dir", "nowhere"), "train")
    assert line.startswith("there is no file ")
    assert f"run `python cli.py data fetch wikitext-2 --data-dir {tmp_path / 'nowhere'}`" in line
    line = refusal(cli("train", "bptt", "--task", "ptb-word", "--data-dir", "nowhere"), "train")
    assert "its licence forbids to fetch it: get the Penn Treebank from the LDC" in line
    assert f"preprocessing (folder data of his simple-examples.tgz) into {tmp_path / 'nowhere' / 'ptb'}" in line
    (tmp_path / "file").touch()
    for task in ("ptb-char", "mnist-pixels"):
        line = refusal(cli("train", "bptt", "--task", task, "--data-dir", "file"), "train")
        assert f"{tmp_path / 'file'} is no folder: name the folder of data with --data-dir" in line
    write(tmp_path / "data", "the cat sat on the mat\n")
    line = refusal(cli("train", "bptt", "--task", "ptb-char", "--length", 300, "--data-dir", "data"), "train")
    assert line.startswith("ptb/ptb.char.train.txt: train has 140 tokens, 6,001 are needed")
    assert "defined for one SRN layer" in refusal(cli("train", "--task", "sample-char"), "train")
    assert not (tmp_path / "runs").exists()


def test_a_damaged_text_is_refused(cli: Cli, tmp_path: Path) -> None:
    """As `data verify` says it; the manifest keeps what was read, and another text is not gone on with."""
    write(tmp_path / "data", "the cat sat on the mat\n")
    done = cli("train", "bptt", "--task", "ptb-char", "--data-dir", "data", *SMALL)
    assert (done.returncode, "warning" in done.stderr) == (0, False), done.stderr
    run = tmp_path / json.loads(done.stdout)["run"]
    (told,) = json.loads((run / "manifest.json").read_text())["processes"]
    content = (tmp_path / "data" / "ptb" / "ptb.char.valid.txt").read_bytes()
    assert told["data"]["ptb/ptb.char.valid.txt"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert len(told["data"]) == 3
    (tmp_path / "data" / "ptb" / "ptb.char.valid.txt").write_text(19 * "the cat sat on the mat\n")
    (run / "result.json").unlink()
    assert refusal(cli("resume", run), "resume") == (
        f"{run} was trained on other data: the checksum of ptb/ptb.char.valid.txt is not the one in manifest.json: "
        "restore the file it was trained on, or train anew"
    )
    scored = cli("evaluate", run)
    assert (scored.returncode, "warning: ptb/ptb.char.valid.txt is another file" in scored.stderr) == (0, True)

    for split in ("train", "valid", "test"):
        (tmp_path / "data" / "ptb" / f"ptb.{split}.txt").write_text("one two\n" * 90)
    line = refusal(cli("train", "bptt", "--task", "ptb-word", "--data-dir", "data", "--epochs", 1), "train")
    path = tmp_path / "data" / "ptb" / "ptb.train.txt"
    assert line == (
        f"{path} is damaged (it has 720 bytes, published are 5,101,618): put the published file there "
        f"(`python cli.py data verify ptb --data-dir {tmp_path / 'data'}` compares it)"
    )
    assert cli("data", "verify", "ptb", "--data-dir", "data").returncode == 1


def test_budgets_that_contradict_each_other_and_updates_that_never_come_are_refused(cli: Cli, tmp_path: Path) -> None:
    text = ["--task", "sample-char", "--task-options", "characters", 4000, "--length", 10]
    for other, value in (("max-iterations", 10), ("validate-every", 5)):
        line = refusal(cli("train", "bptt", *text, "--epochs", 1, f"--{other}", value), "train")
        assert line == f"--epochs 1 is in place of --{other} {value}: give one of them"
    blocks = [*text, "--batch-size", 32, "--cell", "gru", "--hidden", 4]
    line = refusal(cli("train", "btprop-batch", *blocks, "--max-iterations", 9), "train")
    assert line == (
        "9 iterations make no update: btprop-batch first moves the parameters in iteration 39, and a pass through the "
        "data takes 13: use --max-iterations 39 or more, or --epochs 3"
    )
    line = refusal(cli("train", "bptt", *blocks, "--update-freq", 0, "--max-iterations", 9), "train")
    assert line.endswith(
        "in iteration 12, and a pass through the data takes 12: use --max-iterations 12 or more, or --epochs 1"
    )
    line = refusal(cli("train", "bptt", "--update-freq", 50, "--max-iterations", 49), "train")
    assert line.endswith("bptt first moves the parameters in iteration 50: use --max-iterations 50 or more")
    line = refusal(cli("train", "bptt", "--update-freq", 0), "train")
    assert line.endswith(
        "at the end of a pass through the data, and temporal has none: use other options, or a text or images"
    )
    assert not (tmp_path / "runs").exists()
