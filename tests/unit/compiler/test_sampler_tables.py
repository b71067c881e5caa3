"""diffusers' own schedulers, as tables: found by probing, equal to the class, or refused by name."""

from __future__ import annotations

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


def derived(name: str, config: dict[str, Any], max_steps: int = 12) -> Any:
    from bowerbird.compiler.sampler_tables import derive_tables

    scheduler_class = getattr(diffusers, name)
    return derive_tables(scheduler_class, dict(scheduler_class(**config).config), max_steps)


@pytest.mark.parametrize(
    ("name", "config", "latents"),
    [
        ("DDIMScheduler", FLEDGLING, 1),
        ("EulerDiscreteScheduler", BETAS, 1),
        ("EulerAncestralDiscreteScheduler", BETAS, 1),
        ("LCMScheduler", BETAS, 1),
        ("FlowMatchEulerDiscreteScheduler", {}, 1),
        ("DPMSolverMultistepScheduler", BETAS, 2),
        ("UniPCMultistepScheduler", BETAS, 3),
        ("PNDMScheduler", {**BETAS, "skip_prk_steps": True, "steps_offset": 1}, 4),
    ],
)
def test_a_linear_scheduler_becomes_tables_of_as_many_latents_as_it_remembers(
    name: str, config: dict[str, Any], latents: int
) -> None:
    tables = derived(name, config)
    assert set(tables) == set(range(1, 13))
    assert len(tables[12].initial) == latents


def test_pndm_makes_one_call_more_than_the_steps_that_were_asked_for() -> None:
    tables = derived("PNDMScheduler", {**BETAS, "skip_prk_steps": True, "steps_offset": 1})
    assert len(tables[10].timesteps) == 11


def test_fledglings_table_draws_what_ddim_draws() -> None:
    """Once more by hand: the class' loop in torch against the table in NumPy, for twenty steps."""
    from bowerbird.engine.sampler import SamplerTable

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
    with pytest.raises(CheckpointUnsupported, match=f"^{name} with 1 steps is not of the form"):
        derived(name, config)
