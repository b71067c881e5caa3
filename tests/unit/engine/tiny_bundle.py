"""A text-to-image bundle small enough to be written by hand in a test, and real enough for ONNX Runtime to draw with.

Its graphs have the ports of real ones and mix all their inputs: the denoiser is a convolution of the sample, moved by
the prompt's hidden states and by the time; the decoder enlarges twice. Weights travel as in every bundle: fp16 in
`weights.safetensors`, referenced by offset.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from bowerbird.compiler.weights import as_stored, detach, link, write_weights
from bowerbird.compiler.writing import Staging
from bowerbird.contracts import Size
from bowerbird.engine.backend import Array
from bowerbird.engine.bundle import (
    SAMPLERS,
    TOKENIZER,
    WEIGHTS,
    Bundle,
    DrawingFacts,
    LatentFacts,
    Manifest,
    PartFacts,
    Port,
    TokenizerFacts,
)
from bowerbird.engine.sampler import SamplerRecord

WORDS = ("<pad>", "<unk>", "<begin>", "<end>", "a", "small", "red", "blue", "bird", "branch")
LENGTH, WIDTH, CHANNELS, DOWNSCALE = 8, 4, 4, 2
MAX_STEPS = 8


@dataclass(frozen=True)
class Tiny:
    """What can be varied: `hidden` channels make a step slower, `gain` of 1e30 makes it overflow."""

    side: int = 16
    hidden: int = 8
    gain: float = 1.0
    max_steps: int = MAX_STEPS


def write_tiny_bundle(folder: Path, tiny: Tiny = Tiny()) -> Bundle:
    """Writes the bundle into `folder`, which must not exist."""
    staging = Staging(folder)
    graphs = {"text_encoder": _text_encoder(), "denoiser": _denoiser(tiny), "decoder": _decoder(tiny)}
    tensors: dict[str, Array] = {}
    for role, graph in graphs.items():
        state = {f"{role}.{each.name}": numpy_helper.to_array(each) for each in graph.graph.initializer}
        tensors |= {name: as_stored(name, value) for name, value in state.items()}
        tensors |= detach(graph, role, state)
    spans = write_weights(staging.folder / WEIGHTS, tensors)
    for role, graph in graphs.items():
        link(graph, spans)
        (staging.folder / f"{role}.onnx").write_bytes(graph.SerializeToString())
    _write_tokenizer(staging.folder / TOKENIZER)
    (staging.folder / SAMPLERS).write_text(
        json.dumps({steps: table(steps).model_dump() for steps in range(1, tiny.max_steps + 1)})
    )
    return staging.seal(_manifest(staging, graphs, tiny))


def table(steps: int) -> SamplerRecord:
    """A made-up sampler of one latent that adds noise in every call but the last."""
    return SamplerRecord(
        initial=[2.0],
        timesteps=[1000 * (1 - call / steps) for call in range(steps)],
        input_scale=[1 / (1 + (steps - call) / steps) for call in range(steps)],
        state=[[[1 - 0.5 / (steps - call)]] for call in range(steps)],
        output=[[-0.5 / steps]] * steps,
        noise=[[0.1]] * (steps - 1) + [[0.0]],
    )


def _text_encoder() -> onnx.ModelProto:
    words = _random(0, len(WORDS), WIDTH)
    nodes = [helper.make_node("Gather", ["words", "token_ids"], ["states"])]
    ports = [_port("token_ids", TensorProto.INT64, "batch", LENGTH)], [_port("states", 1, "batch", LENGTH, WIDTH)]
    return _model(nodes, ports, {"words": words})


def _denoiser(tiny: Tiny) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Conv", ["sample", "first"], ["features"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["features", "middle"], ["more"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["more", "last"], ["seen"], pads=[1, 1, 1, 1]),
        helper.make_node("ReduceMean", ["states", "token_axis"], ["asked"], keepdims=0),
        helper.make_node("Mul", ["timestep", "per_timestep"], ["time"]),
        helper.make_node("Unsqueeze", ["time", "last_axis"], ["time_column"]),
        helper.make_node("Mul", ["asked", "time_column"], ["pull"]),
        helper.make_node("Unsqueeze", ["pull", "picture_axes"], ["pull_everywhere"]),
        helper.make_node("Add", ["seen", "pull_everywhere"], ["sum"]),
        helper.make_node("Mul", ["sum", "gain"], ["amplified"]),
        helper.make_node("Mul", ["amplified", "gain"], ["output"]),
    ]
    weights: dict[str, Array] = {
        "first": _random(1, tiny.hidden, CHANNELS, 3, 3) / 3,
        "middle": _random(2, tiny.hidden, tiny.hidden, 3, 3) / tiny.hidden,
        "last": _random(3, CHANNELS, tiny.hidden, 3, 3) / 3,
        "gain": np.array(tiny.gain, np.float32),
        "per_timestep": np.array(0.001, np.float32),
        "token_axis": np.array([1], np.int64),
        "last_axis": np.array([1], np.int64),
        "picture_axes": np.array([2, 3], np.int64),
    }
    latent = tiny.side // DOWNSCALE
    taken = [
        _port("sample", 1, "batch", CHANNELS, latent, latent),
        _port("timestep", 1, "batch"),
        _port("states", 1, "batch", LENGTH, WIDTH),
    ]
    return _model(nodes, (taken, [_port("output", 1, "batch", CHANNELS, latent, latent)]), weights)


def _decoder(tiny: Tiny) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Resize", ["latents", "", "scales"], ["large"], mode="nearest"),
        helper.make_node("Conv", ["large", "colours"], ["mixed"]),
        helper.make_node("Tanh", ["mixed"], ["pictures"]),
    ]
    latent = tiny.side // DOWNSCALE
    ports = (
        [_port("latents", 1, "batch", CHANNELS, latent, latent)],
        [_port("pictures", 1, "batch", 3, tiny.side, tiny.side)],
    )
    scales = np.array([1, 1, DOWNSCALE, DOWNSCALE], np.float32)
    return _model(nodes, ports, {"colours": _random(4, 3, CHANNELS, 1, 1), "scales": scales})


def _random(seed: int, *shape: int) -> Array:
    """Normal values that fp16 keeps exactly, so that a bundle's numbers can be computed by hand."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float16).astype(np.float32)


def _port(name: str, dtype: int, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def _model(
    nodes: list[onnx.NodeProto],
    ports: tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]],
    weights: dict[str, Array],
) -> onnx.ModelProto:
    initializers = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "tiny", *ports, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _write_tokenizer(path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(path))


def _manifest(staging: Staging, graphs: dict[str, onnx.ModelProto], tiny: Tiny) -> Manifest:
    def ports(values: list[onnx.ValueInfoProto]) -> list[Port]:
        names = {TensorProto.FLOAT: "float32", TensorProto.INT64: "int64"}
        return [
            Port.model_validate(
                {
                    "name": value.name,
                    "dtype": names[value.type.tensor_type.elem_type],
                    "shape": [each.dim_param or each.dim_value for each in value.type.tensor_type.shape.dim],
                }
            )
            for value in values
        ]

    return Manifest(
        format="bowerbird-bundle-1",
        name="tiny",
        version="1",
        licence="Apache-2.0",
        created=1_763_700_000,
        lineage={"made": "by hand"},
        files=staging.facts(),
        parts={
            role: PartFacts(
                graph=f"{role}.onnx",
                inputs=ports(graph.graph.input),
                outputs=ports(graph.graph.output),
                component=role,
                model_class="Tiny",
            )
            for role, graph in graphs.items()
        },
        configs={role: {} for role in graphs},
        tokenizer=TokenizerFacts(length=LENGTH, begin_id=2, end_id=3, padding_id=0),
        drawing=DrawingFacts(
            sizes=[Size(width=tiny.side, height=tiny.side)],
            latents=LatentFacts(channels=CHANNELS, downscale=DOWNSCALE, scaling_factor=0.5, shift_factor=0.1),
            sampler="Tiny",
            max_steps=tiny.max_steps,
            default_steps=4,
            default_guidance_scale=3,
        ),
        parity={},
        compiled_with={},
    )
