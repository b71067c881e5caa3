"""What a training run is told: one TOML file, read once, typed and frozen.

Called by `commands` and by every stage. The defaults in `fledgling.toml` (package data) are the run that made the
committed bundle; tests use tiny values.
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(_Section):
    """Drawings: `size` pixels a side; `train` pictures from `seed` (pictures are a function of seed and index)."""

    size: int = Field(256, ge=32)
    seed: int = 1
    train: int = Field(12_000, ge=1)
    held_out_seed: int = 1_000_001


class AutoencoderConfig(_Section):
    """AutoencoderDC, 16 × smaller; `crop` pixels a side, `latent_noise` in standard deviations of the latents.

    After `steps` of both halves, `decoder_steps` may follow for the decoder alone: the latents, and with them what the
    denoiser was taught on, stay as they are.
    """

    latent_channels: int = 16
    encoder_channels: tuple[int, ...] = (24, 24, 48, 96, 128)
    encoder_layers: tuple[int, ...] = (0, 1, 1, 1, 2)
    decoder_channels: tuple[int, ...] = (32, 32, 64, 128, 128)
    decoder_layers: tuple[int, ...] = (0, 1, 1, 2, 2)
    pictures: int = 3_000
    crop: int = 96
    batch: int = 8
    steps: int = 9_000
    decoder_steps: int = 4_000
    learning_rate: float = 2e-3
    latent_noise: float = 0.05
    seed: int = 11


class TextConfig(_Section):
    """The CLIP text encoder: width, layers and heads; `tokens` is the padded length of a caption."""

    width: int = 128
    layers: int = 2
    heads: int = 4
    tokens: int = 77


class DenoiserConfig(_Section):
    """UNet2DConditionModel on the latents. `caption_dropout` is the share taught with the empty caption."""

    channels: tuple[int, ...] = (96, 192)
    layers: int = 1
    head_width: int = 32
    groups: int = 16
    batch: int = 16
    steps: int = 4_000
    cooldown: int = 1_000
    learning_rate: float = 8e-4
    caption_dropout: float = 0.1
    ema: float = 0.998
    seed: int = 21


class MotionConfig(_Section):
    """Motion modules (AnimateDiff's shape) in the taught denoiser, of `heads` heads; `clips` drawn from `data_seed`.

    `others` is what the learning rate of everything but the motion modules is multiplied by: 0 freezes what stills
    taught. `shared_noise` is the share of the noise's variance that all frames of a clip have in common (mixed noise:
    Ge et al., "Preserve your own correlation", 2023). Clips are drawn with `drawn_noise` of it instead: what frames
    differ in is then decided by their place, as it was taught, and hardly by chance, which made some frames evening in
    a clip of the day; for the same reason they have one mean of each channel in steps from `common_mean_from` on.
    `moving` is how much more a latent pixel counts whose standard deviation over the frames is 1. `apart` is how much
    more an error counts that a frame has alone than one that all have: what a bird looks like cannot be known of a
    noisy clip, and stills have taught it, but how its frames differ can. `timestep_power` below 1 shows noisy clips
    more often (`spread_timesteps`): how a clip moves is decided there, and stills have taught the rest. `often` is how
    much more often than by chance the clips of a motion are shown: a hop takes longer to learn than wings, which the
    pictures of flying birds have taught. `fused` compiles the step (`torch.compile`: a quarter less time on two cores,
    after a minute), which needs a C++ compiler.
    """

    heads: int = 4
    max_frames: int = 32
    clips: int = Field(1_200, ge=1)
    data_seed: int = 6_000_001
    batch: int = 2
    steps: int = 12_000
    cooldown: int = 2_000
    learning_rate: float = 6e-4
    others: float = Field(0.25, ge=0)
    caption_dropout: float = 0.1
    shared_noise: float = Field(0.98, ge=0, lt=1)
    drawn_noise: float = Field(0.995, ge=0, lt=1)
    common_mean_from: float = Field(500.0, ge=0)
    timestep_power: float = Field(0.6, gt=0, le=1)
    moving: float = Field(4.0, ge=0)
    apart: float = Field(4.0, ge=1)
    often: dict[Literal["flapping", "turning its head", "hopping", "taking off", "still"], PositiveFloat] = {}
    fused: bool = False
    ema: float = 0.998
    seed: int = 51


class JudgeConfig(_Section):
    """The image–text judge: `side` pixels of its pictures, `width` of its joint space; `examined` of them calibrate."""

    side: int = 128
    width: int = 128
    channels: tuple[int, ...] = (32, 64, 128)
    text: TextConfig = TextConfig(width=96)
    batch: int = 48
    steps: int = 800
    learning_rate: float = 1.5e-3
    data_seed: int = 2_000_001
    pictures: int = 6_000
    examined: int = 768
    seed: int = 31


class ClassifierConfig(_Section):
    """The examiner of `quality`: species, pose and season from `side` pixels."""

    side: int = 128
    channels: tuple[int, ...] = (32, 64, 128)
    batch: int = 32
    steps: int = 500
    learning_rate: float = 2e-3
    data_seed: int = 3_000_001
    pictures: int = 4_000
    examined: int = 600
    seed: int = 41


class ClipClassifierConfig(_Section):
    """The examiner of `clip-quality`: motion, species and season from clips of `side` pixels, drawn by `workers`."""

    side: int = 96
    channels: tuple[int, ...] = (24, 48, 96)
    batch: int = 16
    steps: int = 2_000
    learning_rate: float = 2e-3
    data_seed: int = 7_000_001
    clips: int = 1_200
    examined: int = 300
    workers: int = Field(2, ge=1)
    seed: int = 61


class FledglingConfig(_Section):
    """The whole run."""

    name: str = "fledgling"
    threads: int = Field(2, ge=1)
    save_seconds: float = Field(240.0, gt=0)
    data: DataConfig = DataConfig()
    autoencoder: AutoencoderConfig = AutoencoderConfig()
    text: TextConfig = TextConfig()
    denoiser: DenoiserConfig = DenoiserConfig()
    motion: MotionConfig = MotionConfig()
    judge: JudgeConfig = JudgeConfig()
    classifier: ClassifierConfig = ClassifierConfig()
    clip_classifier: ClipClassifierConfig = ClipClassifierConfig()


def read_config(path: Path | None = None) -> FledglingConfig:
    """The configuration in a TOML file; without a path, the one in this package."""
    source = files("bowerbird.training") / "fledgling.toml" if path is None else path
    return FledglingConfig.model_validate(tomllib.loads(source.read_text(encoding="utf-8")))
