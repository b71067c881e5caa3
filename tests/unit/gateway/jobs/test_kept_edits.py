"""Edits that are jobs: their files are kept with them, once safety has seen them, and they are drawn from those."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.responses import JSONResponse, Response, StreamingResponse

from bowerbird.contracts import Action, ModelCosts, SizeCosts
from bowerbird.errors import BowerbirdError, PromptTooLong, RequestInvalid, StageUnavailable, StorageFull
from bowerbird.gateway.records.database import FILE_NAME

from ..conftest import GatewayIn, StartGateway, pictures, until
from ..identity.gateways import ADMIN, Administrator, bearer
from ..stand_ins import MODEL, Seen, StandIns, decision, verdicts
from ..test_edits import BIRD, EDITS, HOLE, edit
from .submitting import ASYNC, ended

OTHER = b"another bird"
CHANGING = ("request_id", "drawn_by", "trace_id", "seconds")
FIELDS: dict[str, Any] = {"n": 2, "candidates": 2, "seed": 7, "steps": 10, "strength": 0.5, "user": "someone"}


def keyed(name: str) -> dict[str, str]:
    return {"Idempotency-Key": f"{name}-{threading.get_ident()}-{time.monotonic_ns()}"}


def submitted(gateway: httpx2.Client, **said: Any) -> str:
    """The id of the job of a new edit."""
    answer = edit(gateway, headers=ASYNC, **said)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def said_of(answer: httpx2.Response) -> dict[str, Any]:
    """All of an answer but what is another each time."""
    body: dict[str, Any] = answer.json()
    facts = {name: value for name, value in body.pop("bowerbird").items() if name not in CHANGING}
    return {**body, "created": 0, "bowerbird": facts}


def drawn_of(seen: list[Seen]) -> list[tuple[Any, list[bytes]]]:
    return [(each.asked, each.frames) for each in seen]


def uploads_in(home: Path) -> list[bytes]:
    """What was uploaded for jobs and is kept."""
    return [file.read_bytes() for file in (home / "pictures").rglob("upload")]


def rows_in(home: Path) -> dict[str, int]:
    """How many rows say anything of a request."""
    tables = ("jobs", "job_uploads", "job_pictures", "job_events", "idempotency_keys")
    with sqlite3.connect(home / FILE_NAME) as database:
        found = {table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}  # noqa: S608
    database.close()
    return found


@pytest.mark.parametrize("mask", [None, HOLE], ids=["no mask", "mask"])
@pytest.mark.parametrize("strength", [{}, {"strength": 0.5}], ids=["usual", "stated"])
def test_an_edit_under_a_key_is_the_edit_that_a_plain_request_gets(
    gateway: httpx2.Client, stages: StandIns, mask: bytes | None, strength: dict[str, float]
) -> None:
    fields = {**FIELDS, **strength}
    answers = [edit(gateway, mask=mask, headers=headers, **fields) for headers in (None, keyed("plain"))]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert pictures(answers[0]) == pictures(answers[1])
    assert said_of(answers[0]) == said_of(answers[1])
    for name in ("bowerbird-seeds", "bowerbird-scores", "bowerbird-model-digest"):
        assert answers[0].headers[name] == answers[1].headers[name]
    plainly, kept = drawn_of(stages.asked("/draw"))
    assert plainly == kept
    first, second = stages.asked("/publish")
    assert (first.asked.source, first.files, first.frames) == (second.asked.source, second.files, second.frames)


def test_an_edit_is_a_job_whose_result_is_the_edit(gateway: httpx2.Client) -> None:
    answer = edit(gateway, mask=HOLE, headers=ASYNC, **FIELDS)
    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "respond-async")
    job_id = answer.json()["id"]
    assert (job_id.startswith("job_"), answer.headers["location"]) == (True, f"/v1/jobs/{job_id}")
    job = ended(gateway, job_id)
    assert (job["status"], job["attempts"], job["error"]) == ("succeeded", 1, None)
    result = gateway.get(f"/v1/jobs/{job_id}/result")
    plain = edit(gateway, mask=HOLE, **FIELDS)
    assert (pictures(result), said_of(result)) == (pictures(plain), said_of(plain))


def test_who_waits_a_little_gets_the_pictures_when_they_are_there(gateway: httpx2.Client, stages: StandIns) -> None:
    assert edit(gateway, headers={"Prefer": "respond-async, wait=15"}).status_code == 200
    stages.behaviour.until_frames = threading.Event()
    late = edit(gateway, headers={"Prefer": "respond-async, wait=1"})
    assert late.status_code == 202
    stages.behaviour.until_frames.set()
    assert ended(gateway, late.json()["id"])["status"] == "succeeded"


def test_the_same_key_and_files_get_one_drawing_while_it_goes_on_and_after_it(
    gateway: httpx2.Client, stages: StandIns
) -> None:
    stages.behaviour.until_frames = threading.Event()
    headers = keyed("same")
    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(edit, gateway, mask=HOLE, headers=headers, seed=3) for _ in range(4)]
        job = edit(gateway, mask=HOLE, headers=headers | ASYNC, seed=3)
        assert job.status_code == 202
        stages.behaviour.until_frames.set()
        answers = [each.result() for each in asking]
    answers.append(edit(gateway, mask=HOLE, headers=headers, seed=3))
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["location"] for answer in answers} == {job.headers["location"]}
    assert len({answer.content for answer in answers}) == 1
    assert len(stages.asked("/draw")) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"image": OTHER},
        {"mask": OTHER},
        {"mask": None},
        {"image": BIRD + HOLE, "mask": None},
        {"image": HOLE, "mask": BIRD},
        {"prompt": "a jay"},
        {"strength": 0.25},
        {"seed": 4},
        {"n": 2},
        {"output_format": "webp"},
    ],
    ids=str,
)
def test_another_edit_under_the_key_is_refused(
    gateway: httpx2.Client, stages: StandIns, changed: dict[str, Any]
) -> None:
    headers = keyed("other")
    said: dict[str, Any] = {"image": BIRD, "mask": HOLE, "seed": 3, "strength": 0.5}
    assert edit(gateway, headers=headers, **said).status_code == 200
    opened = len(stages.asked("/open"))
    other = edit(gateway, headers=headers, **{**said, **changed})
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
    assert len(stages.asked("/open")) == opened
    drawing = gateway.post("/v1/images/generations", json={"prompt": "a jay"}, headers=headers)
    assert drawing.status_code == 422


def test_two_edits_at_once_under_one_key_leave_one_job_and_its_files(
    gateway_in: GatewayIn, stages: StandIns, tmp_path: Path
) -> None:
    async def once_both_ask() -> AsyncIterator[str]:
        while len(stages.asked("/check_images")) < 2:  # noqa: ASYNC110 - so both have asked what the key stands for
            await asyncio.sleep(0.01)
        yield verdicts(1).model_dump_json()

    stages.behaviour.answers["/check_images"] = lambda: StreamingResponse(
        once_both_ask(), media_type="application/json"
    )
    with gateway_in(tmp_path) as gateway, ThreadPoolExecutor(2) as pool:
        headers = keyed("both")
        asking = [pool.submit(edit, gateway, image=image, headers=headers) for image in (BIRD, OTHER)]
        answers = [each.result() for each in asking]
        [refused] = [answer.json()["error"]["code"] for answer in answers if answer.status_code != 200]
        assert refused == "idempotency_key_reused"
        assert len(uploads_in(tmp_path)) == 1
        assert rows_in(tmp_path)["job_uploads"] == rows_in(tmp_path)["jobs"] == 1


def refuse_the_prompt(stages: StandIns, action: Action) -> None:
    stages.behaviour.decide = partial(decision, action=action)


def refuse_the_picture(stages: StandIns) -> None:
    stages.behaviour.verdicts = lambda count: verdicts(count, frozenset({0}))


def answer_of(path: str, answer: BowerbirdError, stages: StandIns) -> None:
    stages.behaviour.answers[path] = lambda: answer


REFUSED: dict[str, tuple[Callable[[StandIns], None], str, str | None]] = {
    "prompt": (partial(refuse_the_prompt, action=Action.BLOCK), "moderation_blocked", "prompt"),
    "crisis": (partial(refuse_the_prompt, action=Action.CRISIS), "crisis_support", "prompt"),
    "long prompt": (
        partial(answer_of, "/read_prompt", PromptTooLong("80 tokens.", param="prompt")),
        "prompt_too_long",
        "prompt",
    ),
    "picture": (refuse_the_picture, "image_blocked", "image"),
    "no picture": (
        partial(answer_of, "/open", RequestInvalid("image: it is no picture.", param="image")),
        "invalid_value",
        "image",
    ),
    "mask": (
        partial(answer_of, "/open", RequestInvalid("mask: it is too small.", param="mask")),
        "invalid_value",
        "mask",
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_refused_edit_keeps_nothing(gateway_in: GatewayIn, stages: StandIns, tmp_path: Path, why: str) -> None:
    refuse, code, param = REFUSED[why]
    said: dict[str, Any] = {"prompt": "a quetzal " * 10, "image": b"the only bird of its kind", "mask": HOLE}
    with gateway_in(tmp_path) as gateway:
        refuse(stages)
        for headers in (ASYNC, keyed("refused"), keyed("both") | ASYNC):
            answer = edit(gateway, headers=headers, **said)
            assert answer.status_code == 400, answer.text
            assert (answer.json()["error"]["code"], answer.json()["error"]["param"]) == (code, param)
        assert gateway.get("/v1/jobs").json()["data"] == []
        assert set(rows_in(tmp_path).values()) == {0}
        assert not stages.asked("/draw")
    stored = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert b"quetzal" not in stored
    assert b"only bird" not in stored


def test_a_key_does_not_remember_a_refusal(gateway: httpx2.Client, stages: StandIns) -> None:
    headers = keyed("again")
    refuse_the_picture(stages)
    assert edit(gateway, headers=headers).status_code == 400
    stages.behaviour.verdicts = verdicts
    assert edit(gateway, image=OTHER, headers=headers).status_code == 200


def test_a_row_holds_the_redacted_prompt_and_the_files_lie_beside_it(
    gateway_in: GatewayIn, stages: StandIns, tmp_path: Path
) -> None:
    stages.behaviour.decide = lambda check: decision(
        check, Action.REDACT if "jane" in check.prompt else Action.ALLOW, redacted_prompt="a robin for [PERSON]"
    )
    with gateway_in(tmp_path) as gateway:
        job_id = submitted(gateway, prompt="a robin for jane doe", mask=HOLE)
        ended(gateway, job_id)
        result = gateway.get(f"/v1/jobs/{job_id}/result").json()
        assert uploads_in(tmp_path) == [BIRD + HOLE]
    assert (result["data"][0]["revised_prompt"], result["bowerbird"]["safety"]) == ("a robin for [PERSON]", "redact")
    assert [each.asked.prompt for each in stages.asked("/draw")] == ["a robin for [PERSON]"]
    assert b"jane" not in b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    with sqlite3.connect(tmp_path / FILE_NAME) as database:
        (request,) = database.execute("SELECT request FROM jobs").fetchone()
    database.close()
    assert "a robin for [PERSON]" in request
    assert BIRD.decode() not in request


def test_files_go_with_a_job_whose_time_is_over(
    gateway_in: GatewayIn, stages: StandIns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bowerbird.gateway.jobs.room.SWEEP_SECONDS", 0.05)
    stages.behaviour.until_frames = threading.Event()
    with gateway_in(tmp_path, job_lifetime_seconds=3.0, job_retention_seconds=0.0) as gateway:
        submitted(gateway)
        assert uploads_in(tmp_path) == [BIRD]
        until(lambda: not uploads_in(tmp_path))
        until(lambda: rows_in(tmp_path)["job_uploads"] == rows_in(tmp_path)["jobs"] == 0)
    stages.behaviour.until_frames.set()


def test_an_edit_outlives_its_gateway_and_is_drawn_again_from_its_files(
    gateway_in: GatewayIn, stages: StandIns, tmp_path: Path
) -> None:
    stages.behaviour.until_frames = threading.Event()
    with gateway_in(tmp_path) as gateway:
        job_id = submitted(gateway, mask=HOLE, **FIELDS)
        until(lambda: bool(stages.asked("/draw")))
    stages.behaviour.until_frames.set()
    with gateway_in(tmp_path) as gateway:
        job = ended(gateway, job_id)
        assert (job["status"], job["attempts"]) == ("succeeded", 2)
        first, second = drawn_of(stages.asked("/draw"))
        assert first == second
        plain = edit(gateway, mask=HOLE, **FIELDS)
        assert pictures(gateway.get(f"/v1/jobs/{job_id}/result")) == pictures(plain)
        assert sum(each["requests"] for each in gateway.get("/v1/usage").json()["data"]) == 2


def test_an_edit_whose_files_are_lost_is_given_up(
    gateway_in: GatewayIn, stages: StandIns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bowerbird.gateway.jobs.outcome.FIRST_REST_SECONDS", 0.0)

    def seen_once() -> Response | BowerbirdError:
        first = len(stages.asked("/check_images")) == 1
        return JSONResponse(verdicts(1).model_dump()) if first else StageUnavailable("It is down.")

    stages.behaviour.answers["/check_images"] = seen_once
    with gateway_in(tmp_path) as gateway:
        job_id = submitted(gateway)
        [file] = (tmp_path / "pictures").rglob("upload")
        file.unlink()
        del stages.behaviour.answers["/check_images"]
        job = ended(gateway, job_id)
        assert (job["error"]["code"], job["error"]["reason"]) == ("job_quarantined", "picture_lost")
    assert not stages.asked("/draw")


def test_what_there_is_no_room_for_is_not_charged_and_what_is_beyond_the_minute_is_not_kept(
    gateway_in: GatewayIn, tmp_path: Path
) -> None:
    tiers = tmp_path / "tiers.toml"
    tiers.write_text("[some]\ncompute_units_per_minute = 60\n")
    changes = {"tenant_file_bytes": len(BIRD + HOLE) - 1, "admin_keys": frozenset({ADMIN}), "tiers": tiers}
    with gateway_in(tmp_path, **changes) as gateway:
        admin = Administrator(gateway)
        headers = bearer(admin.key(admin.tenant("birds", tier="some"))) | ASYNC
        full = edit(gateway, mask=HOLE, headers=headers, steps=20, strength=1)
        assert (full.status_code, full.json()["error"]["code"]) == (StorageFull.status, "storage_full")
        assert '"compute-units-per-minute";r=60;' in full.headers["ratelimit"]
        accepted = 0
        while (answer := edit(gateway, image=b"x", headers=headers, steps=20, strength=1)).status_code == 202:
            accepted += 1
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert len(uploads_in(tmp_path)) == accepted == 1


def test_a_job_of_an_edit_costs_what_the_edit_does(start_gateway: StartGateway, stages: StandIns) -> None:
    sizes = [SizeCosts(size=size, encode=1, step=1, decode=2, read=5) for size in MODEL.sizes]
    costs = ModelCosts(unit_seconds=0.001, guided_rows=2, sizes=sizes)
    stages.behaviour.described = MODEL.model_copy(update={"costs": costs})
    gateway = start_gateway()
    units = 1 + 5 + 6 * 2 + 2  # of ten steps, the usual 0.6
    job = ended(gateway, submitted(gateway, steps=10))
    assert job["compute_units"] == pytest.approx(units)
    assert edit(gateway, steps=10, headers=keyed("cost")).status_code == 200
    [day] = gateway.get("/v1/usage").json()["data"]
    assert (day["requests"], day["compute_units"]) == (2, pytest.approx(2 * units))


@pytest.mark.parametrize("header", [{"Idempotency-Key": "k"}, ASYNC], ids=["key", "async"])
def test_a_stream_of_an_edit_is_no_job(gateway: httpx2.Client, stages: StandIns, header: dict[str, str]) -> None:
    answer = edit(gateway, headers=header, stream=True)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "stream")
    assert not stages.seen


def test_a_key_that_is_none_is_refused_before_the_form_is_read(gateway: httpx2.Client, stages: StandIns) -> None:
    answer = gateway.post(EDITS, content=b"no form", headers={"Idempotency-Key": ""})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "Idempotency-Key")
    assert not stages.seen
