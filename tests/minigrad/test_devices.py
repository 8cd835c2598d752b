"""Which devices there are, and that everything that may stand in the way of one is one line."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import cli as command_line
from minigrad import backend, devices
from minigrad.errors import InputError

ASKED = [devices.check, devices.use, devices.describe, lambda device: backend.to_device(np.ones(2), device)]
"""Whatever may be asked of a device."""


def refusal(device: str) -> str:
    """The one line with which a device is refused, by all alike."""
    lines = set()
    for ask in ASKED:
        with pytest.raises(InputError) as caught:
            ask(device)
        lines.add(str(caught.value))
    (line,) = lines
    assert "\n" not in line
    assert line.startswith(f"device {device} ")
    assert line.endswith("use --device cpu")
    return line


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:3"])
@pytest.mark.parametrize(("module", "name"), [("cupy", "CuPy"), ("array_api_compat", "array-api-compat")])
def test_what_is_missing_is_named_with_the_extra(
    monkeypatch: pytest.MonkeyPatch, device: str, module: str, name: str
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(1))
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "array_api_compat.cupy", raising=False)
    assert f"not usable (it needs {name}, pip install '.[cuda12]' or '.[cuda13]')" in refusal(device)


class CUDARuntimeError(RuntimeError):
    """As CuPy raises it where there is a library but no driver."""


def fake_cupy(count: int | None, fault: Exception | None = None) -> Any:
    """A CuPy that sees `count` GPUs, or fails to look; and that computes, or fails to."""

    def get_device_count() -> int:
        if count is None:
            raise CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
        return count

    def ones(*_: Any) -> Any:
        if fault is not None:
            raise fault
        return np.ones((2, 2))

    runtime = SimpleNamespace(
        getDeviceCount=get_device_count,
        CUDARuntimeError=CUDARuntimeError,
        getDeviceProperties=lambda number: {"name": f"Number {number}".encode()},
        driverGetVersion=lambda: 13010,
        runtimeGetVersion=lambda: 12090,
    )
    device = lambda number: SimpleNamespace(use=lambda: None)  # noqa: E731
    return SimpleNamespace(cuda=SimpleNamespace(runtime=runtime, Device=device), ones=ones, __version__="14.2.0")


@pytest.fixture
def compat(monkeypatch: pytest.MonkeyPatch) -> None:
    """array-api-compat, as far as it is looked for."""
    for name in ("array_api_compat", "array_api_compat.cupy"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))


@pytest.mark.usefixtures("compat")
@pytest.mark.parametrize(
    ("count", "device", "words"),
    [
        (None, "cuda", "is not usable (cudaErrorNoDevice: no CUDA-capable device is detected)"),
        (0, "cuda", "does not exist: this machine has 0 GPU(s)"),
        (1, "cuda:1", "does not exist: this machine has 1 GPU(s)"),
    ],
    ids=["no driver", "no GPU", "one GPU"],
)
def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch, count: int | None, device: str, words: str) -> None:
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(count))
    assert words in refusal(device)


@pytest.mark.usefixtures("compat")
def test_a_gpu_that_does_not_compute_is_refused_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """CuPy loads the compiler and cuBLAS when they are first called."""
    monkeypatch.setitem(
        sys.modules, "cupy", fake_cupy(1, RuntimeError("CuPy failed to load libnvrtc.so.13:\n  OSError"))
    )
    devices.check("cuda")
    with pytest.raises(InputError) as caught:
        devices.use("cuda")
    line = "device cuda is not usable (CuPy failed to load libnvrtc.so.13: OSError): use --device cpu"
    assert str(caught.value) == line


@pytest.mark.usefixtures("compat")
def test_devices_that_exist_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    devices.check("cpu")
    devices.use("cpu")
    assert devices.describe("cpu") == "cpu"
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(2))
    for device in ("cuda", "cuda:0", "cuda:1"):
        devices.check(device)
        devices.use(device)
    assert devices.describe("cuda:1") == "cuda:1: Number 1, driver for CUDA 13.1, CUDA 12.9, CuPy 14.2.0"


@pytest.mark.usefixtures("compat")
def test_arrays_move_to_the_gpu_on_which_the_thread_computes_and_to_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    cupy, chosen = fake_cupy(2), {"number": 0}
    cupy.cuda.runtime.getDevice = lambda: chosen["number"]
    cupy.cuda.Device = lambda number: SimpleNamespace(use=lambda: chosen.update(number=number))
    cupy.asarray = lambda array: ("moved", array)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    with pytest.raises(InputError, match=r"^device cuda:1 .*this thread computes on cuda:0; .*devices\.use"):
        devices.put("numbers", "cuda:1")
    devices.use("cuda:1")
    assert devices.put("numbers", "cuda:1") == ("moved", "numbers")


@pytest.mark.parametrize("device", ["gpu", "", "CPU", "cuda:", "cuda:x", "cuda:-1", "cuda:²", "cpu:0", "cuda0"])
def test_unknown_devices(device: str) -> None:
    for ask in ASKED:
        with pytest.raises(InputError, match=r"unknown device .*: use cpu, cuda or cuda:N"):
            ask(device)


def broken_cupy(folder: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation of CuPy that runs these lines when it is imported."""
    (folder / "cupy.py").write_text(source)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "cupy", raising=False)


@pytest.mark.usefixtures("compat")
@pytest.mark.parametrize(
    ("source", "cause"),
    [
        (
            "raise ImportError('=' * 64 + '\\nFailed to import CuPy.\\n\\nOriginal error:\\n  libcublas.so.12')",
            "libcublas",
        ),
        ("import no_such_module_of_cupy", "No module named 'no_such_module_of_cupy'"),
        ("raise RuntimeError('x' * 5000 + ' the cause')", "the cause"),
        ("raise AttributeError", "AttributeError"),
    ],
    ids=["a library", "a module", "many words", "no words"],
)
def test_a_broken_installation_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, cause: str
) -> None:
    broken_cupy(tmp_path, source, monkeypatch)
    line = refusal("cuda")
    assert "CuPy is installed but cannot be imported: " in line
    assert cause in line
    assert len(line) < 500
    assert "===" not in line


@pytest.mark.usefixtures("compat")
def test_warnings_of_cupy_are_no_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "import warnings\nwarnings.warn('multiple CuPy packages are installed')\nraise ImportError('the cause')"
    broken_cupy(tmp_path, source, monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "cannot be imported: the cause" in refusal("cuda")


@pytest.mark.usefixtures("compat")
@pytest.mark.parametrize("command", ["train", "train bptt", "sweep tptt --grid alpha_i=1,2"])
def test_on_the_command_line(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(1))
    assert command_line.main([*command.split(), "--device", "cuda:7"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.endswith("error: device cuda:7 does not exist: this machine has 1 GPU(s); use --device cpu")
    assert not list(tmp_path.iterdir()), "something was written"


def test_the_doctor_names_packages_that_are_in_each_others_way(monkeypatch: pytest.MonkeyPatch) -> None:
    from experiments import doctor

    installed = [SimpleNamespace(name=name) for name in ("cupy-cuda12x", "numpy", "cupy-cuda13x")]
    monkeypatch.setattr(doctor.metadata, "distributions", lambda: installed)
    monkeypatch.setitem(sys.modules, "cupy", None)
    gpu, packages = doctor._gpu()
    assert (gpu.name, gpu.state) == ("GPU", "note")
    assert "it needs CuPy" in gpu.detail
    assert (packages.state, packages.detail.partition(":")[0]) == (
        "FAILED",
        "cupy-cuda12x and cupy-cuda13x are installed",
    )
    monkeypatch.setattr(doctor.metadata, "distributions", lambda: installed[1:])
    assert [finding.name for finding in doctor._gpu()] == ["GPU"]


@pytest.mark.usefixtures("compat")
def test_the_doctor_says_which_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    from experiments import doctor

    monkeypatch.setattr(doctor.metadata, "distributions", lambda: [])
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(1))
    (gpu,) = doctor._gpu()
    assert (gpu.state, gpu.detail) == ("ok", "cuda: Number 0, driver for CUDA 13.1, CUDA 12.9, CuPy 14.2.0")
