"""Teaches motion: AnimateDiff's temporal attention in the denoiser that stills have taught.

Stage `motion` of `bowerbird train fledgling`; needs the stages `autoencoder` and `denoiser`. The result is diffusers'
UNetMotionModel: the denoiser of stills with a motion module behind each of its layers, which begin as if they were not
there (their last projection is zero), so that the first clip is sixteen times a still.

What is other than in AnimateDiff (Guo et al., 2024): the rest goes on learning too, slowly. AnimateDiff keeps it frozen
because films look worse than photographs; these clips are as good as the stills, and show what no still shows: wings
down, a face from in front, legs in the air.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import MotionAdapter, UNetMotionModel
from numpy.typing import NDArray
from torch import Tensor, nn

from bowerbird.training.checkpoints import Average, load_state, save_state, seed_step
from bowerbird.training.clip_captions import clip_caption, clip_vocabulary
from bowerbird.training.clip_latents import ClipSet, clip_latents
from bowerbird.training.clip_sampling import mixed_noise, sampled_clips
from bowerbird.training.clip_sheet import sheet_clips, write_clip_sheet
from bowerbird.training.clips import Clip, clip_at
from bowerbird.training.config import DenoiserConfig, FledglingConfig, MotionConfig
from bowerbird.training.denoiser import spread_timesteps, trapezoid
from bowerbird.training.devices import device_of, half_products, training_device
from bowerbird.training.monitor import Monitor
from bowerbird.training.sampling import Parts
from bowerbird.training.text import new_text_encoder, new_tokenizer, token_ids, widened

_SHEET_EVERY = 500


def new_motion_adapter(denoiser: DenoiserConfig, motion: MotionConfig) -> MotionAdapter:
    """Untaught motion modules for a denoiser of this shape, which change nothing."""
    adapter = MotionAdapter(
        block_out_channels=denoiser.channels,
        motion_layers_per_block=denoiser.layers,
        motion_num_attention_heads=motion.heads,
        motion_norm_num_groups=denoiser.groups,
        motion_max_seq_length=motion.max_frames,
    )
    for name, parameter in adapter.named_parameters():
        if ".proj_out." in name:
            nn.init.zeros_(parameter)
    return adapter


def shown_shares(clips: Sequence[Clip], often: Mapping[Any, float]) -> NDArray[np.float64]:
    """The probability of each clip, by how much more `often` than by chance those of its motion are shown."""
    weights = np.asarray([often.get(clip.motion, 1.0) for clip in clips])
    return np.asarray(weights / weights.sum())


class MotionStage:
    """One run of the stage: models, optimiser, averages, latents. `stills` is what the stage `denoiser` made."""

    def __init__(self, config: FledglingConfig, folder: Path, stills: Parts) -> None:
        self.config, self.own, self.folder, self.stills = config, config.motion, folder, stills
        torch.manual_seed(self.own.seed)
        self.tokenizer = new_tokenizer(config.text.tokens, clip_vocabulary())
        adapter = new_motion_adapter(config.denoiser, self.own)
        unet: Any = UNetMotionModel.from_unet2d(stills.unet, adapter)
        text: Any = widened(stills.text_encoder.cpu(), config.text, self.tokenizer)
        self.models = nn.ModuleDict({"unet": unet.train(), "text": text.train()})
        self.models.to(training_device(), memory_format=torch.channels_last)
        if self.own.fused:
            unet.compile()
        self.optimizer = torch.optim.AdamW(self._groups(), lr=1.0, betas=(0.9, 0.99), weight_decay=1e-2, fused=True)
        self.average = Average(self.models, self.own.ema)
        self.step = self.began = 0
        state = load_state(folder / "motion.pt")
        if state is not None:
            self._continue_from(state)

    def _groups(self) -> list[dict[str, Any]]:
        """Motion modules, and the rest at its own pace (none where that is 0)."""
        motion = [value for name, value in self.models.named_parameters() if ".motion_modules." in name]
        rest = [value for name, value in self.models.named_parameters() if ".motion_modules." not in name]
        groups = [{"params": motion, "pace": 1.0}]
        if self.own.others:
            return [*groups, {"params": rest, "pace": self.own.others}]
        for parameter in rest:
            parameter.requires_grad_(False)
        return groups

    def _continue_from(self, state: dict[str, Any]) -> None:
        """Take up a saved state; one without optimiser (a committed average) starts a fresh optimiser at its step."""
        self.average.restore(state["average"])
        self.models.load_state_dict(state.get("models", state["average"]))
        if "optimizer" in state:
            paces = [group["pace"] for group in self.optimizer.param_groups]
            self.optimizer.load_state_dict(state["optimizer"])  # and with it the paces of the run that saved it
            for group, pace in zip(self.optimizer.param_groups, paces, strict=True):
                group["pace"] = pace
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
        save_state(self.folder / "motion.pt", state)

    def latents(self) -> Tensor:
        """Latents of the training clips, from disk or drawn now."""
        wanted = ClipSet(self.own.data_seed, self.own.clips, self.config.data.size)
        with Monitor("clips", wanted.count, self.folder).watching(0) as monitor:
            return clip_latents(self.folder, wanted, self.stills.autoencoder, lambda done: monitor.step(done, 0.0))

    def train_step(self, latents: Tensor, clips: Sequence[Clip]) -> float:
        """One step; returns the mean squared error of the velocity, moving pixels counted more."""
        own, rng = self.own, seed_step(self.own.seed, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["pace"] * own.learning_rate * trapezoid(self.step, own.steps, own.cooldown, self.began)
        chosen = rng.choice(len(latents), size=own.batch, p=shown_shares(clips, own.often))
        texts = [clip_caption(clips[index], rng) if rng.random() >= own.caption_dropout else "" for index in chosen]
        clean = latents[torch.from_numpy(chosen)].float().to(device_of(self.models))
        timestep = torch.from_numpy(spread_timesteps(rng, own.batch, own.timestep_power)).to(clean.device)
        noise = mixed_noise(own.shared_noise, torch.randn_like(clean[:, :1]), torch.randn_like(clean))
        noisy = self.stills.scheduler.add_noise(clean, noise, timestep)
        wanted = self.stills.scheduler.get_velocity(clean, noise, timestep)
        error = self._velocity(noisy, timestep, texts) - wanted
        shared = error.mean(1, keepdim=True)
        error = shared.square() + own.apart * (error - shared).square()
        weight = 1 + own.moving * clean.std(1, keepdim=True).mean(2, keepdim=True).clamp(max=1)
        loss = (error * weight).mean() / weight.mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.models.parameters(), 1.0)
        self.optimizer.step()
        self.average.update(self.models, self.step)
        self.step += 1
        return float(loss.detach())

    def _velocity(self, noisy: Tensor, timestep: Tensor, texts: Sequence[str]) -> Tensor:
        """Of [clips, frames, channels, side, side]; diffusers wants the frames behind the channels."""
        with half_products(noisy.device):
            states = self.models["text"](token_ids(self.tokenizer, texts).to(noisy.device)).last_hidden_state
            states = states.repeat_interleave(noisy.shape[1], 0)
            answer: Tensor = self.models["unet"](noisy.transpose(1, 2), timestep, states).sample
        return answer.transpose(1, 2).float()

    def averaged(self) -> Parts:
        """The models with their averaged weights, ready to draw clips."""
        unet = UNetMotionModel.from_config(self.models["unet"].config)
        text = new_text_encoder(self.config.text, self.tokenizer)
        weights = self.average.weights
        unet.load_state_dict({k.removeprefix("unet."): v for k, v in weights.items() if k.startswith("unet.")})
        text.load_state_dict({k.removeprefix("text."): v for k, v in weights.items() if k.startswith("text.")})
        place, stills = device_of(self.models), self.stills
        return Parts(self.tokenizer, text.to(place).eval(), unet.to(place).eval(), stills.autoencoder, stills.scheduler)

    def sheet(self) -> None:
        """Draw the sample sheet with the averaged weights: a clip a row."""
        parts = self.averaged()
        own = self.own
        draw = partial(sampled_clips, parts, shared_noise=own.drawn_noise, common_mean_from=own.common_mean_from)
        clips = sheet_clips(draw)
        write_clip_sheet(self.folder / f"clips-{self.step:06d}.png", clips)

    def run(self, saved: Callable[[MotionStage], None] = lambda stage: None) -> Parts:
        """Train to the configured number of steps; `saved` hears after every save. Returns the averaged models."""
        latents = self.latents()
        clips = [clip_at(self.own.data_seed, index) for index in range(len(latents))]
        last = time.monotonic()
        with Monitor("motion", self.own.steps, self.folder).watching(self.step) as monitor:
            while self.step < self.own.steps:
                monitor.step(self.step, self.train_step(latents, clips))
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
