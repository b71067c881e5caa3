"""What the gateway asks of safety, and its decisions."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from bowerbird.contracts.contract import MAX_FRAMES_PER_REQUEST, MAX_PROMPT_CHARACTERS, Contract, Digest, Milliseconds

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


class SafetyDescription(Contract):
    """What safety decides by now: of two decisions about the same texts with the same of it, one is enough."""

    version: str = Field(description="of its software")
    policy: PolicyReference


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
