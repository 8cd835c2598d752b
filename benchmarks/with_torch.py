"""PyTorch, eager: its own recurrent layers where they fit, loops over time where the method is its own.

Parameters of a layer are [to, from], the transposes of ours. A second bias, where ours has one, stays 0 and untrained.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from benchmarks.contestant import Arrays, Inputs, Job, Table

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))

NAG: dict[str, Any] = {"lr": 0.01, "momentum": 0.9, "nesterov": True, "fused": True}
"""Nesterov's momentum in PyTorch's form is Lasagne's with velocity = -lr * buffer. The fused step is its fastest."""


def _tensor(array: Any) -> torch.Tensor:
    """A copy where PyTorch makes tensors by default: what a caller holds is never written to."""
    return torch.from_numpy(np.array(array)).to(torch.get_default_device())


def _tensors(arrays: Arrays) -> dict[str, torch.Tensor]:
    return {name: _tensor(array) for name, array in arrays.items()}


def _array(tensor: torch.Tensor) -> Any:
    return tensor.detach().cpu().numpy().copy()


# ----------------------------------------------------------------------------------------------------------------------
# Layers

_LAYERS: dict[str, Any] = {"srn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
_NAMES = {"W_xh": "weight_ih_l0", "W_hh": "weight_hh_l0", "b_h": "bias_ih_l0", "b_xh": "bias_ih_l0"}


def _layer(cell: str, params: Arrays) -> tuple[Any, dict[str, torch.Tensor]]:
    """A recurrent layer with given parameters, and its trained parameters by our names."""
    names = _NAMES | ({"b_hh": "bias_hh_l0"} if "b_hh" in params else {})
    layer = _LAYERS[cell](*(params["W_xh"].shape[0], params["W_hh"].shape[0]))
    with torch.no_grad():
        layer.bias_hh_l0.zero_()
        for ours, theirs in names.items():
            if ours in params:
                getattr(layer, theirs).copy_(_tensor(params[ours].T))
    layer.bias_hh_l0.requires_grad_("b_hh" in params)
    return layer, {ours: getattr(layer, theirs) for ours, theirs in names.items() if ours in params}


def _forward(inputs: Inputs) -> Job:
    layer, _ = _layer("srn", inputs["params"])
    x = _tensor(inputs["x"])

    def call() -> Any:
        with torch.no_grad():
            return layer(x)[0]

    return Job(call, lambda h: {"h": _array(h)})


def _training(cell: str, by_x: bool = False) -> Callable[[Inputs], Job]:
    def make(inputs: Inputs) -> Job:
        layer, trained = _layer(cell, inputs["params"])
        x, g = _tensor(inputs["x"]).requires_grad_(by_x), _tensor(inputs["g"])
        sources = {**trained, **({"x": x} if by_x else {})}

        def call() -> Any:
            h = layer(x)[0]
            return h, torch.autograd.grad(h, list(sources.values()), g)

        def answer(result: Any) -> Arrays:
            h, gradients = result
            named = dict(zip(sources, map(_array, gradients), strict=True))
            return {"h": _array(h), **{name: g if name == "x" else g.T for name, g in named.items()}}

        return Job(call, answer)

    return make


# ----------------------------------------------------------------------------------------------------------------------
# Iterations


def _bptt(inputs: Inputs) -> Job:
    layer, trained = _layer("srn", inputs["params"])
    readout = torch.nn.Linear(*inputs["params"]["W_hy"].shape)
    with torch.no_grad():
        readout.weight.copy_(_tensor(inputs["params"]["W_hy"].T))
        readout.bias.copy_(_tensor(inputs["params"]["b_y"]))
    trained = {**trained, "W_hy": readout.weight, "b_y": readout.bias}
    x, y = _tensor(inputs["x"]), _tensor(inputs["y"])
    optimizer = torch.optim.SGD(trained.values(), **NAG)

    def call() -> Any:
        optimizer.zero_grad()
        loss: Any = functional.cross_entropy(readout(layer(x)[0][-1]), y)
        loss.backward()
        optimizer.step()
        return loss

    def answer(loss: Any) -> Arrays:
        found = _trained(loss, trained, optimizer)
        return {name: array.T for name, array in found.items()}

    return Job(call, answer)


def _parts(inputs: Inputs) -> Job:
    """Forward propagation through time, the released code's form; the regulariser's gradient written out.

    What is elementwise goes over all parameters in one call, as in PyTorch's own optimisers.
    """
    p, K, alpha, beta = inputs["params"], inputs["K"], 0.5, 0.5
    layer, trained = _layer("lstm", p)
    readout = torch.nn.Linear(*p["W_hy"].shape)
    with torch.no_grad():
        readout.weight.copy_(_tensor(p["W_hy"].T))
        readout.bias.copy_(_tensor(p["b_y"]))
    trained |= {"W_hy": readout.weight, "b_y": readout.bias}
    W = list(trained.values())
    W_bar, lam = [w.detach().clone() for w in W], [torch.zeros_like(w) for w in W]
    parts: Any = torch.split(_tensor(inputs["x"]), len(inputs["x"]) // K)
    y = _tensor(inputs["y"])
    optimizer = torch.optim.Adam(W, lr=0.001, fused=True)

    def call() -> Any:
        state: Any = None
        loss: Any = None
        for number, x_p in enumerate(parts, start=1):
            optimizer.zero_grad()
            h, state = layer(x_p, state)
            loss = number / K * functional.mse_loss(readout(h[-1]), y)
            loss.backward()
            state = tuple(s.detach() for s in state)
            _update_parts()
        return loss.detach()  # that of the last part

    @torch.no_grad()
    def _update_parts() -> None:
        """W moves by dl/dW - lambda + alpha (W - W_bar), and lambda and W_bar follow."""
        grads: Any = [w.grad for w in W]
        apart: Any = torch._foreach_sub(W, W_bar)
        torch._foreach_sub_(grads, lam)
        torch._foreach_add_(grads, apart, alpha=alpha)
        torch.nn.utils.clip_grad_norm_(W, 1.0)
        optimizer.step()
        apart = torch._foreach_sub(W, W_bar)
        torch._foreach_sub_(lam, apart, alpha=alpha)
        torch._foreach_add_(W_bar, apart, alpha=beta)
        torch._foreach_sub_(W_bar, lam, alpha=beta / alpha)

    def answer(loss: Any) -> Arrays:
        kept = {"W_bar": W_bar, "lambda": lam}
        kept |= {kind: [optimizer.state[w][name] for w in W] for kind, name in (("m", "exp_avg"), ("v", "exp_avg_sq"))}
        named = {f"{kind}/{name}": t for kind, each in kept.items() for name, t in zip(trained, each, strict=True)}
        return {"loss": _array(loss), **{name: _array(t).T for name, t in {**trained, **named}.items()}}

    return Job(call, answer)


def _words(fused: bool = False) -> Callable[[Inputs], Job]:
    """An iteration with PyTorch's Adagrad, fused or its default; on a GPU the latter: older ones have no other."""

    def make(inputs: Inputs) -> Job:
        p, x, y = inputs["params"], _tensor(inputs["x"]), _tensor(inputs["y"])
        layer, trained = _layer("gru", p)
        # W in the layout of nn.Linear, [V, H].
        more = {"E": p["E"], "W_hy": p["W_hy"].T.copy(), "b_y": p["b_y"]}
        trained |= {name: _tensor(array).requires_grad_() for name, array in more.items()}
        options = {"fused": True} if fused and torch.get_default_device().type == "cpu" else {}
        optimizer = torch.optim.Adagrad(trained.values(), lr=0.03, eps=1e-5, **options)

        def call() -> Any:
            optimizer.zero_grad()
            logits = functional.linear(layer(functional.embedding(x, trained["E"]))[0], trained["W_hy"], trained["b_y"])
            loss: Any = functional.cross_entropy(logits.view(-1, logits.shape[-1]), y.view(-1))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained.values(), 0.5)
            optimizer.step()
            return loss

        def answer(loss: Any) -> Arrays:
            sums = {f"adagrad/{name}": optimizer.state[p]["sum"] for name, p in trained.items()}
            found = {name: _array(tensor) for name, tensor in {**trained, **sums}.items()}
            return {"loss": _array(loss), **{n: a if n.endswith("E") else a.T for n, a in found.items()}}

        return Job(call, answer)

    return make


def _trained(loss: Any, params: dict[str, torch.Tensor], *optimizers: Any) -> Arrays:
    """The loss, and the parameters and velocities after a step."""
    found = {"loss": _array(loss), **{name: _array(p) for name, p in params.items()}}
    names = {p: name for name, p in params.items()}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for p in group["params"]:
                found[f"velocity/{names[p]}"] = -group["lr"] * _array(optimizer.state[p]["momentum_buffer"])
    return found


def _tptt(w_xh: str) -> Callable[[Inputs], Job]:
    """Target propagation through time; `w_xh`: how W_xh learns, bptt or local.

    All that is local is one product for all steps, its gradient written out: F(x_t, h_{t-1}) is known to be h_t.
    Autograd has the readout and, for TPTT, the way back to W_xh.
    """

    def make(inputs: Inputs) -> Job:
        p = _tensors(inputs["params"])
        x, y = _tensor(inputs["x"]), _tensor(inputs["y"])
        T, B, D = x.shape
        H = p["W_hh"].shape[0]
        by_autograd = ["W_hy", "b_y", *(["W_xh"] if w_xh == "bptt" else [])]
        for name in by_autograd:
            p[name].requires_grad_()
        forward = torch.optim.SGD([p[name] for name in ("W_xh", "W_hh", "b_h", "W_hy", "b_y")], **NAG)
        feedback = torch.optim.SGD([p["V_hh"], p["c_h"]], **{**NAG, "lr": 0.001})
        h_0, alpha_i, share = torch.zeros(B, H), 0.1, 2 / (B * H)
        flat_x = x.reshape(T * B, D)

        def states() -> tuple[torch.Tensor, list[torch.Tensor]]:
            """u [T, B, H] without the bias, and the states of all steps."""
            u = (flat_x @ p["W_xh"]).view(T, B, H)
            h, found = h_0, []
            for u_t in (u + p["b_h"]).unbind():
                h = torch.addmm(u_t, h, p["W_hh"]).tanh()
                found.append(h)
            return u, found

        def call() -> Any:
            with torch.set_grad_enabled(w_xh == "bptt"):
                u, hs = states()
            h_T = hs[-1] if w_xh == "bptt" else hs[-1].requires_grad_()
            loss = functional.cross_entropy(torch.addmm(p["b_y"], h_T, p["W_hy"]), y)
            sources = [h_T, *(p[name] for name in by_autograd)]
            dE_dhT, *gradients = torch.autograd.grad(loss, sources)
            for name, gradient in zip(by_autograd, gradients, strict=True):
                p[name].grad = gradient
            with torch.no_grad():
                h = torch.stack(hs)
                _learn_feedback(u, h)
                _learn_forward(h, _targets(u + p["c_h"], h, h[-1] - alpha_i * dE_dhT))
            return loss

        def _learn_feedback(u: torch.Tensor, h: torch.Tensor) -> None:
            """Equation 9."""
            G = torch.tanh(u + p["c_h"] + h @ p["V_hh"])
            error = G - torch.cat((h_0[None], h[:-1]))
            d = (share * error * (1 - G * G)).view(T * B, H)
            p["V_hh"].grad, p["c_h"].grad = h.view(T * B, H).T @ d, d.sum(0)
            feedback.step()

        def _targets(u: torch.Tensor, h: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            """Equation 8; the states' side of it for all steps at once."""
            known = (h[:-1] - torch.tanh(u[1:] + h[1:] @ p["V_hh"])).unbind()
            found = [target]
            for u_t, known_t in zip(reversed(u[1:].unbind()), reversed(known), strict=True):
                target = torch.addmm(u_t, target, p["V_hh"]).tanh_().add_(known_t)
                found.append(target)
            return torch.stack(found[::-1])

        def _learn_forward(h: torch.Tensor, targets: torch.Tensor) -> None:
            """Equations 10 and 13."""
            d = (share * (h - targets) * (1 - h * h)).view(T * B, H)
            before = torch.cat((h_0[None], h[:-1])).view(T * B, H)
            p["W_hh"].grad, p["b_h"].grad = before.T @ d, d.sum(0)
            if w_xh == "local":
                p["W_xh"].grad = flat_x.T @ d
            forward.step()

        return Job(call, lambda loss: _trained(loss, p, forward, feedback))

    return make


# ----------------------------------------------------------------------------------------------------------------------
# The rest


def _readout(inputs: Inputs) -> Job:
    p, y = inputs["params"], _tensor(inputs["y"])
    # W in the layout of nn.Linear, [V, H].
    W, b, h = (_tensor(array).requires_grad_() for array in (p["W_hy"].T.copy(), p["b_y"], inputs["h"]))

    def call() -> Any:
        logits = functional.linear(h, W, b)
        loss = functional.cross_entropy(logits.view(-1, logits.shape[-1]), y.view(-1))
        return loss, torch.autograd.grad(loss, (W, b, h))

    def answer(result: Any) -> Arrays:
        loss, (g_W, g_b, g_h) = result
        return {"loss": _array(loss), "W_hy": _array(g_W).T, "b_y": _array(g_b), "h": _array(g_h)}

    return Job(call, answer)


def _embedding(inputs: Inputs) -> Job:
    E, ids, g = _tensor(inputs["params"]["E"]).requires_grad_(), _tensor(inputs["ids"]), _tensor(inputs["g"])

    def call() -> Any:
        x = functional.embedding(ids, E)
        return x, torch.autograd.grad(x, E, g)[0]

    return Job(call, lambda result: {"x": _array(result[0]), "E": _array(result[1])})


def _update(rule: str) -> Callable[[Inputs], Job]:
    def make(inputs: Inputs) -> Job:
        params = _tensors(inputs["params"])
        for name, p in params.items():
            p.grad = _tensor(inputs["grads"][name])
        if rule == "nag":
            optimizer: Any = torch.optim.SGD(params.values(), **NAG)
            kinds = {"velocity": ("momentum_buffer", -NAG["lr"])}
        else:
            optimizer = torch.optim.Adam(params.values(), lr=0.001, fused=True)
            kinds = {"m": ("exp_avg", 1.0), "v": ("exp_avg_sq", 1.0)}

        def answer(_: Any) -> Arrays:
            state = {
                f"{kind}/{name}": factor * _array(optimizer.state[p][theirs])
                for kind, (theirs, factor) in kinds.items()
                for name, p in params.items()
            }
            return {**{name: _array(p) for name, p in params.items()}, **state}

        return Job(optimizer.step, answer)

    return make


JOBS: Table = {
    "tptthx": _tptt("local"),
    "tptt": _tptt("bptt"),
    "bptt": _bptt,
    "fptt": _parts,
    "words": _words(fused=True),
    "words-default": _words(),
    "srn": _forward,
    "srn-training": _training("srn"),
    **{cell: _training(cell) for cell in ("lstm", "gru")},
    **{f"{cell}-by-x": _training(cell, by_x=True) for cell in ("lstm", "gru")},
    "readout": _readout,
    "embedding": _embedding,
    **{f"{rule}-{cell}": _update(rule) for rule in ("nag", "adam") for cell in ("srn", "lstm")},
}
