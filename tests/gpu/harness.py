"""What a GPU and what stands in for one have to do alike: the cases, and the bodies of their tests.

The stand-in is array-api-strict on a device that is not its default one, put in the place of CuPy: it allows what the
array API standard allows, and does not mix with NumPy's arrays.
"""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest

import algorithms
import cli
from algorithms.dynamic import Config
from experiments import doctor
from experiments.run import build, checks, evaluate, journal, loop, population, standing, states
from experiments.run.population import Wish
from experiments.run.progress import Quiet
from experiments.run.result import Result
from experiments.run.settings import Settings
from minigrad import backend, devices
from minigrad.errors import InputError
from minigrad.rng import stream

CUDA = "cuda"
"""The device of all tests here, whatever stands behind it."""


def require_gpu() -> None:
    """Leave a module of tests out where CuPy or a GPU is missing; where one is there and does not compute, fail."""
    try:
        devices.check(CUDA)
    except InputError as error:
        pytest.skip(str(error), allow_module_level=True)
    devices.use(CUDA)


@dataclass
class Traffic:
    """How often numbers crossed between host and device."""

    reads: int = 0
    """Times that the host waited for numbers."""
    sends: int = 0
    """Host arrays that were moved."""
    inside: bool = field(default=False, repr=False)
    """Whether a counted call is under way: what it calls itself counts no more."""

    def counting(self, call: Callable[..., Any], counts: Callable[..., tuple[int, int]]) -> Callable[..., Any]:
        """The same function, which adds counts(*arguments) = (reads, sends)."""

        def counted(*arguments: Any, **options: Any) -> Any:
            if self.inside:
                return call(*arguments, **options)
            reads, sends = counts(*arguments)
            self.reads, self.sends, self.inside = self.reads + reads, self.sends + sends, True
            try:
                return call(*arguments, **options)
            finally:
                self.inside = False

        return counted


def one_read(*_: Any) -> tuple[int, int]:
    """Whatever is read."""
    return 1, 0


def one_send(values: Any, *_: Any) -> tuple[int, int]:
    """Of what is on the device already, none."""
    return 0, int(isinstance(values, np.ndarray))


class Counter(Protocol):
    """Counts what crosses while it is open."""

    def __call__(self) -> contextlib.AbstractContextManager[Traffic]: ...


def strict_traffic() -> Counter:
    """Of array-api-strict."""
    import array_api_strict

    array: Any = type(array_api_strict.ones(1))
    reading = ("__float__", "__bool__", "__int__", "__index__", "__complex__", "__iter__", "to_device")
    return _counter(array, reading, array_api_strict, ("asarray",))


def cupy_traffic() -> Counter:
    """Of CuPy."""
    import cupy  # type: ignore[import-not-found, unused-ignore]

    reading = ("__float__", "__bool__", "__int__", "__complex__", "item", "tolist", "get")
    return _counter(cupy.ndarray, reading, cupy, ("asarray", "array"))


def _counter(array: Any, reading: tuple[str, ...], library: Any, sending: tuple[str, ...]) -> Counter:
    @contextlib.contextmanager
    def counted() -> Iterator[Traffic]:
        traffic = Traffic()
        with pytest.MonkeyPatch.context() as patch:
            for name in reading:
                patch.setattr(array, name, traffic.counting(getattr(array, name), one_read))
            for name in sending:
                patch.setattr(library, name, traffic.counting(getattr(library, name), one_send))
            yield traffic

    return counted


class Strict:
    """Two devices of array-api-strict: see `minigrad.devices.Kind`."""

    def __init__(self) -> None:
        self.used: list[int] = []

    def count(self) -> int:
        return 2

    def use(self, number: int) -> None:
        self.used.append(number)

    def put(self, array: Any, number: int) -> Any:
        import array_api_strict

        if number != (self.used[-1] if self.used else 0):
            raise devices.Unusable("this thread computes on another one")
        return array_api_strict.asarray(np.array(array), device=array_api_strict.Device(f"device{1 + number}"))

    def describe(self, number: int) -> str:
        return "array-api-strict"


# --- cases ---


@dataclass(frozen=True)
class Case:
    """A method on a tiny network."""

    method: str
    config: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    reads: int = 0
    """Times that a step waits for the device."""
    masks: int = 0
    """Host arrays that a step moves beside its batch: random numbers."""
    steps: int = 3
    single: float = 1e-4
    """Relative error in single precision that one step may come to; more where numbers nearly cancel."""

    def __str__(self) -> str:
        given = {**self.config, **self.settings}
        return "-".join([self.method, *(f"{name}={value}" for name, value in given.items() if name not in _SHAPE)])

    def made(self, folder: Path, **changes: Any) -> Settings:
        """The settings of a run."""
        return Settings(**{**_TINY, "runs_dir": folder, **self.settings, **changes})


_SHAPE = ("task", "length", "task_options", "batch_size")
_TINY: dict[str, Any] = {
    "length": 10,
    "hidden": 5,
    "batch_size": 4,
    "validate_size": 8,
    "validate_every": 4,
    "max_iterations": 8,
    "log_every": 2,
    "checkpoint_every": 3,
    "device": CUDA,
    "dtype": "float64",
}
TEXT = {"task": "sample-char", "length": 6, "task_options": {"characters": "400"}}
DIGITS = {"task": "digits-pixels", "length": None}
NOISE: dict[str, Any] = {
    **{f"dropout_{name}": 0.2 for name in ("embedding", "inputs", "between", "recurrent", "outputs")},
    **{"layers": 2, "ar": 1.0, "tar": 1.0},
}


def of_the_others(cases: list[Case]) -> list[Case]:
    """A plain case of each method that the cases leave out: a new method is compared as soon as it is registered."""
    others = [name for name in algorithms.names() if name not in {case.method for case in cases}]
    return [Case(name, {}, TEXT if algorithms.method(name).blocks else {}) for name in others]


CELLS = ("srn", "lstm", "gru", "gru-cho", "antisymmetric")
CASES = [
    *(Case("bptt", {"clip": 0.05}, {"cell": cell}) for cell in CELLS),
    *(Case("bptt", {"clip": 0.05}, {"cell": cell, "layers": 2, **TEXT}) for cell in CELLS),
    *(Case("bptt", {}, {"activation": activation}) for activation in ("sigmoid", "relu", "linear")),
    *(
        Case("bptt", {"optimizer": optimizer, "clip": 0.05, "wd": 0.01, "rates": {"W_hh": 0.5}})
        for optimizer in ("sgd", "momentum", "nag", "adagrad", "adam", "rmsprop", "adadelta", "nt-asgd")
    ),
    Case("bptt", {"update_freq": 2}),
    *(Case("bptt", {}, {"task": task}) for task in ("adding", "adding-sum", "temporal3", "permutation")),
    Case("bptt", {"parts": 3}),
    Case("bptt", {"parts": 5, "divergence": "code"}, DIGITS),
    Case("bptt", {}, {"readout": "two-linear", "readout_width": 3}),
    Case("bptt", {"rate_window": 5}, {"readout": "tied", **TEXT}),
    Case("bptt", {}, {"readout": "mos", "experts": 2, "embedding": 3, "dropout_latent": 0.2, **TEXT}, masks=1),
    Case("bptt", {}, {**NOISE, **TEXT}, masks=6),
    Case("bptt", {}, {**NOISE, "dropout_kind": "elements", "dropout_logits": 0.2, **TEXT}, masks=7),
    Case("tptt"),
    Case("tptt", {"noise": 0.1, "p_g": 0.5}, masks=1),
    Case("tptt", {"feedback": "transpose", "reduction": "sum_h", "g_sum": "paper"}),
    Case("tptt", {"optimizer": "adagrad"}, {"task": "adding", "activation": "sigmoid"}),
    Case("tptthx", {}, {"task": "permutation"}),
    *(Case("btprop", {"constraint": c, "u_start": 1}, {"cell": "gru", **TEXT}) for c in ("pm", "admm")),
    Case("btprop", {"constraint": "alm", "u_start": 1}, {"cell": "lstm", **TEXT}, reads=4),
    Case("btprop", {"h_steps": 3, "opt_arctanh": True, "h_clip": 0.01}, TEXT, reads=2),
    Case("btprop", {"constraint": "admm", "u_start": 1, "h_init": "zero", "first_state": "fixed"}, TEXT),
    Case("btprop", {"h_init": "restart", "dual": "scaled", "h_optimizer": "sgd"}, {**TEXT, "length": 1}),
    *(Case("btprop", {}, {"cell": cell, "layers": 2, **TEXT}) for cell in CELLS),
    *(
        Case("btprop-batch", {"u_start": 1, "constraint": c}, {**TEXT, "batch_size": 30}, steps=9)
        for c in ("pm", "admm", "alm")
    ),
    *(Case("fptt", {"form": f, "parts": 3}, single=5e-4) for f in ("running", "algorithm2", "equation6", "debias")),
    *(Case("fptt", {"parts": 2, "clip": 0.05}, {"cell": cell, **TEXT}, single=5e-4) for cell in CELLS),
    *(
        Case("fptt", {"parts": 4, "divergence": d, "inner_steps": 2}, {**DIGITS, "batch_size": 500})
        for d in ("class-mean", "code", "per-example")
    ),
    Case("fptt", {"parts": 2, "part_weight": "slip", "optimizer": "nt-asgd"}, {"task": "adding"}, single=1e-3),
    Case(
        "fptt",
        {"parts": 2},
        {**NOISE, **TEXT, "readout": "tied", "layers": 1, "dropout_between": 0.0},
        masks=12,
        single=5e-4,
    ),
]
CASES += of_the_others(CASES)


RUNS = [
    Case("tptt", {"noise": 0.1}, {"measure_every": 3}),
    Case("bptt", {"optimizer": "adam", "clip": 0.05}, {"task": "adding", "cell": "lstm", "layers": 2}),
    Case("bptt", {"optimizer": "nt-asgd", "nonmono": 1, "decay_after": 0}, {**NOISE, **TEXT, "validate_every": 2}),
    Case("btprop", {"constraint": "admm", "u_start": 1, "h_steps": 2}, {"cell": "gru", **TEXT}),
    Case("btprop-batch", {"u_start": 1}, {**TEXT, "batch_size": 45}),
    Case("fptt", {"parts": 4}, {**DIGITS, "batch_size": 400, "validate_every": 0}),
]
RUNS += of_the_others(RUNS)
"""Runs of some iterations, with checks, checkpoints and lines of the log between."""


TOGETHER = [
    Case("tptt", {"noise": 0.1}, {"measure_every": 3}),
    Case("bptt", {"optimizer": "adam", "clip": 0.05}, {"task": "adding", "cell": "lstm", "layers": 2}),
    Case("bptt", {}, {**NOISE, **TEXT}),
    Case("btprop", {"constraint": "admm", "u_start": 1}, {"cell": "gru", **TEXT}),
    Case("fptt", {"parts": 4}, {**DIGITS, "batch_size": 400, "validate_every": 0}),
]
"""Runs that can be stepped as one."""


# --- bodies ---


@dataclass(frozen=True)
class Step:
    """What came of some steps, on the host."""

    tree: Any
    """The State without its arrays."""
    arrays: dict[str, Any]
    traffic: Traffic
    """Of the last step."""


def taken(case: Case, folder: Path, counter: Counter | None = None, steps: int | None = None, **changes: Any) -> Step:
    """The state after so many steps (None: those of the case), and all that the last one tells of."""
    config = {**algorithms.method(case.method).defaults, **case.config}
    parts = build.assemble(case.made(folder, **changes), case.method, config)
    state, settings = standing.initial_state(parts), parts.settings
    traffic = Traffic()
    for number in range(1, (steps or case.steps) + 1):
        index = number - 1 + build.first_index(settings, parts.task)
        batch = checks.batch_on_device(parts, "train", index, settings.batch_size)
        rng = stream(settings.seed, "step", number)
        with counter() if counter else contextlib.nullcontext(traffic) as traffic, np.errstate(all="ignore"):
            state, info = parts.method.step(parts.config, parts.model, state, batch, rng)
    assert info.status == "ok", info.reason
    tree, arrays = states.pack(states.fields_of(state))
    told = {"loss": info.loss, **info.arrays, **{f"gradient of {name}": g for name, g in info.grads.items()}}
    return Step(tree, arrays | {name: backend.to_numpy(array) for name, array in told.items()}, traffic)


def difference(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, float]:
    """The largest relative error of each array, relative to the largest number in it."""
    assert found.keys() == expected.keys()
    errors = {}
    for name, right in expected.items():
        left = np.asarray(found[name], "float64")
        assert left.shape == np.shape(right), name
        if left.size:
            scale = max(float(np.max(np.abs(right))), 1e-30)
            errors[name] = float(np.max(np.abs(left - right))) / scale
    return errors


def steps_agree(case: Case, folder: Path, counter: Counter) -> None:
    """Steps on the device come to what they come to on the host, and wait and move as often as is known."""
    expected, found = taken(case, folder, device="cpu"), taken(case, folder, counter)
    errors = difference(found.arrays, expected.arrays)
    assert max(errors.values()) <= 1e-10, {name: e for name, e in errors.items() if e > 1e-10}
    assert found.tree == expected.tree
    assert (found.traffic.reads, found.traffic.sends) == (case.reads, case.masks), found.traffic


def single_steps_agree(case: Case, folder: Path) -> None:
    """A step on the device in single precision comes to what it comes to on the host in double precision."""
    expected, found = taken(case, folder, steps=1, device="cpu"), taken(case, folder, steps=1, dtype="float32")
    errors = difference(found.arrays, expected.arrays)
    assert max(errors.values()) <= case.single, {name: e for name, e in errors.items() if e > case.single}
    assert {array.dtype for array in found.arrays.values() if array.dtype.kind == "f"} == {np.dtype("float32")}


def trained(case: Case, folder: Path, until: int | None = None, **changes: Any) -> Path:
    """The directory of a run, paused after so many iterations or trained to its end."""
    config = {**algorithms.method(case.method).defaults, **case.config}
    settings = case.made(folder, **changes)
    return loop.train(settings, case.method, config, Quiet(), draw=False, until=until).run


def resumed(run: Path, **places: Any) -> Path:
    """The same run, trained to its end."""
    assert loop.resume(run, Quiet(), draw=False, **places).status == "budget"
    return run


def logged(run: Path) -> list[Any]:
    """Every number of the log, in order, with the words before it."""

    def leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
        if items is None:
            yield name, value
        else:
            for key, item in items:
                yield from leaves(item, f"{name}/{key}")

    return list(leaves(journal.read_metrics(run / "metrics.jsonl"), ""))


def logs_agree(found: Path, expected: Path, tolerance: float) -> None:
    """Two runs have the same lines, and the same numbers in them."""
    left, right = logged(found), logged(expected)
    assert [name for name, _ in left] == [name for name, _ in right]
    for (name, a), (_, b) in zip(left, right, strict=True):
        assert a == pytest.approx(b, rel=tolerance, abs=tolerance), name


def devices_of(run: Path) -> list[str]:
    """Where each process that trained a run computed."""
    entries = json.loads((run / "manifest.json").read_text())["processes"]
    return [entry["device"].partition(":")[0] for entry in entries]


def runs_agree(case: Case, folder: Path, tolerance: float) -> None:
    """A run on the device has the log of one on the host."""
    logs_agree(trained(case, folder / "there"), trained(case, folder / "here", device="cpu"), tolerance)


def runs_go_on_elsewhere(case: Case, folder: Path, tolerance: float) -> None:
    """A run that was begun on the device goes on on the host, and the other way round, as if it had not moved."""
    expected = trained(case, folder / "here", device="cpu")
    down = resumed(trained(case, folder / "down", until=5), device="cpu")
    up = resumed(trained(case, folder / "up", until=5, device="cpu"), device=CUDA)
    assert (devices_of(down), devices_of(up)) == ([CUDA, "cpu"], ["cpu", CUDA])
    for run in (down, up):
        logs_agree(run, expected, tolerance)
        there, here = (evaluate.evaluate(run, size=8, device=device)["scores"] for device in (CUDA, "cpu"))
        assert there == pytest.approx(here, rel=tolerance, abs=tolerance)


def resumed_to_the_same_bits(case: Case, folder: Path) -> None:
    """On one device a run that was stopped ends as one that was not."""
    whole, cut = trained(case, folder / "whole"), resumed(trained(case, folder / "cut", until=5))
    for name in ("metrics.jsonl", "checkpoints/00000008.safetensors"):
        assert (whole / name).read_bytes() == (cut / name).read_bytes(), name


def a_line_of_the_log_takes_three_reads(folder: Path, counter: Counter) -> None:
    """Losses, what is not finite, and norms: however many iterations lie between two lines."""
    case = Case("bptt", {"clip": 0.05, "optimizer": "adam"}, {"validate_every": 1000, "checkpoint_every": 1000})
    found = []
    for every, lines in ((4, 2), (4, 3), (6, 2)):
        with counter() as traffic:
            trained(case, folder, max_iterations=every * lines, log_every=every)
        found.append(traffic)
    assert [traffic.reads - found[0].reads for traffic in found] == [0, 3, 0]
    assert [traffic.sends - found[0].sends for traffic in found] == [0, 2 * 4, 2 * 4]  # x and y of each iteration


def divergence_is_named(folder: Path) -> None:
    """Where a loss stops being finite, though nobody looked before the next line of the log."""
    rare = {"validate_every": 1000, "checkpoint_every": 1000}
    case = Case("bptt", {"lr": 1e200}, {"task": "adding", "activation": "linear", **rare})
    expected = loop.train(case.made(folder, device="cpu"), "bptt", case.config, Quiet(), draw=False)
    found = loop.train(case.made(folder, log_every=8), "bptt", case.config, Quiet(), draw=False)
    assert (expected.status, found.status) == ("diverged", "diverged")
    assert expected.iterations < 6
    assert found.iterations - expected.iterations in (0, 1)  # the gradients of the iteration before are gone
    assert expected.reason.partition(";")[2] == found.reason.partition(";")[2].replace(
        str(found.run), str(expected.run)
    )
    assert f"not finite at iteration {found.iterations}; last good checkpoint: {found.run}" in found.reason


def on_the_command_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """train, resume and evaluate with --device cuda."""
    tiny = "train bptt --length 10 --hidden 5 --batch-size 4 --validate-size 8 --validate-every 2 --max-iterations 3"
    assert cli.main([*shlex.split(tiny), "--json", "--device", CUDA, "--runs-dir", str(folder)]) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["status"], done["iterations"]) == ("budget", 3)
    assert cli.main(["resume", done["run"], "--max-iterations", "6", "--json"]) == 0
    longer = json.loads(capsys.readouterr().out)
    assert longer["iterations"] == 6
    assert devices_of(Path(longer["run"])) == [CUDA, CUDA]
    assert cli.main(["resume", longer["run"], "--max-iterations", "8", "--device", "cpu", "--json"]) == 0
    moved = json.loads(capsys.readouterr().out)
    assert devices_of(Path(moved["run"]))[-1] == "cpu"
    scores = []
    for device in ([], ["--device", CUDA], ["--device", "cpu"]):
        assert cli.main(["evaluate", longer["run"], "--size", "8", "--json", *device]) == 0
        scores.append(json.loads(capsys.readouterr().out)["error"])
    assert scores == [scores[0]] * 3
    assert next(doctor._gpu()).state == "ok"


def dynamic_evaluation_agrees(folder: Path, tolerance: float) -> None:
    """Parameters that go on learning while a text is scored."""
    run = trained(Case("bptt", {}, {"cell": "lstm", **TEXT}), folder)
    options = Config(window=5, statistics_batch=4)
    found = [
        evaluate.evaluate(run, size=20, device=device, dynamic=options)["scores"]["nll"] for device in (CUDA, "cpu")
    ]
    assert found[0] == pytest.approx(found[1], rel=tolerance)


def a_population_agrees(case: Case, folder: Path, tolerance: float) -> None:
    """Runs whose steps are taken as one have the logs of runs alone on the host; one ends earlier than the others."""
    config = {**algorithms.method(case.method).defaults, **case.config}
    rate = {"tptt": "alpha_f", "btprop": "theta_lr", "btprop-batch": "theta_lr"}.get(case.method, "lr")
    runs = [(seed, config | {rate: lr}) for seed, lr in ((1, 0.1), (1, 0.01), (2, 0.02))]
    ends: dict[int, Any] = {}
    wishes = [
        Wish(
            open=partial(loop.new, case.made(folder / "many", seed=seed), case.method, its_config),
            until=5 if number == 0 else None,
            display=Quiet(),
            done=partial(ends.__setitem__, number),
            refused=partial(ends.__setitem__, number),
        )
        for number, (seed, its_config) in enumerate(runs)
    ]
    population.train(wishes)
    for number, (seed, its_config) in enumerate(runs):
        alone = loop.train(
            case.made(folder / "one", seed=seed, device="cpu"),
            case.method,
            its_config,
            Quiet(),
            draw=False,
            until=5 if number == 0 else None,
        )
        assert isinstance(ends[number], Result), ends[number]
        assert (ends[number].status, ends[number].iterations) == (alone.status, alone.iterations)
        logs_agree(ends[number].run, alone.run, tolerance)


def a_step_of_a_population_moves_its_batches_alone(folder: Path, counter: Counter) -> None:
    """Those of each seed; the rates of the runs are there after the first step."""
    config = algorithms.method("tptt").defaults
    runs = [(seed, config | {"alpha_f": rate, "momentum": 0.9}) for seed, rate in ((1, 0.1), (1, 0.2), (2, 0.3))]
    rare = {"validate_every": 1000, "checkpoint_every": 1000, "log_every": 1000}
    found = []
    for iterations in (1, 4, 7):  # what is remembered beyond a population is there after the first
        wishes = [
            Wish(
                open=partial(
                    loop.new,
                    Case("tptt", {}, rare).made(folder, seed=seed, max_iterations=1000, dtype="float32"),
                    "tptt",
                    its_config,
                ),
                until=iterations,
                display=Quiet(),
                done=lambda result: None,
                refused=pytest.fail,
            )
            for seed, its_config in runs
        ]
        with counter() as traffic:
            population.train(wishes)
        found.append(traffic)
    assert found[2].sends - found[1].sends == 3 * 2 * 2  # x and y of two seeds in three iterations
    assert found[2].reads == found[1].reads
