"""Random streams by name: every random number of a run follows from one integer and the name of its use.

A generator is made where it is used and thrown away afterwards: `stream(seed, "train", index)` gives the same numbers
whenever and wherever it is asked, so nothing random is ever saved, and resuming needs integers only.
"""

from __future__ import annotations

from hashlib import blake2b
from operator import index

import numpy as np


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """The generator of one named stream, always at its beginning.

    The key of a Philox counter generator (Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3) is a BLAKE2b
    hash of seed and names: streams of different names are independent for every practical purpose, also for
    neighbouring seeds, and in any order of use. A number and its digits are different names, 1 and "1".

    Args:
        seed: any integer.
        names: what the numbers are for, words and integers, as many as wanted.

    Returns:
        A generator on the host. NumPy keeps the bits of Philox for ever; what its distributions make of them may change
        between NumPy versions.

    Raises:
        TypeError: if the seed is no integer, or a name is neither a string nor an integer.
    """
    key = b"".join(_encoded(part) for part in (index(seed), *names))
    digest = blake2b(key, digest_size=16, person=b"minigrad stream").digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


def _encoded(part: str | int) -> bytes:
    """Kind, length and bytes of one name: without the length ("ab", "c") and ("a", "bc") would be one stream."""
    if isinstance(part, str):
        kind, data = b"s", part.encode()
    else:
        kind, data = b"i", str(index(part)).encode()
    return b"%s%d:%s" % (kind, len(data), data)
