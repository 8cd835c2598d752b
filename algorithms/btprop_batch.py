"""The batch regime of BTPROP (Wiseman et al. 2017): the free states and duals of the whole text live on, and every
update is made with the gradient of the whole of it.

J, its phases and their order are those of `algorithms.btprop`, n being all blocks of the text. A text does not fit into
one pass, so each phase goes through it in chunks, a batch each, and moves what it moves at the end of the pass. Chunks
share the state at their border: its gradient is the sum of what both say. Kept are the states at the borders of blocks,
their duals, one gradient, and the activations of one chunk. An epoch is one turn of all phases, and takes as many
passes: `h_steps` + `theta_steps`, and one if duals move. One pass more, before the first epoch, sets the free states.

The released code has no such regime (each of its batches starts afresh), so the paper's words decide: states, duals and
the Adagrad sums of states persist, and h_0 is given, zero, and stays. States and duals move by the gradient of n J, the
paper's sum over the text, of which each meets two terms however long the text is; parameters by that of J, the mean.
The dual step is the scaled one: duals that live on would grow by themselves under the other.

Legend as in `algorithms.btprop`; chunk m has n_m blocks and holds h_{j+1} and u_j for its own blocks j.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from algorithms import btprop
from algorithms.blocks import border_states
from algorithms.btprop import Config, Phase, Problem
from algorithms.model import Model
from algorithms.protocol import READOUTS, Batch, EndOf, Info, Method, without
from minigrad import ops
from minigrad.backend import Array, Params, get_xp
from minigrad.errors import InputError
from minigrad.tape import Tape


@dataclass(frozen=True)
class State:
    """What lives across batches; entries of `free` and `duals` are named by the number of the chunk."""

    params: Params
    optimizer: dict[str, Any]
    free: Params = field(default_factory=dict)
    """h_{j+1} of the chunk's blocks, [n_m, S]."""
    duals: Params = field(default_factory=dict)
    """u_j of its blocks, [n_m, S]."""
    h_memory: dict[str, Any] = field(default_factory=dict)
    """Memory of the free states' update rule."""
    by_h: Params = field(default_factory=dict)
    """Gradient by the free states, as far as the pass has come."""
    by_theta: Params = field(default_factory=dict)
    """Gradient by the parameters, summed over blocks, as far as the pass has come."""
    turn: int = -1
    """Number of the pass within its epoch; -1: the pass that sets the free states."""
    epoch: int = 1
    """Number of the epoch."""


def init(config: Config, model: Model, params: Params, rng: np.random.Generator) -> State:
    """A fresh state around given parameters.

    Raises:
        InputError: as `btprop.init`, or for a kind of first states that is none of a text as a whole.
    """
    if config.h_init == "restart":
        raise InputError("h_init restart belongs to batches that start afresh: use sequential or zero")
    made = btprop.init(config, model, params, rng)
    return State(made.params, made.optimizer)


def passes(config: Config, epoch: int) -> tuple[Phase, ...]:
    """The phases of an epoch, each as often as it takes a step."""
    return tuple(phase for phase in btprop.phases(config, epoch) for _ in range(btprop.steps_of(config, phase)))


def moves_h(phase: Phase | None) -> bool:
    """Whether the free states move at the end of a pass."""
    return phase in (btprop.h_steps, btprop.joint_steps)


def moves_theta(phase: Phase | None) -> bool:
    """Whether the parameters move at the end of a pass."""
    return phase in (btprop.theta_steps, btprop.joint_steps)


def first_update(config: Config, end_of: EndOf) -> float:
    """At the end of the first pass of the first epoch that moves them; a pass before it sets the free states."""
    before = [moves_theta(phase) for phase in passes(config, epoch=1)].index(True)
    return end_of(1 + before + 1)


def forward_passes(config: Config) -> float:
    """The mean over the passes of an epoch in which duals move."""
    each = [btprop.WORK[phase] for phase in passes(config, config.u_start)]
    return sum(each) / len(each)


def step(config: Config, model: Model, state: State, batch: Batch, rng: np.random.Generator) -> tuple[State, Info]:
    """One chunk of a pass: its share of the gradients, and at the end of the pass what they move.

    Raises:
        InputError: if the chunk is none of successive blocks of a text, or of another text than before.
    """
    btprop.check_blocks(batch)
    problem, chunk = Problem(config, model, batch.x, batch.y), str(batch.index)
    before = border(model, state, batch.index)
    if state.turn < 0:
        state = with_first_states(state, problem, chunk, before)
    elif chunk not in state.free or state.free[chunk].shape[0] != problem.n:
        raise InputError(f"batch {chunk} has no free states: the run was begun with another text or batch size")
    h = get_xp(before).concat([before[None, ...], state.free[chunk]])
    u = state.duals[chunk]

    phase = None if state.turn < 0 else passes(config, state.epoch)[state.turn]
    with Tape() as tape:
        theta = tape.watch(state.params) if moves_theta(phase) else state.params
        w = tape.watch(h) if moves_h(phase) else h
        J, hh = problem.objective(theta, w, u)
    moving = {"theta": without(theta, *config.frozen)} if moves_theta(phase) else {}
    moving |= {"h": w} if moves_h(phase) else {}
    found = tape.gradient(J, moving) if moving else {}

    if moves_h(phase):
        state = replace(state, by_h=with_chunk(state.by_h, batch.index, problem.n * found["h"]))
    if moves_theta(phase):
        by_theta = {name: problem.n * g for name, g in found["theta"].items()}
        state = replace(state, by_theta=plus(state.by_theta, by_theta))
    hh = ops.value(hh)
    if phase is btprop.dual_step:  # u_j += u_lr lambda (hh_j - h_{j+1})
        moved = u + config.u_lr * config.penalty(batch.x.shape[0]) * (hh - h[1:, ...])
        state = replace(state, duals={**state.duals, chunk: moved})

    grads: Params = {}
    if batch.last:
        state, grads = end_of_pass(config, state, phase)
    info = Info(
        loss=ops.value(J),
        grads=grads,
        bounded={"the free states": h},
        arrays={"h": h, "h_hat": hh, "u": u},
        kernels=model.twins(btprop.called(config, model), state.params, problem.n),
    )
    return state, info


def border(model: Model, state: State, number: int) -> Array:
    """The state [S] in which a chunk begins: the last one of the chunk before; zero at the beginning of the text."""
    if number:
        return state.free[str(number - 1)][-1, ...]
    return model.initial_state(state.params, 1)[0, ...]


def with_first_states(state: State, problem: Problem, chunk: str, before: Array) -> State:
    """With what the network predicts, block after block, or zeros."""
    xp = get_xp(before)
    if problem.config.h_init == "sequential":
        h = border_states(problem.model, state.params, problem.x, before)[1:, ...]
    else:
        h = xp.zeros((problem.n, before.shape[0]), dtype=before.dtype, device=before.device)
    return replace(state, free={**state.free, chunk: h}, duals={**state.duals, chunk: xp.zeros_like(h)})


def with_chunk(by_h: Params, number: int, g: Array) -> Params:
    """The gradient with a chunk's part [n_m+1, S]: its first row belongs to the chunk before, that of h_0 to nobody."""
    by_h = {**by_h, str(number): g[1:, ...]}
    if number:
        behind = by_h[str(number - 1)]
        by_h[str(number - 1)] = get_xp(g).concat([behind[:-1, ...], behind[-1:, ...] + g[:1, ...]])
    return by_h


def plus(total: Params, grads: Params) -> Params:
    """Sums of gradients."""
    return {name: total[name] + g if name in total else g for name, g in grads.items()}


def end_of_pass(config: Config, state: State, phase: Phase | None) -> tuple[State, Params]:
    """What a whole gradient moves, and dJ/dtheta where it moved theta; then the next pass."""
    grads: Params = {}
    if moves_h(phase):
        rule = config.h_rule()
        free, memory = rule.step(state.by_h, state.h_memory or rule.init(state.free), state.free)
        state = replace(state, free=free, h_memory=memory)
    if moves_theta(phase):
        blocks = sum(rows.shape[0] for rows in state.free.values())
        grads = {name: g / blocks for name, g in state.by_theta.items()}
        theta, optimizer = config.update_rule().step(grads, state.optimizer, state.params)
        state = replace(state, params=theta, optimizer=optimizer)
    turn, epoch = state.turn + 1, state.epoch
    if turn == len(passes(config, epoch)):
        turn, epoch = 0, epoch + 1
    return replace(state, by_h={}, by_theta={}, turn=turn, epoch=epoch), grads


METHODS = {
    "btprop-batch": Method(
        name="btprop-batch",
        summary="BTPROP with free states and duals of the whole text that live on, one update an epoch",
        reference=btprop.METHODS["btprop"].reference,
        config=Config,
        defaults={"dual": "scaled", "first_state": "fixed", "opt_arctanh": False},
        state=State,
        init=init,
        step=step,
        first_update=first_update,
        forward_passes=forward_passes,
        kernels=btprop.called,
        blocks=True,
        readouts=READOUTS,
        measure=btprop.measure,
    )
}
