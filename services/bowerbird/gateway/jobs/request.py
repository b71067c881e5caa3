"""What a job remembers of its request: enough to draw it after a restart, and nothing that may not be kept.

It is the request's own body with every value settled (seed, steps, size …) and the prompt as safety let it through, so
that drawing it later is drawing it as accepted, whoever does it: the same plan comes out of it again, unless the model
has changed meanwhile to one that cannot draw it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from bowerbird.contracts import Action
from bowerbird.gateway.api.edit_request import EditImages
from bowerbird.gateway.api.image_request import GenerateImages
from bowerbird.gateway.call import DEFAULT_LOCALE
from bowerbird.gateway.clips.plan import ClipPlan
from bowerbird.gateway.clips.request import ClipRequest
from bowerbird.gateway.plan import Plan
from bowerbird.gateway.results.lookup import Cache, Lookup
from bowerbird.gateway.species.images import SpeciesImages
from bowerbird.gateway.story import Allowed


class KeptEdit(EditImages):
    """An edit, whose files are the job's upload (`records.uploads`)."""

    file_bytes: tuple[int, ...] = Field(min_length=1, max_length=2)
    """How long they are: the picture's, and behind it the mask's where there is one. No other request has this field,
    so that a release which knows no such jobs refuses them."""


class JobRequest(BaseModel):
    """A job's `request` column."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    asked: SpeciesImages | GenerateImages | KeptEdit | ClipRequest
    action: Action
    """What safety did with the prompt as it came; `redact` when it is not the one that is kept."""
    locale: str = DEFAULT_LOCALE


class JobResult(BaseModel):
    """A job's `result` column: the answer, whose pictures lie in the store."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    headers: dict[str, str]
    body: dict[str, Any]


def job_request(asked: GenerateImages, plan: Plan, allowed: Allowed, locale: str) -> str:
    """The JSON of an accepted request."""
    body = asked.model_copy(update={**_settled(plan, allowed), **_settled_lookup(asked, plan)})
    return JobRequest(asked=body, action=allowed.decision.action, locale=locale).model_dump_json(exclude_none=True)


def edit_job_request(asked: EditImages, plan: Plan, file_bytes: Sequence[int], allowed: Allowed, locale: str) -> str:
    """The JSON of an accepted edit, whose plan has its picture."""
    strength = asked.strength if plan.original is None else plan.original.strength
    settled = {**_settled(plan, allowed), "seed": plan.seed, "strength": strength}
    body = KeptEdit(**{**asked.model_dump(), **settled}, file_bytes=tuple(file_bytes))
    return JobRequest(asked=body, action=allowed.decision.action, locale=locale).model_dump_json(exclude_none=True)


def clip_job_request(asked: ClipRequest, plan: ClipPlan, allowed: Allowed, locale: str) -> str:
    """The JSON of an accepted request for a clip."""
    settled = plan.settled(asked, allowed.prompt, allowed.negative_prompt)
    return JobRequest(asked=settled, action=allowed.decision.action, locale=locale).model_dump_json(exclude_none=True)


def _settled(plan: Plan, allowed: Allowed) -> dict[str, Any]:
    return {
        "prompt": allowed.prompt,
        "negative_prompt": allowed.negative_prompt,
        "size": str(plan.size),
        "steps": plan.steps,
        "guidance_scale": plan.guidance_scale,
        "candidates": plan.candidates,
        "quality": plan.quality,
    }


def _settled_lookup(asked: GenerateImages, plan: Plan) -> dict[str, Any]:
    """Where any stored picture will do, none is chosen; and it is said, should the tenant's default change."""
    if plan.lookup is Lookup.ANY:
        return {"seed": None, "cache": Cache.ANY}
    return {"seed": plan.seed, "cache": asked.cache}


def read_job_request(stored: str) -> JobRequest:
    """What `job_request` wrote."""
    return JobRequest.model_validate(json.loads(stored), strict=False)
