"""A checkpoint by diffusers' own classes, as its documentation recommends for a CPU: inference mode, channels last,
SDPA.

The loop is what StableDiffusionPipeline does and nothing beside it: no safety checker, no progress bar, no PIL. The
first noise is given by the seed as Bowerbird gives it, so that both sides draw the same picture.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer


class Model:
    """Components in float32; `unet` may be replaced by a compiled one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = json.loads((folder / "model_index.json").read_text())
        self.unet = self._component("unet").to(memory_format=torch.channels_last)

    def load_the_rest(self) -> None:
        """Text encoder, autoencoder, scheduler, tokenizer."""
        self.text_encoder = self._component("text_encoder")
        self.vae = self._component("vae").to(memory_format=torch.channels_last)
        scheduler = getattr(importlib.import_module("diffusers"), self.index["scheduler"][1])
        self.scheduler = scheduler.from_pretrained(self.folder / "scheduler")
        self.tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer" / "tokenizer.json"))
        padding = self.tokenizer.padding
        self.padding_id = self.text_encoder.config.pad_token_id if padding is None else padding["pad_id"]
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()

    @property
    def tokens(self) -> int:
        """Hidden states of a prompt."""
        return int(json.loads((self.folder / "text_encoder" / "config.json").read_text())["max_position_embeddings"])

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Of the size that the checkpoint was trained for."""
        side = self.unet.config.sample_size
        return self.unet.config.in_channels, side, side

    @torch.inference_mode()
    def picture(self, prompt: str, steps: int, guidance_scale: float, seed: int) -> np.ndarray:
        """uint8 [height, width, 3], guided."""
        states = self.text_encoder(torch.tensor([self._ids(""), self._ids(prompt)])).last_hidden_state
        latents = torch.from_numpy(_noise(seed, self.latent_shape))[None]
        drawn: np.ndarray = self._decoded(self._denoised(latents, states, steps, guidance_scale))[0]
        return drawn

    @torch.inference_mode()
    def clip(  # noqa: PLR0913, PLR0917 - what a clip takes
        self,
        prompt: str,
        steps: int,
        guidance_scale: float,
        seed: int,
        frames: int,
        shared_noise: float,
        common_mean_from: float | None = None,
    ) -> np.ndarray:
        """uint8 [frames, height, width, 3], guided: AnimateDiffPipeline's loop, which decodes 16 frames at once.

        The last two are the bundle's own (`MotionFacts`): without them it would be another clip.
        """
        states = self.text_encoder(torch.tensor([self._ids(""), self._ids(prompt)])).last_hidden_state
        drawn = _noise(seed, (frames + (shared_noise > 0), *self.latent_shape))
        noise = drawn[:frames]
        if shared_noise:
            noise = np.float32(shared_noise**0.5) * drawn[frames] + np.float32((1 - shared_noise) ** 0.5) * noise
        latents = torch.from_numpy(noise).transpose(0, 1)[None]
        states = states.repeat_interleave(frames, dim=0)
        latents = self._denoised(latents, states, steps, guidance_scale, common_mean_from)
        return np.concatenate([self._decoded(each) for each in latents[0].transpose(0, 1).split(16)])

    def _denoised(
        self,
        noise: torch.Tensor,
        states: torch.Tensor,
        steps: int,
        guidance_scale: float,
        common_mean_from: float | None = None,
    ) -> torch.Tensor:
        """Of one row; both rows of each step in one call."""
        scheduler = self.scheduler
        scheduler.set_timesteps(steps)
        latents = noise * scheduler.init_noise_sigma
        for timestep in scheduler.timesteps:
            rows = scheduler.scale_model_input(torch.cat([latents] * 2), timestep)
            negative, positive = self.unet(rows, timestep, states, return_dict=False)[0].chunk(2)
            guided = negative + guidance_scale * (positive - negative)
            if common_mean_from is not None and timestep >= common_mean_from:
                means = guided.mean((3, 4), keepdim=True)
                guided = guided - (means - means.mean(2, keepdim=True))
            latents = scheduler.step(guided, timestep, latents, return_dict=False)[0]
        return latents

    def _decoded(self, latents: torch.Tensor) -> np.ndarray:
        """uint8 [n, height, width, 3]."""
        config = self.vae.config
        scaled = latents / config.scaling_factor + (getattr(config, "shift_factor", None) or 0.0)
        decoded = self.vae.decode(scaled, return_dict=False)[0]
        pixels = ((decoded.clamp(-1, 1) * 0.5 + 0.5) * 255).round().to(torch.uint8)
        frames: np.ndarray = pixels.permute(0, 2, 3, 1).numpy()
        return frames

    def _ids(self, prompt: str) -> list[int]:
        config = self.text_encoder.config
        length = config.max_position_embeddings
        ids = self.tokenizer.encode(prompt, add_special_tokens=False).ids[: length - 2]
        return [config.bos_token_id, *ids, config.eos_token_id, *[self.padding_id] * (length - 2 - len(ids))]

    def _component(self, name: str) -> Any:
        library, model_class = self.index[name]
        loaded = getattr(importlib.import_module(library), model_class)
        return loaded.from_pretrained(self.folder / name, torch_dtype=torch.float32).eval()


def _noise(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """The engine's, of a picture's or a clip's first call."""
    key = np.array([seed, 0], np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).standard_normal(shape, np.float32)
