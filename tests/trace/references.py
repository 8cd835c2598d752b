"""Straight-line float64 references for one step of BPTT, TPTT, BTPROP and FPTT: no engine, no shared code, no tricks.

Gradients come from complex steps through the plain forward functions below, one number at a time: exact to rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np

STEP = 1e-25


def gradient(loss: Any, params: dict[str, Any], names: Any) -> dict[str, Any]:
    """d loss / d params[name] by moving each number by an imaginary amount."""
    found = {}
    for name in names:
        g = np.zeros(params[name].shape)
        for index in np.ndindex(g.shape):
            moved = {k: v.astype(complex) for k, v in params.items()}
            moved[name][index] += 1j * STEP
            g[index] = np.imag(loss(moved)) / STEP
        found[name] = g
    return found


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


ACTIVATIONS = {"tanh": np.tanh, "sigmoid": sigmoid, "linear": lambda x: x}


def cell_step(config: dict[str, Any], p: dict[str, Any], x: Any, h: Any) -> Any:
    """One transition of one batch; the state of the LSTM is hidden then cell."""
    kind = config.get("cell", "srn")
    if kind == "srn":
        return ACTIVATIONS[config.get("activation", "tanh")](x @ p["W_xh"] + h @ p["W_hh"] + p["b_h"])
    H = p["W_hh"].shape[0]
    if kind == "gru":
        a, b = x @ p["W_xh"] + p["b_xh"], h @ p["W_hh"] + p["b_hh"]
        r = sigmoid(a[:, :H] + b[:, :H])
        z = sigmoid(a[:, H : 2 * H] + b[:, H : 2 * H])
        n = np.tanh(a[:, 2 * H :] + r * b[:, 2 * H :])
        return (1 - z) * n + z * h
    a = x @ p["W_xh"] + h[:, :H] @ p["W_hh"] + p["b_h"]
    i, f, g, o = (a[:, k * H : (k + 1) * H] for k in range(4))
    c = sigmoid(f) * h[:, H:] + sigmoid(i) * np.tanh(g)
    return np.concatenate([sigmoid(o) * np.tanh(c), c], axis=1)


def unroll(config: dict[str, Any], p: dict[str, Any], x: Any, h0: Any) -> list[Any]:
    """States h_0, h_1, ..., h_T."""
    states = [h0]
    for x_t in x:
        states.append(cell_step(config, p, p["E"][x_t] if "E" in p else x_t, states[-1]))
    return states


def score(config: dict[str, Any], p: dict[str, Any], h: Any, y: Any) -> Any:
    """Mean loss over sequences of the outputs for one time step."""
    H = p["W_hh"].shape[0]
    z = h[:, :H] @ p["W_hy"] + p["b_y"]
    if config.get("loss", "softmax") == "mse":
        return ((z - y) ** 2).sum() / len(y)
    total = 0.0
    for row, label in zip(z, y, strict=True):
        total += np.log(np.exp(row).sum()) - row[label]
    return total / len(y)


def total_loss(config: dict[str, Any], p: dict[str, Any], x: Any, y: Any, h0: Any) -> Any:
    states = unroll(config, p, x, h0)
    if config.get("loss_at", "last") == "last":
        return score(config, p, states[-1], y)
    return sum(score(config, p, h, y_t) for h, y_t in zip(states[1:], y, strict=True)) / len(x)


def update(config: dict[str, Any], kind: str, lr: float, p: Any, g: Any, state: dict[str, Any]) -> tuple[Any, Any]:
    """One parameter's new value and optimiser state; `state` holds what the rule remembers of it."""
    mu = config.get("momentum", 0.9)
    if kind == "sgd":
        return p - lr * g, {}
    if kind == "momentum":
        v = mu * state.get("velocity", 0 * p) + g
        return p - lr * v, {"velocity": v}
    if kind == "nag":
        v = mu * state.get("velocity", 0 * p) - lr * g
        return p + mu * v - lr * g, {"velocity": v}
    if kind == "adagrad":
        total = state.get("adagrad", 0 * p) + g * g
        return p - lr * g / (np.sqrt(total) + config.get("adagrad_eps", 1e-5)), {"adagrad": total}
    b1, b2 = config.get("adam_betas", [0.9, 0.999])
    t = state.get("t", 0) + 1
    m = b1 * state.get("m", 0 * p) + (1 - b1) * g
    v = b2 * state.get("v", 0 * p) + (1 - b2) * g * g
    root = np.sqrt(v / (1 - b2**t)) + config.get("adam_eps", 1e-8)
    return p - lr * (m / (1 - b1**t)) / root, {"m": m, "v": v, "t": t}


def updated(
    config: dict[str, Any], kind: str, lr: Any, params: Any, grads: Any, given: Any, out: dict[str, Any]
) -> None:
    """Write the new parameters and states of all names in `grads` into `out`."""
    for name, g in grads.items():
        before = {
            k: given[f"state/{k}/{name}"] for k in ("velocity", "adagrad", "m", "v") if f"state/{k}/{name}" in given
        }
        before |= {"t": int(given["state/t"])} if "state/t" in given else {}
        new, state = update(config, kind, lr(name), params[name], g, before)
        out[f"params/{name}"] = new
        out |= {("state/t" if k == "t" else f"state/{k}/{name}"): v for k, v in state.items()}


def bptt(config: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """All that `trace bptt` writes."""
    params = {k.removeprefix("params/"): v for k, v in given.items() if k.startswith("params/")}
    x, y, h0 = given["batch/x"], given["batch/y"], initial(config, params, given)
    names = [n for n in params if n not in config.get("frozen", [])]
    grads = gradient(lambda p: total_loss(config, p, x, y, h0), params, names)
    out: dict[str, Any] = {f"params/{n}": v for n, v in params.items()}
    out |= {"loss": np.real(total_loss(config, params, x, y, h0))} | {f"grads/{n}": g for n, g in grads.items()}
    norm, clip = np.sqrt(sum((g**2).sum() for g in grads.values())), config.get("clip")
    if clip is not None and norm > clip:
        grads = {n: g * (clip / max(norm, 1e-6)) for n, g in grads.items()}
    updated(config, config.get("optimizer", "sgd"), lambda _: config.get("lr", 0.01), params, grads, given, out)
    return out


def initial(config: dict[str, Any], params: Any, given: Any) -> Any:
    size = params["W_hh"].shape[0] * (2 if config.get("cell") == "lstm" else 1)
    return given.get("batch/h0", np.zeros((given["batch/x"].shape[1], size)))


def tptt(config: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """All that `trace tptt` writes: the paper's equations, one time step after the other."""
    params = {k.removeprefix("params/"): v for k, v in given.items() if k.startswith("params/")}
    x, y, h0 = given["batch/x"], given["batch/y"], initial(config, params, given)
    act = ACTIVATIONS[config.get("activation", "tanh")]
    T, B, H = len(x), x.shape[1], params["W_hh"].shape[0]
    weight = 1 / (B * H) if config.get("reduction", "mean_bh") == "mean_bh" else 1 / B
    frozen = config.get("frozen", [])

    def F(p: Any, t: int, h: Any) -> Any:
        return act(x[t - 1] @ p["W_xh"] + h @ p["W_hh"] + p["b_h"])

    def G(p: Any, t: int, h: Any) -> Any:
        return act(x[t - 1] @ p["W_xh"] + h @ p["V_hh"] + p["c_h"])

    h = unroll(config, params, x, h0)
    noise = given.get("batch/noise", np.zeros((T, B, H)))
    q = [h[t - 1] + noise[t - 1] for t in range(1, T + 1)]

    def L_G(p: Any) -> Any:
        return weight * sum(((G(p, t, F(params, t, q[t - 1])) - q[t - 1]) ** 2).sum() for t in range(1, T + 1))

    kind = config.get("optimizer", "nag")
    out: dict[str, Any] = {f"params/{n}": v for n, v in params.items()}
    out |= {"loss": score(config, params, h[T], y), "loss_g": L_G(params)}
    names = [n for n in ("V_hh", "c_h") if n not in frozen]
    grads = gradient(lambda p: L_G({**params, "V_hh": p["V_hh"], "c_h": p["c_h"]}), params, names)
    updated(config, kind, lambda _: config.get("alpha_g", 0.001), params, grads, given, out)
    learnt = {**params, **{n: out[f"params/{n}"] for n in names}}

    e_T = gradient(lambda p: score(config, params, p["h"], y), {"h": h[T]}, ["h"])["h"]
    targets = {T: h[T] - config.get("alpha_i", 0.1) * e_T}
    for t in range(T - 1, 0, -1):
        targets[t] = h[t] - G(learnt, t + 1, h[t + 1]) + G(learnt, t + 1, targets[t + 1])

    def L_F(p: Any) -> Any:
        return weight * sum(((F(p, t, h[t - 1]) - targets[t]) ** 2).sum() for t in range(1, T + 1))

    def E(p: Any) -> Any:
        return score(config, p, unroll(config, p, x, h0)[T], y)

    local, direct = ["W_hh", "b_h"], ["W_hy", "b_y"]
    (local if config.get("w_xh", "bptt") == "local" else direct).append("W_xh")
    grads_f = gradient(L_F, params, [n for n in local if n not in frozen])
    grads_f |= gradient(E, params, [n for n in direct if n not in frozen])
    updated(config, kind, lambda _: config.get("alpha_f", 0.01), params, grads_f, given, out)
    out |= {f"grads/{n}": g for n, g in {**grads, **grads_f}.items()}
    out |= {"loss_f": L_F(params), "h": np.stack(h[1:]), "targets": np.stack([targets[t] for t in range(1, T + 1)])}
    return out


def btprop(config: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """All that `trace btprop` writes: the objective a block at a time, its gradients by complex steps."""
    params = {k.removeprefix("params/"): v for k, v in given.items() if k.startswith("params/")}
    x, y, (B, n) = given["batch/x"], given["batch/y"], given["batch/x"].shape[:2]
    S = params["W_hh"].shape[0] * (2 if config.get("cell") == "lstm" else 1)
    carry, constraint = given.get("batch/carry", np.zeros(S)), config.get("constraint", "pm")
    lam, start = config.get("lambda", 1.0), config.get("h_init", "sequential")
    every = {**config, "loss_at": "every"}

    def block(p: Any, j: int, h: Any) -> list[Any]:
        """s_{0,j}, ..., s_{B,j} from h_j [S]."""
        return unroll(config, p, x[:, j : j + 1], h[None])

    def predictions(p: Any, h: Any) -> Any:
        return np.array([block(p, j, h[j])[-1][0] for j in range(n)])

    def J(p: Any, h: Any, u: Any) -> Any:
        total: Any = 0.0
        for j in range(n):
            s = block(p, j, h[j])
            total = total + sum(score(every, p, s[k + 1], y[k, j : j + 1]) for k in range(B)) / B
            r = s[B][0] + u[j] - h[j + 1]
            total = total + lam / 2 * (r * r).sum()
        return total / n

    h = np.zeros((n + 1, S))
    if start == "sequential":
        h[0] = carry
        for j in range(n):
            h[j + 1] = block(params, j, h[j])[-1][0]
    elif start == "restart":
        h[0] = carry
        for j in range(n - 1):
            h[j + 1] = block(params, j, np.zeros(S))[-1][0]
    u = given.get("state/u", np.zeros((n, S)))
    out: dict[str, Any] = {"loss": np.real(J(params, h, u))}

    kind = config.get("optimizer", "adagrad")
    memory = {k.removeprefix("state/"): v for k, v in given.items() if k.startswith("state/") and k != "state/u"}
    sums = np.zeros_like(h)

    def clipped(grads: dict[str, Any], most: Any) -> dict[str, Any]:
        norm = np.sqrt(sum((g**2).sum() for g in grads.values()))
        return {k: g * (most / max(norm, 1e-6)) if most is not None and norm > most else g for k, g in grads.items()}

    def move_h(g: Any) -> None:
        nonlocal h, sums
        g = clipped({"h": g}, config.get("h_clip"))["h"]
        rate = config.get("h_lr", 0.1)
        if config.get("h_optimizer", "adagrad") == "sgd":
            h = h - rate * g
        else:
            sums = sums + g * g
            h = h - rate * g / (np.sqrt(sums) + config.get("adagrad_eps", 1e-5))

    def move_theta(grads: dict[str, Any]) -> None:
        nonlocal params, memory
        before = {f"state/{k}": v for k, v in memory.items()}
        told: dict[str, Any] = {}
        updated(
            config,
            kind,
            lambda _: config.get("theta_lr", 0.1),
            params,
            clipped(grads, config.get("clip", 0.5)),
            before,
            told,
        )
        params = {k.removeprefix("params/"): v for k, v in told.items() if k.startswith("params/")}
        memory = {k.removeprefix("state/"): v for k, v in told.items() if k.startswith("state/")}

    def by_h() -> Any:
        return gradient(lambda p: J(params, p["h"], u), {"h": h}, ["h"])["h"]

    def by_theta() -> dict[str, Any]:
        return gradient(lambda p: J(p, h, u), params, list(params))

    def norm(*arrays: Any) -> float:
        return float(np.sqrt(sum((a**2).sum() for a in arrays)))

    def dual() -> None:
        nonlocal u
        r = predictions(params, h) - h[1:]
        if config.get("dual", "literal") == "literal":
            r = r + u
        u = u + config.get("u_lr", 0.1) * lam / n * r

    if constraint != "pm" and start == "zero":
        dual()
    if constraint == "alm":
        for _ in range(config.get("alm_steps", 5)):
            g_h, g_theta = by_h(), by_theta()
            hats = predictions(params, h)
            move_h(g_h)
            move_theta(g_theta)
            if norm(g_h, *g_theta.values()) < 1e-5:
                break
    else:
        for _ in range(config.get("h_steps", 1)):
            g_h = by_h()
            move_h(g_h)
            if norm(g_h) < 1e-5:
                break
        if constraint == "admm" and start != "zero":
            dual()
        for _ in range(config.get("theta_steps", 1)):
            g_theta, hats = by_theta(), predictions(params, h)
            move_theta(g_theta)
    if constraint == "alm" and start != "zero":
        dual()
    out |= {f"params/{k}": v for k, v in params.items()} | {f"state/{k}": v for k, v in memory.items()}
    out |= {f"grads/{k}": v for k, v in g_theta.items()}
    return out | {"h": h, "h_hat": hats, "u": u, "carry": hats[-1]}


def fptt(config: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """All that `trace fptt` writes."""
    W = {k.removeprefix("params/"): v for k, v in given.items() if k.startswith("params/")}
    x, y, h0 = given["batch/x"], given["batch/y"], initial(config, W, given)
    form, alpha, beta = config.get("form", "running"), config.get("alpha", 0.5), config.get("beta", 0.5)
    c, rho, K, T = config.get("penalty_factor", 1), config.get("rho", 0), config.get("parts", 1), len(x)
    S = T // K
    spans = [(p * S, p * S + S) for p in range(K)] + ([(K * S, T)] if K * S < T else [])
    every, linear = config.get("loss_at", "last") == "every", config.get("part_weight", "none") == "linear"

    def part_loss(p: int, W: Any, h: Any) -> Any:
        first, last = spans[p]
        found = total_loss(config, W, x[first:last], y[first:last] if every else y, h)
        return found * ((p + 1) / len(spans) if linear else 1)

    before, h = [], h0
    for p, (first, last) in enumerate(spans):
        before.append(part_loss(p, W, h))
        h = unroll(config, W, x[first:last], h)[-1]
    out: dict[str, Any] = {"loss": sum(before) / len(spans)}

    memory = "lambda" if form == "running" else "last_grad"
    W_bar = {n: given.get(f"state/W_bar/{n}", v) for n, v in W.items()}
    lam = {n: given.get(f"state/{memory}/{n}", 0 * v) for n, v in W.items()}
    state = {key: value for key, value in given.items() if key.startswith("state/")}
    losses, h = [], h0
    for p, (first, last) in enumerate(spans):

        def here(W: Any, p: int = p, h: Any = h) -> Any:
            return part_loss(p, W, h)

        losses.append(here(W))
        g = gradient(here, W, W)
        if alpha:
            pull = {"running": 1 - rho, "algorithm2": 0.5, "equation6": 1}[form]
            weight = alpha * (c if form == "running" else 1)
            g = {n: g[n] - pull * lam[n] + weight * (W[n] - W_bar[n]) for n in W}
        scaled, norm, clip = g, np.sqrt(sum((a**2).sum() for a in g.values())), config.get("clip")
        if clip is not None and norm > clip:
            scaled = {n: a * (clip / max(norm, 1e-6)) for n, a in g.items()}
        new: dict[str, Any] = {}
        updated(config, config.get("optimizer", "sgd"), lambda _: config.get("lr", 0.001), W, scaled, state, new)
        h_next = unroll(config, W, x[first:last], h)[-1]
        W = {n: new[f"params/{n}"] for n in W}
        state = {key: value for key, value in new.items() if key.startswith("state/")}
        if alpha and form == "running":
            lam = {n: lam[n] - alpha * (W[n] - W_bar[n]) for n in W}
            W_bar = {n: (1 - beta) * W_bar[n] + beta * W[n] - beta / alpha * lam[n] for n in W}
        elif alpha:
            lam = gradient(here, W, W)
            W_bar = {n: (W_bar[n] + W[n]) / 2 - lam[n] / (2 * alpha) for n in W}
        h = h_next
    out |= {f"params/{n}": v for n, v in W.items()} | {f"grads/{n}": v for n, v in g.items()} | state
    out |= {"part_losses": np.array(losses)}
    if alpha:
        out |= {f"state/W_bar/{n}": v for n, v in W_bar.items()} | {f"state/{memory}/{n}": v for n, v in lam.items()}
    return out
