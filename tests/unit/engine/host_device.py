"""The host's memory in a GPU's place, and a session that notes its runs: binding runs for real, only not on a GPU."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime as ort

from bowerbird.engine.backend import Array


class Host:
    """A `binding.Device`; an array that was placed is a copy, as it is on a GPU."""

    type = "cpu"
    index = 0

    def __init__(self) -> None:
        self.placed: list[tuple[int, ...]] = []

    def place(self, array: Array) -> ort.OrtValue:
        self.placed.append(array.shape)
        return ort.OrtValue.ortvalue_from_numpy(np.array(array), self.type, self.index)

    def overwrite(self, address: int, array: Array) -> None:
        ctypes.memmove(address, array.ctypes.data, array.nbytes)


@dataclass
class Run:
    """One run: its graph id, and where its outputs were written."""

    graph_id: str
    outputs: list[int]


@dataclass
class NotingSession:
    """ONNX Runtime's session on the CPU, which ignores graph ids; `fails` makes the next run fail with this text."""

    session: ort.InferenceSession
    runs: list[Run] = field(default_factory=list)
    fails: str | None = None

    def get_inputs(self) -> Any:
        return self.session.get_inputs()

    def get_outputs(self) -> Any:
        return self.session.get_outputs()

    def io_binding(self) -> Any:
        return self.session.io_binding()

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        if self.fails:
            text, self.fails = self.fails, None
            raise RuntimeError(text)
        self.session.run_with_iobinding(binding, options)
        outputs = [value.data_ptr() for value in binding.get_outputs()]
        self.runs.append(Run(options.get_run_config_entry("gpu_graph_id"), outputs))
