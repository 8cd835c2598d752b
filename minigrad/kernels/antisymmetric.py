"""The gated antisymmetric network over a whole sequence.

    forward     A   = W_hh - W_hh^T - gamma I
                u_t = x_t @ W_xh + b_h,  v_t = h_{t-1} @ A              t = 1..T
                z = s(u_z + v),  n = tanh(u_h + v)
                h_t = h_{t-1} + epsilon * z * n
    backward    dh_t = g_t + dh_{t+1} + d^v_{t+1} @ A^T                 t = T..1, nothing comes from T + 1
                d_z  = epsilon * dh_t * n * z (1 - z)   d_n = epsilon * dh_t * z * (1 - n^2)
                d^u  = (d_z, d_n)                       d^v = d_z + d_n
                dE/dx_t  = d^u_t @ W_xh^T
                dE/dW_xh = sum over t of x_t^T @ d^u_t                  dE/db_h = sum of d^u_t
                dE/dA    = sum over t of h_{t-1}^T @ d^v_t              dE/dW_hh = dE/dA - dE/dA^T

T time, B batch, D input size, H hidden. g_t = dE/dh_t counts the direct use of h_t only. Gradients by the gates below
1e-30 become zero. Source: B. Chang et al., AntisymmetricRNN: a dynamical system view on recurrent neural networks, ICLR
2019.
"""

from __future__ import annotations

from minigrad.backend import Array, get_xp
from minigrad.kernels import Twin
from minigrad.kernels.activations import flushed, sigmoid, sigmoid_derivative, tanh, tanh_derivative
from minigrad.kernels.libraries import on_cupy
from minigrad.kernels.plain import at_every_step, before, row_sum, rows_times, stacked, weight_gradient
from minigrad.kernels.shapes import check, of_states


def forward(
    x: Array, h0: Array, W_xh: Array, W_hh: Array, b_h: Array, epsilon: float, gamma: float, twin: Twin
) -> tuple[Array, Array]:
    """All states of a gated antisymmetric network, and its gates.

    Args:
        x: inputs, [T, B, D]; float (reference: or complex).
        h0: state before the first step, [B, H].
        W_xh: input weights of z and n, [D, 2H].
        W_hh: recurrent weights, of which only the antisymmetric part acts, [H, H].
        b_h: bias of z and n, [2H].
        epsilon: step size.
        gamma: diffusion.
        twin: see `minigrad.kernels.choose`.

    Returns:
        h [T, B, H], the states after each step, and z, n [T, B, 2H], which `backward` wants back.

    Raises:
        InputError: if shapes or dtypes do not fit.
        TypeError: if the arrays belong to different libraries or devices.
    """
    check(
        "antisymmetric.forward",
        twin,
        x=(x, "TBD"),
        h0=(h0, "BH"),
        W_xh=(W_xh, "D2H"),
        W_hh=(W_hh, "HH"),
        b_h=(b_h, "2H"),
    )
    A = _antisymmetric(W_hh, gamma)
    if twin == "fused" and x.size and h0.size:
        if on_cupy(x):
            from minigrad.kernels.cuda import antisymmetric as cuda

            return cuda.forward(x, h0, W_xh, A, b_h, epsilon)
        from minigrad.kernels.fused import antisymmetric as fused

        return fused.forward(x, h0, W_xh, A, b_h, epsilon)
    xp, H, u = get_xp(x), W_hh.shape[0], rows_times(x, W_xh) + b_h
    h, states, gates = h0, [], []
    for t in range(x.shape[0]):
        v = h @ A
        z, n = sigmoid(u[t, :, :H] + v), tanh(u[t, :, H:] + v)
        h = h + epsilon * (z * n)
        states.append(h)
        gates.append(xp.concat((z, n), axis=-1))
    return stacked(states, h0), stacked(gates, xp.concat((h0, h0), axis=-1))


def backward(
    g: Array,
    x: Array,
    h: Array,
    h0: Array,
    gates: Array,
    W_xh: Array,
    W_hh: Array,
    epsilon: float,
    gamma: float,
    twin: Twin,
    needs: tuple[bool, ...] = (True,) * 5,
) -> tuple[Array | None, ...]:
    """Gradients of a loss by the arguments of `forward`.

    Args:
        g: gradients of the loss by the states, [T, B, H], or by the last one alone, [1, B, H].
        x: inputs, [T, B, D].
        h: the states that `forward` returned, [T, B, H].
        h0: state before the first step, [B, H].
        gates: what `forward` returned beside the states, [T, B, 2H].
        W_xh: input weights, [D, 2H].
        W_hh: recurrent weights, [H, H].
        epsilon: step size.
        gamma: diffusion.
        twin: see `minigrad.kernels.choose`.
        needs: whether the gradients by x, h0, W_xh, W_hh and b_h are wanted.

    Returns:
        Gradients by x [T, B, D], h0 [B, H], W_xh [D, 2H], W_hh [H, H] and b_h [2H]; None where not wanted.

    Raises:
        InputError: if shapes or dtypes do not fit.
        TypeError: if the arrays belong to different libraries or devices.
    """
    check(
        "antisymmetric.backward",
        twin,
        g=of_states(g, h, "TBH"),
        x=(x, "TBD"),
        h=(h, "TBH"),
        h0=(h0, "BH"),
        gates=(gates, "TB2H"),
        W_xh=(W_xh, "D2H"),
        W_hh=(W_hh, "HH"),
    )
    A, xp = _antisymmetric(W_hh, gamma), get_xp(g)
    if twin == "fused" and x.size and h0.size:
        if on_cupy(x):
            from minigrad.kernels.cuda import antisymmetric as cuda

            return cuda.backward(g, x, h, h0, gates, W_xh, A, epsilon, needs)
        from minigrad.kernels.fused import antisymmetric as fused

        D = x.shape[2]
        g_x, g_h0, g_U, g_A = fused.backward(g, x, h, h0, gates, W_xh, A, epsilon, *needs[:2])
        found = g_x, g_h0, g_U[:D], g_A - g_A.T, g_U[D]
        return tuple(gradient if needed else None for gradient, needed in zip(found, needs, strict=True))
    d_u, d_v, g_h0 = _deltas(at_every_step(g, h.shape[0]), h0, gates, A, epsilon)
    g_A = weight_gradient(before(h, h0), d_v) if needs[3] else None
    return (
        rows_times(d_u, xp.matrix_transpose(W_xh)) if needs[0] else None,
        g_h0 if needs[1] else None,
        weight_gradient(x, d_u) if needs[2] else None,
        None if g_A is None else g_A - xp.matrix_transpose(g_A),
        row_sum(d_u) if needs[4] else None,
    )


def _antisymmetric(W_hh: Array, gamma: float) -> Array:
    """A = W_hh - W_hh^T - gamma I."""
    xp = get_xp(W_hh)
    return W_hh - xp.matrix_transpose(W_hh) - gamma * xp.eye(W_hh.shape[0], dtype=W_hh.dtype, device=W_hh.device)


def _deltas(g: Array, h0: Array, gates: Array, A: Array, epsilon: float) -> tuple[Array, Array, Array]:
    """(d^u [T, B, 2H], d^v [T, B, H], gradient by h0), plainly."""
    xp, H = get_xp(g), A.shape[0]
    A_T = xp.matrix_transpose(A)
    dh, found_u, found_v = xp.zeros_like(h0), [], []
    for t in reversed(range(g.shape[0])):
        z, n = gates[t, :, :H], gates[t, :, H:]
        dh = g[t, ...] + dh
        d_z = flushed(epsilon * dh * n * sigmoid_derivative(z))
        d_n = flushed(epsilon * dh * z * tanh_derivative(n))
        d_v = d_z + d_n
        dh = dh + d_v @ A_T
        found_u.append(xp.concat((d_z, d_n), axis=-1))
        found_v.append(d_v)
    return stacked(found_u[::-1], xp.concat((h0, h0), axis=-1)), stacked(found_v[::-1], h0), dh
