"""Drawing, editing and watching: `/v1/images/generations` and `/v1/images/edits`.

A drawing and an edit carry a key, and ask to become a job when they take long. A stream can be neither; it gets a seed
here where the caller states none, so that asking again, after a connection broke, is asking for the same picture.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Required, TypedDict

from bowerbird.client.calls import Call, File, Heard, Listening, Received, get, keyed, object_of, parsed, step, text
from bowerbird.client.jobs import JOBS, Job
from bowerbird.errors import BowerbirdError, DeadlineExceeded, StageBroken, error_from_body

GENERATIONS = "/v1/images/generations"
EDITS = "/v1/images/edits"
SEED_BITS = 63
MAX_PARTIAL_IMAGES = 3


class LoraOption(TypedDict, total=False):
    """A LoRA by its name; `weight` is 1 when left out."""

    id: Required[str]
    weight: float


class PictureOptions(TypedDict, total=False):
    """What may be said beside the prompt however a picture begins; what is left out takes the gateway's default.

    The gateway checks all of it and names the field, the value and what is accepted.
    """

    model: str
    n: int
    """Pictures, 1 to 10."""
    size: str
    """`WIDTHxHEIGHT` in pixels, one of the model's sizes."""
    quality: str
    """A name for steps and candidates together."""
    output_format: Literal["png", "webp", "jpeg"]
    output_compression: int
    """Quality of webp and jpeg, 0 to 100."""
    seed: int
    """Picture i has a seed that follows from this one; left out, the gateway chooses."""
    negative_prompt: str
    """What should not be seen."""
    steps: int
    """Denoising steps."""
    guidance_scale: float
    """How much the prompt counts; 1 is without guidance."""
    candidates: int
    """Drawn for each picture; the best is kept."""
    user: str
    safety_identifier: str


class DrawOptions(PictureOptions, total=False):
    """What may be said beside a drawing's prompt."""

    cache: Literal["auto", "any", "fresh"]
    """Whether pictures that were drawn before will do: those of the same seed, any, or none."""
    lora: list[LoraOption]
    """LoRAs of the model's folder that take part."""


class EditOptions(PictureOptions, total=False):
    """What may be said beside an edit's prompt and files."""

    strength: float
    """How much may change, above 0 to 1."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the gateway says about one request, for those who want to follow it."""

    request_id: str
    trace_id: str | None
    """32 hexadecimal digits, to be looked up where the traces are."""
    model: str
    model_digest: str
    seconds: dict[str, float]
    """By stage; stages overlap."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """One picture, encoded and signed, and the request it came from."""

    image: bytes = field(repr=False)
    media_type: str
    seed: int
    """Draws this very picture again, with `n` 1 and `candidates` 1."""
    scores: dict[str, float]
    """By name, as curation judged it."""
    revised_prompt: str | None = field(repr=False)
    """The prompt as it was drawn, when safety took something out of it."""
    answer: Answer


@dataclass(frozen=True, slots=True)
class Preview:
    """What a picture will be."""

    image: bytes = field(repr=False)
    media_type: str
    index: int
    """From 0."""


def draw(prompt: str, options: DrawOptions, wait_seconds: float) -> Call[list[Drawing] | Job]:
    """`POST /v1/images/generations`: pictures, or after `wait_seconds` the job that draws them."""
    body = {"prompt": prompt, "response_format": "b64_json", **options}
    call = Call("POST", GENERATIONS, _drawings_or_job, json=body, headers=_prefer(wait_seconds))
    return keyed(call)


def at_once(call: Call[list[Drawing] | Job]) -> Call[list[Drawing] | Job]:
    """The same request under the same key, by one who does not wait: which job did it become?"""
    return replace(call, headers={**call.headers, **_prefer(0)})


def of_job(job_id: str) -> Call[list[Drawing]]:
    """`GET /v1/jobs/{job}/result`; raises what the job failed with, or how it ended without pictures."""
    return get(f"{JOBS}/{step(job_id)}/result", drawings)


def edit(
    image: File, prompt: str, mask: File | None, options: EditOptions, wait_seconds: float
) -> Call[list[Drawing] | Job]:
    """`POST /v1/images/edits`: pictures, or after `wait_seconds` the job that draws them."""
    fields = {"prompt": prompt, **{name: text(value) for name, value in options.items()}}
    files = {"image": image} if mask is None else {"image": image, "mask": mask}
    call = Call("POST", EDITS, _drawings_or_job, fields=fields, files=files, headers=_prefer(wait_seconds))
    return keyed(call)


def stream(prompt: str, partial_images: int, options: DrawOptions) -> Listening[Preview | Drawing]:
    """`POST /v1/images/generations` with `stream`: up to three previews, then the picture."""
    body = {"seed": fresh_seed(), **options, "prompt": prompt, "stream": True, "partial_images": partial_images}
    return Listening(Call("POST", GENERATIONS, _nothing, json=body, repeatable=True), _event)


def drawings(received: Received) -> list[Drawing]:
    """The pictures of an answer; raises StageBroken."""
    body = object_of(received)
    try:
        facts = body["bowerbird"]
        media_type = f"image/{body['output_format']}"
        pictures = zip(body["data"], facts["images"], strict=True)
        answer = _answer(facts)
        return [_drawing(picture, how, media_type, answer) for picture, how in pictures]
    except (KeyError, TypeError, ValueError) as error:
        raise StageBroken("The answer is not a list of pictures.") from error


def is_left_behind(error: BaseException) -> bool:
    """Whether who is stopped by this leaves work behind that goes on: the gateway itself did not end it."""
    return not isinstance(error, BowerbirdError) or isinstance(error, DeadlineExceeded)


def fresh_seed() -> int:
    """A seed for who states none."""
    return secrets.randbits(SEED_BITS)


def _prefer(wait_seconds: float) -> dict[str, str]:
    return {"Prefer": f"respond-async, wait={max(0, int(wait_seconds))}"}


def _nothing(_: Received) -> None:
    """A stream has no body of its own."""


def _drawings_or_job(received: Received) -> list[Drawing] | Job:
    return parsed(Job, received.body) if received.status == 202 else drawings(received)


def _answer(facts: Mapping[str, Any]) -> Answer:
    return Answer(
        request_id=facts["request_id"],
        trace_id=facts["trace_id"],
        model=facts["model"],
        model_digest=facts["model_digest"],
        seconds=facts["seconds"],
    )


def _drawing(picture: Mapping[str, Any], how: Mapping[str, Any], media_type: str, answer: Answer) -> Drawing:
    return Drawing(
        image=base64.b64decode(picture["b64_json"], validate=True),
        media_type=media_type,
        seed=how["seed"],
        scores={score["name"]: score["value"] for score in how["scores"]},
        revised_prompt=picture["revised_prompt"],
        answer=answer,
    )


def _event(_: str, __: str, data: str) -> Heard[Preview | Drawing]:
    """An event of a picture's stream; raises the error that it says, and StageBroken for anything unknown."""
    try:
        said = json.loads(data)
        kind = said["type"]
        if kind == "error":
            raise _ended_with(said)
        media_type = f"image/{said['output_format']}"
        if kind == "image_generation.completed":
            facts = said["bowerbird"]
            return Heard(_drawing(said, facts["images"][0], media_type, _answer(facts)), MAX_PARTIAL_IMAGES, True)
        image, index = base64.b64decode(said["b64_json"], validate=True), said["partial_image_index"]
        return Heard(Preview(image, media_type, index), index, False)
    except (KeyError, IndexError, TypeError, ValueError, RecursionError) as error:
        raise StageBroken("The stream says something that is no picture.") from error


def _ended_with(said: Mapping[str, Any]) -> BowerbirdError:
    seconds = said["error"].get("retry_after_seconds")
    fact = error_from_body(None, said, seconds if isinstance(seconds, int) else None)
    return fact or StageBroken("The stream ended with an error that is not the gateway's.")
