"""Successive blocks of one text side by side: the batch axis is time.

Legend: B steps of a block, n blocks, S numbers in a state.
"""

from __future__ import annotations

from algorithms.model import Model
from minigrad.backend import Array, Params, get_xp


def in_a_row(x: Array) -> Array:
    """Successive blocks [B, n, ...] as the one sequence that they were cut from, [n B, 1, ...]."""
    xp = get_xp(x)
    return xp.reshape(xp.moveaxis(x, 1, 0), (-1, 1, *x.shape[2:]))


def border_states(model: Model, p: Params, x: Array, h_0: Array) -> Array:
    """States at the borders of blocks, [n+1, S]: from h_0 [S] on, each is what the block before ends in.

    One block after the other, and nothing is recorded.
    """
    B, n = x.shape[:2]
    xp = get_xp(h_0)
    if not n:
        return h_0[None, ...]
    return xp.concat([h_0[None, ...], model.unroll(p, in_a_row(x), h_0[None, ...])[B - 1 :: B, 0, ...]])
