"""The local loss of target propagation: by how much one transition misses its targets.

    y = act(x @ W_xh + h @ W_hh + b_h)
    L = sum of (y - target)^2
    d = 2 (y - target) * act'(y)
    dL/dW_xh = x^T @ d,  dL/dW_hh = h^T @ d,  dL/db_h = sum of d          x, h, target constant

The leading axes (time, batch) are rows: no row depends on another, so there is no recurrence. |d| / 2 < 1e-30 becomes
zero. Source: N. Manchev and M. Spratling, Target Propagation in Recurrent Neural Networks, Journal of Machine Learning
Research 21 (2020), Eqs. (9) and (10): G and F are both learnt by such a loss.
"""

from __future__ import annotations

from minigrad.backend import Array, get_xp
from minigrad.kernels import Twin
from minigrad.kernels.activations import ACTIVATIONS, DERIVATIVES, flushed
from minigrad.kernels.plain import row_sum, rows_times, weight_gradient
from minigrad.kernels.shapes import check


def loss(
    x: Array,
    h: Array,
    target: Array,
    known: Array | None,
    W_xh: Array,
    W_hh: Array,
    b_h: Array,
    activation: str,
    twin: Twin,
) -> tuple[Array, tuple[Array, Array, Array]]:
    """The loss and its gradients.

    Args:
        x: inputs, [T, B, D].
        h: states, [T, B, H].
        target: what y should be, [T, B, H].
        known: y, where it was computed before, [T, B, H]; it is not checked.
        W_xh: input weights, [D, H].
        W_hh: recurrent weights, [H, H].
        b_h: bias, [H].
        activation: tanh, sigmoid, relu or linear.
        twin: see `minigrad.kernels.choose`.

    Returns:
        L (0-d), and its gradients by W_xh [D, H], W_hh [H, H] and b_h [H].

    Raises:
        InputError: if shapes or dtypes do not fit, or the activation is unknown.
        TypeError: if the arrays belong to different libraries or devices.
    """
    check(
        "local.loss",
        twin,
        activation,
        x=(x, "TBD"),
        h=(h, "TBH"),
        target=(target, "TBH"),
        **({} if known is None else {"known": (known, "TBH")}),
        W_xh=(W_xh, "DH"),
        W_hh=(W_hh, "HH"),
        b_h=(b_h, "H"),
    )
    xp, D = get_xp(h), W_xh.shape[0]
    if twin == "fused" and x.size and h.size:
        from minigrad.kernels.fused import local as fused

        L, g_W = fused.loss(x, h, target, known, W_xh, W_hh, b_h, activation)
        g_W *= 2
        return xp.asarray(L, dtype=h.dtype), (g_W[:D], g_W[D + 1 :], g_W[D])
    y = ACTIVATIONS[activation](rows_times(x, W_xh) + rows_times(h, W_hh) + b_h) if known is None else known
    e = y - target
    d = 2 * flushed(e * DERIVATIVES[activation](y))
    return xp.sum(e * e), (weight_gradient(x, d), weight_gradient(h, d), row_sum(d))
