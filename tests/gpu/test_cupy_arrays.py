"""Arrays of CuPy as the engine sees them. They need no GPU here: nobody looks at the numbers that they do not have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minigrad import backend, ops
from minigrad.kernels import shapes
from minigrad.population import Population
from minigrad.tape import Tape, Tensor

cupy = pytest.importorskip("cupy", reason="CuPy is not installed", exc_type=ImportError)
compat = pytest.importorskip("array_api_compat.cupy", reason="array-api-compat is not installed", exc_type=ImportError)


def hollow(shape: tuple[int, ...], dtype: str = "float32", number: int = 0) -> Any:
    """An array of GPU `number` around memory that nobody may touch."""
    memory = cupy.cuda.UnownedMemory(16, 2**20, None, device_id=number)
    return cupy.ndarray(shape, dtype, memptr=cupy.cuda.MemoryPointer(memory, 0))


def test_their_library_is_that_of_the_standard() -> None:
    x = hollow((3, 4))
    assert backend.get_xp(x, 2.0, x) is compat
    assert backend.device_of(hollow((1,), number=1)) == "cuda:1"
    assert backend.is_float(x)
    assert not backend.is_float(hollow((2,), "int64"))
    assert backend.frozen(x) is x


def test_they_mix_neither_with_the_host_nor_with_another_gpu() -> None:
    with pytest.raises(TypeError, match="arrays of cupy and of numpy do not mix"):
        backend.get_xp(hollow((2,)), np.ones(2))
    with pytest.raises(TypeError, match="arrays of numpy and of cupy do not mix"):
        backend.get_xp(np.float64(2), hollow((2,)))
    with pytest.raises(TypeError, match="arrays on cuda:0 and on cuda:1 do not mix"):
        backend.get_xp(hollow((2,)), hollow((2,), number=1))


def test_populations_do_not_mix_with_larger_ones() -> None:
    with pytest.raises(TypeError, match=r"arrays on .*, 3 runs and on .*, 2 runs do not mix"):
        backend.get_xp(Population(hollow((3, 4))), Population(hollow((2, 4))))


def test_they_have_no_fused_twin() -> None:
    assert "cupy" in shapes.why_not_fused([hollow((2,))])


def test_operations_that_only_rearrange_are_recorded() -> None:
    x = hollow((3, 4))
    with Tape() as tape:
        w = tape.watch(x)
        y = ops.transpose(ops.reshape(w[1:, ...], shape=(2, 2, 2)), (2, 0, 1))
        left, right = ops.split(w, 2)
    assert (y.shape, left.shape, right.shape) == ((2, 2, 2), (3, 2), (3, 2))
    assert isinstance(y.value, cupy.ndarray)
    assert tape.stats().bytes_kept == 0


@pytest.mark.parametrize("name", ["add", "sub", "mul", "truediv", "matmul", "lt"])
def test_an_array_on_the_left_leaves_the_operation_to_the_tensor(name: str) -> None:
    with Tape() as tape:
        w = tape.watch(hollow((3, 3)))
    assert isinstance(w, Tensor)
    assert getattr(hollow((3, 3)), f"__{name}__")(w) is NotImplemented
