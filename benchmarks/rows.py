"""What is compared, as data; imports nothing heavy.

Sizes: T time steps, B sequences side by side, D inputs, H hidden units, O outputs, V vocabulary, N tokens, K parts of a
sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

PEERS = ("torch", "jax", "numpy", "autograd", "mygrad")
"""Whom this program is compared with, by the names of their packages."""

Sizes = Mapping[str, int]


@dataclass(frozen=True)
class Row:
    """One comparison."""

    name: str
    title: str
    """What is computed, for people."""
    work: str
    """What is computed, for contestants: the key of their tables."""
    sizes: Sizes
    peers: Mapping[str, float | None]
    """Who else computes it, and how many times their time ours is to fit into; None: no goal."""
    flop: float = 0.0
    """Arithmetic of the matrix products that the task needs, multiplications and additions; 0: there are none."""
    steps: int | None = None
    """Where times are shown per time step: how many there are."""
    tolerance: float = 1e-3
    """Largest difference from a peer's numbers, as a part of the largest element of an array. float32 sums in another
    order, over the longest sequences here, differ by less than 1e-5 of it, a wrong sign or factor by about 1."""
    loose: Mapping[str, float] = field(default_factory=dict)
    """Arrays with a tolerance of their own."""


# ----------------------------------------------------------------------------------------------------------------------
# Arithmetic


def _products(s: Sizes, recurrent: int, inputs: int) -> float:
    """So many products [TB, H] x [H, H] and [TB, D] x [D, H]."""
    return 2 * s["T"] * s["B"] * s["H"] * (recurrent * s["H"] + inputs * s["D"])


def _iteration(s: Sizes, recurrent: int, inputs: int) -> float:
    """So many products, and a readout of the last state."""
    return _products(s, recurrent, inputs) + 6 * s["B"] * s["H"] * s["O"]


def _training(s: Sizes, gates: int, by_x: bool = False, hidden_gates: int | None = None) -> float:
    """Forward and backward of a cell: both products three times, but x @ W_xh twice where nobody asks for dE/dx."""
    return _products(s, 3 * (hidden_gates or gates), (3 if by_x else 2) * gates)


# ----------------------------------------------------------------------------------------------------------------------
# Rows

_PAPER = {"T": 100, "B": 20, "D": 6, "H": 100, "O": 4}
_CELL = {name: size for name, size in _PAPER.items() if name != "O"}
_GATED = {"784": {"T": 784, "B": 128, "D": 1, "H": 128}, "100": _CELL, "70": {"T": 70, "B": 20, "D": 256, "H": 256}}
_PARTS = {"B": 128, "D": 2, "H": 128, "O": 1}
_WORDS = {"T": 20, "B": 32, "D": 200, "H": 200, "V": 10_000}
_READOUT = {"T": 32, "B": 20, "H": 256, "V": 10_000}

# Targets differ from states by 1e-4 and less, of which float32 keeps three digits: gradients by this difference lie
# some 0.1 % from those in float64, whoever computes them. b_h starts at 0: after a step it is an update too.
_LOCAL = dict.fromkeys(("velocity/W_hh", "velocity/b_h", "b_h"), 0.01)


def _iterations() -> list[Row]:
    goals = {"torch": 7.0, "jax": 3.0}
    return [
        Row(
            "tptthx-iteration",
            "TPTThx: an iteration",
            "tptthx",
            _PAPER,
            goals,
            _iteration(_PAPER, 6, 2),
            loose={**_LOCAL, "velocity/W_xh": 0.01},
        ),
        Row("tptt-iteration", "TPTT: an iteration", "tptt", _PAPER, goals, _iteration(_PAPER, 7, 2), loose=_LOCAL),
        Row("bptt-iteration", "SRN by BPTT: an iteration", "bptt", _PAPER, goals, _iteration(_PAPER, 3, 2)),
    ]


def _forward_propagation() -> list[Row]:
    """LSTM on the adding task, K updates a sequence: parts of 50 steps, and parts of one."""
    found = []
    for suffix, T, K, torch in (("update", 500, 10, 3.0), ("steps", 200, 200, None)):
        s = {**_PARTS, "T": T, "K": K}
        flop = _training(s, gates=4) + K * 6 * s["B"] * s["H"] * s["O"]
        title = f"FPTT, LSTM: a sequence of {K} parts"
        # The one number b_y and its mean are 2e-6 apart after some updates, of which float32 keeps three digits.
        loose = {"lambda/b_y": 0.01}
        found.append(Row(f"fptt-{suffix}", title, "fptt", s, {"torch": torch, "jax": None}, flop, loose=loose))
    return found


def _language_models() -> list[Row]:
    s = _WORDS
    recurrent = 3 * 2 * s["T"] * s["B"] * 3 * s["H"] * (s["D"] + s["H"])
    readout = 3 * 2 * s["T"] * s["B"] * s["H"] * s["V"]
    title = "GRU over words by BPTT: an iteration (Adagrad, clipping)"
    flop = recurrent + readout
    return [
        Row("words-iteration", title, "words", s, {"torch": 1.3, "jax": None}, flop),
        Row("words-default", f"{title}, the peer's default Adagrad", "words-default", s, {"torch": 1.3}, flop),
    ]


def _forward() -> list[Row]:
    found = []
    for suffix, T, torch, jax in (("", 100, 6.0, 3.0), ("-1000", 1000, None, None)):
        sizes = {**_CELL, "T": T}
        peers = {"torch": torch, "jax": jax, "numpy": None}
        flop = _products(sizes, 1, 1)
        found.append(Row(f"srn-forward{suffix}", "SRN forward", "srn", sizes, peers, flop, steps=T))
    return found


def _cells() -> list[Row]:
    found = []
    goals = {
        "lstm": {"784": (6.0, 4.0), "100": (1.3, 3.0), "70": (1.0, 2.5)},
        "gru": {"784": (6.0, 4.0), "100": (3.0, 3.0), "70": (1.5, 2.5)},
    }
    for cell, gates in (("lstm", 4), ("gru", 3)):
        for name, sizes in _GATED.items():
            torch, jax = goals[cell][name]
            by_x = name == "70"
            title = f"{cell.upper()} forward + backward{', by x too' if by_x else ''}"
            work = f"{cell}-by-x" if by_x else cell
            flop = _training(sizes, gates, by_x)
            found.append(Row(f"{cell}-{name}", title, work, sizes, {"torch": torch, "jax": jax}, flop))
    flop = _training(_CELL, 2, hidden_gates=1)
    found.append(
        Row("antisymmetric-100", "antisymmetric forward + backward", "antisymmetric", _CELL, {"jax": None}, flop)
    )
    return found


def _recurrences() -> list[Row]:
    """The recurrences alone; over 1,000 steps in a contracting network, whose gradients pass below 1e-30: where such
    numbers are not flushed to zero, they slow the later steps down."""
    found = []
    for suffix, T in (("", 100), ("-1000", 1000)):
        sizes = {**_CELL, "T": T}
        for part in ("backward", "targets"):
            title = f"SRN {part} alone{', contracting' if suffix else ''}"
            found.append(
                Row(f"srn-{part}{suffix}", title, part, sizes, {"numpy": None}, _products(sizes, 2, 1), steps=T)
            )
    return found


def _others() -> list[Row]:
    graph = {"T": 200, "B": 1, "D": 6, "H": 32}
    found = [
        Row(
            "readout",
            "readout + cross-entropy, forward + backward",
            "readout",
            _READOUT,
            {"torch": 1.0, "jax": 1.0},
            6 * _READOUT["T"] * _READOUT["B"] * _READOUT["H"] * _READOUT["V"],
        ),
        Row(
            "embedding",
            "embedding, forward + backward",
            "embedding",
            {"V": 10_000, "D": 256, "N": 700},
            {"torch": None, "jax": None},
        ),
        Row(
            "graph",
            "SRN from elementary operations",
            "graph",
            graph,
            {"autograd": 2.0, "mygrad": 2.0},
            _training(graph, 1),
        ),
    ]
    networks = {"srn": _PAPER, "lstm": {"D": 256, "H": 256, "O": 10_000}}
    for network, sizes in networks.items():
        for rule in ("nag", "adam"):
            title = f"update of an {network.upper()}: {rule}"
            found.append(Row(f"{rule}-{network}", title, f"{rule}-{network}", sizes, {"torch": None}))
    return found


_GROUPS: tuple[Callable[[], list[Row]], ...] = (
    _iterations,
    _forward_propagation,
    _language_models,
    _forward,
    _cells,
    _recurrences,
    _others,
)

ROWS: Mapping[str, Row] = {row.name: row for group in _GROUPS for row in group()}
"""Every comparison by its name, in the order of the table."""
