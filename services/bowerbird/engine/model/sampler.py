"""A sampler is data: a table of numbers for each step count.

Every linear scheduler of diffusers does, per denoiser call i, over a state s of K latents,

    denoiser input   input_scale[i] * s[0]       at time timesteps[i]
    next state       s' = state[i] @ s + output[i] * denoiser output + noise[i] * fresh noise
    clean estimate   clean_sample[i] * s[0] + clean_output[i] * denoiser output

with s[0] the sample; K = 1 for DDIM, Euler, LCM, more for multistep methods. A picture that starts from another one
(image-to-image, inpainting) begins at a later call with `noised_sample[i] * picture + noised_noise[i] * noise`; a
multistep method then has no past yet, so its first few rows are others: `starts` keeps them.

The compiler derives the tables from diffusers' own class and checks them against it (`compiler.sampler_tables`); here
they are only applied. Nothing of a scheduler is implemented twice, and pictures at different steps of different tables
can share one denoiser call.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bowerbird.engine.backend import Floats
from bowerbird.errors import BundleInvalid

PER_CALL = ("timesteps", "input_scale", "clean_sample", "clean_output", "noised_sample", "noised_noise")
TRANSITION = ("state", "output", "noise")


class StartRecord(BaseModel):
    """What is different when a picture starts at a call: the state from its noised latents, and the first rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    initial: list[float] = Field(min_length=1, description="K factors on the noised latents; the first is 1")
    state: list[list[list[float]]]
    output: list[list[float]]
    noise: list[list[float]]


class SamplerRecord(BaseModel):
    """One table as `samplers.json` keeps it; the lists have one entry per denoiser call."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    initial: list[float] = Field(min_length=1, description="K factors on the initial noise; the first is sigma")
    timesteps: list[float] = Field(min_length=1)
    input_scale: list[float]
    state: list[list[list[float]]] = Field(description="K x K")
    output: list[list[float]] = Field(description="K")
    noise: list[list[float]] = Field(description="K")
    clean_sample: list[float]
    clean_output: list[float]
    noised_sample: list[float]
    noised_noise: list[float]
    starts: list[StartRecord] = Field(default_factory=list, description="one per call; empty where K is 1")

    @model_validator(mode="after")
    def _one_entry_per_call(self) -> SamplerRecord:
        calls, latents = len(self.timesteps), len(self.initial)
        for name in PER_CALL:
            if len(getattr(self, name)) != calls:
                raise ValueError(f"{name} does not have one entry per call")
        _check_transition(self, calls, latents)
        if len(self.starts) != (0 if latents == 1 else calls):
            raise ValueError("starts does not have one entry per call")
        for call, start in enumerate(self.starts):
            if len(start.initial) != latents or len(start.output) > calls - call:
                raise ValueError("a start has too many entries")
            _check_transition(start, len(start.output), latents)
        return self


def _check_transition(record: SamplerRecord | StartRecord, calls: int, latents: int) -> None:
    found = [np.shape(getattr(record, name)) for name in TRANSITION] if calls else []
    if found not in ([], [(calls, latents, latents), (calls, latents), (calls, latents)]):
        raise ValueError("state, output and noise do not have one entry per call")


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """A StartRecord as arrays."""

    initial: Floats
    state: Floats
    output: Floats
    noise: Floats


@dataclass(frozen=True, slots=True, eq=False)
class SamplerTable:
    """One table, ready to apply; all float32 (the compiler also checks tables in float64)."""

    initial: Floats
    timesteps: Floats
    input_scale: Floats
    state: Floats
    output: Floats
    noise: Floats
    clean_sample: Floats
    clean_output: Floats
    noised_sample: Floats
    noised_noise: Floats
    starts: tuple[Start, ...] = ()

    @classmethod
    def of(cls, record: SamplerRecord, dtype: DTypeLike = np.float32) -> SamplerTable:
        """The record's numbers as arrays."""

        def arrays(source: BaseModel, names: tuple[str, ...]) -> dict[str, Any]:
            return {name: np.asarray(getattr(source, name), dtype) for name in names}

        starts = tuple(Start(**arrays(each, ("initial", *TRANSITION))) for each in record.starts)
        return cls(**arrays(record, ("initial", *PER_CALL, *TRANSITION)), starts=starts)

    @property
    def calls(self) -> int:
        """Denoiser calls of one picture; PNDM makes one more than the steps that were asked for."""
        return len(self.timesteps)

    @property
    def initial_sigma(self) -> float:
        """Standard deviation of the sample before the first call."""
        return float(self.initial[0])

    def adds_noise(self, call: int) -> bool:
        """True when this call wants fresh noise."""
        return bool(np.any(self.noise[call]))

    def start(self, noise: Floats) -> Floats:
        """The state before the first call, float32 `[K, *noise.shape]`; of `starting_at` it takes noised latents."""
        state: Floats = np.multiply.outer(self.initial, noise)
        return state

    def denoiser_input(self, call: int, state: Floats) -> Floats:
        """What the denoiser reads in this call, the shape of one latent."""
        scaled: Floats = state[0] * self.input_scale[call]
        return scaled

    def advance(self, call: int, state: Floats, output: Floats, fresh_noise: Floats | None) -> Floats:
        """The state after this call; `fresh_noise` may be None where `adds_noise` is False."""
        following: Floats = np.tensordot(self.state[call], state, 1) + np.multiply.outer(self.output[call], output)
        if fresh_noise is not None:
            following += np.multiply.outer(self.noise[call], fresh_noise)
        return following

    def clean(self, call: int, state: Floats, output: Floats) -> Floats:
        """What the denoiser believes the finished latents to be; `state` is the one that `call` began with."""
        estimate: Floats = self.clean_sample[call] * state[0] + self.clean_output[call] * output
        return estimate

    def noised(self, call: int, clean_latents: Floats, noise: Floats) -> Floats:
        """The sample that a picture of these latents would have before `call`."""
        sample: Floats = self.noised_sample[call] * clean_latents + self.noised_noise[call] * noise
        return sample

    def starting_at(self, call: int) -> SamplerTable:
        """The table of a picture that makes only the calls from `call` on; its `start` takes what `noised` gives.

        Image-to-image of strength p with n steps starts at call n - floor(n * p), as in diffusers.
        """
        rows: dict[str, Any] = {name: getattr(self, name)[call:] for name in (*PER_CALL, *TRANSITION)}
        if not self.starts:
            return replace(self, **rows, initial=np.ones_like(self.initial))
        start = self.starts[call]
        for name in TRANSITION:
            other = getattr(start, name)
            rows[name] = np.concatenate([other, rows[name][len(other) :]]) if len(other) else rows[name]
        return replace(self, **rows, initial=start.initial, starts=())


def read_sampler_tables(path: Path) -> dict[int, SamplerTable]:
    """The tables of a bundle by step count; raises BundleInvalid when the file is not what the format says."""
    try:
        document = json.loads(path.read_bytes())
        return {int(steps): SamplerTable.of(SamplerRecord.model_validate(each)) for steps, each in document.items()}
    except (ValueError, AttributeError, ValidationError) as error:
        raise BundleInvalid(f"{path} does not hold sampler tables.") from error
