"""`/v1/content_provenance_checks` and `/v1/moderations`: what is asked of pictures and texts before they are used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bowerbird.client.calls import Call, Received, Value, keyed, object_of, value_of
from bowerbird.errors import StageBroken


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


class ModerationResult(Value):
    """What safety says of one text."""

    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]
    """0 to 1; 0 also where no gate looks."""


class Moderation(Value):
    """The results, in the order of the texts."""

    id: str
    results: list[ModerationResult]


def check_provenance(image: bytes) -> Call[ProvenanceCheck]:
    """`POST /v1/content_provenance_checks`."""
    return keyed(Call("POST", "/v1/content_provenance_checks", _provenance, files={"file": ("image", image)}))


def moderate(texts: str | Sequence[str]) -> Call[Moderation]:
    """`POST /v1/moderations`: a text, or up to 32."""
    asked = texts if isinstance(texts, str) else list(texts)
    return keyed(Call("POST", "/v1/moderations", value_of(Moderation), json={"input": asked}))


def _provenance(received: Received) -> ProvenanceCheck:
    try:
        facts = next(each for each in object_of(received)["results"] if each["type"] == "c2pa")
        ours = facts["bowerbird"]
        return ProvenanceCheck(
            verdict=ours["verdict"],
            explanation=ours["explanation"],
            validation_state=facts["validation_state"],
            issuer=facts["issuer"],
            model=facts["model"],
            generated_at=facts["generated_at"],
        )
    except (KeyError, TypeError, StopIteration) as error:
        raise StageBroken("The answer is not a provenance check.") from error
