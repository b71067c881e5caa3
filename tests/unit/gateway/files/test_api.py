"""`/v1/files` with the unmodified `openai` client: what a team does, and what is refused."""

from __future__ import annotations

import socket
import sqlite3
import time
from pathlib import Path

import httpx2
import openai
import pytest

from bowerbird.gateway.files.file import PART_BYTES
from bowerbird.gateway.records.database import FILE_NAME

from ..conftest import GatewayIn
from ..two_tenants import MINE, PURPOSE, THEIRS, ClientOf, form


def test_files_live_as_the_openai_client_knows_them(client: openai.OpenAI) -> None:
    before = time.time()
    file = client.files.create(
        file=("../../etc/robins.jsonl", b"{}\n"),
        purpose="batch",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert (file.filename, file.bytes, file.purpose, file.status) == ("robins.jsonl", 3, "batch", "processed")
    assert before + 3590 < (file.expires_at or 0) < before + 3700
    other = client.files.create(file=("b", b"x" * 5_000), purpose="batch")
    assert client.files.retrieve(other.id) == other
    listed = client.files.list(limit=1)
    assert (listed.data[0].id, listed.has_more) == (other.id, True)
    found = [each.id for each in client.files.list(limit=1, purpose="batch")]
    assert found.index(other.id) < found.index(file.id)
    assert client.files.content(other.id).read() == b"x" * 5_000
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.content(file.id)


def test_a_download_cannot_say_more_in_its_headers_than_a_name(client: openai.OpenAI, shared: httpx2.Client) -> None:
    name = 'robins"; filename="evil.exe\r\nSet-Cookie: a=b\r\n\r\n<script>'
    file_id = client.files.create(file=(name, b"{}"), purpose="batch").id
    answer = shared.get(f"/v1/files/{file_id}/content")
    assert "set-cookie" not in answer.headers
    assert answer.headers["content-disposition"].startswith('attachment; filename="')
    assert answer.headers["content-disposition"].count('filename="') == 1
    assert (answer.headers["x-content-type-options"], answer.content) == ("nosniff", b"{}")


FILE = ('name="file"; filename="a"', b"{}")


@pytest.mark.parametrize(
    ("content", "media_type", "param"),
    [
        (b"", "multipart/form-data; boundary=b", None),
        (b"junk", "multipart/form-data; boundary=b", None),
        (form(purpose=PURPOSE, file=FILE), "application/json", "Content-Type"),
        (form(purpose=PURPOSE, file=FILE), "multipart/form-data", "Content-Type"),
        (form(purpose=PURPOSE, file=FILE), f"multipart/form-data; boundary={'x' * 200}", "Content-Type"),
        (form(purpose=PURPOSE, file=FILE)[:-20], "multipart/form-data; boundary=b", None),
        (form(purpose=PURPOSE), "multipart/form-data; boundary=b", "file"),
        (form(file=FILE), "multipart/form-data; boundary=b", "purpose"),
        (form(a=PURPOSE, b=FILE, c=FILE), "multipart/form-data; boundary=b", "file"),
        (form(a=PURPOSE, b=PURPOSE, c=FILE), "multipart/form-data; boundary=b", "purpose"),
        (form(a=('name="purpose"', b"vision"), b=FILE), "multipart/form-data; boundary=b", "purpose"),
        (form(a=('name="purpose"', b"x" * 2000), b=FILE), "multipart/form-data; boundary=b", "purpose"),
        (form(a=PURPOSE, b=('name="colour"', b"red")), "multipart/form-data; boundary=b", "colour"),
        (form(a=PURPOSE, b=('name="notes"; filename="a"', b"")), "multipart/form-data; boundary=b", "notes"),
        (form(a=PURPOSE, b=FILE, c=('name="expires_after[seconds]"', b"60")), "multipart/form-data; boundary=b", None),
    ],
)
def test_a_form_that_is_none_is_refused_and_nothing_of_it_is_kept(
    home: Path, shared: httpx2.Client, content: bytes, media_type: str, param: str | None
) -> None:
    before = len(list(home.rglob("files/*/*")))
    answer = shared.post("/v1/files", content=content, headers={"Content-Type": media_type})
    assert answer.status_code == 400, answer.text
    if param is not None:
        assert answer.json()["error"]["param"] == param
    assert len(list(home.rglob("files/*/*"))) == before


def test_a_file_that_is_too_large_is_refused_before_it_is_read(shared: httpx2.Client) -> None:
    host, port = shared.base_url.host, shared.base_url.port or 80
    head = (
        f"POST /v1/files HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {MINE}\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {300 * 1024**2}\r\n\r\n--b\r\n"
    )
    with socket.create_connection((host, port), timeout=60) as connection:
        connection.sendall(head.encode())
        assert connection.recv(65_536).startswith(b"HTTP/1.1 413")


def test_a_tenant_stores_no_more_than_its_quota(shared: httpx2.Client, client_of: ClientOf) -> None:
    client = client_of(shared, THEIRS)
    kept = client.files.create(file=("a", b"x" * 1_990_000), purpose="batch")
    with pytest.raises(openai.PermissionDeniedError) as raised:
        client.files.create(file=("b", b"x" * 20_000), purpose="batch")
    assert raised.value.code == "storage_full"
    client.files.delete(kept.id)
    client.files.delete(client.files.create(file=("b", b"x" * 20_000), purpose="batch").id)


def test_of_an_upload_that_breaks_off_nothing_is_kept(gateway_in: GatewayIn, tmp_path: Path) -> None:
    with gateway_in(tmp_path) as gateway:
        host, port = gateway.base_url.host, gateway.base_url.port or 80
        head = (
            f"POST /v1/files HTTP/1.1\r\nHost: {host}\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            f"Content-Length: {50 * 1024**2}\r\n\r\n--b\r\n"
            'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        )
        with socket.create_connection((host, port), timeout=60) as connection:
            connection.sendall(head.encode() + b"x" * (2 * PART_BYTES))
            while not list(tmp_path.rglob("files/*/*")):
                time.sleep(0.01)
        for _ in range(3000):
            if not list(tmp_path.rglob("files/*/*")):
                break
            time.sleep(0.02)
        assert not list(tmp_path.rglob("files/*/*"))
        with sqlite3.connect(tmp_path / FILE_NAME) as database:
            assert database.execute("SELECT count(*) FROM files").fetchone() == (0,)
