"""The numbers of what is measured: SDXL's (Podell et al., 2023; diffusers' configs of stable-diffusion-xl-base-1.0 and
sdxl-turbo, which differ in weights only), and a miniature of the same structure that a CPU steps in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass

TOKENS = 77
LATENT_CHANNELS = 4
DOWNSCALE = 8
TIME_IDS = 6


@dataclass(frozen=True, slots=True)
class TextShape:
    """A CLIP text encoder; `projection` 0: it gives no pooled vector."""

    width: int
    layers: int
    heads: int
    projection: int
    vocabulary: int = 49_408


@dataclass(frozen=True, slots=True)
class Shape:
    """A denoiser of SDXL's structure: per level its channels and the depth of each of its transformers."""

    name: str
    channels: tuple[int, int, int]
    depths: tuple[int, int, int]
    head_width: int
    norm_groups: int
    time_id_width: int
    text: tuple[TextShape, TextShape]
    tiny_decoder_channels: int
    decoder_channels: tuple[int, ...]
    resnets_per_level: int = 2

    @property
    def states_width(self) -> int:
        """Width of the hidden states that cross-attention reads: both text encoders' side by side."""
        return self.text[0].width + self.text[1].width

    @property
    def time_width(self) -> int:
        """Width of the time embedding."""
        return 4 * self.channels[0]

    @property
    def added_width(self) -> int:
        """Pooled text and the embedded time ids, side by side (`projection_class_embeddings_input_dim`)."""
        return self.text[1].projection + TIME_IDS * self.time_id_width


@dataclass(frozen=True, slots=True)
class MotionShape:
    """A denoiser of AnimateDiff's structure: transformers with motion modules on every level but the last."""

    channels: tuple[int, ...]
    heads: int
    norm_groups: int
    states_width: int
    window: int = 16
    resnets_per_level: int = 2


SDXL = Shape(
    name="SDXL",
    channels=(320, 640, 1280),
    depths=(0, 2, 10),
    head_width=64,
    norm_groups=32,
    time_id_width=256,
    text=(TextShape(768, 12, 12, 0), TextShape(1280, 32, 20, 1280)),
    tiny_decoder_channels=64,
    decoder_channels=(512, 512, 256, 128),
)
MINIATURE = Shape(
    name="miniature",
    channels=(16, 32, 32),
    depths=(0, 1, 2),
    head_width=16,
    norm_groups=8,
    time_id_width=8,
    text=(TextShape(16, 1, 2, 0, 100), TextShape(32, 2, 2, 16, 100)),
    tiny_decoder_channels=8,
    decoder_channels=(16, 16, 8, 8),
)
SD15_MOTION = MotionShape(channels=(320, 640, 1280, 1280), heads=8, norm_groups=32, states_width=768)
"""Stable Diffusion 1.5 with animatediff-motion-adapter-v1-5-2."""
MINIATURE_MOTION = MotionShape(
    channels=(16, 32), heads=2, norm_groups=8, states_width=16, window=4, resnets_per_level=1
)
