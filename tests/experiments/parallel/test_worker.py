"""The process that trains: what it says, and when it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from experiments import record
from tests.experiments.parallel import small

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "experiments.parallel.worker"]


def job(folder: Path, **changes: Any) -> dict[str, Any]:
    """What asks for a run."""
    what = small.long(folder, **changes)
    return {"method": what.method, "config": what.config, "settings": what.settings, "until": None}


def request(*jobs: dict[str, Any]) -> str:
    """A line that asks for runs side by side."""
    return record.dump({"jobs": jobs})[len('{"jobs": ') : -1] + "\n"


def work(requests: str) -> subprocess.CompletedProcess[str]:
    """A worker from its begin to its end."""
    return subprocess.run(COMMAND, input=requests, capture_output=True, text=True, cwd=ROOT, timeout=60)


def said(lines: Iterable[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def test_without_work_it_ends_with_its_input() -> None:
    done = work("")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_its_input_may_end_before_training_begins(tmp_path: Path) -> None:
    """Whoever asked is gone already: of a run without an end, nothing but its beginning is computed."""
    done = work(request(job(tmp_path, max_iterations=10**9, patience=10**9)))
    assert (done.returncode, done.stderr) == (0, "")
    *_, last = said(done.stdout.splitlines())
    assert last["result"]["status"] == "interrupted"


def test_it_tells_where_the_run_lies_how_it_goes_and_how_it_ended(tmp_path: Path) -> None:
    with subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(request(job(tmp_path)))
        process.stdin.flush()
        lines = []
        while '"result"' not in "".join(lines[-1:]):
            lines.append(process.stdout.readline())
        process.stdin.close()
    started, first, *_, end = said(lines)
    assert Path(started["started"]).parent == tmp_path
    assert first["at"] == 1
    assert (end["result"]["run"], end["result"]["status"]) == (started["started"], "budget")


def test_a_refusal_is_an_answer_and_the_next_request_is_heard(tmp_path: Path) -> None:
    lost = {"run": tmp_path / "none", "until": None}
    first, *_, last = said(work(request(lost) + request(job(tmp_path))).stdout.splitlines())
    assert "none" in first["refused"]
    assert "result" in last


def test_what_threads_say_at_once_stays_in_lines() -> None:
    code = (
        "from concurrent.futures import ThreadPoolExecutor as Pool; from experiments.parallel.worker import tell\n"
        "import sys; sys.setswitchinterval(1e-6)\n"
        "with Pool(4) as pool: list(pool.map(lambda n: tell(job=n, at='x' * n), range(2000)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert sorted(line["job"] for line in said(done.stdout.splitlines())) == list(range(2000))


def test_jobs_side_by_side_answer_each_for_itself(tmp_path: Path) -> None:
    jobs = job(tmp_path, max_iterations=300), {"run": tmp_path / "none", "until": None}, job(tmp_path, seed=2)
    with subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(request(*jobs))
        process.stdin.flush()
        ends: dict[int, Any] = {}
        while len(ends) < 3:
            (line,) = said([process.stdout.readline()])
            if {"result", "refused"} & line.keys():
                ends[line["job"]] = line.get("result") or line["refused"]
        process.stdin.close()
    assert (ends[0]["seed"], ends[0]["iterations"], ends[0]["status"]) == (1, 300, "budget")
    assert "none" in ends[1]
    assert (ends[2]["seed"], ends[2]["iterations"], ends[2]["status"]) == (2, 200, "budget")
