"""What a job remembers is what was asked, settled, and comes out as the same plan again."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from pydantic import ValidationError

from bowerbird.contracts import MAX_SEED, PromptCheck
from bowerbird.gateway.api.edit_request import EditImages
from bowerbird.gateway.api.image_request import GenerateImages
from bowerbird.gateway.clips.request import ClipRequest
from bowerbird.gateway.jobs.request import KeptEdit, edit_job_request, job_request, read_job_request
from bowerbird.gateway.plan import Original, Plan, plan_edit, plan_images
from bowerbird.gateway.results.lookup import Lookup
from bowerbird.gateway.species.images import SpeciesImages
from bowerbird.gateway.story import Allowed

from ..stand_ins import MODEL, decision

MAX_PIXELS = 1 << 24
REQUESTS = [
    {},
    {"seed": MAX_SEED, "n": 2, "quality": "xhigh", "size": "64x32"},
    {"quality": "low", "negative_prompt": "blur", "guidance_scale": 7.5},
    {"output_format": "webp", "output_compression": 80, "steps": 3, "candidates": 2},
    {"lora": [{"id": "watercolour", "weight": -0.5}], "user": "someone", "model": "fledgling"},
    {"cache": "fresh"},
]


EDITS = [
    {},
    {"seed": MAX_SEED, "n": 2, "quality": "xhigh", "size": "64x32", "strength": 0.5},
    {"quality": "low", "negative_prompt": "blur", "guidance_scale": 7.5, "model": "fledgling"},
    {"output_format": "webp", "output_compression": 80, "steps": 1, "candidates": 2, "user": "someone"},
]


def allowed(prompt: str, negative_prompt: str | None) -> Allowed:
    return Allowed(decision(PromptCheck(prompt=prompt)), prompt, negative_prompt)


@pytest.mark.parametrize("fields", REQUESTS)
def test_the_plan_of_a_stored_request_is_the_plan_that_was_accepted(fields: dict[str, object]) -> None:
    asked = GenerateImages.model_validate({"prompt": "a robin", **fields}, strict=False)
    plan = plan_images(asked, MODEL, MAX_PIXELS, stores=True)
    stored = read_job_request(job_request(asked, plan, allowed(plan.prompt, plan.negative_prompt), "de"))
    assert isinstance(stored.asked, GenerateImages)
    again = plan_images(stored.asked, MODEL, MAX_PIXELS, stores=True)
    same = {name: getattr(plan, name) for name in plan.__slots__ if name != "lookup"}
    assert {name: getattr(again, name) for name in same} == same
    assert (stored.locale, stored.asked.end_user) == ("de", asked.end_user)


def kept_edit(fields: dict[str, object], strength: float) -> tuple[Plan, str]:
    """The plan of an edit whose picture was opened, and what its job keeps."""
    asked = EditImages.model_validate({"prompt": "a robin", **fields}, strict=False)

    async def read() -> bytes:
        return b"a bird"

    plan = replace(plan_edit(asked, MODEL, MAX_PIXELS), original=Original(strength, (b"frames",), "image/png", read))
    return plan, edit_job_request(asked, plan, (6, 4), allowed(plan.prompt, plan.negative_prompt), "de")


@pytest.mark.parametrize("fields", EDITS)
def test_the_plan_of_a_stored_edit_is_the_plan_that_was_accepted(fields: dict[str, object]) -> None:
    plan, request = kept_edit(fields, 1.0)
    stored = read_job_request(request)
    assert isinstance(stored.asked, KeptEdit)
    assert plan_edit(stored.asked, MODEL, MAX_PIXELS) == replace(plan, original=None)
    assert (stored.locale, stored.asked.end_user) == ("de", fields.get("user"))
    assert (stored.asked.strength, stored.asked.file_bytes) == (1.0, (6, 4))


def test_a_stored_edit_is_none_of_the_requests_that_a_release_before_draws() -> None:
    """It would draw the prompt alone; what it cannot read it puts back."""
    asked = json.loads(kept_edit({}, 0.6)[1])["asked"]
    for before in (SpeciesImages, GenerateImages, ClipRequest):
        with pytest.raises(ValidationError):
            before.model_validate(asked, strict=False)
    del asked["file_bytes"], asked["strength"]
    GenerateImages.model_validate(asked, strict=False)  # but for these


@pytest.mark.parametrize("said", [{"cache": "any"}, {}])
def test_where_any_stored_picture_will_do_it_still_will(said: dict[str, str]) -> None:
    asked = GenerateImages.model_validate({"prompt": "a robin", **said}, strict=False)
    plan = plan_images(asked, MODEL, MAX_PIXELS, stores=True, any_by_default=not said)
    stored = read_job_request(job_request(asked, plan, allowed("a robin", None), "en"))
    assert isinstance(stored.asked, GenerateImages)
    assert plan_images(stored.asked, MODEL, MAX_PIXELS, stores=True).lookup is Lookup.ANY


def test_only_what_safety_let_through_is_remembered() -> None:
    asked = GenerateImages(prompt="a robin for Jane Doe", negative_prompt="Jane's cat", guidance_scale=5.0)
    plan = plan_images(asked, MODEL, MAX_PIXELS)
    assert "Jane" not in job_request(asked, plan, allowed("a robin for [PERSON]", "[PERSON]'s cat"), "en")
    edit = EditImages(prompt="a robin for Jane Doe", negative_prompt="Jane's cat", guidance_scale=5.0)
    plan = plan_edit(edit, MODEL, MAX_PIXELS)
    kept = edit_job_request(edit, plan, (6,), allowed("a robin for [PERSON]", "[PERSON]'s cat"), "en")
    assert "Jane" not in kept
    assert "[PERSON]'s cat" in kept
