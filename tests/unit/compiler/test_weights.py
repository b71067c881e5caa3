"""Graphs without weights compute what they computed with them, from one file under the checkpoint's names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper, numpy_helper

from bowerbird.compiler.checkpoint import CheckpointUnsupported
from bowerbird.compiler.precision import Storage, restored
from bowerbird.compiler.tensor_file import TensorFacts, TensorReader, TensorWriter, write_tensors
from bowerbird.compiler.weights import link, move_constants, refer
from bowerbird.engine.backend import Array
from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.engine.bundle import WEIGHTS, Precision

KEY = "unet.proj.weight"


def random(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def projection(weight: Array, mask: Array) -> onnx.ModelProto:
    """y = (x w) mask, with w a hole as the exporter leaves it: an input."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("MatMul", ["z", "mask"], ["y"])],
        "part",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 32]),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, weight.shape),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", mask.shape[1]])],
        [numpy_helper.from_array(mask, "mask")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.mark.parametrize(
    ("precision", "dtype", "tolerance"),
    [("fp32", "F32", 1e-5), ("fp16", "F16", 1e-5), ("bf16", "BF16", 1e-5), ("int8", "I8", 1e-5)],
)
def test_a_graph_computes_with_exactly_the_rounded_weights(
    tmp_path: Path, precision: Precision, dtype: str, tolerance: float
) -> None:
    weight, mask = random(0, 32, 32), np.tril(np.ones((32, 32), np.float32)) * np.float32(0.37)
    storage = Storage(precision, {KEY})
    graph = projection(weight, mask)
    extras = move_constants(graph, "part")
    refer(graph, {"w": KEY}, storage)
    link(graph, write_tensors(tmp_path / WEIGHTS, storage.stored(KEY, weight) | extras))
    (tmp_path / "part.onnx").write_bytes(graph.SerializeToString())
    assert list(extras) == ["graph.part.mask"]
    assert TensorReader(tmp_path / WEIGHTS).facts[KEY].dtype == dtype
    assert (tmp_path / "part.onnx").stat().st_size < 1024
    x = random(2, 3, 32)
    y = CpuBackend(threads=1).load(tmp_path / "part.onnx").run({"x": x})["y"]
    np.testing.assert_allclose(y, x @ restored(KEY, storage.stored(KEY, weight)) @ mask, rtol=tolerance, atol=1e-4)


def test_two_holes_of_one_tensor_are_filled_from_one_copy(tmp_path: Path) -> None:
    weight = random(0, 32, 32)
    graph = projection(weight, np.eye(32, dtype=np.float32))
    graph.graph.node[1].input[1] = "v"
    graph.graph.input.append(helper.make_tensor_value_info("v", TensorProto.FLOAT, weight.shape))
    storage = Storage("fp16")
    refer(graph, {"w": KEY, "v": KEY}, storage)
    link(graph, write_tensors(tmp_path / WEIGHTS, storage.stored(KEY, weight)))
    (tmp_path / "part.onnx").write_bytes(graph.SerializeToString())
    x, kept = random(2, 3, 32), restored(KEY, storage.stored(KEY, weight))
    y = CpuBackend(threads=1).load(tmp_path / "part.onnx").run({"x": x})["y"]
    np.testing.assert_allclose(y, x @ kept @ kept, rtol=1e-4, atol=1e-3)


@given(
    values=arrays.arrays(
        np.float32, arrays.array_shapes(min_dims=2, max_dims=4, max_side=5), elements=st.floats(-100, 100, width=32)
    )
)
def test_int8_is_never_off_by_more_than_half_a_step_of_its_channel(values: Array) -> None:
    kept = restored("w", Storage("int8", {"w"}).stored("w", values))
    step = np.abs(values).reshape(len(values), -1).max(axis=1) / 127
    off = np.abs(kept - values).reshape(len(values), -1).max(axis=1)
    assert (off <= step * 0.5001 + 1e-30).all()


@pytest.mark.parametrize(("precision", "values"), [("fp16", [1.0, 7e4]), ("bf16", [1.0, np.inf])])
def test_a_weight_that_the_precision_cannot_hold_is_refused_by_name(precision: Precision, values: list[float]) -> None:
    with pytest.raises(CheckpointUnsupported, match=rf"^unet\.big holds values that {precision} cannot keep"):
        Storage(precision).stored("unet.big", np.array(values, np.float32))


def test_integers_are_stored_as_they_are() -> None:
    positions = np.arange(77)
    assert Storage("int8").stored("text_encoder.position_ids", positions)["text_encoder.position_ids"] is positions


def test_a_file_is_what_safetensors_reads(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    tensors = {"b": random(0, 3, 5), "a": np.arange(7), "c": random(1, 2).astype(np.float16), "none": random(2, 0, 4)}
    spans = write_tensors(tmp_path / "file.safetensors", tensors, {"format": "pt"})
    loaded = load_file(tmp_path / "file.safetensors")
    reader = TensorReader(tmp_path / "file.safetensors")
    assert set(loaded) == set(reader.facts) == set(tensors)
    assert reader.spans == spans
    for name, value in tensors.items():
        np.testing.assert_array_equal(loaded[name], value)
        np.testing.assert_array_equal(reader.read(name), value)


def test_a_tensor_that_was_forgotten_or_is_another_is_told(tmp_path: Path) -> None:
    facts = {"a": TensorFacts("F32", (2,)), "b": TensorFacts("F32", (2,))}
    with (
        pytest.raises(ValueError, match="1 tensors were not written, such as b"),
        TensorWriter(tmp_path / "file", facts) as writer,
    ):
        writer.write("a", random(0, 2))
    with pytest.raises(ValueError, match="was stated"), TensorWriter(tmp_path / "file", facts) as writer:
        writer.write("a", random(0, 3))
