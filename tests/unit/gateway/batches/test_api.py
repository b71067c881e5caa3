"""`/v1/batches` with the unmodified `openai` client: what a team does, and what is refused."""

from __future__ import annotations

import base64
import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai.types import Batch

from bowerbird.contracts import Action, PromptCheck
from bowerbird.errors import BowerbirdError, DrawingFailed, StageUnavailable
from bowerbird.gateway.batches import segments
from bowerbird.gateway.files.file import PART_BYTES
from bowerbird.gateway.jobs import outcome
from bowerbird.gateway.records.database import FILE_NAME
from bowerbird.gateway.records.job import MAX_OWN_FAILURES

from ..conftest import GatewayIn
from ..stand_ins import MODEL, StandIns, decision
from ..two_tenants import PURPOSE, THEIRS, ClientOf, form

GENERATIONS: Any = "/v1/images/generations"
EDITS: Any = "/v1/images/edits"
MODERATIONS: Any = "/v1/moderations"
PICTURE = "data:image/png;base64," + base64.b64encode(b"a picture").decode()


@pytest.fixture(autouse=True)
def _recorded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "GATHER_SECONDS", 0.05)


def line(number: int, url: str = GENERATIONS, **body: Any) -> str:
    fields = {"prompt": f"a robin {number}", "steps": 2} if url != MODERATIONS else {"input": f"a robin {number}"}
    return json.dumps({"custom_id": f"robin-{number}", "method": "POST", "url": url, "body": fields | body})


def create(client: openai.OpenAI, lines: list[str], endpoint: Any = GENERATIONS, **fields: Any) -> Batch:
    file = client.files.create(file=("robins.jsonl", "\n".join(lines).encode()), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **fields)


def ended(client: openai.OpenAI, batch: Batch) -> Batch:
    """The batch when it has ended."""
    for _ in range(3000):
        batch = client.batches.retrieve(batch.id)
        if batch.status in ("completed", "failed", "expired", "cancelled"):
            return batch
        time.sleep(0.02)
    raise AssertionError(f"the batch did not end: {batch}")


def lines_of(client: openai.OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    if file_id is None:
        return []
    found = [json.loads(each) for each in client.files.content(file_id).text.splitlines()]
    return sorted(found, key=lambda each: int(str(each["custom_id"] or "-0").rpartition("-")[2]))


def test_a_team_uploads_lines_has_them_drawn_and_downloads_the_pictures(
    client: openai.OpenAI, shared: httpx2.Client
) -> None:
    batch = create(client, [line(number, seed=number) for number in range(1, 9)], metadata={"team": "birds"})
    assert (batch.status, batch.object, batch.endpoint) == ("validating", "batch", GENERATIONS)
    batch = ended(client, batch)
    assert batch.status == "completed", batch
    assert batch.request_counts
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (8, 8, 0)
    assert (batch.metadata, batch.model) == ({"team": "birds"}, "fledgling")
    assert (batch.error_file_id, batch.errors) == (None, None)
    assert batch.in_progress_at
    assert batch.completed_at
    assert batch.created_at <= batch.in_progress_at <= batch.completed_at < (batch.expires_at or 0)
    answers = lines_of(client, batch.output_file_id)
    assert [each["custom_id"] for each in answers] == [f"robin-{number}" for number in range(1, 9)]
    for number, each in enumerate(answers, 1):
        assert (each["error"], each["response"]["status_code"]) == (None, 200)
        body = each["response"]["body"]
        assert body["bowerbird"]["images"][0]["seed"] == number
        assert len(base64.b64decode(body["data"][0]["b64_json"])) > 0
    at_once = shared.post(GENERATIONS, json=json.loads(line(3, seed=3))["body"]).json()
    assert answers[2]["response"]["body"]["data"] == at_once["data"]


def test_every_line_is_drawn_in_class_batch_and_paid_for(
    client: openai.OpenAI, shared: httpx2.Client, stages: StandIns
) -> None:
    before = shared.get("/v1/usage").json()["data"]
    batch = ended(client, create(client, [line(number) for number in range(1, 4)]))
    assert {each.headers["bowerbird-class"] for each in stages.asked("/draw")} == {"batch"}
    assert {each.headers["bowerbird-request-id"] for each in stages.asked("/draw")} == {
        f"{batch.id}-{number}" for number in range(1, 4)
    }
    after = shared.get("/v1/usage").json()["data"]
    assert after[-1]["pictures"] - (before[-1]["pictures"] if before else 0) == 3
    feedback = {"request_id": f"{batch.id}-2", "kind": "stars", "stars": 4}
    assert shared.post("/v1/feedback", json=feedback).status_code == 200


def test_a_malformed_line_is_its_own_error_and_the_rest_runs(client: openai.OpenAI, stages: StandIns) -> None:
    stages.behaviour.decide = lambda check: decision(check, Action.BLOCK if "axe" in check.prompt else Action.ALLOW)
    lines = [line(1), "{no json", line(3, steps=999), "", line(5), line(5), line(7, prompt="a robin with an axe")]
    batch = ended(client, create(client, lines))
    assert batch.status == "completed"
    assert batch.request_counts
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (6, 2, 4)
    assert [each["custom_id"] for each in lines_of(client, batch.output_file_id)] == ["robin-1", "robin-5"]
    errors = lines_of(client, batch.error_file_id)
    assert [each["custom_id"] for each in errors] == [None, "robin-3", "robin-5", "robin-7"]
    assert (errors[0]["error"]["code"], errors[0]["error"]["line"]) == ("invalid_line", 2)
    assert errors[1]["response"]["status_code"] == 400
    assert errors[1]["response"]["body"]["error"]["param"] == "steps"
    assert (errors[2]["error"]["param"], errors[2]["error"]["line"]) == ("custom_id", 6)
    assert errors[3]["response"]["body"]["error"]["categories"] == ["violence"]


def test_edits_and_moderations_are_batches_too(client: openai.OpenAI, stages: StandIns) -> None:
    edits = create(client, [line(1, EDITS, image=PICTURE, strength=0.8), line(2, EDITS, image="x")], EDITS)
    moderations = create(client, [line(1, MODERATIONS), line(2, MODERATIONS, input=["a", "b"])], MODERATIONS)
    edits, moderations = ended(client, edits), ended(client, moderations)
    [edited] = lines_of(client, edits.output_file_id)
    assert edited["response"]["body"]["data"][0]["b64_json"]
    assert stages.asked("/open")[0].files == [b"a picture"]
    [refused] = lines_of(client, edits.error_file_id)
    assert refused["response"]["body"]["error"]["param"] == "image"
    first, second = lines_of(client, moderations.output_file_id)
    assert len(first["response"]["body"]["results"]) == 1
    assert len(second["response"]["body"]["results"]) == 2
    assert moderations.model == "bowerbird-safety"


@pytest.mark.parametrize("endpoint", [GENERATIONS, MODERATIONS])
def test_a_crisis_text_is_nowhere_when_its_line_has_ended(
    gateway_in: GatewayIn, client_of: ClientOf, stages: StandIns, tmp_path: Path, endpoint: Any
) -> None:
    words = "nobody would miss me"

    def decide(check: PromptCheck) -> Any:
        return decision(check, Action.CRISIS if words in check.prompt else Action.ALLOW)

    stages.behaviour.decide = decide
    field = "input" if endpoint == MODERATIONS else "prompt"
    with gateway_in(tmp_path) as gateway:
        client = client_of(gateway, "any")
        batch = ended(client, create(client, [line(1, endpoint), line(2, endpoint, **{field: words})], endpoint))
        content = client.files.content(batch.input_file_id).text.splitlines()
        assert json.loads(content[1]) == {"custom_id": "robin-2", "erased": "crisis_support"}
        assert content[0] == line(1, endpoint)
        if endpoint == GENERATIONS:
            [error] = lines_of(client, batch.error_file_id)
            assert error["response"]["body"]["error"]["help_text"] == "You are not alone."
        again = ended(
            client,
            client.batches.create(
                input_file_id=batch.input_file_id,
                endpoint=endpoint,
                completion_window="24h",
            ),
        )
        assert [each["error"]["code"] for each in lines_of(client, again.error_file_id)] == ["line_erased"]
    with sqlite3.connect(tmp_path / FILE_NAME) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    stored = [each for each in tmp_path.rglob("*") if each.is_file()]
    assert len(stored) > 3
    assert not [each for each in stored if words.encode() in each.read_bytes()]


def test_a_cancelled_batch_keeps_what_is_finished_and_stops_what_is_drawn(
    client: openai.OpenAI, stages: StandIns
) -> None:
    stages.behaviour.described = MODEL.model_copy(update={"slots": 1})
    stages.behaviour.seconds_per_step = 0.05
    batch = create(client, [line(number, steps=10) for number in range(1, 30)])
    for _ in range(3000):
        counts = client.batches.retrieve(batch.id).request_counts
        if counts and counts.completed:
            break
        time.sleep(0.02)
    assert client.batches.cancel(batch.id).status in ("cancelling", "cancelled")
    batch = ended(client, batch)
    assert batch.status == "cancelled"
    assert batch.cancelled_at
    assert batch.request_counts
    assert 1 <= batch.request_counts.completed < 29
    assert len(lines_of(client, batch.output_file_id)) == batch.request_counts.completed
    assert stages.draws_stopped.wait(60)
    with pytest.raises(openai.ConflictError) as raised:
        client.batches.cancel(batch.id)
    assert raised.value.response.headers["x-should-retry"] == "false"


def test_a_stage_that_is_away_or_full_is_not_a_lines_fault(client: openai.OpenAI, stages: StandIns) -> None:
    failures = [StageUnavailable("text-to-image is restarting", retry_after_seconds=0)] * 3

    def fails_at_first() -> Any:
        if len(failures) == 1:
            del stages.behaviour.answers["/draw"]
        return failures.pop()

    stages.behaviour.answers["/draw"] = fails_at_first
    batch = ended(client, create(client, [line(1)]))
    assert batch.request_counts
    assert (batch.status, batch.request_counts.completed, failures) == ("completed", 1, [])


def test_a_batch_goes_on_in_the_next_gateway_and_loses_and_doubles_nothing(
    gateway_in: GatewayIn, client_of: ClientOf, stages: StandIns, tmp_path: Path
) -> None:
    stages.behaviour.described = MODEL.model_copy(update={"slots": 2})
    stages.behaviour.finished_draws = 6
    with gateway_in(tmp_path) as gateway:
        client = client_of(gateway, "any")
        batch = create(client, [line(number) for number in range(1, 41)])
        while not (counts := client.batches.retrieve(batch.id).request_counts) or counts.completed < 6:
            time.sleep(0.02)
    drawn = len(stages.asked("/draw"))
    assert 6 <= drawn < 40
    stages.behaviour.finished_draws = None
    with gateway_in(tmp_path) as gateway:
        client = client_of(gateway, "any")
        batch = ended(client, batch)
        answers = lines_of(client, batch.output_file_id)
        usage = gateway.get("/v1/usage").json()["data"]
    assert [each["custom_id"] for each in answers] == [f"robin-{number}" for number in range(1, 41)]
    assert usage[-1]["pictures"] == 40
    assert 40 <= len(stages.asked("/draw")) <= 34 + drawn, "only what was under way is drawn a second time"


def test_a_line_that_fails_by_itself_is_given_up_although_its_gateway_was_started_again(
    gateway_in: GatewayIn, client_of: ClientOf, stages: StandIns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcome, "FIRST_REST_SECONDS", 0.2)
    failed: list[str] = []
    most = 3

    def fails() -> BowerbirdError:
        if len(failed) == most:
            return StageUnavailable("text-to-image is restarting", retry_after_seconds=0)
        failed.append("not this picture")
        return DrawingFailed(failed[-1])

    stages.behaviour.answers["/draw"] = fails
    with gateway_in(tmp_path) as gateway:
        batch = create(client_of(gateway, "any"), [line(1)])
        while len(failed) < most:
            time.sleep(0.01)
    most = MAX_OWN_FAILURES + 2
    with gateway_in(tmp_path) as gateway:
        client = client_of(gateway, "any")
        batch = ended(client, batch)
        [error] = lines_of(client, batch.error_file_id)
    assert error["response"]["body"]["error"]["code"] == "drawing_failed"
    assert len(failed) in (MAX_OWN_FAILURES, MAX_OWN_FAILURES + 1), "one may not have been written down"


def test_a_key_is_one_file_and_one_batch(shared: httpx2.Client) -> None:
    key = {"Idempotency-Key": "upload-1"}

    def upload(content: bytes, boundary: str) -> httpx2.Response:
        body = form(boundary, purpose=PURPOSE, file=('name="file"; filename="a"', content))
        media_type = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        return shared.post("/v1/files", content=body, headers=key | media_type)

    data = line(1).encode()
    first, second = upload(data, "b1"), upload(data, "b2")
    assert first.json() == second.json()
    assert upload(b"{}", "b3").status_code == 422
    asked = {"input_file_id": first.json()["id"], "endpoint": GENERATIONS, "completion_window": "24h"}
    made = [shared.post("/v1/batches", json=asked, headers={"Idempotency-Key": "batch-1"}) for _ in range(2)]
    assert made[0].json()["id"] == made[1].json()["id"]
    other = asked | {"metadata": {"a": "b"}}
    assert shared.post("/v1/batches", json=other, headers={"Idempotency-Key": "batch-1"}).status_code == 422


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"endpoint": "/v1/responses"}, "endpoint"),
        ({"endpoint": "/v1/admin/tenants"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"metadata": {"x" * 65: "y"}}, "metadata"),
        ({"metadata": {"x": "y" * 513}}, "metadata.x"),
        ({"metadata": {str(number): "" for number in range(17)}}, "metadata"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 60}}, "output_expires_after.seconds"),
        ({"priority": "high"}, "priority"),
    ],
)
def test_a_batch_that_is_none_is_refused(shared: httpx2.Client, changes: dict[str, Any], param: str) -> None:
    asked = {"input_file_id": "file-1", "endpoint": GENERATIONS, "completion_window": "24h"} | changes
    answer = shared.post("/v1/batches", json=asked)
    assert (answer.status_code, answer.json()["error"]["param"][: len(param)]) == (400, param)


def test_what_is_another_tenants_is_not_there(
    client: openai.OpenAI, shared: httpx2.Client, client_of: ClientOf
) -> None:
    batch = ended(client, create(client, [line(1)]))
    theirs = client_of(shared, THEIRS)
    for asking in (
        lambda: theirs.batches.retrieve(batch.id),
        lambda: theirs.batches.cancel(batch.id),
        lambda: theirs.files.content(batch.output_file_id or ""),
        lambda: theirs.files.delete(batch.input_file_id),
        lambda: theirs.batches.create(input_file_id=batch.input_file_id, endpoint=GENERATIONS, completion_window="24h"),
    ):
        with pytest.raises(openai.NotFoundError):
            asking()
    assert batch.id in [each.id for each in client.batches.list(limit=1)]
    assert batch.id not in [each.id for each in theirs.batches.list()]


def test_an_empty_file_is_a_failed_batch_that_says_why(client: openai.OpenAI) -> None:
    batch = ended(client, create(client, ["", "  "]))
    assert batch.status == "failed"
    assert batch.errors
    assert batch.errors.data
    assert (batch.errors.data[0].code, batch.errors.object) == ("empty_file", "list")


def test_a_large_file_is_stored_part_by_part_as_it_comes(
    gateway_in: GatewayIn, client_of: ClientOf, tmp_path: Path
) -> None:
    data = b"".join(b'{"line": %d, "text": "%s"}\n' % (number, b"x" * 100) for number in range(80_000))
    with gateway_in(tmp_path) as gateway:
        client = client_of(gateway, "any")
        file = client.files.create(file=("lines.jsonl", data), purpose="batch")
        parts = sorted(each.stat().st_size for each in tmp_path.rglob("files/*/*"))
        assert (len(parts), parts[1], sum(parts)) == (3, PART_BYTES, len(data))
        assert client.files.content(file.id).read() == data
        batch = ended(
            client, client.batches.create(input_file_id=file.id, endpoint=GENERATIONS, completion_window="24h")
        )
        assert batch.errors
        assert batch.errors.data
        assert (batch.status, batch.errors.data[0].code) == ("failed", "too_many_lines")
