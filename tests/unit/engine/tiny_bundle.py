"""A text-to-image bundle small enough to be written by hand in a test, and real enough for ONNX Runtime to draw with.

Its graphs have the ports of real ones and mix all their inputs: the denoiser is a convolution of the sample, moved by
the prompt's hidden states and by the time; the decoder enlarges twice. The one for clips mixes the frames of a window
too. Weights travel as in every bundle: fp16 in
`weights.safetensors`, referenced by offset. `Tiny` says what else there is: a second text encoder, LoRA banks, several
sizes, a tiny decoder for previews.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from bowerbird.compiler.precision import Storage
from bowerbird.compiler.tensor_file import write_tensors
from bowerbird.compiler.weights import link, refer
from bowerbird.compiler.writing import Staging
from bowerbird.contracts import Size
from bowerbird.engine.backend import Array
from bowerbird.engine.bundle import (
    IMAGE_ENCODER,
    MOTION,
    RESIZES,
    SAMPLERS,
    TOKENIZER,
    TOKENIZER_2,
    WEIGHTS,
    Bundle,
    DrawingFacts,
    LatentFacts,
    LinearPreview,
    LoraBank,
    Manifest,
    MotionFacts,
    PartFacts,
    Port,
    TokenizerFacts,
)
from bowerbird.engine.model.sampler import SamplerRecord

from . import tiny_video
from .tiny_graph import model, port, random_weights, same, seen

WORDS = ("<pad>", "<unk>", "<begin>", "<end>", "a", "small", "red", "blue", "bird", "branch")
LENGTH, WIDTH, CHANNELS, DOWNSCALE = 8, 4, 4, 2
WINDOW, OVERLAP, MAX_FRAMES = 4, 2, 12
MAX_STEPS = 8


LORA_MODULES = ("pull.to_q", "pull.to_k")


@dataclass(frozen=True)
class Tiny:
    """What can be varied: `hidden` channels make a step slower, `gain` of 1e30 makes it overflow.

    With `motion` it draws clips; without `stills`, nothing else. With `image` its clips are told a picture and no
    prompt, and it draws nothing else either.
    """

    side: int = 16
    hidden: int = 8
    gain: float = 1.0
    max_steps: int = MAX_STEPS
    more_sides: tuple[int, ...] = ()
    two_encoders: bool = False
    lora: bool = False
    tiny_decoder: bool = False
    encoder: bool = False
    motion: bool = False
    stills: bool = True
    shared_noise: float = 0.0
    max_frames: int = MAX_FRAMES
    image: bool = False

    @property
    def latent_side(self) -> int | str:
        return "side" if self.more_sides else self.side // DOWNSCALE

    @property
    def states_width(self) -> int:
        return 2 * WIDTH if self.two_encoders else WIDTH


def write_tiny_bundle(folder: Path, tiny: Tiny = Tiny()) -> Bundle:
    """Writes the bundle into `folder`, which must not exist."""
    staging = Staging(folder)
    graphs = {role: graph for role, graph in _graphs(tiny) if graph is not None}
    storage = Storage("fp16")
    tensors: dict[str, Array] = {}
    for role, graph in graphs.items():
        state = {each.name: numpy_helper.to_array(each) for each in graph.graph.initializer}
        floats = {name: f"{role}.{name}" for name, value in state.items() if value.dtype == np.float32}
        for name, key in floats.items():
            tensors |= storage.stored(key, state[name])
        refer(graph, floats, storage)
    spans = write_tensors(staging.folder / WEIGHTS, tensors)
    for role, graph in graphs.items():
        link(graph, spans)
        (staging.folder / f"{role}.onnx").write_bytes(graph.SerializeToString())
    if tiny.image:
        write_tensors(staging.folder / RESIZES, tiny_video.resizes(tiny.side, *tiny.more_sides))
    else:
        _write_tokenizer(staging.folder / TOKENIZER)
    if tiny.two_encoders:
        _write_tokenizer(staging.folder / TOKENIZER_2)
    (staging.folder / SAMPLERS).write_text(
        json.dumps({steps: table(steps).model_dump() for steps in range(1, tiny.max_steps + 1)})
    )
    return staging.seal(_manifest(staging, graphs, tiny))


def table(steps: int) -> SamplerRecord:
    """A made-up sampler of one latent that adds noise in every call but the last."""
    levels = [1 - call / steps for call in range(steps)]
    return SamplerRecord(
        initial=[2.0],
        timesteps=[1000 * level for level in levels],
        input_scale=[1 / (1 + (steps - call) / steps) for call in range(steps)],
        state=[[[1 - 0.5 / (steps - call)]] for call in range(steps)],
        output=[[-0.5 / steps]] * steps,
        noise=[[0.1]] * (steps - 1) + [[0.0]],
        clean_sample=[1.0] * steps,
        clean_output=[-level for level in levels],
        noised_sample=[1.0] * steps,
        noised_noise=[2 * level for level in levels],
    )


def _graphs(tiny: Tiny) -> Iterator[tuple[str, onnx.ModelProto | None]]:
    yield "text_encoder", None if tiny.image else _text_encoder(0, pooled=False, lora=False)
    yield IMAGE_ENCODER, tiny_video.image_encoder(WIDTH) if tiny.image else None
    yield "text_encoder_lora", _text_encoder(0, pooled=False, lora=True) if tiny.lora else None
    yield "text_encoder_2", _text_encoder(5, pooled=True, lora=False) if tiny.two_encoders else None
    yield "denoiser", _denoiser(tiny, lora=False) if tiny.stills and not tiny.image else None
    yield MOTION, _motion_denoiser(tiny) if tiny.motion or tiny.image else None
    yield "denoiser_lora", _denoiser(tiny, lora=True) if tiny.lora else None
    together = tiny_video.decoder(CHANNELS, tiny.side // DOWNSCALE, DOWNSCALE) if tiny.image else None
    yield "decoder", together or _decoder(tiny, seed=4)
    yield "encoder", _encoder(tiny) if tiny.encoder or tiny.image else None
    yield "preview", _decoder(tiny, seed=6) if tiny.tiny_decoder else None


def _text_encoder(seed: int, *, pooled: bool, lora: bool) -> onnx.ModelProto:
    nodes = [helper.make_node("Gather", ["words", "token_ids"], ["looked_up" if lora else "states"])]
    taken = [port("token_ids", TensorProto.INT64, "batch", LENGTH)]
    made = [port("states", 1, "batch", LENGTH, WIDTH)]
    weights: dict[str, Array] = {"words": random_weights(seed, len(WORDS), WIDTH)}
    if lora:
        nodes += _lora_nodes("looked_up", 0, "btj", "change")
        nodes.append(helper.make_node("Add", ["looked_up", "change"], ["states"]))
        taken += _lora_ports()
        weights |= _lora_weights()
    if pooled:
        nodes.append(helper.make_node("ReduceMax", ["states", "token_axis"], ["pooled"], keepdims=0))
        made.append(port("pooled", 1, "batch", WIDTH))
        weights["token_axis"] = np.array([1], np.int64)
    return model(nodes, (taken, made), weights)


def _denoiser(tiny: Tiny, *, lora: bool) -> onnx.ModelProto:
    nodes = [
        *seen("sample", "seen"),
        helper.make_node("ReduceMean", ["states", "token_axis"], ["read"], keepdims=0),
        helper.make_node("MatMul", ["read", "pull"], ["wanted"]),
        *_told_of_size(tiny),
        *(_lora_nodes("told", 1, "bj", "change") if lora else []),
        helper.make_node("Add", ["told", "change"], ["asked"]) if lora else same("told", "asked"),
        helper.make_node("Mul", ["timestep", "per_timestep"], ["time"]),
        helper.make_node("Unsqueeze", ["time", "last_axis"], ["time_column"]),
        helper.make_node("Mul", ["asked", "time_column"], ["pull_at_time"]),
        helper.make_node("Unsqueeze", ["pull_at_time", "picture_axes"], ["pull_everywhere"]),
        helper.make_node("Add", ["seen", "pull_everywhere"], ["sum"]),
        helper.make_node("Mul", ["sum", "gain"], ["amplified"]),
        helper.make_node("Mul", ["amplified", "gain"], ["output"]),
    ]
    weights = _denoiser_weights(tiny, CHANNELS) | (_lora_weights() if lora else {})
    latent = ("batch", CHANNELS, tiny.latent_side, tiny.latent_side)
    taken = [
        port("sample", 1, *latent),
        port("timestep", 1, "batch"),
        port("states", 1, "batch", LENGTH, tiny.states_width),
    ]
    if tiny.two_encoders:
        taken += [port("pooled", 1, "batch", WIDTH), port("time_ids", 1, "batch", 6)]
    taken += _lora_ports() if lora else []
    return model(nodes, (taken, [port("output", 1, *latent)]), weights)


def _motion_denoiser(tiny: Tiny) -> onnx.ModelProto:
    """The frames of a window as channels of one picture, so that each is moved by all."""
    frames = [f"frame_{index}" for index in range(WINDOW)]
    answers = [f"answer_{index}" for index in range(WINDOW)]
    nodes = [
        helper.make_node("Split", ["sample"], [f"{each}_alone" for each in frames], axis=1, num_outputs=WINDOW),
        *(helper.make_node("Squeeze", [f"{each}_alone", "frame_axis"], [each]) for each in frames),
        helper.make_node("Concat", frames, ["together"], axis=1),
        *seen("together", "seen"),
        helper.make_node("ReduceMean", ["states", "token_axis"], ["read"], keepdims=0),
        helper.make_node("MatMul", ["read", "pull"], ["wanted"]),
        helper.make_node("Mul", ["timestep", "per_timestep"], ["time"]),
        helper.make_node("Unsqueeze", ["time", "last_axis"], ["time_column"]),
        helper.make_node("Mul", ["wanted", "time_column"], ["pull_at_time"]),
        helper.make_node("Unsqueeze", ["pull_at_time", "picture_axes"], ["pull_everywhere"]),
        helper.make_node("Split", ["seen"], [f"{each}_seen" for each in answers], axis=1, num_outputs=WINDOW),
        *(helper.make_node("Add", [f"{each}_seen", "pull_everywhere"], [f"{each}_sum"]) for each in answers),
        *(node for each in answers for node in _told(tiny, f"{each}_sum", f"{each}_told")),
        *(helper.make_node("Unsqueeze", [f"{each}_told", "frame_axis"], [each]) for each in answers),
        helper.make_node("Concat", answers, ["all"], axis=1),
        helper.make_node("Mul", ["all", "gain"], ["amplified"]),
        helper.make_node("Mul", ["amplified", "gain"], ["output"]),
    ]
    weights = {**_denoiser_weights(tiny, WINDOW * CHANNELS), "frame_axis": np.array([1], np.int64)}
    latents = ("batch", WINDOW, CHANNELS, tiny.latent_side, tiny.latent_side)
    taken = [port("sample", 1, *latents), port("timestep", 1, "batch")]
    taken.append(port("states", 1, "batch", 1 if tiny.image else LENGTH, WIDTH))
    if tiny.image:
        taken += [port("image_latents", 1, "batch", *latents[2:]), port("time_ids", 1, "batch", 3)]
    return model(nodes, (taken, [port("output", 1, *latents)]), weights)


def _told(tiny: Tiny, answer: str, told: str) -> list[onnx.NodeProto]:
    return tiny_video.told_a_picture(answer, told) if tiny.image else [same(answer, told)]


def _denoiser_weights(tiny: Tiny, channels: int) -> dict[str, Array]:
    return {
        "first": random_weights(1, tiny.hidden, channels, 3, 3) / 3,
        "middle": random_weights(2, tiny.hidden, tiny.hidden, 3, 3) / tiny.hidden,
        "last": random_weights(3, channels, tiny.hidden, 3, 3) / 3,
        "pull": np.eye(tiny.states_width, CHANNELS, dtype=np.float32),
        "gain": np.array(tiny.gain, np.float32),
        "per_timestep": np.array(0.001, np.float32),
        "token_axis": np.array([1], np.int64),
        "last_axis": np.array([1], np.int64),
        "picture_axes": np.array([2, 3], np.int64),
    }


def _told_of_size(tiny: Tiny) -> list[onnx.NodeProto]:
    """What Stable Diffusion XL adds to the prompt: its pooled states and the sizes."""
    if not tiny.two_encoders:
        return [same("wanted", "told")]
    return [
        helper.make_node("ReduceMean", ["time_ids", "last_axis"], ["mean_size"], keepdims=1),
        helper.make_node("Mul", ["mean_size", "per_timestep"], ["small_size"]),
        helper.make_node("Add", ["pooled", "small_size"], ["pooled_and_size"]),
        helper.make_node("Add", ["wanted", "pooled_and_size"], ["told"]),
    ]


def _lora_nodes(read: str, layer: int, x: str, change: str) -> list[onnx.NodeProto]:
    """`change` = sum over a row's LoRAs of weight * up(down(read)); `x` are the subscripts of `read`, j its width."""
    h, y = x.replace("j", "lr"), x.replace("j", "o")
    return [
        helper.make_node("Gather", ["lora_4x4_down", "lora_slots"], ["down_layers"]),
        helper.make_node("Gather", ["lora_4x4_up", "lora_slots"], ["up_layers"]),
        helper.make_node("Gather", ["down_layers", f"lora_layer_{layer}"], ["down"], axis=2),
        helper.make_node("Gather", ["up_layers", f"lora_layer_{layer}"], ["up"], axis=2),
        helper.make_node("Einsum", ["down", read], ["inner"], equation=f"blrj,{x}->{h}"),
        helper.make_node("Einsum", ["inner", "lora_weights"], ["weighed"], equation=f"{h},bl->{h}"),
        helper.make_node("Einsum", ["up", "weighed"], [change], equation=f"blor,{h}->{y}"),
    ]


def _lora_ports() -> list[onnx.ValueInfoProto]:
    return [
        port("lora_slots", TensorProto.INT64, "batch", "loras"),
        port("lora_weights", 1, "batch", "loras"),
        port("lora_4x4_down", 1, "slots", len(LORA_MODULES), "rank", WIDTH),
        port("lora_4x4_up", 1, "slots", len(LORA_MODULES), WIDTH, "rank"),
    ]


def _lora_weights() -> dict[str, Array]:
    return {f"lora_layer_{layer}": np.array(layer, np.int64) for layer in range(len(LORA_MODULES))}


def _decoder(tiny: Tiny, seed: int) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Resize", ["latents", "", "scales"], ["large"], mode="nearest"),
        helper.make_node("Conv", ["large", "colours"], ["mixed"]),
        helper.make_node("Tanh", ["mixed"], ["pictures"]),
    ]
    side = "large_side" if tiny.more_sides else tiny.side
    ports = (
        [port("latents", 1, "batch", CHANNELS, tiny.latent_side, tiny.latent_side)],
        [port("pictures", 1, "batch", 3, side, side)],
    )
    scales = np.array([1, 1, DOWNSCALE, DOWNSCALE], np.float32)
    return model(nodes, ports, {"colours": random_weights(seed, 3, CHANNELS, 1, 1), "scales": scales})


def _encoder(tiny: Tiny) -> onnx.ModelProto:
    square = [DOWNSCALE, DOWNSCALE]
    nodes = [
        helper.make_node("AveragePool", ["pictures"], ["small"], kernel_shape=square, strides=square),
        helper.make_node("Conv", ["small", "channels"], ["latents"]),
    ]
    side = "large_side" if tiny.more_sides else tiny.side
    ports = (
        [port("pictures", 1, "batch", 3, side, side)],
        [port("latents", 1, "batch", CHANNELS, tiny.latent_side, tiny.latent_side)],
    )
    return model(nodes, ports, {"channels": random_weights(8, CHANNELS, 3, 1, 1)})


def _write_tokenizer(path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(path))


def _manifest(staging: Staging, graphs: dict[str, onnx.ModelProto], tiny: Tiny) -> Manifest:
    def ports(values: list[onnx.ValueInfoProto]) -> list[Port]:
        names: dict[int, str] = {TensorProto.FLOAT: "float32", TensorProto.INT64: "int64"}
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
        format="bowerbird-bundle-2",
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
        tokenizer=None if tiny.image else _tokenizer_facts(),
        tokenizer_2=_tokenizer_facts() if tiny.two_encoders else None,
        lora={role: [_bank()] for role in ("text_encoder", "denoiser")} if tiny.lora else {},
        drawing=DrawingFacts(
            sizes=[Size(width=side, height=side) for side in (tiny.side, *tiny.more_sides)],
            latents=LatentFacts(channels=CHANNELS, downscale=DOWNSCALE),
            sampler="Tiny",
            max_steps=tiny.max_steps,
            default_steps=4,
            default_guidance_scale=3,
            preview=LinearPreview(scale=1, weights=np.eye(3, CHANNELS).tolist(), bias=[0.0, 0.0, 0.1]),
            size_conditioned=tiny.two_encoders,
            zero_empty_negative=tiny.two_encoders,
            motion=_motion_facts(tiny) if tiny.motion or tiny.image else None,
        ),
        parity={},
        compiled_with={},
    )


def _motion_facts(tiny: Tiny) -> MotionFacts:
    if tiny.image:
        return tiny_video.motion_facts(WINDOW, OVERLAP)
    return MotionFacts(
        window=WINDOW,
        overlap=OVERLAP,
        max_frames=tiny.max_frames,
        frames_per_second=8,
        shared_noise=tiny.shared_noise,
    )


def _tokenizer_facts() -> TokenizerFacts:
    return TokenizerFacts(length=LENGTH, begin_id=2, end_id=3, padding_id=0)


def _bank() -> LoraBank:
    return LoraBank(name="4x4", in_features=WIDTH, out_features=WIDTH, modules=list(LORA_MODULES))
