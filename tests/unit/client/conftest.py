"""A gateway made of the gateway's own answer shapes, served over real HTTP, that remembers what it was asked."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bowerbird.contracts import Action, PolicyReference, Score
from bowerbird.errors import BowerbirdError
from bowerbird.gateway.api.image_drawing import AnswerFormat, GenerationFacts, Image, ImageFacts, ImagesResponse
from bowerbird.gateway.api.models import Model, ModelFacts, ModelList
from bowerbird.gateway.api.provenance import C2paResult, ContentProvenanceCheck, ProvenanceFacts
from bowerbird.gateway.results.metrics import Source
from bowerbird.worker import error_response

DIGEST = "sha256:" + "0" * 64
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


class Gateway:
    """Answers as the real one does; `error` makes it refuse, `raw` makes it talk nonsense."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.error: BowerbirdError | None = None
        self.raw: Response | None = None

    async def generate(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append(body)
        self.headers.append(dict(request.headers))
        if self.error is not None:
            return error_response(self.error)
        return self.raw or Response(_images(body).model_dump_json(), media_type="application/json")

    async def models(self, _: Request) -> Response:
        return self.raw or Response(_models().model_dump_json(), media_type="application/json")

    async def provenance(self, request: Request) -> Response:
        async with request.form() as form:
            upload = form["file"]
            assert not isinstance(upload, str)
            intact = await upload.read() == b"picture 0"
        return self.raw or Response(_provenance(intact).model_dump_json(), media_type="application/json")

    async def readyz(self, _: Request) -> Response:
        return JSONResponse({"status": "ready", "stages": [{"name": "safety", "state": "ready"}]})


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """The gateway, listening on a free port."""
    gateway = Gateway()
    app = Starlette(
        routes=[
            Route("/v1/images/generations", gateway.generate, methods=["POST"]),
            Route("/v1/models", gateway.models),
            Route("/v1/content_provenance_checks", gateway.provenance, methods=["POST"]),
            Route("/readyz", gateway.readyz),
        ]
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        gateway.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield gateway
        finally:
            server.should_exit = True
            thread.join()


def nonsense(text: str = "<html>a proxy's page</html>", status: int = 200) -> Response:
    """What a stranger answers."""
    return Response(text, status)


def _images(body: dict[str, Any]) -> ImagesResponse:
    n, seed = body.get("n", 1), body.get("seed", 7)
    score = Score(name="sharpness", version="1", value=0.5, direction="higher_is_better", minimum=0.0, maximum=1.0)
    return ImagesResponse(
        created=0,
        data=[Image(b64_json=base64.b64encode(f"picture {i}".encode()).decode()) for i in range(n)],
        output_format=AnswerFormat(body.get("output_format", "png")),
        quality="medium",
        size="256x256",
        bowerbird=GenerationFacts(
            request_id="req_1",
            drawn_by="req_1",
            source=Source.DRAWN,
            trace_id=TRACE_ID,
            model="fledgling",
            model_digest=DIGEST,
            steps=20,
            guidance_scale=3.0,
            candidates=1,
            loras={},
            images=[ImageFacts(seed=seed + i, candidate=0, total=0.5, scores=[score]) for i in range(n)],
            safety=Action.ALLOW,
            policy=PolicyReference(id="default", version="1", digest=DIGEST),
            seconds={"draw": 1.5, "draw.denoise": 1.2},
        ),
    )


def _models() -> ModelList:
    facts = ModelFacts(
        version="1",
        digest=DIGEST,
        licence="Apache-2.0",
        sizes=["256x256"],
        max_steps=50,
        default_steps=20,
        default_guidance_scale=3.0,
        max_guidance_scale=20.0,
        max_prompt_tokens=75,
        max_lora_rank=64,
    )
    return ModelList(data=[Model(id="fledgling", created=0, owned_by="bowerbird", bowerbird=facts)])


def _provenance(intact: bool) -> ContentProvenanceCheck:
    facts = ProvenanceFacts(
        verdict="made_here_intact" if intact else "no_evidence",
        explanation="Made here." if intact else "Nothing says so.",
        validation_codes=[],
        digital_source_type=None,
    )
    result = C2paResult(
        outcome="detected" if intact else "not_detected",
        validation_state="valid" if intact else "not_present",
        issuer=None,
        model="fledgling" if intact else None,
        generated_at=None,
        bowerbird=facts,
    )
    return ContentProvenanceCheck(created_at=0, results=[result])
