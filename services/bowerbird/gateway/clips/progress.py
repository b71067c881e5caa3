"""How far a clip is, in per cent, said in the phases of its job: every replica knows it by the job's events.

While it is animated its phase is `animate.<per cent>`, a new one for every ten: a phase is a row, and a clip has at
least twenty steps.
"""

from __future__ import annotations

from collections.abc import Callable

from bowerbird.gateway.clips.plan import ClipPlan

ANIMATE = "animate"
STEPS_PART = 0.85
"""Of the time of a clip; the rest is decoding."""
ANIMATED_PER_CENT = 90
"""What is left is judged, checked, encoded and signed."""
GRAIN = 10
_AFTER = {"judge": 0, "check_clips": 0, "publish": ANIMATED_PER_CENT}


class Hearing:
    """Hears what animation says of one plan's clips, and tells `phase` whenever it is another ten per cent."""

    def __init__(self, plan: ClipPlan, phase: Callable[[str], None]) -> None:
        self._plan = plan
        self._phase = phase
        self._told = 0

    def stepped(self, step: int, steps: int, decoded: int) -> None:
        """So many frames are decoded, and the clip that is drawn now is after this step."""
        self._tell(decoded // self._plan.frames + STEPS_PART * step / steps)

    def decoded(self, frames: int) -> None:
        """So many frames are there."""
        clips, rest = divmod(frames, self._plan.frames)
        self._tell(clips + (STEPS_PART + (1 - STEPS_PART) * rest / self._plan.frames if rest else 0.0))

    def _tell(self, clips: float) -> None:
        per_cent = int(ANIMATED_PER_CENT * clips / self._plan.candidates) // GRAIN * GRAIN
        if per_cent > self._told:
            self._told = per_cent
            self._phase(f"{ANIMATE}.{per_cent}")


def per_cent(phase: str) -> int:
    """0 to 99, of a job that has not ended and is in this phase."""
    name, _, said = phase.partition(".")
    return int(said) if name == ANIMATE and said.isdigit() else _AFTER.get(name, 0)
