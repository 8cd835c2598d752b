"""The simple recurrent network over a whole sequence.

    forward     h_t = act(x_t @ W_xh + h_{t-1} @ W_hh + b_h)            t = 1..T
    backward    d_t = (g_t + d_{t+1} @ W_hh^T) * act'(h_t)              t = T..1, d_{T+1} = 0
                dE/dx_t  = d_t @ W_xh^T
                dE/dh_0  = d_1 @ W_hh^T
                dE/dW_xh = sum over t of x_t^T @ d_t
                dE/dW_hh = sum over t of h_{t-1}^T @ d_t
                dE/db_h  = sum over t and the batch of d_t

T time, B batch, D input size, H hidden. g_t = dE/dh_t counts the direct use of h_t only; act' is taken from h_t.
|d_t| < 1e-30 becomes zero. Source: backpropagation through time for J. L. Elman, Finding structure in time, Cognitive
Science 14 (1990).
"""

from __future__ import annotations

from minigrad.backend import Array, get_xp
from minigrad.kernels import Twin
from minigrad.kernels.activations import ACTIVATIONS, DERIVATIVES, flushed
from minigrad.kernels.libraries import on_cupy
from minigrad.kernels.plain import at_every_step, before, row_sum, rows_times, stacked, weight_gradient
from minigrad.kernels.shapes import check, of_states

__all__ = ["ACTIVATIONS", "DERIVATIVES", "Gradients", "backward", "forward"]

Gradients = tuple[Array | None, ...]
"""Gradients by x, h0, W_xh, W_hh, b_h; None where none was asked for."""


def forward(x: Array, h0: Array, W_xh: Array, W_hh: Array, b_h: Array, activation: str, twin: Twin) -> Array:
    """All states of a simple recurrent network.

    Args:
        x: inputs, [T, B, D]; float (reference: or complex).
        h0: state before the first step, [B, H].
        W_xh: input weights, [D, H].
        W_hh: recurrent weights, [H, H].
        b_h: bias, [H].
        activation: tanh, sigmoid, relu or linear.
        twin: see `minigrad.kernels.choose`.

    Returns:
        h [T, B, H]: the states after each step, in the dtype of the arguments.

    Raises:
        InputError: if shapes or dtypes do not fit, or the activation is unknown.
        TypeError: if the arrays belong to different libraries or devices.
    """
    check(
        "srn.forward",
        twin,
        activation,
        x=(x, "TBD"),
        h0=(h0, "BH"),
        W_xh=(W_xh, "DH"),
        W_hh=(W_hh, "HH"),
        b_h=(b_h, "H"),
    )
    if twin == "fused" and x.size and h0.size:
        if on_cupy(x):
            from minigrad.kernels.cuda import srn as cuda

            return cuda.forward(x, h0, W_xh, W_hh, b_h, activation)
        from minigrad.kernels.fused import srn as fused

        return fused.forward(x, h0, W_xh, W_hh, b_h, activation)
    act, u = ACTIVATIONS[activation], rows_times(x, W_xh) + b_h
    h_t, states = h0, []
    for t in range(x.shape[0]):
        h_t = act(u[t, ...] + h_t @ W_hh)
        states.append(h_t)
    return stacked(states, h0)


def backward(
    g: Array,
    x: Array,
    h: Array,
    h0: Array,
    W_xh: Array,
    W_hh: Array,
    activation: str,
    twin: Twin,
    needs: tuple[bool, ...] = (True,) * 5,
) -> Gradients:
    """Gradients of a loss by the arguments of `forward`.

    Args:
        g: gradients of the loss by the states, [T, B, H], or by the last one alone, [1, B, H].
        x: inputs, [T, B, D].
        h: the states that `forward` returned, [T, B, H].
        h0: state before the first step, [B, H].
        W_xh: input weights, [D, H].
        W_hh: recurrent weights, [H, H].
        activation: tanh, sigmoid, relu or linear.
        twin: see `minigrad.kernels.choose`.
        needs: whether the gradients by x, h0, W_xh, W_hh and b_h are wanted.

    Returns:
        Gradients by x [T, B, D], h0 [B, H], W_xh [D, H], W_hh [H, H] and b_h [H]; None where not wanted.

    Raises:
        InputError: if shapes or dtypes do not fit, or the activation is unknown.
        TypeError: if the arrays belong to different libraries or devices.
    """
    check(
        "srn.backward",
        twin,
        activation,
        g=of_states(g, h, "TBH"),
        x=(x, "TBD"),
        h=(h, "TBH"),
        h0=(h0, "BH"),
        W_xh=(W_xh, "DH"),
        W_hh=(W_hh, "HH"),
    )
    if twin == "fused" and x.size and h0.size:
        if on_cupy(x):
            from minigrad.kernels.cuda import srn as cuda

            return cuda.backward(g, x, h, h0, W_xh, W_hh, activation, needs)
        from minigrad.kernels.fused import srn as fused

        D = x.shape[2]
        g_x, g_h0, g_W = fused.backward(g, x, h, h0, W_xh, W_hh, activation, needs[0], needs[1], needs[3])
        found = g_x, g_h0, g_W[:D], g_W[D + 1 :], g_W[D]
        return tuple(gradient if needed else None for gradient, needed in zip(found, needs, strict=True))
    d, g_h0 = _deltas(at_every_step(g, h.shape[0]), h, h0, W_hh, activation)
    return (
        rows_times(d, get_xp(d).matrix_transpose(W_xh)) if needs[0] else None,
        g_h0 if needs[1] else None,
        weight_gradient(x, d) if needs[2] else None,
        weight_gradient(before(h, h0), d) if needs[3] else None,
        row_sum(d) if needs[4] else None,
    )


def _deltas(g: Array, h: Array, h0: Array, W_hh: Array, activation: str) -> tuple[Array, Array]:
    """(d [T, B, H], gradient by h0), plainly."""
    xp, derivative = get_xp(g), DERIVATIVES[activation]
    W_T = xp.matrix_transpose(W_hh)
    back, deltas = xp.zeros_like(h0), []
    for t in reversed(range(g.shape[0])):
        d_t = flushed((g[t, ...] + back) * derivative(h[t, ...]))
        back = d_t @ W_T
        deltas.append(d_t)
    return stacked(deltas[::-1], h0), back
