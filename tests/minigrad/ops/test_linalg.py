"""Matrix products of any shapes, and what products and sums of them refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose

from minigrad import ops
from minigrad.check import check_gradient
from tests.minigrad.ops.cases import Refusal, assert_refused, some
from tests.minigrad.strategies import random_arrays, seeds


@some
@given(shapes=hnp.mutually_broadcastable_shapes(signature="(m?,n),(n,p?)->(m?,p?)", max_dims=2, max_side=3), seed=seeds)
def test_matmul_is_that_of_numpy(shapes: Any, seed: int) -> None:
    a, b = random_arrays(shapes.input_shapes, seed)
    assert_allclose(ops.matmul(a, b), np.matmul(a, b), rtol=1e-12, atol=1e-13, strict=True)
    check_gradient(ops.matmul, a, b)


REFUSED: dict[str, Refusal] = {
    "matmul of lengths that differ": (lambda x: ops.matmul(x, np.ones((2, 3))), ValueError, r"\(2, 3\).*3 != 2"),
    "einsum without an answer": (lambda x: ops.einsum("ij", x), ValueError, "must read like"),
    "einsum of a diagonal": (lambda x: ops.einsum("ii->i", x), ValueError, "at most once"),
    "einsum of another number of arrays": (lambda x: ops.einsum("ij,jk->ik", x), ValueError, "must read like"),
    "einsum of another number of axes": (lambda x: ops.einsum("i->i", x), ValueError, "does not fit"),
    "einsum of an unknown index": (lambda x: ops.einsum("ij->ik", x), ValueError, "does not fit"),
    "einsum of two lengths": (lambda x: ops.einsum("ij,jk->ik", x, np.ones((1, 2))), ValueError, "two lengths"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_is_refused(what: str) -> None:
    assert_refused(*REFUSED[what])
