"""The commands as a person types them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cli as command_line

ROOT = Path(__file__).resolve().parents[2]

Cli = Callable[..., subprocess.CompletedProcess[str]]

SMALL = [
    "--length",
    "10",
    "--hidden",
    "8",
    "--validate-every",
    "10",
    "--validate-size",
    "100",
    "--checkpoint-every",
    "10",
]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Runs `cli.py` in an empty folder, warnings being errors; keywords are environment variables."""

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", str(ROOT / "cli.py"), *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=os.environ | environment, timeout=120
        )

    return run


def refusal(done: subprocess.CompletedProcess[str], command: str) -> str:
    """What the one line of a refusal says after `cli.py COMMAND: error: `; checks that it is one."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    start = f"cli.py {command}: error: " if command else "cli.py: error: "
    assert line.startswith(start)
    return line.removeprefix(start)


def train(cli: Cli, *arguments: object) -> dict[str, Any]:
    """A small training run through the command line; what its JSON says."""
    done = cli("train", *arguments, *SMALL, "--json")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    entries: dict[str, Any] = json.loads(line)
    return entries


def test_train_tells_the_result_and_where_it_lies(cli: Cli, tmp_path: Path) -> None:
    done = cli("train", *SMALL, "--max-iterations", 20)
    assert done.returncode == 0, done.stderr
    rows = dict(line.split("  ", 1) for line in done.stdout.splitlines())
    assert rows["result"].strip().startswith("not solved in ")
    assert (tmp_path / rows["run"].strip() / "config.json").exists()
    assert (tmp_path / rows["figure"].strip()).exists()
    assert rows["score it"].strip() == f"python cli.py evaluate {rows['run'].strip()}"
    assert "method tptt, task temporal, length 10" in done.stderr
    assert "iteration 1 of 20  cost " in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_resume_goes_beyond_a_budget_in_a_copy(cli: Cli, tmp_path: Path) -> None:
    first = train(cli, "--max-iterations", 20, "--alpha-f", 1e-6)
    done = cli("resume", first["run"], "--max-iterations", 40, "--json")
    assert done.returncode == 0, done.stderr
    longer = json.loads(done.stdout)
    assert (first["iterations"], longer["iterations"]) == (20, 40)
    assert first["run"] != longer["run"]
    lines = [(tmp_path / run["run"] / "metrics.jsonl").read_text() for run in (first, longer)]
    assert lines[1].startswith(lines[0])
    undisturbed = train(cli, "--max-iterations", 40, "--alpha-f", 1e-6)
    assert (tmp_path / undisturbed["run"] / "metrics.jsonl").read_text() == lines[1]
    assert "must be above the 40" in refusal(cli("resume", longer["run"], "--max-iterations", 40), "resume")


def test_only_a_run_that_used_up_its_budget_is_extended(cli: Cli) -> None:
    solved = train(cli, "--max-iterations", 500, "--alpha-f", 0.05)
    assert solved["solved"]
    assert "ended otherwise (solved)" in refusal(cli("resume", solved["run"], "--max-iterations", 900), "resume")


def test_train_json_then_evaluate(cli: Cli, tmp_path: Path) -> None:
    entries = train(cli, "bptt", "--task", "adding", "--lr", 0.002, "--frozen", "W_hh", "b_h", "--max-iterations", 20)
    assert (entries["method"], entries["task"], entries["status"]) == ("bptt", "adding", "budget")
    assert set(entries["metric"]) == {"error", "error_abs", "mse"}
    config = json.loads((tmp_path / entries["run"] / "config.json").read_text())
    assert (config["config"]["lr"], config["config"]["frozen"]) == (0.002, ["W_hh", "b_h"])
    assert config["settings"]["hidden"] == 8

    done = cli("evaluate", entries["run"], "--json", "--size", 50, "--length", 20)
    scores = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert (scores["length"], scores["sequences"]) == (20, 50)


def test_divergence_has_its_own_exit_code(cli: Cli) -> None:
    done = cli("train", "bptt", "--task", "adding", "--activation", "linear", "--lr", 1e10, *SMALL, "--json")
    entries = json.loads(done.stdout)
    assert done.returncode == 3, done.stderr
    assert (entries["status"], entries["solved"]) == ("diverged", False)


def interrupt(arguments: list[str], folder: Path) -> tuple[dict[str, Any], str]:
    """Send Ctrl-C to a training command once it trains: its JSON and its standard error."""
    command = [sys.executable, str(ROOT / "cli.py"), *arguments, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        seen = ""
        while "  cost " not in seen:
            line = process.stderr.readline()
            assert line, seen
            seen += line
        process.send_signal(signal.SIGINT)
        out, rest = process.communicate(timeout=60)
    assert process.returncode == 130, rest
    return json.loads(out), seen + rest


def test_ctrl_c_names_the_line_that_goes_on(tmp_path: Path) -> None:
    first, said = interrupt(["train", *SMALL, "--patience", "100000"], tmp_path)
    assert first["status"] == "interrupted"
    *_, line = said.splitlines()
    assert line == f"resume with: python cli.py resume {first['run']}"
    second, said = interrupt(line.split("cli.py ")[1].split(), tmp_path)
    assert f"from iteration {first['iterations']:,}" in said
    assert second["iterations"] > first["iterations"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("trian", "unknown command 'trian', did you mean train?"),
        ("", "missing command"),
        ("--verson", "unknown option '--verson', did you mean --version?"),
        ("train tpt", "unknown method 'tpt', did you mean tptt?"),
        ("train --length 20 bptt", "unexpected argument 'bptt': the method comes first"),
        ("train --task temprl", "unknown task 'temprl', did you mean temporal"),
        ("train --lenght 20", "unknown option --lenght, did you mean --length?"),
        ("train --length 9", "at least 10, got 9"),
        ("train --length ten", "--length: expected a whole number or None, got 'ten'"),
        ("train --alpha-i -0.1", "--alpha-i must be at least 0 and finite, got -0.1"),
        ("train --alpha-i nan", "--alpha-i must be at least 0 and finite, got nan"),
        ("train --w-xh locl", "--w-xh: unknown value 'locl', did you mean local?"),
        ("train --hidden 0", "--hidden must be at least 1, got 0"),
        ("train --batch-size", "--batch-size needs a value"),
        (
            "train bptt --alpha-i 0.1",
            "--alpha-i is an option of tptt, tptthx, not of bptt (see: python cli.py train bptt",
        ),
        ("train --device gpu", "unknown device 'gpu'"),
        ("train --frozen W_hi", "no parameter 'W_hi'"),
        ("resume", "missing RUN"),
        ("resume nowhere", "nowhere"),
        ("evaluate nowhere", "nowhere"),
        ("evaluate nowhere --split tset", "--split: unknown value 'tset', did you mean test?"),
        ("trace tptt --fixture none.npz --out out.npz", "none.npz"),
        ("trace tptt --fixture none.npz", "missing --out"),
        ("trace", "missing METHOD"),
        ("check tpt", "unknown method 'tpt', did you mean tptt?"),
        ("list --cite tpt", "unknown method 'tpt', did you mean tptt?"),
        ("doctor now", "unexpected argument 'now'"),
    ],
)
def test_bad_input_is_one_line(
    command: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = command.split()
    assert command_line.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    known = arguments and arguments[0] in command_line.COMMANDS
    assert line.startswith(f"cli.py {arguments[0]}: error: " if known else "cli.py: error: ")
    assert words in line
    assert not list(tmp_path.iterdir()), "something was written"


@pytest.mark.parametrize("command", ["trian", "train tpt", "train --alpha-i -1", "evaluate nowhere"])
def test_bad_input_in_a_process_of_its_own(command: str, cli: Cli, tmp_path: Path) -> None:
    name = command.split()[0]
    assert refusal(cli(*command.split()), name if name in command_line.COMMANDS else "")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "file" in refusal(cli("train", *SMALL, "--runs-dir", "file"), "train")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_standard_output(tmp_path: Path) -> None:
    line = f"{sys.executable} {ROOT / 'cli.py'} list > /dev/full"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "cli.py list: error: No space left on device\n")


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    line = f"({sys.executable} {ROOT / 'cli.py'} list; echo $? > code) | true"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, cwd=tmp_path)
    assert done.stderr == ""
    assert (tmp_path / "code").read_text() == "0\n"


def test_a_narrow_encoding_is_no_error(cli: Cli) -> None:
    done = cli("train", "--help", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "--alpha-i" in done.stdout


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["list"]) == 0
    out = capsys.readouterr().out
    assert "Manchev & Spratling 2020" in out
    assert command_line.main(["list", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    methods = {method["name"]: method for method in found["methods"]}
    tasks = {task["name"]: task for task in found["tasks"]}
    assert {"bptt", "tptt", "tptthx"} <= set(methods)
    assert methods["bptt"]["paper"] == "Werbos 1990"
    assert (tasks["temporal"]["chance"], tasks["temporal"]["shortest"]) == ({"error": 0.75}, 10)
    assert all(task["summary"] for task in found["tasks"])
    assert {name: task["length"] for name, task in tasks.items() if task["length"] != 60} == {
        "digits-pixels": 64,
        "mnist-pixels": 784,
        "mnist-permuted": 784,
        "cifar-pixels": 1024,
        "ptb-word": 20,
        "ptb-300": 300,
        "ptb-char": 75,
        "text8-word": 20,
        "text8-char": 75,
        "wikitext-2": 20,
        "wikitext-103": 20,
        "sample-char": 75,
    }
    assert (tasks["ptb-300"]["chance"], tasks["ptb-300"]["shortest"]) == (None, 1)
    assert tasks["mnist-pixels"]["shortest"] == 784
    assert "lstm" in found["cells"]


def test_cite(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["list", "--cite", "tptt"]) == 0
    bibtex = capsys.readouterr().out
    assert bibtex.startswith("@article{")
    assert command_line.main(["list", "--cite", "tptt", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"method": "tptt", "bibtex": bibtex.strip()}


def test_doctor(cli: Cli) -> None:
    done = cli("doctor")
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert lines[-1] == "this machine is ready"
    named = {line[8:25].strip(): line for line in lines[:-1]}
    for name in ("python", "numpy", "processor", "BLAS", "threads", "MINIGRAD_KERNELS", "kernel srn", "GPU", "runs"):
        assert name in named
    assert sum("GPU" in line for line in lines) == 1


def test_doctor_finds_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    (tmp_path / "runs").write_text("in the way")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("experiments.doctor.PACKAGES", {"lab": ("no-such-package",), "test": ("nor-this",)})
    monkeypatch.setattr("experiments.doctor._gap", lambda name, dtype: float("nan") if name == "srn" else 0.5)
    assert command_line.main(["doctor", "--json"]) == 1
    findings = {f["name"]: f for f in json.loads(capsys.readouterr().out)["findings"]}
    states = {name: finding["state"] for name, finding in findings.items()}
    assert states["no-such-package"] == states["kernel srn"] == states["runs"] == "FAILED"
    assert states["nor-this"] == "note"
    assert states["kernel target"] == "ok"
    assert findings["no-such-package"]["detail"].endswith("pip install '.[lab]'")


def test_ctrl_c_outside_of_training(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(**_: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setitem(command_line.COMMANDS, "list", interrupted)
    monkeypatch.setattr("experiments.options.bind", lambda command, name, arguments: command)
    assert command_line.main(["list"]) == 130
    assert capsys.readouterr().err == "cli.py list: interrupted\n"
