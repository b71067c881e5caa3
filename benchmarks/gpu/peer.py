"""diffusers' own UNet2DConditionModel in SDXL's configuration, eager, where diffusers is installed."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.gpu.meter import Meter
from benchmarks.gpu.painter import Model
from benchmarks.gpu.shapes import LATENT_CHANNELS, Shape


def diffusers_config(shape: Shape) -> dict[str, object]:
    """`unet/config.json` of a checkpoint of this shape."""
    down = ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in shape.depths]
    return {
        "in_channels": LATENT_CHANNELS,
        "out_channels": LATENT_CHANNELS,
        "block_out_channels": shape.channels,
        "down_block_types": tuple(down),
        "up_block_types": tuple(each.replace("Down", "Up") for each in reversed(down)),
        "layers_per_block": shape.resnets_per_level,
        "transformer_layers_per_block": tuple(max(1, depth) for depth in shape.depths),
        "attention_head_dim": tuple(width // shape.head_width for width in shape.channels),
        "cross_attention_dim": shape.states_width,
        "norm_num_groups": shape.norm_groups,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": shape.time_id_width,
        "projection_class_embeddings_input_dim": shape.added_width,
    }


def diffusers_step(model: Model, inputs: dict[str, Tensor], meter: Meter) -> float:
    """Median seconds of one call; raises ImportError where there is no diffusers."""
    from diffusers import UNet2DConditionModel

    with torch.device(model.device):
        unet = UNet2DConditionModel(**diffusers_config(model.shape)).to(model.dtype).eval()
    unet = unet.to(memory_format=torch.channels_last)
    added = {"text_embeds": inputs["pooled"], "time_ids": inputs["time_ids"]}
    sample = inputs["sample"].contiguous(memory_format=torch.channels_last)
    return meter.median(
        lambda: unet(sample, inputs["timestep"], inputs["states"], added_cond_kwargs=added, return_dict=False)
    )
