"""A certificate that is replaced in its files signs the next picture; one that cannot sign leaves the one before."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from numpy.typing import NDArray

from bowerbird.contracts import CurationDescription, OutputFormat, ProvenanceReport, PublishDone, PublishRequest
from bowerbird.curation.certificates import load_identity
from bowerbird.curation.prompt_match import PromptMatch
from bowerbird.curation.publishing import follow_credentials
from bowerbird.curation.service import equip, routes
from bowerbird.curation.species_check import SpeciesJudge
from bowerbird.parts import Kind
from bowerbird.worker import create_worker_app

from .chains import Files, certificate, pem
from .streams import HEADERS, body, frames_of, parts_of

Make = Callable[..., PublishRequest]
Publish = Callable[[], Awaitable[tuple[bytes, str]]]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
async def client(files: Files, prompt_match: PromptMatch, species: SpeciesJudge) -> AsyncIterator[httpx.AsyncClient]:
    """Curation that signs with the files' certificate."""
    app = create_worker_app("curation", routes())
    equip(app, prompt_match, species, follow_credentials(files.settings()), threads=1)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://curation") as client:
        yield client
    app.state.threads.shutdown()


@pytest.fixture
def publish(client: httpx.AsyncClient, birds: list[NDArray[np.uint8]], publish_request: Make) -> Publish:
    async def publish() -> tuple[bytes, str]:
        """A picture, and the certificate that its answer names."""
        content = body(publish_request(OutputFormat.PNG), *frames_of(birds[0]))
        picture, done = await parts_of(await client.post("/publish", content=content, headers=HEADERS))
        assert (picture.kind, done.kind) == (Kind.PICTURE, Kind.DONE)
        return picture.body, done.read(PublishDone).curation.certificate

    return publish


async def described(client: httpx.AsyncClient) -> str:
    return CurationDescription.model_validate_json((await client.get("/describe")).content).certificate


async def verdict(client: httpx.AsyncClient, picture: bytes) -> str:
    report = await client.post("/check_provenance", content=picture)
    return ProvenanceReport.model_validate_json(report.content).verdict


async def test_a_certificate_that_was_renewed_signs_the_next_picture(
    files: Files, client: httpx.AsyncClient, publish: Publish
) -> None:
    old, before = await publish()
    assert await described(client) == before
    files.leaf = ec.generate_private_key(ec.SECP256R1())
    renewed = load_identity(files.settings()).fingerprint
    assert renewed != before
    new, named = await publish()
    assert (named, await described(client)) == (renewed, renewed)
    assert [await verdict(client, picture) for picture in (old, new)] == ["made_here_intact"] * 2, "of one root"


def key_alone(files: Files) -> None:
    (files.folder / "tls.key").write_bytes(pem(ec.generate_private_key(ec.SECP256R1())))


def half(files: Files) -> None:
    chain = files.folder / "tls.crt"
    chain.write_bytes(chain.read_bytes()[:300])


def expired(files: Files) -> None:
    files.settings([certificate(files.leaf, files.root, days=-5), certificate(files.root, files.root, ca=True)])


def of_no_anchor(files: Files) -> None:
    files.settings([certificate(files.leaf, files.root)])


def gone(files: Files) -> None:
    (files.folder / "tls.crt").unlink()


@pytest.mark.parametrize("replace", [key_alone, half, expired, of_no_anchor, gone])
async def test_one_that_cannot_sign_leaves_the_one_before_and_is_told(
    files: Files,
    client: httpx.AsyncClient,
    publish: Publish,
    replace: Callable[[Files], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    _, before = await publish()
    replace(files)
    for _ in range(2):
        picture, named = await publish()
        assert (named, await verdict(client, picture)) == (before, "made_here_intact")
    (said,) = [each.__dict__["reason"] for each in caplog.records if "cannot be used" in each.message]
    assert str(files.folder) in said
    assert "PRIVATE KEY" not in said
    renewed = load_identity(files.settings()).fingerprint
    assert (await publish())[1] == renewed
