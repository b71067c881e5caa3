"""The animation service: `bentoml serve bowerbird.animation.service:Animation`.

It answers every request with 501 in OpenAI's error shape, so that the gateway, the charts and the dashboards know the
service by its name before it can draw.
"""

from __future__ import annotations

import bentoml
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bowerbird.errors import FeatureUnavailable
from bowerbird.worker import WORKER_OPTIONS, create_worker_app


async def animate(_: Request) -> Response:
    """Refuses: no motion model is part of this version."""
    raise FeatureUnavailable("Moving pictures are not part of this version; ask for output_format png, webp or jpeg.")


app = create_worker_app(
    "animation", [Route("/describe", animate, methods=["GET"]), Route("/animate", animate, methods=["POST"])]
)


@bentoml.service(name="animation", **WORKER_OPTIONS)
@bentoml.asgi_app(app, path="/")
class Animation:
    """The worker's shell around `app`."""
