"""Parameters averaged after a validation loss that stops improving (NT-ASGD).

An update rule like those of `minigrad.optim`, made of one of them; it goes last in a chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isnan

from minigrad.backend import Params, get_xp
from minigrad.errors import InputError
from minigrad.optim import Optimizer, State, sgd


def nt_asgd(lr: float) -> Optimizer:
    """Gradient descent, u = -lr g, that averages its parameters once validation stops improving.

    With k = 1, 2, ... counting steps since the switch, ax <- ax + (p + u - ax) / max(1, k - 1), so that ax is the
    parameters themselves after the first two steps and their mean since the second from then on.

        state = nt_asgd_validated(state, params, loss)     after the validation of every epoch: may switch
        nt_asgd_weights(state, params)                     what to validate with: ax after the switch, p before

    Training always goes on from params. Put it last in a chain: it averages params plus its own updates.
    State: `ax` (zeros before the switch), the numbers `asgd_on` (0 or 1) and `asgd_k` (steps since the switch), and
    `asgd_losses`, a list of numbers, one an epoch, in nats.

    Args:
        lr: learning rate, >= 0.

    Source: Merity et al. 2018, Regularizing and optimizing LSTM language models, algorithm 1; with the details of the
    released code of Kag & Saligrama 2021 (word-level Penn Treebank).
    """
    plain = sgd(lr)

    def init(params: Params) -> State:
        ax = {name: get_xp(p).zeros_like(p) for name, p in params.items()}
        return {"ax": ax, "asgd_on": 0, "asgd_k": 0, "asgd_losses": []}

    def update(grads: Params, state: State, params: Params) -> tuple[Params, State]:
        updates, state = plain.update(grads, state, params)
        if not state["asgd_on"]:
            return updates, state
        k = int(state["asgd_k"]) + 1
        ax = {}
        for name, u in updates.items():
            before = state["ax"][name]
            ax[name] = before + (params[name] + u - before) / max(1, k - 1)
        return updates, state | {"ax": state["ax"] | ax, "asgd_k": k}

    return Optimizer(init, update)


def nt_asgd_triggered(losses: Sequence[float], nonmono: int = 5) -> bool:
    """Whether averaging should start: the last loss is worse than the best of all but the last `nonmono`.

    A loss that is NaN is never the best one.

    Args:
        losses: validation losses so far, one an epoch, the newest last and included.
        nonmono: epochs that are granted to improve, at least 1.
    """
    if nonmono < 1:
        raise InputError(f"nonmono must be at least 1, got {nonmono}")
    best = min((loss for loss in losses[:-nonmono] if not isnan(loss)), default=inf)
    return len(losses) > nonmono and bool(losses[-1] > best)


def nt_asgd_validated(state: State, params: Params, loss: float, nonmono: int = 5) -> State:
    """The state after a validation: the loss recorded, and averaging started, at params, if `nt_asgd_triggered`.

    Args:
        state: of `nt_asgd`, alone or in a chain.
        params: the parameters that are trained, not the averaged ones.
        loss: validation loss, measured with `nt_asgd_weights`.
        nonmono: see `nt_asgd_triggered`.
    """
    losses = [*map(float, state["asgd_losses"]), float(loss)]
    state = state | {"asgd_losses": losses}
    if state["asgd_on"] or not nt_asgd_triggered(losses, nonmono):
        return state
    return state | {"asgd_on": 1, "ax": {name: params[name] for name in state["ax"]}}


def nt_asgd_weights(state: State, params: Params) -> Params:
    """The parameters to validate with: averaged ones where there are any, otherwise params."""
    return {name: state["ax"].get(name, p) for name, p in params.items()} if state["asgd_on"] else params
