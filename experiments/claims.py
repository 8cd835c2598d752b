"""The papers' claims as tests, run and told in sentences.

A claim is a test function in tests/claims/. The first line of its docstring is the claim, and begins with its number:
`T3 Linear units, V = W_hh^T: ...`. A test marked `refuted` passes by exhibiting a counterexample to a claim that does
not hold as published. test_general.py holds the claims about no method in particular, test_METHOD.py those about one.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis  # noqa: F401  # the claims are written with it: say that it is missing before any of them fails
import pytest

from experiments.display import duration
from experiments.exits import one_line
from experiments.record import dump
from minigrad.errors import InputError

DIRECTORY = Path(__file__).resolve().parent.parent / "tests" / "claims"
GENERAL = "test_general.py"

_EXAMPLE = re.compile(r"(?:Falsifying example|Failing test case): \w+\(\n")
"""What hypothesis puts before the arguments of the smallest counterexample."""


@dataclass
class Claim:
    """One claim and what its test found."""

    test: str
    """Where its test stands, in pytest's words: FILE::FUNCTION."""
    number: str
    sentence: str
    refuted: bool
    """Whether the test shows that the claim does not hold as published."""
    outcome: str = ""
    """`ok`, `no` (it does not hold, as is known) or `FAILED` (the test did); empty while unknown."""
    reason: str = ""
    """Why a test failed."""

    def __str__(self) -> str:
        line = f"{self.outcome}  {self.number:<3}  {self.sentence}"
        return f"{line}\n        {self.reason}" if self.reason else line


def check(method: str | None, as_json: bool, directory: Path = DIRECTORY) -> int:
    """Run the tests of the claims and print one line for each.

    Args:
        method: name of the method whose claims are wanted besides the general ones; None for every claim.
        as_json: print one JSON object at the end in place of the lines.
        directory: folder of the tests.

    Returns:
        0 if every test passed, otherwise 1.

    Raises:
        InputError: for an unknown method, or where there are no claims.
    """
    chosen = files(method, directory)
    claims = [claim for file in chosen for claim in read(file)]
    if not claims:
        raise InputError(f"there are no claims in {directory}: run from a complete checkout")
    start = time.perf_counter()
    _run(chosen, _Listener(claims, telling=not as_json))
    seconds = time.perf_counter() - start
    counts = Counter(claim.outcome for claim in claims)
    ok, refuted, failed = counts["ok"], counts["no"], counts["FAILED"]
    if as_json:
        rows = [
            {"number": c.number, "claim": c.sentence, "outcome": c.outcome.lower(), "reason": c.reason} for c in claims
        ]
        print(dump({"claims": rows, "ok": ok, "refuted": refuted, "failed": failed, "seconds": seconds}))
    else:
        known = f", {refuted} known not to hold as published" if refuted else ""
        print(f"{len(claims)} claims: {ok} ok{known}, {failed} failed ({duration(seconds)})")
    return 1 if failed else 0


def read(file: Path) -> list[Claim]:
    """The claims of a test file in their order, read without running it."""
    claims = []
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            line = (ast.get_docstring(node) or node.name).splitlines()[0]
            found = re.match(r"([A-Z]+\d+[a-z]?)[.:]?\s+(.+)", line)
            number, sentence = found.groups() if found else ("", line)
            marks = {n.attr for d in node.decorator_list for n in ast.walk(d) if isinstance(n, ast.Attribute)}
            claims.append(Claim(f"{file.name}::{node.name}", number, sentence, "refuted" in marks))
    return claims


def files(method: str | None, directory: Path) -> list[Path]:
    """The test files that are wanted, the general one first."""
    every = sorted(directory.glob("test_*.py"), key=lambda file: (file.name != GENERAL, file.name))
    if method is None:
        return every
    import algorithms

    # Variants of a method share its file, and so its claims.
    home = algorithms.method(method).config.__module__.rpartition(".")[2]
    return [file for file in every if file.name in (GENERAL, f"test_{home}.py")]


def _run(files: Sequence[Path], listener: _Listener) -> None:
    """Run the tests in pytest, without a word from it."""
    options = ["-o", "addopts=", "--import-mode=importlib", "-p", "no:terminal", "-p", "no:cacheprovider"]
    # The command line has imported modules that pytest would have liked to see first; they hold no assertions of ours.
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    workers = min(os.cpu_count() or 1, len(files) * 8)
    if workers > 1 and importlib.util.find_spec("xdist"):
        # Every worker computes on one thread: the networks are small, and the cores are shared by the workers.
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
            os.environ.setdefault(name, "1")
        options += ["-n", str(workers)]
    code = pytest.main([*options, *map(str, files)], plugins=[listener])
    if code == pytest.ExitCode.INTERRUPTED and not listener.broken:
        raise KeyboardInterrupt
    listener.close()


class _Listener:
    """A plugin of pytest's that gathers outcomes, and tells them in the order of the claims as they become known."""

    def __init__(self, claims: list[Claim], telling: bool) -> None:
        self.broken = ""
        """Why a file could not be collected."""
        self._claims = claims
        self._by_test = {claim.test: claim for claim in claims}
        self._left: Counter[str] = Counter()
        self._telling = telling
        self._told = 0
        self._progress = _Progress(len(claims))

    def pytest_collection_finish(self, session: Any) -> None:
        self._expect(item.nodeid for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        if not self._left:  # every worker collects the same tests
            self._expect(ids)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.broken = _reason(report)

    def pytest_runtest_logreport(self, report: Any) -> None:
        claim = self._by_test.get(_test(report.nodeid))
        if claim is None:
            return
        if report.failed:
            claim.outcome, claim.reason = "FAILED", claim.reason or _reason(report)
        elif report.skipped:
            claim.outcome, claim.reason = "FAILED", _reason(report)
        if report.when == "teardown":
            self._left[claim.test] -= 1
            if not self._left[claim.test]:
                claim.outcome = claim.outcome or ("no" if claim.refuted else "ok")
                self._tell()

    def close(self) -> None:
        """Tell what is left: tests that could not run have failed."""
        for claim in self._claims:
            if not claim.outcome:
                claim.outcome, claim.reason = "FAILED", self.broken or "the test did not run"
        self._tell()
        self._progress.clear()

    def _expect(self, nodeids: Iterable[str]) -> None:
        self._left.update(_test(nodeid) for nodeid in nodeids)

    def _tell(self) -> None:
        self._progress.clear()
        while self._telling and self._told < len(self._claims) and self._claims[self._told].outcome:
            print(self._claims[self._told], flush=True)
            self._told += 1
        self._progress.show(sum(bool(claim.outcome) for claim in self._claims))


class _Progress:
    """How many claims are done, on standard error: a line that is rewritten on a terminal, seldom one elsewhere."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._moving = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._last = time.monotonic()
        self.show(0)

    def show(self, done: int) -> None:
        line = f"checked {done} of {self._total} claims"
        if self._moving and done < self._total:
            print(line, end="", file=sys.stderr, flush=True)
        elif not self._moving and done < self._total and time.monotonic() - self._last > 5:
            self._last = time.monotonic()
            print(line, file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._moving:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _test(nodeid: str) -> str:
    """FILE::FUNCTION of a test, without folders and parameters."""
    path, _, function = nodeid.partition("::")
    return f"{path.rpartition('/')[2]}::{function.partition('[')[0]}"


def _reason(report: Any) -> str:
    """Why a test failed, on one line: what was raised, and the example that shows it."""
    if isinstance(report.longrepr, tuple):  # of a skipped test: file, line, words
        return one_line(str(report.longrepr[2]))
    crash = getattr(report.longrepr, "reprcrash", None)
    raised = [line[1:].strip() for line in report.longreprtext.splitlines() if line.startswith("E ")]
    message, *example = _EXAMPLE.split(crash.message if crash else "\n".join(raised), maxsplit=1)
    message = one_line(message.partition("\nassert ")[0])
    reason = message if len(message) < 200 else f"{message[:200]} ..."
    if example:
        lines = [re.sub(r"\s*#.*", "", line).strip() for line in example[0].partition("\n)")[0].splitlines()]
        reason += f" (for {' '.join(filter(None, lines)).rstrip(',')})"
    return reason
