"""An animation that is full, or dies under a clip: the clip is drawn elsewhere, or again, and nobody notices."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from bowerbird.errors import StageFull, error_body
from bowerbird.parts import CONTENT_TYPE

from ...engine.gated_backend import GatedBackend
from .conftest import GatewayBefore
from .test_videos import completed


class Unlucky:
    """Says of the first clip that it is full, breaks off the second, and then draws."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.fates = ["full", "dies"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].endswith("/animate") or not self.fates:
            await self._app(scope, receive, send)
        elif self.fates.pop(0) == "full":
            await JSONResponse(error_body(StageFull("All slots are taken.")), 429)(scope, receive, send)
        else:
            headers = [(b"content-type", CONTENT_TYPE.encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"", "more_body": True})


def test_a_clip_outlives_an_animation_that_is_full_and_one_that_dies(
    animator: Starlette, gateway_before: GatewayBefore, backend: GatedBackend, tmp_path: Path
) -> None:
    unlucky = Unlucky(animator)
    with gateway_before(unlucky, tmp_path, stage_poll_seconds=0.1) as client:
        video = completed(client)
        assert client.get(f"/v1/jobs/{video['id']}").json()["attempts"] == 1
        told = client.get("/metrics").text
    assert not unlucky.fates
    assert 'bowerbird_put_back_total{reason="full"} 1.0' in told
    assert 'bowerbird_put_back_total{reason="lost"} 1.0' in told
