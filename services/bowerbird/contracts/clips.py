"""What safety checks, and curation judges and publishes, of moving pictures.

Clips follow their request as frames parts: frame f of clip k is part `k * frames + f`, uint8 `[1, height, width, 3]`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bowerbird.contracts.animation import (
    MAX_CLIP_FRAMES,
    MAX_CLIPS,
    MAX_FRAMES_PER_SECOND,
    MIN_CLIP_FRAMES,
    ClipFormat,
)
from bowerbird.contracts.contract import MAX_PROMPT_CHARACTERS, Contract, Milliseconds
from bowerbird.contracts.curation import Origin, PictureMediaType, Ranking, Score
from bowerbird.contracts.safety import Action, GateReport, PolicyReference


class _Clips(Contract):
    clips: int = Field(default=1, ge=1, le=MAX_CLIPS)
    frames: int = Field(ge=MIN_CLIP_FRAMES, le=MAX_CLIP_FRAMES, description="of each clip")
    frames_per_second: float = Field(ge=1, le=MAX_FRAMES_PER_SECOND)


class ClipCheck(_Clips):
    """May these clips leave?"""

    repeats: bool = Field(
        default=True,
        description="whoever plays the file begins it again at its end: light that flashes is followed round the seam",
    )


class ClipVerdict(Contract):
    """Safety's answer about one clip: that about the worst of the frames it looked at, and how much of it flashes."""

    index: int = Field(ge=0)
    action: Action
    reasons: list[str]
    category_scores: dict[str, float]
    gates: list[GateReport]
    looked_at: list[int] = Field(description="frames that the gates of pictures saw; flashes are seen in all")


class ClipDecisions(Contract):
    """Safety's answer about all clips of a request, in their order."""

    id: str
    stage: Literal["clip"] = "clip"
    verdicts: list[ClipVerdict]
    policy: PolicyReference
    latency_ms: Milliseconds


class JudgeClips(_Clips):
    """Score clips of one prompt, and choose the best."""

    prompt: str = Field(min_length=1, max_length=MAX_PROMPT_CHARACTERS)
    loop: bool = Field(default=False, description="the seam between last frame and first is looked at")


class ClipScores(Contract):
    """All scores of one clip; `rejected` names the hard facts (blank, motionless, …) that speak against it."""

    index: int = Field(ge=0)
    scores: list[Score]
    rejected: list[str] = Field(default_factory=list)
    total: float = Field(description="what candidates are ranked by")


class ClipJudgement(Contract):
    """Scores and one ranking; the gateway takes the first that safety lets leave."""

    clips: list[ClipScores]
    ranking: Ranking
    tie_margin: float
    judge: str = Field(description="name@digest of the model behind prompt_match")


class PublishClip(Contract):
    """Encode, label and sign one clip, whose frames follow as parts."""

    frames: int = Field(ge=MIN_CLIP_FRAMES, le=MAX_CLIP_FRAMES)
    frames_per_second: float = Field(ge=1, le=MAX_FRAMES_PER_SECOND)
    drawn_frames: int = Field(
        ge=MIN_CLIP_FRAMES,
        le=MAX_CLIP_FRAMES,
        description="fewer: the others were interpolated; more: some were left out",
    )
    loop: bool = False
    format: ClipFormat
    quality: int = Field(default=80, ge=0, le=100, description="of webp and mp4; gif ignores it")
    origin: Origin
    source: PictureMediaType | None = Field(
        default=None, description="what the clip begins with: its file is the first part, and an ingredient"
    )
