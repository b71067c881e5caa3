"""The bodies of `POST /v1/species/{species}/images` and `/clips`: which bird, seen how; nothing is said in prose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from bowerbird.contracts import (
    MAX_CANDIDATES,
    NAME_RULE,
    SCIENTIFIC_NAME_RULE,
    CommonName,
    OutputFormat,
    ScientificName,
)
from bowerbird.gateway.api.body import RequestBody
from bowerbird.gateway.api.image_request import Identifier, Quality
from bowerbird.gateway.species.resolution import STANDARD_PIXELS, THUMBNAIL_PIXELS, Resolution
from bowerbird.gateway.species.words import Behaviour, Pose, Season

MAX_VARIATION = 9_999


class SpeciesRequest(RequestBody):
    """What is said of a bird, whether its picture moves or not."""

    common_name: CommonName = Field(
        description=f"What it is called, in English for the model that comes with Bowerbird. {NAME_RULE}.",
        examples=["American robin"],
    )
    scientific_name: ScientificName = Field(
        description=f"Its genus says the family, and the family the LoRA. {SCIENTIFIC_NAME_RULE}.",
        examples=["Turdus migratorius"],
    )
    pose: Pose | None = Field(
        default=None, description="How it is seen; as is usual for the species when absent.", examples=["perched"]
    )
    season: Season | None = Field(
        default=None, description="When; as the model draws it unasked when absent.", examples=["winter"]
    )
    behaviour: Behaviour | None = Field(
        default=None,
        description="What it does, and so the pose: perched birds are resting or roosting, standing ones foraging, "
        "flying ones soaring, nesting ones brooding.",
        examples=["resting"],
    )
    resolution: Resolution | None = Field(
        default=None,
        description=f"By the longer side: thumbnail up to {THUMBNAIL_PIXELS} pixels, standard up to {STANDARD_PIXELS}, "
        "large above; the largest of the model's sizes (see /v1/models) in that class. Its first size when absent.",
        examples=["thumbnail"],
    )
    variation: int = Field(
        default=0,
        ge=0,
        le=MAX_VARIATION,
        description="Another number, another picture of the same; the same number, the same picture.",
    )
    safety_identifier: Identifier | None = Field(
        default=None, description="A stable, hashed name of your end user; returned in the answer."
    )

    ACCEPTED: ClassVar[Mapping[str, str]] = {"common_name": NAME_RULE, "scientific_name": SCIENTIFIC_NAME_RULE}
    NOT_HERE: ClassVar[Mapping[str, str]] = {
        "prompt": "the prompt is built from the names; /v1/images/generations takes prompts",
        "lora": "the family's LoRA is chosen by its genus",
        "seed": "use variation",
        "size": "use resolution",
    }
    PERSONAL: ClassVar[frozenset[str]] = frozenset({"common_name", "scientific_name", "safety_identifier"})


class SpeciesImage(SpeciesRequest):
    """Draw a picture of a species."""

    quality: Quality = Field(
        default=Quality.AUTO,
        description="Sets the steps, and `candidates` where that is absent: low = half the model's default steps, "
        "medium and auto = the default steps, high = 1.5 times and the best of 2, xhigh = twice and the best of 4, "
        "max = as many steps as the model takes and the best of 8.",
    )
    candidates: int | None = Field(
        default=None,
        ge=1,
        le=MAX_CANDIDATES,
        description="Draw so many and keep the best, which is first of all one that shows this species; wins over "
        "`quality`.",
    )
    output_format: OutputFormat = Field(default=OutputFormat.PNG, description="How the picture is encoded.")
    output_compression: int | None = Field(
        default=None,
        ge=0,
        le=100,
        description="Encoder quality in percent, of webp and jpeg only; 100 when absent. Refused with png.",
    )


class SpeciesClip(SpeciesRequest):
    """Draw a clip of a species."""

    seconds: int = Field(default=3, ge=2, le=5, description="How long it is, in seconds.")
    fps: int = Field(default=12, ge=8, le=24, description="Frames in a second.")
    format: Literal["webp", "gif", "mp4"] = Field(default="webp", description="How the clip is encoded.")
