"""A scheduler of diffusers as tables of numbers, found by probing the class itself.

`compiling` calls `derive_tables` once per bundle; `engine.model.sampler` applies the result. No scheduler is written
again here: the class runs its own loop over unit vectors instead of latents, one axis for the initial sample and one
for every denoiser output and every fresh noise to come. What comes out after call i says how that sample depends on
each of them, and for a linear scheduler that is all there is to know.

The state of K latents is the observable companion form (Ho and Kalman, "Effective construction of linear state-variable
models", 1966): s[k] is what the sample will be in k calls if all outputs until then are zero. So s[0] is the sample,
the state matrix is a shift with one fitted row, and K is the smallest number with which the fit is exact. DDIM, Euler
and LCM need 1, DPM-Solver++ 2M needs 2, UniPC 3, PNDM 4. A class that clips, thresholds or is otherwise not linear fits
no K up to 4 and is refused.

A picture that starts at a later call (image-to-image) has no past, so a multistep class begins with other rows there;
they are probed in the same way, and kept as far as they differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bowerbird.compiler import scheduling
from bowerbird.compiler.checkpoint import CheckpointUnsupported
from bowerbird.engine.model.sampler import TRANSITION, SamplerRecord, SamplerTable, StartRecord

MAX_LATENTS = 4
TOLERANCE = 1e-5
SAME = 2e-6  # the classes' own factors are float32
LATENT_SHAPE = (1, 1, 8, 8)  # some classes read the rank or the channels of what they are given
LINEAR = (
    "DDIMScheduler", "DPMSolverMultistepScheduler", "EulerAncestralDiscreteScheduler", "EulerDiscreteScheduler",
    "FlowMatchEulerDiscreteScheduler", "LCMScheduler", "PNDMScheduler", "UniPCMultistepScheduler",
)  # fmt: skip
"""Classes that are known to be of the form; others are tried."""

Doubles = NDArray[np.float64]
Rows = dict[str, list[Any]]


def derive_tables(scheduler: Any, max_steps: int) -> dict[int, SamplerRecord]:
    """One table for each of 1..`max_steps` steps, each checked against full runs of the class to 1e-5.

    Raises CheckpointUnsupported, naming the class, when it is not linear in sample, output and noise.
    """
    if getattr(scheduler, "order", 1) != 1:
        raise CheckpointUnsupported(_refusal(scheduler, "asks the denoiser more than once per step"))
    tables: dict[int, SamplerRecord] = {}
    latents = 1
    for steps in range(1, max_steps + 1):
        try:
            tables[steps] = _derive(scheduler, steps, latents)
        except (ValueError, NotImplementedError, IndexError, AttributeError) as error:
            raise CheckpointUnsupported(_refusal(scheduler, f"cannot make {steps} steps: {error}")) from error
        latents = len(tables[steps].initial)
    return tables


def _derive(scheduler: Any, steps: int, fewest_latents: int) -> SamplerRecord:
    """More steps never need fewer latents, so the search begins where the step count before ended."""
    responses = _responses(scheduler, steps, 0)
    per_call = _per_call(scheduler, steps)
    for latents in range(fewest_latents, MAX_LATENTS + 1):
        first, rows = _realise(responses, latents)
        initial = (np.array(first) * scheduling.initial_sigma(scheduler)).tolist()
        try:
            starts = list(_starts(scheduler, steps, latents, rows)) if latents > 1 else []
        except _NeedsMoreLatents:
            continue
        record = SamplerRecord(initial=initial, starts=starts, **per_call, **rows)
        table = SamplerTable.of(record, np.float64)
        begins = range(table.calls) if latents > 1 else {0, table.calls // 2, table.calls - 1}
        if all(_difference(scheduler, table, steps, call) <= TOLERANCE for call in (None, *begins)):
            return record
    raise CheckpointUnsupported(
        _refusal(
            scheduler,
            f"with {steps} steps is not of the form s' = M s + v output + c noise over at most {MAX_LATENTS} latents "
            "(does its config clip or threshold?)",
        )
    )


class _NeedsMoreLatents(Exception):
    """A start is not explained by this many latents."""


def _refusal(scheduler: Any, why: str) -> str:
    return (
        f"{type(scheduler).__name__} {why}, so it cannot be compiled. --sampler takes another class for this "
        f"checkpoint, such as {', '.join(LINEAR)}."
    )


def _responses(scheduler: Any, steps: int, first: int) -> Doubles:
    """`[calls + 1, 1 + 2 * calls]`: sample before each call and at the end, over (initial, outputs, noises)."""
    times = scheduling.begin(scheduler, steps, first)
    calls = len(times)
    unit = torch.eye(1 + 2 * calls, dtype=torch.float64).reshape(-1, *LATENT_SHAPE[:2], 1 + 2 * calls, 1)
    noises = iter(unit[1 + calls :])
    samples = scheduling.run(scheduler, times, unit[0], lambda call, _: unit[1 + call], lambda: next(noises))
    return np.stack([sample.to(torch.float64).flatten().numpy() for sample in samples])


def _realise(responses: Doubles, latents: int) -> tuple[list[float], Rows]:
    """Factors on the first sample and the rows over `latents` latents that fit best; exact when the scheduler has no
    more memory than that.
    """
    calls = len(responses) - 1
    ahead = np.concatenate([responses, np.zeros((latents, responses.shape[1]))])
    rows: Rows = {"state": [], "output": [], "noise": []}
    for call in range(calls):
        past = [0, *range(1, 1 + call), *range(1 + calls, 1 + calls + call)]
        window = ahead[call : call + latents, past]
        last, *_ = np.linalg.lstsq(window.T, ahead[call + latents, past], rcond=1e-9)
        rows["state"].append([*np.eye(latents, k=1)[:-1].tolist(), last.tolist()])
        rows["output"].append(ahead[call + 1 : call + 1 + latents, 1 + call].tolist())
        rows["noise"].append(ahead[call + 1 : call + 1 + latents, 1 + calls + call].tolist())
    return ahead[:latents, 0].tolist(), rows


def _starts(scheduler: Any, steps: int, latents: int, usual: Rows) -> Iterator[StartRecord]:
    """For each call, the rows of a picture that starts there, up to the last that is not the usual one."""
    calls = len(usual["output"])
    for first in range(calls):
        initial, rows = _realise(_responses(scheduler, steps, first), latents)
        if len(rows["output"]) != calls - first:
            raise _NeedsMoreLatents
        different = max(
            (at + 1 for at in range(calls - first) if not _same(rows, at, usual, first + at)),
            default=0,
        )
        yield StartRecord(initial=initial, **{name: rows[name][:different] for name in TRANSITION})


def _same(rows: Rows, at: int, others: Rows, other: int) -> bool:
    return all(np.allclose(rows[name][at], others[name][other], rtol=0, atol=SAME) for name in TRANSITION)


def _per_call(scheduler: Any, steps: int) -> dict[str, list[float]]:
    """What does not depend on the state: times, input scales, levels of noise and the clean estimate."""
    times = [float(time) for time in scheduling.begin(scheduler, steps)]
    levels = np.array(list(_levels(scheduler, steps)))
    clean = np.array([_clean(scheduler, sample, noise) for sample, noise in levels])
    return {
        "timesteps": times,
        "input_scale": _input_scales(scheduler, steps),
        "clean_sample": clean[:, 0].tolist(),
        "clean_output": clean[:, 1].tolist(),
        "noised_sample": levels[:, 0].tolist(),
        "noised_noise": levels[:, 1].tolist(),
    }


def _input_scales(scheduler: Any, steps: int) -> list[float]:
    """The factor of `scale_model_input` at each call; asked in order, since Euler counts its calls."""
    scales: list[float] = []
    one = torch.ones(LATENT_SHAPE, dtype=torch.float64)
    for time in scheduling.begin(scheduler, steps):
        scales.append(float(scheduling.scaled(scheduler, one, time).flatten()[0]))
        scheduler.step(torch.zeros_like(one), time, one, return_dict=False)
    return scales


def _levels(scheduler: Any, steps: int) -> Iterator[tuple[float, float]]:
    """(factor of the clean latents, factor of the noise) in the sample before each call."""
    clean, noise = torch.zeros(LATENT_SHAPE, dtype=torch.float64), torch.zeros(LATENT_SHAPE, dtype=torch.float64)
    clean[..., 0], noise[..., 1] = 1, 1
    for call in range(len(scheduling.begin(scheduler, steps))):
        times = scheduling.begin(scheduler, steps, call)
        sample = scheduling.noised(scheduler, clean, noise, times[0])
        yield float(sample[..., 0].flatten()[0]), float(sample[..., 1].flatten()[0])


def _clean(scheduler: Any, sample: float, noise: float) -> tuple[float, float]:
    """Factors of sample and output in the denoiser's estimate of the clean latents, from what it predicts.

    With x = a clean + b noise: epsilon = noise; v = (a noise - b clean) / sqrt(a^2 + b^2) (Salimans and Ho,
    "Progressive distillation", 2022, for any scale of x); flow = noise - clean.
    """
    kind = scheduler.config.get("prediction_type", "flow_prediction")
    scale = np.hypot(sample, noise)
    match kind:
        case "epsilon":
            return 1 / max(sample, 1e-4), -noise / max(sample, 1e-4)
        case "v_prediction":
            return sample / scale**2, -noise / scale
        case "sample":
            return 0.0, 1.0
        case "flow_prediction":
            return 1 / (sample + noise), -noise / (sample + noise)
        case _:
            raise ValueError(f"a denoiser that predicts {kind} is not known")


def _difference(scheduler: Any, table: SamplerTable, steps: int, first: int | None) -> float:
    """Largest difference between a full run of the class and the table's in float64, relative to the largest sample.

    `first` is the call that a picture starts at from noised latents; None starts from noise alone. The outputs follow
    from the samples, as a denoiser's do, so that an error would be carried on.
    """
    generator = torch.Generator().manual_seed(steps)
    clean, noise = (torch.randn(LATENT_SHAPE, generator=generator, dtype=torch.float64) for _ in range(2))
    times = scheduling.begin(scheduler, steps, first or 0)
    if first is None:
        sample, state = noise * scheduling.initial_sigma(scheduler), table.start(noise.numpy())
    else:
        sample = scheduling.noised(scheduler, clean, noise, times[0])
        start = table.noised(first, clean.numpy(), noise.numpy())
        table = table.starting_at(first)
        state = table.start(start)
    fresh = [torch.randn(LATENT_SHAPE, generator=generator, dtype=torch.float64) for _ in range(table.calls)]
    noises = iter(fresh)
    samples = scheduling.run(scheduler, times, sample, _denoiser_like, lambda: next(noises))
    return _carried_difference(table, state, samples, fresh)


def _carried_difference(
    table: SamplerTable, state: NDArray[Any], samples: list[torch.Tensor], fresh: list[torch.Tensor]
) -> float:
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
    """Depends on sample and call as a denoiser's output does; up to 3, so that a class that clips at 1 is found out.

    No steeper than 1: the classes compute their factors in float32, and a steeper answer would amplify that.
    """
    return 3.0 * torch.cos(0.3 * sample + call).to(sample.dtype)
