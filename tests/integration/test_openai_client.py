"""OpenAI's unmodified client against the real chain: what it types, it gets."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import httpx2
import numpy as np
import openai
import pytest
from openai.types import ImagesResponse
from PIL import Image

from ..embedded_stack import RunningStack

pytestmark = pytest.mark.timeout(300)

PROMPT = "an american robin perched on a branch in winter"
QUICK: dict[str, Any] = {"steps": 2, "seed": 11, "cache": "fresh"}


@pytest.fixture(scope="module")
def client(stack: RunningStack) -> Iterator[openai.OpenAI]:
    stack.wait_until_ready()
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key="any", max_retries=0, timeout=120) as opened:
        yield opened


def pictures(answer: ImagesResponse) -> list[bytes]:
    return [base64.b64decode(each.b64_json or "") for each in answer.data or []]


def pixels(picture: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))


@pytest.mark.parametrize("output_format", ["png", "webp", "jpeg"])
def test_picture_comes_in_the_format_and_size_that_were_asked_for(client: openai.OpenAI, output_format: Any) -> None:
    answer = client.images.generate(prompt=PROMPT, output_format=output_format, size="auto", extra_body=QUICK)

    [picture] = pictures(answer)
    opened = Image.open(io.BytesIO(picture))
    assert opened.format == output_format.upper()
    assert answer.size == f"{opened.width}x{opened.height}"
    assert answer.output_format == output_format


def test_each_of_n_can_be_drawn_again_by_its_seed(client: openai.OpenAI) -> None:
    both = client.images.with_raw_response.generate(
        prompt=PROMPT, n=2, extra_body={"steps": 2, "seed": 40, "candidates": 2}
    )
    seeds = [int(seed) for seed in both.headers["bowerbird-seeds"].split(", ")]
    assert seeds[0] in {40, 41}
    assert seeds[1] in {42, 43}

    for seed, picture in zip(seeds, pictures(both.parse()), strict=True):
        again = client.images.generate(prompt=PROMPT, extra_body={"steps": 2, "seed": seed})
        difference = pixels(picture).astype(int) - pixels(pictures(again)[0]).astype(int)
        assert np.abs(difference).max() <= 1


def test_answer_says_how_it_was_made(client: openai.OpenAI) -> None:
    answer = client.images.with_raw_response.generate(prompt=PROMPT, extra_body=QUICK)

    digest = client.models.list().data[0].to_dict()["bowerbird"]["digest"]  # type: ignore[index]
    assert answer.headers["bowerbird-model-digest"] == digest
    assert answer.headers["x-request-id"].startswith("req_")
    assert "prompt_match=" in answer.headers["bowerbird-scores"]
    for stage in ("check_prompt", "draw", "judge", "check_images", "publish", "draw.denoise"):
        assert f"{stage};dur=" in answer.headers["server-timing"]


def test_picture_is_recognised_and_a_tampered_one_is_not_believed(client: openai.OpenAI) -> None:
    [picture] = pictures(client.images.generate(prompt=PROMPT, extra_body=QUICK))
    [result] = client.content_provenance_checks.create(file=("a.png", picture)).results

    assert (result.type, result.outcome) == ("c2pa", "detected")
    assert result.model == client.models.list().data[0].id
    assert result.to_dict()["bowerbird"]["verdict"] == "made_here_intact"  # type: ignore[index]

    at = picture.index(b"IDAT") + 40
    tampered = picture[:at] + bytes([picture[at] ^ 0xFF]) + picture[at + 1 :]
    [result] = client.content_provenance_checks.create(file=("a.png", tampered)).results
    assert result.to_dict()["bowerbird"]["verdict"] != "made_here_intact"  # type: ignore[index]

    plain = io.BytesIO()
    Image.new("RGB", (64, 64), "green").save(plain, "PNG")
    [result] = client.content_provenance_checks.create(file=("b.png", plain.getvalue())).results
    assert result.outcome == "not_detected"
    assert result.to_dict()["bowerbird"]["verdict"] == "no_evidence"  # type: ignore[index]


def test_refused_prompt_is_a_bad_request_with_its_categories(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.generate(prompt="graphic gore, a man beheaded in a pool of blood")

    assert refused.value.code == "moderation_blocked"
    assert refused.value.body["categories"]  # type: ignore[index]
    assert "beheaded" not in str(refused.value.body)


def test_person_in_danger_is_offered_help(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.generate(prompt="i want to kill myself tonight")

    assert refused.value.code == "crisis_support"
    assert refused.value.body["help_text"]  # type: ignore[index]
    assert "kill myself" not in str(refused.value.body)


def test_personal_data_is_taken_out_and_the_caller_is_told(client: openai.OpenAI) -> None:
    answer = client.images.generate(prompt="a robin on the lawn of jo.smith@example.org", extra_body=QUICK)

    [image] = answer.data or []
    assert image.revised_prompt
    assert "jo.smith" not in image.revised_prompt
    assert "robin" in image.revised_prompt


def test_prompt_beyond_the_encoders_tokens_is_refused_not_cut(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.generate(prompt="a robin and " * 60)

    assert (refused.value.code, refused.value.param) == ("prompt_too_long", "prompt")


def test_moderation_flags_what_drawing_refuses(client: openai.OpenAI) -> None:
    moderation = client.moderations.create(input=[PROMPT, "graphic gore, a man beheaded in a pool of blood"])

    assert [result.flagged for result in moderation.results] == [False, True]
    assert moderation.results[1].categories.violence or moderation.results[1].categories.violence_graphic


async def test_async_client_draws_too(stack: RunningStack) -> None:
    async with openai.AsyncOpenAI(base_url=f"{stack.url}/v1", api_key="any", max_retries=0) as client:
        answer = await client.images.generate(prompt=PROMPT, extra_body=QUICK)

    assert len(pictures(answer)) == 1


def test_bad_field_is_the_clients_own_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        client.images.generate(prompt=PROMPT, size="1x1")
    assert (bad.value.code, bad.value.param) == ("unsupported_size", "size")
    with pytest.raises(openai.NotFoundError):
        client.images.generate(prompt=PROMPT, model="gpt-image-2")


def test_a_page_shows_the_api(stack: RunningStack) -> None:
    page = httpx2.get(f"{stack.url}/docs")

    assert page.status_code == 200
    assert f"{stack.url}/v1/images/generations" in page.text
