"""Checkpoints to compile and to measure, made from shapes: real weights cannot be downloaded everywhere.

    python -m benchmarks.checkpoints sdxl-turbo DIR      a diffusers folder of the published shapes, seeded weights

The configs are the published ones of each family. Weights are seeded noise of the size that keeps activations near 1,
so that times and memory are those of the real model and pictures are noise. They are written tensor by tensor in fp16,
sharded as diffusers shards: Stable Diffusion XL takes 7 GB of disk and no more than a tensor of memory. The `small`
shapes have every feature of their family and a millionth of its weights; the tests compile them.

CLIP's vocabulary cannot be downloaded either: a byte-level BPE of the same size and the same end tokens stands for it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, processors

MAX_SHARD_BYTES = 5 * 10**9
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
PNDM = {**BETAS, "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1}
EULER = {**BETAS, "timestep_spacing": "leading", "steps_offset": 1, "prediction_type": "epsilon"}
TURBO = {**BETAS, "timestep_spacing": "trailing", "prediction_type": "epsilon"}
CROSS, PLAIN = "CrossAttn{}Block2D", "{}Block2D"
ENCODERS = ("text_encoder", "text_encoder_2", "image_encoder")
CLIP_IMAGES = {
    "image_processor_type": "CLIPImageProcessor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "do_normalize": True,
    "size": {"shortest_edge": 224},
    "crop_size": {"height": 224, "width": 224},
}
"""OpenAI's CLIP, as its preprocessor_config.json has it."""

Config = dict[str, Any]


@dataclass(frozen=True)
class Shape:
    """The configs of one checkpoint; encoders, `preview` and `motion` are absent where the family has none.

    `facts` stand in `model_index.json`, `stated` in `bowerbird.json`.
    """

    pipeline: str
    unet: Config
    vae: Config
    text: Config | None
    scheduler: tuple[str, Config]
    text_2: Config | None = None
    preview: Config | None = None
    facts: Config = field(default_factory=dict)
    unet_class: str = "UNet2DConditionModel"
    vae_class: str = "AutoencoderKL"
    image: Config | None = None
    motion: Config | None = None
    stated: Config = field(default_factory=dict)


def _unet(attention: tuple[bool, ...], **config: Any) -> Config:
    """UNet2DConditionModel's config; `attention` says which levels attend, from the finest on."""
    down = [(CROSS if attends else PLAIN).format("Down") for attends in attention]
    up = [(CROSS if attends else PLAIN).format("Up") for attends in reversed(attention)]
    usual = {"in_channels": 4, "out_channels": 4, "layers_per_block": 2}
    return {**usual, "down_block_types": down, "up_block_types": up, **config}


def _vae(scaling_factor: float, sample_size: int, channels: tuple[int, ...] = (128, 256, 512, 512)) -> Config:
    levels = len(channels)
    return {
        "block_out_channels": channels,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "latent_channels": 4,
        "layers_per_block": 2,
        "sample_size": sample_size,
        "scaling_factor": scaling_factor,
    }


def _clip(width: int, layers: int, heads: int, **more: Any) -> Config:
    usual = {"vocab_size": 49408, "max_position_embeddings": 77, "bos_token_id": 49406, "eos_token_id": 49407}
    return {**usual, "hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers,
            "num_attention_heads": heads, "pad_token_id": 1, "projection_dim": width, **more}  # fmt: skip


def _video(attention: tuple[bool, ...], window: int, **config: Any) -> Config:
    """UNetSpatioTemporalConditionModel's config: it reads noise beside a picture's latents, and three numbers."""
    kinds = [(CROSS if attends else PLAIN).replace("Block2D", "BlockSpatioTemporal") for attends in attention]
    down, up = [kind.format("Down") for kind in kinds], [kind.format("Up") for kind in reversed(kinds)]
    ids = {"projection_class_embeddings_input_dim": 3 * config["addition_time_embed_dim"], "num_frames": window}
    return {"in_channels": 8, "out_channels": 4, "down_block_types": down, "up_block_types": up, **ids, **config}


def _clip_vision(width: int, layers: int, heads: int, **more: Any) -> Config:
    return {"image_size": 224, "hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers,
            "num_attention_heads": heads, "hidden_act": "gelu", **more}  # fmt: skip


SD15 = Shape(
    pipeline="StableDiffusionPipeline",
    unet=_unet((True, True, True, False), block_out_channels=(320, 640, 1280, 1280), attention_head_dim=8,
               cross_attention_dim=768, sample_size=64),
    vae=_vae(0.18215, 512),
    text=_clip(768, 12, 12, hidden_act="quick_gelu"),
    scheduler=("PNDMScheduler", PNDM),
)  # fmt: skip
SD21 = replace(
    SD15,
    unet=_unet((True, True, True, False), block_out_channels=(320, 640, 1280, 1280), attention_head_dim=(5, 10, 20, 20),
               cross_attention_dim=1024, sample_size=96, use_linear_projection=True),
    vae=_vae(0.18215, 768),
    text=_clip(1024, 23, 16, hidden_act="gelu"),
    scheduler=("DDIMScheduler", {**PNDM, "prediction_type": "v_prediction", "clip_sample": False}),
)  # fmt: skip
SDXL = Shape(
    pipeline="StableDiffusionXLPipeline",
    unet=_unet((False, True, True), block_out_channels=(320, 640, 1280), attention_head_dim=(5, 10, 20),
               cross_attention_dim=2048, sample_size=128, use_linear_projection=True,
               transformer_layers_per_block=(1, 2, 10), addition_embed_type="text_time", addition_time_embed_dim=256,
               projection_class_embeddings_input_dim=2816),
    vae=_vae(0.13025, 1024),
    text=_clip(768, 12, 12, hidden_act="quick_gelu"),
    text_2=_clip(1280, 32, 20, hidden_act="gelu"),
    scheduler=("EulerDiscreteScheduler", EULER),
    facts={"force_zeros_for_empty_prompt": True},
)  # fmt: skip
SDXL_TURBO = replace(SDXL, unet={**SDXL.unet, "sample_size": 64}, scheduler=("EulerAncestralDiscreteScheduler", TURBO))
LCM = replace(SD15, unet={**SD15.unet, "time_cond_proj_dim": 256}, scheduler=("LCMScheduler", BETAS))
ANIMATEDIFF = replace(
    SD15,
    pipeline="AnimateDiffPipeline",
    motion={"block_out_channels": (320, 640, 1280, 1280), "motion_layers_per_block": 2, "motion_num_attention_heads": 8,
            "motion_norm_num_groups": 32, "motion_max_seq_length": 32, "use_motion_mid_block": False},
    scheduler=("DDIMScheduler", {**BETAS, "beta_schedule": "linear", "clip_sample": False, "steps_offset": 1}),
)  # fmt: skip
"""The shape of animatediff-motion-adapter-v1-5-2 beside Stable Diffusion 1.5."""
SVD = Shape(
    pipeline="StableVideoDiffusionPipeline",
    unet=_video((True, True, True, False), 14, block_out_channels=(320, 640, 1280, 1280),
                num_attention_heads=(5, 10, 20, 20), layers_per_block=2, cross_attention_dim=1024,
                addition_time_embed_dim=256, sample_size=96),
    vae={key: value for key, value in _vae(0.18215, 768).items() if key != "up_block_types"},
    text=None,
    image=_clip_vision(1280, 32, 16, patch_size=14, projection_dim=1024),
    scheduler=("EulerDiscreteScheduler", {
        **BETAS, "prediction_type": "v_prediction", "timestep_type": "continuous", "timestep_spacing": "leading",
        "steps_offset": 1, "use_karras_sigmas": True, "sigma_min": 0.002, "sigma_max": 700.0,
    }),
    unet_class="UNetSpatioTemporalConditionModel",
    vae_class="AutoencoderKLTemporalDecoder",
)  # fmt: skip
"""The shape of stable-video-diffusion-img2vid."""
SVD_SHALLOW = replace(
    SVD,
    unet=_video((True, False), 14, block_out_channels=(320, 640), num_attention_heads=(5, 10), layers_per_block=1,
                cross_attention_dim=1024, addition_time_embed_dim=256, sample_size=16),
    vae={**SVD.vae, "layers_per_block": 1, "sample_size": 128},
    image=_clip_vision(1280, 2, 16, patch_size=14, projection_dim=1024),
)  # fmt: skip
"""As wide, with a tenth of the layers: what a machine of two cores compiles in minutes."""
TAESD = {
    "encoder_block_out_channels": [64] * 4,
    "decoder_block_out_channels": [64] * 4,
    "num_encoder_blocks": [1, 3, 3, 3],
    "num_decoder_blocks": [3, 3, 3, 1],
}

SMALL_UNET = {"norm_num_groups": 4, "layers_per_block": 1, "attention_head_dim": 2, "sample_size": 8}
SMALL_TEXT: Config = {
    "vocab_size": 600, "max_position_embeddings": 48, "bos_token_id": 598, "eos_token_id": 599, "pad_token_id": 0
}  # fmt: skip
SMALL_VAE = {**_vae(0.5, 16, (8, 8)), "layers_per_block": 1, "norm_num_groups": 4}
SMALL_SD = Shape(
    pipeline="StableDiffusionPipeline",
    unet=_unet((True, False), block_out_channels=(8, 16), cross_attention_dim=16, **SMALL_UNET),
    vae=SMALL_VAE,
    text=_clip(16, 1, 2, **SMALL_TEXT),
    scheduler=("PNDMScheduler", PNDM),
)
SMALL_V = replace(
    SMALL_SD, scheduler=("DDIMScheduler", {**PNDM, "prediction_type": "v_prediction", "clip_sample": False})
)
SMALL_LCM = replace(
    SMALL_SD,
    unet=_unet((True,), block_out_channels=(8,), cross_attention_dim=16, time_cond_proj_dim=8, **SMALL_UNET),
    scheduler=("LCMScheduler", BETAS),
)
SMALL_SDXL = replace(
    SMALL_SD,
    pipeline="StableDiffusionXLPipeline",
    unet=_unet((True,), block_out_channels=(8,), cross_attention_dim=28, use_linear_projection=True,
               addition_embed_type="text_time", addition_time_embed_dim=4,
               projection_class_embeddings_input_dim=36, **SMALL_UNET),
    text=_clip(16, 2, 2, **SMALL_TEXT),
    text_2=_clip(12, 2, 2, **SMALL_TEXT),
    scheduler=("EulerDiscreteScheduler", EULER),
    facts={"force_zeros_for_empty_prompt": True},
)  # fmt: skip
SMALL_TURBO = replace(SMALL_SDXL, scheduler=("EulerAncestralDiscreteScheduler", TURBO))
SMALL_ANIMATEDIFF = replace(
    SMALL_SD,
    pipeline="AnimateDiffPipeline",
    unet=_unet((True,), block_out_channels=(8,), cross_attention_dim=16, **SMALL_UNET),
    motion={"block_out_channels": (8,), "motion_layers_per_block": 1, "motion_num_attention_heads": 2,
            "motion_norm_num_groups": 4, "motion_max_seq_length": 8, "use_motion_mid_block": False},
    scheduler=("DDIMScheduler", {**BETAS, "beta_schedule": "linear", "clip_sample": False, "steps_offset": 1}),
    stated={"motion": {"window": 4, "overlap": 2}},
)  # fmt: skip
SMALL_SVD = replace(
    SVD,
    unet=_video((False,), 4, block_out_channels=(32,), num_attention_heads=2, layers_per_block=1,
                cross_attention_dim=16, addition_time_embed_dim=8, sample_size=8),
    vae={**SVD.vae, "block_out_channels": (32, 32), "down_block_types": ["DownEncoderBlock2D"] * 2,
         "layers_per_block": 1, "sample_size": 16, "scaling_factor": 0.5},
    image=_clip_vision(16, 1, 2, patch_size=56, projection_dim=16),
    stated={"motion": {"decoded_together": 2}},
)  # fmt: skip
"""Thin as it is: diffusers' spatio-temporal blocks normalise in 32 groups, whatever their config says."""
SMALL_TAESD = {
    "encoder_block_out_channels": [8] * 2,
    "decoder_block_out_channels": [8] * 2,
    "num_encoder_blocks": [1, 1],
    "num_decoder_blocks": [1, 1],
}

SHAPES = {
    "sd15": SD15, "sd21": SD21, "sdxl": SDXL, "sdxl-turbo": SDXL_TURBO, "lcm": LCM,
    "small-sd": SMALL_SD, "small-v": SMALL_V, "small-lcm": SMALL_LCM, "small-sdxl": SMALL_SDXL,
    "small-turbo": SMALL_TURBO, "animatediff": ANIMATEDIFF, "small-animatediff": SMALL_ANIMATEDIFF,
    "svd": SVD, "svd-shallow": SVD_SHALLOW, "small-svd": SMALL_SVD,
}  # fmt: skip


def write_checkpoint(folder: Path, shape: Shape, seed: int = 0) -> Path:
    """Writes a diffusers folder; returns it."""
    folder.mkdir(parents=True)
    library = {name: "transformers" if name.endswith(ENCODERS) else "diffusers" for name in _classes(shape)}
    index: Config = {"_class_name": shape.pipeline, **shape.facts}
    for number, (name, (model_class, config)) in enumerate(_classes(shape).items()):
        index[name] = [library[name], model_class]
        write_component(folder / name, library[name], model_class, config, seed + number)
    for name, text in _tokenizers(shape):
        index[name] = ["transformers", "CLIPTokenizer"]
        (folder / name).mkdir()
        _tokenizer(text).save(str(folder / name / "tokenizer.json"))
    if shape.image is not None:
        index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
        (folder / "feature_extractor").mkdir()
        _write_json(folder / "feature_extractor/preprocessor_config.json", CLIP_IMAGES)
    index["scheduler"] = ["diffusers", shape.scheduler[0]]
    (folder / "scheduler").mkdir()
    _write_json(folder / "scheduler/scheduler_config.json", {"_class_name": shape.scheduler[0], **shape.scheduler[1]})
    _write_json(folder / "model_index.json", index)
    if shape.stated:
        _write_json(folder / "bowerbird.json", shape.stated)
    return folder


def write_component(folder: Path, library: str, model_class: str, config: Config, seed: int) -> None:
    """One component's config and seeded weights, fp16, in shards of at most 5 GB."""
    import importlib

    import torch

    folder.mkdir(parents=True)
    loaded = getattr(importlib.import_module(library), model_class)
    with torch.device("meta"):
        model = loaded(**config) if library == "diffusers" else loaded(loaded.config_class(**config))
    if library == "diffusers":
        model.save_config(folder)
    else:
        model.config.save_pretrained(folder)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.state_dict().items()}
    _write_weights(folder, "diffusion_pytorch_model" if library == "diffusers" else "model", shapes, seed)


def _classes(shape: Shape) -> dict[str, tuple[str, Config]]:
    found: dict[str, tuple[str, Config]] = {}
    if shape.text is not None:
        found["text_encoder"] = ("CLIPTextModel", shape.text)
    if shape.text_2 is not None:
        found["text_encoder_2"] = ("CLIPTextModelWithProjection", shape.text_2)
    if shape.image is not None:
        found["image_encoder"] = ("CLIPVisionModelWithProjection", shape.image)
    found |= {"unet": (shape.unet_class, shape.unet), "vae": (shape.vae_class, shape.vae)}
    if shape.preview is not None:
        found["preview_vae"] = ("AutoencoderTiny", shape.preview)
    if shape.motion is not None:
        found["motion_adapter"] = ("MotionAdapter", shape.motion)
    return found


def _tokenizers(shape: Shape) -> Iterator[tuple[str, Config]]:
    if shape.text is not None:
        yield "tokenizer", shape.text
    if shape.text_2 is not None:
        yield "tokenizer_2", shape.text_2


def _write_weights(folder: Path, stem: str, shapes: dict[str, tuple[int, ...]], seed: int) -> None:
    from bowerbird.compiler.tensor_file import TensorFacts, TensorWriter

    shards: list[dict[str, TensorFacts]] = [{}]
    for name, shape in shapes.items():
        facts = TensorFacts("F16", shape)
        if sum(each.bytes for each in shards[-1].values()) + facts.bytes > MAX_SHARD_BYTES:
            shards.append({})
        shards[-1][name] = facts
    single = len(shards) == 1
    names = [f"{stem}-{n + 1:05d}-of-{len(shards):05d}.safetensors" for n in range(len(shards))]
    random = np.random.default_rng(seed)
    for file, shard in zip([f"{stem}.safetensors"] if single else names, shards, strict=True):
        with TensorWriter(folder / file, shard, {"format": "pt"}) as writer:
            for name, facts in shard.items():
                writer.write(name, _weight(random, name, facts.shape))
    if not single:
        where = {name: file for file, shard in zip(names, shards, strict=True) for name in shard}
        total = sum(each.bytes for shard in shards for each in shard.values())
        index = {"metadata": {"total_size": total}, "weight_map": where}
        _write_json(folder / f"{stem}.safetensors.index.json", index)


def _weight(random: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float16]]:
    """Scales of norms near 1, biases near 0, matrices with columns of length 1; positions are sines, as everywhere."""
    if name.endswith("pos_embed.pe"):
        return _positions(*shape[1:])
    values = random.standard_normal(shape, np.float32)
    if len(shape) == 1:
        scales = "norm" in name and name.endswith("weight")
        return (values * np.float32(0.02) + np.float32(scales)).astype(np.float16)
    if "embedding" in name:
        return (values * np.float32(0.1)).astype(np.float16)
    values /= np.float32(np.sqrt(np.prod(shape[1:])))
    return values.astype(np.float16)


def _positions(frames: int, width: int) -> np.ndarray[Any, np.dtype[np.float16]]:
    """[1, frames, width]: sine and cosine in turn (Vaswani et al., "Attention is all you need", 2017)."""
    angles = np.arange(frames)[:, None] * np.exp(np.arange(0, width, 2) * (-np.log(10000.0) / width))
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(1, frames, width).astype(np.float16)


def _tokenizer(text: Config) -> Tokenizer:
    """Byte-level BPE with as many entries as the encoder has; unused ones are words nobody types."""
    begin, end = ("<|startoftext|>", text["bos_token_id"]), ("<|endoftext|>", text["eos_token_id"])
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    vocabulary |= {f"unused{number}": number for number in range(len(letters), begin[1])}
    vocabulary |= dict((begin, end))
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token=end[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens([begin[0], end[0]])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin[0]} $A {end[0]}", special_tokens=[begin, end]
    )
    tokenizer.enable_padding(length=text["max_position_embeddings"], pad_id=end[1], pad_token=end[0])
    return tokenizer


def _write_json(path: Path, document: Config) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write a diffusers folder of a family's shapes, with random weights.")
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    print(write_checkpoint(arguments.folder, SHAPES[arguments.shape]))
