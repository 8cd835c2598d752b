"""`sample-char`: text of brackets and counted letters from a source whose entropy rate is known exactly.

    [()(.)[]()]}[{}{aabbab.}()[]{}]{}aaaaaaaabbbbbbbbab[(abaaaaaaaabbbbbbbb)]aaaaabbbbbab{..}()aabb[]

Three kinds of brackets nest up to `DEPTH` deep. In and between them stand dots and runs of n letters `a`, 1 <= n <=
`LONGEST`, and then as many `b`. Which bracket closes was decided when it was opened, tens of characters ago; where a
run ends was decided by how long it had grown. A stack and a counter predict both, a short context does not:

    nats a character    context
    1.5072              none: the frequencies of the characters
    1.0611              1 character
    1.0539              2 characters
    0.9748              4 characters
    0.6814              all of the past: `entropy_rate()`, the least that any model can reach

(`conditional_entropy` computes them.) The source is a hidden Markov chain whose state, the open brackets and the
counter, follows from the state before and the character (it is unifilar), so that its entropy rate is the mean entropy
of the next character over the stationary distribution of the states, h = sum_s pi(s) H(p(. | s)).

Every split is a sequence without beginning and end: any part of it is computed without what comes before, and is a part
of a stationary process exactly. That is coupling from the past: every place has a random byte of its own, which sends
each state to the next one; run from all states at once, from far enough back, the chain arrives at a single state, the
same from wherever it came. (The dots are there for this: all else comes in pairs, and a chain of period two never
arrives.) All probabilities are multiples of 1/256 and the bytes raw bits of the generator, so that no version of NumPy
changes a character.

Source: Shannon 1948, A mathematical theory of communication, section 7 (the entropy rate of such sources); Propp &
Wilson 1996, Exact sampling with coupled Markov chains. The source itself is ours.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache
from itertools import accumulate
from typing import Any, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
from scipy import sparse

from datasets.task import Split
from minigrad.errors import InputError
from minigrad.rng import stream

Symbols = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

ALPHABET = ("(", "[", "{", ")", "]", "}", "a", "b", ".")
"""The characters; their numbers are the ids."""

DEPTH = 3
"""Brackets that are open at once, at most."""

LONGEST = 8
"""Letters `a` in a run, at most."""

BLOCK = 1 << 14
"""Characters that are computed together."""

_KINDS = 3
_LETTER_A, _LETTER_B, _DOT = 6, 7, 8
_CLOSE, _OPEN, _PAUSE, _STOP = 88, 34, 32, 64
"""Of 256: that a bracket closes, that one of a kind opens, that a dot comes, that a run grows no more."""


class _State(NamedTuple):
    """What decides how the text goes on."""

    stack: tuple[int, ...] = ()
    """Kinds of the open brackets, the innermost last."""
    grown: int = 0
    """Letters `a` of the run that grows."""
    owed: int = 0
    """Letters `b` that are still to come."""


class _Machine(NamedTuple):
    """The states by number, and where they lead."""

    states: list[_State]
    next: list[list[int]]
    """[state][random byte]: the next state."""
    symbols: Symbols
    """[state, random byte]: the character."""


def sample(seed: int, split: Split, start: int, stop: int) -> Symbols:
    """The characters at the places `start` .. `stop - 1` of a split, as ids [stop - start] in 0..8.

    Pure: always the same for the same arguments, and part of the same sequence whatever the range. Splits and seeds are
    independent of each other. About 0.1 s for a million.

    Raises:
        InputError: for an unknown split, or a range that ends before it begins or begins before 0.
    """
    if split not in get_args(Split):
        raise InputError(f"unknown split {split!r}: there are {', '.join(get_args(Split))}")
    if not 0 <= start <= stop:
        raise InputError(f"a range needs 0 <= start <= stop, got {start} and {stop}")
    first, last = start // BLOCK, -(-stop // BLOCK)
    blocks = [_block(seed, split, number) for number in range(first, max(last, first + 1))]
    return np.concatenate(blocks)[start - first * BLOCK : stop - first * BLOCK]


def text(ids: npt.NDArray[Any]) -> str:
    """The characters of ids [n]."""
    return "".join(ALPHABET[number] for number in ids)


@cache
def entropy_rate() -> float:
    """Entropy of the next character where all of the past is known, in nats; exact but for rounding."""
    return float(_stationary() @ [_entropy(row) for row in _probabilities().toarray()])


def conditional_entropy(context: int) -> float:
    """Entropy of the next character where the last `context` ones are known, in nats; exact but for rounding.

    Raises:
        InputError: for a context below 0 or above 5: the number of contexts grows exponentially.
    """
    if not 0 <= context <= 5:
        raise InputError(f"the context must have 0 to 5 characters, got {context}")
    return _block_entropy(context + 1) - _block_entropy(context)


def ideal_losses(ids: npt.NDArray[Any]) -> Floats:
    """-log p(character | those before it) under the true source, in nats, [n].

    The first characters cost more than the entropy rate: the state is not known yet.

    Raises:
        InputError: if the source cannot produce the text.
    """
    moves, losses = _moves(), np.empty(len(ids))
    belief = dict(enumerate(_stationary().tolist()))
    for place, symbol in enumerate(ids.tolist()):
        after: dict[int, float] = {}
        for state, weight in belief.items():
            if symbol in moves[state]:
                target, probability = moves[state][symbol]
                after[target] = after.get(target, 0.0) + weight * probability
        likely = sum(after.values())
        if likely <= 0:
            raise InputError(f"the source cannot produce character {place}, {ALPHABET[symbol]!r}: not of sample-char")
        losses[place] = -math.log(likely)
        belief = {state: weight / likely for state, weight in after.items()}
    return losses


# --- the source ---


@cache
def _machine() -> _Machine:
    """All states that can be reached, each with its 256 ways on."""
    numbers: dict[_State, int] = {_State(): 0}
    following: list[list[int]] = []
    symbols: list[list[int]] = []
    states = [_State()]
    for state in states:  # which grows on the way
        ways = [_step(state, byte) for byte in range(256)]
        for _, target in ways:
            if target not in numbers:
                numbers[target] = len(states)
                states.append(target)
        following.append([numbers[target] for _, target in ways])
        symbols.append([symbol for symbol, _ in ways])
    return _Machine(states, following, np.array(symbols, np.uint8))


def _step(state: _State, byte: int) -> tuple[int, _State]:
    """The character that follows in a state, and the state then.

    What closes or opens in one state does so with the same bytes in every other, which brings states together soon.
    """
    stack, grown, owed = state
    if grown and (grown == LONGEST or byte < _STOP):
        grown, owed = 0, grown
    if owed:
        return _LETTER_B, _State(stack, 0, owed - 1)
    if not grown and byte < _CLOSE and stack:
        return _KINDS + stack[-1], _State(stack[:-1])
    if not grown and 0 <= byte - _CLOSE < _KINDS * _OPEN and len(stack) < DEPTH:
        kind = (byte - _CLOSE) // _OPEN
        return kind, _State((*stack, kind))
    if not grown and byte >= 256 - _PAUSE:
        return _DOT, state
    return _LETTER_A, _State(stack, grown + 1)


@lru_cache(maxsize=1024)
def _block(seed: int, split: Split, number: int) -> Symbols:
    """The characters of one block, [BLOCK], read only."""
    machine, draws = _machine(), _draws(seed, split, number)
    following = machine.next
    path = list(accumulate(draws, lambda state, byte: following[state][byte], initial=_before(seed, split, number)))
    symbols = machine.symbols[path[:-1], np.frombuffer(draws, np.uint8)]
    symbols.flags.writeable = False
    return symbols


def _before(seed: int, split: Split, number: int) -> int:
    """The state in which a block begins: where the chain arrives from all states at once."""
    following, draws = _machine().next, b""
    while True:
        number -= 1
        draws = _draws(seed, split, number) + draws
        for length in (1 << power for power in range(8, len(draws).bit_length())):
            states = set(range(len(following)))
            for byte in draws[-length:]:
                states = {following[state][byte] for state in states}
            if len(states) == 1:
                return states.pop()


@lru_cache(maxsize=16)
def _draws(seed: int, split: Split, number: int) -> bytes:
    """The random bytes of a block; there are blocks before the first one, number 0."""
    raw = stream(seed, "task", "sample-char", split, number).bit_generator.random_raw(BLOCK // 8)
    return raw.astype("<u8").tobytes()


# --- what is known of it ---


@cache
def _moves() -> list[dict[int, tuple[int, float]]]:
    """[state][character]: the state then, and the probability; characters that cannot follow are left out."""
    machine = _machine()
    moves: list[dict[int, tuple[int, float]]] = []
    for targets, symbols in zip(machine.next, machine.symbols.tolist(), strict=True):
        ways: dict[int, tuple[int, float]] = {}
        for target, symbol in zip(targets, symbols, strict=True):
            ways[symbol] = (target, ways.get(symbol, (target, 0.0))[1] + 1 / 256)
        moves.append(ways)
    return moves


def _transitions(symbol: int) -> Any:
    """Probabilities of going from one state to another with a character, sparse [states, states]."""
    moves = _moves()
    entries = [(p, state, to) for state, ways in enumerate(moves) for x, (to, p) in ways.items() if x == symbol]
    values, rows, columns = zip(*entries, strict=True)
    return sparse.csr_array((values, (rows, columns)), shape=(len(moves), len(moves)))


def _probabilities() -> Any:
    """Of each character in each state, sparse [states, characters]."""
    return sparse.csr_array(np.stack([_transitions(x).sum(axis=1) for x in range(len(ALPHABET))], axis=1))


@cache
def _stationary() -> Floats:
    """The stationary distribution of the states, [states]."""
    total = sum(_transitions(symbol).toarray() for symbol in range(len(ALPHABET)))
    balance = total.T - np.eye(len(total))
    balance[0] = 1  # one equation follows from the others: in its place, that the probabilities add up
    return np.asarray(np.linalg.solve(balance, np.eye(len(total))[0]))


@cache
def _block_entropy(length: int) -> float:
    """Entropy of `length` characters in a row, in nats."""
    weights = _stationary()[None]  # [texts, states]: probability of a text that ends in a state
    for _ in range(length):
        weights = np.concatenate([weights @ _transitions(symbol) for symbol in range(len(ALPHABET))])
        weights = weights[weights.sum(axis=1) > 0]
    return _entropy(weights.sum(axis=1))


def _entropy(probabilities: Floats) -> float:
    """In nats."""
    positive = probabilities[probabilities > 0]
    return float(-(positive * np.log(positive)).sum())
