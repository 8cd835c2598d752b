"""Update rules: pairs of pure functions that compose.

    optimizer = chain(clip_global_norm(0.5), nag(lr=0.01, mu=0.9))
    state = optimizer.init(params)
    params, state = optimizer.step(grads, state, params)

Legend: p parameter, g gradient (after averaging; after scaling and clipping where those come earlier in a chain),
u update, p <- p + u; lr learning rate, mu momentum, eps small constant outside the root unless said otherwise.

    sgd         u = -lr g
    momentum    v <- mu v + g                              u = -lr v
    nag         v <- mu v - lr g                           u = mu v - lr g
    adagrad     G <- G + g^2                               u = -lr g / (sqrt(G) + eps)
    adam        m <- b1 m + (1-b1) g,  v <- b2 v + (1-b2) g^2
                                                           u = -lr m/(1-b1^t) / (sqrt(v/(1-b2^t)) + eps)
    rmsprop     r <- d r + (1-d) g^2                       u = -lr g / sqrt(r + eps)
    adadelta    r <- d r + (1-d) g^2                       u = -g sqrt(s + eps) / sqrt(r + eps),  s <- d s + (1-d) u^2

Parameters, gradients and updates are flat dicts name -> array. Gradients may come for some names only: only those are
updated, and the state of the others stays as it is. State is one flat dict: arrays under the name of their kind
(`velocity`, `adagrad`, `m`, ...) and the parameter's name, plus numbers; each rule owns its kinds and passes all others
through, which is why states of a chain live side by side in one dict. Nothing is changed in place, float32 stays
float32 (hyper-parameters are Python numbers), and any library of the array API standard will do.

The formulas are in `minigrad.kernels.updates`. `step` takes clipping, rule, rates and the addition to a large array of
NumPy in one compiled pass over memory, after one for weight decay; the bits are those of `update` and `apply`.

A schedule needs no machinery: an Optimizer holds hyper-parameters and nothing else, so a new learning rate is a new
Optimizer, `nag(lr / 2, mu)`, applied to the same state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf, isfinite, sqrt
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from minigrad.backend import Array, Params, get_xp
from minigrad.errors import InputError
from minigrad.kernels import updates as formulas

State: TypeAlias = dict[str, Any]
"""What a rule remembers: {kind: {name: array}}, and numbers by kind."""


class Optimizer(NamedTuple):
    """An update rule, or a transformation of gradients or updates: two pure functions.

    The other fields say what it is made of, so that `step` sees what can be done in one pass over memory.
    """

    init: Callable[[Params], State]
    """init(params) -> state before the first step."""
    update: Callable[[Params, State, Params], tuple[Params, State]]
    """update(grads, state, params) -> (updates for the names in grads, new state)."""
    factor: Callable[[Params], float | Array] | None = None
    """factor(grads): the one number by which `update` multiplies all gradients, and does nothing else; 0-d on the
    device where the gradients are on one."""
    rule: Callable[[Params, State, Params, float | Array, Mapping[str, float]], tuple[Params, State]] | None = None
    """rule(grads, state, params, before, after) -> (new parameters, new state), in one pass: gradients are multiplied
    by `before`, updates by the factors `after`, by name."""
    rates: Mapping[str, float] | None = None
    """Factors by which `update` multiplies what it is given, by name, and does nothing else."""
    stages: tuple[Optimizer, ...] = ()
    """Of a chain: what it is made of."""

    def step(self, grads: Params, state: State, params: Params) -> tuple[Params, State]:
        """Update and apply: (new parameters, new state).

        Raises:
            InputError: if an update has no parameter.
        """
        stages = list(self.stages or (self,))
        after = stages.pop().rates if stages[-1].rates is not None else None
        if not stages or (rule := stages.pop().rule) is None:
            updates, state = self.update(grads, state, params)
            return apply(params, updates), state
        before = stages.pop().factor if stages and stages[-1].factor is not None else None
        for stage in stages:  # such as weight decay, a pass of its own
            grads, state = stage.update(grads, state, params)
        return rule(grads, state, params, 1.0 if before is None else before(grads), after or {})


def apply(params: Params, updates: Params) -> Params:
    """Parameters after a step: p + u for the names in updates, every other array passed through as it is.

    Raises:
        InputError: if an update has no parameter.
    """
    _known(updates, params)
    return {name: p + updates[name] if name in updates else p for name, p in params.items()}


def global_norm(grads: Params) -> float:
    """sqrt(sum ||g||^2) over all arrays; 0 for none. From a device one number is read.

    Summed in float64, where squares of float32 numbers neither overflow nor vanish, and in the order of the names, so
    that the order of the dict does not show in the last bit.
    """
    return sqrt(float(_sum_of_squares(grads)))


def _sum_of_squares(grads: Params) -> Array:
    """0-d in float64, where the arrays are; a number for none."""
    squares: Array = 0.0
    twin = formulas.choose(*grads.values())
    for name in sorted(grads):
        squares = squares + formulas.squares(grads[name], twin)
    return squares


# --- update rules ---


def sgd(lr: float) -> Optimizer:
    """Gradient descent: u = -lr g. Stateless.

    Args:
        lr: learning rate, >= 0.

    Raises:
        InputError: if a hyper-parameter is out of range (as every function below).
    """
    return _rule(formulas.sgd, -_at_least_zero("lr", lr))


def momentum(lr: float, mu: float) -> Optimizer:
    """Heavy ball, PyTorch's form without dampening: v <- mu v + g; u = -lr v. State: `velocity` v, at first 0.

    Here lr multiplies the velocity: when it changes, the whole velocity is rescaled (in `nag` only what is new).

    Args:
        lr: learning rate, >= 0.
        mu: momentum, in [0, 1).
    """
    lr, mu = _at_least_zero("lr", lr), _fraction("mu", mu)
    return _rule(formulas.momentum, -lr, mu, kinds=("velocity",))


def nag(lr: float, mu: float) -> Optimizer:
    """Nesterov's accelerated gradient, Lasagne's form: v <- mu v - lr g; u = mu v - lr g.

    State: `velocity` v, at first 0. The gradient is taken at the stored parameters, which are the look-ahead point
    already. mu = 0 is `sgd`.

    Args:
        lr: learning rate, >= 0.
        mu: momentum, in [0, 1).

    Source: Bengio et al. 2013, Advances in optimizing recurrent networks; Manchev & Spratling 2020, section 3.1.
    """
    lr, mu = _at_least_zero("lr", lr), _fraction("mu", mu)
    return _rule(formulas.nag, lr, mu, kinds=("velocity",))


def adagrad(lr: float, eps: float = 1e-5) -> Optimizer:
    """Adagrad: G <- G + g^2; u = -lr g / (sqrt(G) + eps). State: `adagrad` G, at first 0.

    The first step is a step of nearly lr against the sign wherever |g| >> eps, whatever the size of the gradient.

    Args:
        lr: learning rate, >= 0.
        eps: > 0; 1e-5 in the BTPROP script of Wiseman et al. 2017, 1e-10 in their BPTT script.

    Source: Duchi et al. 2011; Wiseman et al. 2017, section 4 and released code.
    """
    lr, eps = _at_least_zero("lr", lr), _above_zero("eps", eps)
    return _rule(formulas.adagrad, -lr, eps, kinds=("adagrad",))


def adam(
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    rule: Literal["pytorch", "tprnn"] = "pytorch",
) -> Optimizer:
    """Adam: m <- b1 m + (1-b1) g; v <- b2 v + (1-b2) g^2; t <- t + 1; u as below.

    State: `m`, `v`, at first 0, and the number `t` of steps done, one for all parameters.

        pytorch     u = -lr m/(1-b1^t) / (sqrt(v/(1-b2^t)) + eps)
        tprnn       u = -lr sqrt(1-b2^t)/(1-b1^t) m / (sqrt(v) + eps)

    Args:
        lr: learning rate, >= 0.
        betas: decay (b1, b2) of the two averages, in [0, 1).
        eps: > 0.
        rule: where eps is added: to the corrected root (`pytorch`; Kag & Saligrama 2021), or to the root before the
            correction (`tprnn`, the released code of Wiseman et al. 2017), which makes it larger in the first steps.

    Source: Kingma & Ba 2015, algorithm 1 (`pytorch`) and the end of section 2 (`tprnn`).
    """
    lr, eps = _at_least_zero("lr", lr), _above_zero("eps", eps)
    b1, b2 = _fraction("betas[0]", betas[0]), _fraction("betas[1]", betas[1])
    _one_of("rule", rule, "pytorch", "tprnn")

    def numbers(t: int) -> tuple[float, ...]:
        bias1, bias2 = 1 - b1**t, 1 - b2**t
        before, after = (bias2, 1.0) if rule == "pytorch" else (1.0, sqrt(bias2))
        return -lr * after / bias1, b1, 1 - b1, b2, 1 - b2, before, eps

    return _rule(formulas.adam, kinds=("m", "v"), at_step=numbers)


def rmsprop(lr: float, decay: float = 0.9, eps: float = 1e-3) -> Optimizer:
    """RMSprop with eps inside the root: r <- d r + (1-d) g^2; u = -lr g / sqrt(r + eps). State: `rms` r, at first 0.

    Args:
        lr: learning rate, >= 0.
        decay: d, in [0, 1).
        eps: > 0.

    Source: Tieleman & Hinton 2012; form and constants of the released code of Wiseman et al. 2017.
    """
    lr, decay, eps = _at_least_zero("lr", lr), _fraction("decay", decay), _above_zero("eps", eps)
    return _rule(formulas.rmsprop, -lr, decay, 1 - decay, eps, kinds=("rms",))


def adadelta(decay: float = 0.9, eps: float = 1e-3) -> Optimizer:
    """Adadelta: r <- d r + (1-d) g^2; u = -g sqrt(s + eps) / sqrt(r + eps); s <- d s + (1-d) u^2. No learning rate.

    State: `adadelta_g` r and `adadelta_u` s, at first 0.

    Args:
        decay: d, in [0, 1).
        eps: > 0; sets the size of the first steps.

    Source: Zeiler 2012, algorithm 1; constants of the released code of Wiseman et al. 2017.
    """
    decay, eps = _fraction("decay", decay), _above_zero("eps", eps)
    return _rule(formulas.adadelta, decay, 1 - decay, eps, kinds=("adadelta_g", "adadelta_u"))


# --- transformations ---


def chain(*optimizers: Optimizer) -> Optimizer:
    """One after the other: what one stage returns is the gradient of the next.

    The state is the stages' states side by side in one flat dict.

    Raises:
        InputError: from `init`, if two stages would keep the same kind of state (two momenta, say).
    """

    def init(params: Params) -> State:
        state: State = {}
        for optimizer in optimizers:
            own = optimizer.init(params)
            if shared := sorted(own.keys() & state.keys()):
                raise InputError(f"two stages of a chain keep the same state ({', '.join(shared)}): leave one out")
            state |= own
        return state

    def update(grads: Params, state: State, params: Params) -> tuple[Params, State]:
        for optimizer in optimizers:
            grads, state = optimizer.update(grads, state, params)
        return grads, state

    return Optimizer(init, update, stages=tuple(s for each in optimizers for s in each.stages or (each,)))


def clip_global_norm(threshold: float, rule: Literal["tprnn", "pytorch"] = "tprnn") -> Optimizer:
    """Gradients scaled down together where their global norm N is too large. Goes before the update rule.

        tprnn       if N > threshold: g <- g threshold / max(N, 1e-6)
        pytorch     g <- g min(1, threshold / (N + 1e-6))

    A norm that is not finite changes nothing: scaling would turn infinities into NaN and all other gradients into
    zeros, and hide which parameter diverged.

    Args:
        threshold: largest norm, > 0.
        rule: `tprnn` (Wiseman et al. 2017, released code) or `pytorch` (Kag & Saligrama 2021).

    Source: Pascanu et al. 2013, On the difficulty of training recurrent neural networks, algorithm 1.
    """
    threshold = _above_zero("threshold", threshold)
    _one_of("rule", rule, "tprnn", "pytorch")

    def factor(grads: Params) -> float | Array:
        squares = _sum_of_squares(grads)
        xp = get_xp(squares)
        return of_norm(sqrt(float(squares))) if xp is np else there(xp, xp.sqrt(squares))

    def of_norm(norm: float) -> float:
        if not isfinite(norm):
            return 1.0
        if rule == "tprnn":
            return threshold / max(norm, 1e-6) if norm > threshold else 1.0
        return min(1.0, threshold / (norm + 1e-6))

    def there(xp: Any, norm: Array) -> Array:
        """The same on a device, where it is not asked which case it is."""
        one = xp.ones_like(norm)
        if rule == "tprnn":
            smaller = xp.where(norm > threshold, threshold / xp.where(norm > 1e-6, norm, 1e-6 * one), one)
        else:
            smaller = threshold / (norm + 1e-6)
            smaller = xp.where(smaller < 1.0, smaller, one)
        return xp.where(xp.isfinite(norm), smaller, one)

    def update(grads: Params, state: State, params: Params) -> tuple[Params, State]:
        by = factor(grads)
        return {name: formulas.scaled(by, g) for name, g in grads.items()}, state

    return Optimizer(_stateless, update, factor=factor)


def weight_decay(wd: float) -> Optimizer:
    """g <- g + wd p, the gradient of wd/2 ||p||^2. Goes before the update rule, after clipping (PyTorch's order).

    Args:
        wd: >= 0.
    """
    wd = _at_least_zero("wd", wd)

    def update(grads: Params, state: State, params: Params) -> tuple[Params, State]:
        if wd == 0.0:
            return grads, state
        return {name: g + wd * params[name] for name, g in grads.items()}, state

    return Optimizer(_stateless, update)


def scale(rates: Mapping[str, float]) -> Optimizer:
    """Updates of the named parameters multiplied: u <- rate u. Goes after the update rule, but before averaging.

    A rate of its own for some parameters: `chain(nag(lr, mu), scale({"W_hh": 1e-4, "b_h": 1e-4}))`.

    Args:
        rates: factor by name, >= 0; other names keep their updates.

    Raises:
        InputError: for an impossible rate; from `init`, if a name is no parameter.
    """
    rates = {name: _at_least_zero(f"rate of {name}", rate) for name, rate in rates.items()}

    def init(params: Params) -> State:
        _known(rates, params)
        return {}

    def update(grads: Params, state: State, params: Params) -> tuple[Params, State]:
        return {name: rates[name] * u if name in rates else u for name, u in grads.items()}, state

    return Optimizer(init, update, rates=rates)


# --- helpers ---


def _stateless(params: Params) -> State:
    return {}


def _zeros(*kinds: str) -> Callable[[Params], State]:
    """An `init` with an array of zeros for every parameter under each kind."""

    def init(params: Params) -> State:
        return {kind: {name: get_xp(p).zeros_like(p) for name, p in params.items()} for kind in kinds}

    return init


def _rule(
    formula: formulas.Formula,
    *numbers: float,
    kinds: tuple[str, ...] = (),
    at_step: Callable[[int], tuple[float, ...]] | None = None,
) -> Optimizer:
    """An update rule by its formula: its numbers, or those of a step by its count, and the kinds of its state."""

    def init(params: Params) -> State:
        return _zeros(*kinds)(params) | ({} if at_step is None else {"t": 0})

    def now(state: State) -> tuple[tuple[float, ...], State]:
        """The formula's numbers at this step, and the state that has counted it."""
        if at_step is None:
            return numbers, state
        t = int(state["t"]) + 1
        return at_step(t), state | {"t": t}

    def arrays(grads: Params, state: State) -> dict[str, tuple[Array, ...]]:
        return {name: (g, *(state[kind][name] for kind in kinds)) for name, g in grads.items()}

    def update(grads: Params, state: State, params: Params) -> tuple[Params, State]:
        constants, state = now(state)
        found = {name: formula(get_xp(*each), *each, *constants) for name, each in arrays(grads, state).items()}
        return _sorted_out(found, state, kinds)

    def rule(
        grads: Params, state: State, params: Params, before: float | Array, after: Mapping[str, float]
    ) -> tuple[Params, State]:
        _known(grads, params)
        constants, state = now(state)
        each = arrays(grads, state)
        twin = formulas.choose(*(array for of_one in each.values() for array in of_one))
        found = {
            name: formulas.step(formula, params[name], of_one, constants, twin, before, after.get(name, 1.0))
            for name, of_one in each.items()
        }
        moved, state = _sorted_out(found, state, kinds)
        return params | moved, state

    return Optimizer(init, update, rule=rule)


def _sorted_out(found: Mapping[str, tuple[Array, ...]], state: State, kinds: tuple[str, ...]) -> tuple[Params, State]:
    """The first array of each name, and the state with the others."""
    first, *new = ({name: each[i] for name, each in found.items()} for i in range(1 + len(kinds)))
    return first, _with(state, **dict(zip(kinds, new, strict=True)))


def _with(state: State, **kinds: Params) -> State:
    """The state with new arrays for some names of some kinds; everything else as it was."""
    return state | {kind: state[kind] | arrays for kind, arrays in kinds.items()}


def _known(names: Mapping[str, Any], params: Params) -> None:
    if unknown := sorted(names.keys() - params.keys()):
        raise InputError(f"no such parameter: {', '.join(unknown)} (parameters: {', '.join(params)})")


def _at_least_zero(name: str, value: float) -> float:
    if not 0 <= value < inf:
        raise InputError(f"{name} must be at least 0 and finite, got {value}")
    return _python(value)


def _above_zero(name: str, value: float) -> float:
    if not 0 < value < inf:
        raise InputError(f"{name} must be above 0 and finite, got {value}")
    return _python(value)


def _fraction(name: str, value: float) -> float:
    if not 0 <= value < 1:
        raise InputError(f"{name} must lie in [0, 1), got {value}")
    return _python(value)


def _python(value: float) -> float:
    """A Python number: a NumPy one would turn float32 arrays into float64."""
    return value if isinstance(value, float) and not isinstance(value, np.generic) else float(value)


def _one_of(name: str, value: str, *choices: str) -> None:
    if value not in choices:
        raise InputError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
