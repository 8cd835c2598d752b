"""Which ids may be used: with one out of range compiled code writes beyond an array, and other code may wrap around."""

from __future__ import annotations

import numpy as np

from minigrad.backend import Array, get_xp
from minigrad.errors import InputError


def check_ids(what: str, ids: Array, count: int) -> None:
    """Raise unless ids are integers in [0, count).

    Ids on a device are not looked at, for that would wait for the device: who moves ids there checks them before.

    Args:
        what: the word for an id, for messages.
        ids: of any shape.
        count: number of things that there are.

    Raises:
        InputError: if the ids are no integers.
        IndexError: that names an id outside.
    """
    xp = get_xp(ids)
    if not (ids.dtype.kind in "iu" if xp is np else xp.isdtype(ids.dtype, "integral")):
        raise InputError(f"{what} ids are integers, got {ids.dtype}")
    if xp is not np or ids.size == 0:
        return
    least, most = ids.min(), ids.max()
    if least < 0 or most >= count:
        raise IndexError(f"{what} id {int(least if least < 0 else most)} is out of bounds: there are {count}")
