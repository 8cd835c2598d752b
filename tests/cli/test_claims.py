"""`check`: claims that hold, that do not, and that fail, told in sentences."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import claims
from minigrad.errors import InputError

ROOT = Path(__file__).resolve().parents[2]

INI = "[pytest]\nmarkers = refuted: does not hold as published\nfilterwarnings = error\n"

GENERAL = '''
import pytest
from hypothesis import given, strategies as st

@given(n=st.integers(0, 10))
def test_adding_nothing(n):
    """G1 Adding nothing changes nothing.

    The rest is for readers of the file.
    """
    print("noise")
    assert n + 0 == n

@pytest.mark.parametrize("k", [1, 2, 3])
def test_several(k):
    """G2 Three cases are one claim."""
    assert k

@pytest.mark.refuted
def test_counterexample():
    """G10 The radius bounds the product: it does not."""
'''

TPTT = '''
def test_angle():
    """T1 The angle is zero."""
'''

FAILING = '''
import pytest
from hypothesis import given, strategies as st

@given(a=st.integers(), b=st.floats(0, 1))
def test_small(a, b):
    """B1 No integer is above ten."""
    assert a <= 10, f"{a} is above ten"

def test_raises():
    """B2 Nothing is raised."""
    raise ValueError("two\\nlines")

def test_skips():
    """B3 Nothing is left out."""
    pytest.skip("no time")

def test_warns():
    """B4 Nobody is warned."""
    import warnings
    warnings.warn("look out")

def test_holds():
    """B5 The others still run."""
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with claims that hold."""
    (tmp_path / "pytest.ini").write_text(INI)
    (tmp_path / "test_general.py").write_text(GENERAL)
    (tmp_path / "test_tptt.py").write_text(TPTT)
    return tmp_path


def check(folder: Path, method: str | None = None, as_json: bool = False) -> subprocess.CompletedProcess[str]:
    """Run the claims of a folder in a process of their own: pytest does not run inside itself."""
    code = f"""
import sys
from pathlib import Path
from experiments import claims
sys.exit(claims.check({method!r}, {as_json}, Path({str(folder)!r})))
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")} | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, env=environment, timeout=120
    )


def test_a_line_a_claim_in_their_order_and_failures_say_why(folder: Path) -> None:
    (folder / "test_zzz.py").write_text(FAILING)
    done = check(folder)
    assert done.returncode == 1
    assert done.stdout.splitlines()[:-1] == [
        "ok  G1   Adding nothing changes nothing.",
        "ok  G2   Three cases are one claim.",
        "no  G10  The radius bounds the product: it does not.",
        "ok  T1   The angle is zero.",
        "FAILED  B1   No integer is above ten.",
        "        AssertionError: 11 is above ten (for a=11, b=0.0)",
        "FAILED  B2   Nothing is raised.",
        "        ValueError: two lines",
        "FAILED  B3   Nothing is left out.",
        "        Skipped: no time",
        "FAILED  B4   Nobody is warned.",
        "        UserWarning: look out",
        "ok  B5   The others still run.",
    ]
    count = "9 claims: 4 ok, 1 known not to hold as published, 4 failed ("
    assert done.stdout.splitlines()[-1].startswith(count)
    assert all(line.startswith("checked ") for line in done.stderr.splitlines())


def test_json_of_one_method(folder: Path) -> None:
    (folder / "test_bptt.py").write_text(FAILING)
    done = check(folder, "tptthx", as_json=True)
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert done.returncode == 0
    assert (found["ok"], found["refuted"], found["failed"]) == (3, 1, 0)
    assert [claim["number"] for claim in found["claims"]] == ["G1", "G2", "G10", "T1"]
    assert found["claims"][2] == {
        "number": "G10",
        "claim": "The radius bounds the product: it does not.",
        "outcome": "no",
        "reason": "",
    }


@pytest.mark.parametrize(
    ("method", "names"), [(None, "general bptt tptt"), ("bptt", "general bptt"), ("tptthx", "general tptt")]
)
def test_a_method_has_the_general_claims_and_those_of_its_file(folder: Path, method: str | None, names: str) -> None:
    (folder / "test_bptt.py").write_text(FAILING)
    assert [file.name for file in claims.files(method, folder)] == [f"test_{name}.py" for name in names.split()]


def test_a_file_that_cannot_be_imported_fails_all_its_claims(folder: Path) -> None:
    (folder / "test_tptt.py").write_text(f"import nothing_of_this_name\n{TPTT}")
    done = check(folder)
    assert done.returncode == 1
    *_, line, reason, count = done.stdout.splitlines()
    assert line == "FAILED  T1   The angle is zero."
    assert reason.endswith("No module named 'nothing_of_this_name'")
    assert "1 failed" in count


def test_no_claims_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="complete checkout"):
        claims.check(None, False, tmp_path)


def test_the_claims_of_this_project_have_numbers_and_sentences() -> None:
    found = [claim for file in sorted(claims.DIRECTORY.glob("test_*.py")) for claim in claims.read(file)]
    for claim in found:
        assert claim.number, f"{claim.test} does not begin with its number: {claim.sentence}"
        assert len(claim.sentence) > 20, claim.test


def test_every_claim_of_the_papers_is_stated_as_one() -> None:
    """What is refuted stands there as it was claimed; what is true instead, in brackets behind it."""
    for file in claims.files(None, claims.DIRECTORY):
        for claim in claims.read(file):
            if claim.refuted:
                stated = claim.sentence.partition("(")[0]
                assert not any(word in stated for word in (" not ", " cannot ", " never ", "can explode")), (
                    claim.sentence
                )
