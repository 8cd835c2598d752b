"""One step of a method on given numbers, every quantity written out: how to study a method, or compare another
implementation with this one to the last digit.

A fixture is an .npz file of `config` (a JSON object in a 0-d string), `params/NAME`, `batch/x`, `batch/y` and, where
wanted, `batch/h0`, `batch/noise`, `state/...`. Everything is computed in float64. Legend of shapes: T time steps,
S sequences side by side, D inputs, H hidden units, O outputs, V vocabulary.
"""

from __future__ import annotations

import dataclasses
import io
import json
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import algorithms
from algorithms import fptt
from algorithms.model import Model
from algorithms.protocol import Info, Method
from algorithms.readouts import Linear
from datasets.task import Batch
from experiments import files, record
from minigrad import cells
from minigrad.backend import Array, Params
from minigrad.errors import InputError, unknown

UPDATE_KEYS = ("optimizer", "momentum", "adagrad_eps", "adam_betas", "adam_eps")
CONFIG_KEYS: dict[str, tuple[str, ...]] = {
    "bptt": (*UPDATE_KEYS, "clip", "lr", "frozen"),
    "tptt": (*UPDATE_KEYS, "alpha_i", "alpha_f", "alpha_g", "w_xh", "reduction", "noise", "frozen"),
    "btprop": (
        *(*UPDATE_KEYS, "clip", "theta_steps", "theta_lr", "alm_steps"),
        *("constraint", "lambda", "h_steps", "h_lr", "h_optimizer", "h_clip", "h_init", "u_lr", "dual"),
    ),
    "fptt": (*(*UPDATE_KEYS, "clip", "lr", "form", "alpha", "beta", "penalty_factor", "rho", "parts", "part_weight"),),
}
"""Keys of a fixture's config that are fields of the method's Config; those of `Setup` come on top."""

ALIASES = {"lambda": "lam"}
"""Keys that are no names in Python."""

DEFAULTS: dict[str, dict[str, Any]] = {
    "fptt": {"parts": 1, "optimizer": "sgd", "part_weight": "none", "divergence": "none"}
}
"""What a fixture means that is silent on a field of a method's Config, where that is not the Config's own default."""

FIXED: dict[str, dict[str, Any]] = {"btprop": {"u_start": 1}}
"""Fields of a method's Config that no fixture sets: duals move at once."""

OPTIMIZERS: dict[str, tuple[str, ...]] = {
    "bptt": ("sgd", "momentum", "nag", "adagrad", "adam"),
    "tptt": ("sgd", "momentum", "nag", "adagrad"),
    "btprop": ("sgd", "momentum", "nag", "adagrad", "adam"),
    "fptt": ("sgd", "momentum", "nag", "adagrad", "adam"),
}
CHOICES = {"activation": ("tanh", "sigmoid", "linear"), "reduction": ("mean_bh", "sum_h")}
"""Values that a fixture may name, where the method itself knows more."""

ARRAYS: dict[str, tuple[str, ...]] = {
    "bptt": (),
    "tptt": ("h", "targets", "loss_g", "loss_f"),
    "btprop": ("h", "h_hat", "u", "carry"),
    "fptt": ("part_losses",),
}
"""What a method's Info holds that is written out beside loss, parameters, state and gradients."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setup:
    """The config keys that describe the network."""

    cell: str = "srn"
    activation: cells.Activation = "tanh"
    loss: Any = "softmax"
    loss_at: Any = "last"


class Given:
    """Stands in for the random generator: hands out the noise that the fixture carries, and nothing else."""

    def __init__(self, noise: Array | None) -> None:
        self.noise = noise

    def normal(self, mean: float, deviation: float, shape: tuple[int, ...]) -> Array:
        """The drawn values."""
        if self.noise is None:
            raise InputError("config: noise above 0 needs the drawn values as batch/noise [T, S, H]")
        return self.noise


def trace(name: str, fixture: Path, out: Path) -> None:
    """Run one step of a method on a fixture and write every quantity that it computed to an .npz file.

    Raises:
        InputError: one line that names the array or key that is wrong; nothing is written then.
    """
    method = algorithms.method(name)
    family = "tptt" if name == "tptthx" else name
    if family not in CONFIG_KEYS:
        raise InputError(f"there is no trace of {name}: methods with one are {', '.join(CONFIG_KEYS)}")
    if Path(out).exists() and Path(out).samefile(fixture):
        raise InputError(f"{out}: is the fixture itself; name another file for --out")
    given = read(Path(fixture))
    setup, config = configure(method, family, given)
    model, params = network(setup, given)
    batch, carry, noise = minibatch(family, config, model, params, given)
    duals = {"u": _duals(batch, carry, given)} if family == "btprop" and "state/u" in given else {}
    state = method.init(config, model, params, np.random.Generator(np.random.Philox(0)))
    state = dataclasses.replace(with_state(method, state, given), carry=carry, **duals)
    _refuse_rest(given)
    with np.errstate(all="ignore"):  # finite numbers may overflow: the loss then says so
        after, info = method.step(config, model, state, batch, Given(noise))
        broken = info.reason
    if broken:
        raise InputError(f"{broken} is not finite: the fixture's numbers are too large")
    if family == "fptt":  # its own is the mean over parts, each at the weights that it met
        info = dataclasses.replace(info, loss=fptt.loss(config, model, params, batch, carry))
    write(Path(out), collect(family, after, info))


def read(path: Path) -> dict[str, Array]:
    """All arrays of an .npz file, in float64, int64 or as strings.

    Raises:
        InputError: if the file is missing, damaged, or holds pickled objects.
    """
    try:
        with path.open("rb") as stream:
            if not zipfile.is_zipfile(stream):
                raise InputError(f"{path}: not a readable .npz file; write it with numpy.savez from plain arrays")
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as archive:
                arrays = {key: np.asarray(archive[key]) for key in archive.files}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        if isinstance(error, InputError):
            raise
        reason = "holds pickled objects" if "allow_pickle" in str(error) else f"not a readable .npz file ({error})"
        raise InputError(f"{path}: {reason}; write it with numpy.savez from plain arrays") from None
    return {key: _standard(key, array) for key, array in arrays.items()}


def _standard(key: str, array: Array) -> Array:
    if array.dtype.kind in "US" and key == "config":
        return array
    if array.dtype.kind in "iu":
        if array.dtype.kind == "u" and array.size and int(array.max()) > np.iinfo(np.int64).max:
            raise InputError(f"{key}: holds an integer above 2^63 - 1")
        return array.astype(np.int64)
    if array.dtype.kind != "f":
        raise InputError(f"{key}: must hold integers or real numbers, got {array.dtype}")
    with np.errstate(over="ignore"):
        array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise InputError(f"{key}: holds NaN or infinity")
    return array


def configure(method: Method, family: str, given: dict[str, Array]) -> tuple[Setup, Any]:
    """The network's setup and the method's Config from the fixture's JSON."""
    values = _json(_take(given, "config"))
    if family == "tptt" and "clip" in values and values.pop("clip") is not None:
        raise InputError("config: clip must be null, tptt clips nothing")
    if family == "btprop" and values.setdefault("loss_at", "every") != "every":
        raise InputError(f"config: loss_at is always every for btprop, got {values['loss_at']!r}")
    names = {field.name for field in dataclasses.fields(Setup)}
    allowed = (*names, *CONFIG_KEYS[family])
    for key in values:
        if key not in allowed:
            raise InputError(f"config: {unknown('key', key, allowed)}")
    for key, choices in CHOICES.items():
        if key in values and values[key] not in choices:
            raise InputError(f"config: {key} must be one of {', '.join(choices)}, got {values[key]!r}")
    setup = record.load(Setup, {k: v for k, v in values.items() if k in names}, "config", "mend the fixture")
    own = {
        **method.defaults,
        **DEFAULTS.get(family, {}),
        **{ALIASES.get(k, k): v for k, v in values.items() if k not in names},
    }
    own |= FIXED.get(family, {})
    own = {key: value for key, value in own.items() if key not in _idle(own)}
    if "optimizer" in own and own["optimizer"] not in OPTIMIZERS[family]:
        raise InputError(f"config: optimizer must be one of {', '.join(OPTIMIZERS[family])}, got {own['optimizer']!r}")
    try:
        return setup, record.load(method.config, own, "config", "mend the fixture")
    except InputError as error:
        line = str(error)
        for key, name in ALIASES.items():
            line = re.sub(rf"\b{name}\b", key, line)
        raise InputError(line if line.startswith("config") else f"config: {line}") from None


def _idle(own: Mapping[str, Any]) -> tuple[str, ...]:
    """What a fixture may hold and a run refuses: options that do nothing beside the others."""
    if own.get("alpha") == 0:
        return "beta", "penalty_factor", "rho"
    return ("h_steps", "theta_steps") if own.get("constraint") == "alm" else ("alm_steps",)


def _json(array: Array) -> dict[str, Any]:
    if array.shape != () or array.dtype.kind not in "US":
        raise InputError("config: must be a 0-d string that holds a JSON object")
    text = array.item()
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"config: not JSON ({error})") from None
    if not isinstance(values, dict):
        raise InputError("config: must be a JSON object")
    return values


def network(setup: Setup, given: dict[str, Array]) -> tuple[Model, Params]:
    """The model whose sizes the parameters tell, and the parameters, each shape verified."""
    params = {key.removeprefix("params/"): given.pop(key) for key in list(given) if key.startswith("params/")}
    for name in ("W_xh", "W_hh", "W_hy", "b_y"):
        if name not in params:
            raise InputError(f"params/{name}: missing")
        if params[name].ndim != (1 if name == "b_y" else 2):
            raise InputError(f"params/{name}: has shape {params[name].shape}")
    E = params.get("E")
    if E is not None and E.ndim != 2:
        raise InputError(f"params/E: has shape {E.shape}, must be [V, D]")
    D, H, O = params["W_xh"].shape[0], params["W_hh"].shape[0], params["W_hy"].shape[1]
    if setup.cell not in ("srn", "gru", "lstm"):
        raise InputError(f"config: cell must be srn, gru or lstm, got {setup.cell!r}")
    if setup.loss not in ("softmax", "mse") or setup.loss_at not in ("last", "every"):
        raise InputError(f"config: loss {setup.loss!r} at {setup.loss_at!r} must be softmax or mse at last or every")
    model = Model(cells.make(setup.cell, D, H, setup.activation), Linear(H, O), setup.loss, setup.loss_at, None)
    if E is not None:
        model = dataclasses.replace(model, vocabulary=E.shape[0])
    return model, _verified(model, params)


def _verified(model: Model, params: Params) -> Params:
    """The parameters as float64, in the model's order, if they are just those that the model has."""
    blocks = {"SRN": 1, "GRU": 3, "LSTM": 4}[type(model.cell).__name__]
    D, H, O = model.cell.input_size, model.cell.hidden, model.output_size
    shapes: dict[str, tuple[int, ...]] = {"W_xh": (D, blocks * H), "W_hh": (H, blocks * H)}
    biases = ("b_xh", "b_hh") if blocks == 3 else ("b_h",)
    shapes |= dict.fromkeys(biases, (blocks * H,)) | {"W_hy": (H, O), "b_y": (O,)}
    if model.vocabulary is not None:
        shapes["E"] = (model.vocabulary, D)
    feedback = {"V_hh": (H, H), "c_h": (H,)}
    if set(feedback) & set(params):
        shapes |= feedback
    for name in params:
        if name not in shapes:
            raise InputError(f"params/{name}: the {type(model.cell).__name__.lower()} cell has no such parameter")
    for name, shape in shapes.items():
        if name not in params:
            raise InputError(f"params/{name}: missing")
        if params[name].shape != shape:
            raise InputError(f"params/{name}: has shape {params[name].shape}, must be {shape}")
    return {name: params[name].astype(np.float64) for name in shapes}


def minibatch(
    family: str, config: Any, model: Model, params: Params, given: dict[str, Array]
) -> tuple[Batch, Array, Array | None]:
    """The batch, the state in which it begins, and the drawn noise."""
    feedback = "V_hh" in params
    if family == "tptt" and not feedback:
        raise InputError("params/V_hh: missing")
    if family != "tptt" and feedback:
        raise InputError(f"params/V_hh: {family} has no such parameter")
    x = _take(given, "batch/x")
    if model.vocabulary is not None:
        x = _ids("batch/x", x, model.vocabulary)
        _shape("batch/x", x, (None, None))
    else:
        _shape("batch/x", x, (None, None, model.cell.input_size))
        x = x.astype(np.float64)
    T, S = x.shape[:2]
    if T < 1 or S < 1:
        raise InputError(f"batch/x: has shape {x.shape}, needs at least one step of one sequence")
    lead = (T, S) if model.loss_at == "every" else (S,)
    y = _take(given, "batch/y")
    if model.loss == "softmax":
        y = _ids("batch/y", y, model.output_size)
        _shape("batch/y", y, lead)
    else:
        _shape("batch/y", y, (*lead, model.output_size))
        y = y.astype(np.float64)
    # The columns of btprop are successive blocks of one text: only the first begins in a given state.
    blocks = family == "btprop"
    key, shape = ("batch/carry", (model.cell.state_size,)) if blocks else ("batch/h0", (S, model.cell.state_size))
    h0 = given.pop(key, np.zeros(shape))
    _shape(key, h0, shape)
    noise = None
    if getattr(config, "noise", 0):
        noise = _take(given, "batch/noise").astype(np.float64)
        _shape("batch/noise", noise, (T, S, model.cell.hidden))
    return Batch(x, y, continues=not blocks, consecutive=blocks), h0.astype(np.float64), noise


def _duals(batch: Batch, carry: Array, given: dict[str, Array]) -> Array:
    """The duals that a fixture begins with, [n, S]."""
    u = given.pop("state/u").astype(np.float64)
    _shape("state/u", u, (batch.x.shape[1], *carry.shape))
    return u


def _ids(key: str, ids: Array, size: int) -> Array:
    if ids.dtype.kind != "i":
        raise InputError(f"{key}: must hold integer ids")
    if ids.size and not (ids.min() >= 0 and ids.max() < size):
        raise InputError(f"{key}: an id lies outside 0..{size - 1}")
    return ids


def _shape(key: str, array: Array, shape: tuple[int | None, ...]) -> None:
    if array.ndim != len(shape) or any(n not in (None, m) for n, m in zip(shape, array.shape, strict=True)):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise InputError(f"{key}: has shape {array.shape}, must be ({wanted})")


def with_state(method: Method, state: Any, given: dict[str, Array]) -> Any:
    """The fresh state, what is remembered replaced by the fixture's, where it has something."""
    if not any(key.startswith("state/") for key in given):
        return state
    filled = {}
    for field in _memories(state):
        filled[field] = _filled("state", getattr(state, field), given)
    return dataclasses.replace(state, **filled)


def _filled(path: str, fresh: Any, given: dict[str, Array]) -> Any:
    if isinstance(fresh, Mapping):
        return {name: _filled(f"{path}/{name}", part, given) for name, part in fresh.items()}
    if path not in given:
        raise InputError(f"{path}: missing: give the whole state or none of it")
    value = given.pop(path)
    if isinstance(fresh, int):
        if value.shape != () or value.dtype.kind != "i" or value < 0:
            raise InputError(f"{path}: must be a 0-d integer of at least 0")
        return int(value)
    if value.shape != fresh.shape:
        raise InputError(f"{path}: has shape {value.shape}, must be {fresh.shape}")
    if path.startswith(("state/adagrad/", "state/v/")) and value.size and value.min() < 0:
        raise InputError(f"{path}: holds a negative number, but is a sum of squares")
    return value.astype(np.float64)


def _memories(state: Any) -> list[str]:
    """Fields of a state that hold what update rules and regularisers remember."""
    names = [field.name for field in dataclasses.fields(state)]
    return [name for name in names if name.startswith("optimizer") or name == "regulariser"]


def collect(family: str, state: Any, info: Info) -> dict[str, Array]:
    """The output's arrays by name."""
    out = {"loss": np.asarray(info.loss, dtype=np.float64)}
    out |= {f"params/{name}": array for name, array in state.params.items()}
    out |= {f"grads/{name}": array for name, array in info.grads.items()}
    for field in _memories(state):
        out |= _flat("state", getattr(state, field))
    return out | {name: np.asarray(info.arrays[name]) for name in ARRAYS[family] if name in info.arrays}


def _flat(path: str, tree: Any) -> dict[str, Array]:
    if isinstance(tree, Mapping):
        return {key: leaf for name, part in tree.items() for key, leaf in _flat(f"{path}/{name}", part).items()}
    return {path: np.asarray(tree)}


def write(path: Path, arrays: dict[str, Array]) -> None:
    """The .npz file under its own name at once, or not at all."""
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    files.write_atomic(path, stream.getvalue())


def _take(given: dict[str, Array], key: str) -> Array:
    if key not in given:
        raise InputError(f"{key}: missing")
    return given.pop(key)


def _refuse_rest(given: dict[str, Array]) -> None:
    for key in given:
        raise InputError(f"{key}: unknown, or of no use with this config")
