"""The API's calls without a network: what is sent, and how an answer is read. Both clients share them.

A `Call` is a request and the function that reads its answer, so that a sync and an async client differ by one `await`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Generic, TypeVar

from bowerbird.client.values import Answer, Drawing, DrawOptions, Model, ProvenanceCheck
from bowerbird.errors import BowerbirdError, StageBroken, error_from_body

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Received:
    """An answer as it arrived; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Call(Generic[Result]):
    """One request to the gateway; `read` turns its answer into the result."""

    method: str
    path: str
    read: Callable[[Received], Result]
    json: dict[str, Any] | None = None
    files: dict[str, tuple[str, bytes]] | None = field(default=None, repr=False)


def draw(prompt: str, options: DrawOptions) -> Call[list[Drawing]]:
    """`POST /v1/images/generations`."""
    body = {"prompt": prompt, "response_format": "b64_json", **options}
    return Call("POST", "/v1/images/generations", _drawings, json=body)


def models() -> Call[list[Model]]:
    """`GET /v1/models`."""
    return Call("GET", "/v1/models", _models)


def check_provenance(image: bytes) -> Call[ProvenanceCheck]:
    """`POST /v1/content_provenance_checks`."""
    return Call("POST", "/v1/content_provenance_checks", _provenance, files={"file": ("image", image)})


def failure(received: Received) -> BowerbirdError:
    """The fact behind an answer of 400 or more; StageBroken when it is not the gateway that speaks."""
    retry_after = received.headers.get("retry-after", "")
    try:
        body = json.loads(received.body)
    except ValueError:
        body = None
    fact = error_from_body(received.status, body, int(retry_after) if retry_after.isdecimal() else None)
    return fact or StageBroken(f"The answer has status {received.status} and is not the gateway's.")


def _drawings(received: Received) -> list[Drawing]:
    body = _object(received)
    try:
        facts = body["bowerbird"]
        answer = Answer(
            request_id=facts["request_id"],
            trace_id=facts["trace_id"],
            model=facts["model"],
            model_digest=facts["model_digest"],
            seconds=facts["seconds"],
        )
        media_type = f"image/{body['output_format']}"
        pictures = zip(body["data"], facts["images"], strict=True)
        return [_drawing(picture, how, media_type, answer) for picture, how in pictures]
    except (KeyError, TypeError, ValueError) as error:
        raise StageBroken("The answer is not a list of pictures.") from error


def _drawing(picture: Mapping[str, Any], how: Mapping[str, Any], media_type: str, answer: Answer) -> Drawing:
    return Drawing(
        image=base64.b64decode(picture["b64_json"], validate=True),
        media_type=media_type,
        seed=how["seed"],
        scores={score["name"]: score["value"] for score in how["scores"]},
        revised_prompt=picture["revised_prompt"],
        answer=answer,
    )


def _models(received: Received) -> list[Model]:
    try:
        return [Model(id=item["id"], **_known(item["bowerbird"])) for item in _object(received)["data"]]
    except (KeyError, TypeError) as error:
        raise StageBroken("The answer is not a list of models.") from error


def _known(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {each.name: facts[each.name] for each in fields(Model) if each.name != "id"}


def _provenance(received: Received) -> ProvenanceCheck:
    try:
        facts = next(each for each in _object(received)["results"] if each["type"] == "c2pa")
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


def _object(received: Received) -> dict[str, Any]:
    try:
        body = json.loads(received.body)
    except ValueError as error:
        raise StageBroken("The answer is not JSON.") from error
    if not isinstance(body, dict):
        raise StageBroken("The answer is not a JSON object.")
    return body
