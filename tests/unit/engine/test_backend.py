"""What was asked for and is not here is refused; nothing else is taken instead."""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
import pytest

from bowerbird.engine.backend import is_shared, open_backend
from bowerbird.engine.backends.cuda import CUDA, ENTRIES, cuda_provider
from bowerbird.engine.backends.nvidia import Gpu
from bowerbird.engine.backends.onnx_runtime import CPU, open_session, require_provider, session_options
from bowerbird.engine.bundle import Bundle
from bowerbird.errors import BackendMissing, BundleInvalid
from bowerbird.settings import Settings

INVALID_DEVICE, OUT_OF_RANGE = 101, 1


class Driver:
    """The functions of `libcuda.so.1` that we call: one GPU of architecture 9.0, whose memory is the host's."""

    def __init__(self, devices: int = 1) -> None:
        self._devices = devices

    def cuInit(self, flags: int) -> int:  # noqa: N802 - the driver's names
        return 0

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:  # noqa: N802
        return 0 if ordinal < self._devices else INVALID_DEVICE

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:  # noqa: N802
        value._obj.value = {75: 9, 76: 0}[attribute]
        return 0

    def cuDevicePrimaryCtxRetain(self, context: Any, device: Any) -> int:  # noqa: N802
        return 0

    def cuCtxSetCurrent(self, context: Any) -> int:  # noqa: N802
        return 0

    def cuMemGetInfo_v2(self, free: Any, total: Any) -> int:  # noqa: N802
        free._obj.value, total._obj.value = 5, 7
        return 0

    def cuMemcpyHtoD_v2(self, to: Any, source: Any, size: Any) -> int:  # noqa: N802
        ctypes.memmove(to.value, source.value, size.value)
        return 0


def test_the_settings_name_the_backend(tmp_path: Path, bundle: Bundle) -> None:
    backend = open_backend(Settings(home=tmp_path, threads=1, memory_bytes=12345))
    assert (backend.name, backend.memory_bytes) == ("cpu", 12345)
    backend.load(bundle.path("denoiser.onnx"), key=bundle.part_digest("denoiser"))
    assert (tmp_path / "cache").is_dir()


@pytest.mark.parametrize("name", ["cuda", "tensorrt"])
def test_a_provider_that_is_missing_is_not_replaced(tmp_path: Path, name: Literal["cuda", "tensorrt"]) -> None:
    if len(ort.get_available_providers()) > 2:
        pytest.skip("this ONNX Runtime has a GPU provider")
    with pytest.raises(BackendMissing, match=r"has no \w+ExecutionProvider here; it has .*CPUExecutionProvider"):
        open_backend(Settings(home=tmp_path, backend=name))


def test_a_package_that_is_missing_is_named(tmp_path: Path) -> None:
    if importlib.util.find_spec("openvino"):
        pytest.skip("openvino is installed")
    with pytest.raises(BackendMissing, match="openvino is not installed"):
        open_backend(Settings(home=tmp_path, backend="openvino"))


def test_a_provider_that_is_there_is_required_in_vain() -> None:
    require_provider("CPUExecutionProvider")


def test_a_provider_that_does_not_start_is_not_left_out(bundle: Bundle) -> None:
    if CUDA in ort.get_available_providers():
        pytest.skip("this ONNX Runtime has the provider that is to be missing")
    provider = cuda_provider(capture=False, limit_bytes=0)
    with (
        pytest.warns(UserWarning, match="not in available provider names"),
        pytest.raises((BackendMissing, BundleInvalid)),
    ):
        open_session(bundle.path("decoder.onnx"), session_options(1, {}), [provider, CPU])


def test_computing_on_the_cpu_instead_is_an_error_to_onnx_runtime(bundle: Bundle) -> None:
    """With this entry the CPU provider must not be listed, and no node may need it."""
    with pytest.raises(BundleInvalid, match="explicitly added the CPU EP"):
        open_session(bundle.path("decoder.onnx"), session_options(1, ENTRIES), [CPU])
    with pytest.raises(BundleInvalid, match="fallback to CPU EP has been explicitly disabled"):
        open_session(bundle.path("decoder.onnx"), session_options(1, ENTRIES), [("AzureExecutionProvider", {})])


def test_cuda_graphs_are_for_what_runs_in_steps() -> None:
    assert cuda_provider(capture=True, limit_bytes=0)[1]["enable_cuda_graph"] == "1"
    name, options = cuda_provider(capture=False, limit_bytes=7)
    assert (name, options["enable_cuda_graph"], options["gpu_mem_limit"]) == (CUDA, "0", "7")


def test_a_gpu_is_asked_through_its_driver() -> None:
    gpu = Gpu(Driver())
    assert (gpu.architecture, gpu.free_bytes()) == ("sm_90", 5)
    target, source = np.zeros(4, np.float32), np.arange(2, dtype=np.float32)
    gpu.overwrite(target.ctypes.data + 4, source)
    assert target.tolist() == [0, 0, 1, 0]


def test_a_gpu_that_is_not_there_is_missing() -> None:
    with pytest.raises(BackendMissing, match=r"NVIDIA GPU 0 cannot be used: cuDeviceGet .* CUresult 101"):
        Gpu(Driver(devices=0))


def test_only_lora_banks_are_shared_by_all_rows() -> None:
    assert is_shared("lora_320x320_down")
    assert is_shared("lora_320x320_up")
    assert not any(map(is_shared, ("lora_slots", "lora_weights", "states", "sample")))
