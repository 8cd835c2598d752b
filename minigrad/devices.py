"""Where arrays may live besides the host: which devices there are, whether they can be used here, and what they are.

    cpu             the host: NumPy's arrays
    cuda, cuda:N    GPU number N (0 without a number): CuPy's arrays

CuPy speaks the array API standard through the library array-api-compat, for its own functions lack the arguments
`device` and `copy`. Neither is imported before a GPU is asked for.
"""

from __future__ import annotations

import re
import sys
import warnings
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol

from minigrad.errors import InputError

EXTRAS = "pip install '.[cuda12]' or '.[cuda13]'"
"""What installs all that a GPU needs."""


PACKAGES = ("cupy-cuda12x", "cupy-cuda13x", "array-api-compat")
"""What they install."""


class Kind(Protocol):
    """Devices of one kind, by number."""

    def count(self) -> int:
        """How many there are.

        Raises:
            Unusable: if there cannot be any, with the reason.
        """

    def use(self, number: int) -> None:
        """Make one the device on which this thread computes, and see that it does.

        Raises:
            Unusable: if it does not, with the reason.
        """

    def put(self, array: Any, number: int) -> Any:
        """The numbers of a host array as an array there.

        Raises:
            Unusable: if this thread computes on another one.
        """

    def describe(self, number: int) -> str:
        """What it is and what drives it, in words."""


class Unusable(Exception):
    """Why there is no such device here; the message is one line."""


class Cuda:
    """GPUs of NVIDIA, by CuPy."""

    def count(self) -> int:
        """How many the driver knows."""
        cupy = _cupy()
        try:
            return int(cupy.cuda.runtime.getDeviceCount())
        except cupy.cuda.runtime.CUDARuntimeError as error:
            raise Unusable(_line(error)) from None

    def use(self, number: int) -> None:
        """CuPy makes arrays, and runs kernels, on the current device of the thread.

        A product and a sum show whether the libraries that CuPy loads when they are first called are there.
        """
        cupy = _cupy()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                cupy.cuda.Device(number).use()
                ones = cupy.ones((2, 2), "float32")
                float((ones @ ones + ones).sum())
        except Exception as error:  # whatever CuPy meets while it loads a library, compiles or computes
            raise Unusable(_line(error)) from None

    def put(self, array: Any, number: int) -> Any:
        """A copy. What is computed from it lies on the current device of the thread: on another it would not mix."""
        cupy = _cupy()
        current = cupy.cuda.runtime.getDevice()
        if current != number:
            raise Unusable(f"this thread computes on cuda:{current}; minigrad.devices.use changes that")
        return cupy.asarray(array)

    def describe(self, number: int) -> str:
        """Name of the GPU, versions of driver, CUDA and CuPy."""
        cupy = _cupy()
        runtime = cupy.cuda.runtime
        name = runtime.getDeviceProperties(number)["name"].decode()
        driver, cuda = _version(runtime.driverGetVersion()), _version(runtime.runtimeGetVersion())
        return f"{name}, driver for CUDA {driver}, CUDA {cuda}, CuPy {cupy.__version__}"


KINDS: dict[str, Kind] = {"cuda": Cuda()}
"""The kinds of devices, by name."""


def check(device: str) -> None:
    """Raise InputError unless there is such a device (`cpu`, `cuda` or `cuda:N`) on this machine."""
    if device != "cpu":
        _found(device)


def use(device: str) -> None:
    """Make a device (`cpu`, `cuda` or `cuda:N`) the one on which this thread computes.

    Raises:
        InputError: if there is none on this machine, or it does not compute.
    """
    if device == "cpu":
        return
    kind, number = _found(device)
    try:
        kind.use(number)
    except Unusable as error:
        raise _refused(device, error) from None


def put(array: Any, device: str) -> Any:
    """The numbers of a host array as an array on a device (`cuda` or `cuda:N`).

    Raises:
        InputError: if there is none on this machine, or this thread computes on another one.
    """
    kind, number = _found(device)
    try:
        return kind.put(array, number)
    except Unusable as error:
        raise _refused(device, error) from None


def describe(device: str) -> str:
    """What a device is: `cpu`, or the words of its kind.

    Raises:
        InputError: if there is none on this machine.
    """
    if device == "cpu":
        return device
    kind, number = _found(device)
    return f"{device}: {kind.describe(number)}"


def _found(device: str) -> tuple[Kind, int]:
    """The kind of a device, and its number."""
    parts = re.fullmatch(r"([a-z]+)(?::([0-9]+))?", device, re.ASCII)
    if parts is None or parts[1] not in KINDS:
        names = [word for name in KINDS for word in (name, f"{name}:N")]
        raise InputError(f"unknown device {device!r}: use {', '.join(['cpu', *names[:-1]])} or {names[-1]}")
    kind, number = KINDS[parts[1]], int(parts[2] or 0)
    try:
        count = kind.count()
    except Unusable as error:
        raise _refused(device, error) from None
    if number >= count:
        raise InputError(f"device {device} does not exist: this machine has {count} GPU(s); use --device cpu")
    return kind, number


def _refused(device: str, why: Unusable) -> InputError:
    return InputError(f"device {device} is not usable ({why}): use --device cpu")


def _cupy() -> ModuleType:
    """CuPy, once it and what it needs are known to be there; its warnings of other packages are for the doctor."""
    there = sys.modules.get("cupy")
    if there is not None and "array_api_compat.cupy" in sys.modules:  # as for every array that moves, but the first
        return there
    needed = {"cupy": "CuPy", "array_api_compat": "array-api-compat"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            cupy = import_module("cupy")
            import_module("array_api_compat.cupy")
        except ModuleNotFoundError as error:
            missing = needed.get((error.name or "").partition(".")[0])
            raise Unusable(f"it needs {missing}, {EXTRAS}" if missing else _broken(error)) from None
        except Exception as error:  # an installation of CuPy can be broken in many ways
            raise Unusable(_broken(error)) from None
    return cupy


def _broken(error: Exception) -> str:
    return f"CuPy is installed but cannot be imported: {_line(error)}"


def _line(error: Exception) -> str:
    """A message as one line, of no more than some: CuPy's have many, with the cause at their end."""
    text = " ".join(str(error).replace("=" * 64, "").split()) or type(error).__name__
    return text if len(text) <= MOST else f"{text[: MOST // 3]} ... {text[-MOST * 2 // 3 :]}"


MOST = 300
"""Characters of a message that are shown."""


def _version(number: int) -> str:
    """13020 -> 13.2."""
    return f"{number // 1000}.{number % 1000 // 10}"
