"""An archive holds what somebody has drawn and said, all of it, and nothing of anybody else."""

from __future__ import annotations

import io
import json
import sqlite3
import tarfile
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.gateway.records.database import FILE_NAME
from bowerbird.gateway.rights.archive import END, member

from ..identity.gateways import ADMIN, bearer
from .conftest import Office
from .traces import Someone, found, leave, until


class Archive:
    """A fetched archive."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        with tarfile.open(fileobj=io.BytesIO(body)) as opened:
            self.names = opened.getnames()
            self.members = {name: opened.extractfile(name).read() for name in self.names}  # type: ignore[union-attr]

    def rows(self, kind: str) -> list[dict[str, Any]]:
        """Every row of a kind, in order."""
        pages = [body for name, body in self.members.items() if name.startswith(f"{kind}-")]
        return [json.loads(line) for page in pages for line in page.splitlines()]

    @property
    def manifest(self) -> dict[str, Any]:
        manifest: dict[str, Any] = json.loads(self.members[self.names[-1]])
        return manifest


def exported(client: httpx2.Client, key: str, path: str = "/v1/exports", **asked: str) -> Archive:
    made = client.post(path, json=asked, headers=bearer(key)).json()
    answer = client.get(made["archive"], headers=bearer(key))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-tar"
    assert answer.headers["cache-control"] == "no-store"
    return Archive(answer.content)


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that there are several."""
    for module in ("holding", "holdings.jobs", "holdings.results"):
        monkeypatch.setattr(f"bowerbird.gateway.rights.{module}.PAGE", 1)


def until_kept(office: Office, who: Someone) -> None:
    until(lambda: found(office.place.folders, who.needles()) == set(who.needles()))


def test_a_persons_archive_is_what_they_drew_and_said_and_nobody_elses(office: Office) -> None:
    left = leave(office.client, office.them)
    for who in (office.colleague, office.namesake):
        leave(office.client, who)
    until_kept(office, office.them)
    archive = exported(office.client, office.them.key, safety_identifier=office.them.identifier)
    jobs = archive.rows("jobs")
    assert len(jobs) == 2
    [job] = [each for each in jobs if each["id"] == left.job]
    assert job["request"]["asked"]["prompt"] == office.them.prompt
    assert [archive.members[f"{each['file']}"] for each in job["pictures"]] == left.job_pictures
    assert [event["kind"] for event in job["events"]][-1] == "succeeded"
    cached = [name for result in archive.rows("cached_results") for name in result["pictures"]]
    assert left.cached[0] in [archive.members[name] for name in cached]
    [opinion] = archive.rows("feedback")
    assert (opinion["text"], opinion["rater"]) == (office.them.opinion, office.them.identifier)
    assert len(archive.rows("idempotency_keys")) == 2
    assert archive.manifest["counts"]["jobs"] == 2
    assert archive.manifest["counts"]["files in pictures/"] == 2
    assert {each["what"] for each in archive.manifest["left_out"]} >= {"audit log", "access log"}
    for who in (office.colleague, office.namesake):
        assert who.word.encode() not in archive.body
    assert office.colleague.identifier.encode() not in archive.body


def test_a_tenants_archive_is_everything_of_the_tenant_without_what_opens_anything(office: Office) -> None:
    for who in (office.them, office.colleague, office.namesake):
        leave(office.client, who)
    until_kept(office, office.colleague)
    archive = exported(office.client, ADMIN, "/v1/admin/exports", tenant="birds")
    assert len(archive.rows("jobs")) == 4
    assert [each["id"] for each in archive.rows("tenant")] == ["birds"]
    [key] = archive.rows("keys")
    assert office.them.key.startswith(key["prefix"])
    assert "digest" not in key
    assert archive.rows("usage_entries") != []
    assert {who.word.encode() in archive.body for who in (office.them, office.colleague)} == {True}
    assert office.namesake.word.encode() not in archive.body
    assert archive.names[-1] == "manifest.json"


def test_an_archive_is_given_to_who_asked_until_the_export_ends(office: Office) -> None:
    headers = bearer(office.them.key)
    made = office.client.post("/v1/exports", json={"safety_identifier": "somebody"}, headers=headers).json()
    assert made["expires_at"] - made["created_at"] == 3_600
    assert [each["id"] for each in office.client.get("/v1/exports", headers=headers).json()["data"]] == [made["id"]]
    assert office.client.get(made["archive"], headers=bearer(office.namesake.key)).status_code == 404
    assert office.client.get(made["archive"]).status_code == 401
    assert office.client.get(made["archive"], headers=headers).status_code == 200
    log = office.admin.done("GET", "/audit", limit=100)["data"]
    assert [each["action"] for each in log if each["subject"] == made["id"]] == ["person.export", "person.fetch"]
    assert office.client.delete(f"/v1/exports/{made['id']}", headers=headers).status_code == 200
    assert office.client.get(made["archive"], headers=headers).status_code == 404
    assert office.client.get("/v1/exports", headers=headers).json()["data"] == []


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_an_archive_is_not_given_after_its_time(office: Office) -> None:
    headers = bearer(office.them.key)
    made = office.client.post("/v1/exports", json={"safety_identifier": "somebody"}, headers=headers).json()
    with sqlite3.connect(office.place.home / FILE_NAME) as rows:
        rows.execute("UPDATE exports SET expires_ms = 1")
    rows.close()
    assert office.client.get(made["archive"], headers=headers).status_code == 404


NAMES = st.from_regex(r"[a-z0-9_/.-]{1,140}", fullmatch=True)


@given(st.lists(st.tuples(NAMES, st.binary(max_size=2_000)), max_size=5))
def test_members_are_a_tar_that_anybody_reads(files: list[tuple[str, bytes]]) -> None:
    body = b"".join(member(f"f{number}/{name}x", content) for number, (name, content) in enumerate(files)) + END
    with tarfile.open(fileobj=io.BytesIO(body)) as opened:
        read = [(each.name, opened.extractfile(each).read()) for each in opened]  # type: ignore[union-attr]
    expected = [(f"f{number}/{name}x", content) for number, (name, content) in enumerate(files)]
    assert read == expected
