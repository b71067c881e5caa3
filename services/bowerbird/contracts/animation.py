"""What animation says of its model, and what it draws: clips, which are frames that belong together."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from bowerbird.contracts.contract import MAX_PROMPT_CHARACTERS, MAX_STEPS, Contract, Seed
from bowerbird.contracts.text_to_image import Beginning, ModelDescription, Size

MIN_CLIP_FRAMES = 2

MAX_CLIP_FRAMES = 120
"""Five seconds of 24 frames."""

MAX_CLIPS = 4
"""Candidates that one request draws."""

MAX_FRAMES_PER_SECOND = 24


class ClipFormat(StrEnum):
    """What a clip can be encoded as."""

    GIF = "gif"
    WEBP = "webp"
    MP4 = "mp4"


class MotionDescription(ModelDescription):
    """What a service can animate; `costs.step` is of one row of a whole window."""

    window: int = Field(ge=2, description="frames that the model draws at a time; longer clips are several, blended")
    overlap: int = Field(ge=1, description="frames that two neighbouring windows share")
    max_frames: int = Field(ge=2, le=MAX_CLIP_FRAMES, description="that are drawn for one clip")
    frames_per_second: float = Field(gt=0, description="of the clips it was taught on")
    begins: Literal["no", "may", "must"] = Field(
        default="no", description="with a picture; must: it is all that a clip is told, and strength is 1"
    )
    prompts: bool = Field(default=True, description="it reads some; False: one that comes is refused")
    loops: bool = Field(default=True, description="its clips can end where they begin")
    circle: bool = Field(default=False, description="what it draws begins anew after each window: a loop is whole ones")


class AnimateRequest(Contract):
    """Draw `count` clips of `frames` frames; clip k has the seed `seed_of(seed, k)`.

    Frame f of clip k leaves as frame `k * frames + f`, in this order, a part each.
    """

    prompt: str | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_PROMPT_CHARACTERS,
        description="wanted by a model that reads prompts, refused by one that does not",
    )
    negative_prompt: str | None = Field(default=None, max_length=MAX_PROMPT_CHARACTERS)
    size: Size
    steps: int = Field(ge=1, le=MAX_STEPS)
    guidance_scale: float = Field(ge=1, le=20, description="1 means without guidance")
    seed: Seed
    count: int = Field(default=1, ge=1, le=MAX_CLIPS)
    frames: int = Field(ge=MIN_CLIP_FRAMES, le=MAX_CLIP_FRAMES, description="that leave")
    drawn: int | None = Field(
        default=None,
        ge=MIN_CLIP_FRAMES,
        le=MAX_CLIP_FRAMES,
        description="that are denoised: of fewer than leave the others lie between two of them, in latent space; of "
        "more, every so manieth leaves; None: as many",
    )
    loop: bool = Field(default=False, description="the last frame goes over into the first")
    preview_steps: int = Field(
        default=0, ge=0, le=MAX_STEPS, description="a picture of each clip after every so many steps; 0: none"
    )
    max_previews: int = Field(default=MAX_STEPS, ge=1, le=MAX_STEPS, description="of each clip; then no more are made")
    beginning: Beginning | None = Field(default=None, description="None: with noise; what the first frame shows")
