"""Everything up to TensorRT's own call: which engines, for which key, with which options, and what is refused.

ONNX Runtime's CPU provider stands in at that call: "building" copies the graph to where the engine is expected.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from bowerbird.contracts import MAX_LORAS, Size
from bowerbird.engine.backend import Array, BackendFailed, Input
from bowerbird.engine.backends.binding import DeviceArray
from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.engine.backends.onnx_runtime import Provider
from bowerbird.engine.backends.tensorrt import Machine, TensorrtBackend
from bowerbird.engine.backends.tensorrt_profiles import RANKS, ROWS, TENSORRT, Profile, profiles_of, providers_for
from bowerbird.engine.bundle import Bundle, Manifest, Port
from bowerbird.errors import BundleInvalid

from .host_device import Host
from .test_cpu import FEATURES, LAYERS, rows
from .tiny_bundle import Tiny, write_tiny_bundle

SLOTS = 2
FACTS = {"runtime": "ONNX Runtime 1.31.1", "tensorrt": "101400", "gpu": "sm_90"}


class Provided:
    """Stands in for TensorRT's provider; notes the options it was opened with."""

    def __init__(self) -> None:
        self.opened: list[dict[str, str]] = []
        self.takes_the_graph = True

    def open(self, graph: Path, options: ort.SessionOptions, providers: Sequence[Provider]) -> ort.InferenceSession:
        assert [name for name, _ in providers] == [TENSORRT, "CUDAExecutionProvider"]
        assert options.get_session_config_entry("session.disable_cpu_ep_fallback") == "1"
        facts = dict(providers[0][1])
        self.opened.append(facts)
        context = facts.get("trt_ep_context_file_path")
        if context is None:
            return ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
        if self.takes_the_graph:
            shutil.copy(graph, context)
            shutil.copy(graph.parent / "weights.safetensors", Path(context).parent)
        return None

    @property
    def built(self) -> list[str]:
        return [each["trt_profile_opt_shapes"] for each in self.opened if "trt_ep_context_file_path" in each]


@pytest.fixture
def provided() -> Provided:
    return Provided()


@pytest.fixture(scope="session")
def with_lora(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "lora", Tiny(lora=True))


def backend(cache: Path, provided: Provided, **facts: str) -> TensorrtBackend:
    machine = Machine(Host(), FACTS | facts, 2**30, provided.open)
    return TensorrtBackend(cache=cache, lora_slots=SLOTS, machine=machine)


def silent(words: str) -> None:
    """Nobody listens."""


def with_free_size(manifest: Manifest) -> Manifest:
    """Two sizes, and graphs that leave theirs free, as the compiler names it."""
    parts = dict(manifest.parts)
    for role in ("denoiser", "decoder"):
        first, *others = parts[role].inputs
        free = Port(name=first.name, dtype=first.dtype, shape=[*first.shape[:2], "height", "width"])
        parts[role] = parts[role].model_copy(update={"inputs": [free, *others]})
    assert manifest.drawing is not None
    sizes = [Size(width=16, height=16), Size(width=32, height=16)]
    return manifest.model_copy(update={"parts": parts, "drawing": manifest.drawing.model_copy(update={"sizes": sizes})})


def test_a_profile_names_every_input(bundle: Bundle) -> None:
    (first, *_) = profiles_of(bundle.manifest, "denoiser", SLOTS)
    assert str(first) == "sample:1x4x8x8,timestep:1,states:1x8x4"


def test_the_denoiser_has_an_engine_for_each_batch_and_size_and_the_others_for_one_row(bundle: Bundle) -> None:
    manifest = with_free_size(bundle.manifest)
    shapes = [dict(profile.shapes)["sample"] for profile in profiles_of(manifest, "denoiser", SLOTS)]
    assert shapes == [(count, 4, 8, width) for count in ROWS for width in (8, 16)]
    assert [str(profile) for profile in profiles_of(manifest, "decoder", SLOTS)] == [
        "latents:1x4x8x8",
        "latents:1x4x8x16",
    ]
    assert [str(profile) for profile in profiles_of(manifest, "text_encoder", SLOTS)] == ["token_ids:1x8"]


def test_lora_banks_have_all_slots_and_one_of_two_ranks(with_lora: Bundle) -> None:
    profiles = [dict(profile.shapes) for profile in profiles_of(with_lora.manifest, "denoiser_lora", SLOTS)]
    assert {each["lora_slots"][1] for each in profiles} == {MAX_LORAS}
    assert {each["lora_4x4_down"] for each in profiles} == {(SLOTS + 1, LAYERS, rank, FEATURES) for rank in RANKS}
    assert len(profiles) == len(ROWS) * len(RANKS)


def test_a_dimension_that_nobody_can_number_is_refused(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "free", Tiny(more_sides=(32,)))
    with pytest.raises(BundleInvalid, match=r"denoiser leaves side, side of sample free"):
        profiles_of(bundle.manifest, "denoiser", SLOTS)


def test_an_engine_is_good_for_exactly_one_shape() -> None:
    (name, options), _ = providers_for(Profile((("x", (2, 3)),)), timing="t", capture=True, context=None)
    assert name == TENSORRT
    assert {options[f"trt_profile_{each}_shapes"] for each in ("min", "opt", "max")} == {"x:2x3"}
    assert options["trt_cuda_graph_enable"] == "1"
    assert "trt_dump_ep_context_model" not in options


def test_engines_are_written_beside_their_context() -> None:
    """ONNX Runtime refuses an absolute path for them."""
    (_, options), _ = providers_for(Profile((("x", (2, 3)),)), timing="t", capture=False, context="/cache/engine.onnx")
    assert options["trt_ep_context_file_path"] == "/cache/engine.onnx"
    assert not Path(options["trt_engine_cache_path"]).is_absolute()


def test_what_was_prepared_is_run(bundle: Bundle, tmp_path: Path, provided: Provided) -> None:
    backend(tmp_path, provided).prepare(bundle, silent)
    session = backend(tmp_path, provided).load(
        bundle.path("denoiser.onnx"), rowwise=True, key=bundle.part_digest("denoiser")
    )
    plain = CpuBackend(1).load(bundle.path("denoiser.onnx"))
    for count in (1, 3, ROWS[-1], ROWS[-1] + 3):
        answer = session.run(rows(count))["output"]
        np.testing.assert_allclose(answer, plain.run(rows(count))["output"], rtol=1e-5, atol=1e-5)


def test_lora_banks_are_run_on_the_engine_of_their_rank(with_lora: Bundle, tmp_path: Path, provided: Provided) -> None:
    ready = backend(tmp_path, provided)
    ready.prepare(with_lora, silent)
    session = ready.load(with_lora.path("denoiser_lora.onnx"), rowwise=True, key=with_lora.part_digest("denoiser_lora"))
    plain = CpuBackend(1).load(with_lora.path("denoiser_lora.onnx"))
    for rank in RANKS:
        banks: dict[str, Array] = {
            "lora_4x4_down": np.ones((SLOTS + 1, LAYERS, rank, FEATURES), np.float32),
            "lora_4x4_up": np.ones((SLOTS + 1, LAYERS, FEATURES, rank), np.float32),
        }
        batch: dict[str, Input] = {
            **rows(3),
            "lora_slots": np.ones((3, MAX_LORAS), np.int64),
            "lora_weights": np.ones((3, MAX_LORAS), np.float32),
        }
        residents = {name: ready.resident(bank) for name, bank in banks.items()}
        assert all(isinstance(bank, DeviceArray) for bank in residents.values())
        answer = session.run(batch | residents)["output"]
        np.testing.assert_allclose(answer, plain.run(batch | banks)["output"], rtol=1e-4)


def test_nothing_is_built_twice(bundle: Bundle, tmp_path: Path, provided: Provided) -> None:
    for _ in range(2):
        backend(tmp_path, provided).prepare(bundle, silent)
    assert len(provided.built) == len(set(provided.built)) == len(ROWS) + 2


def test_each_engine_is_reported_before_its_minutes_begin(bundle: Bundle, tmp_path: Path, provided: Provided) -> None:
    said: list[str] = []
    backend(tmp_path, provided).prepare(bundle, said.append)
    assert "TensorRT engine of denoiser for sample:8x4x8x8,timestep:8,states:8x8x4" in said
    assert len(said) == len(provided.built)


@pytest.mark.parametrize("fact", sorted(FACTS))
def test_an_engine_of_another_machine_is_refused_by_name(
    bundle: Bundle, tmp_path: Path, provided: Provided, fact: str
) -> None:
    backend(tmp_path, provided).prepare(bundle, silent)
    other = backend(tmp_path, provided, **{fact: "other"})
    with pytest.raises(BundleInvalid, match=r"No TensorRT engine of decoder for latents:1x4x8x8 .*bowerbird prepare"):
        other.load(bundle.path("decoder.onnx"), key=bundle.part_digest("decoder"))


def test_an_altered_engine_is_refused(bundle: Bundle, tmp_path: Path, provided: Provided) -> None:
    ready = backend(tmp_path, provided)
    ready.prepare(bundle, silent)
    for engine in tmp_path.rglob("engine.onnx"):
        engine.write_bytes(engine.read_bytes()[:-1] + b"\0")
    with pytest.raises(BundleInvalid, match="No TensorRT engine of decoder"):
        ready.load(bundle.path("decoder.onnx"), key=bundle.part_digest("decoder"))


def test_a_size_that_was_added_to_the_bundle_is_refused_at_load(
    bundle: Bundle, copied: Path, tmp_path: Path, provided: Provided
) -> None:
    ready = backend(tmp_path / "cache", provided)
    ready.prepare(bundle, silent)
    (copied / "bundle.json").write_text(json.dumps(with_free_size(bundle.manifest).model_dump(mode="json")))
    with pytest.raises(BundleInvalid, match="latents:1x4x8x16"):
        ready.load(copied / "decoder.onnx", key=bundle.part_digest("decoder"))


def test_a_shape_that_nothing_was_built_for_is_not_built_in_a_request(
    bundle: Bundle, tmp_path: Path, provided: Provided
) -> None:
    ready = backend(tmp_path, provided)
    ready.prepare(bundle, silent)
    session = ready.load(bundle.path("decoder.onnx"), key=bundle.part_digest("decoder"))
    opened = len(provided.opened)
    with pytest.raises(BackendFailed, match="No engine was built for"):
        session.run({"latents": np.zeros((1, 4, 16, 16), np.float32)})
    assert len(provided.opened) == opened


def test_a_graph_that_tensorrt_does_not_take_is_refused(bundle: Bundle, tmp_path: Path, provided: Provided) -> None:
    provided.takes_the_graph = False
    with pytest.raises(BundleInvalid, match="could not be built and kept"):
        backend(tmp_path, provided).prepare(bundle, silent)


def test_a_graph_without_a_bundle_is_refused(tmp_path: Path, provided: Provided) -> None:
    with pytest.raises(BundleInvalid, match="not part of a bundle"):
        backend(tmp_path, provided).load(tmp_path / "decoder.onnx", key="0" * 64)
