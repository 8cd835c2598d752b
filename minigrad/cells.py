"""Recurrent cells: frozen hyper-parameters and pure functions of a flat dict of parameters.

Legend: T time, B batch, D input size, H hidden units, S numbers in a state (H; LSTM: 2H, hidden and cell side by side).
Row vectors: x [B, D], h [B, S], W_xh [D, H]. Every cell splits its transition in two,

    u_t = project(p, x_t)               what needs no state: one matrix product for the whole sequence
    h_t = advance(p, u_t, h_{t-1})      what does

so that `step(p, x, h) = advance(p, project(p, x), h)` and `unroll` is T advances. All functions take arrays or tensors
and any leading axes. Gates stand side by side in the order of the equations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, get_args

import numpy as np

from minigrad import init, ops
from minigrad.backend import Array, Params
from minigrad.errors import InputError

Activation = Literal["tanh", "sigmoid", "relu", "linear"]
Scheme = Literal["orthogonal", "normal", "sigmoid", "uniform", "identity"]
"""How weights start: orthogonal (biases 0); normal N(0, 0.1^2); sigmoid N(0, 0.01^2) (for logistic units; biases 0);
uniform U(-1/sqrt(H), 1/sqrt(H)), biases too; identity, SRN only, W_hh = 1, other weights N(0, 0.001^2), biases 0 (with
relu the IRNN of Le, Jaitly & Hinton 2015, section 2)."""


_ACTIVATIONS = {"tanh": ops.tanh, "sigmoid": ops.sigmoid, "relu": ops.relu, "linear": ops.linear}


class Cell(Protocol):
    """What methods and models ask of a cell."""

    @property
    def input_size(self) -> int:
        """D."""

    @property
    def hidden(self) -> int:
        """H: what a readout sees."""

    @property
    def state_size(self) -> int:
        """S."""

    @property
    def kernels(self) -> tuple[str, ...]:
        """Names of the kernels that unrolling calls, see `minigrad.kernels`."""

    def init(self, rng: np.random.Generator, scheme: Scheme, dtype: str) -> Params:
        """Fresh parameters, host arrays."""

    def project(self, p: Params, x: Array) -> Array:
        """u: the part of the transition that needs no state, x [..., D]."""

    def advance(self, p: Params, u: Array, h: Array) -> Array:
        """The next state [..., S] from u and the state h [..., S]."""

    def unroll(self, p: Params, x: Array, h0: Array) -> Array:
        """States [T, B, S] after each step of x [T, B, D] from h0 [B, S]."""

    def output(self, h: Array) -> Array:
        """What a readout sees of a state: [..., H]."""


def step(cell: Cell, p: Params, x: Array, h: Array) -> Array:
    """One transition: x [..., D], h [..., S] -> [..., S]."""
    return cell.advance(p, cell.project(p, x), h)


def unroll_by_steps(cell: Cell, p: Params, x: Array, h0: Array) -> Array:
    """The definition of `unroll`: T advances, [T, B, S]. Fused recurrences are held against it."""
    if x.shape[0] == 0:
        return ops.broadcast_to(h0, shape=(0, *h0.shape))
    h, states = h0, []
    for u_t in ops.unstack(cell.project(p, x)):
        h = cell.advance(p, u_t, h)
        states.append(h)
    return ops.stack(states)


def _weights(rng: np.random.Generator, scheme: Scheme, rows: int, hidden: int, blocks: int, dtype: str) -> Any:
    """A weight matrix [rows, blocks * hidden], each gate's block drawn by itself."""
    match scheme:
        case "orthogonal":
            parts = [init.rand_ortho(rng, rows, hidden, dtype) for _ in range(blocks)]
            return np.concatenate(parts, axis=1)
        case "normal":
            return init.normal(rng, rows, blocks * hidden, dtype, std=0.1)
        case "sigmoid":
            return init.normal(rng, rows, blocks * hidden, dtype, std=0.01)
        case "uniform":
            return init.uniform(rng, (rows, blocks * hidden), dtype, bound=hidden**-0.5)
        case "identity":
            raise InputError("init identity is for the srn cell: use another init, or --cell srn")
    raise InputError(f"unknown initialisation {scheme!r}: use {', '.join(get_args(Scheme))}")


def _bias(rng: np.random.Generator, scheme: Scheme, size: int, hidden: int, dtype: str) -> Any:
    if scheme == "uniform":
        return init.uniform(rng, (size,), dtype, bound=hidden**-0.5)
    return np.zeros(size, dtype)


@dataclass(frozen=True)
class SRN:
    """Simple recurrent network (Elman): h_t = act(x_t @ W_xh + h_{t-1} @ W_hh + b_h).

    Parameters: W_xh [D, H], W_hh [H, H], b_h [H].
    """

    input_size: int
    hidden: int
    activation: Activation = "tanh"
    kernels: ClassVar[tuple[str, ...]] = ("srn",)

    @property
    def state_size(self) -> int:
        """S = H."""
        return self.hidden

    def init(self, rng: np.random.Generator, scheme: Scheme, dtype: str) -> Params:
        """W_xh, W_hh, then b_h."""
        if scheme == "identity":
            W_xh = init.normal(rng, self.input_size, self.hidden, dtype, std=0.001)
            return {"W_xh": W_xh, "W_hh": np.eye(self.hidden, dtype=dtype), "b_h": np.zeros(self.hidden, dtype)}
        return {
            "W_xh": _weights(rng, scheme, self.input_size, self.hidden, 1, dtype),
            "W_hh": _weights(rng, scheme, self.hidden, self.hidden, 1, dtype),
            "b_h": _bias(rng, scheme, self.hidden, self.hidden, dtype),
        }

    def project(self, p: Params, x: Array) -> Array:
        """u = x @ W_xh."""
        return ops.matmul(x, p["W_xh"])

    def advance(self, p: Params, u: Array, h: Array) -> Array:
        """act(u + h @ W_hh + b_h)."""
        return _ACTIVATIONS[self.activation](ops.add(ops.add(u, ops.matmul(h, p["W_hh"])), p["b_h"]))

    def unroll(self, p: Params, x: Array, h0: Array) -> Array:
        """The fused recurrence."""
        return ops.srn_unroll(x, h0, p["W_xh"], p["W_hh"], p["b_h"], activation=self.activation)

    def output(self, h: Array) -> Array:
        """The state itself."""
        return h


@dataclass(frozen=True)
class GRU:
    """Gated recurrent unit, the reset gate applied after the recurrent product (the cuDNN and PyTorch form).

    r = s(x @ W_r + b_r + h @ R_r + c_r)
    z = s(x @ W_z + b_z + h @ R_z + c_z)
    n = tanh(x @ W_n + b_n + r * (h @ R_n + c_n))
    h' = (1 - z) * n + z * h
    Parameters, gates r, z, n side by side: W_xh [D, 3H] (W), W_hh [H, 3H] (R), b_xh [3H] (b), b_hh [3H] (c).
    """

    input_size: int
    hidden: int
    kernels: ClassVar[tuple[str, ...]] = ("gru",)

    @property
    def state_size(self) -> int:
        """S = H."""
        return self.hidden

    def init(self, rng: np.random.Generator, scheme: Scheme, dtype: str) -> Params:
        """W_xh, W_hh, then b_xh, b_hh."""
        H = self.hidden
        return {
            "W_xh": _weights(rng, scheme, self.input_size, H, 3, dtype),
            "W_hh": _weights(rng, scheme, H, H, 3, dtype),
            "b_xh": _bias(rng, scheme, 3 * H, H, dtype),
            "b_hh": _bias(rng, scheme, 3 * H, H, dtype),
        }

    def project(self, p: Params, x: Array) -> Array:
        """u = x @ W_xh + b_xh [..., 3H]."""
        return ops.add(ops.matmul(x, p["W_xh"]), p["b_xh"])

    def advance(self, p: Params, u: Array, h: Array) -> Array:
        """The three gates and the new state."""
        u_r, u_z, u_n = ops.split(u, 3)
        v_r, v_z, v_n = ops.split(ops.add(ops.matmul(h, p["W_hh"]), p["b_hh"]), 3)
        r = ops.sigmoid(u_r + v_r)
        z = ops.sigmoid(u_z + v_z)
        n = ops.tanh(u_n + r * v_n)
        return n - z * (n - h)

    def unroll(self, p: Params, x: Array, h0: Array) -> Array:
        """The fused recurrence."""
        return ops.gru_unroll(x, h0, p["W_xh"], p["W_hh"], p["b_xh"], p["b_hh"])

    def output(self, h: Array) -> Array:
        """The state itself."""
        return h


@dataclass(frozen=True)
class ChoGRU:
    """Gated recurrent unit in its original form (Cho et al. 2014): the reset gate before the recurrent product.

    r = s(x @ W_r + b_r + h @ R_r)
    z = s(x @ W_z + b_z + h @ R_z)
    n = tanh(x @ W_n + b_n + (r * h) @ R_n)
    h' = (1 - z) * n + z * h
    Parameters, gates r, z, n side by side: W_xh [D, 3H] (W), W_hh [H, 3H] (R), b_h [3H] (b). There is no fused kernel:
    the candidate's product waits for the gate.
    """

    input_size: int
    hidden: int
    kernels: ClassVar[tuple[str, ...]] = ()

    @property
    def state_size(self) -> int:
        """S = H."""
        return self.hidden

    def init(self, rng: np.random.Generator, scheme: Scheme, dtype: str) -> Params:
        """W_xh, W_hh, then b_h."""
        H = self.hidden
        return {
            "W_xh": _weights(rng, scheme, self.input_size, H, 3, dtype),
            "W_hh": _weights(rng, scheme, H, H, 3, dtype),
            "b_h": _bias(rng, scheme, 3 * H, H, dtype),
        }

    def project(self, p: Params, x: Array) -> Array:
        """u = x @ W_xh + b_h [..., 3H]."""
        return ops.add(ops.matmul(x, p["W_xh"]), p["b_h"])

    def advance(self, p: Params, u: Array, h: Array) -> Array:
        """The two gates, the candidate and the new state."""
        H = self.hidden
        u_r, u_z, u_n = ops.split(u, 3)
        gates, candidate = ops.split(p["W_hh"], [2 * H, H])
        v_r, v_z = ops.split(ops.matmul(h, gates), 2)
        z = ops.sigmoid(ops.add(u_z, v_z))
        n = ops.tanh(ops.add(u_n, ops.matmul(ops.multiply(ops.sigmoid(ops.add(u_r, v_r)), h), candidate)))
        return ops.subtract(n, ops.multiply(z, ops.subtract(n, h)))

    def unroll(self, p: Params, x: Array, h0: Array) -> Array:
        """Step by step."""
        return unroll_by_steps(self, p, x, h0)

    def output(self, h: Array) -> Array:
        """The state itself."""
        return h


@dataclass(frozen=True)
class LSTM:
    """Long short-term memory, one bias; the state is [h | c].

    i, f, o = s(.), g = tanh(.) of x @ W_xh + h @ W_hh + b_h;  c' = f * c + i * g;  h' = o * tanh(c')
    Parameters, gates i, f, g, o side by side: W_xh [D, 4H], W_hh [H, 4H], b_h [4H].
    """

    input_size: int
    hidden: int
    kernels: ClassVar[tuple[str, ...]] = ("lstm",)

    @property
    def state_size(self) -> int:
        """S = 2H."""
        return 2 * self.hidden

    def init(self, rng: np.random.Generator, scheme: Scheme, dtype: str) -> Params:
        """W_xh, W_hh, then b_h."""
        H = self.hidden
        return {
            "W_xh": _weights(rng, scheme, self.input_size, H, 4, dtype),
            "W_hh": _weights(rng, scheme, H, H, 4, dtype),
            "b_h": _bias(rng, scheme, 4 * H, H, dtype),
        }

    def project(self, p: Params, x: Array) -> Array:
        """u = x @ W_xh + b_h [..., 4H]."""
        return ops.add(ops.matmul(x, p["W_xh"]), p["b_h"])

    def advance(self, p: Params, u: Array, h: Array) -> Array:
        """The four gates, the new cell and the new hidden state."""
        hidden, c = ops.split(h, 2)
        i, f, g, o = ops.split(u + ops.matmul(hidden, p["W_hh"]), 4)
        c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
        return ops.concatenate([ops.sigmoid(o) * ops.tanh(c), c], axis=-1)

    def unroll(self, p: Params, x: Array, h0: Array) -> Array:
        """The fused recurrence."""
        return ops.lstm_unroll(x, h0, p["W_xh"], p["W_hh"], p["b_h"])

    def output(self, h: Array) -> Array:
        """The hidden half of the state."""
        return ops.getitem(h, (..., slice(None, self.hidden)))


@dataclass(frozen=True)
class Antisymmetric:
    """AntisymmetricRNN with a gate (Chang et al. 2019), A = W_hh - W_hh^T - gamma I:

    z = s(x @ V_z + h @ A + b_z);  h' = h + epsilon * z * tanh(x @ V_h + h @ A + b_h)
    Parameters, z and h side by side in the input's: W_xh [D, 2H] (V_z, V_h), b_h [2H] (b_z, b_h); W_hh [H, H], of which
    only the antisymmetric part acts.
    """

    input_size: int
    hidden: int
    epsilon: float = 0.01
    gamma: float = 0.01
    kernels: ClassVar[tuple[str, ...]] = ("antisymmetric",)

    @property
    def state_size(self) -> int:
        """S = H."""
        return self.hidden

    def init(self, rng: np.random.Generator, scheme: Scheme, dtype: str) -> Params:
        """W_xh, W_hh, then b_h."""
        H = self.hidden
        return {
            "W_xh": _weights(rng, scheme, self.input_size, H, 2, dtype),
            "W_hh": _weights(rng, scheme, H, H, 1, dtype),
            "b_h": _bias(rng, scheme, 2 * H, H, dtype),
        }

    def project(self, p: Params, x: Array) -> Array:
        """u = x @ W_xh + b_h [..., 2H]."""
        return ops.add(ops.matmul(x, p["W_xh"]), p["b_h"])

    def advance(self, p: Params, u: Array, h: Array) -> Array:
        """One Euler step of size epsilon."""
        u_z, u_h = ops.split(u, 2)
        W = p["W_hh"]
        v = ops.matmul(h, W) - ops.matmul(h, ops.transpose(W)) - self.gamma * h
        return self.epsilon * (ops.sigmoid(u_z + v) * ops.tanh(u_h + v)) + h

    def unroll(self, p: Params, x: Array, h0: Array) -> Array:
        """The fused recurrence."""
        constants = {"epsilon": self.epsilon, "gamma": self.gamma}
        return ops.antisymmetric_unroll(x, h0, p["W_xh"], p["W_hh"], p["b_h"], **constants)

    def output(self, h: Array) -> Array:
        """The state itself."""
        return h


@dataclass(frozen=True)
class Stack:
    """Cells one above the other, taken as one transition: the state is all layers' states side by side.

    Parameters of layer i have the prefix `layer{i}/`.
    """

    layers: tuple[Cell, ...]

    @property
    def input_size(self) -> int:
        """D of the lowest layer."""
        return self.layers[0].input_size

    @property
    def hidden(self) -> int:
        """H of the highest layer."""
        return self.layers[-1].hidden

    @property
    def kernels(self) -> tuple[str, ...]:
        """Those of all layers."""
        return tuple(sorted({name for layer in self.layers for name in layer.kernels}))

    @property
    def state_size(self) -> int:
        """The sum over layers."""
        return sum(self._sizes())

    def _sizes(self) -> list[int]:
        return [layer.state_size for layer in self.layers]

    def init(self, rng: np.random.Generator, scheme: Scheme, dtype: str) -> Params:
        """Layer by layer, from below."""
        return {
            f"layer{i}/{name}": array
            for i, layer in enumerate(self.layers)
            for name, array in layer.init(rng, scheme, dtype).items()
        }

    @staticmethod
    def _of_layer(p: Params, i: int) -> Params:
        prefix = f"layer{i}/"
        return {name.removeprefix(prefix): array for name, array in p.items() if name.startswith(prefix)}

    def project(self, p: Params, x: Array) -> Array:
        """The lowest layer's; the others' inputs are states."""
        return self.layers[0].project(self._of_layer(p, 0), x)

    def advance(self, p: Params, u: Array, h: Array) -> Array:
        """Each layer advances on what the one below has just put out."""
        states: list[Array] = []
        for i, (layer, state) in enumerate(zip(self.layers, ops.split(h, self._sizes()), strict=True)):
            p_i = self._of_layer(p, i)
            if i:
                u = layer.project(p_i, self.layers[i - 1].output(states[-1]))
            states.append(layer.advance(p_i, u, state))
        return ops.concatenate(states, axis=-1)

    def unroll(self, p: Params, x: Array, h0: Array, between: Sequence[Array] = ()) -> Array:
        """Layer by layer over the whole sequence, each with its own fused recurrence.

        Args:
            p: parameters.
            x: [T, B, D].
            h0: [B, S].
            between: for every layer but the highest, a mask by which its output [T, B, H] is multiplied on its way to
                the next layer, see `ops.dropout`; its own states stay as they are. None given: nothing is multiplied.
        """
        states: list[Array] = []
        for i, (layer, state) in enumerate(zip(self.layers, ops.split(h0, self._sizes()), strict=True)):
            if i:
                x = self.layers[i - 1].output(states[-1])
                x = ops.dropout(x, between[i - 1]) if between else x
            states.append(layer.unroll(self._of_layer(p, i), x, state))
        return ops.concatenate(states, axis=-1)

    def output(self, h: Array) -> Array:
        """What the highest layer puts out."""
        top = self.layers[-1]
        return top.output(ops.getitem(h, (..., slice(self.state_size - top.state_size, None))))


CELLS: dict[str, Any] = {"srn": SRN, "gru": GRU, "gru-cho": ChoGRU, "lstm": LSTM, "antisymmetric": Antisymmetric}


def make(
    name: str,
    input_size: int,
    hidden: int,
    activation: Activation = "tanh",
    layers: int = 1,
    top: int | None = None,
) -> Cell:
    """A cell by name, stacked if `layers` > 1.

    Args:
        name: a key of CELLS.
        input_size: D of the lowest layer.
        hidden: units of a layer.
        activation: of the SRN.
        layers: how many, one above the other.
        top: units of the highest of several layers; None: as many as the others have.

    Raises:
        InputError: for an unknown cell or activation, sizes below 1, an activation on a gated cell (theirs are fixed),
            or a size of the highest layer where there is one layer.
    """
    if name not in CELLS:
        raise InputError(f"unknown cell {name!r}: use {', '.join(CELLS)}")
    if hidden < 1 or input_size < 1 or layers < 1:
        raise InputError(f"a cell needs sizes of at least 1, got input {input_size}, hidden {hidden}, layers {layers}")
    if top is not None and layers == 1:
        raise InputError(f"top is the size of the highest of several layers: with one layer use hidden {top}")
    if top is not None and top < 1:
        raise InputError(f"a cell needs sizes of at least 1, got top {top}")
    if activation not in get_args(Activation):
        raise InputError(f"unknown activation {activation!r}: use {', '.join(get_args(Activation))}")
    if name != "srn" and activation != "tanh":
        raise InputError(f"the activation of {name} is fixed: --activation {activation} is for srn")
    settings = {"activation": activation} if name == "srn" else {}
    if layers == 1:
        return CELLS[name](input_size, hidden, **settings)  # type: ignore[no-any-return]
    widths = [hidden] * (layers - 1) + [hidden if top is None else top]
    inputs = [input_size, *widths[:-1]]
    return Stack(tuple(CELLS[name](D, H, **settings) for D, H in zip(inputs, widths, strict=True)))
