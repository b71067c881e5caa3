"""What a caller asks for, whether as a video or as moving pictures, and what a job keeps of it.

As with pictures (`jobs.request`), a job keeps the request with every value settled and the prompt as safety let it
through, so that drawing it again is drawing the same clip.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from bowerbird.contracts import ClipFormat, SpeciesSubject

DEFAULT_QUALITY = 80
MIN_SECONDS, MAX_SECONDS = 2.0, 5.0
"""Of a clip whose length is said in seconds."""


class ClipBeginning(BaseModel):
    """A picture that was uploaded (`records.uploads`), and how far the frames after it may go from there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    strength: float | None = None


class ClipRequest(BaseModel):
    """One clip, the best of `candidates`; what is None, the model's default or a fresh seed settles."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    prompt: str
    negative_prompt: str | None = None
    model: str | None = None
    size: str = "auto"
    frames: int
    frames_per_second: float
    format: ClipFormat
    quality: int = DEFAULT_QUALITY
    loop: bool = False
    seed: int | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    candidates: int = 1
    beginning: ClipBeginning | None = None
    """None: it begins with noise."""
    safety_identifier: str | None = None
    species: SpeciesSubject | None = None
    """What it is to show, where it was asked for as one of a species."""
    length_field: str = Field(default="seconds", exclude=True)
    """The field of the caller's that says how long it is, for refusals."""
