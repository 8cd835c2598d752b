"""The target recursion of target propagation through time (TPTT).

    G_t(s)     = act(x_t @ W_xh + s @ V_hh + c_h)
    target_t   = h_t - (G_{t+1}(h_{t+1}) - G_{t+1}(target_{t+1}))       t = T-1..1; target_T is given

T time, B batch, D input size, H hidden. The bracket is the correction of difference target propagation: what G maps a
state to need not be the state before, but the difference of two values of G is a step in the right direction. Both
values come from the same arithmetic, so a row with target_{t+1} = h_{t+1} has target_t = h_t, bit for bit. Source:
N. Manchev and M. Spratling, Target Propagation in Recurrent Neural Networks, Journal of Machine Learning Research 21
(2020), Eq. (8).
"""

from __future__ import annotations

from minigrad.backend import Array, get_xp
from minigrad.kernels import Twin
from minigrad.kernels.activations import ACTIVATIONS
from minigrad.kernels.libraries import on_cupy
from minigrad.kernels.plain import rows_times
from minigrad.kernels.shapes import check


def targets(
    x: Array, h: Array, target_T: Array, W_xh: Array, V_hh: Array, c_h: Array, activation: str, twin: Twin
) -> Array:
    """Targets of all states of a sequence.

    Args:
        x: inputs, [T, B, D]; the first step's is not used.
        h: states, [T, B, H].
        target_T: target of the last state, [B, H].
        W_xh: input weights, [D, H].
        V_hh: recurrent weights of G, [H, H].
        c_h: bias of G, [H].
        activation: tanh, sigmoid, relu or linear.
        twin: see `minigrad.kernels.choose`.

    Returns:
        Targets [T, B, H], in the dtype of the arguments.

    Raises:
        InputError: if shapes or dtypes do not fit, or the activation is unknown.
        TypeError: if the arrays belong to different libraries or devices.
    """
    check(
        "target.targets",
        twin,
        activation,
        x=(x, "TBD"),
        h=(h, "TBH"),
        target_T=(target_T, "BH"),
        W_xh=(W_xh, "DH"),
        V_hh=(V_hh, "HH"),
        c_h=(c_h, "H"),
    )
    if twin == "fused" and x.size and h.size:
        if on_cupy(x):
            from minigrad.kernels.cuda import target as cuda

            return cuda.targets(x, h, target_T, W_xh, V_hh, c_h, activation)
        from minigrad.kernels.fused import target as fused

        return fused.targets(x, h, target_T, W_xh, V_hh, c_h, activation)
    xp, act = get_xp(h), ACTIVATIONS[activation]
    if not h.shape[0]:
        return xp.zeros_like(h)
    u, target, found = rows_times(x, W_xh) + c_h, target_T, [target_T]
    for t in range(h.shape[0] - 2, -1, -1):
        # a stack of two products, which a library computes in one way
        G = act(u[t + 1, ...] + xp.stack([h[t + 1, ...], target]) @ V_hh)
        target = h[t, ...] - (G[0, ...] - G[1, ...])
        found.append(target)
    return xp.stack(found[::-1])
