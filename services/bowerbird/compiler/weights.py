"""Graphs give up their weights: one fp16 file holds them all, and every graph references it by offset.

An exported graph carries each weight as an initialiser, some of them transposed or renamed by the exporter's constant
folding. `detach` recognises them by value in the checkpoint's state dict and puts a reference, a Cast to fp32 and,
where needed, a Transpose in their place; ONNX Runtime folds those once at load. So `weights.safetensors` keeps the
state dict's own names (`unet.conv_in.weight`) and both ONNX Runtime and diffusers load from it. What the exporter made
itself (masks, embeddings of positions) stays in the graph when it is small, else it becomes an extra tensor
`graph.<role>.<name>`.

Torch-free: NumPy, onnx and safetensors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from safetensors.numpy import save_file

from bowerbird.compiler.checkpoint import CheckpointUnsupported
from bowerbird.engine.bundle import WEIGHTS

Tensors = Mapping[str, NDArray[Any]]
MAX_INLINE_BYTES = 1024


def detach(graph: onnx.ModelProto, role: str, state: Tensors) -> dict[str, NDArray[Any]]:
    """Replaces the graph's large initialisers, in place, by references to weights; returns the extra tensors.

    `state` is the component's state dict in fp32 under the names it will have in the file. References have no offset
    yet: `link` gives them one.
    """
    known = _by_value(state)
    extras: dict[str, NDArray[Any]] = {}
    kept, references, nodes = [], {}, []
    for initializer in graph.graph.initializer:
        value = numpy_helper.to_array(initializer)
        found = known.get(_digest(value))
        if found is not None:
            key, transposed = found
            references[key] = _reference(key, onnx.TensorProto.FLOAT16, state[key].shape)
            turned = state[key].shape[::-1] if transposed else state[key].shape
            if turned != value.shape:
                kept.append(numpy_helper.from_array(np.array(value.shape, np.int64), f"{initializer.name}.shape"))
            nodes += _restoring(key, initializer.name, transposed, turned != value.shape)
        elif value.nbytes <= MAX_INLINE_BYTES:
            kept.append(initializer)
        else:
            key = f"graph.{role}.{initializer.name}"
            extras[key] = value
            references[key] = _reference(key, initializer.data_type, value.shape)
            nodes.append(helper.make_node("Identity", [key], [initializer.name]))
    del graph.graph.initializer[:]
    graph.graph.initializer.extend([*kept, *references.values()])
    body = list(graph.graph.node)
    del graph.graph.node[:]
    graph.graph.node.extend([*nodes, *body])
    return extras


def as_stored(name: str, value: NDArray[Any]) -> NDArray[Any]:
    """A tensor as the weights file keeps it: floats as fp16; raises CheckpointUnsupported when one does not fit."""
    if not np.issubdtype(value.dtype, np.floating):
        return value
    with np.errstate(over="ignore"):
        stored = value.astype(np.float16)
    if not np.isfinite(stored).all():
        raise CheckpointUnsupported(f"{name} holds values that fp16 cannot keep (largest {np.abs(value).max():.3g}).")
    return stored


def write_weights(path: Path, tensors: Tensors) -> dict[str, tuple[int, int]]:
    """Writes the file; returns (offset from the file's start, length) in bytes of every tensor."""
    save_file({name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}, path)
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(header_bytes))
    start = 8 + header_bytes
    spans = {name: facts["data_offsets"] for name, facts in header.items() if name != "__metadata__"}
    return {name: (start + begin, end - begin) for name, (begin, end) in spans.items()}


def link(graph: onnx.ModelProto, spans: Mapping[str, tuple[int, int]]) -> None:
    """Gives every reference, in place, its offset and length in the weights file."""
    for initializer in graph.graph.initializer:
        if initializer.data_location == onnx.TensorProto.EXTERNAL:
            offset, length = spans[initializer.name]
            del initializer.external_data[:]
            for key, value in (("location", WEIGHTS), ("offset", str(offset)), ("length", str(length))):
                initializer.external_data.add(key=key, value=value)


def _reference(key: str, data_type: int, shape: tuple[int, ...]) -> onnx.TensorProto:
    reference = onnx.TensorProto(name=key, data_type=data_type, dims=shape)
    reference.data_location = onnx.TensorProto.EXTERNAL
    reference.external_data.add(key="location", value=WEIGHTS)
    return reference


def _restoring(key: str, name: str, transposed: bool, reshaped: bool) -> list[onnx.NodeProto]:
    """The nodes that make the initialiser `name` again from the stored tensor `key`."""
    nodes = [helper.make_node("Cast", [key], [f"{name}.stored"], to=onnx.TensorProto.FLOAT)]
    if transposed:
        nodes.append(helper.make_node("Transpose", [nodes[-1].output[0]], [f"{name}.transposed"], perm=[1, 0]))
    if reshaped:
        nodes.append(helper.make_node("Reshape", [nodes[-1].output[0], f"{name}.shape"], [f"{name}.reshaped"]))
    nodes[-1].output[0] = name
    return nodes


def _by_value(state: Tensors) -> dict[str, tuple[str, bool]]:
    """Value digest -> (name, whether transposed); of equal tensors the first name stands for all.

    Dimensions of 1 do not count: the exporter adds a batch of 1 to embeddings of positions.
    """
    known: dict[str, tuple[str, bool]] = {}
    for name, value in state.items():
        if value.dtype == np.float32:
            known.setdefault(_digest(value), (name, False))
    for name, value in state.items():
        if value.dtype == np.float32 and value.ndim == 2:
            known.setdefault(_digest(value.T), (name, True))
    return known


def _digest(value: NDArray[Any]) -> str:
    head = f"{value.dtype}{value.squeeze().shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(value).tobytes()).hexdigest()
