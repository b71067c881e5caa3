"""The same UNet through ONNX Runtime's CUDA provider: bound to fixed addresses, captured as a CUDA graph.

This is how the engine's `cuda` backend runs. Its wheel weighs 256 MB and is not everywhere; where it is missing the row
says so. On a CPU the same lines run through the CPU provider, to show that they work.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu.meter import Meter
from benchmarks.gpu.painter import Model
from benchmarks.gpu.unet import UNet

PROVIDERS = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}
EXPORT_SECONDS = 150.0


def step_seconds(model: Model, inputs: dict[str, Tensor], meter: Meter) -> float:
    """Median seconds of one call; raises ImportError or RuntimeError naming what is missing."""
    import onnxruntime as ort

    provider = PROVIDERS[model.device]
    if provider not in ort.get_available_providers():
        raise RuntimeError(f"onnxruntime {ort.__version__} here has no {provider}")
    if model.device == "cuda" and meter.seconds_left < EXPORT_SECONDS:
        raise RuntimeError("no time left to export it")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "denoiser.onnx"
        _export(model, inputs, path)
        options = {"enable_cuda_graph": "1"} if model.device == "cuda" else {}
        session = ort.InferenceSession(path, providers=[(provider, options)], enable_fallback=0)
    if provider not in session.get_providers():  # its libraries are missing: it warns, and would measure the CPU
        raise RuntimeError(f"onnxruntime {ort.__version__} could not start {provider}")
    binding = session.io_binding()
    for name, tensor in inputs.items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(_host(tensor), model.device, 0))
    empty = ort.OrtValue.ortvalue_from_shape_and_type(
        list(inputs["sample"].shape), _host(inputs["sample"]).dtype.type, model.device, 0
    )
    binding.bind_ortvalue_output("output", empty)
    return meter.median(lambda: session.run_with_iobinding(binding))


def _export(model: Model, inputs: dict[str, Tensor], path: Path) -> None:
    """fp16 on a GPU (ONNX Runtime's CUDA kernels know it better than bfloat16), fp32 on a CPU."""
    model.compile_blocks(False)
    unet = model.part(UNet)
    try:
        if model.device == "cuda":
            unet.half()
        arguments = tuple(torch.from_numpy(_host(each)).to(model.device) for each in inputs.values())
        torch.onnx.export(
            unet, arguments, path, input_names=list(inputs), output_names=["output"], dynamo=True, opset_version=23,
            external_data=True, verbose=False,
        )  # fmt: skip
    finally:
        unet.to(model.dtype)


def _host(tensor: Tensor) -> np.ndarray:
    """In host memory; bfloat16, which NumPy does not know, as fp16."""
    values = tensor.half() if tensor.dtype == torch.bfloat16 else tensor
    return np.ascontiguousarray(values.cpu().numpy())
