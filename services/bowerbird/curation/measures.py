"""What is measured about a frame, as a table: `MEASURES`.

Called by `judging`, which adds `prompt_match` (it needs the prompt) and turns each value into a contract's `Score`. A
new measure is a function from a `View` to a number and one entry in the table; ranking, hard facts, spans and metrics
read the table.

`noise` is the difference that means nothing: the 95th percentile of how far a value moves when a drawn picture is
changed in a way that nobody sees (one level of noise, JPEG quality 95), from `benchmarks/curation.py --calibrate`,
rounded up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from bowerbird.contracts import Score
from bowerbird.curation.banding import banding_index
from bowerbird.curation.view import View

BLANK_CONTRAST = 4.0
CLIPPED_SHADOW, CLIPPED_HIGHLIGHT = 2, 253


@dataclass(frozen=True, slots=True)
class HardFact:
    """A name for values that no weight can make good: those under `below` or over `above`."""

    name: str
    below: float = float("-inf")
    above: float = float("inf")

    def holds(self, value: float) -> bool:
        """True when the value is out of bounds."""
        return value < self.below or value > self.above


@dataclass(frozen=True, slots=True)
class Scale:
    """How one number is read and weighed (`weight` 0: reported, never weighed)."""

    name: str
    version: str
    direction: Literal["higher_is_better", "lower_is_better"]
    minimum: float
    maximum: float
    weight: float = 0.0
    noise: float = 0.01
    hard_facts: tuple[HardFact, ...] = ()

    def score(self, value: float) -> Score:
        """The value as it crosses the process border."""
        return Score(
            name=self.name,
            version=self.version,
            value=value,
            direction=self.direction,
            minimum=self.minimum,
            maximum=self.maximum,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure(Scale):
    """A number about a frame, and how it is computed."""

    of: Callable[[View], float]


def contrast(view: View) -> float:
    """Standard deviation of luma in 8-bit levels, 0 to 127.5; under 4 there is nothing to see (drawn pictures: 26 to
    57).
    """
    return float(view.luma.std())


def sharpness(view: View) -> float:
    """var(Laplacian) / var(luma) at a long side of at most 512 pixels, 0 to 64 (a checkerboard).

    Independent of contrast, unlike the common variance of the Laplacian. Drawn pictures of 256 pixels have 0.16 to
    0.38, after a blur of sigma 1 at most 0.035; white noise has 20. A flat frame has neither: 0.
    """
    luma = view.small_luma.astype(np.float64)
    variance = float(luma.var())
    if variance < 1e-9:
        return 0.0
    return min(64.0, float(cv2.Laplacian(luma, cv2.CV_64F, borderType=cv2.BORDER_REFLECT_101).var()) / variance)


def exposure(view: View) -> float:
    """Share of pixels that are clipped, 0 to 1: luma of at most 2 (shadows without detail) or at least 253
    (highlights).
    """
    luma = view.luma
    return float(np.mean((luma <= CLIPPED_SHADOW) | (luma >= CLIPPED_HIGHLIGHT)))


MEASURES: Sequence[Measure] = (
    Measure(
        "contrast",
        "1",
        "higher_is_better",
        0.0,
        127.5,
        of=contrast,
        noise=0.05,
        hard_facts=(HardFact("blank", below=BLANK_CONTRAST),),
    ),
    Measure(
        "sharpness",
        "1",
        "higher_is_better",
        0.0,
        64.0,
        of=sharpness,
        weight=0.15,
        noise=0.02,
        hard_facts=(HardFact("blurred", below=0.035), HardFact("noise", above=4.0)),
    ),
    Measure("exposure", "1", "lower_is_better", 0.0, 1.0, of=exposure, weight=0.05, noise=0.01),
    Measure(
        "banding_index",
        "1",
        "lower_is_better",
        0.0,
        1.0,
        of=lambda view: banding_index(view.luma),
        weight=0.1,
        noise=0.2,
    ),
)


def hard_facts(measures: Sequence[Scale], values: Mapping[str, float]) -> list[str]:
    """The names of all hard facts that hold; a blank frame is only blank, since nothing else can be said of it."""
    facts = [
        fact.name
        for measure in measures
        if measure.name in values
        for fact in measure.hard_facts
        if fact.holds(values[measure.name])
    ]
    return ["blank"] if "blank" in facts else facts
