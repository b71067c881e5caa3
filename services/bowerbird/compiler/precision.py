"""How weights are kept, and what keeping them so costs.

    fp16   half the bytes; what most checkpoints are published in                    (the default)
    bf16   half the bytes, fp32's range, three bits less than fp16
    fp32   as they were trained
    int8   a quarter: matrices and convolutions as int8 with one scale per output channel, the rest as fp16

Graphs compute in float32 whatever the weights are kept in (`halving` makes others, for GPUs): a Cast, and for int8 a
Mul, stands behind each weight, which a runtime folds at load or has kernels for. It is no DequantizeLinear: ONNX
Runtime 1.31 takes that before a MatMul for leave to round the activations to int8 as well, which costs 0.6 % of an
answer (*measured*) that nobody offered. int8 is symmetric (no zero point), rounded to nearest: Jacob et al.,
"Quantization and training of neural networks for efficient integer-arithmetic-only inference", 2018. Torch-free.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from bowerbird.compiler.checkpoint import CheckpointUnsupported
from bowerbird.compiler.tensor_file import TensorFacts
from bowerbird.engine.bundle import Precision

Arrays = dict[str, NDArray[Any]]
SCALE = ".scale"
FLOATS: dict[str, str] = {"fp16": "F16", "bf16": "BF16", "fp32": "F32", "int8": "F16"}


@dataclass(frozen=True, slots=True)
class Storage:
    """How one component's tensors are kept: its precision, and the keys that int8 quantises."""

    precision: Precision
    quantised: Collection[str] = ()

    def dtype(self, key: str) -> str:
        """The type, by safetensors' name, of a float tensor."""
        return "I8" if self.precision == "int8" and key in self.quantised else FLOATS[self.precision]

    def facts(self, key: str, tensor: TensorFacts) -> dict[str, TensorFacts]:
        """What the file will hold for a tensor: itself, and its scales where it is quantised."""
        if tensor.dtype not in FLOATS.values():
            return {key: tensor}
        facts = {key: TensorFacts(self.dtype(key), tensor.shape)}
        if facts[key].dtype == "I8":
            facts[key + SCALE] = TensorFacts("F32", _scale_shape(tensor.shape))
        return facts

    def stored(self, key: str, array: NDArray[Any]) -> Arrays:
        """The tensors of `facts`; raises CheckpointUnsupported when a value is not finite in this precision."""
        if array.dtype not in (np.float16, np.float32, ml_dtypes.bfloat16):
            return {key: array}
        values = array.astype(np.float32, copy=False)
        if self.dtype(key) == "I8":
            return _quantised(key, values)
        with np.errstate(over="ignore"):
            kept = values.astype({"F16": np.float16, "BF16": ml_dtypes.bfloat16, "F32": np.float32}[self.dtype(key)])
        if not np.isfinite(kept).all():
            raise CheckpointUnsupported(
                f"{key} holds values that {self.precision} cannot keep (largest {np.abs(values).max():.3g}); "
                "try --precision bf16 or fp32."
            )
        return {key: kept}


def restored(key: str, stored: Arrays) -> NDArray[Any]:
    """The tensor of `stored`, floats as the float32 that a graph will compute with."""
    kept = stored[key]
    if kept.dtype == np.int8:
        return kept.astype(np.float32) * stored[key + SCALE]
    return kept.astype(np.float32) if kept.dtype in (np.float16, ml_dtypes.bfloat16) else kept


def _quantised(key: str, values: NDArray[np.float32]) -> Arrays:
    """Each output channel in steps of its largest magnitude / 127; a channel of (nearly) zeros has scale 1."""
    if not np.isfinite(values).all():
        raise CheckpointUnsupported(f"{key} holds values that are not finite.")
    step = np.abs(values).reshape(len(values), -1).max(axis=1) / 127
    is_normal = step >= np.finfo(np.float32).tiny  # below, a float has too few digits to divide by
    scale = np.where(is_normal, step, 1).astype(np.float32).reshape(_scale_shape(values.shape))
    steps = np.rint(values / scale)
    return {key: np.clip(steps, -127, 127).astype(np.int8), key + SCALE: scale}


def _scale_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:1] + (1,) * (len(shape) - 1)
