"""What ONNX Runtime packed is mapped, aligned, and computes the same bits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from bowerbird.engine.backend import Array
from bowerbird.engine.backends.onnx_runtime import CPU, open_session, session_options
from bowerbird.engine.backends.prepacked import ALIGNMENT, GRAPH, WEIGHTS, open_prepacked, write_prepacked
from bowerbird.errors import BundleInvalid
from bowerbird.settings import PACKAGED_MODELS

FEATURES = 64


def write_graph(path: Path, table_sizes: Sequence[int]) -> None:
    """Products with packed weights, each scaled by an entry of a table whose size moves what follows out of line."""
    random = np.random.default_rng(0)
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["highest"], keepdims=0),
        helper.make_node("Mul", ["highest", "nothing"], ["first"]),
        helper.make_node("Cast", ["first"], ["index"], to=TensorProto.INT64),
    ]
    initializers, last = [numpy_helper.from_array(np.array(0, np.float32), "nothing")], "x"
    for k, size in enumerate(table_sizes):
        weights = random.standard_normal((FEATURES, FEATURES)).astype(np.float32)
        table = random.standard_normal(size).astype(np.float32)
        initializers += [numpy_helper.from_array(weights, f"weights{k}"), numpy_helper.from_array(table, f"table{k}")]
        nodes += [
            helper.make_node("MatMul", [last, f"weights{k}"], [f"product{k}"]),
            helper.make_node("Gather", [f"table{k}", "index"], [f"scale{k}"]),
            helper.make_node("Mul", [f"product{k}", f"scale{k}"], [f"scaled{k}"]),
        ]
        last = f"scaled{k}"
    nodes.append(helper.make_node("Identity", [last], ["y"]))
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", FEATURES]) for name in "xy")
    graph = helper.make_graph(nodes, "tables", [x], [y], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path.write_bytes(model.SerializeToString())


def places(graph: Path) -> list[int]:
    """Offsets of tensors and of packed weights, as protobuf states them."""
    found = []
    for tensor in onnx.load(graph, load_external_data=False).graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "offset":
                found.append(int(entry.value))
            elif entry.key.startswith("prepacked"):
                found += [int(each.split("|")[1].split(";")[0]) for each in entry.value.split("\n") if each]
    return found


@pytest.mark.parametrize("table_sizes", [[16], [257, 16], [16, 257, 16, 1000, 16]])
def test_packed_weights_are_aligned_and_compute_the_same_bits(tmp_path: Path, table_sizes: list[int]) -> None:
    write_graph(tmp_path / "tables.onnx", table_sizes)
    plain = open_session(tmp_path / "tables.onnx", session_options(1, {}), [CPU])
    (tmp_path / "prepacked").mkdir()
    write_prepacked(tmp_path / "tables.onnx", tmp_path / "prepacked")
    found = places(tmp_path / "prepacked" / GRAPH)
    assert len(found) >= 2 * len(table_sizes)
    assert not [place for place in found if place % ALIGNMENT]
    x: Array = np.random.default_rng(1).standard_normal((3, FEATURES)).astype(np.float32)
    prepacked: ort.InferenceSession = open_prepacked(tmp_path / "prepacked", session_options(1, {}))
    assert np.array_equal(prepacked.run(["y"], {"x": x})[0], plain.run(["y"], {"x": x})[0])


def test_weights_are_in_a_file_of_their_own(tmp_path: Path) -> None:
    write_graph(tmp_path / "tables.onnx", [16] * 4)
    (tmp_path / "prepacked").mkdir()
    write_prepacked(tmp_path / "tables.onnx", tmp_path / "prepacked")
    weights = 4 * FEATURES * FEATURES * 4
    assert (tmp_path / "prepacked" / GRAPH).stat().st_size < weights / 2
    assert (tmp_path / "prepacked" / WEIGHTS).stat().st_size >= weights


def test_a_graph_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "noise.onnx").write_bytes(b"noise")
    with pytest.raises(BundleInvalid, match=r"noise\.onnx"):
        write_prepacked(tmp_path / "noise.onnx", tmp_path)


@pytest.mark.parametrize(
    "graph", sorted(PACKAGED_MODELS.glob("*/*.onnx")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_every_packaged_graph_computes_the_same_bits_when_it_is_prepacked(tmp_path: Path, graph: Path) -> None:
    write_prepacked(graph, tmp_path)
    plain = open_session(graph, session_options(1, {}), [CPU])
    random = np.random.default_rng(0)
    feeds: dict[str, Array] = {}
    for port in plain.get_inputs():
        shape = [1 if isinstance(each, str) else each for each in port.shape]
        highest = 1 if port.name == "lora_slots" else 9  # the banks below have one slot
        ids, floats = random.integers(0, highest, shape), random.standard_normal(shape).astype(np.float32)
        feeds[port.name] = ids if port.type == "tensor(int64)" else floats
    prepacked = open_prepacked(tmp_path, session_options(1, {}))
    for ours, theirs in zip(prepacked.run(None, feeds), plain.run(None, feeds), strict=True):
        assert np.array_equal(ours, theirs)
