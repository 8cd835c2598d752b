"""How a recurrence is laid out on a GPU: plain arithmetic, no CuPy.

A cluster of C blocks takes `rows` rows of one run through the whole sequence. A block has 1/C of the units and keeps
their recurrent weights in the registers of its threads: a thread those of `columns` sums and `inner` numbers of the
state. `sources/recurrence.cuh` says the rest.

The order in which a sum is added up depends on C, `threads`, `columns` and `inner`. These follow from the recurrence, H
and the GPU alone, so that what becomes of a row depends neither on the batch nor on how many runs there are. Those may
only change how many rows a tile has.

Legend: B rows of a batch, H hidden units, R runs, C blocks of a cluster.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

CLUSTERS = (1, 2, 4, 8)
"""Blocks of a cluster; 8 is the most that every GPU with clusters offers."""
THREADS = (64, 128, 256, 512)
"""Threads of a block. With 512 of them each may have 128 registers."""
ROWS = (1, 2, 3, 4, 6, 8, 12, 16)
"""Rows of a tile."""
LATENCY = 800
"""Cycles of a step besides the product, a guess from the latencies of two barriers, of shared memory and of tanh."""


@dataclass(frozen=True)
class Cell:
    """What the layout needs to know of a recurrence's pass; the constants of the struct in its source."""

    source: str
    """Name of the file in `sources`, without its ending."""
    direction: Literal["forward", "backward"]
    sums: int
    """Sums that a unit needs."""
    values: int
    """Numbers that a unit adds to the state."""
    constants: int = 0
    """Floats that a unit keeps for all rows: biases."""
    lanes: int = 1
    """States of a row."""

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.source} {self.direction}"


CELLS: dict[str, Cell] = {
    cell.name: cell
    for cell in (
        Cell("srn", "forward", 1, 1, 1),
        Cell("srn", "backward", 1, 1),
        Cell("lstm", "forward", 4, 1, 4),
        Cell("lstm", "backward", 1, 4),
        Cell("gru", "forward", 3, 1, 6),
        Cell("gru", "backward", 1, 3),
        Cell("antisymmetric", "forward", 1, 1, 2),
        Cell("antisymmetric", "backward", 1, 1),
        Cell("target", "forward", 1, 1, 1, 2),
    )
}
"""By name."""


@dataclass(frozen=True)
class Device:
    """What the layout needs to know of a GPU."""

    multiprocessors: int
    shared: int
    """Bytes of shared memory that a block may ask for."""
    clusters: tuple[int, ...]
    """Sizes of the clusters that it offers, ascending: CLUSTERS, or (1,) before compute capability 9.0."""
    weights: int = 64
    """The most weights that a thread keeps; 64 of 128 registers leave the rest enough room."""


@dataclass(frozen=True)
class Plan:
    """A layout: the constants that a kernel is compiled with, and its launch."""

    cluster: int
    threads: int
    columns: int
    """Sums that a thread adds to."""
    inner: int
    """Numbers of the state that it multiplies for each."""
    rows: int
    """Rows of a tile."""
    shared: int
    """Bytes of shared memory of a block."""
    grid: tuple[int, int, int]
    """Blocks: [C, tiles of a run, R]."""


@dataclass(frozen=True)
class _Split:
    """How a block's product is shared out among its threads."""

    threads: int
    columns: int
    inner: int
    pitch: int
    """Floats of a row of partial sums."""
    line: int
    """Floats of a state in shared memory."""
    splits: int
    """Threads that share a sum."""
    cycles: float
    """An estimate for one row of a tile: multiply-adds, or reading and writing shared memory."""
    waits: float
    """An estimate of what does not grow with the rows: barriers, and adding up."""


def why_not(cell: Cell, H: int, device: Device) -> str:
    """Why a recurrence of H units cannot keep its weights in registers; empty if it can."""
    if _cluster(cell, H, device):
        return ""
    weights, most = cell.sums * cell.values * H * H, device.clusters[-1]
    room = most * THREADS[-1] * device.weights
    return f"{cell.name} of {H} units has {weights:,} recurrent weights, and {most} multiprocessors keep {room:,}"


@functools.lru_cache(maxsize=1024)
def plan(cell: Cell, H: int, B: int, R: int, device: Device) -> Plan | None:
    """The layout for R runs of B rows, or None where the weights do not fit into registers.

    Args:
        cell: one of CELLS.
        H: hidden units, at least 1.
        B: rows of a batch, at least 1.
        R: runs, at least 1.
        device: the GPU.
    """
    cluster = _cluster(cell, H, device)
    if not cluster:
        return None
    split = _split(cell, H, cluster, device)
    assert split is not None
    units = _ceil(H, cluster)

    def shared(rows: int) -> int:
        floats = rows * cell.lanes * (2 * split.line + split.splits * split.pitch) + units * max(cell.constants, 1)
        return 4 * floats

    # A thread has no more than one unit of one row: what a second one keeps would take too many registers.
    fits = [n for n in ROWS if shared(n) <= device.shared and n * units <= split.threads]
    if not fits:
        return None
    rows = min(fits, key=lambda n: (_cycles(n, cell, split, cluster, R * _ceil(B, n), device), n))
    grid = (cluster, _ceil(B, rows), R)
    return Plan(cluster, split.threads, split.columns, split.inner, rows, shared(rows), grid)


def step_cycles(cell: Cell, H: int, B: int, R: int, device: Device) -> float:
    """An estimate of the multiply-adds of one step on the multiprocessor with most of them, in cycles of 128.

    Raises:
        ValueError: if the weights do not fit into registers.
    """
    found = plan(cell, H, B, R, device)
    if found is None:
        raise ValueError(why_not(cell, H, device))
    tiles = _ceil(found.grid[1] * R, device.multiprocessors // found.cluster)
    return tiles * found.rows * cell.lanes * cell.sums * cell.values * H * H / found.cluster / 128


@functools.cache
def _cluster(cell: Cell, H: int, device: Device) -> int:
    """The least number of blocks whose registers take all weights; 0 if there is none."""
    return next((C for C in device.clusters if _split(cell, H, C, device)), 0)


@functools.cache
def _split(cell: Cell, H: int, cluster: int, device: Device) -> _Split | None:
    """The fastest way, as far as can be estimated, to share out a product; None if no way fits."""
    units, width = _ceil(H, cluster), H * cell.values
    found = []
    for threads in THREADS:
        for columns in (1, 2, 3, 4):
            groups = _ceil(units * cell.sums, columns)
            if groups > threads:
                continue
            inner = 4 * _ceil(_ceil(width, threads // groups), 4)
            if inner * columns > device.weights:
                continue
            splits, warps, pitch = _ceil(width, inner), threads // 32, 4 * _ceil(groups * columns, 4)
            chunk = inner if inner // 4 % 2 else inner + 4
            # In a cycle a quarter of a multiprocessor begins an instruction of a warp, and shared memory serves a warp.
            arithmetic = _ceil(warps, 4) * columns * inner
            memory = warps * (inner / 4 + columns) + splits * units * cell.sums / 32
            waits = 2 * warps + 4 * splits
            found.append(
                _Split(threads, columns, inner, pitch, splits * chunk, splits, float(max(arithmetic, memory)), waits)
            )
    return min(found, key=lambda s: (2 * s.cycles + s.waits, s.threads, s.columns), default=None)


def _cycles(rows: int, cell: Cell, split: _Split, cluster: int, tiles: int, device: Device) -> float:
    """An estimate for a step of all tiles."""
    # Clusters lie within groups of 16 or 18 multiprocessors, so a few of these stay without one.
    places = max(1, device.multiprocessors // 16 * 16 // cluster) if cluster > 1 else device.multiprocessors
    beside = min(max(1, 512 // split.threads), _ceil(tiles, places))  # blocks that share a multiprocessor
    product = rows * cell.lanes * split.cycles
    return _ceil(tiles, places * beside) * max(LATENCY + split.waits + product, beside * product)


def _ceil(a: int, b: int) -> int:
    return -(-a // b)
