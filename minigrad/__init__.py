"""A tape-based autodiff engine on NumPy or CuPy arrays, with fused recurrent cells.

    from minigrad import ops
    from minigrad.tape import Tape

Rooms: `tape` records and differentiates, `ops` holds the operations, `kernels` the fused recurrences, `cells` the
recurrent cells, `optim`, `averaging`, `init` and `rng` what training needs, `check` the gradient checker, `backend` the
array libraries. Importing this package imports none of them.
"""

__version__ = "0.1.0"
