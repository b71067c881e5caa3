"""A seeded trace of requests: who asks for what and when, how long they will wait, and who leaves.

The mix is the issue's: steps 1-30, two sizes, three LoRAs (half of the requests use one), Poisson arrivals, 10 % cancel
while they wait or are drawn, 20 % have a tight deadline. A deadline is a multiple of what the request would take on an
idle machine by the reference loop, so it means the same whoever serves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bowerbird.contracts import MAX_SEED, Size

MAX_STEPS = 30
CANCELLED_SHARE, TIGHT_SHARE, LORA_SHARE = 0.1, 0.2, 0.5
TIGHT_FACTOR, TIGHT_FLOOR_SECONDS = 3.0, 0.25
"""A tight deadline: three times the time alone, and never less than a quarter of a second."""
PATIENT_FACTOR, PATIENT_FLOOR_SECONDS = 12.0, 2.0
"""Everybody else waits as long as twelve mean requests take alone, and two seconds at least."""
BIRDS = ("an american robin", "a snowy owl", "a blue jay", "a flamingo")
PLACES = ("in spring", "in summer", "in autumn", "in winter", "perched", "standing", "flying")


@dataclass(frozen=True, slots=True)
class Ask:
    """One request; times are seconds since the trace began or, for what may happen later, since this arrival."""

    arrival: float
    prompt: str
    size: Size
    steps: int
    guidance_scale: float
    seed: int
    lora: str | None
    deadline_seconds: float
    tight: bool
    leaves_after: float | None


@dataclass(frozen=True, slots=True)
class Mix:
    """What is asked for, and what it costs on an idle machine: seconds of a step and of the rest, by size."""

    sizes: Sequence[Size]
    loras: Sequence[str]
    guidance_scale: float
    step_seconds: Sequence[float]
    rest_seconds: Sequence[float]
    max_steps: int = MAX_STEPS

    @property
    def mean_seconds(self) -> float:
        """Of a request alone."""
        return float(np.mean(self.step_seconds)) * (1 + self.max_steps) / 2 + float(np.mean(self.rest_seconds))


def make_trace(mix: Mix, seed: int, per_second: float, seconds: float) -> list[Ask]:
    """Requests that arrive within `seconds`, in their order; the same seed gives the same ones at any rate."""
    rng = np.random.default_rng(seed)
    asks: list[Ask] = []
    arrival = 0.0
    while (arrival := arrival + rng.exponential() / per_second) < seconds:
        asks.append(_ask(mix, rng, arrival))
    return asks


def _ask(mix: Mix, rng: np.random.Generator, arrival: float) -> Ask:
    which, steps = int(rng.integers(len(mix.sizes))), int(rng.integers(1, mix.max_steps + 1))
    bird, place, seed = int(rng.integers(len(BIRDS))), int(rng.integers(len(PLACES))), int(rng.integers(MAX_SEED))
    lora, tight, leaves = rng.random() < LORA_SHARE, rng.random() < TIGHT_SHARE, rng.random() < CANCELLED_SHARE
    which_lora, patience = rng.random(), rng.random()
    alone = mix.step_seconds[which] * steps + mix.rest_seconds[which]
    deadline = max(PATIENT_FACTOR * mix.mean_seconds, PATIENT_FLOOR_SECONDS)
    if tight:
        deadline = max(TIGHT_FACTOR * alone, TIGHT_FLOOR_SECONDS)
    return Ask(
        arrival=arrival,
        prompt=f"{BIRDS[bird]} {PLACES[place]}",
        size=mix.sizes[which],
        steps=steps,
        guidance_scale=mix.guidance_scale,
        seed=seed,
        lora=mix.loras[int(which_lora * len(mix.loras))] if lora and mix.loras else None,
        deadline_seconds=float(deadline),
        tight=bool(tight),
        leaves_after=float(patience * 2 * alone) if leaves else None,
    )
