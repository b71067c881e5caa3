"""What may be asked next: OpenAPI's links from an answer to the operations that take something of it.

Readers and generated clients follow them, and so does the test that makes requests up (schemathesis): a link that
leads nowhere is found there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bowerbird.gateway.api.operation import Operation

_JOB = {"job": "$response.body#/id"}
_OF_A_JOB = {"get_job": _JOB, "stream_job_events": _JOB, "get_job_result": _JOB, "cancel_job": _JOB}
_ENDPOINT = {"webhook_endpoint_id": "$response.body#/id"}
_FILE = {"file_id": "$response.body#/id"}
_BATCH = {"batch_id": "$response.body#/id"}
_TENANT = {"tenant": "$response.body#/id"}
_KEY = {"key": "$response.body#/id"}
_VIDEO = {"video": "$response.body#/id"}
_NEXT = {"after": "$response.body#/next_cursor"}
_BEHIND = {"after": "$response.body#/last_id"}

LINKS: Mapping[tuple[str, str], Mapping[str, Mapping[str, str]]] = {
    ("generate", "202"): _OF_A_JOB,
    ("edit", "202"): _OF_A_JOB,
    ("draw_species_image", "202"): _OF_A_JOB,
    ("create_video", "200"): {"get_video": _VIDEO, "get_video_content": _VIDEO, "delete_video": _VIDEO},
    ("list_videos", "200"): {"list_videos": _BEHIND},
    ("list_jobs", "200"): {"list_jobs": _NEXT, "get_job": {"job": "$response.body#/data/0/id"}},
    ("list_feedback", "200"): {"list_feedback": _NEXT},
    ("list_models", "200"): {"get_model": {"model": "$response.body#/data/0/id"}},
    ("create_file", "200"): {"get_file": _FILE, "get_file_content": _FILE, "delete_file": _FILE},
    ("list_files", "200"): {"list_files": _BEHIND},
    ("create_batch", "200"): {"get_batch": _BATCH, "cancel_batch": _BATCH},
    ("get_batch", "200"): {"get_file_content": {"file_id": "$response.body#/output_file_id"}},
    ("list_batches", "200"): {"list_batches": _BEHIND},
    ("create_webhook_endpoint", "200"): {
        "get_webhook_endpoint": _ENDPOINT,
        "update_webhook_endpoint": _ENDPOINT,
        "rotate_webhook_secret": _ENDPOINT,
        "try_webhook_endpoint": _ENDPOINT,
        "list_webhook_deliveries": _ENDPOINT,
        "delete_webhook_endpoint": _ENDPOINT,
    },
    ("list_webhook_endpoints", "200"): {"list_webhook_endpoints": _BEHIND},
    ("create_tenant", "200"): {"get_tenant": _TENANT, "change_tenant": _TENANT, "get_tenant_usage": _TENANT},
    ("create_key", "200"): {"get_key": _KEY, "rotate_key": _KEY, "revoke_key": _KEY},
}
"""Operation and status of its answer -> operations -> parameter -> where in the answer its value stands (RFC 6901)."""


def links_of(operation: Operation, status: str) -> dict[str, Any]:
    """The `links` of one answer; nothing where there are none."""
    followed = LINKS.get((operation.handler.__name__, status), {})
    if not followed:
        return {}
    return {"links": {name: {"operationId": name, "parameters": dict(taken)} for name, taken in followed.items()}}
