"""Teaches the autoencoder: diffusers' AutoencoderDC, 256 × 256 × 3 to 16 × 16 × 16 and back.

Stage `autoencoder` of `bowerbird train fledgling`. Promises latents of about zero mean and unit variance per channel,
so that the denoiser needs no shift. Why this class: its down- and upsampling rearrange pixels (no strided
convolution), with residual shortcuts, which converges in half an hour of two cores; and any tool that knows diffusers
can load it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderDC
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from bowerbird.training.checkpoints import Average, load_state, save_state, seed_step
from bowerbird.training.config import AutoencoderConfig, FledglingConfig
from bowerbird.training.devices import device_of, training_device
from bowerbird.training.monitor import Monitor, write_sheet
from bowerbird.training.pictures import PictureSet, drawn_pictures
from bowerbird.training.scene import COMBINATIONS, sample_scene

_TOLD_EVERY = 500
_HELD_OUT_PICTURES = 24
_PULL_TO_UNIT = 0.05


def new_autoencoder(config: AutoencoderConfig) -> AutoencoderDC:
    """An untaught autoencoder of the configured shape."""
    stages = len(config.encoder_channels)
    return AutoencoderDC(
        in_channels=3,
        latent_channels=config.latent_channels,
        attention_head_dim=16,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=config.encoder_channels,
        decoder_block_out_channels=config.decoder_channels,
        encoder_layers_per_block=config.encoder_layers,
        decoder_layers_per_block=config.decoder_layers,
        encoder_qkv_multiscales=((),) * stages,
        decoder_qkv_multiscales=((),) * stages,
        upsample_block_type="pixel_shuffle",
        downsample_block_type="pixel_unshuffle",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
        encoder_out_shortcut=False,
        decoder_in_shortcut=False,
        scaling_factor=1.0,
    )


def as_input(pictures: NDArray[np.uint8]) -> Tensor:
    """uint8 [n, h, w, 3] as float32 [n, 3, h, w] in -1..1, channels last in memory."""
    pixels = torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2)
    return pixels.float().div_(127.5).sub_(1).contiguous(memory_format=torch.channels_last)


def as_pictures(decoded: Tensor) -> NDArray[np.uint8]:
    """float [n, 3, h, w] in about -1..1 as uint8 [n, h, w, 3]."""
    pixels = decoded.detach().float().clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
    pictures: NDArray[np.uint8] = pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return pictures


def reconstruction_loss(decoded: Tensor, wanted: Tensor) -> Tensor:
    """L1 + L1 of both spatial differences (edges) + 20 × MSE (what PSNR measures) + twice the L1 of the detail nearby.

    The last term is what makes lines crisp: all others are least for a soft edge wherever the latents leave an edge's
    place uncertain by a pixel; this one asks for as much detail as there was, and forgives the pixel. It looks at
    greys only, or the three channels would each find their own way to be busy and fringe every edge with colours.
    """
    error = decoded - wanted
    edges = (error[..., 1:] - error[..., :-1]).abs().mean() + (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    detail = (detail_nearby(decoded) - detail_nearby(wanted)).abs().mean()
    return error.abs().mean() + edges + 20 * functional.mse_loss(decoded, wanted) + 2 * detail


def detail_nearby(pictures: Tensor) -> Tensor:
    """Root mean square of the grey values' Laplacian in windows of 8 × 8 pixels that overlap; [n, h/4, w/4], about."""
    pictures = pictures.mean(1)
    middle = pictures[..., 1:-1, 1:-1]
    around = pictures[..., :-2, 1:-1] + pictures[..., 2:, 1:-1] + pictures[..., 1:-1, :-2] + pictures[..., 1:-1, 2:]
    return (functional.avg_pool2d((around - 4 * middle).square(), 8, 4) + 1e-4).sqrt()


def psnr(drawn: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> float:
    """Mean peak signal-to-noise ratio over pictures, in dB: 10·log10(255² / MSE)."""
    squares = (drawn.astype(np.float64) - decoded.astype(np.float64)) ** 2
    return float(np.mean(10 * np.log10(255.0**2 / np.maximum(squares.mean((1, 2, 3)), 1e-12))))


def held_out_pictures(config: FledglingConfig, count: int) -> NDArray[np.uint8]:
    """Drawings that no stage is taught on, held-out combinations among them; uint8 [count, size, size, 3]."""
    from bowerbird.training.drawing import draw

    rngs = (np.random.default_rng((config.data.held_out_seed, index)) for index in range(count))
    return np.stack([draw(sample_scene(rng, COMBINATIONS), config.data.size) for rng in rngs])


@torch.no_grad()
def reconstructed(autoencoder: AutoencoderDC, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures after encoding and decoding."""
    place = device_of(autoencoder)
    parts = [as_input(pictures[i : i + 8]).to(place) for i in range(0, len(pictures), 8)]
    return np.concatenate([as_pictures(autoencoder.decode(autoencoder.encode(x).latent).sample) for x in parts])


class AutoencoderStage:
    """One run of the stage: the model, its optimiser, its average, and where they are kept."""

    def __init__(self, config: FledglingConfig, folder: Path) -> None:
        self.config, self.own, self.folder = config, config.autoencoder, folder
        torch.manual_seed(self.own.seed)
        self.model: Any = new_autoencoder(self.own).to(training_device(), memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1.0, betas=(0.9, 0.99), weight_decay=1e-4)
        self.average = Average(self.model, 0.998)
        self.step = 0
        state = load_state(folder / "autoencoder.pt")
        if state is not None:
            self.average.restore(state["average"])
            self.model.load_state_dict(state.get("model", state["average"]))
            if "optimizer" in state:
                self.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]

    def save(self) -> None:
        """Keep everything that a later run needs to continue."""
        state = {"step": self.step, "model": self.model.state_dict(), "average": self.average.weights}
        save_state(self.folder / "autoencoder.pt", state | {"optimizer": self.optimizer.state_dict()})

    def train_step(self, pictures: NDArray[np.uint8]) -> float:
        """One step on random crops; returns the loss."""
        own, rng = self.own, seed_step(self.own.seed, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        wanted = as_input(_crops(rng, pictures, own)).to(device_of(self.model))
        with torch.set_grad_enabled(self.step < own.steps):
            latent = self.model.encode(wanted).latent
        noisy = latent + own.latent_noise * torch.randn_like(latent)
        loss = reconstruction_loss(self.model.decode(noisy).sample, wanted) + _PULL_TO_UNIT * _away_from_unit(latent)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.average.update(self.model, self.step)
        self.step += 1
        return float(loss.detach())

    def _learning_rate(self) -> float:
        own = self.own
        if self.step < own.steps:
            return own.learning_rate * warm_cosine(self.step, own.steps)
        return 0.6 * own.learning_rate * warm_cosine(self.step - own.steps, own.decoder_steps)

    def averaged(self) -> AutoencoderDC:
        """A copy with the averaged weights, in evaluation mode."""
        model = new_autoencoder(self.own)
        model.load_state_dict(self.average.weights)
        return model.to(device_of(self.model)).eval()

    def run(self, decoder_alone: bool = False) -> AutoencoderDC:
        """Train to the configured number of steps; returns the averaged model.

        `decoder_alone` goes on from there with the averaged encoder, which no longer changes.
        """
        total = self.own.steps + (self.own.decoder_steps if decoder_alone else 0)
        if decoder_alone and self.step == self.own.steps:
            self.model.load_state_dict(self.average.weights)
        data = self.config.data
        pictures = np.array(drawn_pictures(self.folder, PictureSet(data.seed, self.own.pictures, data.size)))
        monitor = Monitor("autoencoder", total, self.folder)
        saved = time.monotonic()
        with monitor.watching(self.step):
            while self.step < total:
                monitor.step(self.step, self.train_step(pictures))
                if self.step % _TOLD_EVERY == 0 or self.step == total:
                    monitor.figures(self.step, self.examined())
                if time.monotonic() - saved > self.config.save_seconds:
                    self.save()
                    saved = time.monotonic()
        self.save()
        return self.averaged()

    def examined(self) -> dict[str, float]:
        """PSNR and relative sharpness on held-out drawings, and the spread of the latents; writes a sheet."""
        from bowerbird.training.quality import sharpness

        model = self.averaged()
        drawn = held_out_pictures(self.config, _HELD_OUT_PICTURES)
        decoded = reconstructed(model, drawn)
        with torch.no_grad():
            latent = model.encode(as_input(drawn[:8]).to(device_of(model))).latent
        write_sheet(self.folder / "autoencoder.png", [*drawn[:6], *decoded[:6], *drawn[6:12], *decoded[6:12]], 6)
        sharp = np.median([sharpness(each) for each in decoded]) / np.median([sharpness(each) for each in drawn])
        figures = {"psnr": psnr(drawn, decoded), "sharpness": float(sharp)}
        return figures | {"latent_mean": float(latent.mean()), "latent_std": float(latent.std())}


def warm_cosine(step: int, total: int) -> float:
    """A learning rate's factor: up over 100 steps, then down a cosine to 1 % at `total`."""
    return float(min(1.0, (step + 1) / 100) * (0.5 * (1 + np.cos(np.pi * min(1.0, step / total))) * 0.99 + 0.01))


def _crops(rng: np.random.Generator, pictures: NDArray[np.uint8], own: AutoencoderConfig) -> NDArray[np.uint8]:
    """Random crops, more of them near the middle, where the bird is; half of them mirrored."""
    room = pictures.shape[1] - own.crop
    crops = []
    for index in rng.integers(len(pictures), size=own.batch):
        top, left = (rng.beta(1.3, 1.3, size=2) * (room + 1)).astype(int)
        crop = pictures[index, top : top + own.crop, left : left + own.crop]
        crops.append(crop[:, ::-1] if rng.random() < 0.5 else crop)
    return np.stack(crops)


def _away_from_unit(latent: Tensor) -> Tensor:
    mean, variance = latent.mean((0, 2, 3)), latent.var((0, 2, 3))
    return (mean.square() + torch.log(variance + 1e-4).square()).mean()
