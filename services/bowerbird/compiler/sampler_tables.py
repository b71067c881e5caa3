"""A scheduler of diffusers as tables of numbers, found by probing the class itself.

`compile` calls `derive_tables` once per bundle; `engine.sampler` applies the result. No scheduler is written again
here: the class runs its own loop over unit vectors instead of latents, one axis for the initial noise and one for every
denoiser output and every fresh noise to come. What comes out after call i says how that sample depends on each of
them, and for a linear scheduler that is all there is to know.

The state of K latents is the observable companion form (Ho and Kalman, "Effective construction of linear state-variable
models", 1966): s[k] is what the sample will be in k calls if all outputs until then are zero. So s[0] is the sample,
the state matrix is a shift with one fitted row, and K is the smallest number with which the fit is exact. DDIM, Euler
and LCM need 1, DPM-Solver++ 2M needs 2, UniPC 3, PNDM 4. A class that clips, thresholds or is otherwise not linear fits
no K up to 4 and is refused.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bowerbird.compiler.checkpoint import CheckpointUnsupported
from bowerbird.engine.sampler import SamplerRecord, SamplerTable

MAX_LATENTS = 4
TOLERANCE = 1e-5
LATENT_SHAPE = (1, 1, 8, 8)  # some classes read the rank or the channels of what they are given

Doubles = NDArray[np.float64]


def derive_tables(scheduler_class: type[Any], config: dict[str, Any], max_steps: int) -> dict[int, SamplerRecord]:
    """One table for each of 1..`max_steps` steps, each checked against a full run of the class to 1e-5.

    Raises CheckpointUnsupported, naming the class, when it is not linear in sample, output and noise.
    """
    return {steps: _derive(scheduler_class.from_config(config), steps) for steps in range(1, max_steps + 1)}


def _derive(scheduler: Any, steps: int) -> SamplerRecord:
    scheduler.set_timesteps(steps)
    calls = len(scheduler.timesteps)
    responses = _responses(scheduler, calls)
    for latents in range(1, MAX_LATENTS + 1):
        record = _realise(scheduler, responses, latents)
        if _difference(scheduler, SamplerTable.of(record, np.float64), steps) <= TOLERANCE:
            return record
    name = type(scheduler).__name__
    raise CheckpointUnsupported(
        f"{name} with {steps} steps is not of the form s' = M s + v output + c noise over at most {MAX_LATENTS} "
        "latents (does its config clip or threshold?), so it cannot be compiled."
    )


def _responses(scheduler: Any, calls: int) -> Doubles:
    """`[calls + 1, 1 + 2 * calls]`: sample before each call and at the end, over (initial, outputs, noises)."""
    unit = torch.eye(1 + 2 * calls, dtype=torch.float64).reshape(-1, *LATENT_SHAPE[:2], 1 + 2 * calls, 1)
    noises = iter(unit[1 + calls :])
    samples = _run(scheduler, unit[0], lambda call, _: unit[1 + call], lambda: next(noises))
    return np.stack([sample.to(torch.float64).flatten().numpy() for sample in samples])


def _realise(scheduler: Any, responses: Doubles, latents: int) -> SamplerRecord:
    """The table over `latents` latents that fits best; exact when the scheduler has no more memory than that."""
    calls = len(responses) - 1
    ahead = np.concatenate([responses, np.zeros((latents, responses.shape[1]))])
    record: dict[str, Any] = {"state": [], "output": [], "noise": []}
    for call in range(calls):
        past = [0, *range(1, 1 + call), *range(1 + calls, 1 + calls + call)]
        window = ahead[call : call + latents, past]
        last, *_ = np.linalg.lstsq(window.T, ahead[call + latents, past], rcond=1e-9)
        record["state"].append([*np.eye(latents, k=1)[:-1].tolist(), last.tolist()])
        record["output"].append(ahead[call + 1 : call + 1 + latents, 1 + call].tolist())
        record["noise"].append(ahead[call + 1 : call + 1 + latents, 1 + calls + call].tolist())
    return SamplerRecord(
        initial=(ahead[:latents, 0] * _initial_sigma(scheduler)).tolist(),
        timesteps=[float(time) for time in scheduler.timesteps],
        input_scale=_input_scales(scheduler),
        **record,
    )


def _input_scales(scheduler: Any) -> list[float]:
    """The factor of `scale_model_input` at each call; asked in order, since Euler counts its calls."""
    scheduler.set_timesteps(scheduler.num_inference_steps)
    scales: list[float] = []
    one = torch.ones(LATENT_SHAPE, dtype=torch.float64)
    for time in scheduler.timesteps:
        scales.append(float(_scaled(scheduler, one, time).flatten()[0]))
        scheduler.step(torch.zeros_like(one), time, one, return_dict=False)
    return scales


def _scaled(scheduler: Any, sample: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
    """`scale_model_input`, which flow-matching classes do not have."""
    scaled: torch.Tensor = (
        scheduler.scale_model_input(sample, time) if hasattr(scheduler, "scale_model_input") else sample
    )
    return scaled


def _initial_sigma(scheduler: Any) -> float:
    return float(getattr(scheduler, "init_noise_sigma", 1.0))


def _difference(scheduler: Any, table: SamplerTable, steps: int) -> float:
    """Largest difference between a full run of the class and the table's in float64, relative to the largest sample.

    The outputs follow from the samples, as a denoiser's do, so that an error would be carried on.
    """
    scheduler.set_timesteps(steps)
    generator = torch.Generator().manual_seed(steps)
    initial = torch.randn(LATENT_SHAPE, generator=generator, dtype=torch.float64)
    fresh = [torch.randn(LATENT_SHAPE, generator=generator, dtype=torch.float64) for _ in range(table.calls)]
    noises = iter(fresh)
    samples = _run(scheduler, initial * _initial_sigma(scheduler), _denoiser_like, lambda: next(noises))
    state = table.start(initial.numpy())
    largest, difference, used = 1.0, 0.0, 0
    for call in range(table.calls):
        output = _denoiser_like(call, torch.from_numpy(table.denoiser_input(call, state))).numpy()
        noise = None
        if table.adds_noise(call):
            noise, used = fresh[used].numpy(), used + 1
        state = table.advance(call, state, output, noise)
        expected = samples[call + 1].to(torch.float64).numpy()
        largest = max(largest, float(np.abs(expected).max()))
        difference = max(difference, float(np.abs(expected - state[0]).max()))
    return difference / largest


def _denoiser_like(call: int, sample: torch.Tensor) -> torch.Tensor:
    """Depends on sample and call as a denoiser's output does; up to 3, so that a class that clips at 1 is found out."""
    return 3.0 * torch.cos(1.7 * sample + call).to(sample.dtype)


def _run(
    scheduler: Any,
    initial: torch.Tensor,
    output: Callable[[int, torch.Tensor], torch.Tensor],
    noise: Callable[[], torch.Tensor],
) -> list[torch.Tensor]:
    """The class' own loop: the sample before each call, and the last one."""
    scheduler.set_timesteps(scheduler.num_inference_steps)
    samples = [initial]
    with _fresh_noise(scheduler, noise):
        for call, time in enumerate(scheduler.timesteps):
            scaled = _scaled(scheduler, samples[-1], time)
            samples.append(scheduler.step(output(call, scaled), time, samples[-1], return_dict=False)[0])
    return samples


@contextmanager
def _fresh_noise(scheduler: Any, noise: Callable[[], torch.Tensor]) -> Iterator[None]:
    """Schedulers draw fresh noise through `randn_tensor` of their own module: for a while it hands out ours."""
    module = sys.modules[type(scheduler).__module__]
    original = getattr(module, "randn_tensor", None)
    if original is None:
        yield
        return
    module.randn_tensor = lambda *_, **__: noise()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        module.randn_tensor = original  # type: ignore[attr-defined]
