"""The linear readout with softmax cross-entropy, around a single matrix of the size of the logits.

    z       = h @ W + b
    E       = mean over n of  log s_n + m_n - z_ny            y = y_n
    m_n     = max over v of z_nv
    s_n     = sum over v of exp(z_nv - m_n)

    dE/dz   = c_n q_nv
    q_nv    = exp(z_nv - m_n) - [v = y_n] s_n
    c_n     = 1 / (N s_n)
    dE/dh_n = c_n (q @ W^T)_n
    dE/dW   = sum over n of (c_n h_n)^T @ q_n
    dE/db   = sum over n of c_n q_n

N tokens, H hidden units, V classes. q takes the place of the logits. Rather than scaling its rows by c_n, the small
sides of the products are scaled.
"""

from __future__ import annotations

from collections.abc import Sequence

from minigrad.backend import Array, get_xp
from minigrad.errors import InputError
from minigrad.kernels import Twin
from minigrad.kernels.ids import check_ids
from minigrad.kernels.libraries import on_cupy, why_not_fused

Kept = tuple[Array | None, Array | None]
"""q [N, V] and c [N]."""


def forward(h: Array, W: Array, b: Array, y: Array, twin: Twin, keep: bool = True) -> tuple[Array, Kept]:
    """Mean cross-entropy of softmax(h @ W + b).

    Args:
        h: [N, H]; float (reference: or complex).
        W: [H, V].
        b: [V].
        y: class ids [N], integers in [0, V).
        twin: see `minigrad.kernels.choose`.
        keep: whether the gradient will be asked for. Without it the fused twin on the host holds the logits
            of some tokens only.

    Returns:
        E (0-d, nats, in the dtype of the arguments), and what `backward` needs: (q [N, V], c [N]), or (None, None).

    Raises:
        InputError: if shapes or dtypes do not fit.
        IndexError: if a class id is not in [0, V).
        TypeError: if the arrays belong to different libraries or devices.
    """
    N, H = h.shape if len(h.shape) == 2 else (-1, -1)
    if N < 0 or len(b.shape) != 1 or tuple(W.shape) != (H, b.shape[0]) or tuple(y.shape) != (N,):
        raise InputError(
            f"readout.forward: h {tuple(h.shape)}, W {tuple(W.shape)}, b {tuple(b.shape)}, y {tuple(y.shape)} do not "
            "fit, expected [N, H], [H, V], [V], [N]"
        )
    check_ids("class", y, b.shape[0])
    if twin == "fused":
        if obstacle := why_not_fused((h, W, b), "readout"):
            raise InputError(f"readout.forward: {obstacle}; use the reference twin")
        if N and b.size and on_cupy(h):
            from minigrad.kernels.cuda import readout as cuda

            E, q, c = cuda.forward(h, W, b, y)
            return E, (q, c) if keep else (None, None)
        if N and not on_cupy(h):
            from minigrad.kernels.fused import readout as fused

            return fused.forward(h, W, b, y, keep)
    return _forward(h, W, b, y, keep)


def _forward(h: Array, W: Array, b: Array, y: Array, keep: bool) -> tuple[Array, Kept]:
    """The reference."""
    xp = get_xp(h, W, b, y)
    z = h @ W + b
    real = z if xp.isdtype(z.dtype, "real floating") else xp.real(z)
    m = xp.max(real, axis=1)
    own = xp.take_along_axis(z, y[:, None], axis=1)[:, 0]
    e = xp.exp(z - m[:, None])
    s = xp.sum(e, axis=1)
    E = xp.mean(xp.log(s) + (m - own))
    if not keep:
        return E, (None, None)
    hit = y[:, None] == xp.arange(z.shape[1], device=y.device)
    return E, (xp.where(hit, e - s[:, None], e), 1 / (z.shape[0] * s))


def backward(
    g: Array, h: Array, W: Array, q: Array, c: Array, twin: Twin, needs: Sequence[bool] = (True, True, True)
) -> tuple[Array | None, Array | None, Array | None]:
    """Gradients of g E by h, W and b: three matrix products, which Numba's twin shares out among threads.

    Args:
        g: 0-d.
        h: [N, H].
        W: [H, V].
        q: [N, V] of `forward`.
        c: [N] of `forward`.
        twin: see `minigrad.kernels.choose`; that of `forward`, or the other.
        needs: whether the gradients by h, W and b are wanted.

    Returns:
        Gradients by h [N, H], W [H, V] and b [V]; None where not wanted.
    """
    if twin == "fused" and q.size and not on_cupy(q):
        from minigrad.kernels.fused import readout as fused

        return fused.backward(g, h, W, q, c, needs)
    c = g * c
    return (
        (q @ W.T) * c[:, None] if needs[0] else None,
        (h * c[:, None]).T @ q if needs[1] else None,
        c @ q if needs[2] else None,
    )
