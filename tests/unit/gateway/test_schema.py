"""Requests made up from the OpenAPI document: the gateway keeps what its document promises, and never answers 5xx."""

from __future__ import annotations

from typing import Any

import httpx2
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from bowerbird.gateway.api.openapi import document

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]

schema = schemathesis.openapi.from_dict(document())


@schema.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_no_request_that_can_be_made_up_breaks_the_documents_promises(
    case: schemathesis.Case[Any], gateway: httpx2.Client
) -> None:
    case.headers.pop("Bowerbird-Deadline-Ms", None)  # 503 is the right answer when it is 2
    case.call_and_validate(base_url=str(gateway.base_url), checks=CHECKS)
