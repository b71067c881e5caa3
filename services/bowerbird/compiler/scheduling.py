"""A scheduler of diffusers, run as its pipelines run it, with the noise and the outputs that the caller wants.

`sampler_tables` probes it with unit vectors, `pictures` draws with it. What pipelines know about the classes'
differences stands here once: which of them scale their input, which are told where to begin, what they call
adding noise, and where they take fresh noise from.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

Outputs = Callable[[int, torch.Tensor], torch.Tensor]
"""The denoiser: its output for a call and what it reads in it."""


def begin(scheduler: Any, steps: int, first: int = 0) -> torch.Tensor:
    """Makes it ready for a picture that starts at call `first`; returns the times of the calls it will make."""
    scheduler.set_timesteps(steps)
    if first and hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    times: torch.Tensor = scheduler.timesteps[first:]
    return times


def initial_sigma(scheduler: Any) -> float:
    """Standard deviation of the sample before the first call; 1 for classes that do not say."""
    return float(getattr(scheduler, "init_noise_sigma", 1.0))


def scaled(scheduler: Any, sample: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
    """What the denoiser reads: `scale_model_input`, which flow-matching classes do not have."""
    if not hasattr(scheduler, "scale_model_input"):
        return sample
    read: torch.Tensor = scheduler.scale_model_input(sample, time)
    return read


def noised(scheduler: Any, clean: torch.Tensor, noise: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
    """The sample of clean latents at a time: `add_noise`, which flow matching calls `scale_noise`."""
    sample: torch.Tensor = (
        scheduler.add_noise(clean, noise, time[None])
        if hasattr(scheduler, "add_noise")
        else scheduler.scale_noise(clean, time[None], noise)
    )
    return sample


def run(
    scheduler: Any, times: torch.Tensor, sample: torch.Tensor, outputs: Outputs, fresh: Callable[[], torch.Tensor]
) -> list[torch.Tensor]:
    """The class' own loop after `begin`: the sample before each call, and the last one."""
    samples = [sample]
    with fresh_noise(scheduler, fresh):
        for call, time in enumerate(times):
            output = outputs(call, scaled(scheduler, samples[-1], time))
            samples.append(scheduler.step(output, time, samples[-1], return_dict=False)[0])
    return samples


@contextmanager
def fresh_noise(scheduler: Any, fresh: Callable[[], torch.Tensor]) -> Iterator[None]:
    """Schedulers draw fresh noise through `randn_tensor` of their own module: for a while it hands out ours."""
    module = sys.modules[type(scheduler).__module__]
    original = getattr(module, "randn_tensor", None)
    if original is None:
        yield
        return
    module.randn_tensor = lambda *_, **__: fresh()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        module.randn_tensor = original  # type: ignore[attr-defined]
