"""How a process that computes is set up."""

from __future__ import annotations

import ctypes
import os
import sys

MALLOC_TRIM_THRESHOLD, MALLOC_MMAP_MAX = -1, -4
"""Numbers of the settings in glibc's malloc.h."""


def limit_blas_threads() -> None:
    """One thread for NumPy's matrix products unless the environment says otherwise; before NumPy is imported.

    The products here are small: a second thread costs more than it brings, most of all on a busy machine, and with a
    fixed number of threads a run does not depend on how many cores there are.
    """
    for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")


def keep_memory() -> None:
    """Have the C library keep large blocks that were freed, where it is glibc.

    It would hand them back to the system at once. The same arrays come again with every iteration, and the system would
    clear every page of them anew, which can take as long as the computation.
    """
    if sys.platform == "linux":
        try:
            mallopt = ctypes.CDLL(None).mallopt
        except (OSError, AttributeError):  # another C library
            return
        mallopt(MALLOC_MMAP_MAX, 0)
        mallopt(MALLOC_TRIM_THRESHOLD, 2**31 - 1)
