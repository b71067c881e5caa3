"""What a request's wishes become, for any wishes and any model."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.contracts import MAX_FRAMES_PER_REQUEST, ModelCosts, ModelDescription, OutputFormat, SizeCosts
from bowerbird.errors import RequestInvalid
from bowerbird.gateway.api.image_request import GenerateImages, Quality
from bowerbird.gateway.plan import QUALITY, Plan, compute_units, plan_images

from .stand_ins import MODEL

PIXELS = 20 * 1024 * 1024


def planned(model: ModelDescription = MODEL, **fields: Any) -> Plan:
    return plan_images(GenerateImages.model_validate({"prompt": "a robin", **fields}), model, PIXELS)


def test_absent_fields_take_the_models_defaults() -> None:
    plan = planned()

    assert (plan.steps, plan.guidance_scale, str(plan.size)) == (20, 4.0, "32x32")
    assert (plan.images, plan.candidates, plan.output_format, plan.quality) == (1, 1, OutputFormat.PNG, Quality.MEDIUM)


@pytest.mark.parametrize(
    ("quality", "steps", "candidates"),
    [("auto", 20, 1), ("low", 10, 1), ("medium", 20, 1), ("high", 30, 2), ("xhigh", 30, 4), ("max", 30, 8)],
)
def test_quality_sets_steps_within_the_models_and_candidates(quality: str, steps: int, candidates: int) -> None:
    plan = planned(quality=Quality(quality))

    assert (plan.steps, plan.candidates) == (steps, candidates)


def test_explicit_steps_and_candidates_win_over_quality() -> None:
    plan = planned(quality=Quality.MAX, steps=3, candidates=2)

    assert (plan.steps, plan.candidates, plan.quality) == (3, 2, Quality.MAX)


def test_low_quality_of_a_one_step_model_is_one_step() -> None:
    turbo = MODEL.model_copy(update={"default_steps": 1, "max_steps": 4, "default_guidance_scale": 1.0})

    assert planned(turbo, quality=Quality.LOW).steps == 1


def test_every_quality_but_auto_has_its_row() -> None:
    assert set(QUALITY) == set(Quality) - {Quality.AUTO}


COSTS = ModelCosts(
    unit_seconds=0.1,
    guided_rows=2,
    sizes=[
        SizeCosts(size=MODEL.sizes[0], encode=0.5, step=1.0, decode=3.0),
        SizeCosts(size=MODEL.sizes[1], encode=0.5, step=2.5, decode=5.0),
    ],
)


@pytest.mark.parametrize(
    ("fields", "units"),
    [
        ({}, 0.5 + 20 * 2 + 3),
        ({"guidance_scale": 1.0}, 0.5 + 20 + 3),
        ({"size": "64x32", "steps": 4}, 0.5 + 4 * 2 * 2.5 + 5),
        ({"n": 2, "candidates": 3, "steps": 4}, 0.5 + 6 * (4 * 2 + 3)),
    ],
)
def test_a_plan_costs_what_the_model_says_of_its_pieces(fields: dict[str, Any], units: float) -> None:
    model = MODEL.model_copy(update={"costs": COSTS})
    assert compute_units(planned(model, **fields)) == pytest.approx(units)


def test_guidance_that_is_built_in_costs_no_second_row() -> None:
    model = MODEL.model_copy(update={"costs": COSTS.model_copy(update={"guided_rows": 1})})
    assert compute_units(planned(model, guidance_scale=4.0)) == pytest.approx(0.5 + 20 + 3)


def test_without_the_models_word_a_plan_costs_by_its_pixels() -> None:
    assert compute_units(planned(steps=3)) == 6
    assert compute_units(planned(steps=3, size="64x32", n=2)) == 24


@given(
    n=st.integers(1, 10),
    quality=st.sampled_from(Quality),
    steps=st.none() | st.integers(1, 50),
    candidates=st.none() | st.integers(1, 8),
    seed=st.none() | st.integers(0, 2**63 - 1),
    guidance_scale=st.none() | st.floats(1, 20),
)
def test_a_plan_is_within_every_limit_or_refused(**fields: Any) -> None:
    refused = None
    try:
        plan = planned(**fields)
    except RequestInvalid as error:
        refused = error
    if refused is not None:
        assert refused.param in {"n", "steps", "guidance_scale"}
        return
    assert 1 <= plan.steps <= MODEL.max_steps
    assert 1 <= plan.frames <= MAX_FRAMES_PER_REQUEST
    assert 1 <= plan.guidance_scale <= MODEL.max_guidance_scale
    assert plan.draw_request("x", None).count == plan.frames
