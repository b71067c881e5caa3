"""Pictures that begin with a picture, through OpenAI's unmodified client and the real chain."""

from __future__ import annotations

import base64
import io
import secrets
from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest
from openai.types import ImageEditCompletedEvent, ImageEditPartialImageEvent, ImagesResponse
from PIL import Image

from ..embedded_stack import RunningStack

pytestmark = pytest.mark.timeout(300)

ROBIN = "an american robin perched on a branch in winter"
JAY = "a blue jay perched on a branch in winter"
QUICK: dict[str, Any] = {"steps": 8, "seed": 11}


@pytest.fixture(scope="module")
def client(stack: RunningStack) -> Iterator[openai.OpenAI]:
    stack.wait_until_ready()
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key="any", max_retries=0, timeout=120) as opened:
        yield opened


@pytest.fixture(scope="module")
def robin(client: openai.OpenAI) -> bytes:
    return picture(client.images.generate(prompt=ROBIN, extra_body=QUICK))


def picture(answer: ImagesResponse) -> bytes:
    [image] = answer.data or []
    return base64.b64decode(image.b64_json or "")


def pixels(content: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), np.float64)


def distance(one: bytes, other: bytes) -> float:
    return float(np.abs(pixels(one) - pixels(other)).mean())


def mask_of(content: bytes, *, hole: tuple[int, int, int, int]) -> bytes:
    mask = Image.new("RGBA", Image.open(io.BytesIO(content)).size, "black")
    mask.paste((0, 0, 0, 0), hole)
    written = io.BytesIO()
    mask.save(written, "PNG")
    return written.getvalue()


def test_an_edit_stays_the_nearer_the_weaker_it_is(client: openai.OpenAI, robin: bytes) -> None:
    weak, strong = (
        picture(client.images.edit(image=robin, prompt=JAY, extra_body={**QUICK, "strength": strength}))
        for strength in (0.25, 1)
    )
    assert distance(robin, weak) < distance(robin, strong)


def test_the_same_seed_and_picture_give_the_same_edit(client: openai.OpenAI, robin: bytes) -> None:
    once, again = (picture(client.images.edit(image=("a.png", robin), prompt=JAY, extra_body=QUICK)) for _ in range(2))
    assert np.abs(pixels(once) - pixels(again)).max() <= 1


def test_an_edit_under_a_key_is_drawn_once_and_is_the_edit_of_a_plain_request(
    client: openai.OpenAI, robin: bytes
) -> None:
    mask = mask_of(robin, hole=(64, 64, 192, 192))
    key = {"Idempotency-Key": secrets.token_hex(8)}
    said: dict[str, Any] = {"image": ("a.png", robin), "mask": ("b.png", mask), "prompt": JAY, "extra_body": QUICK}
    plain = picture(client.images.edit(**said))
    kept, again = (picture(client.images.edit(**said, extra_headers=key)) for _ in range(2))
    assert kept == again
    assert np.abs(pixels(kept) - pixels(plain)).max() <= 1
    with pytest.raises(openai.UnprocessableEntityError):
        client.images.edit(**{**said, "mask": ("b.png", robin)}, extra_headers=key)


def test_a_mask_of_another_size_becomes_no_job(client: openai.OpenAI, robin: bytes) -> None:
    small = io.BytesIO()
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(small, "PNG")
    key = {"Idempotency-Key": secrets.token_hex(8)}
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.edit(image=robin, mask=small.getvalue(), prompt=JAY, extra_headers=key)
    assert (refused.value.code, refused.value.param) == ("invalid_value", "mask")
    client.images.edit(image=robin, prompt=JAY, extra_headers=key, extra_body=QUICK)


def test_what_is_outside_of_the_mask_stays_to_the_pixel(client: openai.OpenAI, robin: bytes) -> None:
    mask = mask_of(robin, hole=(64, 64, 192, 192))
    edited = pixels(picture(client.images.edit(image=robin, mask=mask, prompt=JAY, extra_body=QUICK)))
    inside = np.zeros(edited.shape[:2], np.bool_)
    inside[64:192, 64:192] = True
    assert np.array_equal(edited[~inside], pixels(robin)[~inside])
    assert np.abs(edited[inside] - pixels(robin)[inside]).mean() > 1


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP", "PNG"])
def test_photographs_of_any_size_and_format_are_taken(client: openai.OpenAI, robin: bytes, file_format: str) -> None:
    photograph = io.BytesIO()
    Image.open(io.BytesIO(robin)).convert("RGB").resize((900, 600)).save(photograph, file_format)
    answer = client.images.edit(
        image=photograph.getvalue(), prompt=ROBIN, size="auto", output_format="webp", extra_body=QUICK
    )
    opened = Image.open(io.BytesIO(picture(answer)))
    assert (opened.format, f"{opened.width}x{opened.height}") == ("WEBP", answer.size)


def test_an_edit_is_recognised_and_says_what_it_began_with(client: openai.OpenAI, robin: bytes) -> None:
    edited = picture(client.images.edit(image=robin, prompt=JAY, extra_body=QUICK))
    [result] = client.content_provenance_checks.create(file=("a.png", edited)).results
    facts = result.to_dict()["bowerbird"]
    assert facts["verdict"] == "made_here_intact"  # type: ignore[index]
    assert facts["digital_source_type"].endswith("compositeWithTrainedAlgorithmicMedia")  # type: ignore[index]


def test_a_mask_of_another_size_is_refused_by_name(client: openai.OpenAI, robin: bytes) -> None:
    small = io.BytesIO()
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(small, "PNG")
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.edit(image=robin, mask=small.getvalue(), prompt=JAY)
    assert (refused.value.code, refused.value.param) == ("invalid_value", "mask")


def test_a_bomb_is_refused_by_its_header(client: openai.OpenAI) -> None:
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    assert len(bomb.getvalue()) < 100_000
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.edit(image=bomb.getvalue(), prompt=JAY)
    assert refused.value.param == "image"


def test_several_pictures_are_refused_by_name(client: openai.OpenAI, robin: bytes) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.edit(image=[robin, robin], prompt=JAY)
    assert refused.value.param == "image"


def test_an_edit_is_streamed(client: openai.OpenAI, robin: bytes) -> None:
    body = {**QUICK, "steps": 20, "strength": 0.9}
    stream = client.images.edit(image=robin, prompt=JAY, stream=True, partial_images=2, extra_body=body)
    *previews, edited = list(stream)
    assert isinstance(edited, ImageEditCompletedEvent)
    assert edited.usage.input_tokens_details.image_tokens > 0
    assert previews
    assert all(isinstance(each, ImageEditPartialImageEvent) for each in previews)
