"""A stranger's file is decoded away from the event loop, and whoever stops waiting for it frees the thread."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from bowerbird.contracts import OpenRequest, Size
from bowerbird.curation import opening
from bowerbird.errors import RequestInvalid
from bowerbird.parts import END_OF_STREAM, Kind, part

from .streams import HEADERS

ASKED = part(Kind.REQUEST, OpenRequest(size=Size(width=16, height=16), masked=False))
ASKED += part(Kind.FILE, b"a picture that takes long") + END_OF_STREAM


async def test_while_a_file_is_decoded_others_are_answered(
    app: Starlette, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, release = threading.Event(), threading.Event()

    def slowly(*_: Any) -> opening.Opened:
        begun.set()
        assert release.wait(60)
        raise RequestInvalid("image: no picture.", param="image")

    monkeypatch.setattr(opening, "open_original", slowly)
    decoding = asyncio.create_task(client.post("/open", content=ASKED, headers=HEADERS))
    try:
        assert await asyncio.to_thread(begun.wait, 60)
        async with asyncio.timeout(60):
            assert (await client.get("/describe")).status_code == 200
        assert not decoding.done()
    finally:
        release.set()
    assert (await decoding).status_code == 400
