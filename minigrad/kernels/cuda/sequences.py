"""What the CUDA twins share: runs, the products around a recurrence, and the recurrence itself.

Arrays have a leading axis of R runs here: independent networks, each with weights of its own, which one launch trains.
What a launch computes for a run has the same bits whatever R is. The products before and after it are batches of
products, one for each run, which a library may add up in another order than a single product.

Legend: R runs, T time, B batch, D input size, H hidden, N columns.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from minigrad.backend import Array, get_xp
from minigrad.kernels.cuda import geometry
from minigrad.kernels.cuda.geometry import CELLS, Cell
from minigrad.kernels.cuda.launch import STEP_THREADS, Cupy, Machine, single_step, whole_sequence
from minigrad.kernels.plain import before, row_sum, rows_times, weight_gradient
from minigrad.population import Population, is_population

P = ParamSpec("P")
T = TypeVar("T")


def machine_of(array: Array) -> Machine:
    """The GPU on which a CuPy array lies."""
    return Cupy(array.device.id)


def of_runs(function: Callable[Concatenate[Machine, P], T]) -> Callable[P, T]:
    """A function of a machine and arrays [R, ...] as one of the arrays of a single run, or of populations.

    Its arrays are in C order. What it returns, arrays [R, ...] or None, becomes of the kind that the arguments were. It
    runs on the GPU of its first array, or on the `machine` that is handed in.
    """

    @functools.wraps(function)
    def called(*arguments: Any, machine: Machine | None = None, **options: Any) -> Any:
        first, many = arguments[0], is_population(arguments[0])
        array = first.data if many else first
        machine, xp = machine or machine_of(array), get_xp(array)

        def inside(argument: Any) -> Any:
            if not hasattr(argument, "shape"):
                return argument
            return xp.ascontiguousarray(argument.data if many else argument[None, ...])

        def outside(result: Any) -> Any:
            return None if result is None else Population(result) if many else result[0, ...]

        with machine.on(array):
            found = function(machine, *map(inside, arguments), **options)
            return tuple(map(outside, found)) if isinstance(found, tuple) else outside(found)

    return cast("Callable[P, T]", called)


def every_run(function: Callable[..., Array], *arrays: Array) -> Array:
    """A function of the arrays of one run, of all runs: [R, ...]."""
    if arrays[0].shape[0] == 1:
        return function(*(array[0, ...] for array in arrays))[None, ...]
    found: Population = function(*map(Population, arrays))
    return found.data


def projected(x: Array, W: Array) -> Array:
    """x @ W for all steps: [R, T, B, D], [R, D, N] -> [R, T, B, N]."""
    return every_run(rows_times, x, W)


def gradients_by_input(
    x: Array, d: Array, W_xh: Array, needs: tuple[bool, bool, bool]
) -> tuple[Array | None, Array | None, Array | None]:
    """Gradients by x, W_xh and the bias beside it, from those by a = x @ W_xh + b; None where not wanted.

    Args:
        x: inputs, [R, T, B, D].
        d: gradients by a, [R, T, B, N].
        W_xh: input weights, [R, D, N].
        needs: which are wanted.
    """
    return (
        every_run(lambda d, W: rows_times(d, W.T), d, W_xh) if needs[0] else None,
        every_run(weight_gradient, x, d) if needs[1] else None,
        every_run(row_sum, d) if needs[2] else None,
    )


def gradient_by_recurrent_weights(h: Array, h0: Array, d: Array) -> Array:
    """The sum over time and the batch of h_{t-1}^T @ d_t: [R, T, B, H], [R, B, H], [R, T, B, N] -> [R, H, N]."""
    return every_run(lambda h, h0, d: weight_gradient(before(h, h0), d), h, h0, d)


def recur(
    machine: Machine,
    cell_name: str,
    shape: tuple[int, int, int, int],
    W: Array,
    arguments: Sequence[Array | int | float],
    start: Array | None = None,
    steps: int | None = None,
    activation: str = "linear",
) -> None:
    """Run a recurrence over its sequence: in one launch where the weights fit into registers, else step by step.

    Args:
        machine: what runs it.
        cell_name: in CELLS.
        shape: R, T, B, H.
        W: recurrent weights; forward [R, values * H, sums * H], backward [R, sums * H, values * H].
        arguments: what the cell's kernel takes first: arrays [R, ...] in C order, which it reads and writes; numbers.
        start: the state before the first product, [R, lanes * B, values * H]; None where there is none (backward).
        steps: how many; None: T.
        activation: a name in ACTIVATIONS, for a cell that has one.
    """
    cell, (R, T, B, H) = CELLS[cell_name], shape
    steps = T if steps is None else steps
    plan = geometry.plan(cell, H, B, R, machine.device)
    if plan is not None:
        program = whole_sequence(cell, H, plan, activation)
        machine.launch(program, plan.grid, (*arguments, W, steps, T, B))
        return
    for run in range(R):
        of_run = [a if isinstance(a, int | float) else a[run : run + 1, ...] for a in arguments]
        _by_steps(
            machine, cell, (T, B, H), W[run, ...], of_run, None if start is None else start[run, ...], steps, activation
        )


def _by_steps(
    machine: Machine,
    cell: Cell,
    shape: tuple[int, int, int],
    W: Array,
    arguments: Sequence[Array | int | float],
    start: Array | None,
    steps: int,
    activation: str,
) -> None:
    """The recurrence of one run with the library's product in every step, and one launch for what follows it."""
    xp, (T, B, H), program = get_xp(W), shape, single_step(cell, activation)
    forward = cell.direction == "forward"
    matrix = W if forward else xp.matrix_transpose(W)
    values = xp.zeros((cell.lanes * B, cell.values * H), dtype=W.dtype) if start is None else start.copy()
    sums = xp.zeros((cell.lanes * B, cell.sums * H), dtype=W.dtype)
    carried = xp.zeros((B, H, 2), dtype=W.dtype)
    grid = (-(-B * H // STEP_THREADS), 1, 1)
    for step in range(steps if forward else steps + 1):
        if start is not None or step:
            sums = values @ matrix
        machine.launch(program, grid, (*arguments, sums, values, carried, step, steps, T, B, H))
