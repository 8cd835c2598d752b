"""JAX: everything that a row asks for in one compiled function, time as `lax.scan`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, nn

from benchmarks.contestant import Arrays, Inputs, Job, Table

done: Callable[[Any], Any] = jax.block_until_ready
"""What it is given, once it is computed: a compiled function returns before."""


def _job(function: Callable[..., Any], *arguments: Any, answer: Callable[[Any], Arrays]) -> Job:
    """A compiled function of arguments that stay the same; what `answer` gets are NumPy arrays."""
    compiled = jax.jit(function)
    given = jax.device_put(arguments)
    return Job(
        lambda: done(compiled(*given)),
        lambda result: answer(jax.tree.map(np.asarray, result)),
    )


# ----------------------------------------------------------------------------------------------------------------------
# Cells


def srn(p: Any, x: Any) -> Any:
    """States [T, B, H] from 0."""

    def step(h: Any, u_t: Any) -> Any:
        h = jnp.tanh(u_t + h @ p["W_hh"])
        return h, h

    return lax.scan(step, _zeros(p, x), x @ p["W_xh"] + p["b_h"])[1]


def lstm(p: Any, x: Any) -> Any:
    """Hidden states [T, B, H] from 0."""
    zeros = _zeros(p, x)
    return lstm_from(p, x, (zeros, zeros))[1]


def lstm_from(p: Any, x: Any, state: Any) -> Any:
    """The last state (h, c) and hidden states [T, B, H] from a state."""

    def step(state: Any, u_t: Any) -> Any:
        h, c = state
        i, f, g, o = jnp.split(u_t + h @ p["W_hh"], 4, axis=-1)
        c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
        h = nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    return lax.scan(step, state, x @ p["W_xh"] + p["b_h"])


def gru(p: Any, x: Any) -> Any:
    """States [T, B, H] from 0."""

    def step(h: Any, u_t: Any) -> Any:
        (u_r, u_z, u_n), (v_r, v_z, v_n) = jnp.split(u_t, 3, axis=-1), jnp.split(h @ p["W_hh"] + p["b_hh"], 3, axis=-1)
        r, z = nn.sigmoid(u_r + v_r), nn.sigmoid(u_z + v_z)
        n = jnp.tanh(u_n + r * v_n)
        h = (1 - z) * n + z * h
        return h, h

    return lax.scan(step, _zeros(p, x), x @ p["W_xh"] + p["b_xh"])[1]


def antisymmetric(p: Any, x: Any, epsilon: float = 0.01, gamma: float = 0.01) -> Any:
    """States [T, B, H] from 0."""
    A = p["W_hh"] - p["W_hh"].T - gamma * jnp.eye(p["W_hh"].shape[0])

    def step(h: Any, u_t: Any) -> Any:
        u_z, u_h = jnp.split(u_t, 2, axis=-1)
        v = h @ A
        h = h + epsilon * nn.sigmoid(u_z + v) * jnp.tanh(u_h + v)
        return h, h

    return lax.scan(step, _zeros(p, x), x @ p["W_xh"] + p["b_h"])[1]


def _zeros(p: Any, x: Any) -> Any:
    return jnp.zeros((x.shape[1], p["W_hh"].shape[0]))


def _forward(inputs: Inputs) -> Job:
    return _job(srn, inputs["params"], inputs["x"], answer=lambda h: {"h": h})


def _training(unroll: Callable[[Any, Any], Any], by_x: bool = False) -> Callable[[Inputs], Job]:
    def both(p: Any, x: Any, g: Any) -> Any:
        if by_x:
            h, back = jax.vjp(lambda w: unroll(w, w["x"]), {**p, "x": x})
        else:
            h, back = jax.vjp(lambda w: unroll(w, x), p)
        return h, back(g)[0]

    return lambda inputs: _job(
        both, inputs["params"], inputs["x"], inputs["g"], answer=lambda result: {"h": result[0], **result[1]}
    )


# ----------------------------------------------------------------------------------------------------------------------
# Iterations


def cross_entropy(z: Any, y: Any) -> Any:
    """The mean over all leading axes."""
    return -jnp.mean(jnp.take_along_axis(nn.log_softmax(z), y[..., None], axis=-1))


def _nag(params: Any, velocity: Any, grads: Any, lr: float, mu: float = 0.9) -> Any:
    """Parameters and velocities after a step in Lasagne's form, for the names in `grads`."""
    new = {name: mu * velocity[name] - lr * g for name, g in grads.items()}
    moved = {name: params[name] + mu * new[name] - lr * g for name, g in grads.items()}
    return {**params, **moved}, {**velocity, **new}


def _bptt_step(p: Any, velocity: Any, x: Any, y: Any) -> Any:
    loss, grads = jax.value_and_grad(lambda w: cross_entropy(srn(w, x)[-1] @ w["W_hy"] + w["b_y"], y))(p)
    return loss, *_nag(p, velocity, grads, 0.01)


def _tptt_step(w_xh: str) -> Callable[..., Any]:
    """An iteration of target propagation through time; `w_xh`: how W_xh learns, bptt or local."""

    def step(p: Any, velocity: Any, x: Any, y: Any) -> Any:
        (T, B, _), H, alpha_i = x.shape, p["W_hh"].shape[0], 0.1

        def loss_of(readout: Any, h_T: Any) -> Any:
            return cross_entropy(h_T @ readout["W_hy"] + readout["b_y"], y)

        if w_xh == "bptt":
            h, back = jax.vjp(lambda W_xh: srn({**p, "W_xh": W_xh}, x), p["W_xh"])
        else:
            h, back = srn(p, x), None
        readout = {name: p[name] for name in ("W_hy", "b_y")}
        loss, (grads, dE_dhT) = jax.value_and_grad(loss_of, argnums=(0, 1))(readout, h[-1])
        if back is not None:
            grads["W_xh"] = back(jnp.zeros_like(h).at[-1].set(dE_dhT))[0]

        u, before = x @ p["W_xh"], jnp.concatenate((jnp.zeros((1, B, H)), h[:-1]))

        def feedback_loss(w: Any) -> Any:  # equation 9
            return jnp.sum((jnp.tanh(u + h @ w["V_hh"] + w["c_h"]) - before) ** 2) / (B * H)

        feedback = {name: p[name] for name in ("V_hh", "c_h")}
        p, velocity = _nag(p, velocity, jax.grad(feedback_loss)(feedback), 0.001)

        u_G = u + p["c_h"]
        known = h[:-1] - jnp.tanh(u_G[1:] + h[1:] @ p["V_hh"])

        def down(target: Any, step: Any) -> Any:  # equation 8
            u_t, known_t = step
            target = known_t + jnp.tanh(u_t + target @ p["V_hh"])
            return target, target

        target_T = h[-1] - alpha_i * dE_dhT
        earlier = lax.scan(down, target_T, (u_G[1:], known), reverse=True)[1]
        targets = jnp.concatenate((earlier, target_T[None]))

        # Equations 10 and 13, the gradient written out: F(x_t, h_{t-1}) is known to be h_t.
        d = (2 / (B * H)) * (h - targets) * (1 - h * h)
        flat = d.reshape(T * B, H)
        grads |= {"W_hh": before.reshape(T * B, H).T @ flat, "b_h": flat.sum(0)}
        if w_xh == "local":
            grads["W_xh"] = x.reshape(T * B, -1).T @ flat
        return loss, *_nag(p, velocity, grads, 0.01)

    return step


def _iteration(step: Callable[..., Any], *left_out: str, kind: str = "velocity") -> Callable[[Inputs], Job]:
    """A job that trains; without the parameters that the method does not have; the kind of what its rule remembers."""
    compiled = jax.jit(step)

    def make(inputs: Inputs) -> Job:
        start = {name: array for name, array in inputs["params"].items() if name not in left_out}
        params, x, y = jax.device_put((start, inputs["x"], inputs["y"]))
        velocity = jax.tree.map(jnp.zeros_like, params)

        def call() -> Any:
            nonlocal params, velocity
            loss, params, velocity = done(compiled(params, velocity, x, y))
            return loss, params, velocity

        def answer(result: Any) -> Arrays:
            loss, p, v = jax.tree.map(np.asarray, result)
            return {"loss": loss, **p, **{f"{kind}/{name}": array for name, array in v.items()}}

        return Job(call, answer)

    return make


def _words_step(p: Any, sums: Any, x: Any, y: Any) -> Any:
    """An iteration of truncated BPTT on a text: Adagrad at 0.03, the global norm at most 0.5."""

    def loss_of(w: Any) -> Any:
        return cross_entropy(gru(w, w["E"][x]) @ w["W_hy"] + w["b_y"], y)

    loss, grads = jax.value_and_grad(loss_of)(p)
    norm = jnp.sqrt(sum(jnp.sum(g * g) for g in grads.values()))
    grads = {name: g * jnp.minimum(1.0, 0.5 / norm) for name, g in grads.items()}
    sums = {name: sums[name] + g * g for name, g in grads.items()}
    return loss, {name: w - 0.03 * grads[name] / (jnp.sqrt(sums[name]) + 1e-5) for name, w in p.items()}, sums


def _parts(inputs: Inputs) -> Job:
    """Forward propagation through time, the released code's form: a scan over parts."""
    K, alpha, beta, lr, b1, b2 = inputs["K"], 0.5, 0.5, 0.001, 0.9, 0.999
    each = jax.tree.map

    def loss_of(p: Any, x: Any, y: Any, state: Any, weight: Any) -> Any:
        state, h = lstm_from(p, x, state)
        return weight * jnp.mean((h[-1] @ p["W_hy"] + p["b_y"] - y) ** 2), state

    def update(at: Any, part: Any, y: Any) -> Any:
        (p, W_bar, lam, m, v, t, state), (number, x) = at, part
        (loss, state), g = jax.value_and_grad(loss_of, has_aux=True)(p, x, y, state, (number + 1) / K)
        g = each(lambda g, l, w, w_bar: g - l + alpha * (w - w_bar), g, lam, p, W_bar)
        scale = jnp.minimum(1.0, 1 / jnp.sqrt(sum(jnp.sum(a * a) for a in jax.tree.leaves(g))))
        g, t = each(lambda a: scale * a, g), t + 1
        m, v = each(lambda m, g: b1 * m + (1 - b1) * g, m, g), each(lambda v, g: b2 * v + (1 - b2) * g * g, v, g)
        bias1, bias2 = 1 - b1**t, 1 - b2**t
        p = each(lambda w, m, v: w - lr / bias1 * m / (jnp.sqrt(v / bias2) + 1e-8), p, m, v)
        lam = each(lambda l, w, w_bar: l - alpha * (w - w_bar), lam, p, W_bar)
        W_bar = each(lambda w_bar, w, l: (1 - beta) * w_bar + beta * w - beta / alpha * l, W_bar, p, lam)
        return (p, W_bar, lam, m, v, t, state), loss

    @jax.jit
    def sequence(kept: Any, x: Any, y: Any) -> Any:
        zeros = _zeros(kept[0], x[0])
        (*kept, _), losses = lax.scan(
            lambda at, part: update(at, part, y), (*kept, (zeros, zeros)), (jnp.arange(K, dtype="float32"), x)
        )
        return kept, losses[-1]

    x = inputs["x"].reshape(K, -1, *inputs["x"].shape[1:])
    params, x, y = jax.device_put((inputs["params"], x, inputs["y"]))
    zeros = each(jnp.zeros_like, params)
    kept = (params, params, zeros, zeros, zeros, jnp.float32(0))

    def call() -> Any:
        nonlocal kept
        kept, loss = done(sequence(kept, x, y))
        return kept, loss

    def answer(result: Any) -> Arrays:
        (p, *others, _), loss = each(np.asarray, result)
        kinds = dict(zip(("W_bar", "lambda", "m", "v"), others, strict=True))
        named = {f"{kind}/{name}": array for kind, arrays in kinds.items() for name, array in arrays.items()}
        return {"loss": loss, **p, **named}

    return Job(call, answer)


# ----------------------------------------------------------------------------------------------------------------------
# The rest


def _readout(inputs: Inputs) -> Job:
    def loss(w: Any, y: Any) -> Any:
        return cross_entropy(w["h"] @ w["W_hy"] + w["b_y"], y)

    start = {**inputs["params"], "h": inputs["h"]}
    return _job(jax.value_and_grad(loss), start, inputs["y"], answer=lambda result: {"loss": result[0], **result[1]})


def _embedding(inputs: Inputs) -> Job:
    def both(E: Any, ids: Any, g: Any) -> Any:
        x, back = jax.vjp(lambda E: E[ids], E)
        return x, back(g)[0]

    given = (inputs["params"]["E"], inputs["ids"], inputs["g"])
    return _job(both, *given, answer=lambda result: {"x": result[0], "E": result[1]})


JOBS: Table = {
    "tptthx": _iteration(_tptt_step("local")),
    "tptt": _iteration(_tptt_step("bptt")),
    "bptt": _iteration(_bptt_step, "V_hh", "c_h"),
    "fptt": _parts,
    "words": _iteration(_words_step, kind="adagrad"),
    "srn": _forward,
    "lstm": _training(lstm),
    "gru": _training(gru),
    "antisymmetric": _training(antisymmetric),
    "lstm-by-x": _training(lstm, by_x=True),
    "gru-by-x": _training(gru, by_x=True),
    "readout": _readout,
    "embedding": _embedding,
}
