"""`/v1/jobs`: what was accepted, how far it is, its result, and its end before its time.

A job of another tenant is not there (404, not 403). Creating one is a request for pictures with `Prefer: respond-async`
(`api.accepting`).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from bowerbird.errors import RequestInvalid
from bowerbird.gateway.api.arrival import gateway_of, principal_of
from bowerbird.gateway.api.body import ResponseBody, shown_value
from bowerbird.gateway.api.job_body import RETRY_AFTER_SECONDS, JobBody, job_body, result_response
from bowerbird.gateway.api.job_place import NOWHERE, known_at_once, whereabouts
from bowerbird.gateway.records.jobs import MAX_PAGE

DEFAULT_PAGE = 20


class JobList(ResponseBody):
    """Jobs of the caller's tenant, newest first."""

    object: Literal["list"] = "list"
    data: list[JobBody]
    has_more: bool
    next_cursor: str | None = Field(description="Send it as `after` for the next page.")


async def list_jobs(request: Request) -> Response:
    """A page of jobs."""
    gateway, weight = gateway_of(request), principal_of(request).weight
    limit = _limit(request.query_params.get("limit", str(DEFAULT_PAGE)))
    page = await gateway.records.jobs.page(request.state.tenant, limit, request.query_params.get("after"))
    body = JobList(
        data=[job_body(job, known_at_once(job, weight, gateway) or NOWHERE, gateway) for job in page.jobs],
        has_more=page.next_cursor is not None,
        next_cursor=page.next_cursor,
    )
    return Response(body.model_dump_json(), media_type="application/json")


async def get_job(request: Request) -> Response:
    """One job; `Retry-After` while it is not finished."""
    gateway = gateway_of(request)
    job = await gateway.records.jobs.get(request.state.tenant, request.path_params["job"])
    headers = {} if job.state.final else {"Retry-After": str(RETRY_AFTER_SECONDS)}
    where = await whereabouts(job, principal_of(request).weight, gateway)
    return Response(job_body(job, where, gateway).model_dump_json(), 200, headers, "application/json")


async def cancel_job(request: Request) -> Response:
    """Ends a job that is not finished; what computes for it stops after the present step."""
    gateway = gateway_of(request)
    job = await gateway.jobs.cancel(request.state.tenant, request.path_params["job"])
    return Response(job_body(job, NOWHERE, gateway).model_dump_json(), media_type="application/json")


async def get_job_result(request: Request) -> Response:
    """The pictures of a finished job, or the error it failed with."""
    gateway = gateway_of(request)
    job = await gateway.records.jobs.get(request.state.tenant, request.path_params["job"])
    return await result_response(job, gateway)


def _limit(stated: str) -> int:
    if stated.isascii() and stated.isdigit() and len(stated) <= 3 and 1 <= int(stated) <= MAX_PAGE:
        return int(stated)
    raise RequestInvalid(f"limit: {shown_value(stated)} is not accepted. Accepted: 1 to {MAX_PAGE}.", param="limit")
