"""The components of a checkpoint, run by torch behind the engine's own interface: to measure the others against.

An `Engine` opened with it draws the same pictures from the same bundle, with torch's kernels instead of a runtime's:
eager, or compiled (on a GPU `torch.compile` then replays CUDA graphs). For benchmarks, and for a GPU where ONNX
Runtime's wheel cannot be brought. It never serves: the images have no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bowerbird.compiler.checkpoint import Checkpoint
from bowerbird.compiler.families import PREVIEW, family_of
from bowerbird.compiler.loading import load_component
from bowerbird.compiler.lora_graph import lora_part
from bowerbird.compiler.parts import Part, parts_of
from bowerbird.engine.backend import Array, Input
from bowerbird.engine.backends.buckets import ROW_BUCKETS
from bowerbird.engine.backends.runtime_errors import failing_run
from bowerbird.engine.memory import host_memory_bytes
from bowerbird.errors import BackendMissing, BundleInvalid

RUNTIME = f"torch {torch.__version__}"


class TorchArray:
    """A `Resident`, as a tensor."""

    def __init__(self, tensor: torch.Tensor, array: Array) -> None:
        self.tensor = tensor
        self.shape = array.shape
        self.dtype = array.dtype

    def write(self, index: int, array: Array) -> None:
        """See `Resident.write`."""
        self.tensor[index] = torch.from_numpy(array).to(self.tensor)


class TorchSession:
    """One component behind the ports of its part."""

    def __init__(self, part: Part, module: Any, backend: TorchBackend) -> None:
        self._part = part
        self._module = module
        self._backend = backend

    def run(self, inputs: Mapping[str, Input]) -> dict[str, Array]:
        """See `Session.run`; floating outputs are float32."""
        with failing_run(RUNTIME), torch.inference_mode():
            answer = self._module(*(self._backend.tensor(inputs[name]) for name in self._part.inputs))
            tensors = answer if isinstance(answer, tuple) else (answer,)
            return {name: each.float().cpu().numpy() for name, each in zip(self._part.outputs, tensors, strict=True)}


class TorchBackend:
    """Runs `checkpoint`, which must be the one that the bundle was compiled from, on `device` in `dtype`.

    Raises BackendMissing when there is no such device.
    """

    name = "torch"

    def __init__(
        self, checkpoint: Checkpoint, device: str = "cpu", dtype: torch.dtype = torch.float32, *, compiled: bool = False
    ) -> None:
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise BackendMissing(f"{RUNTIME} finds no CUDA device here.")
        self._checkpoint = checkpoint
        self._family = family_of(checkpoint)
        self._device = torch.device(device)
        self._dtype = dtype
        self._compiled = compiled
        on_gpu = self._device.type == "cuda"
        self.efficient_rows = ROW_BUCKETS[-1] if on_gpu else 2
        self.measure_rows = on_gpu
        self.number_bytes = dtype.itemsize
        self.memory_bytes: int = torch.cuda.mem_get_info(self._device)[0] if on_gpu else host_memory_bytes()

    def load(self, graph: Path, *, rowwise: bool = False, key: str | None = None) -> TorchSession:
        """The component that the graph was exported from, told by its name (`<role>.onnx`). See `Backend.load`."""
        component, part = self._part(graph.stem)
        model = load_component(self._checkpoint, component).to(self._device, self._dtype)
        if graph.stem != part.role:
            part, _ = lora_part(part, model)
        module = part.wrap(model).eval()
        if self._compiled:
            # CUDA graphs only for what runs in steps, as in `engine.cuda`.
            mode = "reduce-overhead" if rowwise and self._device.type == "cuda" else None
            module = torch.compile(module, mode=mode)
        return TorchSession(part, module, self)

    def resident(self, array: Array) -> TorchArray:
        """A copy on the device. See `Backend.resident`."""
        return TorchArray(self.tensor(array).clone(), array)

    def tensor(self, value: Input) -> torch.Tensor:
        """On the device; floats in the dtype that is computed in."""
        if isinstance(value, TorchArray):
            return value.tensor
        tensor = torch.from_numpy(value)
        return tensor.to(self._device, self._dtype if tensor.is_floating_point() else tensor.dtype)

    def _part(self, role: str) -> tuple[str, Part]:
        components = [*self._family.components, *([PREVIEW] if self._checkpoint.has(PREVIEW) else [])]
        for component in components:
            for part in parts_of(self._checkpoint, self._family, component):
                if role in (part.role, f"{part.role}_lora"):
                    return component, part
        raise BundleInvalid(f"{self._checkpoint.folder} has nothing that becomes a {role}.")
