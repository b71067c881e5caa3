"""The request for a picture that a species becomes.

It is a request like any other, and drawn by the same story, at once or as a job; it knows besides what it is about,
for the label, for curation's check of the species, and for the answer.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from pydantic import Field

from bowerbird.contracts import LoraCatalogue, LoraId, LoraUse, ModelDescription, SpeciesSubject, WithoutLora
from bowerbird.gateway.api.image_request import GenerateImages
from bowerbird.gateway.species.words import Circumstances

SEED_BITS = 48
"""As of any fresh seed: exact as a number in every JSON reader."""


class SpeciesImages(GenerateImages):
    """Draw one picture of a species."""

    species: SpeciesSubject
    stated: str = Field(default="", exclude=True)
    """The body as it was sent: what an Idempotency-Key stands for, whatever this gateway makes of it."""

    @property
    def as_stated(self) -> bytes:
        """As of any request."""
        return self.stated.encode()


@dataclass(frozen=True, slots=True)
class FamilyLora:
    """What became of the LoRA of a family."""

    use: LoraUse | None
    without: WithoutLora | None

    @property
    def id(self) -> LoraId | None:
        """Its name, where it takes part."""
        return None if self.use is None else self.use.id


def family_lora(wanted: LoraUse | None, model: ModelDescription, served: LoraCatalogue | None) -> FamilyLora:
    """The LoRA that takes part, or why none does; `served` may be None where the model takes none."""
    if wanted is None:
        return FamilyLora(None, "family_unlisted")
    if not model.max_lora_rank or served is None:
        return FamilyLora(None, "model_without_lora")
    if wanted.id not in {each.id for each in served.loras}:
        return FamilyLora(None, "lora_not_served")
    return FamilyLora(wanted, None)


def seed_of_species(species: str, said: Circumstances, variation: int) -> int:
    """The seed of one variation, the same for ever: neither names nor template are in it.

    So a corrected name or a better phrase changes as little of the picture as it can, and a picture that was evicted
    comes back as it was.
    """
    facts = ["bowerbird species 1", species, said.pose, said.season, said.behaviour, variation]
    digest = hashlib.sha256(json.dumps(facts).encode()).digest()
    return int.from_bytes(digest, "big") >> (8 * len(digest) - SEED_BITS)
