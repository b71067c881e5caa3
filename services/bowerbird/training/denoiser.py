"""Teaches the text encoder and the denoiser together, on latents that are computed once.

Stage `denoiser` of `bowerbird train fledgling`; needs the stage `autoencoder`. Stable Diffusion's shape in miniature:
UNet2DConditionModel predicts the velocity of 16 × 16 × 16 latents under cross-attention to a CLIP text encoder, 10 %
of the captions left empty for classifier-free guidance.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderDC, UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor, nn

from bowerbird.training.autoencoder import as_input
from bowerbird.training.captions import caption, plain_prompt
from bowerbird.training.checkpoints import Average, digest_of_weights, load_state, save_state, seed_step
from bowerbird.training.config import DenoiserConfig, FledglingConfig
from bowerbird.training.devices import device_of, training_device
from bowerbird.training.monitor import Monitor, write_sheet
from bowerbird.training.pictures import PictureSet, drawn_pictures, scene_at
from bowerbird.training.sampling import Parts, new_scheduler, sampled
from bowerbird.training.scene import HELD_OUT, Scene
from bowerbird.training.text import new_text_encoder, new_tokenizer, token_ids

_ENCODED_AT_ONCE = 16
_SHEET_SEED = 7
_SHEET_EVERY = 1_000


def new_unet(config: DenoiserConfig, latent_channels: int, latent_side: int, text_width: int) -> UNet2DConditionModel:
    """An untaught denoiser. (diffusers' `attention_head_dim` is the number of heads.)"""
    return UNet2DConditionModel(
        sample_size=latent_side,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=config.channels,
        layers_per_block=config.layers,
        cross_attention_dim=text_width,
        attention_head_dim=tuple(channels // config.head_width for channels in config.channels),
        norm_num_groups=config.groups,
        down_block_types=("CrossAttnDownBlock2D",) * len(config.channels),
        up_block_types=("CrossAttnUpBlock2D",) * len(config.channels),
    )


@torch.no_grad()
def encoded_pictures(
    autoencoder: AutoencoderDC, pictures: NDArray[np.uint8], progress: Callable[[int], None] = lambda done: None
) -> Tensor:
    """Scaled latents, float32 [n, channels, side, side]; `progress` hears how many are done."""
    latents = []
    for start in range(0, len(pictures), _ENCODED_AT_ONCE):
        pixels = as_input(pictures[start : start + _ENCODED_AT_ONCE]).to(device_of(autoencoder))
        latents.append(autoencoder.encode(pixels).latent.contiguous())
        progress(start)
    return torch.cat(latents) * float(autoencoder.config.scaling_factor)


def sheet_scenes() -> list[Scene]:
    """The sixteen scenes of the sample sheet: eight that are taught in some picture, eight whose combination is not."""
    lights = ("day", "day", "sunset", "dusk")
    taught = (
        Scene("american robin", "perched", "winter"), Scene("blue jay", "flying", "spring"),
        Scene("flamingo", "standing", "autumn", "sunset"), Scene("green parrot", "perched", "winter"),
        Scene("snowy owl", "perched", "winter", "dusk"), Scene("northern cardinal", "flying", "winter"),
        Scene("mallard duck", "standing", "summer"), Scene("atlantic puffin", "nesting", "spring"),
    )  # fmt: skip
    unseen = [Scene(*combination, lights[i % 4]) for i, combination in enumerate(HELD_OUT[::2][:8])]
    return [*taught, *unseen]


class DenoiserStage:
    """One run of the stage: models, optimiser, averages, latents."""

    def __init__(self, config: FledglingConfig, folder: Path, autoencoder: AutoencoderDC) -> None:
        self.config, self.own, self.folder, self.autoencoder = config, config.denoiser, folder, autoencoder
        torch.manual_seed(self.own.seed)
        self.tokenizer = new_tokenizer(config.text.tokens)
        self.scheduler = new_scheduler()
        side = config.data.size // autoencoder.spatial_compression_ratio
        unet: Any = new_unet(self.own, config.autoencoder.latent_channels, side, config.text.width)
        self.models = nn.ModuleDict({"unet": unet, "text": new_text_encoder(config.text, self.tokenizer)})
        self.models.to(training_device(), memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(
            self.models.parameters(), lr=1.0, betas=(0.9, 0.99), weight_decay=1e-2, fused=True
        )
        self.average = Average(self.models, self.own.ema)
        self.step = self.began = 0
        state = load_state(folder / "denoiser.pt")
        if state is not None:
            self._continue_from(state)

    def _continue_from(self, state: dict[str, Any]) -> None:
        """Take up a saved state; one without optimiser (a committed average) starts a fresh optimiser at its step."""
        self.average.restore(state["average"])
        self.models.load_state_dict(state.get("models", state["average"]))
        if "optimizer" in state:
            self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        self.began = state.get("began", 0 if "optimizer" in state else self.step)

    def save(self) -> None:
        """Keep everything that a later run needs to continue."""
        state = {
            "step": self.step,
            "began": self.began,
            "models": self.models.state_dict(),
            "average": self.average.weights,
            "optimizer": self.optimizer.state_dict(),
        }
        save_state(self.folder / "denoiser.pt", state)

    def latents(self) -> Tensor:
        """Latents of the training pictures, from disk or, if there are none of this encoder, drawn and encoded now."""
        data = self.config.data
        path = self.folder / f"latents-{data.seed}-{data.train}.pt"
        state, encoder = load_state(path), digest_of_weights(self.autoencoder.encoder)
        if state is None or state["encoder"] != encoder:
            pictures = drawn_pictures(self.folder, PictureSet(data.seed, data.train, data.size))
            with Monitor("latents", len(pictures), self.folder).watching(0) as monitor:
                latents = encoded_pictures(self.autoencoder, pictures, lambda done: monitor.step(done, 0.0))
            state = {"latents": latents, "encoder": encoder}
            save_state(path, state)
        kept: Tensor = state["latents"]
        return kept

    def train_step(self, latents: Tensor, scenes: list[Scene]) -> float:
        """One step; returns the mean squared error of the velocity."""
        own, rng = self.own, seed_step(self.own.seed, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = own.learning_rate * trapezoid(self.step, own.steps, own.cooldown, self.began)
        chosen = rng.integers(len(latents), size=own.batch)
        texts = [caption(scenes[index], rng) if rng.random() >= own.caption_dropout else "" for index in chosen]
        clean = latents[torch.from_numpy(chosen)].to(device_of(self.models))
        timestep = torch.from_numpy(spread_timesteps(rng, own.batch)).to(clean.device)
        noise = torch.randn_like(clean)
        noisy = self.scheduler.add_noise(clean, noise, timestep).contiguous(memory_format=torch.channels_last)
        wanted = self.scheduler.get_velocity(clean, noise, timestep)
        states = self.models["text"](token_ids(self.tokenizer, texts).to(clean.device)).last_hidden_state
        loss = (self.models["unet"](noisy, timestep, states).sample - wanted).square().mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.models.parameters(), 1.0)
        self.optimizer.step()
        self.average.update(self.models, self.step)
        self.step += 1
        return float(loss.detach())

    def averaged(self) -> Parts:
        """The models with their averaged weights, ready to draw."""
        unet = UNet2DConditionModel.from_config(self.models["unet"].config)
        text = new_text_encoder(self.config.text, self.tokenizer)
        weights = self.average.weights
        unet.load_state_dict({k.removeprefix("unet."): v for k, v in weights.items() if k.startswith("unet.")})
        text.load_state_dict({k.removeprefix("text."): v for k, v in weights.items() if k.startswith("text.")})
        place = device_of(self.models)
        return Parts(self.tokenizer, text.to(place).eval(), unet.to(place).eval(), self.autoencoder, self.scheduler)

    def sheet(self) -> None:
        """Draw the sample sheet with the averaged weights."""
        scenes = sheet_scenes()
        prompts, seeds = [plain_prompt(scene) for scene in scenes], [_SHEET_SEED + i for i in range(len(scenes))]
        write_sheet(self.folder / f"samples-{self.step:06d}.png", sampled(self.averaged(), prompts, seeds), 8)

    def run(self, saved: Callable[[DenoiserStage], None] = lambda stage: None) -> Parts:
        """Train to the configured number of steps; `saved` hears after every save. Returns the averaged models."""
        latents = self.latents()
        scenes = [scene_at(self.config.data.seed, index) for index in range(len(latents))]
        last = time.monotonic()
        with Monitor("denoiser", self.own.steps, self.folder).watching(self.step) as monitor:
            while self.step < self.own.steps:
                monitor.step(self.step, self.train_step(latents, scenes))
                if self.step % _SHEET_EVERY == 0:
                    self.sheet()
                if time.monotonic() - last > self.config.save_seconds:
                    self.save()
                    saved(self)
                    last = time.monotonic()
        self.save()
        self.sheet()
        saved(self)
        return self.averaged()


def trapezoid(step: int, total: int, cooldown: int, began: int = 0) -> float:
    """A learning rate's factor: up over 150 steps, constant, then down to 2 % over the last `cooldown` steps.

    `began` is the step at which the optimiser was fresh; it needs the slow start whenever that was.
    """
    left = max(0, total - step)
    return min(1.0, (step - began + 1) / 150, max(0.02, left / max(1, cooldown)))


def spread_timesteps(rng: np.random.Generator, count: int, power: float = 1.0) -> NDArray[np.int64]:
    """Timesteps 0 to 999, one from each of `count` equal slices of probability, in random order.

    Uniform with power 1; with a smaller one the noisier ones come more often (their density is t^(1 / power - 1)).
    """
    places = (rng.permutation(count) + rng.random(count)) / count
    return np.minimum((places**power * 1000).astype(np.int64), 999)
