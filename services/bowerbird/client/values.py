"""What goes into the client and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Required, TypedDict


class LoraOption(TypedDict, total=False):
    """A LoRA by its name; `weight` is 1 when left out."""

    id: Required[str]
    weight: float


class DrawOptions(TypedDict, total=False):
    """What may be said beside the prompt; what is left out takes the gateway's default.

    The gateway checks all of it and names the field, the value and what is accepted.
    """

    model: str
    n: int
    """Pictures, 1 to 10."""
    size: str
    """`WIDTHxHEIGHT` in pixels, one of the model's sizes."""
    quality: str
    """A name for steps and candidates together."""
    output_format: Literal["png", "webp", "jpeg"]
    output_compression: int
    """Quality of webp and jpeg, 0 to 100."""
    seed: int
    """Picture i has a seed that follows from this one; left out, the gateway chooses."""
    cache: Literal["auto", "any", "fresh"]
    """Whether pictures that were drawn before will do: those of the same seed, any, or none."""
    negative_prompt: str
    """What should not be seen."""
    steps: int
    """Denoising steps."""
    guidance_scale: float
    """How much the prompt counts; 1 is without guidance."""
    candidates: int
    """Drawn for each picture; the best is kept."""
    lora: list[LoraOption]
    """LoRAs of the model's folder that take part."""
    user: str
    safety_identifier: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the gateway says about one request, for those who want to follow it."""

    request_id: str
    trace_id: str | None
    """32 hexadecimal digits, to be looked up where the traces are."""
    model: str
    model_digest: str
    seconds: dict[str, float]
    """By stage; stages overlap."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """One picture, encoded and signed, and the request it came from."""

    image: bytes = field(repr=False)
    media_type: str
    seed: int
    """Draws this very picture again, with `n` 1 and `candidates` 1."""
    scores: dict[str, float]
    """By name, as curation judged it."""
    revised_prompt: str | None
    """The prompt as it was drawn, when safety took something out of it."""
    answer: Answer


@dataclass(frozen=True, slots=True)
class Model:
    """A model that is served, and what a request may ask of it."""

    id: str
    version: str
    digest: str
    licence: str
    sizes: list[str]
    """`WIDTHxHEIGHT` in pixels; the first is the default."""
    max_steps: int
    default_steps: int
    default_guidance_scale: float
    max_guidance_scale: float
    max_prompt_tokens: int
    max_lora_rank: int
    """0: it takes no LoRA."""


@dataclass(frozen=True, slots=True)
class ProvenanceCheck:
    """What a file's label says about its origin, and whether it can be believed."""

    verdict: Literal["made_here_intact", "made_here_modified", "other_ai_declared", "no_evidence"]
    explanation: str
    """The verdict in plain language."""
    validation_state: Literal["trusted", "valid", "invalid", "not_present"]
    issuer: str | None
    model: str | None
    generated_at: str | None
    """RFC 3339, UTC."""
