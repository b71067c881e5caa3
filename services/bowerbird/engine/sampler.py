"""A sampler is data: a table of numbers for each step count.

Every linear scheduler of diffusers does, per denoiser call i, over a state s of K latents,

    denoiser input   input_scale[i] * s[0]       at time timesteps[i]
    next state       s' = state[i] @ s + output[i] * denoiser output + noise[i] * fresh noise

with s[0] the sample; K = 1 for DDIM, Euler, LCM, more for multistep methods. The compiler derives the tables from
diffusers' own class and checks them against it (`compiler.sampler_tables`); here they are only applied. Nothing of a
scheduler is implemented twice, and pictures at different steps of different tables can share one denoiser call.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bowerbird.engine.backend import Floats
from bowerbird.errors import BundleInvalid


class SamplerRecord(BaseModel):
    """One table as `samplers.json` keeps it; the lists have one entry per denoiser call."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    initial: list[float] = Field(min_length=1, description="K factors on the initial noise; the first is sigma")
    timesteps: list[float] = Field(min_length=1)
    input_scale: list[float]
    state: list[list[list[float]]] = Field(description="K x K")
    output: list[list[float]] = Field(description="K")
    noise: list[list[float]] = Field(description="K")

    @model_validator(mode="after")
    def _one_entry_per_call(self) -> SamplerRecord:
        calls, latents = len(self.timesteps), len(self.initial)
        shapes = (np.shape(self.input_scale), np.shape(self.state), np.shape(self.output), np.shape(self.noise))
        if shapes != ((calls,), (calls, latents, latents), (calls, latents), (calls, latents)):
            raise ValueError("the lists do not have one entry per call")
        return self


@dataclass(frozen=True, slots=True, eq=False)
class SamplerTable:
    """One table, ready to apply; all float32 (the compiler also checks tables in float64)."""

    initial: Floats
    timesteps: Floats
    input_scale: Floats
    state: Floats
    output: Floats
    noise: Floats

    @classmethod
    def of(cls, record: SamplerRecord, dtype: DTypeLike = np.float32) -> SamplerTable:
        """The record's numbers as arrays."""
        arrays = {
            name: np.asarray(getattr(record, name), dtype)
            for name in ("initial", "timesteps", "input_scale", "state", "output", "noise")
        }
        return cls(**arrays)

    @property
    def calls(self) -> int:
        """Denoiser calls of one picture; PNDM makes one more than the steps that were asked for."""
        return len(self.timesteps)

    def adds_noise(self, call: int) -> bool:
        """True when this call wants fresh noise."""
        return bool(np.any(self.noise[call]))

    def start(self, noise: Floats) -> Floats:
        """The state before the first call, float32 `[K, *noise.shape]`."""
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


def read_sampler_tables(path: Path) -> dict[int, SamplerTable]:
    """The tables of a bundle by step count; raises BundleInvalid when the file is not what the format says."""
    try:
        document = json.loads(path.read_bytes())
        return {int(steps): SamplerTable.of(SamplerRecord.model_validate(each)) for steps, each in document.items()}
    except (ValueError, AttributeError, ValidationError) as error:
        raise BundleInvalid(f"{path} does not hold sampler tables.") from error
