"""A picture that begins with another one under a mask, against the loop of diffusers' inpainting pipeline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest

from bowerbird.engine.backend import Array, Input
from bowerbird.engine.model.denoiser import Denoiser, Group
from bowerbird.engine.model.encoder import FirstLatents
from bowerbird.engine.model.noise import INITIAL_CALL, noise
from bowerbird.engine.model.sampler import SamplerTable

torch = pytest.importorskip("torch", reason="the compiler needs torch (extra `compiler`)")
diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers on NumPy 2

BETAS: dict[str, Any] = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
SCHEDULERS = [
    ("DDIMScheduler", {**BETAS, "clip_sample": False}),
    ("DDIMScheduler", {**BETAS, "clip_sample": False, "prediction_type": "v_prediction"}),
    ("EulerDiscreteScheduler", BETAS),
    ("DPMSolverMultistepScheduler", BETAS),
]
SHAPE = (4, 8, 8)
SEED, STEPS = 3, 7


class Bent:
    """A denoiser whose output follows from its input alone, in NumPy as in torch."""

    def run(self, inputs: Mapping[str, Input]) -> dict[str, Array]:
        sample = inputs["sample"]
        assert isinstance(sample, np.ndarray)
        return {"output": np.tanh(sample)}


@cache
def table(name: str, config: str) -> SamplerTable:
    from bowerbird.compiler.sampler_tables import derive_tables

    return SamplerTable.of(derive_tables(getattr(diffusers, name)(**json.loads(config)), STEPS)[STEPS])


@pytest.mark.parametrize(("name", "config"), SCHEDULERS)
@pytest.mark.parametrize("strength", [1.0, 0.6, 0.2])
def test_a_masked_picture_is_the_one_that_diffusers_makes(name: str, config: dict[str, Any], strength: float) -> None:
    random = np.random.default_rng(0)
    original = random.standard_normal(SHAPE).astype(np.float32)
    mask = (random.random((1, *SHAPE[1:])) < 0.5).astype(np.float32)
    first_call = STEPS - int(STEPS * strength)
    group = Group(
        index=0,
        seed=SEED,
        table=table(name, json.dumps(config)).starting_at(first_call),
        guidance_scale=1.0,
        positive={},
        negative=None,
        latent_shape=SHAPE,
        first=FirstLatents(original, mask),
    )
    denoiser = Denoiser(Bent())
    while not group.finished:
        denoiser.step([group])

    np.testing.assert_allclose(group.latents, theirs(name, config, original, mask, first_call), rtol=1e-4, atol=1e-4)


def theirs(name: str, config: dict[str, Any], original: Array, mask: Array, first_call: int) -> Array:
    """`StableDiffusionInpaintPipeline.__call__` from its step 10 on, for a UNet of four channels, without guidance."""
    scheduler = getattr(diffusers, name)(**config)
    scheduler.set_timesteps(STEPS)
    timesteps = scheduler.timesteps[first_call:]
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first_call)
    image_latents, masked = torch.from_numpy(original)[None], torch.from_numpy(mask)[None]
    fresh = torch.from_numpy(noise(SEED, INITIAL_CALL, SHAPE))[None]
    latents = scheduler.add_noise(image_latents, fresh, timesteps[:1])
    for i, t in enumerate(timesteps):
        scaled = scheduler.scale_model_input(latents, t)
        latents = scheduler.step(torch.tanh(scaled), t, latents, return_dict=False)[0]
        proper = image_latents
        if i < len(timesteps) - 1:
            proper = scheduler.add_noise(proper, fresh, torch.tensor([timesteps[i + 1]]))
        latents = (1 - masked) * proper + masked * latents
    kept: Array = latents[0].numpy()
    return kept
