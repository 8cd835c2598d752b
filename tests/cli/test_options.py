"""From arguments to calls, and from whatever is wrong with them to one line."""

from __future__ import annotations

import builtins
import errno
import io
import os
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

import algorithms
import cli as command_line
from experiments import exits, options
from minigrad.errors import InputError, unknown

ROOT = Path(__file__).resolve().parents[2]


def toy(
    run: Path,
    /,
    *,
    pair: tuple[float, float] = (0.5, 1.0),
    names: tuple[str, ...] = (),
    kind: Literal["sum", "mean"] = "mean",
    limit: int | None = None,
    dry_run: bool = False,
    hard: float = 0.0,
) -> int:
    """Do nothing.

    Args:
        run: Where.
    """
    if hard < 0:
        raise ValueError("a mistake inside the command")
    calls.append((run, pair, names, kind, limit, dry_run))
    return 7


calls: list[Any] = []


def call(*arguments: str) -> Any:
    """What the toy command was called with."""
    calls.clear()
    assert options.bind(toy, "toy", arguments)() == 7
    return calls[0]


def test_positional_and_flags() -> None:
    assert call("here") == (Path("here"), (0.5, 1.0), (), "mean", None, False)
    assert call("here", "--pair", "1", "2e-3", "--names", "a", "b", "--kind", "sum", "--limit", "3", "--dry-run") == (
        Path("here"),
        (1.0, 0.002),
        ("a", "b"),
        "sum",
        3,
        True,
    )


def test_spellings() -> None:
    assert call("--no-dry-run", "--limit=None", "--names", "--", "here")[4:] == (None, False)
    assert call("--dry_run", "here")[5] is True


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("", "missing RUN"),
        ("here --lmit 3", "unknown option --lmit, did you mean --limit? (see: python cli.py toy --help)"),
        ("here --xyz=3", "unknown option --xyz (see: python cli.py toy --help)"),
        ("here there", "unexpected argument 'there' (see: python cli.py toy --help)"),
        ("here --kind meen", "--kind: unknown value 'meen', did you mean mean? (there are: sum, mean)"),
        ("here --kind 7", "--kind: unknown value '7' (there are: sum, mean)"),
        ("here --hard", "--hard needs a value"),
        ("here --pair 1", "--pair needs 2 values"),
        ("here --pair 1 x", "--pair: cannot use '1', 'x'"),
        ("here --limit x", "--limit: expected a whole number or None, got 'x'"),
        ("here --hard abc", "--hard: expected a number, got 'abc'"),
        ("here --names a b --names c", "--names is there twice: give all its values after one"),
        ("here --names=a --dry-run --names b", "--names is there twice: give all its values after one"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments: str, line: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError) as error:
        options.bind(toy, "toy", arguments.split())
    assert str(error.value) == line
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("fptt --beta 2", "--beta and --rho must be at most 1, got 2.0 and 0.0"),
        ("bptt --update-freq 2 --rate-window 5", "--rate-window is the rate of one window: leave --update-freq at 1"),
        ("bptt --task-options windows", "--task-options: expected pairs, a name and its value each: NAME VALUE NAME"),
    ],
)
def test_all_options_that_a_message_names_are_flags(arguments: str, line: str) -> None:
    with pytest.raises(InputError) as error:
        options.bind(command_line.train, "train", arguments.split())
    assert str(error.value).startswith(line)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["", "--dry-run"], "an argument is empty"),
        (["--dry-run", "--", ""], "an argument is empty"),
        (["here", "--names", "a", " "], "--names needs a value, got an empty one"),
        (["here", "--limit="], "--limit needs a value, got an empty one"),
    ],
)
def test_an_empty_word_is_no_value(arguments: list[str], line: str) -> None:
    """A variable of a shell that is not set: as a path it would be the current folder."""
    with pytest.raises(InputError) as error:
        options.bind(toy, "toy", arguments)
    assert str(error.value) == line


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("--rates W_hh 1e-4 W_hh 1e-5", "--rates: W_hh is there twice, give it one value"),
        ("--rates=W_hh 1e-4 W_hh 1e-5", "--rates: W_hh is there twice, give it one value"),
        (
            "--task-options jitter true t2 paper jitter false",
            "--task-options: jitter is there twice, give it one value",
        ),
        ("--rates W_hh 1e-4 --lr 1 --rates b_h 1e-4", "--rates is there twice: give all its values after one"),
    ],
)
def test_no_pair_is_dropped(arguments: str, line: str) -> None:
    with pytest.raises(InputError) as error:
        options.bind(command_line.train, "train", ["bptt", *arguments.split()])
    assert str(error.value) == line


def test_an_option_of_one_word_may_be_given_again() -> None:
    """That is how one overrides what a script gives."""
    assert call("here", "--limit", "1", "--limit", "2", "--pair", "1", "2", "--pair", "3", "4")[1:5:3] == (
        (3.0, 4.0),
        2,
    )


def test_a_name_that_does_not_exist_is_met_with_what_is_close() -> None:
    assert unknown("method", "TPTT", ["tptt"]) == "unknown method 'TPTT', did you mean tptt? (there are: tptt)"
    assert unknown("option", "--lr", ["--lr"]) == "unknown option '--lr' (there are: --lr)"  # it is no way out
    assert unknown("option", 7, []) == "unknown option 7 (there are: none)"


def test_names_with_commas_are_told_apart() -> None:
    assert unknown("row", "x", ["a, b", "c"]) == "unknown row 'x' (there are: 'a, b', 'c')"


def test_words_on_options_are_wrapped_as_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options.bind(command_line.train, "train", ["btprop", "--help"])
    said = " ".join(re.sub(r"[│]", " ", capsys.readouterr().out).split())
    assert "what each block predicts from a zero state, and zero for the last (released code, flag mb_init)" in said
    lines = [words for words in options_help().values() if "\n" in words]
    assert lines == []


def options_help() -> dict[str, str]:
    """What tyro knows of the fields of a Config."""
    from tyro._docstrings import parse_docstring_from_object

    return parse_docstring_from_object(algorithms.method("btprop").config)


def test_a_long_value_is_not_broken_into_words() -> None:
    value = "/a/long/path" * 40
    with pytest.raises(InputError, match=rf"^--limit: .*{value}"):
        options.bind(toy, "toy", ["here", "--limit", value])


def test_the_width_of_the_terminal_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    for columns in (None, "77"):
        monkeypatch.delenv("COLUMNS", raising=False)
        if columns:
            monkeypatch.setenv("COLUMNS", columns)
        with pytest.raises(InputError):
            options.bind(toy, "toy", [])
        assert os.environ.get("COLUMNS") == columns


def test_an_error_inside_a_command_is_no_bad_input() -> None:
    bound = options.bind(toy, "toy", ["here", "--hard", "-1"])
    with pytest.raises(ValueError, match="a mistake inside") as error:
        bound()
    assert exits.explain(error.value) is None


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("two\n  lines"), 2, "error: two lines"),
        (OSError(errno.ENOSPC, "No space left on device", "runs/x"), 2, "error: No space left on device: runs/x"),
        (PermissionError(errno.EACCES, "Permission denied", "a"), 2, "error: Permission denied: a"),
        (OSError("odd"), 2, "error: odd"),
        (MemoryError(), 2, "error: not enough memory"),
        (MemoryError("Unable to allocate 8 TiB"), 2, "error: not enough memory: Unable to allocate 8 TiB"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ModuleNotFoundError(name="tyro"), 2, "error: tyro is not installed: pip install '.[lab]'"),
        (ModuleNotFoundError(name="matplotlib.pyplot"), 2, "error: matplotlib is not installed: pip install '.[lab]'"),
        (ModuleNotFoundError(name="hypothesis"), 2, "error: hypothesis is not installed: pip install '.[test]'"),
        (ModuleNotFoundError(name="numba"), 2, "error: numba is not installed: pip install '.'"),
    ],
)
def test_errors_that_a_person_can_act_on(error: BaseException, code: int, line: str) -> None:
    assert exits.explain(error) == (code, line)


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), ModuleNotFoundError(name="experiments.gone")])
def test_mistakes_in_the_program_are_not_hidden(error: BaseException) -> None:
    assert exits.explain(error) is None


def test_every_extra_that_an_error_names_installs_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {"": project["dependencies"], **project["optional-dependencies"]}
    spelled = {"xdist": "pytest-xdist", "array_api_strict": "array-api-strict", "llvmlite": "numba"}
    for package, extra in exits._EXTRAS.items():
        wanted = spelled.get(package, package)
        assert any(requirement.startswith(wanted) for requirement in extras[extra]), package


@pytest.mark.parametrize("package", ["tyro"])
def test_a_missing_package_through_the_command_line(
    package: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine: Callable[..., Any] = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "tyro":
            raise ModuleNotFoundError("No module named 'tyro'", name="tyro")
        return genuine(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "tyro", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    assert command_line.main(["list"]) == 2
    assert capsys.readouterr().err == "cli.py list: error: tyro is not installed: pip install '.[lab]'\n"


def test_boxes_without_line_drawing_are_understood_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    for arguments, line in (([], "missing RUN"), (["here", "--hard", "x"], "--hard: expected a number, got 'x'")):
        with pytest.raises(InputError) as error:
            options.bind(toy, "toy", arguments)
        assert str(error.value) == line
