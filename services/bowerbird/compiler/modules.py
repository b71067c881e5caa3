"""The checkpoint's classes brought to the ports of their roles: thin modules, traced and run by the compiler.

Each holds the component and adds nothing that has weights. Latents are the denoiser's own everywhere: what an
autoencoder wants them multiplied and shifted by (diffusers' `scaling_factor`, `shift_factor`) is part of its graphs.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn


class _Wrapped(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model


class LastStates(_Wrapped):
    """A text encoder's last hidden states, after its final normalisation (Stable Diffusion)."""

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self.model(token_ids).last_hidden_state
        return states


class PenultimateStates(_Wrapped):
    """The hidden states before the last layer, not normalised (Stable Diffusion XL, its first encoder)."""

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self.model(token_ids, output_hidden_states=True).hidden_states[-2]
        return states


class PenultimateStatesAndPooled(_Wrapped):
    """The hidden states before the last layer, and the pooled projection (Stable Diffusion XL, its second encoder)."""

    def forward(self, token_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        answer = self.model(token_ids, output_hidden_states=True)
        return answer.hidden_states[-2], answer.text_embeds


class Denoiser(_Wrapped):
    """A UNet that is told the prompt (Stable Diffusion)."""

    def forward(self, sample: torch.Tensor, timestep: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        return _denoised(self.model, sample, timestep, states)


class SizeConditionedDenoiser(_Wrapped):
    """A UNet that is told the sizes too (Stable Diffusion XL)."""

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        states: torch.Tensor,
        pooled: torch.Tensor,
        time_ids: torch.Tensor,
    ) -> torch.Tensor:
        added = {"text_embeds": pooled, "time_ids": time_ids}
        return _denoised(self.model, sample, timestep, states, added_cond_kwargs=added)


class GuidedDenoiser(_Wrapped):
    """A UNet that is told the guidance scale (distilled Stable Diffusion)."""

    def forward(
        self, sample: torch.Tensor, timestep: torch.Tensor, states: torch.Tensor, guidance: torch.Tensor
    ) -> torch.Tensor:
        return _denoised(self.model, sample, timestep, states, timestep_cond=_embedded(self.model, guidance))


class SizeConditionedGuidedDenoiser(_Wrapped):
    """A UNet that is told the sizes and the guidance scale (distilled Stable Diffusion XL)."""

    def forward(  # noqa: PLR0913, PLR0917 - the graph's ports
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        states: torch.Tensor,
        pooled: torch.Tensor,
        time_ids: torch.Tensor,
        guidance: torch.Tensor,
    ) -> torch.Tensor:
        added = {"text_embeds": pooled, "time_ids": time_ids}
        cond = _embedded(self.model, guidance)
        return _denoised(self.model, sample, timestep, states, added_cond_kwargs=added, timestep_cond=cond)


class MotionDenoiser(_Wrapped):
    """A UNet with motion modules (AnimateDiff); its clips are [batch, frames, c, h, w], each with one prompt."""

    def forward(self, sample: torch.Tensor, timestep: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        by_frame = states[:, None].expand(-1, sample.shape[1], -1, -1).flatten(0, 1)
        output: torch.Tensor = _denoised(self.model, sample.transpose(1, 2), timestep, by_frame)
        return output.transpose(1, 2)


class VideoDenoiser(_Wrapped):
    """A UNet over frames (Stable Video Diffusion) that reads beside the noise of each the latents of one picture.

    It was taught on those as its autoencoder encodes them, not scaled as its own are: `scaling` is taken off.
    """

    def __init__(self, model: Any, scaling: float) -> None:
        super().__init__(model)
        self.scaling = scaling

    def extra_repr(self) -> str:
        """What the graph depends on beside the component's layers."""
        return f"scaling={self.scaling}"

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        states: torch.Tensor,
        image_latents: torch.Tensor,
        time_ids: torch.Tensor,
    ) -> torch.Tensor:
        beside = (image_latents / self.scaling)[:, None].expand(-1, sample.shape[1], -1, -1, -1)
        output: torch.Tensor = self.model(
            torch.cat([sample, beside], dim=2), timestep, states, time_ids, return_dict=False
        )[0]
        return output


class ImageStates(_Wrapped):
    """What CLIP's image encoder sees, as the states of one token; pictures are normalised by `mean` and `deviation`."""

    def __init__(self, model: Any, mean: list[float], deviation: list[float]) -> None:
        super().__init__(model)
        self.mean = mean
        self.deviation = deviation

    def extra_repr(self) -> str:
        """What the graph depends on beside the component's layers."""
        return f"mean={self.mean}, deviation={self.deviation}"

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        mean, deviation = (torch.tensor(each)[:, None, None] for each in (self.mean, self.deviation))
        states: torch.Tensor = self.model((pictures / 2 + 0.5 - mean) / deviation).image_embeds
        return states[:, None]


class Decoder(_Wrapped):
    """Latents as pictures."""

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        scaling, shift = _scaling(self.model)
        pictures: torch.Tensor = self.model.decode(latents / scaling + shift, return_dict=False)[0]
        return pictures


class TemporalDecoder(_Wrapped):
    """Latents of neighbouring frames, [batch, frames, c, h, w], as pictures, each seen beside the others."""

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        scaling, _ = _scaling(self.model)
        frames = latents.shape[1]
        pictures: torch.Tensor = self.model.decode(latents.flatten(0, 1) / scaling, num_frames=frames).sample
        return pictures.unflatten(0, (-1, frames))


class Encoder(_Wrapped):
    """Pictures as latents; of an encoder that answers a distribution, its mode."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        scaling, shift = _scaling(self.model)
        encoded = self.model.encode(pictures, return_dict=False)[0]
        latents: torch.Tensor = encoded if isinstance(encoded, torch.Tensor) else encoded.mode()
        return (latents - shift) * scaling


def _denoised(model: Any, sample: torch.Tensor, timestep: torch.Tensor, states: torch.Tensor, **more: Any) -> Any:
    return model(sample, timestep, states, return_dict=False, **more)[0]


def _embedded(model: Any, guidance: torch.Tensor) -> torch.Tensor:
    """Sines and cosines of the guidance scale less one, [batch, `time_cond_proj_dim`].

    As diffusers' `get_guidance_scale_embedding`; Luo et al., "Latent consistency models", 2023, after Meng et al.
    """
    half = model.config.time_cond_proj_dim // 2
    frequencies = torch.exp(torch.arange(half, dtype=torch.float32) * -(math.log(10000.0) / (half - 1)))
    angles = (guidance[:, None] - 1.0) * 1000.0 * frequencies[None]
    return torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)


def _scaling(autoencoder: Any) -> tuple[float, float]:
    config = autoencoder.config
    return float(config.get("scaling_factor") or 1.0), float(config.get("shift_factor") or 0.0)
