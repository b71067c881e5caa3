"""A part computed in fp16: the same ports and weights, float32 where fp16 would spoil it, and as near as it must be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from bowerbird.compiler.halving import emulated, halved
from bowerbird.contracts import DrawRequest
from bowerbird.engine.backend import Array, Session
from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.engine.drawing import Engine, Frame

from ..engine.half_backend import HalfBackend
from ..engine.test_company import Mate, latents, psnr_db
from .conftest import Compile, Compiled

pytestmark = pytest.mark.timeout(900)  # exporting is half a minute of one core

FREQUENCY = np.array([0.731], np.float32)


def small_graph(extra: Sequence[NodeProto] = (), big: float = 1.0) -> onnx.ModelProto:
    """sin(timestep x f) moves the sample, which is mixed by a matrix kept in fp16 and multiplied by `big` twice."""
    matrix = numpy_helper.from_array(np.eye(4, dtype=np.float16), "stored")
    constants = [
        numpy_helper.from_array(FREQUENCY, "frequency"),
        numpy_helper.from_array(np.array(big, np.float32), "big"),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
    ]
    nodes = [
        helper.make_node("Cast", ["stored"], ["matrix"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["timestep", "frequency"], ["angle"]),
        helper.make_node("Sin", ["angle"], ["wave"]),
        helper.make_node("Cos", ["angle"], ["other_wave"]),
        helper.make_node("Add", ["wave", "other_wave"], ["time"]),
        helper.make_node("Unsqueeze", ["time", "axis"], ["time_column"]),
        helper.make_node("MatMul", ["sample", "matrix"], ["mixed"]),
        helper.make_node("Mul", ["mixed", "big"], ["larger"]),
        helper.make_node("Mul", ["larger", "big"], ["largest"]),
        helper.make_node("Add", ["largest", "time_column"], ["output"]),
        *extra,
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [_port("sample", "batch", 4), _port("timestep", "batch")],
        [_port("output", "batch", 4)],
        [matrix, *constants],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)


def _port(name: str, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def asked(rows: int = 3) -> dict[str, Array]:
    random = np.random.default_rng(1)
    return {
        "sample": random.standard_normal((rows, 4)).astype(np.float32),
        "timestep": np.array([999.5, 500.25, 1.0], np.float32)[:rows],
    }


def answers(graph: onnx.ModelProto, inputs: dict[str, Array]) -> list[Array]:
    with np.errstate(over="ignore", invalid="ignore"):
        found = ReferenceEvaluator(graph).run(None, inputs)
    assert isinstance(found, list)
    return found


def answer(graph: onnx.ModelProto, inputs: dict[str, Array]) -> Array:
    return answers(graph, inputs)[0]


def test_ports_stay_and_matrices_are_read_as_they_are_kept() -> None:
    graph, half = small_graph(), halved(small_graph())
    onnx.checker.check_model(half, full_check=True)
    assert list(half.graph.input) == list(graph.graph.input)
    assert list(half.graph.output) == list(graph.graph.output)
    (matmul,) = (node for node in half.graph.node if node.op_type == "MatMul")
    assert matmul.input[1] == "stored"


def test_angles_are_not_rounded() -> None:
    exact, half = (answer(graph, asked()) for graph in (small_graph(), halved(small_graph())))
    assert half.dtype == np.float32
    assert np.abs(half - exact).max() < 4e-3  # an angle of 730 is off by 0.25 in fp16


def test_what_overflows_in_fp16_is_seen_before_a_gpu_sees_it() -> None:
    assert np.isfinite(answer(small_graph(big=1000), asked())).all()
    for make in (halved, emulated):
        assert not np.isfinite(answer(make(small_graph(big=1000)), asked())).all()


def test_the_emulation_rounds_as_fp16_does() -> None:
    graph = small_graph(big=1.1)
    exact, half, like_half = (answer(each, asked()) for each in (graph, halved(graph), emulated(graph)))
    assert np.array_equal(half, like_half)
    assert not np.array_equal(half, exact)


def test_an_output_may_be_read_inside_of_the_graph_too() -> None:
    read_again = [helper.make_node("Relu", ["output"], ["positive"])]
    graph = small_graph(read_again)
    graph.graph.output.append(_port("positive", "batch", 4))
    half = halved(graph)
    onnx.checker.check_model(half, full_check=True)
    outputs = answers(half, asked())
    assert np.array_equal(np.maximum(outputs[0], 0), outputs[1])


@pytest.fixture(scope="module")
def compiled(checkpoint_folder: Path, tmp_path_factory: pytest.TempPathFactory, compile_folder: Compile) -> Compiled:
    return compile_folder(checkpoint_folder, tmp_path_factory.mktemp("half") / "bundle", lora=True, half=True)


@pytest.fixture(scope="module")
def half(compiled: Compiled) -> Engine:
    return Engine(compiled.bundle, HalfBackend(efficient_rows=8))


class TestCompiled:
    """A whole checkpoint, compiled for a GPU that is not here."""

    def test_the_bundle_has_both_graphs_and_says_how_near_the_second_is(self, compiled: Compiled) -> None:
        manifest = compiled.bundle.manifest
        halves = {role for role, part in manifest.parts.items() if part.half is not None}
        assert halves == {"denoiser", "denoiser_lora", "decoder"}
        assert set(manifest.half_parity) == halves
        for facts in manifest.half_parity.values():
            assert 99 > facts.psnr_db >= facts.tolerance_db == 30
        names = {path.name for path in compiled.bundle.folder.iterdir()}
        assert "emulated.onnx" not in names
        assert names == {*manifest.files, "bundle.json"}

    def test_matrices_of_the_denoiser_are_multiplied_in_fp16(self, compiled: Compiled) -> None:
        path = compiled.bundle.graph("denoiser", half=True)
        graph = onnx.load(path, load_external_data=False)
        stored = {each.name for each in graph.graph.initializer if each.data_type == TensorProto.FLOAT16}
        products = [node for node in graph.graph.node if node.op_type in ("Conv", "Gemm")]
        assert products
        assert all(node.input[1] in stored for node in products)
        onnx.checker.check_model(str(path))

    def test_a_backend_for_nvidia_is_given_them_and_draws_the_same(self, compiled: Compiled) -> None:
        plain, nvidia = CpuBackend(threads=1), LikeCuda()
        size = compiled.bundle.drawing.sizes[0]
        request = DrawRequest(prompt="a red bird", size=size, steps=4, guidance_scale=2.0, seed=7, count=1)
        pictures = []
        for backend in (plain, nvidia):
            engine = Engine(compiled.bundle, backend)
            pictures += [
                each.pixels.astype(int) for each in engine.draw(engine.order(request)) if isinstance(each, Frame)
            ]
        assert "denoiser_fp16.onnx" in nvidia.loaded
        assert "text_encoder.onnx" in nvidia.loaded
        assert 0 < np.abs(pictures[0] - pictures[1]).max() <= 3

    @settings(max_examples=8, deadline=None)
    @given(seed=st.integers(0, 2**32), scale=st.sampled_from([1.0, 2.0, 7.5]), others=st.integers(1, 5))
    def test_in_company_it_draws_the_same_to_35_db(self, half: Engine, seed: int, scale: float, others: int) -> None:
        """An exported UNet with attention and group norms, rounded after every node; requests join at every turn."""
        size = half.facts.sizes[0]
        request = DrawRequest(prompt="a red bird", size=size, steps=6, guidance_scale=scale, seed=seed, count=1)
        mates = [Mate(request.model_copy(update={"seed": 1 + each}), each, 60, "b") for each in range(others)]
        pictures = [half.decoder.frame(latents(half, request, company)[0]) for company in (mates, [])]
        assert psnr_db(*pictures) >= 35

    def test_other_bundles_are_loaded_as_they_are(self, compiled: Compiled) -> None:
        assert compiled.bundle.graph("text_encoder", half=True) == compiled.bundle.graph("text_encoder")


class LikeCuda(CpuBackend):
    """Has the name of the backend for NVIDIA, and notes what it is given."""

    name = "cuda"

    def __init__(self) -> None:
        super().__init__(threads=1)
        self.loaded: list[str] = []

    def load(self, graph: Path, *, rowwise: bool = False, key: str | None = None) -> Session:
        self.loaded.append(graph.name)
        return super().load(graph, rowwise=rowwise, key=key)
