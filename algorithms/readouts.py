"""Readouts: from what the highest layer puts out to logits or values, and to their cross-entropy.

    linear       h W_hy + b_y
    two-linear   (h W_hz + b_z) W_zy + b_y                    no nonlinearity between (Kag & Saligrama 2021, images)
    tied         h E^T + b_y                                  E embeds the tokens too (Press & Wolf 2017)
    mos          log(p + 1e-8),  p = sum over k of pi_k softmax(z_k E^T + b_y)
                 z_1 .. z_K = tanh(h W_hz + b_z),  pi = softmax(h W_hk)     (mixture of softmaxes, Yang et al. 2018)

What mos puts out are logits as well: softmax of log(p + 1e-8) is p + 1e-8, over its sum.

Legend: H what the highest layer puts out, Z width between two layers, O outputs (V with tied and mos), V vocabulary,
D size of an embedding, K experts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, get_args

import numpy as np

from minigrad import init, ops
from minigrad.backend import Array, Params
from minigrad.cells import Scheme
from minigrad.errors import InputError

Name = Literal["linear", "two-linear", "tied", "mos"]

WIDTH = 256
"""Z of two-linear, where nothing else is asked for (released code of Kag & Saligrama 2021)."""
EXPERTS = 15
"""K of mos, where nothing else is asked for (released codes of Yang et al. 2018 and Kag & Saligrama 2021)."""
SMALL = 1e-8
"""Added to every probability of mos before its logarithm is taken (the same codes)."""


class Readout(Protocol):
    """What a model asks of its readout."""

    @property
    def name(self) -> Name:
        """As on the command line."""

    @property
    def inputs(self) -> int:
        """H."""

    @property
    def outputs(self) -> int:
        """O."""

    @property
    def embedding(self) -> int | None:
        """D that the embedding must have where the readout is tied to it; None: the readout is by itself."""

    @property
    def latent(self) -> int:
        """Numbers in a layer of its own that may be dropped; 0: none."""

    @property
    def kernels(self) -> tuple[str, ...]:
        """Names of the kernels that `cross_entropy` calls, see `minigrad.kernels`."""

    def init(self, rng: np.random.Generator, scheme: Scheme, dtype: str) -> Params:
        """Fresh parameters of its own, host arrays, in the order of the equations."""

    def logits(self, p: Params, h: Array, latent: Array | None = None) -> Array:
        """Logits or values [..., O] of h [..., H]; `latent` [..., latent]: a mask for the layer that may be dropped."""

    def cross_entropy(self, p: Params, h: Array, y: Array, latent: Array | None = None) -> Array:
        """The mean over all leading axes of -log softmax(logits)[y], 0-d, nats; y [...] ids in [0, O).

        Raises:
            InputError: if the leading axes of h are not those of y.
            IndexError: if there is no such class.
        """


@dataclass(frozen=True)
class Linear:
    """h W_hy + b_y. Parameters: W_hy [H, O], b_y [O]."""

    inputs: int
    outputs: int
    name: ClassVar[Name] = "linear"
    embedding: ClassVar[None] = None
    latent: ClassVar[int] = 0
    kernels: ClassVar[tuple[str, ...]] = ("readout",)

    def init(self, rng: np.random.Generator, scheme: Scheme, dtype: str) -> Params:
        """W_hy, then b_y, which is 0; uniform: U(-0.1, 0.1), as in the code of Wiseman et al. 2017."""
        W_hy = _weights(rng, scheme, self.inputs, self.outputs, dtype, bound=0.1)
        return {"W_hy": W_hy, "b_y": np.zeros(self.outputs, dtype)}

    def logits(self, p: Params, h: Array, latent: Array | None = None) -> Array:
        """[..., O]."""
        return ops.add(ops.matmul(h, p["W_hy"]), p["b_y"])

    def cross_entropy(self, p: Params, h: Array, y: Array, latent: Array | None = None) -> Array:
        """0-d."""
        return ops.linear_cross_entropy(h, p["W_hy"], p["b_y"], y)


@dataclass(frozen=True)
class TwoLinear:
    """(h W_hz + b_z) W_zy + b_y. Parameters: W_hz [H, Z], b_z [Z], W_zy [Z, O], b_y [O]."""

    inputs: int
    outputs: int
    width: int = WIDTH
    name: ClassVar[Name] = "two-linear"
    embedding: ClassVar[None] = None
    latent: ClassVar[int] = 0
    kernels: ClassVar[tuple[str, ...]] = ("readout",)

    def init(self, rng: np.random.Generator, scheme: Scheme, dtype: str) -> Params:
        """W_hz, b_z, W_zy, b_y; uniform: as PyTorch's linear layers, biases too."""
        W_hz, b_z = _layer(rng, scheme, self.inputs, self.width, dtype)
        W_zy, b_y = _layer(rng, scheme, self.width, self.outputs, dtype)
        return {"W_hz": W_hz, "b_z": b_z, "W_zy": W_zy, "b_y": b_y}

    def logits(self, p: Params, h: Array, latent: Array | None = None) -> Array:
        """[..., O]."""
        return ops.add(ops.matmul(self._between(p, h), p["W_zy"]), p["b_y"])

    def cross_entropy(self, p: Params, h: Array, y: Array, latent: Array | None = None) -> Array:
        """0-d."""
        return ops.linear_cross_entropy(self._between(p, h), p["W_zy"], p["b_y"], y)

    def _between(self, p: Params, h: Array) -> Array:
        return ops.add(ops.matmul(h, p["W_hz"]), p["b_z"])


@dataclass(frozen=True)
class Tied:
    """h E^T + b_y. Parameters: b_y [V]; E [V, H] is that of the model."""

    inputs: int
    outputs: int
    name: ClassVar[Name] = "tied"
    latent: ClassVar[int] = 0
    kernels: ClassVar[tuple[str, ...]] = ("readout",)

    @property
    def embedding(self) -> int:
        """D = H."""
        return self.inputs

    def init(self, rng: np.random.Generator, scheme: Scheme, dtype: str) -> Params:
        """b_y, which is 0."""
        return {"b_y": np.zeros(self.outputs, dtype)}

    def logits(self, p: Params, h: Array, latent: Array | None = None) -> Array:
        """[..., V]."""
        return ops.add(ops.matmul(h, ops.transpose(p["E"])), p["b_y"])

    def cross_entropy(self, p: Params, h: Array, y: Array, latent: Array | None = None) -> Array:
        """0-d."""
        return ops.linear_cross_entropy(h, ops.transpose(p["E"]), p["b_y"], y)


@dataclass(frozen=True)
class MoS:
    """Mixture of K softmaxes, tied to the embedding.

    Parameters: W_hz [H, K D], b_z [K D], W_hk [H, K], b_y [V]; E [V, D] is that of the model. The cross-entropy holds
    the logits of all experts at once: as many numbers as there are tokens times K V.
    """

    inputs: int
    outputs: int
    embedding: int
    experts: int = EXPERTS
    name: ClassVar[Name] = "mos"
    kernels: ClassVar[tuple[str, ...]] = ("scatter",)

    @property
    def latent(self) -> int:
        """K D."""
        return self.experts * self.embedding

    def init(self, rng: np.random.Generator, scheme: Scheme, dtype: str) -> Params:
        """W_hz, b_z, W_hk, and b_y, which is 0; uniform: the others as PyTorch's linear layers."""
        W_hz, b_z = _layer(rng, scheme, self.inputs, self.latent, dtype)
        W_hk = _weights(rng, scheme, self.inputs, self.experts, dtype, bound=self.inputs**-0.5)
        return {"W_hz": W_hz, "b_z": b_z, "W_hk": W_hk, "b_y": np.zeros(self.outputs, dtype)}

    def logits(self, p: Params, h: Array, latent: Array | None = None) -> Array:
        """log(p + 1e-8) [..., V], one expert after the other."""
        pi = ops.softmax(ops.matmul(h, p["W_hk"]))
        z, E = self._experts(p, h, latent), ops.transpose(p["E"])
        total: Any = 0.0
        for pi_k, z_k in zip(ops.split(pi, self.experts), ops.unstack(z, axis=-2), strict=True):
            total = total + pi_k * ops.softmax(ops.add(ops.matmul(z_k, E), p["b_y"]))
        return ops.log(total + SMALL)

    def cross_entropy(self, p: Params, h: Array, y: Array, latent: Array | None = None) -> Array:
        """The mean of -log(p_y + 1e-8), with

        log p_y = log sum over k of exp(log pi_k + z_k . E_y + b_y - log sum over v of exp(z_k . E_v + b_v))
        """
        if tuple(h.shape[:-1]) != tuple(y.shape):
            raise InputError(f"mos: states {tuple(h.shape)} and class ids {tuple(y.shape)} do not fit")
        z, E, b = self._experts(p, h, latent), p["E"], p["b_y"]
        log_pi = ops.log_softmax(ops.matmul(h, p["W_hk"]))
        of_all = ops.logsumexp(ops.add(ops.matmul(z, ops.transpose(E)), b), axis=-1)  # [..., K]
        E_y = ops.reshape(ops.embedding(E, y), shape=(*y.shape, 1, self.embedding))
        own = ops.add(ops.sum(ops.multiply(z, E_y), axis=-1), ops.embedding(ops.reshape(b, shape=(-1, 1)), y))
        log_p = ops.logsumexp(ops.subtract(ops.add(log_pi, own), of_all), axis=-1)
        return ops.negative(ops.mean(ops.log(ops.exp(log_p) + SMALL)))

    def _experts(self, p: Params, h: Array, mask: Array | None) -> Array:
        """z [..., K, D]."""
        z = ops.tanh(ops.add(ops.matmul(h, p["W_hz"]), p["b_z"]))
        z = z if mask is None else ops.dropout(z, mask)
        return ops.reshape(z, shape=(*h.shape[:-1], self.experts, self.embedding))


def make(
    name: Name, inputs: int, outputs: int, *, embedding: int, width: int | None = None, experts: int | None = None
) -> Readout:
    """A readout by name.

    Args:
        name: which.
        inputs: H.
        outputs: O.
        embedding: D of the model's embedding, or of its inputs where it has none.
        width: Z of two-linear; None: WIDTH.
        experts: K of mos; None: EXPERTS.

    Raises:
        InputError: for an unknown name, a size below 1, or a size of another readout.
    """
    if name not in get_args(Name):
        raise InputError(f"unknown readout {name!r}: use {', '.join(get_args(Name))}")
    for size, value, owner in (("readout_width", width, "two-linear"), ("experts", experts, "mos")):
        if value is not None and name != owner:
            raise InputError(f"{size} belongs to the readout {owner}: leave it out with {name}")
        if value is not None and value < 1:
            raise InputError(f"{size} must be at least 1, got {value}")
    match name:
        case "two-linear":
            return TwoLinear(inputs, outputs, WIDTH if width is None else width)
        case "tied":
            return Tied(inputs, outputs)
        case "mos":
            return MoS(inputs, outputs, embedding, EXPERTS if experts is None else experts)
    return Linear(inputs, outputs)


def _weights(rng: np.random.Generator, scheme: Scheme, rows: int, cols: int, dtype: str, bound: float) -> Array:
    """A matrix [rows, cols]; `bound` is that of the uniform scheme."""
    match scheme:
        case "orthogonal":
            return init.rand_ortho(rng, rows, cols, dtype)
        case "normal" | "sigmoid":
            return init.normal(rng, rows, cols, dtype, std=0.1 if scheme == "normal" else 0.01)
        case "uniform":
            return init.uniform(rng, (rows, cols), dtype, bound=bound)
        case "identity":
            return init.normal(rng, rows, cols, dtype, std=0.001)
    raise InputError(f"unknown initialisation {scheme!r}: use {', '.join(get_args(Scheme))}")


def _layer(rng: np.random.Generator, scheme: Scheme, rows: int, cols: int, dtype: str) -> tuple[Array, Array]:
    """Weights and bias of an inner layer."""
    if scheme == "uniform":
        return init.linear(rng, rows, cols, dtype)
    return _weights(rng, scheme, rows, cols, dtype, bound=0.0), np.zeros(cols, dtype)
