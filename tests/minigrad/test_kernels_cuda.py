"""The CUDA twins on a stand-in for a GPU: values and all gradients against the reference; bits, barriers, numbers at
the edge. What a GPU makes of the same sources is tested in tests/gpu.

Legend: T time, B batch, D input size, H hidden units, R runs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from minigrad.kernels.cuda import antisymmetric, geometry, gru, lstm, srn, target
from minigrad.kernels.cuda.geometry import CELLS, Cell, Device
from minigrad.kernels.cuda.launch import Machine
from minigrad.population import split, stack
from tests.minigrad import cuda_host
from tests.minigrad.cuda_host import HOPPER, Host
from tests.minigrad.recurrences import EPSILON, RECURRENCES, Arrays, assert_agrees, problem, run, shape_of

pytestmark = pytest.mark.skipif(
    not cuda_host.COMPILER, reason="g++ is missing, which compiles the kernels for the host"
)

NAMES = [name for name in RECURRENCES if not name.startswith("local")]
CELL_NAMES = ["srn tanh", "lstm", "gru", "antisymmetric", "target tanh"]
UNROLLED = [name for name in CELL_NAMES if RECURRENCES[name].backward]
every = pytest.mark.parametrize("name", NAMES)
every_cell = pytest.mark.parametrize("name", CELL_NAMES)
every_unrolled = pytest.mark.parametrize("name", UNROLLED)

SMALL = replace(HOPPER, multiprocessors=1)
"""All rows in few tiles, so that these have several rows."""
DEVICES = {
    "one block": HOPPER,
    "tall tiles": SMALL,
    **{f"clusters of {C}": replace(SMALL, clusters=(C,)) for C in (2, 4, 8)},
    "step by step": replace(HOPPER, weights=0),
}
on_every_device = pytest.mark.parametrize("device", DEVICES)

Use = Callable[..., None]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Makes NumPy arrays count as CuPy's from now on, and a stand-in with some abilities as their GPU."""

    def use(device: Device = HOPPER, order: int = 0) -> None:
        cuda_host.take_the_place_of_cupy(monkeypatch, Host(device, order))

    return use


def assert_same_bits(found: Arrays, expected: Arrays) -> None:
    assert list(found) == list(expected)
    for label, array in expected.items():
        assert_array_equal(found[label], array, err_msg=label, strict=True)


def cells_of(name: str) -> list[Cell]:
    return [cell for cell in CELLS.values() if cell.source == name.split()[0]]


def test_the_devices_force_what_they_are_named_after() -> None:
    for name, device in DEVICES.items():
        for cell in CELLS.values():
            plan = geometry.plan(cell, 17, 13, 1, device)
            if name == "step by step":
                assert plan is None
            else:
                assert plan is not None
                assert plan.cluster == (int(name[-1]) if name.startswith("clusters") else 1)
                assert (plan.rows > 1) == (device.multiprocessors == 1), cell
                assert name != "tall tiles" or plan.grid[1] * plan.rows != 13, cell  # the last tile has rows to spare


# --- what is computed ---


@every_cell
@on_every_device
def test_it_equals_the_reference(name: str, device: str, use: Use) -> None:
    """Sequences short and long, batches of one row, part of a tile, and more; where a block has units to spare."""
    use(DEVICES[device])
    for T, B, D in ((1, 13, 2), (2, 1, 1), (7, 13, 3)):
        assert_agrees(name, problem(name, T, B, D, 17, "float32"))


@every_cell
def test_no_steps_and_no_rows_are_left_to_the_reference(name: str, use: Use) -> None:
    use()
    for T, B in ((0, 2), (3, 0)):
        assert_agrees(name, problem(name, T, B, 3, 17, "float32"))


@every_cell
def test_one_unit(name: str, use: Use) -> None:
    use()
    assert_agrees(name, problem(name, 7, 3, 1, 1, "float32"))


@every_cell
@pytest.mark.parametrize("device", ["one block", "clusters of 8", "step by step"])
def test_units_to_spare(name: str, device: str, use: Use) -> None:
    """33 units are seven times five; the eighth block has none."""
    use(DEVICES[device])
    assert_agrees(name, problem(name, 3, 2, 2, 33, "float32"))


@every_cell
def test_the_layout_of_a_real_size(name: str, use: Use) -> None:
    use()
    assert_agrees(name, problem(name, 3, 2, 2, 100, "float32"))


@every_cell
def test_a_long_sequence(name: str, use: Use) -> None:
    use()
    assert_agrees(name, problem(name, 300, 2, 2, 17, "float32"))


@every
def test_every_activation(name: str, use: Use) -> None:
    use()
    assert_agrees(name, problem(name, 4, 3, 2, 17, "float32"))


@every_cell
def test_arrays_of_any_strides(name: str, use: Use) -> None:
    use()
    p = problem(name, 4, 3, 2, 17, "float32")
    turned = {label: array.T.copy().T for label, array in p.items()}
    assert_same_bits(run(name, turned, "fused"), run(name, p, "fused"))


@every_unrolled
@pytest.mark.parametrize("device", ["one block", "step by step"])
def test_the_gradient_by_the_last_state_alone(name: str, device: str, use: Use) -> None:
    """The same bits as with zeros before it; of an LSTM also by h alone."""
    use(DEVICES[device])
    p = problem(name, 5, 3, 2, 17, "float32")
    p["g"][:-1] = 0
    expected = run(name, p, "fused")
    assert_same_bits(run(name, p | {"g": p["g"][-1:]}, "fused"), expected)
    if name == "lstm":
        p["g"][..., 17:] = 0
        expected = run(name, p, "fused")
        for g in (p["g"], p["g"][-1:]):
            assert_same_bits(run(name, p | {"g": g[..., :17]}, "fused"), expected)


@every_unrolled
def test_only_what_is_asked_for(name: str, use: Use) -> None:
    use()
    p, backward = problem(name, 3, 2, 2, 17, "float32"), RECURRENCES[name].backward
    assert backward is not None
    states = RECURRENCES[name].forward(p, "fused")
    every = backward(p, states, "fused")
    for wanted in range(len(every)):
        needs = tuple(number == wanted for number in range(len(every)))
        for needed, found, expected in zip(needs, backward(p, states, "fused", needs), every, strict=True):
            assert found is None if not needed else (found == expected).all()


# --- bits ---


@every_cell
@on_every_device
def test_the_order_of_the_threads_does_not_matter(name: str, device: str, use: Use) -> None:
    """Nor does a second run differ. A missing barrier would show here."""
    p = problem(name, 3, 13, 2, 17, "float32")
    use(DEVICES[device])
    expected = run(name, p, "fused")
    for order in (0, 1, 2, 3):
        use(DEVICES[device], order)
        assert_same_bits(run(name, p, "fused"), expected)


BY_ROW = ("h", "s", "gates", "targets", "dE/dx", "dE/dh0", "dE/ds0")


@every_cell
@pytest.mark.parametrize("device", ["tall tiles", "clusters of 2"])
def test_a_row_does_not_depend_on_the_others(name: str, device: str, use: Use) -> None:
    """Whatever tile it is in, and however many rows that has. The products before are NumPy's, which promises nothing
    of the kind: of whole numbers it makes them without an error."""
    use(DEVICES[device])
    p = problem(name, 4, 13, 2, 17, "float32")
    p |= {label: np.rint(p[label]) for label in ("x", "W_xh")}
    whole, axes = run(name, p, "fused"), RECURRENCES[name].axes
    for rows in ([3], [12, 0]):
        part = dict(p)
        for label, letters in axes.items():
            if "B" in letters:
                part[label] = p[label].take(rows, letters.index("B"))
        found = run(name, part, "fused")
        for label in set(BY_ROW) & set(found) - {"dE/dx"}:
            assert_array_equal(found[label], whole[label][..., rows, :], err_msg=label)


def population(name: str, p: Arrays, machine: Machine) -> Arrays:
    """What the CUDA twin makes of arrays that all have an axis of runs, or have none."""
    x, W = p["x"], p.get("W_xh")
    match name:
        case "srn tanh":
            found = {"h": srn.forward(x, p["h0"], W, p["W_hh"], p["b_h"], "tanh", machine=machine)}
            back = srn.backward(p["g"], x, found["h"], p["h0"], W, p["W_hh"], "tanh", machine=machine)
        case "lstm":
            s, gates = lstm.forward(x, p["s0"], W, p["W_hh"], p["b_h"], machine=machine)
            found = {"s": s, "gates": gates}
            back = lstm.backward(p["g"], x, s, p["s0"], gates, W, p["W_hh"], machine=machine)
        case "gru":
            h, gates = gru.forward(x, p["h0"], W, p["W_hh"], p["b_xh"], p["b_hh"], machine=machine)
            found = {"h": h, "gates": gates}
            back = gru.backward(p["g"], x, h, p["h0"], gates, W, p["W_hh"], machine=machine)
        case "antisymmetric":
            h, gates = antisymmetric.forward(x, p["h0"], W, p["W_hh"], p["b_h"], EPSILON, machine=machine)
            found = {"h": h, "gates": gates}
            back = antisymmetric.backward(p["g"], x, h, p["h0"], gates, W, p["W_hh"], EPSILON, machine=machine)
        case "target tanh":
            found = {
                "targets": target.targets(x, p["h"], p["target_T"], W, p["V_hh"], p["c_h"], "tanh", machine=machine)
            }
            back = ()
    return found | {f"dE/d{label}": g for label, g in zip(RECURRENCES[name].arguments, back, strict=bool(back))}


LAUNCHED = ("h", "s", "gates", "targets", "dE/dh0", "dE/ds0")
"""What the kernels themselves compute, from products of which each is a single number where inputs are one-hot."""


def one_hot(p: Arrays) -> Arrays:
    """The same problem with one-hot inputs."""
    return {**p, "x": np.eye(p["x"].shape[-1], dtype="float32")[p["x"].argmax(-1)]}


def only(found: Arrays, labels: Iterable[str]) -> Arrays:
    return {label: found[label] for label in labels if label in found}


@every_cell
@on_every_device
def test_a_run_does_not_depend_on_how_many_there_are(name: str, device: str) -> None:
    """To the bit in what the launch computes; what a library's products add up, for all runs at once, to rounding."""
    runs, machine = [one_hot(problem(name, 3, 13, 2, 17, "float32", seed)) for seed in range(3)], Host(DEVICES[device])
    together = population(name, {label: stack([p[label] for p in runs]) for label in runs[0]}, machine=machine)
    for number, p in enumerate(runs):
        alone = population(name, p, machine=machine)
        own = {label: split(array)[number] for label, array in together.items()}
        assert_same_bits(only(own, LAUNCHED), only(alone, LAUNCHED))
        for label, array in alone.items():
            assert_allclose(own[label], array, rtol=1e-5, atol=1e-6, err_msg=label, strict=True)
        one = population(name, {label: stack([array]) for label, array in p.items()}, machine=machine)
        assert_same_bits({label: split(array)[0] for label, array in one.items()}, alone)
    assert geometry.plan(cells_of(name)[0], 17, 13, 3, SMALL) != geometry.plan(cells_of(name)[0], 17, 13, 1, SMALL)


@pytest.mark.parametrize("device", ["tall tiles", "clusters of 4", "step by step"])
@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("target")])
def test_a_row_whose_target_is_its_state_keeps_its_states_bit_for_bit(name: str, device: str, use: Use) -> None:
    use(DEVICES[device])
    p = problem(name, 6, 5, 2, 17, "float32")
    still = np.array([True, False, True, True, False])
    p["target_T"] = np.where(still[:, None], p["h"][-1], p["target_T"])
    found = run(name, p, "fused")["targets"]
    assert_array_equal(found[:, still], p["h"][:, still])
    assert (found[0, ~still] != p["h"][0, ~still]).any(axis=-1).all()


# --- numbers at the edge ---


@pytest.mark.parametrize(
    ("name", "device"),
    [
        *((name, device) for name in CELL_NAMES for device in ("tall tiles", "clusters of 2", "step by step")),
        *((name, "one block") for name in NAMES if name not in CELL_NAMES),
    ],
)
def test_nan_goes_through_and_stays_in_its_sequence(name: str, device: str, use: Use) -> None:
    """NaN in any argument makes the same numbers NaN as in the reference; sequences without it keep their bits."""
    use(DEVICES[device])
    p, axes = problem(name, 4, 5, 2, 17, "float32"), RECURRENCES[name].axes
    clean, others = run(name, p, "fused"), np.arange(5) != 3
    for label, array in p.items():
        broken = array.copy()
        broken[tuple({"T": 2, "B": 3}.get(axis, 1) for axis in axes[label] if not axis.isdigit())] = np.nan
        found, expected = (run(name, p | {label: broken}, twin) for twin in ("fused", "reference"))
        for result, numbers in expected.items():
            assert_array_equal(np.isnan(found[result]), np.isnan(numbers), err_msg=f"{label} -> {result}")
        if "B" in axes[label]:
            for result in set(BY_ROW) & set(clean):
                assert_array_equal(found[result][..., others, :], clean[result][..., others, :])


@every_unrolled
@pytest.mark.parametrize("device", ["one block", "step by step"])
def test_saturated_units_pass_no_gradient(name: str, device: str, use: Use) -> None:
    use(DEVICES[device])
    p = problem(name, 4, 3, 2, 17, "float32")
    for label in ("b_h", "b_xh"):
        if label in p:
            p[label] = np.where(p[label] > 0, 2000, -2000).astype("float32")
    found = run(name, p, "fused")
    assert all(np.isfinite(array).all() for array in found.values())
    for label in RECURRENCES[name].arguments:
        if label not in ("h0", "s0"):
            assert not found[f"dE/d{label}"].any(), label
    assert_agrees(name, p)


def assert_border(found: Any, expected: Any) -> None:
    """What is larger than 1e-30 is there, what is smaller is zero."""
    above, below = np.abs(expected) > 1.001e-30, np.abs(expected) < 0.999e-30
    assert min(above.sum(), below.sum()) > 20
    assert_allclose(found[above], expected[above], rtol=1e-4)
    assert not found[below].any()


@every_unrolled
@pytest.mark.parametrize("device", ["one block", "step by step"])
def test_the_border_is_1e_30(name: str, device: str, use: Use) -> None:
    """By input weights of 1 the gradient by x is that by what goes into the gates; without recurrent weights that by
    the first state is what units themselves carry on."""
    use(DEVICES[device])
    D = shape_of(RECURRENCES[name].arguments["W_xh"], 1, 1, 1, 17)[1]
    p = problem(name, 1, 5, D, 17, "float32") | {"W_xh": np.eye(D, dtype="float32")}
    p["W_hh"] = np.zeros_like(p["W_hh"])
    carried = {"lstm": "dE/ds0", "gru": "dE/dh0"}.get(name)
    for label in ("dE/dx", carried) if carried else ("dE/dx",):
        large = run(name, p, "fused")[label].astype("float64")
        factor = 1e-30 / np.median(np.abs(large[large != 0]))
        assert_border(run(name, p | {"g": p["g"] * np.float32(factor)}, "fused")[label], large * factor)


# --- the stand-in itself ---


def launched(body: str, cluster: int = 1, threads: int = 4, order: int = 0) -> list[float]:
    """What a kernel of these statements leaves in out [8], where `thread` and `out` are at hand."""
    text = (cuda_host.HERE / "cluster.cuh").read_text().replace("#pragma once", "")
    text += "ENTRY program(float* out) { int thread = threadIdx.x; float* shared = shared_memory(); " + body + "}\n"
    out = np.zeros(8, "float32")
    address = ctypes.c_void_p(out.ctypes.data)
    addresses = (ctypes.c_void_p * 1)(ctypes.addressof(address))
    run = cuda_host.compiled(text).run
    wrong = cuda_host.launched(run, addresses, (cluster, 1, 1), cluster, threads, 32, order)
    if wrong:
        raise RuntimeError(wrong)
    found: list[float] = out.tolist()
    return found


EXCHANGE = "shared[thread] = thread + 1; {} out[thread] = shared[3 - thread];"


def test_a_barrier_shows_what_others_wrote_and_none_does_not() -> None:
    whole = EXCHANGE.format("block_barrier();")
    for order in (0, 1, 2):
        assert launched(whole, order=order)[:4] == [4, 3, 2, 1]
    missing = EXCHANGE.format("")
    first, second = (launched(missing, order=order)[:4] for order in (0, 1))
    assert str(first) != str(second)  # with NaN, which shared memory begins as
    assert "nan" in str(first)


HAND_ON = "store_to(1 - cluster_rank(), shared, cluster_rank() + 1); {} out[cluster_rank()] = *shared;"


def test_blocks_of_a_cluster_write_into_each_other() -> None:
    whole = HAND_ON.format("cluster_arrive(); cluster_wait();")
    assert launched(whole, cluster=2)[:2] == [2, 1]


@pytest.mark.parametrize(
    ("body", "cluster", "message"),
    [
        ("if (thread) block_barrier();", 1, "thread 1 of block 0 waits at a barrier that others of its block miss"),
        ("if (thread == 2) { cluster_arrive(); cluster_wait(); } else block_barrier();", 2, "others of its block miss"),
        ("if (cluster_rank()) { cluster_arrive(); cluster_wait(); }", 2, "others of its cluster miss"),
        ("cluster_wait();", 2, "waits at the cluster's barrier without having arrived"),
        ("cluster_arrive(); cluster_arrive();", 2, "arrives twice"),
        ("if (cluster_rank()) store_to(0, shared, 1);", 2, "a store into a block that has ended"),
        ("store_to(0, shared + 8, 1);", 1, "a store outside of shared memory"),
        ("store_to(1, shared, 1);", 1, "a store into a block that is not there"),
        ("shared[8] = 1;", 1, "a write behind shared memory"),
    ],
)
def test_what_a_kernel_must_not_do_is_found(body: str, cluster: int, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        launched(body, cluster)
