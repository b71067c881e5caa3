"""diffusers' own schedulers, as tables: found by probing, equal to the class, or refused by name."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pytest

from bowerbird.compiler.checkpoint import CheckpointUnsupported

torch = pytest.importorskip("torch", reason="the compiler needs torch (extra `compiler`)")
diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers on NumPy 2

BETAS: dict[str, Any] = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
FLEDGLING: dict[str, Any] = {
    **BETAS,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "clip_sample": False,
}


def derived(name: str, config: dict[str, Any], max_steps: int = 8) -> Any:
    return _derived(name, json.dumps(config), max_steps)


@cache
def _derived(name: str, config: str, max_steps: int) -> Any:
    from bowerbird.compiler.sampler_tables import derive_tables

    return derive_tables(getattr(diffusers, name)(**json.loads(config)), max_steps)


SCHEDULERS = [
    ("DDIMScheduler", FLEDGLING, 1),
    ("DDIMScheduler", {**BETAS, "clip_sample": False}, 1),
    ("EulerDiscreteScheduler", BETAS, 1),
    ("EulerDiscreteScheduler", {**BETAS, "prediction_type": "v_prediction", "use_karras_sigmas": True}, 1),
    ("EulerAncestralDiscreteScheduler", {**BETAS, "timestep_spacing": "trailing"}, 1),
    ("LCMScheduler", BETAS, 1),
    ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}, 1),
    ("DPMSolverMultistepScheduler", BETAS, 2),
    ("DPMSolverMultistepScheduler", {**BETAS, "use_karras_sigmas": True, "prediction_type": "v_prediction"}, 2),
    ("UniPCMultistepScheduler", BETAS, 3),
    ("PNDMScheduler", {**BETAS, "skip_prk_steps": True, "steps_offset": 1}, 4),
]


@pytest.mark.parametrize(("name", "config", "latents"), SCHEDULERS)
def test_a_linear_scheduler_becomes_tables_of_as_many_latents_as_it_remembers(
    name: str, config: dict[str, Any], latents: int
) -> None:
    tables = derived(name, config)
    assert set(tables) == set(range(1, 9))
    assert len(tables[8].initial) == latents
    assert len(tables[8].starts) == (0 if latents == 1 else len(tables[8].timesteps))


@pytest.mark.parametrize(("name", "config", "latents"), SCHEDULERS)
@pytest.mark.parametrize("strength", [1.0, 0.6, 0.3])
def test_a_picture_that_starts_from_another_is_the_one_that_diffusers_makes(
    name: str, config: dict[str, Any], latents: int, strength: float
) -> None:
    """The loop of diffusers' image-to-image pipelines, in torch, against the table in NumPy."""
    from bowerbird.engine.model.sampler import SamplerTable

    steps = 7
    table = SamplerTable.of(derived(name, config)[steps])
    scheduler = getattr(diffusers, name)(**config)
    scheduler.set_timesteps(steps)
    first = max(steps - int(steps * strength), 0)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    random = np.random.default_rng(0)
    picture, noise = (random.standard_normal((4, 8, 8)).astype(np.float32) for _ in range(2))
    time = scheduler.timesteps[first : first + 1]
    pair = torch.from_numpy(picture)[None], torch.from_numpy(noise)[None]
    sample = (
        scheduler.scale_noise(pair[0], time, pair[1])
        if name.startswith("FlowMatch")
        else scheduler.add_noise(*pair, time)
    )
    tail = table.starting_at(first)
    state = tail.start(table.noised(first, picture, noise))
    generator = torch.Generator().manual_seed(1)
    fresh = iter(torch.randn(len(scheduler.timesteps), 1, 4, 8, 8, generator=torch.Generator().manual_seed(1)))
    more = {"generator": generator} if "Ancestral" in name or name.startswith("LCM") else {}
    for call, each in enumerate(scheduler.timesteps[first:]):
        scaled = scheduler.scale_model_input(sample, each) if hasattr(scheduler, "scale_model_input") else sample
        output = np.tanh(tail.denoiser_input(call, state))
        sample = scheduler.step(torch.tanh(scaled), each, sample, return_dict=False, **more)[0]
        state = tail.advance(call, state, output, next(fresh)[0].numpy() if tail.adds_noise(call) else None)
    np.testing.assert_allclose(state[0], sample[0].numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("EulerDiscreteScheduler", "epsilon"),
        ("EulerDiscreteScheduler", "v_prediction"),
        ("EulerAncestralDiscreteScheduler", "epsilon"),
        ("DDIMScheduler", "epsilon"),
        ("DDIMScheduler", "v_prediction"),
        ("DDIMScheduler", "sample"),
    ],
)
def test_the_clean_estimate_is_the_one_that_the_class_gives(name: str, kind: str) -> None:
    from bowerbird.engine.model.sampler import SamplerTable

    config = {**BETAS, "prediction_type": kind} | ({"clip_sample": False} if name == "DDIMScheduler" else {})
    table = SamplerTable.of(derived(name, config)[5])
    scheduler = getattr(diffusers, name)(**config)
    scheduler.set_timesteps(5)
    random = np.random.default_rng(0)
    for call, time in enumerate(scheduler.timesteps):
        sample, output = (random.standard_normal((1, 4, 8, 8)).astype(np.float32) for _ in range(2))
        scheduler.scale_model_input(torch.from_numpy(sample), time)
        theirs = scheduler.step(torch.from_numpy(output), time, torch.from_numpy(sample)).pred_original_sample
        np.testing.assert_allclose(table.clean(call, sample, output[0]), theirs[0].numpy(), rtol=1e-3, atol=1e-4)


def test_pndm_makes_one_call_more_than_the_steps_that_were_asked_for() -> None:
    tables = derived("PNDMScheduler", {**BETAS, "skip_prk_steps": True, "steps_offset": 1})
    assert len(tables[7].timesteps) == 8


def test_fledglings_table_draws_what_ddim_draws() -> None:
    """Once more by hand: the class' loop in torch against the table in NumPy, for twenty steps."""
    from bowerbird.engine.model.sampler import SamplerTable

    table = SamplerTable.of(derived("DDIMScheduler", FLEDGLING, 20)[20])
    scheduler = diffusers.DDIMScheduler(**FLEDGLING)
    scheduler.set_timesteps(20)
    initial = np.random.default_rng(0).standard_normal((4, 8, 8)).astype(np.float32)
    sample, state = torch.from_numpy(initial)[None], table.start(initial)
    for call, time in enumerate(scheduler.timesteps):
        assert float(time) == table.timesteps[call]
        assert not table.adds_noise(call)
        output = np.tanh(table.denoiser_input(call, state))
        sample = scheduler.step(torch.tanh(sample), time, sample, return_dict=False)[0]
        state = table.advance(call, state, output, None)
    np.testing.assert_allclose(state[0], sample[0].numpy(), atol=1e-5)


def test_a_scheduler_that_adds_noise_says_where() -> None:
    table = derived("EulerAncestralDiscreteScheduler", BETAS, 4)[4]
    assert [row[0] > 0 for row in table.noise] == [True, True, True, False]
    assert table.initial[0] > 10
    assert table.input_scale[0] < 0.1


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("DDIMScheduler", {**BETAS, "clip_sample": True}),
        ("DPMSolverMultistepScheduler", {**BETAS, "thresholding": True}),
    ],
)
def test_a_scheduler_that_clips_is_refused_by_name(name: str, config: dict[str, Any]) -> None:
    with pytest.raises(CheckpointUnsupported, match=f"^{name} with 1 steps is not of the form.*such as DDIMScheduler"):
        derived(name, config)


def test_a_scheduler_that_asks_twice_a_step_is_refused_by_name() -> None:
    with pytest.raises(CheckpointUnsupported, match=r"^HeunDiscreteScheduler asks .* more than once per step"):
        derived("HeunDiscreteScheduler", BETAS)
