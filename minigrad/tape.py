"""Reverse-mode automatic differentiation on an append-only tape.

    with Tape() as tape:
        w = tape.watch({"W": W, "b": b})
        loss = ops.sum(ops.tanh(x @ w["W"] + w["b"]))
    gradients = tape.gradient(loss, w)              # {"W": ..., "b": ...}

Recording is explicit: `watch` turns arrays into tensors, an operation on a tensor is recorded on the tensor's tape, an
operation on arrays computes and is forgotten. Outside its `with` block a tensor is a constant: operations take its
value. Nothing is global. Derivatives are first-order only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np

from minigrad.backend import Array, frozen, get_xp, is_float
from minigrad.population import is_population

Forward = tuple[Any, tuple[Any, ...]]
"""What an operation's forward function returns: its value (or a tuple of values), and what its vjp needs kept."""


class Tensor:
    """An array whose history a tape remembers. Made by `Tape.watch` and by operations, never by hand."""

    __slots__ = ("index", "tape", "value")
    __array_ufunc__ = None  # NumPy then leaves `array + tensor` to Tensor and refuses np.tanh(tensor)

    def __init__(self, value: Array, tape: Tape, index: int) -> None:
        self.value = value
        self.tape = tape
        self.index = index

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value."""
        return tuple(self.value.shape)

    @property
    def ndim(self) -> int:
        """Number of axes of the value."""
        return len(self.value.shape)

    @property
    def dtype(self) -> Any:
        """Number type of the value."""
        return self.value.dtype

    @property
    def device(self) -> Any:
        """Where the value lives, in its library's words."""
        return self.value.device

    def __len__(self) -> int:
        return len(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __float__(self) -> float:
        return float(self.value)

    def __repr__(self) -> str:
        return f"Tensor(shape={self.shape}, dtype={self.dtype}, value={self.value!r})"

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError(
            "a recorded tensor cannot be written in place: build the new value with ops.where, ops.concatenate or "
            "ops.scatter_add, or change a copy of the array before watching it"
        )

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("a tensor does not turn into an array by itself: use .value (which cuts the gradient)")


@dataclass(frozen=True)
class Indexed:
    """A gradient that is zero except at an index: added in place where it falls, so T slices cost T slices.

    The index names no element twice.
    """

    key: Any
    value: Array

    def dense(self, shape: tuple[int, ...]) -> Array:
        """The whole gradient of an array of some shape."""
        xp = get_xp(self.value)
        whole = xp.zeros(shape, dtype=self.value.dtype, device=self.value.device)
        whole[self.key] = self.value
        return whole


class Operation:
    """A differentiable function: forward, and a rule for its vector-Jacobian product.

    `forward(*arrays, *settings)` returns the value and, explicitly, what the backward pass needs kept. The rule
    `vjp(g, needs, *kept)` returns for each array argument a gradient (in the shape of the argument or of what it was
    broadcast to: the tape undoes broadcasting), an `Indexed` gradient, or None; `needs` says which are asked for.
    Trailing arguments that the rule leaves out are constants: a tensor in such a place has no gradient, and asking
    for one is an error.
    """

    takes_indexed = False
    """Whether the rule's g may be an `Indexed` gradient, where the result was used at one index alone."""

    def __init__(self, forward: Callable[..., Forward]) -> None:
        self.name = forward.__name__.lstrip("_")
        self.forward = forward
        self.rule: Callable[..., Sequence[Any]] | None = None
        self.__doc__ = forward.__doc__
        self.__name__ = self.name

    def vjp(self, rule: Callable[..., Sequence[Any]]) -> Callable[..., Sequence[Any]]:
        """Decorator that binds the rule of the vector-Jacobian product."""
        self.rule = rule
        return rule

    def __call__(self, *inputs: Any, **settings: Any) -> Any:
        tape: Tape | None = None
        values = []
        indices = []  # of the inputs on the tape, -1 for constants
        for x in inputs:
            index = -1
            if type(x) is Tensor:
                if x.tape.recording:
                    if tape is None:
                        tape = x.tape
                    elif tape is not x.tape:
                        raise TypeError(f"{self.name}: tensors of two open tapes do not mix; use .value of one of them")
                    index = x.index
                x = x.value
            values.append(x)
            indices.append(index)
        value, kept = self.forward(*values, **settings)
        return value if tape is None else tape._record(self, indices, value, kept)

    def __repr__(self) -> str:
        return f"<operation {self.name}>"


def operation(forward: Callable[..., Forward]) -> Operation:
    """Decorator: make a forward function an operation; bind its rule with `@name.vjp`."""
    return Operation(forward)


@dataclass
class Stats:
    """What a tape holds."""

    operations: int = 0
    """Number of recorded operations."""
    bytes_kept: int = 0
    """Bytes of the arrays kept for the backward pass, each buffer counted once, watched arrays left out; of a
    population, those of one run."""
    by_operation: dict[str, int] = field(default_factory=dict)
    """Bytes by operation; a buffer counts for the first operation that kept it."""


class Tape:
    """A list of the operations on watched arrays, in order, that can be walked backwards as often as wanted.

    Arrays on the tape (watched ones, results, whatever an operation keeps) become read-only, so that an in-place write
    that would falsify the gradient raises; CuPy knows no read-only arrays, there only writes through a tensor raise.
    """

    def __init__(self) -> None:
        self.recording = False
        # operation, indices of its inputs (-1: a constant), first index and number of its results (0: a single one that
        # is no tuple), what it keeps
        self._records: list[tuple[Operation, list[int], int, int, tuple[Any, ...]]] = []
        self._nodes: list[tuple[tuple[int, ...], Any]] = []  # shape and dtype, by index
        self._watched: list[Array] = []

    def __enter__(self) -> Tape:
        self.recording = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.recording = False

    def watch(self, arrays: Any) -> Any:
        """Tensors for an array, or for every array in a dict, list or (named) tuple, nested as you like.

        Raises:
            TypeError: outside the `with` block, or for an array that holds no floating-point numbers.
        """
        if not self.recording:
            raise TypeError("a tape watches only inside its `with` block")
        return _map(self._watch, arrays)

    def _watch(self, array: Array) -> Tensor:
        if isinstance(array, Tensor):
            array = array.value
        get_xp(array)
        if not hasattr(array, "dtype") or not is_float(array):
            raise TypeError(f"only floating-point arrays have gradients, got {getattr(array, 'dtype', type(array))}")
        self._watched.append(array)
        return self._node(array)

    def _node(self, value: Array) -> Tensor:
        self._nodes.append((value.shape, value.dtype))
        return Tensor(frozen(value), self, len(self._nodes) - 1)

    def _record(self, operation: Operation, inputs: list[int], value: Any, kept: tuple[Any, ...]) -> Any:
        first = len(self._nodes)
        for array in kept:
            frozen(array)
        if type(value) is tuple:
            if value:
                self._records.append((operation, inputs, first, len(value), kept))
            return tuple([self._node(v) for v in value])
        self._records.append((operation, inputs, first, 0, kept))
        return self._node(value)

    def gradient(self, target: Tensor, sources: Any, seed: Array | None = None) -> Any:
        """Gradients of a target with respect to watched or intermediate tensors.

        Args:
            target: a tensor of this tape; a single number unless `seed` is given.
            sources: a tensor, or tensors in a dict, list or tuple; only what lies between them and the target is
                walked.
            seed: cotangent of the target, in its shape and dtype (default: one); it becomes read-only, as it may be
                part of the answer.

        Returns:
            Read-only gradient arrays in the structure, shapes and dtypes of `sources`; zeros where nothing leads from a
            source to the target.

        Raises:
            TypeError: if target or a source is no tensor of this tape.
            ValueError: if the target has several numbers and no seed, or the seed has another shape or dtype.
        """
        leaves: list[Tensor] = []
        _map(leaves.append, sources)
        if not isinstance(target, Tensor):
            raise TypeError(
                f"the target was not recorded: got {type(target).__name__}; compute it inside the `with` block of the "
                "tape, from watched arrays"
            )
        for tensor in (target, *leaves):
            if not isinstance(tensor, Tensor):
                raise TypeError(f"gradients go to watched arrays: got {type(tensor).__name__}; use tape.watch first")
            if tensor.tape is not self:
                raise TypeError("the tensor belongs to another tape")
        found = self._backward(target, {tensor.index for tensor in leaves}, self._seed(target, seed))

        def answer(tensor: Tensor) -> Array:
            g = found.get(tensor.index)
            return frozen(get_xp(tensor.value).zeros_like(tensor.value) if g is None else g)

        return _map(answer, sources)

    @staticmethod
    def _seed(target: Tensor, seed: Array | None) -> Array:
        if seed is None:
            if target.shape != () and any(n != 1 for n in target.shape):
                raise ValueError(f"the target has shape {target.shape}: give a seed, or sum it to a single number")
            return get_xp(target.value).ones_like(target.value)
        get_xp(target.value, seed)
        shape, dtype = tuple(getattr(seed, "shape", ())), getattr(seed, "dtype", type(seed).__name__)
        if shape != target.shape or dtype != target.dtype:
            raise ValueError(
                f"the seed has shape {shape} and dtype {dtype}, the target {target.shape} and {target.dtype}"
            )
        return frozen(seed)

    def _backward(self, target: Tensor, sources: set[int], seed: Array) -> dict[int, Array]:
        """Walk the tape from the target back to the sources; gradients by index."""
        leads = set(sources)  # nodes that depend on a source: all others are left out of the walk
        path = []
        for record in self._records:
            _, inputs, first, count, _ = record
            if first > target.index:
                break
            needs = [i in leads for i in inputs]
            if True in needs:
                if count == 0:
                    leads.add(first)
                else:
                    leads.update(range(first, first + count))
                path.append((record, needs))

        grads: dict[int, Any] = {target.index: seed}
        owned: set[int] = set()  # nodes whose gradient is in a buffer of ours to add into

        def complete(i: int, operation: Operation) -> Any:
            """The gradient of a result: all who used it have been walked. Memory goes as the walk goes."""
            g = grads.get(i) if i in sources else grads.pop(i, None)
            return g.dense(self._nodes[i][0]) if type(g) is Indexed and not operation.takes_indexed else g

        for (operation, inputs, first, count, kept), needs in reversed(path):
            g: Any
            if count == 0:
                g = complete(first, operation)
                missing = g is None
            else:
                g = tuple([complete(i, operation) for i in range(first, first + count)])
                missing = all(part is None for part in g)
            if missing:
                continue
            if operation.rule is None:
                raise NotImplementedError(f"{operation.name} has no gradient")
            parts = operation.rule(g, needs, *kept)
            if len(parts) < len(needs) and True in needs[len(parts) :]:
                raise TypeError(f"{operation.name}: argument {len(parts) + 1} is a constant and has no gradient")
            for i, needed, part in zip(inputs, needs, parts, strict=False):
                if needed and part is not None:
                    self._add(grads, owned, i, part, operation)
        return {i: g.dense(self._nodes[i][0]) if type(g) is Indexed else g for i, g in grads.items()}

    def _add(self, grads: dict[int, Any], owned: set[int], i: int, part: Any, operation: Operation) -> None:
        """Add to the gradient of node i: the first part is stored, the second allocates, later ones do not."""
        shape, dtype = self._nodes[i]
        total = grads.get(i)
        if total is not None and type(total) is Indexed:
            total = grads[i] = total.dense(shape)
            owned.add(i)
        if type(part) is Indexed:
            if total is None:
                grads[i] = part
                return
            if i not in owned:
                total = grads[i] = get_xp(total).asarray(total, copy=True)
                owned.add(i)
            total[part.key] += part.value
            return
        if part.dtype != dtype:
            raise TypeError(f"the gradient of {operation.name} turned {dtype} into {part.dtype}")
        if part.shape != shape:
            part = unbroadcast(part, shape)
        if total is None:
            grads[i] = part
        elif i in owned:
            total += part
            grads[i] = total
        else:
            grads[i] = total + part
            owned.add(i)

    def stats(self) -> Stats:
        """How many operations the tape holds and how many bytes they keep."""
        stats = Stats()
        seen = {id(_owner(array)) for array in self._watched}
        for operation, _, _, _, kept in self._records:
            stats.operations += 1
            for array in kept:
                owner = _owner(array)
                if not hasattr(owner, "nbytes") or id(owner) in seen:
                    continue
                seen.add(id(owner))
                size = owner.nbytes // (array.device.runs if is_population(array) else 1)
                stats.bytes_kept += size
                stats.by_operation[operation.name] = stats.by_operation.get(operation.name, 0) + size
        return stats


def unbroadcast(g: Array, shape: tuple[int, ...]) -> Array:
    """Sum a gradient over the axes along which an argument of `shape` was broadcast."""
    xp = get_xp(g)
    extra = g.ndim - len(shape)
    axes = tuple([i for i, n in enumerate(g.shape) if n != 1 and (i < extra or shape[i - extra] == 1)])
    if axes:
        # np.sum does the same as np.add.reduce, but spends more on its arguments than a small sum takes.
        g = np.add.reduce(g, axis=axes) if xp is np else xp.sum(g, axis=axes)
    return g if g.shape == shape else xp.reshape(g, shape)


def _owner(array: Any) -> Any:
    """The array whose buffer a view looks at."""
    array = array.data if is_population(array) else array
    owner: Any = getattr(array, "_array", array)  # array-api-strict wraps a NumPy array
    while (base := getattr(owner, "base", None)) is not None and type(base) is type(owner):
        owner = base
    return owner


def _map(function: Callable[[Any], Any], tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _map(function, leaf) for name, leaf in tree.items()}
    if isinstance(tree, list | tuple):
        leaves = [_map(function, leaf) for leaf in tree]
        return type(tree)(*leaves) if hasattr(tree, "_fields") else type(tree)(leaves)  # a named tuple, or another
    return function(tree)
