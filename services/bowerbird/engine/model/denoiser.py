"""One denoising step for a batch of groups that need not be at the same step, nor of the same request.

A **group** is what steps atomically: one picture, that is one row, or two with guidance (what the prompt asks for and
what the negative prompt asks for). Each group brings its own sampler table, call, seed, conditioning and LoRAs; the
denoiser takes a timestep per row. So who shares a batch changes nothing but speed, and requests join and leave between
any two calls of `step`.

Guidance: Ho and Salimans, "Classifier-free diffusion guidance", 2022: out = negative + scale * (positive - negative).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bowerbird.engine.backend import Array, Floats, Input, Session
from bowerbird.engine.lora.banks import LoraBanks, LoraRow
from bowerbird.engine.model.conditioning import Conditioning
from bowerbird.engine.model.encoder import FirstLatents
from bowerbird.engine.model.noise import INITIAL_CALL, noise
from bowerbird.engine.model.sampler import SamplerTable
from bowerbird.errors import DrawingFailed


@dataclass(slots=True, eq=False)
class Group:
    """One picture on its way: `state` is float32 `[K, channels, height, width]`, `call` the next denoiser call.

    `clean` is the denoiser's estimate of the finished latents, kept by a step that was asked for it. With `first` it
    begins with those latents, and `table` holds only the calls that are left (`SamplerTable.starting_at`).
    """

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
        fresh = noise(self.seed, INITIAL_CALL, self.latent_shape)
        self.state = self.table.start(fresh if self.first is None else self.table.noised(0, self.first.latents, fresh))

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
    """The bundle's denoiser graphs; knows groups, not requests.

    `with_lora` is the second graph and where its inputs come from. With `fixed_rows` every call has at least so many
    rows, dead ones included: a 16-bit runtime picks its kernels by shape, and so gives the same bits in any company.
    """

    def __init__(
        self, session: Session, with_lora: tuple[Session, LoraBanks] | None = None, fixed_rows: int = 0
    ) -> None:
        self._session = session
        self._with_lora = with_lora
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
                _advance(group, _guide(group, rows), group in keep_clean)
            else:
                step = f"step {group.call + 1} of {group.table.calls}"
                fact = f"Frame {group.index} became NaN or infinite in {step}; another seed may succeed."
                failed[group] = DrawingFailed(fact)
        return failed

    def _run(self, groups: Sequence[Group]) -> Floats:
        inputs: dict[str, Input] = {**_rows(groups, self.fixed_rows)}
        session = self._session
        if any(group.lora is not None for group in groups):
            assert self._with_lora is not None  # noqa: S101 - `Engine` gives rows LoRAs only when it has the graph
            session, banks = self._with_lora
            loras = [group.lora for group in groups for _ in range(group.rows)]
            loras += [None] * (len(inputs["sample"]) - len(loras))  # type: ignore[arg-type]
            inputs |= banks.inputs("denoiser", loras)
        output: Floats = session.run(inputs)["output"]
        return output


def _rows(groups: Sequence[Group], at_least: int) -> dict[str, Array]:
    """The graph's inputs; of a guided group the negative row comes first. Rows that are missing repeat the last one."""
    samples: list[Floats] = []
    timesteps: list[float] = []
    conditionings: list[Conditioning] = []
    for group in groups:
        sample = group.table.denoiser_input(group.call, group.state)
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
        guided = output[0] + np.float32(group.guidance_scale) * (output[1] - output[0])
    return guided


def _advance(group: Group, output: Floats, keep_clean: bool) -> None:
    table = group.table
    group.clean = table.clean(group.call, group.state, output) if keep_clean else None
    if group.clean is not None and group.first is not None:
        group.clean = group.first.outside(group.clean, group.first.latents)
    fresh = noise(group.seed, group.call + 1, group.latent_shape) if table.adds_noise(group.call) else None
    group.state = table.advance(group.call, group.state, output, fresh)
    group.call += 1
    if group.first is not None and group.first.mask is not None:
        group.state[0] = group.first.outside(group.state[0], _original(group, group.first.latents))


def _original(group: Group, latents: Floats) -> Floats:
    """The latents that it began with, as they would be before its next call."""
    if group.finished:
        return latents
    return group.table.noised(group.call, latents, noise(group.seed, INITIAL_CALL, group.latent_shape))
