"""Transitions all at once, of which the results may be known."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose

from minigrad import ops
from tests.minigrad.ops.cases import TRANSITIONS, srn_local_loss
from tests.minigrad.strategies import random_arrays, value_and_gradients


def test_a_known_transition_is_not_computed_again() -> None:
    x, h, target = TRANSITIONS
    weights = random_arrays([(3, 2), (2, 2), (2,)])
    y = np.tanh(x @ weights[0] + h @ weights[1] + weights[2])
    loss, expected = value_and_gradients(lambda *w: srn_local_loss("tanh")(*w, *TRANSITIONS), weights)
    for known in (y, y + 1):  # which is not checked
        found, gradients = value_and_gradients(
            lambda *w, known=known: ops.srn_local_loss(*w, *TRANSITIONS, activation="tanh", known=known), weights
        )
        assert_allclose(found, np.sum((known - target) ** 2), rtol=1e-13)
        d = 2 * (known - target) * (1 - known**2)
        assert_allclose(gradients[0], np.einsum("tbi,tbj->ij", x, d), rtol=1e-12)
        if known is y:
            assert_allclose(found, loss, rtol=1e-13)
            for g, e in zip(gradients, expected, strict=True):
                assert_allclose(g, e, rtol=1e-12)
