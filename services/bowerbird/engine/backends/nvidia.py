"""One NVIDIA GPU, asked through its driver (`libcuda.so.1`), which is wherever the GPU is and of no CUDA version.

The backends need three things that ONNX Runtime does not offer: the architecture (a TensorRT engine is good for one),
the free memory, and writing into a part of an array that lies on the device.
"""

from __future__ import annotations

import ctypes
from typing import Any

import onnxruntime as ort

from bowerbird.engine.backend import Array, BackendFailed
from bowerbird.errors import BackendMissing

COMPUTE_CAPABILITY_MAJOR, COMPUTE_CAPABILITY_MINOR = 75, 76  # CUdevice_attribute


def open_driver() -> Any:
    """The driver's library; raises BackendMissing where there is none."""
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise BackendMissing(f"No NVIDIA driver is here: {error}.") from error


class Gpu:
    """A `binding.Device`: the GPU that CUDA counts as `index`. Raises BackendMissing when there is none."""

    type = "cuda"

    def __init__(self, driver: Any, index: int = 0) -> None:
        self._driver = driver
        self.index = index
        self._context = ctypes.c_void_p()
        device = ctypes.c_int()
        try:
            self._call("cuInit", 0)
            self._call("cuDeviceGet", ctypes.byref(device), index)
            major, minor = (
                self._number("cuDeviceGetAttribute", ctypes.c_int, attribute, device)
                for attribute in (COMPUTE_CAPABILITY_MAJOR, COMPUTE_CAPABILITY_MINOR)
            )
            # The context that ONNX Runtime computes in: every library of a process shares the primary one.
            self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), device)
        except BackendFailed as error:
            raise BackendMissing(f"NVIDIA GPU {index} cannot be used: {error.message}") from error
        self.architecture = f"sm_{major}{minor}"

    def free_bytes(self) -> int:
        """Memory that nobody on this GPU has taken."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._call("cuCtxSetCurrent", self._context)
        self._call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value

    def place(self, array: Array) -> ort.OrtValue:
        """See `binding.Device.place`."""
        return ort.OrtValue.ortvalue_from_numpy(array, self.type, self.index)

    def overwrite(self, address: int, array: Array) -> None:
        """See `binding.Device.overwrite`; has arrived when it returns."""
        source, size = ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes)
        self._call("cuCtxSetCurrent", self._context)  # of this thread
        self._call("cuMemcpyHtoD_v2", ctypes.c_uint64(address), source, size)

    def _number(self, function: str, kind: Any, *arguments: Any) -> int:
        value = kind()
        self._call(function, ctypes.byref(value), *arguments)
        return int(value.value)

    def _call(self, function: str, *arguments: Any) -> None:
        code = getattr(self._driver, function)(*arguments)
        if code != 0:
            raise BackendFailed(f"{function} of the NVIDIA driver failed with CUresult {code}.")
