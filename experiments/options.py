"""From a command line to a call: flags from signatures and dataclasses, refusals in one line.

A command is a function that returns an exit code. Its parameters are its arguments: positional-only ones are
positional on the command line, keyword-only ones are flags, its docstring is their help. A command with parameters
`config` and `settings` trains: its first argument is then the name of a method, and every field of that method's
Config and of the Settings is a flag of its own, without a prefix.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import io
import itertools
import os
import re
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, NoReturn

from experiments.exits import one_line
from minigrad.errors import InputError, suggest, unknown

DEFAULT_METHOD = "tptt"

Command = Callable[..., int]

_WORDS = (
    (r"^Error parsing (--\S+?)(/\S+)?: ", r"\1: "),
    (r"^Error parsing [^-:][^:]*: ", ""),
    (r"invalid literal for int\(\) with base 10: (.+)$", r"expected a whole number, got \1"),
    (r"no type matching (.+) could be instantiated from \[(.*?)\]\..*$", r"expected \1, got \2"),
    (r"expected \{None\}\|INT, got (.+)$", r"expected a whole number or None, got \1"),
    (r"Could not parse arguments \[(.*)\] into tuple type .*$", r"cannot use \1"),
    (r"Failed to parse key-value pairs!.*$", r"expected pairs, a name and its value each: NAME VALUE NAME VALUE ..."),
    (r"could not convert string to float: (.+)$", r"expected a number, got \1"),
)
"""Rewritings of messages that speak of the parser or of Python; a message that they miss is still one line."""


def bind(command: Command, name: str, arguments: Sequence[str]) -> Callable[[], int]:
    """The call that a command line asks for, ready to be made.

    Args:
        command: what the command does.
        name: its name on the command line.
        arguments: what follows the name.

    Raises:
        InputError: if an argument is unknown, missing or impossible; one line that says which.
        SystemExit: after help was printed.
    """
    import tyro

    prog = f"cli.py {name}"
    method: tuple[str, ...] = ()
    structs: dict[str, Any] = {}
    if "config" in inspect.signature(command).parameters:
        method, arguments, structs = _training(arguments)
        prog = " ".join([prog, *method])
    collector = _collector(command, method, structs)
    markers = (tyro.conf.OmitArgPrefixes, tyro.conf.PositionalMetavarFromFieldName)
    _join_lines([collector, *(kind for struct in structs.values() for kind in type(struct).__mro__[:-1])])
    parse = functools.partial(tyro.cli, collector, prog=prog, config=markers, return_unknown_args=True)
    if "--help" in arguments or "-h" in arguments:
        with _colours_as_wished():
            parse(args=["--help"])  # prints and leaves, whatever else stands there
    fields = _fields(collector, structs.values())
    # Before anything is called missing because its name is misspelt; after a lone `--` there are no options.
    for token in itertools.takewhile(lambda token: token != "--", arguments):
        if token.startswith("--") and not _takes(token, fields):
            _refuse(token, fields, prog, method)
    _refuse_what_would_be_lost(arguments, _hints(collector, structs.values()))
    with _one_line_errors(fields):
        call: Callable[[], int]
        call, left = parse(args=list(arguments))
    if left:
        _refuse(left[0], fields, prog, method)
    return call


def _training(arguments: Sequence[str]) -> tuple[tuple[str, ...], Sequence[str], dict[str, Any]]:
    """The method that the arguments begin with, the other arguments, and what their flags fill in, by group."""
    import algorithms
    from experiments.run.settings import Settings

    name = DEFAULT_METHOD
    if arguments and not arguments[0].startswith("-"):
        name, *arguments = arguments
    method = algorithms.method(name)
    return (name,), arguments, {name: method.config(**method.defaults), "settings": Settings()}


def _collector(command: Command, method: tuple[str, ...], structs: dict[str, Any]) -> Callable[..., Any]:
    """A function for tyro to fill in: it takes the open parameters of a command and returns the finished call.

    The call is only returned, not made, so that an error inside a command is never taken for a wrong argument.
    """
    import tyro

    def collector(*args: Any, **kwargs: Any) -> Callable[[], int]:
        return functools.partial(command, *method, *args, **kwargs)

    groups = dict(zip(("config", "settings"), structs.items(), strict=False))
    hints = typing.get_type_hints(command, localns={"Settings": Any})
    parameters = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name in groups:
            group, default = groups[name]
            hint = Annotated[type(default), tyro.conf.arg(name=group)]  # type: ignore[valid-type]
            parameters.append(parameter.replace(annotation=hint, default=default))
        elif not (method and name == "method"):
            parameters.append(parameter.replace(annotation=hints[name]))
    collector.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    collector.__annotations__ = {p.name: p.annotation for p in parameters}
    collector.__doc__ = command.__doc__
    return collector


def _join_lines(documented: Iterable[Any]) -> None:
    """Give tyro the words on arguments and fields as one line each: it would keep some breaks of the source.

    The words lie in a cache of its own, of which no public interface knows; without it, help is only less even.
    """
    with contextlib.suppress(ImportError, AttributeError):
        from tyro._docstrings import parse_docstring_from_object

        for each in documented:
            words = parse_docstring_from_object(each)
            words.update({name: one_line(text) for name, text in words.items()})


def _fields(collector: Callable[..., Any], structs: Iterable[Any]) -> list[str]:
    """Names of everything that has a flag."""
    parameters = inspect.signature(collector).parameters.values()
    names = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and not dataclasses.is_dataclass(p.default)]
    return names + [field.name for struct in structs for field in dataclasses.fields(struct)]


def _hints(collector: Callable[..., Any], structs: Iterable[Any]) -> dict[str, Any]:
    """Types of everything that has a flag, by name."""
    hints = dict(collector.__annotations__)
    for struct in structs:
        hints |= typing.get_type_hints(type(struct))
    return hints


def _refuse_what_would_be_lost(arguments: Sequence[str], hints: Mapping[str, Any]) -> None:
    """Refuse words that the parser takes and that then mean something else, or nothing.

    An empty word, such as a variable of a shell that is not set, would be the current folder where a path is wanted. Of
    an option of any number of words that is given twice only the last would count, and so would the last of two pairs
    of one name; an option of one word may be given twice, for that is how one overrides what a script gives.
    """
    before: set[str] = set()
    for flag, words in _given(arguments):
        if not all(map(str.strip, words)):
            raise InputError(f"{flag} needs a value, got an empty one" if flag else "an argument is empty")
        name = flag[2:].replace("-", "_")
        hint = hints.get(name)
        pairs = isinstance(kind := typing.get_origin(hint), type) and issubclass(kind, Mapping)
        if name in before and (pairs or (kind is tuple and typing.get_args(hint)[-1] is ...)):
            raise InputError(f"{flag} is there twice: give all its values after one")
        keys = words[::2] if pairs else []
        for number, key in enumerate(keys):
            if key in keys[:number]:
                raise InputError(f"{flag}: {key} is there twice, give it one value")
        before.add(name)


def _given(arguments: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Every option with the words after it; first, without a name, those before all options, last those after `--`."""
    flag, words = "", list[str]()
    for number, token in enumerate(arguments):
        if token == "--":
            yield flag, words
            flag, words = "", list(arguments[number + 1 :])
            break
        if token.startswith("--"):
            yield flag, words
            flag, sign, value = token.partition("=")
            words = [value] if sign else []
        else:
            words.append(token)
    yield flag, words


def _flag(field: str) -> str:
    return "--" + field.replace("_", "-")


def _takes(token: str, fields: Iterable[str]) -> bool:
    """Whether an option exists, by itself or as `--no-...`."""
    given = token.partition("=")[0].replace("_", "-")
    return given in {flag for field in fields for flag in (_flag(field), "--no-" + _flag(field)[2:])}


@contextlib.contextmanager
def _colours_as_wished() -> Iterator[None]:
    """Print without colours where NO_COLOR is set: tyro does not look."""
    if not os.environ.get("NO_COLOR"):
        yield
        return
    text = io.StringIO()
    try:
        with contextlib.redirect_stdout(text):
            yield
    finally:
        print(re.sub(r"\x1b\[[0-9;]*m", "", text.getvalue()), end="")


def _refuse(token: str, fields: Iterable[str], prog: str, method: tuple[str, ...]) -> NoReturn:
    """Say what is wrong with an argument that nothing takes."""
    see = f"(see: python {prog} --help)"
    if token.startswith("-"):
        given = token.partition("=")[0].replace("_", "-")
        if owners := _owners(given) if method else []:
            raise InputError(f"{given} is an option of {', '.join(owners)}, not of {method[0]} {see}")
        raise InputError(f"unknown option {given}{suggest(given, map(_flag, fields))} {see}")
    where = ": the method comes first, before every option" if method else f" {see}"
    raise InputError(f"unexpected argument {token!r}{where}")


def _owners(flag: str) -> list[str]:
    """The methods that have an option."""
    import algorithms

    configs = {name: algorithms.method(name).config for name in algorithms.names()}
    return [name for name, kind in configs.items() if flag in {_flag(field.name) for field in dataclasses.fields(kind)}]


@contextlib.contextmanager
def _one_line_errors(fields: Sequence[str]) -> Iterator[None]:
    """Turn the box that tyro draws on standard error into the message of an InputError.

    The text of the box is all of a rejection that tyro's public interface gives away. The terminal is taken for very
    wide meanwhile, so that no message is broken into lines.
    """
    columns = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "10000"
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            yield
    except SystemExit:
        raise InputError(_condense(box.getvalue(), fields)) from None
    finally:
        os.environ.pop("COLUMNS")
        os.environ.update({} if columns is None else {"COLUMNS": columns})


def _condense(box: str, fields: Sequence[str]) -> str:
    """The message inside a box of tyro's, in the words of this program.

    Args:
        box: a frame whose first section says what is wrong, and whose others point to the help.
        fields: names that a message may begin with, to be written as flags.
    """
    lines = re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()[1:]  # without the title
    body = itertools.dropwhile(_is_rule, lines)
    section = [line.strip("│|").rstrip() for line in itertools.takewhile(lambda line: not _is_rule(line), body)]
    text = one_line(" ".join(section))
    if text.startswith("Missing from"):
        # One argument a line, indented by four, its help below it indented further.
        names = [line.strip() for line in section[1:] if re.match(r"\s{1,6}\S", line)]
        return f"missing {', '.join(names)}"
    if found := re.fullmatch(r"Missing value for argument '(.+?)'. Expected (\d+) values?\.", text):
        return f"{found[1]} needs {'a value' if found[2] == '1' else found[2] + ' values'}"
    if found := re.fullmatch(r"invalid choice '(.*)' for argument '(.+?)'. Expected one of \((.*)\)\.", text):
        choices = re.findall("'([^']*)'", found[3])
        return f"{found[2]}: {unknown('value', found[1], choices)}"
    for pattern, words in _WORDS:
        text = re.sub(pattern, words, text)
    return _with_flags(text, fields)


def _with_flags(text: str, fields: Sequence[str]) -> str:
    """A message with the names of options written as flags: those that it begins with, and those that are no words."""

    def flag(found: re.Match[str]) -> str:
        return _flag(found[0]) if found[0] in fields else found[0]

    begins = re.match(r"\w+(?:(?:, | and | or )\w+)*", text)
    names = re.findall(r"\w+", re.sub(r" (and|or) ", " ", begins[0])) if begins else []
    end = begins.end() if begins and all(name in fields for name in names) else len(text.partition(" ")[0])
    return re.sub(r"^\w+|(?<=[ ,])\w+", flag, text[:end]) + re.sub(r"(?<![\w-])\w+_\w+", flag, text[end:])


def _is_rule(line: str) -> bool:
    """Whether a line of a box is a horizontal rule, with a frame beside it or without."""
    return re.fullmatch(r"[\s│|╰╯]*[─-]{4,}[\s│|╰╯]*", line) is not None
