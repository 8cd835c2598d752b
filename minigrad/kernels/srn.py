"""The simple recurrent network over a whole sequence.

    forward     h_t = act(x_proj_t + h_{t-1} @ W_hh)                    t = 1..T
    backward    d_t = (g_t + d_{t+1} @ W_hh^T) * act'(h_t)              t = T..1, d_{T+1} = 0
                dE/dx_proj_t = d_t
                dE/dh_0      = d_1 @ W_hh^T
                dE/dW_hh     = sum over t of h_{t-1}^T @ d_t

T time, B batch, H hidden. x_proj_t = x_t @ W_xh + b_h holds the input and the bias; g_t = dE/dh_t counts the direct use
of h_t only; act' is taken from h_t. |d_t| < 1e-30 becomes zero. Source: backpropagation through time for J. L. Elman,
Finding structure in time, Cognitive Science 14 (1990).
"""

from __future__ import annotations

from minigrad.backend import Array, get_xp
from minigrad.kernels import Twin
from minigrad.kernels.activations import ACTIVATIONS, DERIVATIVES, flushed
from minigrad.kernels.shapes import check

__all__ = ["ACTIVATIONS", "DERIVATIVES", "Gradients", "backward", "forward"]

Gradients = tuple[Array | None, Array | None, Array | None]
"""Gradients by x_proj, h0 and W_hh; None where none was asked for."""


def forward(x_proj: Array, h0: Array, W_hh: Array, activation: str, twin: Twin) -> Array:
    """All states of a simple recurrent network.

    Args:
        x_proj: input projections with bias, [T, B, H]; float (reference: or complex).
        h0: state before the first step, [B, H].
        W_hh: recurrent weights, [H, H].
        activation: tanh, sigmoid, relu or linear.
        twin: see `minigrad.kernels.choose`.

    Returns:
        h [T, B, H]: the states after each step, in the dtype of the arguments.

    Raises:
        InputError: if shapes or dtypes do not fit, or the activation is unknown.
        TypeError: if the arrays belong to different libraries or devices.
    """
    check("srn.forward", activation, twin, x_proj=(x_proj, "TBH"), h0=(h0, "BH"), W_hh=(W_hh, "HH"))
    if twin == "fused" and x_proj.size:
        from minigrad.kernels.fused import srn as fused

        return fused.forward(x_proj, h0, W_hh, activation)
    act = ACTIVATIONS[activation]
    h_t, states = h0, []
    for t in range(x_proj.shape[0]):
        h_t = act(x_proj[t, ...] + h_t @ W_hh)
        states.append(h_t)
    return _stack(states, x_proj)


def backward(
    g: Array,
    h: Array,
    h0: Array,
    W_hh: Array,
    activation: str,
    twin: Twin,
    needs: tuple[bool, ...] = (True, True, True),
) -> Gradients:
    """Gradients of a loss by the arguments of `forward`.

    Args:
        g: gradients of the loss by the states, [T, B, H].
        h: the states that `forward` returned, [T, B, H].
        h0: state before the first step, [B, H].
        W_hh: recurrent weights, [H, H].
        activation: tanh, sigmoid, relu or linear.
        twin: see `minigrad.kernels.choose`.
        needs: whether the gradients by x_proj, h0 and W_hh are wanted.

    Returns:
        Gradients by x_proj [T, B, H], h0 [B, H] and W_hh [H, H]; None where not wanted.

    Raises:
        InputError: if shapes or dtypes do not fit, or the activation is unknown.
        TypeError: if the arrays belong to different libraries or devices.
    """
    check("srn.backward", activation, twin, g=(g, "TBH"), h=(h, "TBH"), h0=(h0, "BH"), W_hh=(W_hh, "HH"))
    if twin == "fused" and g.size:
        from minigrad.kernels.fused import srn as fused

        d, g_h0 = fused.backward(g, h, W_hh, activation)
    else:
        d, g_h0 = _backward(g, h, h0, W_hh, activation)
    return (
        d if needs[0] else None,
        g_h0 if needs[1] else None,
        _weight_gradient(h, h0, d, W_hh) if needs[2] else None,
    )


def _backward(g: Array, h: Array, h0: Array, W_hh: Array, activation: str) -> tuple[Array, Array]:
    """The reference: (d, gradient by h0)."""
    xp, derivative = get_xp(g), DERIVATIVES[activation]
    W_T = xp.matrix_transpose(W_hh)
    back, deltas = xp.zeros_like(h0), []
    for t in reversed(range(g.shape[0])):
        d_t = flushed((g[t, ...] + back) * derivative(h[t, ...]))
        back = d_t @ W_T
        deltas.append(d_t)
    return _stack(deltas[::-1], g), back


def _weight_gradient(h: Array, h0: Array, d: Array, W_hh: Array) -> Array:
    """The sum over t of h_{t-1}^T @ d_t, as one product over all time steps after the first."""
    xp, H = get_xp(d), W_hh.shape[0]
    if not d.shape[0]:
        return xp.zeros_like(W_hh)
    h_prev, later = xp.reshape(h[:-1, ...], (-1, H)), xp.reshape(d[1:, ...], (-1, H))
    return xp.matrix_transpose(h_prev) @ later + xp.matrix_transpose(h0) @ d[0, ...]


def _stack(steps: list[Array], like: Array) -> Array:
    """The steps along a new first axis; without a step, nothing in the shape and dtype of `like`."""
    return get_xp(like).stack(steps) if steps else get_xp(like).zeros_like(like)
