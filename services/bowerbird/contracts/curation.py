"""What curation scores, opens, publishes and checks."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from bowerbird.contracts.contract import (
    MAX_CANDIDATES,
    MAX_IMAGES,
    MAX_PROMPT_CHARACTERS,
    Contract,
    Digest,
    LoraId,
    Milliseconds,
)
from bowerbird.contracts.safety import PolicyReference
from bowerbird.contracts.species import ScientificName, SpeciesCheck, SpeciesOrigin
from bowerbird.contracts.text_to_image import Size


class CurationDescription(Contract):
    """What curation chooses by and labels with; chosen or labelled otherwise, a picture is another picture."""

    version: str = Field(description="of its software")
    judge: str = Field(description="name@digest of the model behind prompt_match")
    certificate: Digest = Field(description="sha256 of the certificate that signs, in DER")
    species: str = Field(default="", description="version@digest of the list of species that it tells apart")


class Score(Contract):
    """One number about one frame, with what is needed to read it."""

    name: str
    version: str
    value: float
    direction: Literal["higher_is_better", "lower_is_better"]
    minimum: float
    maximum: float


PictureMediaType = Literal["image/png", "image/jpeg", "image/webp"]


class OpenRequest(Contract):
    """Make frames of a picture file: scaled to cover `size`, and cut around its middle.

    A file part follows, the picture; where `masked`, another one, a picture of the same width and height whose fully
    transparent pixels say where to draw.
    """

    size: Size
    masked: bool


class OpenDone(Contract):
    """The end of an opened picture.

    Its frame was sent before and, where `masked`, a second one, white where it is fully transparent (as the mask is, or
    where there is none the picture itself) and black elsewhere.
    """

    media_type: PictureMediaType
    masked: bool


class JudgeRequest(Contract):
    """Score `images × candidates` frames and choose the best candidate of each image.

    Frame `i * candidates + c` is candidate c of image i.
    """

    prompt: str = Field(min_length=1, max_length=MAX_PROMPT_CHARACTERS)
    images: int = Field(ge=1, le=MAX_IMAGES)
    candidates: int = Field(ge=1, le=MAX_CANDIDATES)
    species: ScientificName | None = Field(default=None, description="each frame is checked for showing it")


class FrameJudgement(Contract):
    """All scores of one frame; `rejected` names the hard facts (blank, blurred, …) that speak against it."""

    index: int = Field(ge=0)
    scores: list[Score]
    rejected: list[str] = Field(default_factory=list)
    duplicate_of: int | None = Field(default=None, description="an earlier frame it nearly equals")
    total: float = Field(description="what candidates are ranked by")
    species: SpeciesCheck | None = Field(default=None, description="None: no species was asked for")


class Ranking(Contract):
    """The candidates of one image, best first; a tie when the first two differ by less than `tie_margin`."""

    image: int = Field(ge=0)
    order: list[int] = Field(description="frame indices, best first")
    margin: float = Field(ge=0)
    tie: bool


class Judgement(Contract):
    """Scores and rankings; the gateway takes the first of each ranking that safety lets leave."""

    frames: list[FrameJudgement]
    rankings: list[Ranking]
    tie_margin: float
    judge: str = Field(description="name@digest of the model behind prompt_match")


class OutputFormat(StrEnum):
    """What a picture can be encoded as."""

    PNG = "png"
    WEBP = "webp"
    JPEG = "jpeg"


class Origin(Contract):
    """What the signed label says about where a picture comes from; no prompt, no tenant."""

    request_id: str
    trace_id: str | None
    model: str
    model_digest: Digest
    seed_digests: list[Digest] = Field(description="sha256 of each chosen frame's seed, keyed by the request's id")
    policy: PolicyReference
    services: dict[str, str] = Field(description="service name -> version")
    loras: dict[LoraId, Digest] = Field(default_factory=dict, description="digest of each LoRA that took part")
    species: SpeciesOrigin | None = Field(default=None, description="None: it was not asked for as one of a species")


class Unfinished(Contract):
    """A preview's frames: how far their pictures are, and the size that they are enlarged to."""

    step: int = Field(ge=1)
    steps: int = Field(ge=1)
    size: Size


class PublishRequest(Contract):
    """Encode, label and sign `count` frames, which follow as parts."""

    count: int = Field(ge=1, le=MAX_IMAGES)
    format: OutputFormat
    compression: int = Field(default=100, ge=0, le=100, description="quality of webp and jpeg; png ignores it")
    origin: Origin
    preview: Unfinished | None = Field(default=None, description="None: the pictures are finished")
    source: PictureMediaType | None = Field(
        default=None, description="what the frames begin with: its file is the first part, and an ingredient of each"
    )


class Picture(Contract):
    """Facts about one published picture; travels as JSON in the header of the part that carries its bytes."""

    index: int = Field(ge=0)
    media_type: str
    digest: Digest
    manifest_bytes: int = Field(ge=0)
    encode_ms: Milliseconds
    sign_ms: Milliseconds


class PublishDone(Contract):
    """The end of a complete publication."""

    count: int
    curation: CurationDescription


class ProvenanceReport(Contract):
    """What a file's C2PA manifest and XMP say, and whether they can be believed. Never says "not AI"."""

    outcome: Literal["detected", "not_detected"]
    validation_state: Literal["trusted", "valid", "invalid", "not_present"]
    verdict: Literal["made_here_intact", "made_here_modified", "other_ai_declared", "no_evidence"]
    issuer: str | None = None
    model: str | None = None
    generated_at: str | None = Field(default=None, description="RFC 3339, UTC")
    validation_codes: list[str] = Field(default_factory=list)
    digital_source_type: str | None = None
    loras: dict[LoraId, Digest] = Field(default_factory=dict, description="that took part, where it was made here")
    species: SpeciesOrigin | None = Field(default=None, description="how it was asked for, where it was made here")
    explanation: str = Field(description="the verdict in plain language, one or two sentences")
