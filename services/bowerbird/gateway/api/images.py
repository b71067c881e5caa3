"""`POST /v1/images/generations` and `/v1/images/edits`: pictures at once, as a job, or as a stream of events."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from bowerbird.gateway.api.accepting import accept, acceptance_of
from bowerbird.gateway.api.arrival import arrive, gateway_of, principal_of
from bowerbird.gateway.api.body import read_json
from bowerbird.gateway.api.edit_drawing import accept_edit, edit_images
from bowerbird.gateway.api.edit_request import read_edit
from bowerbird.gateway.api.image_drawing import Drawing, draw_images, usage_of
from bowerbird.gateway.api.image_request import GenerateImages
from bowerbird.gateway.api.image_stream import EDIT, refuse_to_accept, stream_images
from bowerbird.gateway.api.moving_images import draw_moving
from bowerbird.gateway.api.rate_limit import rate_limit
from bowerbird.gateway.call import Call
from bowerbird.gateway.hang_up import unless_hung_up
from bowerbird.gateway.hot.hits import ASKED
from bowerbird.gateway.results.result import tag_is_known


async def generate(request: Request) -> Response:
    """Draws what the body asks for."""
    gateway, call = arrive(request)
    asked = await read_json(request, GenerateImages)
    acceptance = acceptance_of(request)
    if asked.moves:
        return await draw_moving(request, call, asked, gateway, acceptance)
    if asked.stream:
        refuse_to_accept(acceptance)
        return await stream_images(request, call, lambda told, place: draw_images(asked, told, gateway, place))
    if acceptance:
        return await accept(request, call, asked, acceptance)
    drawing = await unless_hung_up(request, draw_images(asked, call, gateway))
    return answered(request, call, drawing)


async def edit(request: Request) -> Response:
    """Draws what the form asks for, beginning with the picture in it."""
    gateway, call = arrive(request)
    acceptance = acceptance_of(request)
    asked, files = await read_edit(request)
    if acceptance:
        return await accept_edit(request, call, asked, files, acceptance)
    if asked.stream:
        return await stream_images(
            request, call, lambda told, place: edit_images(asked, files, told, gateway, place), EDIT
        )
    drawing = await unless_hung_up(request, edit_images(asked, files, call, gateway))
    return answered(request, call, drawing)


def answered(request: Request, call: Call, drawing: Drawing) -> Response:
    """The finished story as one answer, written down as used."""
    entry = usage_of(drawing, call.request_id, request.state.tenant)
    gateway = gateway_of(request)
    gateway.records.usage.record_soon(entry)
    if (name := request.scope.get(ASKED)) is not None:
        gateway.hits.learn(name, principal_of(request), drawing, entry)
    headers = {**drawing.headers, **rate_limit(request)}
    known = request.headers.get("if-none-match", "") if drawing.plan.original is None else ""
    if tag_is_known(known, drawing.headers["ETag"]):
        return Response(None, 304, headers)
    return Response(drawing.body.to_json(), 200, headers, "application/json")
