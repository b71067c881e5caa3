"""`GET /v1/loras`: the LoRAs a request may name, asked of text-to-image each time, since its folder may change."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from bowerbird.contracts import Digest
from bowerbird.gateway.api.arrival import arrive
from bowerbird.gateway.api.body import ResponseBody


class Lora(ResponseBody):
    """One LoRA."""

    id: str = Field(description="Send it in `lora` of a request.")
    object: Literal["lora"] = "lora"
    digest: Digest = Field(description="Of its file; a picture's label names it.")
    rank: int
    bytes: int


class LoraList(ResponseBody):
    """All LoRAs in the model's folder."""

    object: Literal["list"] = "list"
    data: list[Lora]
    refused: dict[str, str] = Field(description="Files that cannot be used with this model, and why.")


async def list_loras(request: Request) -> Response:
    """Every LoRA that can be named."""
    gateway, call = arrive(request)
    async with call.within_deadline():
        catalogue = await gateway.upstream.loras(call)
    answer = LoraList(data=[Lora(**each.model_dump()) for each in catalogue.loras], refused=catalogue.refused)
    return Response(answer.model_dump_json(), media_type="application/json")
