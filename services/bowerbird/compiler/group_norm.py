"""Group normalisation in nodes that ONNX Runtime has kernels for.

`export` calls it for every graph. ONNX has one operator for it (GroupNormalization, opset 21), but ONNX Runtime 1.31
has a kernel for that on no provider of ours: when it loads a graph it writes the operator out as its definition, twenty
nodes that each walk over the whole tensor. InstanceNormalization has one nearly everywhere, and over a tensor whose
groups are its channels it is the same (Wu and He, "Group Normalization", 2018, figure 2).

*Measured*, fledgling's denoiser on the CPU: 8 % less of a step, and half of what loading a graph takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

OPERATOR = "GroupNormalization"
EPSILON = 1e-5
"""The operator's own default."""


def write_out_group_norms(graph: onnx.ModelProto) -> None:
    """Replaces every GroupNormalization in the graph itself; `[N, C, …]`, the sides may be free.

    The graph must say how many dimensions each value has, as the exporter's does.
    """
    values = (*graph.graph.input, *graph.graph.value_info, *graph.graph.output)
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in values}
    nodes: list[NodeProto] = []
    for node in graph.graph.node:
        nodes += _written_out(graph.graph, node, ranks) if node.op_type == OPERATOR else [node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)


def _written_out(graph: onnx.GraphProto, node: NodeProto, ranks: Mapping[str, int]) -> list[NodeProto]:
    """Normalised by group, then scaled and shifted by channel."""
    facts = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    groups, epsilon = facts["num_groups"], facts.get("epsilon", EPSILON)
    value, scale, shift = node.input
    name = node.output[0]

    def constant(what: str, array: NDArray[Any]) -> str:
        graph.initializer.append(numpy_helper.from_array(array, f"{name}.{what}"))
        return f"{name}.{what}"

    by_group = constant("by_group", np.array([0, groups, -1], np.int64))
    by_channel = constant("by_channel", np.array([1, -1, *[1] * (ranks[value] - 2)], np.int64))
    one, zero = constant("one", np.ones(groups, np.float32)), constant("zero", np.zeros(groups, np.float32))
    return [
        helper.make_node("Shape", [value], [f"{name}.shape"]),
        helper.make_node("Reshape", [value, by_group], [f"{name}.groups"]),
        helper.make_node(
            "InstanceNormalization", [f"{name}.groups", one, zero], [f"{name}.normal_groups"], epsilon=epsilon
        ),
        helper.make_node("Reshape", [f"{name}.normal_groups", f"{name}.shape"], [f"{name}.normal"]),
        helper.make_node("Reshape", [scale, by_channel], [f"{name}.scale"]),
        helper.make_node("Reshape", [shift, by_channel], [f"{name}.shift"]),
        helper.make_node("Mul", [f"{name}.normal", f"{name}.scale"], [f"{name}.scaled"]),
        helper.make_node("Add", [f"{name}.scaled", f"{name}.shift"], [name]),
    ]
