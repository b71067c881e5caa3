"""Models, moderations, provenance checks, probes and documents, each over a real socket."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import httpx2
import openai
import pytest
from openai.types import ContentProvenanceCheck, ModerationCreateResponse
from starlette.responses import JSONResponse, Response

from bowerbird.contracts import OPENAI_CATEGORIES, Action
from bowerbird.errors import MethodUnsupported, RouteUnknown
from bowerbird.gateway.api.operations import OPERATIONS

from .conftest import StartGateway, closed_url
from .stand_ins import DIGEST, StandIns, decision

NOT_SERVED = {RouteUnknown.code, MethodUnsupported.code}


@pytest.fixture
def client(gateway: httpx2.Client) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{str(gateway.base_url).rstrip('/')}/v1", api_key="any", max_retries=0)


# ------------------------------------------------------------------------------------------- the unmodified client


def test_openai_client_draws(client: openai.OpenAI) -> None:
    answer = client.images.with_raw_response.generate(
        prompt="a robin", model="fledgling", n=2, size="32x32", user="u-1", extra_body={"seed": 3}
    )

    images = answer.parse()
    assert answer.headers["x-request-id"].startswith("req_")
    assert len(images.data or []) == 2
    assert (images.size, images.output_format, images.quality) == ("32x32", "png", "medium")
    assert images.safety_identifier == "u-1"


def test_openai_client_raises_its_own_errors(client: openai.OpenAI, stages: StandIns) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        client.images.generate(prompt="a robin", n=11)
    assert (bad.value.param, bad.value.code) == ("n", "invalid_value")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-image-2")


def test_openai_client_lists_and_describes_models(client: openai.OpenAI) -> None:
    models = client.models.list().data

    assert [model.id for model in models] == ["fledgling"]
    described = client.models.retrieve("fledgling")
    assert described.owned_by == "bowerbird"
    assert described.to_dict()["bowerbird"] == {
        "version": "1",
        "digest": DIGEST,
        "licence": "Apache-2.0",
        "sizes": ["32x32", "64x32"],
        "max_steps": 30,
        "default_steps": 20,
        "default_guidance_scale": 4.0,
        "max_guidance_scale": 15.0,
        "max_prompt_tokens": 75,
        "max_lora_rank": 64,
    }


def test_openai_client_moderates_every_string_on_its_own(client: openai.OpenAI, stages: StandIns) -> None:
    stages.behaviour.decide = lambda check: decision(check, Action.BLOCK if "war" in check.prompt else Action.ALLOW)
    moderation = client.moderations.create(input=["a robin", "a war"], model="bowerbird-safety")

    assert [result.flagged for result in moderation.results] == [False, True]
    assert moderation.results[1].categories.violence
    assert moderation.results[1].category_scores.violence == 0.9
    assert moderation.results[1].category_applied_input_types.violence == ["text"]
    assert set(OPENAI_CATEGORIES) <= set(moderation.results[0].to_dict()["categories"])  # type: ignore[call-overload]
    assert moderation.results[0].category_applied_input_types.illicit == []


def test_openai_client_moderates_text_items_as_one_input(client: openai.OpenAI, stages: StandIns) -> None:
    stages.behaviour.decide = lambda check: decision(check, Action.BLOCK if "war" in check.prompt else Action.ALLOW)
    items: Any = [{"type": "text", "text": "a robin"}, {"type": "text", "text": "a war"}]
    moderation: ModerationCreateResponse = client.moderations.create(input=items)

    assert [result.flagged for result in moderation.results] == [True]


def test_openai_client_checks_provenance(client: openai.OpenAI, stages: StandIns) -> None:
    picture = b"\x89PNG" + bytes(3_000_000)
    check: ContentProvenanceCheck = client.content_provenance_checks.create(file=("a.png", picture, "image/png"))

    assert check.object == "content_provenance_check"
    [result] = check.results
    assert (result.type, result.outcome, result.model) == ("c2pa", "detected", "fledgling")
    assert result.to_dict()["bowerbird"]["verdict"] == "made_here_intact"  # type: ignore[index]
    assert stages.asked("/check_provenance")[0].asked == picture


# ------------------------------------------------------------------------------------------------------- bad input

MODERATIONS: list[tuple[Any, int, str, str]] = [
    ({}, 400, "input", "required"),
    ({"input": ""}, 400, "input", "1 to 2000 characters"),
    ({"input": []}, 400, "input", "up to 32 strings"),
    ({"input": ["x"] * 33}, 400, "input", "up to 32 strings"),
    ({"input": "x" * 2001}, 400, "input", "1 to 2000 characters"),
    ({"input": 7}, 400, "input", "a string"),
    ({"input": ["x", {"type": "text", "text": "x"}]}, 400, "input", "up to 32 objects"),
    ({"input": [{"type": "text", "text": "x", "more": 1}]}, 400, "input", "up to 32 objects"),
    (
        {"input": [{"type": "image_url", "image_url": {"url": "data:"}}]},
        400,
        "input",
        "Images are not classified in this version",
    ),
    ({"input": "x", "model": "omni-moderation-latest"}, 404, "model", "'bowerbird-safety'"),
    ({"input": "x", "threshold": 1}, 400, "threshold", "Accepted: input, model"),
]


@pytest.mark.parametrize("case", MODERATIONS, ids=lambda case: str(case[0])[:40])
def test_bad_moderation_is_named(gateway: httpx2.Client, stages: StandIns, case: tuple[Any, int, str, str]) -> None:
    body, status, param, accepted = case
    answer = gateway.post("/v1/moderations", json=body)

    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
    assert accepted in answer.json()["error"]["message"]
    assert not stages.seen


UPLOADS: list[tuple[dict[str, Any], int, str | None]] = [
    ({"json": {"file": "x"}}, 400, "Content-Type"),
    ({"files": {"picture": b"x"}}, 400, "picture"),
    ({"files": {"file": b""}}, 400, "file"),
    ({"files": [("file", b"x"), ("file", b"y")]}, 400, "file"),
    ({"files": {"file": b"x"}, "data": {"more": "y"}}, 400, "file"),
    ({"content": b"--x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "file"),
    ({"content": b"garbage", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, 400, "file"),
    ({"files": {"file": bytes(20 * 1024 * 1024 + 20_000)}}, 413, None),
]


@pytest.mark.parametrize(("sent", "status", "param"), UPLOADS, ids=lambda each: str(each)[:30])
def test_bad_upload_reaches_no_stage(
    gateway: httpx2.Client, stages: StandIns, sent: dict[str, Any], status: int, param: str | None
) -> None:
    answer = gateway.post("/v1/content_provenance_checks", **sent)

    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
    assert not stages.seen


# -------------------------------------------------------------------------------------------------------- identity


def test_configured_keys_are_needed_on_every_route_of_the_api(start_gateway: StartGateway, stages: StandIns) -> None:
    gateway = start_gateway(api_keys=frozenset({"right", "other"}))
    with_key = {"Authorization": "Bearer right"}

    for method, path in [
        ("POST", "/v1/images/generations"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/fledgling"),
        ("POST", "/v1/moderations"),
        ("POST", "/v1/content_provenance_checks"),
    ]:
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "right"},
            {"Authorization": "Basic right"},
        ):
            answer = gateway.request(method, path, headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        assert gateway.request(method, path, headers=with_key).status_code != 401
    assert gateway.get("/v1/models", headers=with_key).status_code == 200
    assert not stages.seen


def test_without_configured_keys_any_key_and_none_are_accepted(gateway: httpx2.Client) -> None:
    assert gateway.get("/v1/models").status_code == 200
    assert gateway.get("/v1/models", headers={"Authorization": "Bearer whatever"}).status_code == 200


# ---------------------------------------------------------------------------------------------- probes and documents


def test_gateway_is_ready_while_stages_are_not_and_says_which(start_gateway: StartGateway) -> None:
    gateway = start_gateway(ready=("safety",), text_to_image_url=closed_url(), curation_url=closed_url() + "/x")
    body = gateway.get("/readyz")

    assert body.status_code == 200
    states = {each["name"]: each["state"] for each in body.json()["stages"]}
    assert states["text-to-image"] == "unreachable"
    assert list(states) == ["safety", "text-to-image", "animation", "curation"]
    assert all(re.match(r"\d{4}-\d\d-\d\dT", each["since"]) for each in body.json()["stages"])


def test_models_are_unavailable_until_one_was_described(start_gateway: StartGateway) -> None:
    gateway = start_gateway(ready=(), text_to_image_url=closed_url())
    answer = gateway.get("/v1/models")

    assert (answer.status_code, answer.json()["error"]["stage"]) == (503, "text-to-image")


def test_stage_that_cannot_describe_itself_is_not_ready(start_gateway: StartGateway, stages: StandIns) -> None:
    stages.behaviour.answers["/describe"] = lambda: JSONResponse({"name": "half"})
    gateway = start_gateway(ready=("safety",))

    assert gateway.get("/v1/models").status_code == 503


def test_stage_that_answers_its_probe_with_503_is_not_ready(start_gateway: StartGateway, stages: StandIns) -> None:
    stages.behaviour.answers["/readyz"] = lambda: Response(status_code=503)
    gateway = start_gateway(ready=())
    for _ in range(3000):
        states = {each["state"] for each in gateway.get("/readyz").json()["stages"]}
        if states == {"not_ready"}:
            break
        time.sleep(0.02)

    assert states == {"not_ready"}
    assert gateway.get("/v1/models").status_code == 503


def test_metrics_reach_ten_minutes_and_never_hold_a_prompt_or_a_path(gateway: httpx2.Client) -> None:
    gateway.post("/v1/images/generations", json={"prompt": "zzsecretzz robin"})
    gateway.get("/zzsecretzz")
    text = gateway.get("/metrics").text

    assert 'bowerbird_request_seconds_bucket{le="600.0",outcome="ok",route="/v1/images/generations"}' in text
    assert 'bowerbird_stage_seconds_count{stage="draw"}' in text
    assert 'route="unknown"' in text
    assert "bowerbird_requests_in_flight 1.0" in text
    assert "zzsecretzz" not in text


def test_openmetrics_has_the_trace_as_exemplar(gateway: httpx2.Client) -> None:
    trace = gateway.post("/v1/images/generations", json={"prompt": "a robin"}).headers["traceparent"].split("-")[1]
    metrics = gateway.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})

    assert metrics.headers["content-type"].startswith("application/openmetrics-text")
    assert f'trace_id="{trace}"' in metrics.text


def test_log_has_one_line_a_request_without_the_prompt(
    gateway: httpx2.Client, caplog: pytest.LogCaptureFixture
) -> None:
    answer = gateway.post("/v1/images/generations", json={"prompt": "zzsecretzz robin"})
    gateway.get("/livez")
    gateway.get("/v1/models")  # answered after the lines above were written

    lines = [vars(record) for record in caplog.records if record.name == "bowerbird.gateway.access"]
    [line] = [each for each in lines if each["request_id"] == answer.headers["x-request-id"]]
    assert (line["route"], line["status"], line["outcome"]) == ("/v1/images/generations", 200, "ok")
    assert line["ms"] > 0
    assert "zzsecretzz" not in repr([vars(record) for record in caplog.records])
    assert not [each for each in lines if each["route"] == "/livez"]


def test_every_documented_path_answers_and_every_served_path_is_documented(gateway: httpx2.Client) -> None:
    document = gateway.get("/openapi.json").json()

    assert document["openapi"] == "3.1.0"
    assert set(document["paths"]) == {operation.documented_path for operation in OPERATIONS}
    for path, methods in document["paths"].items():
        for method in methods:
            answer = gateway.request(method, re.sub("{[a-z_]+}", "nothing-there", path))
            known = answer.status_code not in {404, 405} or answer.json()["error"]["code"] not in NOT_SERVED
            assert known, (method, path)


def test_example_of_the_document_can_be_sent_as_it_is(gateway: httpx2.Client) -> None:
    paths = gateway.get("/openapi.json").json()["paths"]
    for path in ("/v1/images/generations", "/v1/moderations"):
        example = paths[path]["post"]["requestBody"]["content"]["application/json"]["example"]
        assert gateway.post(path, json=example).status_code == 200


def test_page_shows_every_route_field_and_code_and_loads_nothing(gateway: httpx2.Client) -> None:
    page = gateway.get("/docs")
    document = gateway.get("/openapi.json").json()

    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for word in [*document["paths"], *document["components"]["schemas"]["GenerateImages"]["properties"]]:
        assert f"<code>{word}</code>" in page.text
    assert "moderation_blocked" in page.text
    assert str(gateway.base_url).rstrip("/") in page.text
    assert not re.search(r"(src|href)=\"(https?:)?//", page.text)
    assert "<script" not in page.text
    assert "$address" not in page.text


def test_document_is_what_a_json_parser_reads(gateway: httpx2.Client) -> None:
    answer = gateway.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(answer.text)["info"]["title"] == "Bowerbird"
