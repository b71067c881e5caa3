"""What a job remembers is what was asked, settled, and comes out as the same plan again."""

from __future__ import annotations

import pytest

from bowerbird.contracts import MAX_SEED, PromptCheck
from bowerbird.gateway.api.image_request import GenerateImages
from bowerbird.gateway.jobs.request import job_request, read_job_request
from bowerbird.gateway.plan import plan_images
from bowerbird.gateway.results.lookup import Lookup
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
