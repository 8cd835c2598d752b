"""Readouts against plain NumPy formulas and finite differences; their parameters, first values and counts.

Legend: T time, B batch, H what a readout sees, Z width, O outputs, V vocabulary, D embedding, K experts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from algorithms import bptt, btprop, fptt
from algorithms import readouts as heads
from algorithms.model import Model
from algorithms.readouts import Linear, MoS, Readout, Tied, TwoLinear
from datasets.task import Batch
from minigrad.cells import LSTM
from minigrad.check import check_gradient
from minigrad.errors import InputError
from minigrad.rng import stream
from minigrad.tape import Tape
from tests.minigrad.recurrences import record_calls
from tests.minigrad.strategies import DEVICE, loose, random_arrays, seeds, strict

T, B, H, V, D, K = 4, 3, 5, 7, 4, 3

HEADS: dict[str, Readout] = {
    "linear": Linear(H, V),
    "two-linear": TwoLinear(H, V, 6),
    "tied": Tied(H, V),
    "mos": MoS(H, V, D, K),
}
every = pytest.mark.parametrize("name", HEADS)
MANY = settings(max_examples=40, deadline=None, derandomize=True)

SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "linear": {"W_hy": (H, V), "b_y": (V,)},
    "two-linear": {"W_hz": (H, 6), "b_z": (6,), "W_zy": (6, V), "b_y": (V,)},
    "tied": {"b_y": (V,)},
    "mos": {"W_hz": (H, K * D), "b_z": (K * D,), "W_hk": (H, K), "b_y": (V,)},
}


def parameters(name: str, seed: int = 0, size: float = 1.5, dtype: str = "float64") -> dict[str, Any]:
    """Parameters of which none is zero, the embedding's among them."""
    shapes = SHAPES[name] | ({"E": (V, HEADS[name].embedding or D)})
    arrays = random_arrays(shapes.values(), seed, -size, size, dtype)
    return dict(zip(shapes, arrays, strict=True))


def states(seed: int = 1, dtype: str = "float64") -> Any:
    return random_arrays([(T, B, H)], seed, dtype=dtype)[0]


def ids(seed: int = 1) -> Any:
    return stream(seed, "ids").integers(0, V, (T, B))


def softmax(z: Any) -> Any:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def probabilities(name: str, p: Any, h: Any, mask: Any = 1.0) -> Any:
    """Plain NumPy, token by token: what is scored is the logarithm of it. In a precision that holds e^-1000."""
    p, h = {n: a.astype(np.longdouble) for n, a in p.items()}, h.astype(np.longdouble)
    out = np.empty((*h.shape[:-1], V), np.longdouble)
    for i in np.ndindex(h.shape[:-1]):
        match name:
            case "linear":
                out[i] = softmax(h[i] @ p["W_hy"] + p["b_y"])
            case "two-linear":
                out[i] = softmax((h[i] @ p["W_hz"] + p["b_z"]) @ p["W_zy"] + p["b_y"])
            case "tied":
                out[i] = softmax(p["E"] @ h[i] + p["b_y"])
            case "mos":
                z = np.tanh(h[i] @ p["W_hz"] + p["b_z"]) * np.broadcast_to(mask, (*h.shape[:-1], K * D))[i]
                pi = softmax(h[i] @ p["W_hk"])
                out[i] = sum(pi[k] * softmax(p["E"] @ z[k * D : (k + 1) * D] + p["b_y"]) for k in range(K)) + 1e-8
    return out


def expected(name: str, p: Any, h: Any, y: Any, mask: Any = 1.0) -> float:
    found = np.take_along_axis(probabilities(name, p, h, mask), y[..., None], axis=-1)
    return float(-np.mean(np.log(found)))


@every
@MANY
@given(seeds, st.sampled_from([0.1, 1.0, 30.0]))
def test_the_cross_entropy_is_the_formula(name: str, seed: int, size: float) -> None:
    """Also where logits are so large that their exponentials overflow in single precision."""
    p, h, y = parameters(name, seed, size), states(seed), ids(seed)
    assert_allclose(HEADS[name].cross_entropy(p, h, y), expected(name, p, h, y), rtol=1e-10, atol=1e-12)


@every
@MANY
@given(seeds)
def test_what_is_put_out_are_logits(name: str, seed: int) -> None:
    p, h = parameters(name, seed), states(seed)
    found = probabilities(name, p, h)
    assert_allclose(softmax(HEADS[name].logits(p, h)), found / found.sum(axis=-1, keepdims=True), rtol=1e-10)
    if name == "mos":
        assert_allclose(HEADS[name].logits(p, h), np.log(found), rtol=1e-10)


@every
def test_gradients_by_parameters_and_states(name: str) -> None:
    head, p, h, y = HEADS[name], parameters(name), states(), ids()
    mask = np.where(stream(3).random((1, B, head.latent)) < 0.5, 0.0, 2.0) if head.latent else None
    names = list(p)

    def named(arrays: Any) -> Any:
        return dict(zip(names, arrays, strict=True))

    check_gradient(lambda h, *w: head.cross_entropy(named(w), h, y, mask), h, *p.values(), directions=40)
    check_gradient(lambda h, *w: head.logits(named(w), h, mask), h, *p.values(), directions=40)


@every
def test_float32_stays_float32(name: str) -> None:
    head = HEADS[name]
    with Tape() as tape:
        w, h = tape.watch((parameters(name, dtype="float32"), states(dtype="float32")))
        E = head.cross_entropy(w, h, ids())
    assert E.dtype == np.float32
    assert {g.dtype for g in tape.gradient(E, w).values()} == {np.dtype("float32")}
    assert head.logits(parameters(name, dtype="float32"), states(dtype="float32")).dtype == np.float32
    assert_allclose(float(E), expected(name, parameters(name), states(), ids()), rtol=1e-5)


@every
def test_other_libraries_and_devices(name: str) -> None:
    head, p, h, y = HEADS[name], parameters(name), states(), ids()
    with Tape() as tape:
        w = tape.watch({n: strict(a) for n, a in p.items()})
        E = head.cross_entropy(w, strict(h), strict(y))
    with Tape() as here:
        v = here.watch(p)
        plain = head.cross_entropy(v, h, y)
    assert E.value.device == DEVICE
    assert_allclose(loose(E.value), plain.value, rtol=1e-12)
    for n, g in here.gradient(plain, v).items():
        assert_allclose(loose(tape.gradient(E, w)[n]), g, rtol=1e-10, atol=1e-13)
    assert_allclose(loose(head.logits({n: strict(a) for n, a in p.items()}, strict(h))), head.logits(p, h), rtol=1e-12)


def test_a_mask_of_the_latent_layer_is_on_the_experts() -> None:
    p, h, y = parameters("mos"), states(), ids()
    mask = np.where(stream(3).random((1, B, K * D)) < 0.5, 0.0, 2.0)
    found = HEADS["mos"].cross_entropy(p, h, y, mask)
    assert_allclose(found, expected("mos", p, h, y, mask), rtol=1e-12)
    assert abs(found - HEADS["mos"].cross_entropy(p, h, y)) > 1e-3


def test_one_expert_is_one_softmax() -> None:
    p, h, y = parameters("mos"), states(), ids()
    p |= {"W_hz": p["W_hz"][:, :D], "b_z": p["b_z"][:D], "W_hk": p["W_hk"][:, :1]}
    z = np.tanh(h @ p["W_hz"] + p["b_z"])
    assert_allclose(MoS(H, V, D, 1).cross_entropy(p, h, y), Tied(D, V).cross_entropy(p, z, y), rtol=1e-6)


def test_no_probability_of_a_mixture_is_too_small_to_score() -> None:
    """Of a word that all experts rule out, 1e-8 is left; its gradient is finite."""
    p = {n: a * 0 for n, a in parameters("mos", dtype="float32").items()}
    p["b_y"] = p["b_y"] + np.array([-1e4] + [0] * (V - 1), "float32")
    with Tape() as tape:
        w = tape.watch(p)
        E = HEADS["mos"].cross_entropy(w, states(dtype="float32"), np.zeros((T, B), int))
    assert_allclose(float(E), -np.log(1e-8), rtol=1e-6)
    assert all(np.isfinite(g).all() for g in tape.gradient(E, w).values())


@every
def test_targets_that_do_not_fit(name: str) -> None:
    p, h, y = parameters(name), states(), ids()
    for wrong in (y[-1], y.T, y[:, :1]):
        with pytest.raises(InputError, match="do not fit"):
            HEADS[name].cross_entropy(p, h, wrong)
    with pytest.raises(IndexError, match="out of bounds"):
        HEADS[name].cross_entropy(p, h, y + V)


# --- parameters ---


@every
@pytest.mark.parametrize("scheme", ["orthogonal", "normal", "sigmoid", "uniform", "identity"])
def test_first_values(name: str, scheme: Any) -> None:
    """Names in the order of the equations, the same numbers each time, b_y = 0 but where it is PyTorch's layer."""
    head = HEADS[name]
    p = head.init(stream(3), scheme, "float32")
    assert {n: a.shape for n, a in p.items()} == SHAPES[name]
    assert list(p) == list(SHAPES[name])
    assert {a.dtype for a in p.values()} == {np.dtype("float32")}
    for n, array in head.init(stream(3), scheme, "float32").items():
        assert_array_equal(array, p[n])
    by_pytorch = scheme == "uniform" and name == "two-linear"
    assert bool(p["b_y"].any()) == by_pytorch
    for n, array in p.items():
        if n[0] == "W" and scheme == "uniform":
            bound = 0.1 if n == "W_hy" else array.shape[0] ** -0.5
            assert 0.5 * bound < np.max(np.abs(array)) <= bound
        if n[0] == "W" and scheme == "orthogonal":
            assert_allclose(np.linalg.svd(array)[1], 1.0, rtol=1e-5)


def test_schemes_that_do_not_exist() -> None:
    for head in (Linear(H, V), TwoLinear(H, V), MoS(H, V, D)):
        with pytest.raises(InputError, match="unknown initialisation 'zeros'"):
            head.init(stream(0), "zeros", "float64")  # type: ignore[arg-type]


def count(model: Model, *prefixes: str) -> int:
    """Numbers that are trained, of all parameters or of those whose names begin so."""
    p = model.init(stream(0, "init"), "uniform", "float32")
    return sum(a.size for name, a in p.items() if not prefixes or name.startswith(prefixes))


def lstm(D: int, H: int) -> int:
    """Numbers of an LSTM with one bias."""
    return 4 * H * (D + H + 1)


def language_model(V: int, **sizes: Any) -> Model:
    return Model.make(cell="lstm", input_size=V, output_size=V, loss_at="every", tokens=True, **sizes)


def test_the_sizes_of_the_papers_models() -> None:
    """The classifiers' 66,560 and 67,584, and the two stacks of Penn Treebank, E counted once."""
    for inputs, weights in ((1, 66_560), (3, 67_584)):
        model = Model.make(cell="lstm", input_size=inputs, hidden=128, output_size=10, readout="two-linear")
        assert count(model, "W_xh", "W_hh", "b_h") == weights
        assert count(model) == weights + (128 + 1) * 256 + (256 + 1) * 10

    characters = language_model(50, hidden=1000, layers=3, top=200, embedding=200, readout="tied")
    assert count(characters) == lstm(200, 1000) + lstm(1000, 1000) + lstm(1000, 200) + 50 * 200 + 50

    words = language_model(1_000, hidden=960, layers=3, embedding=280, readout="mos")
    mixture = (960 + 1) * 15 * 280 + 960 * 15
    assert count(words) == lstm(280, 960) + 2 * lstm(960, 960) + mixture + 1_000 * 280 + 1_000


# --- models ---


SMALL: dict[str, dict[str, Any]] = {
    "linear": {},
    "two-linear": {"readout_width": 6},
    "tied": {"layers": 2, "top": 5, "embedding": 5},
    "mos": {"embedding": 4, "experts": 3},
}


def small(name: str, dtype: str = "float64") -> tuple[Model, dict[str, Any], Batch]:
    model = language_model(V, hidden=6, readout=name, **SMALL[name])
    y = ids(2)
    return model, model.init(stream(1, "init"), "uniform", dtype), Batch(ids(), y)


@every
def test_gradients_of_a_whole_model(name: str) -> None:
    """E is in two places where the readout is tied, and has the gradient of both."""
    model, p, batch = small(name)
    names = list(p)

    def loss(*w: Any) -> Any:
        v = dict(zip(names, w, strict=True))
        return model.score(v, model.scored(model.unroll(v, batch.x, model.initial_state(v, B))), batch.y)

    check_gradient(loss, *p.values(), directions=40)


@every
def test_every_readout_trains_by_bptt_fptt_and_btprop(name: str) -> None:
    model, p, batch = small(name)
    for method, config in (
        (bptt, bptt.Config(lr=0.1, optimizer="adam")),
        (fptt, fptt.Config(lr=0.1, parts=2)),
        (btprop, btprop.Config(theta_lr=0.1)),
    ):
        given = Batch(batch.x, batch.y, consecutive=method is btprop)
        state, losses = method.init(config, model, p, stream(1)), []
        for _ in range(30):
            state, info = method.step(config, model, state, given, stream(1))
            losses.append(float(info.loss))
        assert losses[-1] < 0.8 * losses[0]
        assert info.grads.keys() == p.keys()


@every
def test_the_kernels_that_run_are_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGRAD_KERNELS", "fused")
    model, p, batch = small(name)
    config = bptt.Config()
    called = record_calls(monkeypatch)
    _, info = bptt.step(config, model, bptt.init(config, model, p, stream(2)), batch, stream(2))
    called.discard("updates")
    assert called == set(model.kernels)
    assert info.kernels == dict.fromkeys(called, "fused")


def test_layers_of_two_sizes_may_run_both_twins(monkeypatch: pytest.MonkeyPatch) -> None:
    model, p, _ = small("tied")
    monkeypatch.setattr("minigrad.kernels.faster", lambda kernel, dtype, batch, H: "fused" if H > 5 else "reference")
    monkeypatch.setenv("MINIGRAD_KERNELS", "auto")
    assert model.twins(("lstm",), p, B) == {"lstm": "fused and reference"}


def test_a_tied_embedding_is_one_parameter_of_fptt() -> None:
    """Its gradient is that of both places, the regulariser has it once."""
    model, p, batch = small("tied")
    config = fptt.Config(parts=1, alpha=0.5, lr=0.1, optimizer="sgd")
    before = fptt.init(config, model, p, stream(1))
    kept = before.regulariser["W_bar"]
    assert sorted(name for name in kept if kept[name].shape == p["E"].shape) == ["E"]
    W_bar, lam = random_arrays([p["E"].shape] * 2, 5)
    regulariser = {"W_bar": {**kept, "E": W_bar}, "lambda": {**before.regulariser["lambda"], "E": lam}}
    after, _ = fptt.step(config, model, fptt.State(p, before.optimizer, regulariser), batch, stream(1))
    with Tape() as tape:
        w = tape.watch(p)
        E = model.score(w, model.unroll(w, batch.x, model.initial_state(w, B)), batch.y)
    g = tape.gradient(E, w["E"])
    assert_allclose(after.params["E"], p["E"] - 0.1 * (g - lam + 0.5 * (p["E"] - W_bar)), rtol=1e-12)


# --- refusals ---


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"readout": "bilinear"}, "unknown readout 'bilinear': use linear, two-linear, tied, mos"),
        (
            {"readout": "tied", "embedding": 4},
            "as large as the highest layer: they have 4 numbers, it has 6",
        ),
        ({"readout": "tied", "layers": 2, "top": 4}, "they have 6 numbers, it has 4"),
        ({"readout": "tied", "output_size": 3}, "readout tied is for tokens in, tokens out"),
        ({"readout": "mos", "tokens": False}, "readout mos is for tokens in, tokens out"),
        ({"readout": "mos", "loss": "mse"}, "readout mos is for tokens in, tokens out"),
        ({"experts": 3}, "experts belongs to the readout mos: leave it out with linear"),
        ({"readout": "mos", "readout_width": 3}, "readout_width belongs to the readout two-linear"),
        ({"readout": "mos", "experts": 0}, "experts must be at least 1, got 0"),
        ({"readout": "two-linear", "readout_width": 0}, "readout_width must be at least 1, got 0"),
        ({"tokens": False, "embedding": 3}, "embedding is the size of token embeddings"),
        ({"top": 3}, "with one layer use hidden 3"),
        ({"embedding": 0}, "sizes of at least 1, got input 0"),
    ],
)
def test_impossible_readouts(sizes: dict[str, Any], words: str) -> None:
    usual = {"cell": "lstm", "input_size": V, "hidden": 6, "output_size": V, "loss_at": "every", "tokens": True}
    with pytest.raises(InputError, match=words):
        Model.make(**usual | sizes)


def test_a_readout_of_another_size() -> None:
    with pytest.raises(InputError, match="a readout of 5 numbers does not fit 6 hidden units"):
        Model(LSTM(2, 6), Linear(5, V))


def test_sizes_left_open() -> None:
    assert heads.make("two-linear", H, V, embedding=D) == TwoLinear(H, V, 256)
    assert heads.make("mos", H, V, embedding=D) == MoS(H, V, D, 15)
