"""`/v1/models` and `/v1/loras`: what can be drawn with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from bowerbird.client.calls import Call, Received, Value, get, object_of, step
from bowerbird.errors import StageBroken

MODELS = "/v1/models"


@dataclass(frozen=True, slots=True)
class Model:
    """A model that is served, and what a request may ask of it."""

    id: str
    version: str
    digest: str
    licence: str
    sizes: list[str]
    """`WIDTHxHEIGHT` in pixels; the first is the default."""
    max_steps: int
    default_steps: int
    default_guidance_scale: float
    max_guidance_scale: float
    max_prompt_tokens: int
    max_lora_rank: int
    """0: it takes no LoRA."""


class Lora(Value):
    """A LoRA that a drawing may name."""

    id: str
    digest: str
    rank: int
    bytes: int


def list_models() -> Call[list[Model]]:
    """`GET /v1/models`."""
    return get(MODELS, _models)


def get_model(model_id: str) -> Call[Model]:
    """`GET /v1/models/{model}`; raises ModelUnknown."""
    return get(f"{MODELS}/{step(model_id)}", _model)


def list_loras() -> Call[list[Lora]]:
    """`GET /v1/loras`."""
    return get("/v1/loras", _loras)


def _models(received: Received) -> list[Model]:
    try:
        return [_of(item) for item in object_of(received)["data"]]
    except (KeyError, TypeError) as error:
        raise StageBroken("The answer is not a list of models.") from error


def _model(received: Received) -> Model:
    try:
        return _of(object_of(received))
    except (KeyError, TypeError) as error:
        raise StageBroken("The answer is not a model.") from error


def _of(item: Mapping[str, Any]) -> Model:
    facts = item["bowerbird"]
    return Model(id=item["id"], **{each.name: facts[each.name] for each in fields(Model) if each.name != "id"})


def _loras(received: Received) -> list[Lora]:
    try:
        return [Lora.model_validate(each) for each in object_of(received)["data"]]
    except (KeyError, TypeError, ValueError) as error:
        raise StageBroken("The answer is not a list of LoRAs.") from error
