"""One denoising step for a batch of groups that need not be at the same step, nor of the same request.

A **group** is what steps atomically: one picture, that is one row, or two with guidance (what the prompt asks for and
what the negative prompt asks for); or one clip (`clip.py`), whose rows are windows of its frames. Each group brings its
own sampler table, call, seed, conditioning and LoRAs; the denoiser takes a timestep per row. So who shares a batch
changes nothing but speed, and requests join and leave between any two calls of `step`.

Guidance: Ho and Salimans, "Classifier-free diffusion guidance", 2022: out = negative + scale * (positive - negative).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from bowerbird.engine.backend import Array, Floats, Input, Session
from bowerbird.engine.lora.banks import LoraBanks, LoraRow
from bowerbird.engine.model.conditioning import Conditioning
from bowerbird.engine.model.encoder import FirstLatents
from bowerbird.engine.model.noise import INITIAL_CALL, noise
from bowerbird.engine.model.sampler import SamplerTable
from bowerbird.errors import DrawingFailed


@dataclass(eq=False)
class Group:
    """One picture on its way: `state` is float32 `[K, channels, height, width]`, `call` the next denoiser call.

    `clean` is the denoiser's estimate of the finished latents, kept by a step that was asked for it. With `first` it
    begins with those latents, and `table` holds only the calls that are left (`SamplerTable.starting_at`).
    """

    NAME: ClassVar = "Frame"

    index: int
    seed: int
    table: SamplerTable
    guidance_scale: float
    positive: Conditioning
    negative: Conditioning | None
    latent_shape: tuple[int, int, int]
    lora: LoraRow | None = None
    first: FirstLatents | None = None
    call: int = 0
    state: Floats = field(init=False)
    clean: Floats | None = None

    def __post_init__(self) -> None:
        fresh = self.noise(INITIAL_CALL)
        self.state = self.table.start(fresh if self.first is None else self.table.noised(0, self.first.latents, fresh))

    @property
    def rows(self) -> int:
        """Rows of a batch that this group takes."""
        return 1 if self.negative is None else 2

    @property
    def window(self) -> int:
        """Frames of a row; 0 of a picture."""
        return 0

    @property
    def finished(self) -> bool:
        """True when no call is left."""
        return self.call >= self.table.calls

    @property
    def latents(self) -> Floats:
        """The sample, float32 `[channels, height, width]`."""
        sample: Floats = self.state[0]
        return sample

    @property
    def guidance(self) -> Floats | np.float32:
        """Of what is denoised next: a number, or one of each frame in a row, `[frames, 1, 1, 1]`."""
        return np.float32(self.guidance_scale)

    def noise(self, call: int) -> Floats:
        """Of the shape of `latents`; see `noise.noise`."""
        return noise(self.seed, call, self.latent_shape)

    def sample(self) -> Floats:
        """What the denoiser reads next, in each of the group's rows."""
        return self.table.denoiser_input(self.call, self.state)

    def take(self, output: Floats, keep_clean: bool) -> None:
        """Goes on by what the denoiser answered to `sample`, guided."""
        table, first = self.table, self.first
        self.clean = table.clean(self.call, self.state, output) if keep_clean else None
        if self.clean is not None and first is not None:
            self.clean = first.outside(self.clean, first.latents)
        fresh = self.noise(self.call + 1) if table.adds_noise(self.call) else None
        self.state = table.advance(self.call, self.state, output, fresh)
        self.call += 1
        if first is not None and first.mask is not None:
            self.state[0] = first.outside(self.state[0], self._original(first.latents))

    def _original(self, latents: Floats) -> Floats:
        """The latents that it began with, as they would be before its next call."""
        return latents if self.finished else self.table.noised(self.call, latents, self.noise(INITIAL_CALL))


class Denoiser:
    """The bundle's denoiser graphs; knows groups, not requests. `still` draws pictures, `clips` draws clips.

    `with_lora` is the second graph of pictures and where its inputs come from. With `fixed_rows` every call for
    pictures has at least so many rows, dead ones included: a 16-bit runtime picks its kernels by shape, and so gives
    the same bits in any company. (A clip has a call to itself.)
    """

    def __init__(
        self,
        still: Session | None,
        with_lora: tuple[Session, LoraBanks] | None = None,
        fixed_rows: int = 0,
        clips: Session | None = None,
    ) -> None:
        self._still = still
        self._with_lora = with_lora
        self._clips = clips
        self.fixed_rows = fixed_rows

    def step(self, groups: Sequence[Group], keep_clean: Sequence[Group] = ()) -> dict[Group, DrawingFailed]:
        """Advances every group by one call; all must have the same latent shape and none be finished.

        A group whose output is not finite stays as it was, is answered with the reason, and harms nobody else.
        `keep_clean` names the groups that a preview will be made of.
        """
        output = self._run(groups)
        failed: dict[Group, DrawingFailed] = {}
        row = 0
        for group in groups:
            rows = output[row : row + group.rows]
            row += group.rows
            if np.isfinite(rows).all():
                group.take(_guide(group, rows), group in keep_clean)
            else:
                step = f"step {group.call + 1} of {group.table.calls}"
                fact = f"{group.NAME} {group.index} became NaN or infinite in {step}; another seed may succeed."
                failed[group] = DrawingFailed(fact)
        return failed

    def _run(self, groups: Sequence[Group]) -> Floats:
        window = groups[0].window
        inputs: dict[str, Input] = {**_rows(groups, 0 if window else self.fixed_rows)}
        session = self._clips if window else self._still
        if any(group.lora is not None for group in groups):
            assert self._with_lora is not None  # noqa: S101 - `Engine` gives rows LoRAs only when it has the graph
            session, banks = self._with_lora
            loras = [group.lora for group in groups for _ in range(group.rows)]
            loras += [None] * (len(inputs["sample"]) - len(loras))  # type: ignore[arg-type]
            inputs |= banks.inputs("denoiser", loras)
        assert session is not None  # noqa: S101 - `Engine.order` and `animate` refuse what there is no graph for
        output: Floats = session.run(inputs)["output"]
        return output


def _rows(groups: Sequence[Group], at_least: int) -> dict[str, Array]:
    """The graph's inputs; of a guided group the negative row comes first. Rows that are missing repeat the last one."""
    samples: list[Floats] = []
    timesteps: list[float] = []
    conditionings: list[Conditioning] = []
    for group in groups:
        sample = group.sample()
        for conditioning in (group.positive,) if group.negative is None else (group.negative, group.positive):
            samples.append(sample)
            timesteps.append(float(group.table.timesteps[group.call]))
            conditionings.append(conditioning)
    missing = max(0, at_least - len(samples))
    inputs: dict[str, Array] = {
        "sample": np.stack(samples + samples[-1:] * missing),
        "timestep": np.array(timesteps + timesteps[-1:] * missing, np.float32),
    }
    for port in conditionings[0]:
        values = [conditioning[port] for conditioning in conditionings]
        inputs[port] = np.stack(values + values[-1:] * missing)
    return inputs


def _guide(group: Group, output: Floats) -> Floats:
    guided: Floats = output[0]
    if group.negative is not None:
        guided = output[0] + group.guidance * (output[1] - output[0])
    return guided
