"""The reference way from prompts to clips, with torch and diffusers: what `sampling` does, with frames.

Called for sample sheets during training and by evaluation. The served clips come from the torch-free engine; this is
what it is compared with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from diffusers import DDIMScheduler
from numpy.typing import NDArray
from torch import Tensor

from bowerbird.training.autoencoder import as_pictures
from bowerbird.training.clips import FRAMES
from bowerbird.training.devices import device_of
from bowerbird.training.sampling import GUIDANCE, STEPS, Parts
from bowerbird.training.text import token_ids

_DECODED_AT_ONCE = 8


def mixed_noise(shared: float, common: Tensor, own: Tensor) -> Tensor:
    """Noise of unit variance, `shared` of which all frames have in common.

    `common` is [..., 1, channels, side, side], `own` [..., frames, channels, side, side]. Mixed noise of Ge et al.,
    "Preserve your own correlation", 2023 (arXiv 2305.10474), section 4.
    """
    return math.sqrt(shared) * common + math.sqrt(1 - shared) * own


@torch.no_grad()
def sampled_clips(  # noqa: PLR0913, PLR0917 - what a clip takes
    parts: Parts,
    prompts: Sequence[str],
    seeds: Sequence[int],
    shared_noise: float,
    steps: int = STEPS,
    guidance: float = GUIDANCE,
    common_mean_from: float = math.inf,
) -> NDArray[np.uint8]:
    """Clips for prompts, uint8 [n, FRAMES, height, width, 3]; one seed per prompt; guidance 1 is none.

    In steps of timestep `common_mean_from` and above all frames are given one mean of each channel.
    """
    how = (shared_noise, common_mean_from, steps, guidance)
    return np.stack([_sampled(parts, prompt, seed, how) for prompt, seed in zip(prompts, seeds, strict=True)])


def _sampled(parts: Parts, prompt: str, seed: int, how: tuple[float, float, int, float]) -> NDArray[np.uint8]:
    """One clip at a time: sixteen frames, twice where guided, are a batch as large as two cores want."""
    shared_noise, common_mean_from, steps, guidance = how
    scheduler = DDIMScheduler.from_config(parts.scheduler.config)
    place = device_of(parts.unet)
    scheduler.set_timesteps(steps, device=place)
    side, channels = parts.unet.config.sample_size, parts.unet.config.in_channels
    noise = np.random.default_rng(seed).standard_normal((FRAMES + 1, channels, side, side), np.float32)
    drawn = torch.from_numpy(noise).to(place)
    latent = mixed_noise(shared_noise, drawn[:1], drawn[1:]).transpose(0, 1)[None]
    texts = ["", prompt] if guidance > 1 else [prompt]
    states = parts.text_encoder(token_ids(parts.tokenizer, texts).to(place)).last_hidden_state
    states = states.repeat_interleave(FRAMES, 0)
    for timestep in scheduler.timesteps:
        rows = latent.expand(len(texts), -1, -1, -1, -1)
        velocity = parts.unet(rows, timestep.expand(len(texts)), states).sample
        if guidance > 1:
            without, with_prompt = velocity.chunk(2)
            velocity = without + guidance * (with_prompt - without)
        if timestep >= common_mean_from:
            means = velocity.mean((3, 4), keepdim=True)
            velocity = velocity - (means - means.mean(2, keepdim=True))
        latent = scheduler.step(velocity, timestep, latent).prev_sample
    frames = latent[0].transpose(0, 1) / parts.autoencoder.config.scaling_factor
    starts = range(0, FRAMES, _DECODED_AT_ONCE)
    decoded = [as_pictures(parts.autoencoder.decode(frames[i : i + _DECODED_AT_ONCE]).sample) for i in starts]
    return np.concatenate(decoded)
