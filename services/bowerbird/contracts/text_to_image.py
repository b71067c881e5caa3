"""What text-to-image says of its model, and what it draws."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field

from bowerbird.contracts.contract import (
    MAX_FRAMES_PER_REQUEST,
    MAX_LORA_WEIGHT,
    MAX_LORAS,
    MAX_PROMPT_CHARACTERS,
    MAX_STEPS,
    Contract,
    Digest,
    LoraId,
    Seed,
)


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


class PromptReading(Contract):
    """Does the model read these prompts whole? Answered with nothing, or PromptTooLong; it costs no computing."""

    prompt: str = Field(min_length=1, max_length=MAX_PROMPT_CHARACTERS)
    negative_prompt: str | None = Field(default=None, max_length=MAX_PROMPT_CHARACTERS)


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
