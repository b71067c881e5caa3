"""What makes two requests the same, and what keeps them apart."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bowerbird.contracts import LoraUse, OutputFormat
from bowerbird.gateway.api.image_request import GenerateImages
from bowerbird.gateway.plan import Plan, plan_images
from bowerbird.gateway.results.key import Recipe, Subject, Versions, recipe_of

from ..stand_ins import CURATION, DIGEST, MODEL

SECRET = b"s" * 32
OTHER_DIGEST = "sha256:" + "9" * 64
SUBJECT = Subject("key-1", "a robin", None, DIGEST)
VERSIONS = Versions(CURATION, {"ink": DIGEST, "oil": OTHER_DIGEST})


def plan_of(**fields: Any) -> Plan:
    asked = GenerateImages.model_validate_json(json.dumps({"prompt": "a robin", **fields}))
    return plan_images(asked, MODEL, max_pixels=10**9)


def recipe(**changes: Any) -> Recipe:
    return replace(recipe_of(plan_of(seed=1), SUBJECT, VERSIONS), **changes)


def test_what_is_left_to_default_and_what_is_said_are_the_same() -> None:
    said = plan_of(seed=1, size="32x32", steps=20, guidance_scale=4.0, candidates=1, quality="medium", n=1)
    assert recipe_of(said, SUBJECT, VERSIONS) == recipe_of(plan_of(seed=1), SUBJECT, VERSIONS)


def test_the_prompt_counts_as_it_is_drawn_not_as_it_was_written() -> None:
    written = [
        recipe_of(plan_of(seed=1, prompt=prompt), SUBJECT, VERSIONS) for prompt in ("for Jo Smith", "for Ann Lee")
    ]
    assert written[0] == written[1]


def test_the_order_of_loras_does_not_matter_but_their_weights_and_digests_do() -> None:
    ink, oil = LoraUse(id="ink", weight=0.5), LoraUse(id="oil", weight=1.0)
    plans = [replace(plan_of(seed=1), lora=lora) for lora in ((ink, oil), (oil, ink))]
    assert recipe_of(plans[0], SUBJECT, VERSIONS) == recipe_of(plans[1], SUBJECT, VERSIONS)

    heavier = replace(plans[0], lora=(ink, LoraUse(id="oil", weight=1.5)))
    assert recipe_of(heavier, SUBJECT, VERSIONS) != recipe_of(plans[0], SUBJECT, VERSIONS)
    altered = Versions(CURATION, {"ink": DIGEST, "oil": DIGEST})
    assert recipe_of(plans[0], SUBJECT, altered) != recipe_of(plans[0], SUBJECT, VERSIONS)


CHANGES: dict[str, Any] = {
    "software": "0.0.0",
    "tenant": "key-2",
    "policy": OTHER_DIGEST,
    "curation": CURATION.model_copy(update={"certificate": OTHER_DIGEST}).model_dump_json(),
    "model": OTHER_DIGEST,
    "prompt": "a robin ",
    "negative_prompt": "a robin",
    "width": 64,
    "height": 64,
    "steps": 19,
    "guidance_scale": 4.000001,
    "images": 2,
    "candidates": 2,
    "output_format": OutputFormat.WEBP.value,
    "output_compression": 99,
    "loras": (("ink", DIGEST, 1.0),),
    "species": "another",
}


@pytest.mark.parametrize("field", [each.name for each in fields(Recipe)])
def test_whatever_changes_the_bytes_changes_both_names(field: str) -> None:
    changed = recipe(**{field: CHANGES[field]})
    assert changed.names(SECRET, 1).key != recipe().names(SECRET, 1).key
    assert changed.names(SECRET, 1).likeness != recipe().names(SECRET, 1).likeness


def test_the_seed_is_in_the_key_and_not_in_the_likeness() -> None:
    seven, eight = (recipe_of(plan_of(seed=seed), SUBJECT, VERSIONS) for seed in (7, 8))
    assert seven.names(SECRET, 1).likeness == eight.names(SECRET, 1).likeness
    assert seven.names(SECRET, 7).key != eight.names(SECRET, 8).key


def test_nobody_finds_a_prompt_by_its_name_without_the_secret() -> None:
    assert recipe().names(SECRET, 1).key != recipe().names(b"t" * 32, 1).key
    assert recipe().names(SECRET, 1).key != hashlib.sha256(b"a robin").hexdigest()


RECIPES = st.builds(
    recipe,
    prompt=st.text(max_size=8),
    negative_prompt=st.none() | st.text(max_size=8),
    tenant=st.sampled_from(["key-1", "key-2", "key-12"]),
    steps=st.integers(1, 20),
    images=st.integers(1, 2),
    candidates=st.integers(1, 12),
    guidance_scale=st.floats(1, 20),
    loras=st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.just(DIGEST), st.floats(-4, 4)),
        max_size=2,
        unique_by=lambda each: each[0],
    ).map(lambda each: tuple(sorted(each))),
)


@given(RECIPES, RECIPES, st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_no_two_different_requests_have_a_name_in_common(
    one: Recipe, other: Recipe, seed: int, other_seed: int
) -> None:
    assume((one, seed) != (other, other_seed))
    assert one.names(SECRET, seed).key != other.names(SECRET, other_seed).key
    assert (one.names(SECRET, 1).likeness == other.names(SECRET, 1).likeness) == (one == other)
    assert one.names(SECRET, 1).likeness not in (one.names(SECRET, seed).key, other.names(SECRET, other_seed).key)
