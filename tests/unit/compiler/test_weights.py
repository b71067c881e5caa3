"""Graphs without weights compute what they computed with them, from one fp16 file under the checkpoint's names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

from bowerbird.compiler.checkpoint import CheckpointUnsupported
from bowerbird.compiler.weights import as_stored, detach, link, write_weights
from bowerbird.engine.backend import Array
from bowerbird.engine.bundle import WEIGHTS
from bowerbird.engine.cpu import CpuBackend


def random(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float16).astype(np.float32)


def written(folder: Path, graph: onnx.ModelProto, state: dict[str, Array]) -> dict[str, Array]:
    """The graph and its weights as a bundle has them; returns the extra tensors."""
    extras = detach(graph, "part", state)
    link(graph, write_weights(folder / WEIGHTS, {key: as_stored(key, value) for key, value in state.items()} | extras))
    (folder / "part.onnx").write_bytes(graph.SerializeToString())
    return extras


def model(nodes: list[onnx.NodeProto], weights: dict[str, Array], width: int) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "part",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", width])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(folder: Path, x: Array) -> Array:
    return CpuBackend(threads=1).load(folder / "part.onnx").run({"x": x})["y"]


def test_renamed_transposed_and_reshaped_weights_are_recognised_by_value(tmp_path: Path) -> None:
    weight, bias = random(0, 16, 32), random(1, 16)
    graph = model(
        [helper.make_node("MatMul", ["x", "val_1"], ["z"]), helper.make_node("Add", ["z", "val_2"], ["y"])],
        {"val_1": np.ascontiguousarray(weight.T), "val_2": bias[None]},
        16,
    )
    extras = written(tmp_path, graph, {"unet.proj.weight": weight, "unet.proj.bias": bias})
    assert extras == {}
    assert {each.name for each in graph.graph.initializer if each.data_location == TensorProto.EXTERNAL} == {
        "unet.proj.weight",
        "unet.proj.bias",
    }
    x = random(2, 3, 32)
    np.testing.assert_allclose(run(tmp_path, x), x @ weight.T + bias, rtol=1e-5, atol=1e-5)


def test_a_graph_keeps_no_large_tensor_and_the_file_holds_the_checkpoints_names(tmp_path: Path) -> None:
    weight, mask = random(0, 32, 32), np.tril(np.ones((32, 32), np.float32)) * 0.37
    graph = model(
        [helper.make_node("MatMul", ["x", "weight"], ["z"]), helper.make_node("MatMul", ["z", "mask"], ["y"])],
        {"weight": weight, "mask": mask},
        32,
    )
    extras = written(tmp_path, graph, {"unet.weight": weight})
    assert list(extras) == ["graph.part.mask"]
    stored = load_file(tmp_path / WEIGHTS)
    assert {name: value.dtype for name, value in stored.items()} == {
        "unet.weight": np.float16,
        "graph.part.mask": np.float32,
    }
    assert (tmp_path / "part.onnx").stat().st_size < 1024
    x = random(2, 3, 32)
    np.testing.assert_allclose(run(tmp_path, x), x @ weight @ mask, rtol=1e-5, atol=1e-5)


def test_small_constants_stay_in_the_graph(tmp_path: Path) -> None:
    graph = model([helper.make_node("Mul", ["x", "half"], ["y"])], {"half": np.array(0.5, np.float32)}, 32)
    assert written(tmp_path, graph, {"unet.unused": random(0, 4)}) == {}
    assert [each.name for each in graph.graph.initializer] == ["half"]
    x = random(2, 3, 32)
    np.testing.assert_allclose(run(tmp_path, x), x / 2)


def test_a_weight_that_fp16_cannot_hold_is_refused_by_name() -> None:
    with pytest.raises(
        CheckpointUnsupported, match=r"^unet\.big holds values that fp16 cannot keep \(largest 7e\+04\)"
    ):
        as_stored("unet.big", np.array([1.0, 7e4], np.float32))


def test_integers_are_stored_as_they_are() -> None:
    positions = np.arange(77)
    assert as_stored("text_encoder.position_ids", positions) is positions
