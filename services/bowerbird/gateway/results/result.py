"""What is kept of a drawing: the pictures as they left, labelled, and the facts to answer as the first time.

The story makes a `Result` of what it drew and answers from it; `store` keeps it and gives it back. No prompt is in it:
what was redacted is said by the decision of the request that asks, not of the one that drew.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import cached_property

import pybase64
from pydantic import BaseModel, ConfigDict

from bowerbird.contracts import CurationDescription, Digest, FrameJudgement, LoraId
from bowerbird.gateway.results.key import Recipe

FACTS_BYTES, JUDGEMENT_BYTES = 3_000, 11_000
"""What the facts take in memory, and one picture's judgement with its nine scores (*measured* with tracemalloc)."""

_ENTITY_TAG = re.compile(r'(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"')


@dataclass(frozen=True, slots=True)
class Chosen:
    """The frame that was chosen for one picture."""

    frame: int
    seed: int
    judgement: FrameJudgement


class Facts(BaseModel):
    """How the pictures came to be, as the answer says it."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants", hide_input_in_errors=True)

    request_id: str
    """Of the request that drew; the label names it."""
    created: int
    """Unix seconds when it was drawn."""
    model: str
    model_digest: Digest
    policy: Digest
    """Of the policy that let the pictures leave."""
    curation: CurationDescription
    """What chose and signed them."""
    loras: dict[LoraId, Digest]
    chosen: list[Chosen]
    text_tokens: int = 0
    """Of the prompts; like the next, 0 where it was stored before this was counted."""
    image_tokens: int = 0
    """Positions of one picture's latents."""


@dataclass(frozen=True)
class Result:
    """The pictures of one answer, encoded, labelled and signed, one for each of `facts.chosen`."""

    facts: Facts
    pictures: list[bytes]
    digests: tuple[str, ...] = field(default=(), compare=False)
    """SHA-256 of each picture, 64 hexadecimal digits, where they were computed on its way."""

    @cached_property
    def size_bytes(self) -> int:
        """What its pictures take."""
        return sum(map(len, self.pictures))

    @cached_property
    def encoded(self) -> list[bytes]:
        """Each picture in base64, made once however often it answers: for a small one a hit's largest cost."""
        return [pybase64.b64encode(picture) for picture in self.pictures]

    @property
    def held_bytes(self) -> int:
        """What it takes in memory, its base64 included: of small pictures the objects around them take most."""
        return self.size_bytes * 7 // 3 + FACTS_BYTES + JUDGEMENT_BYTES * len(self.pictures)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the SHA-256 of each picture, in order; 64 hexadecimal digits."""
        digests = self.digests or tuple(hashlib.sha256(picture).hexdigest() for picture in self.pictures)
        return hashlib.sha256(bytes.fromhex("".join(digests))).hexdigest()

    @property
    def entity_tag(self) -> str:
        """RFC 9110 section 8.8.3; weak, because ids and times of the answer around the pictures are each request's own.

        A label is never signed twice alike, so that pictures drawn again have another tag.
        """
        return f'W/"{self.digest[:32]}"'

    def is_of(self, recipe: Recipe) -> bool:
        """Whether the stages drew what was looked up: any of them may have changed in between."""
        loras = {name: digest for name, digest, _ in recipe.loras}
        facts = self.facts
        drawn = (facts.model_digest, facts.policy, facts.curation.model_dump_json(), facts.loras)
        return drawn == (recipe.model, recipe.policy, recipe.curation, loras) and len(self.pictures) == recipe.images


def tag_is_known(if_none_match: str, entity_tag: str) -> bool:
    """Whether `If-None-Match` names this tag, compared weakly (RFC 9110 section 13.1.2); `*` is any."""
    if if_none_match == entity_tag or if_none_match.strip() == "*":
        return True
    return _opaque(entity_tag) in {match.group(1) for match in _ENTITY_TAG.finditer(if_none_match)}


def _opaque(entity_tag: str) -> str:
    return entity_tag.removeprefix("W/").strip('"')
