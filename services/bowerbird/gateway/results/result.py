"""What is kept of a drawing: the pictures as they left, labelled, and the facts to answer as the first time.

The story makes a `Result` of what it drew and answers from it; `store` keeps it and gives it back. No prompt is in it:
what was redacted is said by the decision of the request that asks, not of the one that drew.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property

from pydantic import BaseModel, ConfigDict

from bowerbird.contracts import Digest, FrameJudgement, LoraId
from bowerbird.gateway.results.key import Recipe

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
    loras: dict[LoraId, Digest]
    chosen: list[Chosen]


@dataclass(frozen=True)
class Result:
    """The pictures of one answer, encoded, labelled and signed, one for each of `facts.chosen`."""

    facts: Facts
    pictures: list[bytes]

    @cached_property
    def bytes(self) -> int:
        """What its pictures take."""
        return sum(map(len, self.pictures))

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the SHA-256 of each picture, in order; 64 hexadecimal digits."""
        each = b"".join(hashlib.sha256(picture).digest() for picture in self.pictures)
        return hashlib.sha256(each).hexdigest()

    @property
    def entity_tag(self) -> str:
        """RFC 9110 section 8.8.3; weak, because ids and times of the answer around the pictures are each request's own.

        A label is never signed twice alike, so that pictures drawn again have another tag.
        """
        return f'W/"{self.digest[:32]}"'

    def is_of(self, recipe: Recipe) -> bool:
        """Whether the stages drew what was looked up: model, policy and LoRAs may have changed in between."""
        loras = {name: digest for name, digest, _ in recipe.loras}
        drawn = (self.facts.model_digest, self.facts.policy, self.facts.loras)
        return drawn == (recipe.model, recipe.policy, loras) and len(self.pictures) == recipe.images


def tag_is_known(if_none_match: str, entity_tag: str) -> bool:
    """Whether `If-None-Match` names this tag, compared weakly (RFC 9110 section 13.1.2); `*` is any."""
    if if_none_match.strip() == "*":
        return True
    return _opaque(entity_tag) in {match.group(1) for match in _ENTITY_TAG.finditer(if_none_match)}


def _opaque(entity_tag: str) -> str:
    return entity_tag.removeprefix("W/").strip('"')
