"""`GET /v1/models` and `GET /v1/models/{model}`: what can be drawn with, in OpenAI's shape, with its limits beside."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from bowerbird.contracts import Digest, ModelDescription
from bowerbird.errors import ModelUnknown
from bowerbird.gateway.api.arrival import arrive
from bowerbird.gateway.api.body import ResponseBody


class ModelFacts(ResponseBody):
    """What a request to this model may ask for."""

    version: str
    digest: Digest
    licence: str
    sizes: list[str] = Field(description="WIDTHxHEIGHT in pixels; the first is `auto`.")
    max_steps: int
    default_steps: int
    default_guidance_scale: float
    max_guidance_scale: float
    max_prompt_tokens: int
    max_lora_rank: int = Field(description="0: this model takes no LoRA.")


class Model(ResponseBody):
    """One model."""

    id: str
    created: int = Field(description="Unix seconds when it was compiled.")
    object: Literal["model"] = "model"
    owned_by: str
    bowerbird: ModelFacts


class ModelList(ResponseBody):
    """All models."""

    object: Literal["list"] = "list"
    data: list[Model]


async def list_models(request: Request) -> Response:
    """Every model that is served."""
    gateway, _ = arrive(request)
    models = ModelList(data=[_model(gateway.stages.model())])
    return Response(models.model_dump_json(), media_type="application/json")


async def get_model(request: Request) -> Response:
    """One model by its name; raises ModelUnknown."""
    gateway, _ = arrive(request)
    description = gateway.stages.model()
    if request.path_params["model"] != description.name:
        raise ModelUnknown(f"This model is not served here. Accepted: {description.name!r}.", param="model")
    return Response(_model(description).model_dump_json(), media_type="application/json")


def _model(description: ModelDescription) -> Model:
    facts = description.model_dump(include=set(ModelFacts.model_fields) - {"sizes"})
    return Model(
        id=description.name,
        created=description.created,
        owned_by="bowerbird",
        bowerbird=ModelFacts(**facts, sizes=[str(size) for size in description.sizes]),
    )
