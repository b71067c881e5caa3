"""One denoising step for a batch of groups that need not be at the same step, nor of the same request.

A **group** is what steps atomically: one picture, that is one row, or two with guidance (what the prompt asks for and
what the negative prompt asks for). Each group brings its own sampler table, call, seed and hidden states; the denoiser
takes a timestep per row. So who shares a batch changes nothing but speed, and requests could join and leave between
any two calls of `step`.

Guidance: Ho and Salimans, "Classifier-free diffusion guidance", 2022: out = negative + scale * (positive - negative).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bowerbird.engine.backend import Floats, Session
from bowerbird.engine.noise import INITIAL_CALL, noise
from bowerbird.engine.sampler import SamplerTable
from bowerbird.errors import BowerbirdError


class DrawingDiverged(BowerbirdError):
    """The denoiser answered NaN or infinity; the message names the step and the frame."""

    code = "drawing_diverged"


@dataclass(slots=True, eq=False)
class Group:
    """One picture on its way: `state` is float32 `[K, channels, height, width]`, `call` the next denoiser call."""

    index: int
    seed: int
    table: SamplerTable
    guidance_scale: float
    positive: Floats
    negative: Floats | None
    latent_shape: tuple[int, int, int]
    call: int = 0
    state: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.state = self.table.start(noise(self.seed, INITIAL_CALL, self.latent_shape))

    @property
    def rows(self) -> int:
        """Rows of a batch that this group takes."""
        return 1 if self.negative is None else 2

    @property
    def finished(self) -> bool:
        """True when no call is left."""
        return self.call >= self.table.calls

    @property
    def latents(self) -> Floats:
        """The sample, float32 `[channels, height, width]`."""
        sample: Floats = self.state[0]
        return sample


class Denoiser:
    """The bundle's denoiser graph; knows groups, not requests."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def step(self, groups: Sequence[Group]) -> None:
        """Advances every group by one call; all must have the same latent shape and none be finished.

        Raises DrawingDiverged and leaves the groups as they were when an output is not finite.
        """
        output = self._session.run(_rows(groups))["output"]
        row = 0
        guided = []
        for group in groups:
            guided.append(_guide(group, output[row : row + group.rows]))
            row += group.rows
        for group, each in zip(groups, guided, strict=True):
            fresh = (
                noise(group.seed, group.call + 1, group.latent_shape) if group.table.adds_noise(group.call) else None
            )
            group.state = group.table.advance(group.call, group.state, each, fresh)
            group.call += 1


def _rows(groups: Sequence[Group]) -> dict[str, Floats]:
    """The graph's inputs; of a guided group the negative row comes first."""
    samples, timesteps, states = [], [], []
    for group in groups:
        sample = group.table.denoiser_input(group.call, group.state)
        for hidden in (group.positive,) if group.negative is None else (group.negative, group.positive):
            samples.append(sample)
            timesteps.append(group.table.timesteps[group.call])
            states.append(hidden)
    return {"sample": np.stack(samples), "timestep": np.array(timesteps, np.float32), "states": np.stack(states)}


def _guide(group: Group, output: Floats) -> Floats:
    if not np.isfinite(output).all():
        step = f"step {group.call + 1} of {group.table.calls}"
        raise DrawingDiverged(f"Frame {group.index} became NaN or infinite in {step}; another seed may succeed.")
    guided: Floats = output[0]
    if group.negative is None:
        return guided
    guided = output[0] + np.float32(group.guidance_scale) * (output[1] - output[0])
    return guided
