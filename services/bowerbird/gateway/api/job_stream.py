"""`GET /v1/jobs/{job}/events`: what happens to a job, as server-sent events, resumable by `Last-Event-ID`.

Events have the numbers of their rows, so that a client which reconnects, to whichever replica, hears what it missed and
nothing twice. While nothing happens a `heartbeat` without a number says the phase, and the place in the queue with its
ETA (`job_place`). The stream ends with the job. (https://html.spec.whatwg.org/multipage/server-sent-events.html)
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from bowerbird.errors import JobUnknown, RecordsUnavailable, RequestInvalid
from bowerbird.gateway.api.arrival import arrive, principal_of
from bowerbird.gateway.api.job_place import NOWHERE, Whereabouts, whereabouts_as_heard
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.records.job import Job, JobState
from bowerbird.gateway.records.job_events import JobEvent

HEARTBEAT_SECONDS = 10.0
"""Below the 30 to 60 seconds after which proxies close what is silent."""

_FINAL = frozenset(state.value for state in JobState if state.final)

LAST_EVENT_HEADER = "last-event-id"


async def stream_job_events(request: Request) -> Response:
    """The events after the last one that the client has seen."""
    gateway, _ = arrive(request)
    after = _last_event(request.headers.get(LAST_EVENT_HEADER, "0"))
    tenant, job_id = request.state.tenant, request.path_params["job"]
    job = await gateway.records.jobs.get(tenant, job_id)
    if job.state.final and after >= job.events:
        return Response(status_code=204)  # by which a browser knows that it need not come back
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    weight = principal_of(request).weight
    return StreamingResponse(_told(gateway, job, weight, after), 200, headers, "text/event-stream")


async def _told(gateway: Gateway, job: Job, weight: float, after: int) -> AsyncGenerator[str]:
    job_id, where = job.id, NOWHERE
    try:
        heard = await _heard_before(job, gateway)
        while True:
            events = await gateway.records.events.read(job_id, after)
            for event in events:
                yield _event(event)
                after, heard = event.number, event.data.get("phase", event.kind)
                if event.kind in _FINAL:
                    return
            if events:
                continue
            if gateway.jobs.carrier.waits_in_vain(job_id):
                return  # the client comes back, with the number of what it heard last
            seconds = min(HEARTBEAT_SECONDS, gateway.jobs.carrier.left_seconds)
            if await gateway.jobs.watch.wait(job_id, after, seconds):
                await gateway.records.jobs.get(job.tenant, job_id)  # that it is gone is news, too
            else:
                where = await whereabouts_as_heard(job, heard, weight, gateway, where)
                yield _heartbeat(job_id, heard, where)
    except (JobUnknown, RecordsUnavailable):
        return  # the job is gone, or nobody knows now: the client comes back and is told which


async def _heard_before(job: Job, gateway: Gateway) -> str:
    """The last phase, or else event, of which a listener that begins now may not hear: it was told before."""
    phase = await gateway.records.events.last_phase(job.id) if job.state is JobState.RUNNING else None
    return phase or job.state.value


def _heartbeat(job_id: str, heard: str, where: Whereabouts) -> str:
    place = where.place
    facts = {
        "id": job_id,
        "phase": where.phase or heard,
        "position": place.position if place else None,
        "eta_seconds": place.eta_seconds if place else None,
    }
    return f"event: heartbeat\ndata: {json.dumps(facts)}\n\n"


def _event(event: JobEvent) -> str:
    data = json.dumps({"id": event.job_id, "at": event.created_ms / 1000, **event.data})
    return f"id: {event.number}\nevent: {event.kind}\ndata: {data}\n\n"


def _last_event(stated: str) -> int:
    if stated.isascii() and stated.isdigit() and len(stated) <= 9:
        return int(stated)
    raise RequestInvalid("Last-Event-ID must be the id of an event of this job.", param="Last-Event-ID")
