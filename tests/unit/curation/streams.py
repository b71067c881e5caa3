"""Bodies and answers of the curation service, as the gateway writes and reads them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from bowerbird.contracts import Contract, Judgement, JudgeRequest
from bowerbird.frames import npy
from bowerbird.parts import CONTENT_TYPE, END_OF_STREAM, Kind, Part, part, read_parts

Pixels = NDArray[np.uint8]

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
HEADERS = {"Content-Type": CONTENT_TYPE, "traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01"}


def body(request: Contract, *frames: bytes) -> bytes:
    return part(Kind.REQUEST, request) + b"".join(part(Kind.FRAMES, frame) for frame in frames) + END_OF_STREAM


def frames_of(*pictures: Pixels) -> list[bytes]:
    return [npy(picture[None]) for picture in pictures]


def tinted(bird: Pixels, channel: int) -> Pixels:
    """The bird in one colour: what the judge of colours tells apart."""
    tinted = np.zeros_like(bird)
    tinted[..., channel] = bird[..., channel]
    return tinted


async def parts_of(response: httpx.Response) -> list[Part]:
    async def chunks() -> AsyncIterator[bytes]:
        yield response.content

    return [each async for each in read_parts(chunks())]


async def judged(client: httpx.AsyncClient, request: JudgeRequest, *pictures: Pixels) -> Judgement:
    response = await client.post("/judge", content=body(request, *frames_of(*pictures)), headers=HEADERS)
    assert response.status_code == 200, response.text
    return Judgement.model_validate_json(response.content)


def error_of(response: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = response.json()["error"]
    return error
