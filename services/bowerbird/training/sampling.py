"""The reference way from prompts to pictures, with torch and diffusers: DDIM, trailing steps, classifier-free guidance.

Called for sample sheets during training and by `quality` when no compiled engine is at hand. The served pictures come
from the torch-free engine; this is what it is compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler
from numpy.typing import NDArray
from tokenizers import Tokenizer

from bowerbird.training.autoencoder import as_pictures
from bowerbird.training.devices import device_of
from bowerbird.training.text import token_ids

STEPS = 20
GUIDANCE = 2.5


def new_scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule, rescaled to zero terminal SNR (arXiv 2305.08891), predicting velocity."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
    )


@dataclass(frozen=True)
class Parts:
    """What it takes to draw (objects of tokenizers, transformers and diffusers)."""

    tokenizer: Tokenizer
    text_encoder: Any
    unet: Any
    autoencoder: Any
    scheduler: DDIMScheduler


@torch.no_grad()
def sampled(
    parts: Parts, prompts: Sequence[str], seeds: Sequence[int], steps: int = STEPS, guidance: float = GUIDANCE
) -> NDArray[np.uint8]:
    """Pictures for prompts, uint8 [n, height, width, 3]; one seed per prompt; guidance 1 is none."""
    scheduler = DDIMScheduler.from_config(parts.scheduler.config)
    place = device_of(parts.unet)
    scheduler.set_timesteps(steps, device=place)
    side, channels = parts.unet.config.sample_size, parts.unet.config.in_channels
    noise = [np.random.default_rng(seed).standard_normal((channels, side, side), np.float32) for seed in seeds]
    latent = torch.from_numpy(np.stack(noise)).to(place)
    texts = [*[""] * len(prompts), *prompts] if guidance > 1 else list(prompts)
    states = parts.text_encoder(token_ids(parts.tokenizer, texts).to(place)).last_hidden_state
    for timestep in scheduler.timesteps:
        rows = torch.cat([latent, latent]) if guidance > 1 else latent
        velocity = parts.unet(rows, timestep.expand(len(rows)), states).sample
        if guidance > 1:
            without, with_prompt = velocity.chunk(2)
            velocity = without + guidance * (with_prompt - without)
        latent = scheduler.step(velocity, timestep, latent).prev_sample
    scale = parts.autoencoder.config.scaling_factor
    decoded = [
        as_pictures(parts.autoencoder.decode(latent[i : i + 8] / scale).sample) for i in range(0, len(latent), 8)
    ]
    return np.concatenate(decoded)
