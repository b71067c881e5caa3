"""What an answer names can be asked for: every link of the OpenAPI document, from a real answer to what it leads to.

Each is followed once as a client would. Where an operation takes a body, it is followed with bodies made up from the
schema, too: those of `test_schema` are about nothing that is there, these are. Then schemathesis walks along them, from
answer to answer, by chance.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyStrategyDefinition
from schemathesis import GenerationMode
from schemathesis.generation.stateful import run_state_machine_as_test

from bowerbird.gateway.api.openapi import document
from bowerbird.gateway.api.openapi_links import LINKS
from bowerbird.gateway.api.operations import OPERATIONS

from .conftest import PROMPT, draw
from .test_edits import edit
from .test_schema import CHECKS, LENIENT

pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")  # the gateway's thread does

CONFLICT = 409
"""What is named is there, and is over: a job that has ended is not cancelled."""
SENDS_ELSEWHERE = "try_webhook_endpoint"
"""To the host of the example; webhooks/ has a receiver for it."""
FINISH_SECONDS = 60.0
WALKS, STEPS = 6, 8
EXAMPLES = {each.handler.__name__: each.example for each in OPERATIONS}

schema = schemathesis.openapi.from_dict(document())

Client = httpx2.Client
Make = Callable[[Client], httpx2.Response]


def job(client: Client) -> httpx2.Response:
    return draw(client, {"Prefer": "respond-async"})


def job_of_an_edit(client: Client) -> httpx2.Response:
    return edit(client, headers={"Prefer": "respond-async"})


def job_of_a_species(client: Client) -> httpx2.Response:
    body = EXAMPLES["draw_species_image"]
    return client.post("/v1/species/american-robin/images", json=body, headers={"Prefer": "respond-async"})


def video(client: Client) -> httpx2.Response:
    return client.post("/v1/videos", json=EXAMPLES["create_video"])


def feedback(client: Client) -> httpx2.Response:
    of = draw(client).headers["x-request-id"]
    return client.post("/v1/feedback", json={"request_id": of, "kind": "stars", "stars": 4})


def file(client: Client) -> httpx2.Response:
    line = {"custom_id": "one", "method": "POST", "url": "/v1/moderations", "body": {"input": PROMPT}}
    form = ("lines.jsonl", json.dumps(line).encode())
    return client.post("/v1/files", data={"purpose": "batch"}, files={"file": form})


def batch(client: Client) -> httpx2.Response:
    asked = {"endpoint": "/v1/moderations", "completion_window": "24h", "input_file_id": file(client).json()["id"]}
    return client.post("/v1/batches", json=asked)


def finished_batch(client: Client) -> httpx2.Response:
    path, ends_at = f"/v1/batches/{batch(client).json()['id']}", time.monotonic() + FINISH_SECONDS
    while (answer := client.get(path)).json()["status"] != "completed":
        assert time.monotonic() < ends_at, answer.text
        time.sleep(0.05)
    return answer


def endpoint(client: Client) -> httpx2.Response:
    return client.post("/v1/webhook_endpoints", json=EXAMPLES["create_webhook_endpoint"])


def tenant(client: Client) -> httpx2.Response:
    return client.post("/v1/admin/tenants", json={"id": f"birds-{secrets.token_hex(4)}"})


def key(client: Client) -> httpx2.Response:
    return client.post("/v1/admin/keys", json={"tenant": tenant(client).json()["id"], "name": "web"})


def first_of_two(path: str, make: Make) -> Make:
    """The first page of a list that has another one."""

    def page(client: Client) -> httpx2.Response:
        for _ in range(2):
            assert make(client).is_success
        return client.get(path, params={"limit": 1})

    return page


ANSWERS: Mapping[str, Make] = {
    "generate": job,
    "edit": job_of_an_edit,
    "draw_species_image": job_of_a_species,
    "create_video": video,
    "list_videos": first_of_two("/v1/videos", video),
    "list_jobs": first_of_two("/v1/jobs", job),
    "list_feedback": first_of_two("/v1/feedback", feedback),
    "list_models": lambda client: client.get("/v1/models"),
    "create_file": file,
    "list_files": first_of_two("/v1/files", file),
    "create_batch": batch,
    "get_batch": finished_batch,
    "list_batches": first_of_two("/v1/batches", batch),
    "create_webhook_endpoint": endpoint,
    "list_webhook_endpoints": first_of_two("/v1/webhook_endpoints", endpoint),
    "create_tenant": tenant,
    "create_key": key,
}
"""A good answer of every operation whose answers have links; a new one needs a line."""


@pytest.mark.parametrize(("operation", "status"), LINKS)
def test_what_an_answer_names_can_be_asked_for(operation: str, status: str, gateway: Client) -> None:
    answer = ANSWERS[operation](gateway)
    assert answer.status_code == int(status), answer.text
    for target, taken in LINKS[operation, status].items():
        if target != SENDS_ELSEWHERE:
            follow(gateway, target, {name: found(answer.json(), place) for name, place in taken.items()})


def found(body: Any, place: str) -> str:
    """What stands there, by a runtime expression of OpenAPI."""
    for step in place.removeprefix("$response.body#/").split("/"):
        body = body[int(step) if isinstance(body, list) else step]
    assert body, place
    return str(body)


def follow(gateway: Client, target: str, named: Mapping[str, str]) -> None:
    """Asks for what is named: as the document's example does, and by bodies made up from the schema."""
    operation = schema.find_operation_by_id(target)
    path = {name: value for name, value in named.items() if f"{{{name}}}" in operation.path}
    query = {name: value for name, value in named.items() if name not in path}
    example: dict[str, Any] = (
        {} if EXAMPLES[target] is None else {"body": EXAMPLES[target], "media_type": "application/json"}
    )
    exactly = operation.Case(path_parameters=path, query=query, **example)
    answer = exactly.call_and_validate(base_url=str(gateway.base_url), checks=CHECKS)
    assert answer.status_code < 400 or answer.status_code == CONFLICT, (target, answer.text)
    if operation.body:
        follow_with_any_body(gateway, operation, path)


def follow_with_any_body(gateway: Client, operation: Any, path: Mapping[str, str]) -> None:
    """Whatever is said of what is there is taken or refused, as documented."""
    told = {"path_parameters": dict(path)}
    bodies = st.one_of(*(operation.as_strategy(generation_mode=mode, **told) for mode in GenerationMode))

    @settings(LENIENT, max_examples=10)
    @given(case=bodies)
    def said(case: schemathesis.Case[Any]) -> None:
        case.headers.pop("Bowerbird-Deadline-Ms", None)  # 503 is the right answer when it is 2
        case.call_and_validate(base_url=str(gateway.base_url), checks=CHECKS)

    said()


def test_no_walk_along_the_links_breaks_the_documents_promises(gateway: Client) -> None:
    """What may be asked next depends on what was answered, and hypothesis takes a choice that is gone for a mistake of
    the test: each walk is a run of its own, so that it ends no other."""
    failed: list[Exception] = []
    walked: set[str] = set()
    linked = schema.exclude(operation_id=SENDS_ELSEWHERE)

    class Walk(linked.as_state_machine()):  # type: ignore[misc]
        def get_call_kwargs(self, case: schemathesis.Case[Any]) -> dict[str, Any]:
            return {"base_url": str(gateway.base_url)}

        def before_call(self, case: schemathesis.Case[Any]) -> None:
            case.headers.pop("Bowerbird-Deadline-Ms", None)

        def validate_response(self, response: Any, case: schemathesis.Case[Any], **_: Any) -> None:
            walked.add(case.operation.label)
            try:
                case.validate_response(response, checks=CHECKS)
            except Exception as failure:
                failed.append(failure)
                raise

    once = settings(LENIENT, max_examples=2, stateful_step_count=STEPS, derandomize=False, phases=[Phase.generate])
    for number in range(WALKS):
        with suppress(FlakyStrategyDefinition):
            run_state_machine_as_test(seed(number)(Walk), settings=once)
    assert not failed
    assert len(walked) > WALKS
