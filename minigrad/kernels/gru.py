"""The gated recurrent unit over a whole sequence, the reset gate applied after the recurrent product.

    forward     u_t = x_t @ W_xh + b_xh,  v_t = h_{t-1} @ W_hh + b_hh   t = 1..T
                r = s(u_r + v_r),  z = s(u_z + v_z),  n = tanh(u_n + r * v_n)
                h_t = (1 - z) * n + z * h_{t-1}
    backward    dh_t = g_t + dh_{t+1} * z_{t+1} + d^v_{t+1} @ W_hh^T    t = T..1, nothing comes from T + 1
                d_n  = dh_t * (1 - z) * (1 - n^2)
                d_r  = d_n * v_n * r (1 - r)            d_z = dh_t * (h_{t-1} - n) * z (1 - z)
                d^u  = (d_r, d_z, d_n)                  d^v = (d_r, d_z, d_n * r)
                dE/dx_t  = d^u_t @ W_xh^T
                dE/dW_xh = sum over t of x_t^T @ d^u_t                  dE/db_xh = sum of d^u_t
                dE/dW_hh = sum over t of h_{t-1}^T @ d^v_t              dE/db_hh = sum of d^v_t

T time, B batch, D input size, H hidden; gates stand in the order r, z, n. g_t = dE/dh_t counts the direct use of h_t
only. Gradients below 1e-30 become zero. Source: K. Cho et al., Learning phrase representations using RNN
encoder-decoder, EMNLP 2014, in the form of cuDNN and PyTorch.
"""

from __future__ import annotations

from minigrad.backend import Array, get_xp
from minigrad.kernels import Twin
from minigrad.kernels.activations import flushed, sigmoid, sigmoid_derivative, tanh, tanh_derivative
from minigrad.kernels.libraries import on_cupy
from minigrad.kernels.plain import at_every_step, before, row_sum, rows_times, stacked, weight_gradient
from minigrad.kernels.shapes import check, of_states


def forward(x: Array, h0: Array, W_xh: Array, W_hh: Array, b_xh: Array, b_hh: Array, twin: Twin) -> tuple[Array, Array]:
    """All states of a GRU, and its gates.

    Args:
        x: inputs, [T, B, D]; float (reference: or complex).
        h0: state before the first step, [B, H].
        W_xh: input weights, [D, 3H].
        W_hh: recurrent weights, [H, 3H].
        b_xh: bias beside the input, [3H].
        b_hh: bias beside the state, [3H].
        twin: see `minigrad.kernels.choose`.

    Returns:
        h [T, B, H], the states after each step, and r, z, n, v_n [T, B, 4H], which `backward` wants back.

    Raises:
        InputError: if shapes or dtypes do not fit.
        TypeError: if the arrays belong to different libraries or devices.
    """
    check(
        "gru.forward",
        twin,
        x=(x, "TBD"),
        h0=(h0, "BH"),
        W_xh=(W_xh, "D3H"),
        W_hh=(W_hh, "H3H"),
        b_xh=(b_xh, "3H"),
        b_hh=(b_hh, "3H"),
    )
    if twin == "fused" and x.size and h0.size:
        if on_cupy(x):
            from minigrad.kernels.cuda import gru as cuda

            return cuda.forward(x, h0, W_xh, W_hh, b_xh, b_hh)
        from minigrad.kernels.fused import gru as fused

        return fused.forward(x, h0, W_xh, W_hh, b_xh, b_hh)
    xp, H, u = get_xp(x), W_hh.shape[0], rows_times(x, W_xh) + b_xh
    h, states, gates = h0, [], []
    for t in range(x.shape[0]):
        a, v = u[t, ...], h @ W_hh + b_hh
        r, z = sigmoid(a[..., :H] + v[..., :H]), sigmoid(a[..., H : 2 * H] + v[..., H : 2 * H])
        v_n = v[..., 2 * H :]
        n = tanh(a[..., 2 * H :] + r * v_n)
        h = n - z * (n - h)
        states.append(h)
        gates.append(xp.concat((r, z, n, v_n), axis=-1))
    return stacked(states, h0), stacked(gates, xp.concat((h0, h0, h0, h0), axis=-1))


def backward(
    g: Array,
    x: Array,
    h: Array,
    h0: Array,
    gates: Array,
    W_xh: Array,
    W_hh: Array,
    twin: Twin,
    needs: tuple[bool, ...] = (True,) * 6,
) -> tuple[Array | None, ...]:
    """Gradients of a loss by the arguments of `forward`.

    Args:
        g: gradients of the loss by the states, [T, B, H], or by the last one alone, [1, B, H].
        x: inputs, [T, B, D].
        h: the states that `forward` returned, [T, B, H].
        h0: state before the first step, [B, H].
        gates: what `forward` returned beside the states, [T, B, 4H].
        W_xh: input weights, [D, 3H].
        W_hh: recurrent weights, [H, 3H].
        twin: see `minigrad.kernels.choose`.
        needs: whether the gradients by x, h0, W_xh, W_hh, b_xh and b_hh are wanted.

    Returns:
        Gradients by x [T, B, D], h0 [B, H], W_xh [D, 3H], W_hh [H, 3H], b_xh [3H], b_hh [3H]; None where not wanted.

    Raises:
        InputError: if shapes or dtypes do not fit.
        TypeError: if the arrays belong to different libraries or devices.
    """
    check(
        "gru.backward",
        twin,
        g=of_states(g, h, "TBH"),
        x=(x, "TBD"),
        h=(h, "TBH"),
        h0=(h0, "BH"),
        gates=(gates, "TB4H"),
        W_xh=(W_xh, "D3H"),
        W_hh=(W_hh, "H3H"),
    )
    if twin == "fused" and x.size and h0.size:
        if on_cupy(x):
            from minigrad.kernels.cuda import gru as cuda

            return cuda.backward(g, x, h, h0, gates, W_xh, W_hh, needs)
        from minigrad.kernels.fused import gru as fused

        D = x.shape[2]
        g_x, g_h0, g_U, g_V = fused.backward(g, x, h, h0, gates, W_xh, W_hh, *needs[:2])
        found = g_x, g_h0, g_U[:D], g_V[1:], g_U[D], g_V[0]
        return tuple(gradient if needed else None for gradient, needed in zip(found, needs, strict=True))
    d_u, d_v, g_h0 = _deltas(at_every_step(g, h.shape[0]), h, h0, gates, W_hh)
    return (
        rows_times(d_u, get_xp(g).matrix_transpose(W_xh)) if needs[0] else None,
        g_h0 if needs[1] else None,
        weight_gradient(x, d_u) if needs[2] else None,
        weight_gradient(before(h, h0), d_v) if needs[3] else None,
        row_sum(d_u) if needs[4] else None,
        row_sum(d_v) if needs[5] else None,
    )


def _deltas(g: Array, h: Array, h0: Array, gates: Array, W_hh: Array) -> tuple[Array, Array, Array]:
    """(d^u [T, B, 3H], d^v [T, B, 3H], gradient by h0), plainly."""
    xp, H, h_before = get_xp(g), W_hh.shape[0], before(h, h0)
    W_T = xp.matrix_transpose(W_hh)
    dh, found_u, found_v = xp.zeros_like(h0), [], []
    for t in reversed(range(g.shape[0])):
        r, z, n, v_n = (gates[t, :, k * H : (k + 1) * H] for k in range(4))
        dh = g[t, ...] + dh
        d_n = flushed(dh * (1 - z) * tanh_derivative(n))
        d_r = flushed(d_n * v_n * sigmoid_derivative(r))
        d_z = flushed(dh * (h_before[t, ...] - n) * sigmoid_derivative(z))
        d_v = xp.concat((d_r, d_z, flushed(d_n * r)), axis=-1)
        dh = flushed(dh * z) + d_v @ W_T
        found_u.append(xp.concat((d_r, d_z, d_n), axis=-1))
        found_v.append(d_v)
    like = xp.concat((h0, h0, h0), axis=-1)
    return stacked(found_u[::-1], like), stacked(found_v[::-1], like), dh
