"""Everything that goes wrong around the routes: broken bodies, deadlines, callers that hang up, starts that fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from starlette.applications import Starlette

from bowerbird.contracts import (
    DEADLINE_HEADER,
    JudgeRequest,
    OutputFormat,
    Picture,
    PublishRequest,
)
from bowerbird.curation.certificates import SigningIdentity
from bowerbird.curation.credentials import Credentials, Ingredient, Signed, SigningFailed
from bowerbird.curation.prompt_match import PromptMatch
from bowerbird.curation.provenance import MAX_UPLOAD_BYTES
from bowerbird.curation.publishing import Publisher
from bowerbird.curation.service import Curation, equip, routes
from bowerbird.curation.service import app as service_app
from bowerbird.curation.species_check import SpeciesJudge
from bowerbird.errors import BundleInvalid, CertificateInvalid
from bowerbird.frames import npy
from bowerbird.parts import END_OF_STREAM, Kind, part
from bowerbird.worker import create_worker_app
from tests.unit.curation.streams import HEADERS, body, error_of, frames_of, judged, parts_of

Pixels = NDArray[np.uint8]
Make = Callable[..., PublishRequest]


async def test_what_cannot_be_labelled_ends_the_stream_with_an_error_and_no_picture(
    app: Starlette, client: httpx.AsyncClient, identity: SigningIdentity, birds: list[Pixels], publish_request: Make
) -> None:
    class Refusing(Credentials):
        def sign(self, content: bytes, media_type: str, manifest: dict[str, Any], original: Any = None) -> Signed:
            raise SigningFailed("no key")

    app.state.publisher = lambda _: Publisher(Refusing(identity))
    response = await client.post(
        "/publish", content=body(publish_request(OutputFormat.PNG, count=2), *frames_of(*birds[:2])), headers=HEADERS
    )
    (only,) = await parts_of(response)
    assert only.kind is Kind.ERROR
    assert json.loads(only.body)["error"]["code"] == "label_failed"


async def test_a_deadline_that_passes_while_publishing_ends_the_stream_with_its_name(
    app: Starlette, client: httpx.AsyncClient, birds: list[Pixels], publish_request: Make
) -> None:
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Slow(Publisher):
        def publish(
            self, index: int, pixels: Pixels, wanted: PublishRequest, original: Ingredient | None = None
        ) -> tuple[Picture, bytes]:
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result(timeout=30)
            return super().publish(index, pixels, wanted, original)

    app.state.publisher = Slow
    content = body(publish_request(OutputFormat.PNG), *frames_of(birds[0]))
    response = await client.post("/publish", content=content, headers=HEADERS | {DEADLINE_HEADER: "60"})
    release.set()
    (only,) = await parts_of(response)
    assert json.loads(only.body)["error"]["code"] == "deadline_exceeded"


async def test_a_deadline_that_passes_while_frames_arrive_is_503(app: Starlette) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield part(Kind.REQUEST, JudgeRequest(prompt="red", images=1, candidates=1))
        await asyncio.sleep(0.2)
        yield END_OF_STREAM

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://curation") as client:
        response = await client.post("/judge", content=chunks(), headers=HEADERS | {DEADLINE_HEADER: "20"})
    assert (response.status_code, error_of(response)["code"]) == (503, "deadline_exceeded")
    assert response.headers["retry-after"] == "1"


def scope_of(path: str) -> dict[str, Any]:
    headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": path,
        "raw_path": path.encode(), "root_path": "", "scheme": "http", "query_string": b"", "headers": headers,
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
    }  # fmt: skip


async def test_a_caller_that_hangs_up_while_sending_is_no_fault_of_ours(
    app: Starlette, birds: list[Pixels], caplog: pytest.LogCaptureFixture
) -> None:
    request = JudgeRequest(prompt="red", images=1, candidates=2)
    half = part(Kind.REQUEST, request) + part(Kind.FRAMES, frames_of(birds[0])[0])
    events = iter(({"type": "http.request", "body": half, "more_body": True}, {"type": "http.disconnect"}))
    sent: list[Any] = []

    async def receive() -> Any:
        return next(events)

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope_of("/judge"), receive, send)
    assert sent[0]["status"] == 400
    assert not caplog.records


async def test_a_caller_that_hangs_up_while_pictures_are_made_frees_the_threads(
    prompt_match: PromptMatch,
    species: SpeciesJudge,
    credentials: Credentials,
    birds: list[Pixels],
    publish_request: Make,
) -> None:
    """One thread, four pictures: the one being made is finished, the others are never begun."""
    started: list[int] = []
    begun, release = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    class Slow(Publisher):
        def publish(
            self, index: int, pixels: Pixels, wanted: PublishRequest, original: Ingredient | None = None
        ) -> tuple[Picture, bytes]:
            started.append(index)
            loop.call_soon_threadsafe(begun.set)
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result(timeout=30)
            return super().publish(index, pixels, wanted, original)

    app = create_worker_app("curation", routes())
    equip(app, prompt_match, species, lambda: credentials, threads=1)
    app.state.publisher = Slow
    whole = body(publish_request(OutputFormat.PNG, count=4), *frames_of(*birds))
    events = iter([{"type": "http.request", "body": whole, "more_body": False}])

    async def receive() -> Any:
        event = next(events, None)
        if event is None:
            await begun.wait()
            return {"type": "http.disconnect"}
        return event

    async def send(_: Any) -> None: ...

    async with asyncio.timeout(60):
        await app(scope_of("/publish"), receive, send)
    release.set()
    await asyncio.to_thread(app.state.threads.shutdown)
    assert started == [0]


ONE = JudgeRequest(prompt="red", images=1, candidates=1)
FRAME = npy(np.zeros((1, 8, 8, 3), np.uint8))


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        (b"", "not a whole stream"),
        (b"{}", "not a stream of parts"),
        (END_OF_STREAM, "no parts"),
        (part(Kind.FRAMES, FRAME) + END_OF_STREAM, "first part must be the request"),
        (part(Kind.REQUEST, b'{"prompt": "red"}') + END_OF_STREAM, "images: Field required"),
        (body(ONE), "0 frames came"),
        (body(ONE, FRAME, FRAME), "More frames came than the 1"),
        (body(ONE, b"no npy"), "Frame 0: a frames part is not a .npy file"),
        (body(ONE, npy(np.zeros((2, 8, 8, 3), np.uint8))), "must be one picture"),
        (body(ONE, npy(np.zeros((1, 0, 8, 3), np.uint8))), "must be one picture"),
        (body(ONE, FRAME)[:-40], "not a whole stream"),
        (part(Kind.REQUEST, ONE) + part(Kind.DONE, ONE) + END_OF_STREAM, "only frames may follow"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
async def test_a_body_that_breaks_the_contract_is_a_400_that_says_how(
    client: httpx.AsyncClient, content: bytes, fact: str
) -> None:
    response = await client.post("/judge", content=content, headers=HEADERS)
    assert response.status_code == 400
    assert fact in error_of(response)["message"]


async def test_a_prompt_is_echoed_in_no_error(client: httpx.AsyncClient) -> None:
    for prompt in ("red secret" * 3, "secret " * 600):
        content = part(Kind.REQUEST, json.dumps({"prompt": prompt, "images": 1, "candidates": 1}).encode())
        response = await client.post("/judge", content=content + END_OF_STREAM, headers=HEADERS)
        assert response.status_code == 400
        assert "secret" not in response.text


async def test_a_picture_without_a_seed_digest_is_refused(
    client: httpx.AsyncClient, birds: list[Pixels], publish_request: Make
) -> None:
    request = publish_request(OutputFormat.PNG).model_copy(update={"count": 2})
    response = await client.post("/publish", content=body(request, *frames_of(*birds[:2])), headers=HEADERS)
    assert (response.status_code, error_of(response)["param"]) == (400, "origin.seed_digests")


async def test_an_upload_above_20_megabytes_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post("/check_provenance", content=bytes(MAX_UPLOAD_BYTES + 1))
    assert (response.status_code, error_of(response)["param"]) == (413, "file")


async def test_an_upload_of_another_kind_is_refused_with_what_is_accepted(client: httpx.AsyncClient) -> None:
    response = await client.post("/check_provenance", content=b"%PDF-1.7")
    assert response.status_code == 400
    assert "PNG, JPEG, WebP, GIF" in error_of(response)["message"]


async def test_the_service_loads_judge_and_certificate_before_it_is_ready(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, judge_folder: Path, species_file: Path, birds: list[Pixels]
) -> None:
    monkeypatch.setenv("BOWERBIRD_HOME", str(tmp_path))
    monkeypatch.setenv("BOWERBIRD_JUDGE", str(judge_folder))
    monkeypatch.setenv("BOWERBIRD_JUDGE_SPECIES", str(species_file))
    Curation.inner()  # type: ignore[attr-defined]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(service_app), base_url="http://curation") as client:
        assert (await judged(client, ONE, birds[0])).judge.startswith("colours@")
    assert (tmp_path / "curation" / "development-certificate" / "key.pem").exists()


@pytest.mark.parametrize("setting", ["BOWERBIRD_JUDGE", "BOWERBIRD_CERTIFICATE"])
def test_a_wrong_file_stops_the_start_and_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, judge_folder: Path, species_file: Path, setting: str
) -> None:
    monkeypatch.setenv("BOWERBIRD_HOME", str(tmp_path))
    monkeypatch.setenv("BOWERBIRD_JUDGE", str(judge_folder))
    monkeypatch.setenv("BOWERBIRD_JUDGE_SPECIES", str(species_file))
    monkeypatch.setenv("BOWERBIRD_CERTIFICATE_KEY", str(tmp_path / "tls.key"))
    monkeypatch.setenv("BOWERBIRD_CERTIFICATE", str(tmp_path / "tls.crt"))
    if setting == "BOWERBIRD_JUDGE":
        monkeypatch.delenv("BOWERBIRD_CERTIFICATE_KEY")
        monkeypatch.delenv("BOWERBIRD_CERTIFICATE")
        monkeypatch.setenv(setting, str(tmp_path / "no-judge"))
    with pytest.raises((BundleInvalid, CertificateInvalid), match=r"no-judge|tls\.crt"):
        Curation.inner()  # type: ignore[attr-defined]
