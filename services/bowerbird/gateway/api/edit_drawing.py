"""How an edit is accepted, drawn and answered: the counterpart of `accepting` and `image_drawing` for such pictures.

Before an edit becomes a job, its picture is opened and looked at as it is when somebody waits: what is no picture, or
may not be drawn from, is refused at once and never kept. The files are kept with the job, as one upload, and are read
from there whenever it is drawn.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from bowerbird.contracts import Action
from bowerbird.gateway.admission.admission import Tell
from bowerbird.gateway.api.accepting import Acceptance, Settled, Wanted, awaited, job_of
from bowerbird.gateway.api.edit_request import EditFiles, EditImages
from bowerbird.gateway.api.image_drawing import Drawing, as_accepted, plan_of
from bowerbird.gateway.api.image_stream import refuse_to_accept
from bowerbird.gateway.call import Call
from bowerbird.gateway.demand.waking import CHAIN
from bowerbird.gateway.editing import LOOKERS, Read, Upload, begun, tell_edit
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.jobs.request import KeptEdit, edit_job_request
from bowerbird.gateway.plan import compute_units
from bowerbird.gateway.prompt_length import require_readable
from bowerbird.gateway.records.job import JobKind
from bowerbird.gateway.story import Allowed
from bowerbird.gateway.upstream import Stage


async def accept_edit(
    request: Request, call: Call, asked: EditImages, files: EditFiles, acceptance: Acceptance
) -> Response:
    """The job of an edit, or its pictures; raises what the story may raise, StorageFull or IdempotencyKeyReused.

    The files are closed as soon as the job has them.
    """
    gateway: Gateway = request.app.state.gateway
    try:
        if asked.stream:
            refuse_to_accept(acceptance)
        stated = "\n".join([asked.model_dump_json(), *await files.digests()]).encode()
        wanted = partial(_wanted, asked, files, call, gateway)
        job_id = await job_of(request, call, acceptance.key, stated, wanted)
    finally:
        await files.close()
    return await awaited(request, call, job_id, acceptance)


async def _wanted(asked: EditImages, files: EditFiles, call: Call, gateway: Gateway) -> Wanted:
    plan = await plan_of(asked, call, gateway)

    async def settle(allowed: Allowed) -> Settled:
        await require_readable(allowed, plan.model, Stage.TEXT_TO_IMAGE, call, gateway)
        whole = await begun(plan, _upload(asked, files), call, gateway.upstream)
        return Settled(edit_job_request(asked, whole, files.lengths, allowed, call.locale), compute_units(whole))

    return Wanted(JobKind.PICTURES, plan, CHAIN, settle, asked.end_user, lookers=LOOKERS, begins_with=files.read_both)


async def edit_images(
    asked: EditImages, files: EditFiles, call: Call, gateway: Gateway, place: Tell | None = None
) -> Drawing:
    """The story of an edit, with its answer; the files are closed at its end."""
    try:
        return await draw_edit(asked, _upload(asked, files), call, gateway, place)
    finally:
        await files.close()


async def draw_edit(
    asked: EditImages, upload: Upload, call: Call, gateway: Gateway, place: Tell | None = None
) -> Drawing:
    """The story of an edit, wherever its picture comes from, with its answer."""
    plan, told = await tell_edit(await plan_of(asked, call, gateway), upload, call, gateway, place)
    call.seconds["total"] = time.perf_counter() - call.began
    return Drawing(asked, plan, told, call)


async def draw_kept_edit(
    asked: KeptEdit, action: Action, call: Call, gateway: Gateway, place: Tell | None = None
) -> Drawing:
    """The story of a job, whose id the call has, with its answer; raises PictureLost too.

    `action` is what safety did with the prompt when it was accepted.
    """
    upload = _kept_upload(asked, partial(gateway.records.uploads.read, call.request_id))
    drawing = await draw_edit(asked, upload, call, gateway, place)
    return replace(drawing, told=as_accepted(drawing.told, action))


def _kept_upload(asked: KeptEdit, read: Read) -> Upload:
    """The files of an edit that was kept, where `read` gives all that was uploaded for it."""
    length, *of_masks = asked.file_bytes

    async def read_image() -> bytes:
        return (await read())[:length]

    async def read_mask() -> bytes:
        return (await read())[length:]

    return Upload(read_image, read_mask if of_masks else None, asked.strength)


def _upload(asked: EditImages, files: EditFiles) -> Upload:
    return Upload(files.read_image, files.read_mask if files.mask else None, asked.strength)
