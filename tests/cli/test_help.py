"""--help: at once, complete, and before anything heavy is imported."""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys
import time
from pathlib import Path

import pytest

import algorithms
import cli as command_line
import minigrad
from experiments.run.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("numpy", "scipy", "numba", "matplotlib", "tyro", "rich")


@pytest.mark.parametrize("flag", ["--help", "-h", "help"])
def test_help_names_every_command_and_the_exit_codes(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main([flag]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for name in ("train", "resume", "evaluate", "trace", "check", "list", "doctor", "bench"):
        assert f"\n  {name} " in out
    for words in ("0 finished", "2 bad input", "3 diverged", "130 interrupted"):
        assert words in out


def test_help_imports_nothing_heavy_and_answers_at_once() -> None:
    code = f"import sys, cli; cli.main(['--help']); print([name for name in {HEAVY} if name in sys.modules])"
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert time.perf_counter() - start < 5  # a tenth of a second where nothing else runs


@pytest.mark.parametrize("name", command_line.COMMANDS)
def test_every_command_has_help_that_documents_its_arguments(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        command_line.main([name, "--help"])
    assert not stop.value.code
    out, err = capsys.readouterr()
    assert out.startswith(f"usage: cli.py {name}")
    assert err == ""


def test_help_comes_first_whatever_else_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        command_line.main(["evaluate", "--checkpoint", "nonsense", "--help"])
    assert not stop.value.code
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("method", algorithms.names())
def test_every_field_of_a_config_and_of_the_settings_is_a_flag_with_its_own_words(
    method: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")  # one column: a wider terminal may get two
    with pytest.raises(SystemExit):
        command_line.main(["train", method, "--help"])
    out = capsys.readouterr().out
    lines = [line.strip("│| ") for line in out.splitlines()]
    for field in (*dataclasses.fields(algorithms.method(method).config), *dataclasses.fields(Settings)):
        flag = f"--{field.name.replace('_', '-')}"
        at = next(number for number, line in enumerate(lines) if line.split(" ")[0].rstrip(",") == flag)
        words = " ".join([lines[at], *itertools.takewhile(lambda line: not line.startswith("-"), lines[at + 1 :])])
        assert "default" in words, f"{flag} has no default in its help"
        assert len(words) > len(flag) + 40, f"{flag} has no words of its own: {words}"
    assert f" {method} options " in out
    assert " settings options " in out


def test_flags_of_a_named_variant_have_its_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command_line.main(["train", "tptthx", "--help"])
    out = capsys.readouterr().out
    assert "(default: local)" in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["--version"]) == 0
    assert capsys.readouterr().out == f"minigrad-lab {minigrad.__version__}\n"
