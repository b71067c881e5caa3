"""Token ids -> pixels by one backend: `eager` calls torch's kernels one by one, `graphs` replays CUDA graphs, and
`inductor` compiles the repeated blocks by torch.compile before it captures them (regional compilation: every block of a
kind and shape is compiled once, seconds instead of minutes).

The sampler is Euler's (Karras et al., 2022) with a sigma per row, so a batch may hold rows at different steps; scaling,
guidance and update are part of the captured step.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.gpu.decoders import FullDecoder, TinyDecoder, pixels
from benchmarks.gpu.lora import Banks
from benchmarks.gpu.replay import Replay
from benchmarks.gpu.shapes import DOWNSCALE, LATENT_CHANNELS, TIME_IDS, TOKENS, Shape
from benchmarks.gpu.text_encoders import TextEncoders
from benchmarks.gpu.unet import Block, Resnet, UNet

GUIDANCE_SCALE = 5.0
SIGMA_MIN, SIGMA_MAX = 0.03, 14.6


class Model:
    """Random weights of a shape on a device, channels last; parts are made when they are first asked for."""

    def __init__(self, shape: Shape, device: str, dtype: torch.dtype) -> None:
        self.shape, self.device, self.dtype = shape, device, dtype
        self._parts: dict[type[nn.Module], nn.Module] = {}
        self._compiled = False

    def part(self, kind: type[nn.Module]) -> Any:
        """The part of this class, with weights of variance 1 / fan-in, so that values neither vanish nor run away."""
        if kind not in self._parts:
            with torch.device("meta"):
                part = kind(self.shape).eval().requires_grad_(False).to(self.dtype)
            part = part.to_empty(device=self.device)
            generator = torch.Generator(self.device).manual_seed(len(self._parts))
            for name, values in part.named_parameters():
                if values.ndim > 1:
                    values.normal_(0, values[0].numel() ** -0.5, generator=generator)
                else:
                    values.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
            self._parts[kind] = part.to(memory_format=torch.channels_last)
        return self._parts[kind]

    def compile_blocks(self, wanted: bool) -> None:
        """Whether calls of the denoiser from now on go through torch.compile."""
        if wanted == self._compiled:
            return
        self._compiled = wanted
        if wanted:
            import torch._dynamo

            torch._dynamo.config.recompile_limit = 64
        for module in self.part(UNet).modules():
            if isinstance(module, (Block, Resnet)):
                module._compiled_call_impl = None
                if wanted:
                    module.compile(dynamic=False)


class Painter:
    """One backend over a model; call it in torch's inference mode. With `banks`, every step takes its rows' LoRAs."""

    def __init__(self, model: Model, backend: str, banks: Banks | None = None, full_decoder: bool = False) -> None:
        self.model, self.backend, self.banks = model, backend, banks
        self.decoder = FullDecoder if full_decoder else TinyDecoder
        on_gpu = backend != "eager" and model.device == "cuda"
        self._pool = torch.cuda.graph_pool_handle() if on_gpu else None
        self._replays: dict[tuple[Any, ...], Replay] = {}
        self._schedules: dict[int, list[tuple[Tensor, Tensor]]] = {}

    def encode(self, token_ids: Tensor) -> tuple[Tensor, Tensor]:
        """states and pooled of `token_ids` [rows, 77]."""
        states, pooled = self._run("encode", self.model.part(TextEncoders), token_ids.to(self.model.device))
        return states.clone(), pooled.clone()

    def decode(self, latents: Tensor) -> Tensor:
        """uint8 [n, height, width, 3] on the device."""
        decoder = self.model.part(self.decoder)
        return self._run("decode", lambda x: pixels(decoder(x)), latents)

    def step(
        self, latents: Tensor, sigmas: Tensor, following: Tensor, prompt: tuple[Tensor, ...], *lora: Tensor
    ) -> Tensor:
        """Latents [n, 4, h, w] one step further; `sigmas`, `following` [n]; guided where the prompt has 2 n rows."""
        step = self._guided if len(prompt[0]) == 2 * len(latents) else self._unguided
        return self._run(step.__name__, step, latents, sigmas, following, *prompt, *lora)

    def picture(self, token_ids: Tensor, latents: Tensor, steps: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Frames in host memory, from token ids and noise in host memory.

        With twice as many prompts as latents the first half is what is not wanted.
        """
        prompt = (*self.encode(token_ids), self.time_ids(len(token_ids), latents.shape[-1]))
        rows, latents = len(latents), latents.to(self.model.device)
        for sigma, following in self.schedule(steps):
            latents = self.step(latents, sigma.expand(rows), following.expand(rows), prompt)
        drawn: np.ndarray[Any, np.dtype[np.uint8]] = self.decode(latents).cpu().numpy()
        return drawn

    def schedule(self, steps: int) -> list[tuple[Tensor, Tensor]]:
        """(sigma now, sigma next) of each step, on the device; the last goes to 0."""
        if steps not in self._schedules:
            sigmas = torch.cat([torch.logspace(np.log10(SIGMA_MAX), np.log10(SIGMA_MIN), steps), torch.zeros(1)])
            on_device = sigmas.to(self.model.device)
            self._schedules[steps] = list(itertools.pairwise(on_device))
        return self._schedules[steps]

    def time_ids(self, rows: int, latent_side: int) -> Tensor:
        """Original size, crop, target size."""
        side = float(latent_side * DOWNSCALE)
        return torch.tensor([[side, side, 0, 0, side, side]], device=self.model.device).expand(rows, TIME_IDS)

    def noise(self, rows: int, side: int) -> Tensor:
        """Initial latents for pictures of `side` pixels."""
        shape = (rows, LATENT_CHANNELS, side // DOWNSCALE, side // DOWNSCALE)
        generator = torch.Generator().manual_seed(rows)
        return (torch.randn(shape, generator=generator) * SIGMA_MAX).to(self.model.device, self.model.dtype)

    def prompts(self, rows: int) -> Tensor:
        """Random token ids in host memory, the end last."""
        vocabulary = min(each.vocabulary for each in self.model.shape.text)
        ids = torch.randint(0, vocabulary - 1, (rows, TOKENS), generator=torch.Generator().manual_seed(rows))
        ids[:, -1] = vocabulary - 1
        return ids

    def _run(self, name: str, work: Any, *inputs: Tensor) -> Any:
        if self._pool is None:
            self.model.compile_blocks(self.backend == "inductor")
            return work(*inputs)
        key = (name, *(each.shape for each in inputs))
        if key not in self._replays:
            self.model.compile_blocks(self.backend == "inductor")
            self._replays[key] = Replay(work, inputs, self._pool)
        return self._replays[key](*inputs)

    def _unguided(self, latents: Tensor, sigmas: Tensor, following: Tensor, *inputs: Tensor) -> Tensor:
        output = self._denoise(latents, sigmas, *inputs)
        return latents + (following - sigmas)[:, None, None, None].to(latents.dtype) * output

    def _guided(self, latents: Tensor, sigmas: Tensor, following: Tensor, *inputs: Tensor) -> Tensor:
        output = self._denoise(latents.repeat(2, 1, 1, 1), sigmas.repeat(2), *inputs)
        negative, positive = output.chunk(2)
        guided = negative + GUIDANCE_SCALE * (positive - negative)
        return latents + (following - sigmas)[:, None, None, None].to(latents.dtype) * guided

    def _denoise(self, latents: Tensor, sigmas: Tensor, *inputs: Tensor) -> Tensor:
        states, pooled, time_ids, *lora = inputs
        if self.banks is not None:
            self.banks.gather(*lora)
        scaled = latents * torch.rsqrt(sigmas**2 + 1)[:, None, None, None].to(latents.dtype)
        scaled = scaled.contiguous(memory_format=torch.channels_last)
        timestep = 999 * (sigmas / SIGMA_MAX) ** 0.5
        return self.model.part(UNet)(scaled, timestep, states, pooled, time_ids)
