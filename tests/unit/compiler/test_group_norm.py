"""Group normalisation written out is group normalisation."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from bowerbird.compiler.group_norm import OPERATOR, write_out_group_norms
from bowerbird.engine.backend import Floats


def graph_of(groups: int, scale: Floats, shift: Floats, epsilon: float | None, sides: int = 2) -> onnx.ModelProto:
    node = helper.make_node(OPERATOR, ["x", "scale", "shift"], ["y"], num_groups=groups)
    if epsilon is not None:
        node.attribute.append(helper.make_attribute("epsilon", epsilon))
    free: list[str | int | None] = ["rows", len(scale), *(f"side_{each}" for each in range(sides))]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, free) for name in "xy"]
    weights = [numpy_helper.from_array(scale, "scale"), numpy_helper.from_array(shift, "shift")]
    graph = helper.make_graph([node], "norm", ports[:1], ports[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)


@settings(deadline=None, max_examples=30)
@given(
    groups=st.sampled_from([1, 2, 4, 8]),
    channels_per_group=st.integers(1, 5),
    outside=st.tuples(st.integers(1, 3), st.lists(st.integers(2, 9), min_size=1, max_size=3)),  # in attention, one side
    epsilon=st.sampled_from([None, 1e-6, 1e-5, 0.1]),
    mean=st.sampled_from([0.0, 30.0]),
)
def test_written_out_it_is_what_torch_computes(
    groups: int, channels_per_group: int, outside: tuple[int, list[int]], epsilon: float | None, mean: float
) -> None:
    rows, sides = outside
    channels = groups * channels_per_group
    rng = np.random.default_rng(0)
    scale, shift = rng.standard_normal((2, channels)).astype(np.float32)
    value = (mean + rng.standard_normal((rows, channels, *sides))).astype(np.float32)
    graph = graph_of(groups, scale, shift, epsilon, len(sides))
    write_out_group_norms(graph)
    onnx.checker.check_model(graph, full_check=True)
    assert OPERATOR not in {node.op_type for node in graph.graph.node}
    [answer] = ort.InferenceSession(graph.SerializeToString()).run(None, {"x": value})
    tensors = [torch.from_numpy(each) for each in (value, scale, shift)]
    expected = torch.nn.functional.group_norm(tensors[0], groups, *tensors[1:], eps=epsilon or 1e-5)
    assert answer == pytest.approx(expected.numpy(), rel=1e-3, abs=1e-3)


def test_a_graph_without_one_stays_as_it_is() -> None:
    node = helper.make_node("Neg", ["x"], ["y"])
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy"]
    graph = helper.make_model(helper.make_graph([node], "negative", ports[:1], ports[1:]))
    before = graph.SerializeToString()
    write_out_group_norms(graph)
    assert graph.SerializeToString() == before
