"""Requests made up from the OpenAPI document: the gateway keeps what its document promises, and never answers 5xx."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from bowerbird.gateway.api.openapi import document

NOT_MODIFIED = 304
NOT_BUILT_IN = 501


@schemathesis.check
def answered_without_a_fault_of_ours(_: Any, response: schemathesis.Response, case: schemathesis.Case[Any]) -> None:
    """5xx is never right here, but for what is documented as not built in."""
    assert response.status_code < 500 or response.status_code == NOT_BUILT_IN, case.as_curl_command()


@schemathesis.check
def as_described(context: Any, response: schemathesis.Response, case: schemathesis.Case[Any]) -> None:
    """The body has the shape that the document states. Of a stream that is text: schemathesis asks it of each event.

    A 304 has no body: nothing can be said of one.
    """
    if response.status_code == NOT_MODIFIED:
        assert not response.content
    elif not response.headers["content-type"][0].startswith("text/event-stream"):
        response_schema_conformance(context, response, case)


CHECKS = [
    answered_without_a_fault_of_ours,
    status_code_conformance,
    content_type_conformance,
    as_described,
    negative_data_rejection,
]
LENIENT = settings(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)

pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")  # the gateway's thread does

schema = schemathesis.openapi.from_dict(document())


@schema.parametrize()
@settings(LENIENT, max_examples=25)
def test_no_request_that_can_be_made_up_breaks_the_documents_promises(
    case: schemathesis.Case[Any], gateway: httpx2.Client
) -> None:
    case.headers.pop("Bowerbird-Deadline-Ms", None)  # 503 is the right answer when it is 2
    case.call_and_validate(base_url=str(gateway.base_url), checks=CHECKS)
