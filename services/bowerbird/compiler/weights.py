"""Graphs give up their weights: one file holds them all, and every graph references it by offset.

A graph is exported from a component whose parameters have no values (`export.hollow`), so each parameter is a hole in
it, an input under the parameter's name. `refer` closes a hole with a reference to the state dict's own name
(`unet.conv_in.weight`) and the node that makes float32 of what is kept; ONNX Runtime folds those at load. So both ONNX
Runtime and `restore` read the one `weights.safetensors`. What the exporter made itself (masks, embeddings of positions)
stays in the graph when it is small, else it becomes an extra tensor `graph.<role>.<name>` (`move_constants`).

Torch-free: NumPy and onnx.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bowerbird.compiler.precision import SCALE, Storage
from bowerbird.compiler.tensor_file import Span, TensorFacts
from bowerbird.engine.bundle import WEIGHTS

MAX_INLINE_BYTES = 1024
ONNX_TYPES = {
    "F32": TensorProto.FLOAT, "F16": TensorProto.FLOAT16, "BF16": TensorProto.BFLOAT16, "I8": TensorProto.INT8
}  # fmt: skip


def move_constants(graph: onnx.ModelProto, role: str) -> dict[str, NDArray[Any]]:
    """Replaces the graph's large constants, in place, by references; returns them as `graph.<role>.<name>`."""
    extras: dict[str, NDArray[Any]] = {}
    kept, nodes = [], []
    for initializer in graph.graph.initializer:
        value = numpy_helper.to_array(initializer)
        if value.nbytes <= MAX_INLINE_BYTES:
            kept.append(initializer)
            continue
        key = f"graph.{role}.{initializer.name}"
        extras[key] = value
        kept.append(_reference(key, initializer.data_type, value.shape))
        nodes.append(helper.make_node("Identity", [key], [initializer.name]))
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(kept)
    _put_first(graph, nodes)
    return extras


def refer(graph: onnx.ModelProto, holes: Mapping[str, str], storage: Storage) -> None:
    """Closes the graph's holes (name of an input or initialiser -> key of a float tensor), in place.

    References have no offset yet: `link` gives them one.
    """
    shapes = _shapes(graph)
    _drop(graph, holes)
    references: dict[str, TensorProto] = {}
    nodes = []
    for name, key in holes.items():
        for stored, facts in storage.facts(key, TensorFacts("F32", shapes[name])).items():
            references[stored] = _reference(stored, ONNX_TYPES[facts.dtype], facts.shape)
        nodes += _restoring(name, key, storage.dtype(key))
    graph.graph.initializer.extend(references.values())
    _put_first(graph, nodes)


def link(graph: onnx.ModelProto, spans: Mapping[str, Span]) -> None:
    """Gives every reference, in place, its offset and length in the weights file."""
    for initializer in graph.graph.initializer:
        if initializer.data_location == TensorProto.EXTERNAL:
            offset, length = spans[initializer.name]
            del initializer.external_data[:]
            for key, value in (("location", WEIGHTS), ("offset", str(offset)), ("length", str(length))):
                initializer.external_data.add(key=key, value=value)


def _reference(key: str, data_type: int, shape: tuple[int, ...]) -> TensorProto:
    reference = TensorProto(name=key, data_type=data_type, dims=shape)
    reference.data_location = TensorProto.EXTERNAL
    reference.external_data.add(key="location", value=WEIGHTS)
    return reference


def _restoring(name: str, key: str, dtype: str) -> list[onnx.NodeProto]:
    """The nodes that make float32 `name` of what is kept as `key`."""
    if dtype == "F32":
        return [helper.make_node("Identity", [key], [name])]
    if dtype != "I8":
        return [helper.make_node("Cast", [key], [name], to=TensorProto.FLOAT)]
    steps = f"{name}.steps"
    return [
        helper.make_node("Cast", [key], [steps], to=TensorProto.FLOAT),
        helper.make_node("Mul", [steps, key + SCALE], [name]),
    ]


def _shapes(graph: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    shapes = {each.name: tuple(each.dims) for each in graph.graph.initializer}
    for value in graph.graph.input:
        shapes[value.name] = tuple(each.dim_value for each in value.type.tensor_type.shape.dim)
    return shapes


def _drop(graph: onnx.ModelProto, holes: Mapping[str, str]) -> None:
    for values in (graph.graph.input, graph.graph.initializer):
        kept = [each for each in values if each.name not in holes]
        del values[:]
        values.extend(kept)


def _put_first(graph: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    body = list(graph.graph.node)
    del graph.graph.node[:]
    graph.graph.node.extend([*nodes, *body])
