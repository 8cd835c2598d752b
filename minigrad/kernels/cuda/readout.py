"""The readout's softmax cross-entropy by CUDA: the library's product, and one launch that turns logits into q.

Arrays are those of a single run, or populations. Here they are [R, ...].
"""

from __future__ import annotations

from minigrad.backend import Array, get_xp
from minigrad.kernels.cuda.launch import Machine, by_blocks
from minigrad.kernels.cuda.sequences import every_run, of_runs


@of_runs
def forward(machine: Machine, h: Array, W: Array, b: Array, y: Array) -> tuple[Array, Array, Array]:
    """`minigrad.kernels.readout.forward` for checked float32 arrays of at least one element, or for R runs of them.

    Returns:
        E, q [N, V] and c [N].
    """
    xp = get_xp(h)
    z = xp.ascontiguousarray(every_run(lambda h, W: h @ W, h, W))
    R, N, V = z.shape
    E, c = xp.empty((R, N), dtype=z.dtype), xp.empty((R, N), dtype=z.dtype)
    threads = next((t for t in (32, 64, 128, 256) if 8 * t >= V), 512)
    program = by_blocks("readout", threads, shared=4 * threads)
    machine.launch(program, (N, 1, R), (z, b, xp.astype(y, xp.int32, copy=False), E, c, N, V))
    return xp.mean(E, axis=1), z, c
