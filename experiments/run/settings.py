"""Everything that a run is besides its method; imports nothing heavy, so that --help answers at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from minigrad.errors import InputError, unknown

DROPOUT = "dropout_"
"""What the names of the dropouts begin with."""

MOST = 2**53
"""Largest whole number that JSON readers everywhere keep exactly."""


@cache
def type_hints(kind: type[Any]) -> dict[str, Any]:
    """Types of the fields of a dataclass, looked up once."""
    return get_type_hints(kind)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Task, network, budget and bookkeeping of a run."""

    task: str = "temporal"
    """Name of the task."""
    length: int | None = None
    """Length T of its sequences, in steps; None: the task's own (60 for the synthetic ones, all pixels of an image, 20
    words or 75 characters of a text)."""
    task_options: Mapping[str, str] = field(default_factory=dict)
    """Options of the task itself, such as jitter false (adding), t2 paper (temporal), shuffle false (images) or windows
    variable (texts)."""
    cell: Literal["srn", "gru", "gru-cho", "lstm", "antisymmetric"] = "srn"
    """Recurrent cell (gru: the form of cuDNN; gru-cho: the original form)."""
    activation: Literal["tanh", "sigmoid", "relu", "linear"] = "tanh"
    """Activation of the srn cell; the other cells have their own."""
    init: Literal["orthogonal", "normal", "sigmoid", "uniform", "identity"] = "orthogonal"
    """How weights start: orthogonal, N(0, 0.1^2), N(0, 0.01^2), U(-1/sqrt(H), 1/sqrt(H)), or, srn only, identity: W_hh
    the identity, the others N(0, 0.001^2); V_hh always orthogonal."""
    hidden: int = 100
    """Hidden units H of a layer."""
    layers: int = 1
    """Cells stacked on each other."""
    top: int | None = None
    """Hidden units of the highest of several layers; None: as many as the others have."""
    embedding: int | None = None
    """Numbers D that stand for a token; None: as many as a layer has hidden units."""
    readout: Literal["linear", "two-linear", "tied", "mos"] = "linear"
    """What turns states into answers: one linear layer, two, the embedding once more, or a mixture of softmaxes over
    the embedding."""
    readout_width: int | None = None
    """Numbers between the two layers of readout two-linear; None: 256."""
    experts: int | None = None
    """Softmaxes that readout mos mixes; None: 15."""
    dropout_kind: Literal["locked", "elements"] = "locked"
    """What dropout leaves out of activations: the same units at all steps of a forward pass, or elements, each anew.
    All dropout is in training only, and what is left is scaled up by 1 / (1 - p)."""
    dropout_embedding: float = 0.0
    """Probability, in [0, 1), that a word of the vocabulary is left out of a forward pass (its row of E)."""
    dropout_inputs: float = 0.0
    """Probability, in [0, 1), that a number that the lowest layer sees is left out."""
    dropout_between: float = 0.0
    """Probability, in [0, 1), that a number is left out on its way from a layer to the next."""
    dropout_recurrent: float = 0.0
    """Probability, in [0, 1), that an element of W_hh is left out of a forward pass (weight-drop, of every layer)."""
    dropout_outputs: float = 0.0
    """Probability, in [0, 1), that a number that the readout sees is left out."""
    dropout_latent: float = 0.0
    """Probability, in [0, 1), that a number of the tanh layer of readout mos is left out."""
    dropout_logits: float = 0.0
    """Probability, in [0, 1), that a number that the readout puts out is left out."""
    ar: float = 0.0
    """Of a text: weight, >= 0, of the mean square of what the readout sees, in the training loss (AR)."""
    tar: float = 0.0
    """Of a text: weight, >= 0, of the mean square of how the highest layer's output changes from step to step (TAR)."""
    batch_size: int = 20
    """Sequences B in a minibatch."""
    seed: int = 1234
    """Number that all random draws of the run follow from, at least 0."""
    dtype: Literal["float32", "float64"] = "float32"
    """Precision of parameters and states."""
    device: str = "cpu"
    """Where arrays live: cpu, cuda or cuda:N."""
    max_iterations: int = 100_000
    """Budget: minibatches at most."""
    epochs: int | None = None
    """Passes through the data, with a check after each, in place of max-iterations and validate-every; for texts and
    images."""
    validate_every: int = 100
    """Iterations between two checks on fresh sequences; 0: of a text or of images, a check after each pass through
    them."""
    validate_size: int = 10_000
    """Sequences of a check: fresh ones, or, where data are finite, the same ones each time, at most all there are."""
    patience: int = 300
    """Checks in a row without a new best error after which the run gives up."""
    checkpoint_every: int = 500
    """Iterations between two checkpoints."""
    log_every: int = 10
    """Iterations between two lines of the log."""
    measure_every: int | None = None
    """Iterations between two measurements of a method's own diagnostics (angles, local losses); None: at checks."""
    runs_dir: Path = Path("runs")
    """Folder in which run directories are made."""
    data_dir: Path | None = None
    """Folder of downloaded data; None: the user's cache folder."""

    def __post_init__(self) -> None:
        hints = type_hints(Settings)
        for entry in fields(self):
            value, hint = getattr(self, entry.name), hints[entry.name]
            if get_origin(hint) is Literal:
                one_of(entry.name, value, get_args(hint))
            elif hint is int or (hint == (int | None) and value is not None):
                _whole_number(entry.name, value, least=0 if entry.name in ("seed", "validate_every") else 1)
            elif hint is float:
                _number(entry.name, value)

    @property
    def dropout(self) -> dict[str, Any]:
        """What is left out in training, by the names of `algorithms.dropout.Dropout`."""
        return {f.name.removeprefix(DROPOUT): getattr(self, f.name) for f in fields(self) if f.name.startswith(DROPOUT)}

    def require_one_budget(self) -> None:
        """Refuse epochs together with what they stand in place of, as far as that is not the default.

        Raises:
            InputError: naming both.
        """
        if self.epochs is None:
            return
        for name in ("max_iterations", "validate_every"):
            if getattr(self, name) != getattr(Settings, name):
                flag = f"--{name.replace('_', '-')}"
                raise InputError(
                    f"--epochs {self.epochs} is in place of {flag} {getattr(self, name)}: give one of them"
                )

    @property
    def noise(self) -> dict[str, float]:
        """What makes training differ from judging: the dropouts and penalties that are not 0, by name."""
        rates = {DROPOUT + name: p for name, p in self.dropout.items() if name != "kind"}
        return {name: value for name, value in {**rates, "ar": self.ar, "tar": self.tar}.items() if value}


def one_of(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    """Raise InputError, with the nearest choice, unless `value` is one of `choices`."""
    if value in choices:
        return
    raise InputError(f"{name}: {unknown('value', value, map(str, choices))}")


def _whole_number(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{name} must be a whole number, got {value!r}")
    if value < least:
        raise InputError(f"{name} must be at least {least}, got {value}")
    if value > MOST:
        raise InputError(f"{name} must be at most {MOST:,}, got {value:,}")


def _number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{name} must be a number, got {value!r}")
