"""The batches' part of the route table."""

from __future__ import annotations

from bowerbird import errors
from bowerbird.gateway.api import batch_bodies, batch_endpoints
from bowerbird.gateway.api.operation import KEYED, WITH_BODY, WITH_RECORDS, Operation
from bowerbird.gateway.api.paging import AFTER_SCHEMA, LIMIT_SCHEMA
from bowerbird.gateway.identity.scopes import Scope

ONE = "/v1/batches/{batch_id}"
OF_ONE = (*WITH_RECORDS, errors.BatchUnknown)

BATCH_OPERATIONS = (
    Operation(
        "POST",
        "/v1/batches",
        batch_endpoints.create_batch,
        "Answer every line of a file, when nobody else waits",
        batch_bodies.BatchBody,
        facts=(*WITH_BODY, *KEYED, errors.FileUnknown, errors.StorageFull, errors.TooManyBatches),
        body=batch_bodies.CreateBatch,
        example={
            "input_file_id": "file-0123456789abcdef01234567",
            "endpoint": batch_bodies.GENERATIONS,
            "completion_window": "24h",
        },
        scope=Scope.BATCHES_WRITE,
    ),
    Operation(
        "GET",
        "/v1/batches",
        batch_endpoints.list_batches,
        "List batches, newest first",
        batch_bodies.BatchList,
        facts=(*OF_ONE, errors.RequestInvalid),
        query={"limit": LIMIT_SCHEMA, "after": AFTER_SCHEMA},
        scope=Scope.BATCHES_READ,
    ),
    Operation(
        "GET",
        ONE,
        batch_endpoints.get_batch,
        "See how far a batch is",
        batch_bodies.BatchBody,
        facts=OF_ONE,
        scope=Scope.BATCHES_READ,
    ),
    Operation(
        "POST",
        f"{ONE}/cancel",
        batch_endpoints.cancel_batch,
        "Run no further line of a batch",
        batch_bodies.BatchBody,
        facts=(*OF_ONE, errors.BatchFinished),
        scope=Scope.BATCHES_WRITE,
    ),
)
