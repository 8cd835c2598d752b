"""Bad input of the kinds that people and machines come up with: one line, exit code 2, nothing half-written."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.experiments.run import blank

ROOT = Path(__file__).parent.parent.parent
QUICK = ["--length", "10", "--hidden", "8", "--max-iterations", "40", "--validate-size", "100", "--runs-dir", "runs"]
SRN = ["W_xh", "W_hh", "b_h", "W_hy", "b_y"]
"""All parameters of a simple recurrent network."""


def cli(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", str(ROOT / "cli.py"), *arguments]
    return subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, timeout=120
    )


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evaluate", "--lenght", "5", "somewhere"], ["--lenght", "did you mean --length?"]),
        (["trace", "bptt", "--fixtur", "x.npz", "--out", "y.npz"], ["--fixtur", "did you mean --fixture?"]),
        (["resume", "--foo", "somewhere"], ["unknown option --foo"]),
        (["train", "tptt", *QUICK, "--frozen", "W_hx"], ["frozen: there is no parameter 'W_hx'"]),
        (["train", "tptt", *QUICK, "--layers", "2"], ["one SRN layer"]),
        (["train", "tptthx", *QUICK, "--w-xh", "bptt"], ["tptthx stands for w_xh local"]),
        (["train", "tptt", *QUICK, "--task", "adding", "--task-options", "length", "12"], ["use --length"]),
        (["train", "bptt", "--task", "digits-pixels", "--length", "65"], ["has 64 time steps", "leave the length out"]),
        (["train", "bptt", "--task", "digit-pixels"], ["did you mean digits-pixels"]),
        (["train", "bptt", "--task", "digits-pixels", "--task-options", "shufle", "no"], ["did you mean shuffle"]),
        (["train", "bptt", "--task", "digits-pixels", "--task-options", "train_size", "1e3"], ["whole number"]),
        (["train", "bptt", "--task", "digits-pixels", "--task-options", "train_size", "1001"], ["has 1,000 images"]),
        (
            ["train", "fptt", "--task", "digits-pixels", "--task-options", "train_size", "5", "--batch-size", "20"],
            ["a batch of 20 is larger than the 5 images that digits-pixels is trained on: use --batch-size 5 or less"],
        ),
        (
            ["train", "bptt", "--task", "mnist-pixels", "--data-dir", "nowhere"],
            ["nowhere/mnist/train-images", "data fetch mnist"],
        ),
        (
            ["train", "bptt", "--task", "cifar-pixels", "--data-dir", "nowhere"],
            ["nowhere/cifar10/data_batch_1.bin", "data fetch cifar10"],
        ),
        (["train", "bptt", "--task", "cifar-pixels", "--task-options", "train_files", "9"], ["from 1 to 5, got 9"]),
        (["train", "bptt", "--cell", "gru", "--init", "identity"], ["init identity is for the srn cell"]),
        (["train", "tptt", "--dropout-inputs", "0.1"], ["tptt trains the network as it is: leave out dropout_inputs"]),
        (["train", "btprop", "--task", "ptb-word", "--ar", "2"], ["btprop trains the network as it is: leave out ar"]),
        (["train", "tptthx", "--readout", "two-linear"], ["tptthx is defined for readout linear, not two-linear"]),
        (["train", "bptt", "--dropout-outputs", "1"], ["dropout_outputs must lie in [0, 1), got 1"]),
        (["train", "fptt", "--length", "20", "--parts", "21"], ["fptt with 21 parts", "of temporal may have 20"]),
        (["train", "bptt", "--length", "20", "--parts", "21"], ["bptt with 21 parts", "take fewer parts"]),
        (["train", "fptt", "--parts", "0"], ["parts must be at least 1"]),
        (["train", "fptt", "--alpha", "-0.1"], ["alpha must be at least 0"]),
        (["train", "fptt", "--task", "adding-sum", "--divergence", "code"], ["classified as a whole"]),
        (["train", "bptt", "--divergence", "code"], ["ask for more than 1"]),
        (["train", "fptt", "--decay", "0.5"], ["decay must be at least 1"]),
        (["train", "bptt", "--decay-at", "5"], ["passes through the data, those of temporal have no end"]),
        (["train", "fptt", "--pass-end", "none"], ["passes through the data, those of temporal have no end"]),
        (
            ["train", "fptt", "--divergence", "per-example"],
            ["sequences that are met again, those of temporal are not: use class-mean"],
        ),
        (["train", "fptt", "--readout", "mos"], ["readout mos is for tokens in, tokens out"]),
        (["train", "fptt", "--task", "sample-char", "--readout", "tied", "--embedding", "7"], ["they have 7 numbers"]),
        (["train", "fptt", "--tar", "1"], ["tar is for a loss at every step"]),
        (
            ["train", "bptt", *QUICK, "--adam-eps", "1"],
            ["--adam-eps 1.0 does nothing with --optimizer sgd: leave it out, or use --optimizer adam"],
        ),
        (
            ["train", "fptt", *QUICK, "--optimizer", "adam", "--momentum", "0.5"],
            ["--momentum 0.5 does nothing with --optimizer adam"],
        ),
        (
            ["train", "tptt", *QUICK, "--adam-betas", "0.8", "0.9"],
            ["--adam-betas 0.8 0.9 does nothing", "leave it out\n"],
        ),
        (
            ["train", "btprop", "--h-optimizer", "sgd", "--optimizer", "sgd", "--adagrad-eps", "1"],
            ["--adagrad-eps 1.0"],
        ),
        (["train", "bptt", *QUICK, "--frozen", *SRN], [f"--frozen {' '.join(SRN)}: nothing would be trained"]),
        # V_hh and c_h would learn, and nothing that is judged.
        (["train", "tptt", *QUICK, "--frozen", *SRN], [f"--frozen {' '.join(SRN)}: nothing would be trained"]),
        (["train", "bptt", *QUICK, "--rates", "W_hh", "1e-4", "W_hh", "1e-5"], ["--rates: W_hh is there twice"]),
        (["train", "bptt", *QUICK, "--runs-dir", ""], ["--runs-dir needs a value, got an empty one"]),
        (["train", "bptt", "--experts", "2"], ["experts belongs to the readout mos"]),
        (
            [
                "train",
                "bptt",
                "--task",
                "sample-char",
                "--task-options",
                "layout",
                "blocks",
                "--dropout-outputs",
                "0.1",
            ],
            ["dropout, ar and tar are for texts in streams"],
        ),
    ],
)
def test_command_lines(tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    refused(cli(tmp_path, *arguments, NUMBA_CACHE_DIR=str(tmp_path / "cache")), *words)
    assert not list(tmp_path.rglob("*.json"))


def test_damaged_images(tmp_path: Path) -> None:
    """Files that break off, hold images of another size or name a class that is none."""
    images, labels = (tmp_path / "mnist" / f"train-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1"))
    batch, test = (tmp_path / "cifar10" / f"{name}_batch{n}.bin" for name, n in (("data", "_1"), ("test", "")))
    one = struct.pack(">4I", 0x803, 1, 28, 28) + bytes(784)
    eleven = struct.pack(">2I", 0x801, 1) + b"\x0b"
    cases = [
        ("mnist", {images: one[:-1]}, "ends too early"),
        ("mnist", {images: struct.pack(">4I", 0x803, 1, 32, 32) + bytes(1024)}, "images of 32 x 32 pixels, not 28"),
        ("mnist", {images: one, labels: eleven}, "image 1 of 1 has the label 11, the largest possible is 9"),
        ("cifar", {batch: bytes(30_729_999)}, "it has 30,729,999 bytes, published are 30,730,000"),
        ("cifar", {batch: bytes(3_073)}, "it has 3,073 bytes, published are 30,730,000"),
        (
            "cifar",
            {batch: b"\xff" * 30_730_000},
            "published is cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5): run `python",
        ),
    ]
    blank.mnist(tmp_path, 1, 1)
    batch.parent.mkdir()
    test.write_bytes(b"")
    for name, files, words in cases:
        for path, content in files.items():
            path.write_bytes(content)
        options = ["--task-options", "train_files", "1"] if name == "cifar" else []
        command = ["train", "bptt", "--task", f"{name}-pixels", *options, "--data-dir", str(tmp_path)]
        refused(cli(tmp_path, *command, NUMBA_CACHE_DIR=str(tmp_path / "cache")), words, str(list(files)[-1]))
        assert not (tmp_path / "runs").exists()


def test_refusals_come_before_kernels_compile(tmp_path: Path) -> None:
    """One line even where nothing lies compiled: nobody waits for a compiler to read that an option was wrong."""
    (tmp_path / "file").write_text("")
    fresh = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    refused(cli(tmp_path, "train", "bptt", *QUICK, "--runs-dir", "file", **fresh), "file")
    refused(cli(tmp_path, "train", "bptt", *QUICK, "--runs-dir", "file/runs", **fresh), "not a folder")
    refused(cli(tmp_path, "train", "bptt", *QUICK, MINIGRAD_THREADS="two", **fresh), "MINIGRAD_THREADS='two'")


def test_trace_replaces_neither_devices_nor_its_fixture(tmp_path: Path) -> None:
    shapes = {"W_xh": (2, 3), "W_hh": (3, 3), "b_h": (3,), "W_hy": (3, 2), "b_y": (2,)}
    arrays = {f"params/{name}": np.ones(shape) for name, shape in shapes.items()}
    arrays |= {"batch/x": np.ones((4, 1, 2)), "batch/y": np.zeros(1, int)}
    fixture = tmp_path / "in.npz"
    np.savez(fixture, config="{}", **arrays)
    before = fixture.read_bytes()
    refused(cli(tmp_path, "trace", "bptt", "--fixture", "in.npz", "--out", "in.npz"), "is the fixture itself")
    assert fixture.read_bytes() == before
    (tmp_path / "folder").mkdir()
    refused(cli(tmp_path, "trace", "bptt", "--fixture", "in.npz", "--out", "folder"), "folder")
    os.mkfifo(tmp_path / "pipe")
    refused(cli(tmp_path, "trace", "bptt", "--fixture", "in.npz", "--out", "pipe"), "not a regular file")
    assert (tmp_path / "pipe").is_fifo()


def test_a_damaged_log_is_refused_before_training_goes_on(tmp_path: Path) -> None:
    done = cli(tmp_path, "train", "bptt", *QUICK, "--lr", "1e-9", "--checkpoint-every", "10")
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    (run / "result.json").unlink()
    log = bytearray((run / "metrics.jsonl").read_bytes())
    log[10:20] = b"#" * 10
    (run / "metrics.jsonl").write_bytes(log)
    refused(cli(tmp_path, "resume", str(run)), "metrics.jsonl is damaged in line 1")


def test_another_optimiser_in_the_config_is_refused(tmp_path: Path) -> None:
    assert cli(tmp_path, "train", "bptt", *QUICK, "--lr", "1e-9", "--optimizer", "nag").returncode == 0
    (run,) = (tmp_path / "runs").iterdir()
    (run / "result.json").unlink()
    config = json.loads((run / "config.json").read_text())
    config["config"]["optimizer"] = "adagrad"
    (run / "config.json").write_text(json.dumps(config))
    refused(cli(tmp_path, "resume", str(run)), "its optimizer or frozen names differ")


def test_closed_streams_are_no_traceback(tmp_path: Path) -> None:
    script = f"{sys.executable} {ROOT / 'cli.py'} list >&-; echo $?"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "0"
    assert done.stderr == ""


def test_help_has_no_colours_where_none_are_wished(tmp_path: Path) -> None:
    done = cli(tmp_path, "train", "--help", NO_COLOR="1", FORCE_COLOR="1")
    assert "--alpha-i" in done.stdout
    assert "\x1b" not in done.stdout
