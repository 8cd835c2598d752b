"""A pool in a process of its own, to be killed: python -m tests.experiments.parallel.compute FOLDER.

It says `asked` before it asks the pool for anything, and `started` when the first worker trains.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from experiments.parallel import pool
from experiments.parallel.job import Chain, Job
from experiments.parallel.store import Store
from experiments.run.result import Result
from tests.experiments.parallel import small


def jobs(folder: Path) -> Iterator[tuple[str, list[Job]]]:
    """By the key of their chain."""
    for seed in (1, 2):
        yield f"chain {seed}", [small.long(folder, seed=seed), small.job(folder, seed=seed)]


def chains(folder: Path) -> dict[str, Chain[list[Result]]]:
    """To be taken to their ends."""
    return {key: small.several(*chained) for key, chained in jobs(folder)}


def main() -> None:
    folder = Path(sys.argv[1])
    print("asked", flush=True)
    watcher = small.Watcher(lambda running: print("started", flush=True))
    pool.run(chains(folder), Store(folder), 2, watcher)


if __name__ == "__main__":
    main()
