"""What makes two requests the same: the recipe of a picture, and the two names that are made of it.

`results.Results` looks results up by these names. A recipe holds everything that changes the bytes of the answer, as it
is drawn: the redacted prompts, the plan with nothing left to default, the model, each LoRA by its digest, the policy
that let it through, the judge that chose it, the software and the certificate that labelled it. Left out is what only
the answer says (`quality` has become steps and candidates; ids, times and the end user are the request's own).

A tenant's results are its own: a hit on another's would tell that somebody drew this prompt, and hand out a label with
the other's request id. Names are keyed (HMAC), so that nobody who reads a row searches prompts by it.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from bowerbird import __version__
from bowerbird.contracts import CurationDescription, Digest, LoraId
from bowerbird.gateway.plan import Plan

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a plan does not know: who asks, and what safety let through."""

    tenant: str
    prompt: str
    """As it is drawn: redacted."""
    negative_prompt: str | None
    policy: Digest
    """Of the policy that let the prompt through, now."""


@dataclass(frozen=True, slots=True)
class Versions:
    """What the model of the plan would be joined by, if it were drawn now."""

    curation: CurationDescription
    """What would choose and sign."""
    loras: Mapping[LoraId, Digest] = field(default_factory=dict)
    """Each LoRA that the plan names."""


@dataclass(frozen=True, slots=True)
class Names:
    """What a result is found by; each 64 hexadecimal digits."""

    key: str
    """Of the one answer that is drawn by this recipe with this seed."""
    likeness: str
    """Of all that are drawn by this recipe, whatever their seed."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything but the seed that the bytes of an answer depend on."""

    software: str
    tenant: str
    policy: Digest
    curation: str
    """`contracts.CurationDescription` as JSON."""
    model: Digest
    prompt: str
    negative_prompt: str | None
    width: int
    height: int
    steps: int
    guidance_scale: float
    images: int
    candidates: int
    output_format: str
    output_compression: int
    loras: tuple[tuple[LoraId, Digest, float], ...]
    """Name, digest and weight, by name: the order in which they are added up does not matter."""
    species: str = ""
    """`contracts.SpeciesSubject` as JSON, where there is one: what curation is asked, and the label says."""

    def names(self, secret: bytes, seed: int) -> Names:
        """What an answer that is drawn like this with this seed is found by."""
        facts = {name: getattr(self, name) for name in Recipe.__slots__}
        written = _CANONICAL.encode(facts)
        return Names(_name(secret, f"seed {seed}", written), _name(secret, "any seed", written))


def recipe_of(plan: Plan, subject: Subject, versions: Versions) -> Recipe:
    """The recipe of a plan; raises KeyError when the digest of one of its LoRAs is not in `versions`."""
    return Recipe(
        software=__version__,
        tenant=subject.tenant,
        policy=subject.policy,
        curation=versions.curation.model_dump_json(),
        model=plan.model.digest,
        prompt=subject.prompt,
        negative_prompt=subject.negative_prompt,
        width=plan.size.width,
        height=plan.size.height,
        steps=plan.steps,
        guidance_scale=float(plan.guidance_scale),
        images=plan.images,
        candidates=plan.candidates,
        output_format=plan.output_format.value,
        output_compression=plan.output_compression,
        loras=tuple(sorted((each.id, versions.loras[each.id], float(each.weight)) for each in plan.lora)),
        species="" if plan.species is None else plan.species.model_dump_json(),
    )


def _name(secret: bytes, kind: str, written: str) -> str:
    """HMAC-SHA256 of a kind of name, which has no line break, and canonical JSON, which keeps its fields apart."""
    return hmac.digest(secret, f"{kind}\n{written}".encode(), "sha256").hex()
