"""`/v1/batches`: create, list, look at, cancel. A batch of another tenant is not there (404, not 403)."""

from __future__ import annotations

import json
import secrets

from starlette.requests import Request
from starlette.responses import Response

from bowerbird.gateway.api.arrival import arrive, gateway_of
from bowerbird.gateway.api.batch_bodies import BatchList, CreateBatch, batch_body
from bowerbird.gateway.api.body import read_json
from bowerbird.gateway.api.idempotency import keyed_request, read_key
from bowerbird.gateway.api.paging import limit_of, path_id, text_of
from bowerbird.gateway.batches.batch import NewBatch


async def create_batch(request: Request) -> Response:
    """Accepts a file's lines: from the answer on they are answered, whatever dies."""
    gateway, call = arrive(request)
    key = read_key(request)
    asked = await read_json(request, CreateBatch)
    keyed = None if key is None else keyed_request(request, gateway, key, asked.model_dump_json().encode())
    new = NewBatch(
        id=f"batch_{secrets.token_hex(12)}",
        tenant=request.state.tenant,
        endpoint=asked.endpoint,
        input_file_id=asked.input_file_id,
        metadata=None if asked.metadata is None else json.dumps(asked.metadata),
        output_expires_seconds=asked.output_expires_after.seconds if asked.output_expires_after else None,
        locale=call.locale,
    )
    batch = await gateway.batches.batches.create(new, keyed)
    gateway.batches.carrier.wake()
    return Response(batch_body(batch).model_dump_json(), media_type="application/json")


async def list_batches(request: Request) -> Response:
    """A page of batches."""
    limit, after = limit_of(request), text_of(request, "after")
    found = await gateway_of(request).batches.batches.page(request.state.tenant, limit + 1, after)
    shown = [batch_body(each) for each in found[:limit]]
    body = BatchList(
        data=shown,
        has_more=len(found) > limit,
        first_id=shown[0].id if shown else None,
        last_id=shown[-1].id if shown else None,
    )
    return Response(body.model_dump_json(), media_type="application/json")


async def get_batch(request: Request) -> Response:
    """One batch, and how far it is."""
    batch = await gateway_of(request).batches.batches.get(request.state.tenant, path_id(request, "batch_id"))
    return Response(batch_body(batch).model_dump_json(), media_type="application/json")


async def cancel_batch(request: Request) -> Response:
    """Runs no further line; what is finished stays, and what is being drawn stops after the present step."""
    gateway = gateway_of(request)
    batch = await gateway.batches.batches.cancel(request.state.tenant, path_id(request, "batch_id"))
    gateway.batches.carrier.cancel(batch.id)
    return Response(batch_body(batch).model_dump_json(), media_type="application/json")
