"""The bodies and headers that cross a process border, between the gateway and the services.

The gateway writes what a service reads and the other way round; both import only this file, so that a change of a
contract is one diff. Everything is closed (`extra="forbid"`) and frozen; limits stand on the field. Public API shapes
(OpenAI's) are not here but in `gateway/api/`.

Routes (JSON in and out unless said otherwise):

    safety         POST /check_prompt    PromptCheck                       -> Decision
                   POST /check_images    parts: ImageCheck, frames…        -> ImageDecisions
    text-to-image  GET  /describe                                          -> ModelDescription
                   POST /draw            DrawRequest                       -> parts: progress…, frames…, done | error
                                         or parts: DrawRequest, frames… (what it begins with)
    animation      GET  /describe, POST /animate                           501 until its own issue
    curation       GET  /describe                                          -> CurationDescription
                   POST /judge           parts: JudgeRequest, frames…      -> Judgement
                   POST /open            parts: OpenRequest, file(s)       -> parts: frames…, done
                   POST /publish         parts: PublishRequest, [file,] frames… -> parts: picture…, done | error
                   POST /check_provenance  the file's bytes                -> ProvenanceReport

`parts` are multipart/mixed streams, written and read by `bowerbird.parts`. A frames part is a raw `.npy` of uint8
`[1, height, width, 3]`, RGB. Every request carries `Bowerbird-Deadline-Ms` (what is left), `Bowerbird-Request-Id` and
`traceparent`; every answer says who gave it (`Bowerbird-Service: name/version`). To `draw`, three more may say how its
steps share the model with those of others: `Bowerbird-Class` (`WorkClass`), `Bowerbird-Flow` (an opaque name of whose
work it is, a tenant's digest say) and `Bowerbird-Weight` (that flow's share, 0.01 to 100, else 1). `Bowerbird-Grant`
says who gave the slot, `<queue>:<epoch>`: once a stage has seen a later epoch of that queue, it refuses an earlier one.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

DEADLINE_HEADER = "bowerbird-deadline-ms"
REQUEST_ID_HEADER = "bowerbird-request-id"
SERVICE_HEADER = "bowerbird-service"
CLASS_HEADER = "bowerbird-class"
FLOW_HEADER = "bowerbird-flow"
WEIGHT_HEADER = "bowerbird-weight"
GRANT_HEADER = "bowerbird-grant"

MAX_PROMPT_CHARACTERS = 2_000
MAX_SEED = 2**63 - 1
MAX_STEPS = 50
MAX_IMAGES = 10
MAX_CANDIDATES = 8
MAX_FRAMES_PER_REQUEST = 20
MAX_LORAS = 4
MAX_FILE_BYTES = 10 * 1024 * 1024
MAX_FILE_PIXELS = 4096 * 4096
MAX_LORA_WEIGHT = 4.0

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
LoraId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Milliseconds = Annotated[float, Field(ge=0)]


class Contract(BaseModel):
    """Closed and frozen: an unknown field is an error on either side, and nobody edits what was received.

    A ValidationError does not quote its input, because that may be a prompt.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants", hide_input_in_errors=True)


def seed_of(request_seed: int, index: int) -> int:
    """The seed of frame `index` of a request: `(request_seed + index) mod 2**63`.

    Frame k of a request with seed s is therefore frame 0 of a request with seed s + k: any single picture can be drawn
    again on its own.
    """
    return (request_seed + index) % (MAX_SEED + 1)


# ---------------------------------------------------------------------------------------------------------- safety


# https://platform.openai.com/docs/guides/moderation (omni-moderation): a decision has all of them, so that a client of
# that API finds its keys here.
OPENAI_CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)


class Action(StrEnum):
    """What to do, in strict order of strength; the strongest gate wins."""

    ALLOW = "allow"
    FLAG = "flag"
    REDACT = "redact"
    ESCALATE = "escalate"
    BLOCK = "block"
    CRISIS = "crisis"

    @property
    def strength(self) -> int:
        """0 for `allow` to 5 for `crisis`."""
        return list(Action).index(self)

    @property
    def stops(self) -> bool:
        """True when nothing may be drawn or leave: escalate (a person must look first), block and crisis."""
        return self.strength >= Action.ESCALATE.strength


class PromptCheck(Contract):
    """May this be drawn? Asked before anything is stored or computed."""

    prompt: str = Field(min_length=1, max_length=MAX_PROMPT_CHARACTERS)
    negative_prompt: str | None = Field(default=None, max_length=MAX_PROMPT_CHARACTERS)
    locale: str = Field(default="en", max_length=35, description="BCP 47; chooses the crisis help text")


class Span(Contract):
    """Where in the prompt (characters, end exclusive) a gate saw what; never the text itself."""

    start: int = Field(ge=0)
    end: int = Field(ge=0)
    entity: str = Field(description="for example EMAIL_ADDRESS or a category")
    gate: str
    score: float = Field(ge=0, le=1)


class GateReport(Contract):
    """One gate's part in the decision."""

    name: str
    action: Action
    score: float = Field(ge=0, le=1)
    threshold: float = Field(ge=0, le=1)
    detector: str = Field(description="name and version or digest of what decided")
    latency_ms: Milliseconds


class PolicyReference(Contract):
    """Which policy decided; the digest is that of the policy file's bytes."""

    id: str
    version: str
    digest: Digest


class HelpResource(Contract):
    """A place a person in danger can turn to; reviewed data, never generated."""

    name: str
    contact: str
    locale: str


class Decision(Contract):
    """Safety's answer about one prompt; a superset of OpenAI's moderation result."""

    id: str
    stage: Literal["prompt"] = "prompt"
    action: Action
    reasons: list[str] = Field(description="facts such as 'pii.email'; never text of the prompt")
    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]
    category_applied_input_types: dict[str, list[Literal["text", "image"]]]
    spans: list[Span]
    redacted_prompt: str | None = Field(description="what may be drawn and kept; None when nothing may")
    redacted_negative_prompt: str | None
    gates: list[GateReport]
    normalisation: list[str] = Field(description="which steps changed the text: 'nfkc', 'confusables', …")
    policy: PolicyReference
    latency_ms: Milliseconds
    help_text: str | None = None
    resources: list[HelpResource] = Field(default_factory=list)


class ImageCheck(Contract):
    """May these leave? `count` frames parts follow, in order."""

    count: int = Field(ge=1, le=MAX_FRAMES_PER_REQUEST)


class ImageVerdict(Contract):
    """Safety's answer about one frame."""

    index: int = Field(ge=0)
    action: Action
    reasons: list[str]
    category_scores: dict[str, float]
    gates: list[GateReport]


class ImageDecisions(Contract):
    """Safety's answer about all frames of a request, in their order."""

    id: str
    stage: Literal["image"] = "image"
    verdicts: list[ImageVerdict]
    policy: PolicyReference
    latency_ms: Milliseconds


# --------------------------------------------------------------------------------------------------- text-to-image


class Size(Contract):
    """Pixels."""

    width: int = Field(ge=8, le=4096)
    height: int = Field(ge=8, le=4096)

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


class SizeCosts(Contract):
    """What pieces of work cost at one size, in compute units, when the model is busy."""

    size: Size
    encode: float = Field(ge=0, allow_inf_nan=False, description="the prompts of one request")
    step: float = Field(gt=0, allow_inf_nan=False, description="one row of one step, in a batch as large as pays")
    decode: float = Field(ge=0, allow_inf_nan=False, description="one frame")
    read: float = Field(default=0, ge=0, allow_inf_nan=False, description="the picture that a request begins with")


class ModelCosts(Contract):
    """What a request will cost: `encode + frames x (steps x rows x step + decode)` compute units.

    The unit is one row of one step at the first size, as this pod measured it; it tells pods apart.
    """

    unit_seconds: float = Field(gt=0, allow_inf_nan=False)
    guided_rows: int = Field(ge=1, le=2, description="rows of a frame with guidance; without, it is one")
    sizes: list[SizeCosts] = Field(min_length=1)


class ModelDescription(Contract):
    """What a service can draw; the gateway checks requests against it before any model is asked."""

    name: str
    version: str
    digest: Digest
    licence: str
    created: int = Field(description="Unix seconds when the bundle was compiled")
    sizes: list[Size] = Field(min_length=1)
    max_steps: int = Field(ge=1, le=MAX_STEPS)
    default_steps: int = Field(ge=1, le=MAX_STEPS)
    default_guidance_scale: float = Field(ge=1)
    max_guidance_scale: float = Field(default=20.0, ge=1)
    max_prompt_tokens: int = Field(description="tokens of a prompt, without begin and end markers")
    slots: int = Field(ge=1, description="requests a pod takes at once; beyond that it answers 429 at once")
    max_lora_rank: int = Field(
        default=0, ge=0, description="0: compiled without LoRA, or served without a folder of them"
    )
    previews: bool = Field(default=False, description="it can show what a picture will be")
    edits: bool = Field(default=False, description="it can begin with a picture")
    costs: ModelCosts | None = Field(default=None, description="None when nothing was measured")
    lineage: dict[str, Any] = Field(default_factory=dict)


class WorkClass(StrEnum):
    """Whose steps go first: `batch` work steps only when no `interactive` group waits."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


class LoraUse(Contract):
    """One LoRA of the model's folder, `weight` times; negative weights turn its effect around."""

    id: LoraId
    weight: float = Field(default=1.0, ge=-MAX_LORA_WEIGHT, le=MAX_LORA_WEIGHT, allow_inf_nan=False)


class LoraFacts(Contract):
    """A LoRA that can be named in a request."""

    id: LoraId
    digest: Digest
    rank: int = Field(ge=1)
    bytes: int = Field(ge=0)


class LoraCatalogue(Contract):
    """The LoRAs that lie in the model's folder now, and those that cannot be used, with the reason."""

    loras: list[LoraFacts]
    refused: dict[str, str] = Field(default_factory=dict, description="file name -> what is wrong with it")


class Beginning(Contract):
    """Begin with a picture instead of noise.

    It follows the request as a frames part of the request's size and, where `masked`, a second one: white where the
    picture is to be drawn anew, black where it is to stay as it is.
    """

    strength: float = Field(gt=0, le=1, description="part of the steps that are made: how much of it may change")
    masked: bool = False


class DrawRequest(Contract):
    """Draw `count` frames; frame k has the seed `seed_of(seed, k)`."""

    prompt: str = Field(min_length=1, max_length=MAX_PROMPT_CHARACTERS)
    negative_prompt: str | None = Field(default=None, max_length=MAX_PROMPT_CHARACTERS)
    size: Size
    steps: int = Field(ge=1, le=MAX_STEPS)
    guidance_scale: float = Field(ge=1, le=20, description="1 means without guidance")
    seed: Seed
    count: int = Field(ge=1, le=MAX_FRAMES_PER_REQUEST)
    lora: list[LoraUse] = Field(default_factory=list, max_length=MAX_LORAS)
    preview_steps: int = Field(
        default=0, ge=0, le=MAX_STEPS, description="a preview of each frame after every so many steps; 0: none"
    )
    max_previews: int = Field(default=MAX_STEPS, ge=1, le=MAX_STEPS, description="of each frame; then no more are made")
    beginning: Beginning | None = Field(default=None, description="None: with noise")


class DrawProgress(Contract):
    """Sent after each step of a frame, or of all frames that step together."""

    step: int = Field(ge=0)
    steps: int = Field(ge=1)
    finished: int = Field(ge=0, description="frames decoded so far")
    count: int = Field(ge=1)


class FrameFacts(Contract):
    """Facts about one frame; travels in the header of the frames part that carries its pixels."""

    index: int = Field(ge=0)
    seed: Seed


class PreviewFacts(Contract):
    """Facts about a preview: a small picture (uint8 npy, as a frame is) of what frame `index` will be.

    It may leave before the drawing is done, so it says itself what its label needs: model and LoRAs, by digest.
    """

    index: int = Field(ge=0)
    step: int = Field(ge=1)
    steps: int = Field(ge=1)
    digest: Digest
    loras: dict[LoraId, Digest] = Field(default_factory=dict)


class DrawDone(Contract):
    """The end of a complete drawing."""

    model: str
    digest: Digest
    seeds: list[Seed]
    seconds: dict[str, float] = Field(description="by phase: queue, encode_text, denoise, decode")
    steps_computed: int = Field(ge=0)
    loras: dict[LoraId, Digest] = Field(default_factory=dict, description="digest of each LoRA that took part")
    text_tokens: int = Field(default=0, ge=0, description="of prompt and negative prompt, as the model reads them")
    image_tokens: int = Field(default=0, ge=0, description="positions of one picture's latents")


# -------------------------------------------------------------------------------------------------------- curation


class CurationDescription(Contract):
    """What curation chooses by and labels with; chosen or labelled otherwise, a picture is another picture."""

    version: str = Field(description="of its software")
    judge: str = Field(description="name@digest of the model behind prompt_match")
    certificate: Digest = Field(description="sha256 of the certificate that signs, in DER")


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


class FrameJudgement(Contract):
    """All scores of one frame; `rejected` names the hard facts (blank, blurred, …) that speak against it."""

    index: int = Field(ge=0)
    scores: list[Score]
    rejected: list[str] = Field(default_factory=list)
    duplicate_of: int | None = Field(default=None, description="an earlier frame it nearly equals")
    total: float = Field(description="what candidates are ranked by")


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
    explanation: str = Field(description="the verdict in plain language, one or two sentences")
