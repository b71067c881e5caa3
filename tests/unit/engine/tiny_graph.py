"""What the graphs of a tiny bundle are made of."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from bowerbird.engine.backend import Array


def seen(sample: str, answer: str) -> list[onnx.NodeProto]:
    """Three convolutions: `first`, `middle` and `last` are their weights."""
    return [
        helper.make_node("Conv", [sample, "first"], ["features"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["features", "middle"], ["more"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["more", "last"], [answer], pads=[1, 1, 1, 1]),
    ]


def same(name: str, other: str) -> onnx.NodeProto:
    return helper.make_node("Identity", [name], [other])


def random_weights(seed: int, *shape: int) -> Array:
    """Normal values that fp16 keeps exactly, so that a bundle's numbers can be computed by hand."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float16).astype(np.float32)


def port(name: str, dtype: int, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def model(
    nodes: list[onnx.NodeProto],
    ports: tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]],
    weights: dict[str, Array],
) -> onnx.ModelProto:
    initializers = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "tiny", *ports, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
