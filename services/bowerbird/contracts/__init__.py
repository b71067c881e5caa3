"""The bodies and headers that cross a process border, between the gateway and the services.

The gateway writes what a service reads and the other way round; both import only this package, so that a change of
a contract is one diff. Everything is closed (`extra="forbid"`) and frozen; limits stand on the field. Public API shapes
(OpenAI's) are not here but in `gateway/api/`.

Routes (JSON in and out unless said otherwise):

    safety         GET  /describe                                          -> SafetyDescription
                   POST /check_prompt    PromptCheck                       -> Decision
                   POST /check_images    parts: ImageCheck, frames…        -> ImageDecisions
                   POST /check_clips     parts: ClipCheck, frames…         -> ClipDecisions
    text-to-image  GET  /describe                                          -> ModelDescription
                   POST /draw            DrawRequest                       -> parts: progress…, frames…, done | error
                                         or parts: DrawRequest, frames… (what it begins with)
    animation      GET  /describe                                          -> MotionDescription
                   POST /animate         AnimateRequest                    -> parts: progress…, frames…, done | error
                                         or parts: AnimateRequest, frames… (what its clips begin with)
                                         both 501 where the bundle that is served does not move
    curation       GET  /describe                                          -> CurationDescription
                   POST /judge           parts: JudgeRequest, frames…      -> Judgement
                   POST /open            parts: OpenRequest, file(s)       -> parts: frames…, done
                   POST /publish         parts: PublishRequest, [file,] frames… -> parts: picture…, done | error
                   POST /judge_clips     parts: JudgeClips, frames…        -> ClipJudgement
                   POST /publish_clip    parts: PublishClip, [file,] frames… -> parts: picture, done | error
                   POST /check_provenance  the file's bytes                -> ProvenanceReport

`parts` are multipart/mixed streams, written and read by `bowerbird.parts`. A frames part is a raw `.npy` of uint8
`[1, height, width, 3]`, RGB. Every request carries `Bowerbird-Deadline-Ms` (what is left), `Bowerbird-Request-Id` and
`traceparent`; every answer says who gave it (`Bowerbird-Service: name/version`). To `draw` and `animate`, three more
may say how its steps share the model with those of others: `Bowerbird-Class` (`WorkClass`), `Bowerbird-Flow` (an opaque
name of whose work it is, a tenant's digest say) and `Bowerbird-Weight` (that flow's share, 0.01 to 100, else 1).
`Bowerbird-Grant` says who gave the slot, `<queue>:<epoch>`: once a stage has seen a later epoch of that queue, it
refuses an earlier one. `Bowerbird-Progress: none` says that nobody reads what is told of its steps: then it tells of
its beginning only.
"""

from bowerbird.contracts.animation import (
    MAX_CLIP_FRAMES,
    MAX_CLIPS,
    MAX_FRAMES_PER_SECOND,
    MIN_CLIP_FRAMES,
    AnimateRequest,
    ClipFormat,
    MotionDescription,
)
from bowerbird.contracts.clips import (
    ClipCheck,
    ClipDecisions,
    ClipJudgement,
    ClipScores,
    ClipVerdict,
    JudgeClips,
    PublishClip,
)
from bowerbird.contracts.contract import (
    CLASS_HEADER,
    DEADLINE_HEADER,
    FLOW_HEADER,
    GRANT_HEADER,
    MAX_CANDIDATES,
    MAX_FILE_BYTES,
    MAX_FILE_PIXELS,
    MAX_FRAMES_PER_REQUEST,
    MAX_IMAGES,
    MAX_LORA_WEIGHT,
    MAX_LORAS,
    MAX_PROMPT_CHARACTERS,
    MAX_SEED,
    MAX_STEPS,
    PROGRESS_HEADER,
    REQUEST_ID_HEADER,
    SERVICE_HEADER,
    WEIGHT_HEADER,
    Contract,
    Digest,
    LoraId,
    Milliseconds,
    Seed,
    seed_of,
)
from bowerbird.contracts.curation import (
    CurationDescription,
    FrameJudgement,
    Judgement,
    JudgeRequest,
    OpenDone,
    OpenRequest,
    Origin,
    OutputFormat,
    Picture,
    PictureMediaType,
    ProvenanceReport,
    PublishDone,
    PublishRequest,
    Ranking,
    Score,
    Unfinished,
)
from bowerbird.contracts.safety import (
    OPENAI_CATEGORIES,
    Action,
    Decision,
    GateReport,
    HelpResource,
    ImageCheck,
    ImageDecisions,
    ImageVerdict,
    PolicyReference,
    PromptCheck,
    SafetyDescription,
    Span,
)
from bowerbird.contracts.species import (
    MAX_COMMON_NAME_CHARACTERS,
    MAX_SCIENTIFIC_NAME_CHARACTERS,
    MAX_SPECIES_ID_CHARACTERS,
    NAME_RULE,
    SCIENTIFIC_NAME_RULE,
    CommonName,
    FileVersion,
    ScientificName,
    SpeciesCheck,
    SpeciesId,
    SpeciesOrigin,
    SpeciesSubject,
    WithoutLora,
)
from bowerbird.contracts.text_to_image import (
    Beginning,
    DrawDone,
    DrawProgress,
    DrawRequest,
    FrameFacts,
    LoraCatalogue,
    LoraFacts,
    LoraUse,
    ModelCosts,
    ModelDescription,
    PreviewFacts,
    PromptReading,
    Size,
    SizeCosts,
    WorkClass,
)

__all__ = [
    "CLASS_HEADER",
    "DEADLINE_HEADER",
    "FLOW_HEADER",
    "GRANT_HEADER",
    "MAX_CANDIDATES",
    "MAX_CLIPS",
    "MAX_CLIP_FRAMES",
    "MAX_COMMON_NAME_CHARACTERS",
    "MAX_FILE_BYTES",
    "MAX_FILE_PIXELS",
    "MAX_FRAMES_PER_REQUEST",
    "MAX_FRAMES_PER_SECOND",
    "MAX_IMAGES",
    "MAX_LORAS",
    "MAX_LORA_WEIGHT",
    "MAX_PROMPT_CHARACTERS",
    "MAX_SCIENTIFIC_NAME_CHARACTERS",
    "MAX_SEED",
    "MAX_SPECIES_ID_CHARACTERS",
    "MAX_STEPS",
    "MIN_CLIP_FRAMES",
    "NAME_RULE",
    "OPENAI_CATEGORIES",
    "PROGRESS_HEADER",
    "REQUEST_ID_HEADER",
    "SCIENTIFIC_NAME_RULE",
    "SERVICE_HEADER",
    "WEIGHT_HEADER",
    "Action",
    "AnimateRequest",
    "Beginning",
    "ClipCheck",
    "ClipDecisions",
    "ClipFormat",
    "ClipJudgement",
    "ClipScores",
    "ClipVerdict",
    "CommonName",
    "Contract",
    "CurationDescription",
    "Decision",
    "Digest",
    "DrawDone",
    "DrawProgress",
    "DrawRequest",
    "FileVersion",
    "FrameFacts",
    "FrameJudgement",
    "GateReport",
    "HelpResource",
    "ImageCheck",
    "ImageDecisions",
    "ImageVerdict",
    "JudgeClips",
    "JudgeRequest",
    "Judgement",
    "LoraCatalogue",
    "LoraFacts",
    "LoraId",
    "LoraUse",
    "Milliseconds",
    "ModelCosts",
    "ModelDescription",
    "MotionDescription",
    "OpenDone",
    "OpenRequest",
    "Origin",
    "OutputFormat",
    "Picture",
    "PictureMediaType",
    "PolicyReference",
    "PreviewFacts",
    "PromptCheck",
    "PromptReading",
    "ProvenanceReport",
    "PublishClip",
    "PublishDone",
    "PublishRequest",
    "Ranking",
    "SafetyDescription",
    "ScientificName",
    "Score",
    "Seed",
    "Size",
    "SizeCosts",
    "Span",
    "SpeciesCheck",
    "SpeciesId",
    "SpeciesOrigin",
    "SpeciesSubject",
    "Unfinished",
    "WithoutLora",
    "WorkClass",
    "seed_of",
]
