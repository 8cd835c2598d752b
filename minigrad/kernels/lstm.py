"""Long short-term memory over a whole sequence.

    forward     a_t = x_t @ W_xh + h_{t-1} @ W_hh + b_h                 t = 1..T
                i, f, o = s(a_i), s(a_f), s(a_o);  g = tanh(a_g)
                c_t = f * c_{t-1} + i * g
                h_t = o * tanh(c_t)
    backward    dh_t = g^h_t + d_{t+1} @ W_hh^T                         t = T..1, nothing comes from T + 1
                dc_t = g^c_t + dc_{t+1} * f_{t+1} + dh_t * o * (1 - tanh(c_t)^2)
                d_i  = dc_t * g * i (1 - i)             d_f = dc_t * c_{t-1} * f (1 - f)
                d_g  = dc_t * i * (1 - g^2)             d_o = dh_t * tanh(c_t) * o (1 - o)
                dE/dx_t  = d_t @ W_xh^T
                dE/dW_xh = sum over t of x_t^T @ d_t
                dE/dW_hh = sum over t of h_{t-1}^T @ d_t
                dE/db_h  = sum over t and the batch of d_t

T time, B batch, D input size, H hidden; the state is [h | c], gates stand in the order i, f, g, o. g^h, g^c count the
direct use of a state only. Gradients below 1e-30 become zero. Source: S. Hochreiter and J. Schmidhuber, Long
short-term memory, Neural Computation 9 (1997), with the forget gate of F. Gers et al. (2000).
"""

from __future__ import annotations

from minigrad.backend import Array, get_xp
from minigrad.kernels import Twin
from minigrad.kernels.activations import flushed, sigmoid, sigmoid_derivative, tanh, tanh_derivative
from minigrad.kernels.libraries import on_cupy
from minigrad.kernels.plain import at_every_step, before, row_sum, rows_times, stacked, weight_gradient
from minigrad.kernels.shapes import check, of_states


def forward(x: Array, s0: Array, W_xh: Array, W_hh: Array, b_h: Array, twin: Twin) -> tuple[Array, Array]:
    """All states of an LSTM, and its gates.

    Args:
        x: inputs, [T, B, D]; float (reference: or complex).
        s0: state before the first step, [B, 2H].
        W_xh: input weights, [D, 4H].
        W_hh: recurrent weights, [H, 4H].
        b_h: bias, [4H].
        twin: see `minigrad.kernels.choose`.

    Returns:
        s [T, B, 2H], the states after each step, and i, f, g, o [T, B, 4H], which `backward` wants back.

    Raises:
        InputError: if shapes or dtypes do not fit.
        TypeError: if the arrays belong to different libraries or devices.
    """
    check(
        "lstm.forward",
        twin,
        x=(x, "TBD"),
        s0=(s0, "B2H"),
        W_xh=(W_xh, "D4H"),
        W_hh=(W_hh, "H4H"),
        b_h=(b_h, "4H"),
    )
    if twin == "fused" and x.size and s0.size:
        if on_cupy(x):
            from minigrad.kernels.cuda import lstm as cuda

            return cuda.forward(x, s0, W_xh, W_hh, b_h)
        from minigrad.kernels.fused import lstm as fused

        return fused.forward(x, s0, W_xh, W_hh, b_h)
    xp, H, u = get_xp(x), W_hh.shape[0], rows_times(x, W_xh) + b_h
    (h, c), states, gates = _quarters(s0, H), [], []
    for t in range(x.shape[0]):
        a_i, a_f, a_g, a_o = _quarters(u[t, ...] + h @ W_hh, H)
        i, f, g, o = sigmoid(a_i), sigmoid(a_f), tanh(a_g), sigmoid(a_o)
        c = f * c + i * g
        h = o * tanh(c)
        states.append(xp.concat((h, c), axis=-1))
        gates.append(xp.concat((i, f, g, o), axis=-1))
    return stacked(states, s0), stacked(gates, xp.concat((s0, s0), axis=-1))


def backward(
    g: Array,
    x: Array,
    s: Array,
    s0: Array,
    gates: Array,
    W_xh: Array,
    W_hh: Array,
    twin: Twin,
    needs: tuple[bool, ...] = (True,) * 5,
) -> tuple[Array | None, ...]:
    """Gradients of a loss by the arguments of `forward`.

    Args:
        g: gradients of the loss by the states, [T, B, 2H], or by h alone, [T, B, H]; or by the last one of these alone,
            [1, B, .].
        x: inputs, [T, B, D].
        s: the states that `forward` returned, [T, B, 2H].
        s0: state before the first step, [B, 2H].
        gates: what `forward` returned beside the states, [T, B, 4H].
        W_xh: input weights, [D, 4H].
        W_hh: recurrent weights, [H, 4H].
        twin: see `minigrad.kernels.choose`.
        needs: whether the gradients by x, s0, W_xh, W_hh and b_h are wanted.

    Returns:
        Gradients by x [T, B, D], s0 [B, 2H], W_xh [D, 4H], W_hh [H, 4H] and b_h [4H]; None where not wanted.

    Raises:
        InputError: if shapes or dtypes do not fit.
        TypeError: if the arrays belong to different libraries or devices.
    """
    H = W_hh.shape[0]
    check(
        "lstm.backward",
        twin,
        g=of_states(g, s, "TBH" if g.shape[-1] == H else "TB2H"),
        x=(x, "TBD"),
        s=(s, "TB2H"),
        s0=(s0, "B2H"),
        gates=(gates, "TB4H"),
        W_xh=(W_xh, "D4H"),
        W_hh=(W_hh, "H4H"),
    )
    if twin == "fused" and x.size and s0.size:
        if on_cupy(x):
            from minigrad.kernels.cuda import lstm as cuda

            return cuda.backward(g, x, s, s0, gates, W_xh, W_hh, needs)
        from minigrad.kernels.fused import lstm as fused

        D = x.shape[2]
        g_x, g_s0, g_W = fused.backward(g, x, s, s0, gates, W_xh, W_hh, *needs[:2])
        found = g_x, g_s0, g_W[:D], g_W[D + 1 :], g_W[D]
        return tuple(gradient if needed else None for gradient, needed in zip(found, needs, strict=True))
    xp, g = get_xp(g), at_every_step(g, s.shape[0])
    d, g_s0 = _deltas(xp.concat((g, xp.zeros_like(g)), axis=-1) if g.shape[-1] == H else g, s, s0, gates, W_hh)
    return (
        rows_times(d, xp.matrix_transpose(W_xh)) if needs[0] else None,
        g_s0 if needs[1] else None,
        weight_gradient(x, d) if needs[2] else None,
        weight_gradient(before(s, s0)[..., :H], d) if needs[3] else None,
        row_sum(d) if needs[4] else None,
    )


def _deltas(g: Array, s: Array, s0: Array, gates: Array, W_hh: Array) -> tuple[Array, Array]:
    """(d [T, B, 4H], gradient by s0 [B, 2H]), plainly."""
    xp, H, s_before = get_xp(g), W_hh.shape[0], before(s, s0)
    W_T = xp.matrix_transpose(W_hh)
    (dh, dc), deltas = _quarters(xp.zeros_like(s0), H), []
    for t in reversed(range(g.shape[0])):
        (g_h, g_c), (i, f, n, o) = _quarters(g[t, ...], H), _quarters(gates[t, ...], H)
        y = tanh(s[t, :, H:])
        dh = g_h + dh
        dc = g_c + dc + dh * o * tanh_derivative(y)
        d = (
            dc * n * sigmoid_derivative(i),
            dc * s_before[t, :, H:] * sigmoid_derivative(f),
            dc * i * tanh_derivative(n),
            dh * y * sigmoid_derivative(o),
        )
        d_t = flushed(xp.concat(d, axis=-1))
        dh, dc = d_t @ W_T, flushed(dc * f)
        deltas.append(d_t)
    return stacked(deltas[::-1], xp.concat((s0, s0), axis=-1)), xp.concat((dh, dc), axis=-1)


def _quarters(a: Array, H: int) -> list[Array]:
    """Slices [..., H] of the last axis."""
    return [a[..., k : k + H] for k in range(0, a.shape[-1], H)]
