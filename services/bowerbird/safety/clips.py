"""The clips' way: the gates of pictures on some frames, and flashing light over all of them; one verdict for each clip.

`service` runs `ClipLook.see` in a thread for every frame of `POST /check_clips`, as they arrive and in their order.
Which frames the gates see: the first, the last, one each half second, and every frame that shows something else than
the last one they saw (`SCENE_CHANGE`), so that a frame slipped in between two looks is looked at too. A clip is as bad
as its worst frame. It fails closed, as pictures do.
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from bowerbird.contracts import Action, ClipCheck, ClipVerdict, GateReport, ImageVerdict
from bowerbird.safety.flashes import LUMINANCE, FlashMeter, light_of
from bowerbird.safety.images import ImagePipeline
from bowerbird.safety.metrics import DECISIONS, GATE_SECONDS
from bowerbird.safety.policy import FLASHING, Policy

LOOK_EVERY_SECONDS = 0.5
SCENE_CHANGE = 0.05
"""Mean difference of relative luminance, over 32 x 32 places; neighbouring frames of drawn clips, 8 a second, differ by
0.002 where a head turns and by 0.06 at most where a bird hops."""

Frame = NDArray[np.uint8]


class ClipLook:
    """What is seen of one clip while its frames arrive; for one thread."""

    def __init__(self, index: int, wanted: ClipCheck, pictures: ImagePipeline, policy: Policy) -> None:
        self._index = index
        self._frames = wanted.frames
        self._repeats = wanted.repeats
        self._every = max(1, round(LOOK_EVERY_SECONDS * wanted.frames_per_second))
        self._pictures = pictures
        self._policy = policy
        self._meter = FlashMeter(wanted.frames_per_second)
        self._meter_seconds = 0.0
        self._seen = 0
        self._last_luminance: NDArray[np.float32] | None = None
        self._verdicts: list[ImageVerdict] = []

    def see(self, frame: Frame) -> None:
        """The next frame, uint8 `[height, width, 3]`; raises StageUnavailable when a gate cannot decide."""
        begun = time.perf_counter()
        light = light_of(frame)
        self._meter.follow(light)
        if self._repeats and self._seen == self._frames - 1:
            self._meter.begin_again()
        self._meter_seconds += time.perf_counter() - begun
        luminance = light @ LUMINANCE
        if self._is_due(luminance):
            self._last_luminance = luminance
            self._verdicts.append(self._pictures.check(self._seen, frame))
        self._seen += 1

    def verdict(self) -> ClipVerdict:
        """Of the whole clip, when every frame was seen."""
        worst = max(self._verdicts, key=lambda each: each.action.strength)
        flashing = self._flashing()
        action = max(worst.action, flashing.action, key=lambda each: each.strength)
        reasons = {reason for each in self._verdicts for reason in each.reasons}
        if flashing.action is not Action.ALLOW:
            reasons.add(FLASHING)
        scores: dict[str, float] = {FLASHING: flashing.score}
        for each in self._verdicts:
            scores |= {name: max(score, scores.get(name, 0.0)) for name, score in each.category_scores.items()}
        DECISIONS.labels("clip", action).inc()
        return ClipVerdict(
            index=self._index,
            action=action,
            reasons=sorted(reasons),
            category_scores=scores,
            gates=[*worst.gates, flashing],
            looked_at=[each.index for each in self._verdicts],
        )

    def _is_due(self, luminance: NDArray[np.float32]) -> bool:
        if self._last_luminance is None or self._seen % self._every == 0 or self._seen == self._frames - 1:
            return True
        return float(np.mean(np.abs(luminance - self._last_luminance))) > SCENE_CHANGE

    def _flashing(self) -> GateReport:
        share = self._meter.flashing_share
        GATE_SECONDS.labels(FLASHING).observe(self._meter_seconds)
        return GateReport(
            name=FLASHING,
            action=self._policy.action(FLASHING, share, "image"),
            score=share,
            threshold=self._policy.threshold(FLASHING, "image"),
            detector="wcag-2.3.1@2",
            latency_ms=self._meter_seconds * 1000,
        )
