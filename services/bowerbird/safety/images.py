"""The frames' way: facts about pixels, then the NSFW graph; one verdict for each frame.

`service.py` runs `ImagePipeline.check` in a thread for every frame of `POST /check_images`, as they arrive. It fails
closed like the prompt's way: a gate that raises is 503. A further gate (violence, likeness, a better NSFW model) is a
class with `name`, `detector` and `score`, added in `create_image_pipeline`; thresholds stand in the policy.

What the gates cannot see: the graph was trained on photographs of 2016. It misses drawn and stylised nudity, knows
nothing of violence, hate symbols, text or likeness, and sees 224 x 224 pixels. Of 500 drawn birds it blocked none and
flagged one (a flamingo at dusk, 0.62; `benchmarks/safety.py` measures it again); how much explicit content it misses
was not measured, for want of such pictures.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bowerbird.contracts import Action, GateReport, ImageVerdict
from bowerbird.errors import StageUnavailable
from bowerbird.safety.metrics import DECISIONS, GATE_SECONDS
from bowerbird.safety.nsfw import NsfwGate
from bowerbird.safety.policy import ImageFacts, Policy

RETRY_AFTER_SECONDS = 5
EIGHT_BIT = 256
# What counts as "the brightest part" of a dark frame: one percent of it, so that hot pixels do not.
BRIGHT_SHARE = 0.99

Frame = NDArray[np.uint8]

logger = logging.getLogger(__name__)


class ImageGate(Protocol):
    """One check of one frame; stateless after construction."""

    @property
    def name(self) -> str:
        """Stands in the verdict and labels the metric."""

    @property
    def detector(self) -> str:
        """Name and version or digest of what decides."""

    def score(self, frame: Frame) -> Mapping[str, float]:
        """uint8 `[height, width, 3]`, RGB -> score (0 to 1) of each category it knows, which the policy must have."""


class FactsGate:
    """Facts that need no model: one colour, too dark to be checked, channels or rows as broken decoders write them."""

    name = "facts"
    detector = "facts@1"

    def __init__(self, bounds: ImageFacts) -> None:
        self._bounds = bounds

    def score(self, frame: Frame) -> dict[str, float]:
        """1 where the fact holds, else 0."""
        import cv2

        luma = np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        brightest = int(np.searchsorted(np.cumsum(_shares(luma)), BRIGHT_SHARE))
        channels = _shares(frame)
        saturated = float(channels[0] + channels[-1])
        facts = {
            "blank": float(luma.std()) < self._bounds.blank_deviation,
            "dark": brightest < self._bounds.dark_luma,
            "artefact": saturated > self._bounds.saturated_share or repeated_share(luma) > self._bounds.repeated_share,
        }
        return {name: float(holds) for name, holds in facts.items()}


def repeated_share(luma: Frame) -> float:
    """The larger share, 0 to 1, of rows or of columns of `[height, width]` that equal the one before them."""
    return max(_repeated_rows(luma), _repeated_rows(np.ascontiguousarray(luma.T)))


def _repeated_rows(luma: Frame) -> float:
    return float(np.mean(np.all(luma[1:] == luma[:-1], axis=1))) if len(luma) > 1 else 0.0


def _shares(values: Frame) -> NDArray[np.float64]:
    """float64 `[256]`: how large a share of the pixels or channel values each 8-bit value has."""
    import cv2

    counts = cv2.calcHist([values.reshape(-1, 1)], [0], None, [EIGHT_BIT], [0, EIGHT_BIT])
    return np.asarray(counts, dtype=np.float64).ravel() / values.size


def create_image_pipeline(policy: Policy) -> ImagePipeline:
    """The pipeline as it is served; raises PolicyInvalid when the graph is missing or is not the pinned one."""
    return ImagePipeline(policy, (FactsGate(policy.images.facts), NsfwGate(policy.images.model)))


class ImagePipeline:
    """Policy and gates; stateless between frames."""

    def __init__(self, policy: Policy, gates: Sequence[ImageGate]) -> None:
        self._policy = policy
        self._gates = gates

    def warm_up(self) -> None:
        """Runs every gate once: the first run of a graph allocates its memory."""
        for gate in self._gates:
            self._ask(gate, np.zeros((64, 64, 3), np.uint8))

    def check(self, index: int, frame: Frame) -> ImageVerdict:
        """The verdict about frame `index`; raises StageUnavailable when a gate cannot decide."""
        scores: dict[str, float] = {}
        reports = []
        for gate in self._gates:
            found, report = self._ask(gate, frame)
            reports.append(report)
            scores |= found
        action = max((report.action for report in reports), key=lambda each: each.strength, default=Action.ALLOW)
        DECISIONS.labels("image", action).inc()
        reasons = sorted(name for name, score in scores.items() if self._action(name, score) is not Action.ALLOW)
        return ImageVerdict(index=index, action=action, reasons=reasons, category_scores=scores, gates=reports)

    def _ask(self, gate: ImageGate, frame: Frame) -> tuple[Mapping[str, float], GateReport]:
        begun = time.perf_counter()
        try:
            scores = gate.score(frame)
            # Inside, because a category that the policy lacks or a score that is no number is no answer either.
            return scores, self._report(gate, scores, time.perf_counter() - begun)
        except Exception as error:
            logger.error("a gate failed", extra={"gate": gate.name, "error": type(error).__name__})
            raise StageUnavailable(
                f"safety: the image gate {gate.name} could not decide, so nothing leaves.",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            ) from error

    def _report(self, gate: ImageGate, scores: Mapping[str, float], seconds: float) -> GateReport:
        GATE_SECONDS.labels(gate.name).observe(seconds)
        decisive = max(scores, key=lambda name: (self._action(name, scores[name]).strength, scores[name]))
        return GateReport(
            name=gate.name,
            action=self._action(decisive, scores[decisive]),
            score=scores[decisive],
            threshold=self._policy.threshold(decisive, "image"),
            detector=gate.detector,
            latency_ms=seconds * 1000,
        )

    def _action(self, category: str, score: float) -> Action:
        return self._policy.action(category, score, "image")
