"""Requests made up from the OpenAPI document: the gateway keeps what its document promises, and never answers 5xx."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import httpx2
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis.errors import FlakyStrategyDefinition
from schemathesis.generation.stateful import run_state_machine_as_test
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from bowerbird.gateway.api.openapi import document
from bowerbird.gateway.api.openapi_links import LINKS

NOT_BUILT_IN = 501


@schemathesis.check
def answered_without_a_fault_of_ours(_: Any, response: schemathesis.Response, case: schemathesis.Case[Any]) -> None:
    """5xx is never right here, but for what is documented as not built in."""
    assert response.status_code < 500 or response.status_code == NOT_BUILT_IN, case.as_curl_command()


CHECKS = [
    answered_without_a_fault_of_ours,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
LENIENT = settings(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)

schema = schemathesis.openapi.from_dict(document())


@schema.parametrize()
@settings(LENIENT, max_examples=25)
def test_no_request_that_can_be_made_up_breaks_the_documents_promises(
    case: schemathesis.Case[Any], gateway: httpx2.Client
) -> None:
    case.headers.pop("Bowerbird-Deadline-Ms", None)  # 503 is the right answer when it is 2
    case.call_and_validate(base_url=str(gateway.base_url), checks=CHECKS)


def test_what_an_answer_names_can_be_asked_for(gateway: httpx2.Client) -> None:
    """Follows the document's links: from a job to its events, from a page to the next, from a key to its rotation."""
    followed: set[str] = set()
    failed: list[Exception] = []
    # A test event would be sent to whatever host was made up.
    linked = schemathesis.openapi.from_dict(document()).exclude(operation_id="try_webhook_endpoint")

    class Following(linked.as_state_machine()):  # type: ignore[misc]
        def get_call_kwargs(self, case: schemathesis.Case[Any]) -> dict[str, Any]:
            return {"base_url": str(gateway.base_url)}

        def before_call(self, case: schemathesis.Case[Any]) -> None:
            case.headers.pop("Bowerbird-Deadline-Ms", None)

        def validate_response(self, response: Any, case: schemathesis.Case[Any], **_: Any) -> None:
            if response.status_code < 400:
                followed.add(case.operation.definition.raw["operationId"])
            try:
                case.validate_response(response, checks=CHECKS)
            except Exception as failure:
                failed.append(failure)
                raise

    for _ in range(3):
        # What may be asked next depends on what was answered; now and then hypothesis takes that for a flaky strategy.
        with suppress(FlakyStrategyDefinition):
            run_state_machine_as_test(Following, settings=settings(LENIENT, max_examples=30, stateful_step_count=8))
            break
    assert not failed
    # Which ones is a matter of luck; a machine that follows hardly any has proved nothing.
    assert len(followed & {each for links in LINKS.values() for each in links}) >= len(LINKS) // 4
