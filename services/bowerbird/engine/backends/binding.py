"""Runs on a device from buffers that never move: what CUDA graphs need, and what saves allocating and copying twice.

`cuda` and `tensorrt` wrap their ONNX Runtime sessions in a `BoundSession`. For each shape (a bucket of rows at one
size) it keeps inputs and outputs at fixed addresses and gives the shape a graph id of its own (`gpu_graph_id`): the
first run allocates, the second is captured by ONNX Runtime, and from then on one launch replays all kernels. LoRA banks
are bound where they lie; what is written into them takes effect without a new capture.

Nothing here knows CUDA, only the `Device` it is given: the tests run it with real sessions in the host's memory.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort

from bowerbird.engine.backend import Array, Input
from bowerbird.engine.backends.buckets import ROW_BUCKETS, bucket_of, by_row, joined, padded, rows_of, split
from bowerbird.engine.backends.onnx_runtime import RUNTIME
from bowerbird.engine.backends.runtime_errors import failing_run
from bowerbird.errors import BundleInvalid

MAX_GRAPHS = 32
"""Shapes of one session that are kept: five buckets at six sizes. Each captured graph holds its activations."""
NO_GRAPH = "-1"
DTYPES: Mapping[str, type[Any]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
}


class Device(Protocol):
    """Where a session's inputs and outputs lie, by ONNX Runtime's name for it."""

    type: str
    index: int

    def place(self, array: Array) -> ort.OrtValue:
        """A copy of `array` on the device."""
        ...

    def overwrite(self, address: int, array: Array) -> None:
        """Copies the contiguous `array` to `address` on the device."""
        ...


class DeviceArray:
    """A `Resident` on a device."""

    def __init__(self, array: Array, device: Device) -> None:
        self.value = device.place(np.ascontiguousarray(array))
        self.shape = array.shape
        self.dtype = array.dtype
        self._device = device

    def write(self, index: int, array: Array) -> None:
        """See `Resident.write`; raises ValueError when `array` is not of the shape of `[index]`."""
        if array.shape != self.shape[1:] or not 0 <= index < self.shape[0]:
            raise ValueError(f"[{index}] of {self.shape} cannot be replaced with {array.shape}.")
        row = np.ascontiguousarray(array, self.dtype)
        self._device.overwrite(self.value.data_ptr() + index * row.nbytes, row)


@dataclass(slots=True)
class _Bound:
    """One shape: its buffers, and the banks that lie in it."""

    binding: ort.IOBinding
    inputs: dict[str, ort.OrtValue]
    banks: dict[str, DeviceArray]
    options: ort.RunOptions
    outputs: dict[str, ort.OrtValue] | None = None


class BoundSession:
    """One graph on a device. Runs are one at a time: they share their buffers.

    `capture` says that the session was opened with CUDA graphs; `buckets` are the numbers of rows that are run.
    """

    def __init__(
        self, session: ort.InferenceSession, device: Device, *, capture: bool, buckets: tuple[int, ...] = ROW_BUCKETS
    ) -> None:
        self._session = session
        self._device = device
        self._capture = capture
        self._buckets = buckets
        self._outputs = [output.name for output in session.get_outputs()]
        self._dtypes = {port.name: _dtype(port.name, port.type) for port in session.get_inputs()}
        self._bound: dict[tuple[Any, ...], _Bound] = {}
        self._graph_ids = count(1)  # 0 is ONNX Runtime's own
        self._lock = threading.Lock()

    def run(self, inputs: Mapping[str, Input]) -> dict[str, Array]:
        """See `Session.run`; floating outputs are float32, whatever the graph computes in."""
        return joined([self._run(part) for part in split(inputs, self._buckets[-1])])

    def _run(self, inputs: Mapping[str, Input]) -> dict[str, Array]:
        rows = rows_of(inputs)
        bucket = bucket_of(rows, self._buckets)
        rowwise = by_row(inputs)
        arrays = {
            name: np.ascontiguousarray(padded(value, bucket) if name in rowwise else value, self._dtypes[name])
            for name, value in inputs.items()
            if isinstance(value, np.ndarray)
        }
        banks = {name: value for name, value in inputs.items() if isinstance(value, DeviceArray)}
        with self._lock, failing_run(RUNTIME):
            bound = self._bound_for(arrays, banks)
            for name, array in arrays.items():
                bound.inputs[name].update_inplace(array)
            outputs = self._outputs_of(bound)
            return {name: _host(value)[:rows] for name, value in outputs.items()}

    def _bound_for(self, arrays: dict[str, Array], banks: dict[str, DeviceArray]) -> _Bound:
        """The buffers of this shape, made when they are not there; beyond MAX_GRAPHS shapes, for this run only."""
        key = tuple(sorted((name, value.shape) for name, value in (arrays | banks).items()))
        self._forget_replaced(banks)
        if (known := self._bound.get(key)) is not None:
            return known
        kept = len(self._bound) < MAX_GRAPHS
        options = ort.RunOptions()
        options.add_run_config_entry("gpu_graph_id", str(next(self._graph_ids)) if kept and self._capture else NO_GRAPH)
        inputs = {name: self._device.place(array) for name, array in arrays.items()}
        bound = _Bound(self._session.io_binding(), inputs, banks, options)
        for name, value in inputs.items():
            bound.binding.bind_ortvalue_input(name, value)
        for name, bank in banks.items():
            bound.binding.bind_ortvalue_input(name, bank.value)
        if kept:
            self._bound[key] = bound
        return bound

    def _forget_replaced(self, banks: dict[str, DeviceArray]) -> None:
        """A bank that was replaced (by one of a larger rank, say) must not live on in buffers that read it."""
        for key, bound in list(self._bound.items()):
            if any(banks.get(name, bank) is not bank for name, bank in bound.banks.items()):
                del self._bound[key]

    def _outputs_of(self, bound: _Bound) -> dict[str, ort.OrtValue]:
        """Runs. The first time, without a graph, ONNX Runtime allocates the outputs; they are bound where they are."""
        if bound.outputs is not None:
            self._session.run_with_iobinding(bound.binding, bound.options)
            return bound.outputs
        for name in self._outputs:
            bound.binding.bind_output(name, self._device.type, self._device.index)
        eager = ort.RunOptions()
        eager.add_run_config_entry("gpu_graph_id", NO_GRAPH)
        self._session.run_with_iobinding(bound.binding, eager)
        bound.outputs = dict(zip(self._outputs, bound.binding.get_outputs(), strict=True))
        for name, value in bound.outputs.items():
            bound.binding.bind_ortvalue_output(name, value)
        return bound.outputs


def _dtype(name: str, port_type: str) -> type[Any]:
    if port_type not in DTYPES:
        raise BundleInvalid(f"The input {name} is {port_type}; on a device, {', '.join(DTYPES)} are known.")
    return DTYPES[port_type]


def _host(value: ort.OrtValue) -> Array:
    """A copy that the next run does not overwrite."""
    array: Array = np.array(value.numpy())
    return array.astype(np.float32) if array.dtype == np.float16 else array
