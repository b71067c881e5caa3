"""Files and batches: a person's lines go, and what others wrote in the same file stays, line for line."""

from __future__ import annotations

import json
from typing import Any

import httpx2

from ..identity.gateways import ADMIN, bearer
from .conftest import Office
from .test_export import exported
from .traces import Someone, erased, found, until


def batch_of(office: Office, *people: Someone) -> dict[str, Any]:
    """A finished batch with a line for each of them."""
    client, headers = office.client, bearer(people[0].key)
    lines = [
        {
            "custom_id": f"line-{number}",
            "method": "POST",
            "url": "/v1/images/generations",
            "body": {**who.fields, "seed": who.seed},
        }
        for number, who in enumerate(people)
    ]
    upload = "\n".join(map(json.dumps, lines)).encode()
    file = client.post(
        "/v1/files", headers=headers, data={"purpose": "batch"}, files={"file": ("birds.jsonl", upload)}
    ).json()["id"]
    asked = {"input_file_id": file, "endpoint": "/v1/images/generations", "completion_window": "24h"}
    batch = client.post("/v1/batches", headers=headers, json=asked).json()["id"]

    def done() -> dict[str, Any]:
        told: dict[str, Any] = client.get(f"/v1/batches/{batch}", headers=headers).json()
        return told

    until(lambda: done()["status"] == "completed", 40)
    assert done()["request_counts"] == {"total": len(people), "completed": len(people), "failed": 0}
    return done()


def content(client: httpx2.Client, file: str, key: str) -> list[dict[str, Any]]:
    body = client.get(f"/v1/files/{file}/content", headers=bearer(key)).content
    return [json.loads(line) for line in body.splitlines()]


def words(office: Office, who: Someone) -> set[str]:
    """What of their words and name stands in any file."""
    said = {"word": who.word.encode(), "identifier": who.identifier.encode()}
    return found(office.place.folders, said)


def test_the_lines_of_an_erased_person_go_and_their_colleagues_stay(office: Office) -> None:
    batch = batch_of(office, office.them, office.colleague)
    files = [batch["input_file_id"], batch["output_file_id"]]
    before = [content(office.client, file, office.them.key) for file in files]
    archive = exported(office.client, office.them.key, safety_identifier=office.them.identifier)
    assert {row["line"]["custom_id"] for row in archive.rows("files")} == {"line-0"}
    assert len(archive.rows("files")) == 2
    assert office.colleague.word.encode() not in archive.body
    done = erased(office.client, office.them.key, safety_identifier=office.them.identifier)
    assert done["erased"]["lines"] == 2
    assert words(office, office.them) == set()
    after = [content(office.client, file, office.them.key) for file in files]
    for old, new in zip(before, after, strict=True):
        assert [line for line in old if line.get("custom_id") == "line-1"] == [
            line for line in new if line.get("custom_id") == "line-1"
        ]
        assert {len(old), len(new)} == {2}
    assert words(office, office.colleague) == {"word", "identifier"}


def test_files_and_batches_of_an_erased_tenant_go(office: Office) -> None:
    batch_of(office, office.them, office.colleague)
    archive = exported(office.client, ADMIN, "/v1/admin/exports", tenant="birds")
    assert len(archive.rows("files")) == 2
    assert len(archive.rows("batches")) == 1
    folder = f"files/{_input(archive.rows('files'))}/"
    [upload] = [body for name, body in archive.members.items() if name.startswith(folder)]
    assert office.colleague.prompt.encode() in upload
    done = erased(office.client, ADMIN, "/v1/admin/erasures", tenant="birds")
    assert done["erased"]["files"] == 2
    assert words(office, office.them) == words(office, office.colleague) == set()
    assert not [file for file in office.place.home.rglob("files/*") if file.is_file()]


def _input(files: list[dict[str, Any]]) -> str:
    [found_] = [each["id"] for each in files if each["purpose"] == "batch"]
    return str(found_)
