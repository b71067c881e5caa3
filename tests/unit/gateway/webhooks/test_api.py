"""`/v1/webhook_endpoints` with the unmodified `openai` client, and what a receiver then hears of real jobs."""

from __future__ import annotations

import base64
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from bowerbird.gateway.app import create_app
from bowerbird.gateway.records.database import FILE_NAME
from tests.postgresql import RunningPostgreSQL

from ..conftest import GatewayIn, StartGateway, draw, opened, settings_for, until_ready
from ..stand_ins import StandIns, served
from .conftest import Receiver

KINDS: Any = ["image.job.succeeded", "image.job.cancelled"]
ClientOf = Callable[..., openai.OpenAI]

MINE, THEIRS = "first", "second"
ASYNC = {"Prefer": "respond-async"}
OPEN = {"webhook_networks": (ip_network("127.0.0.0/8"),), "webhook_plain_http": True}


@pytest.fixture
def client_of() -> Iterator[ClientOf]:
    """OpenAI's clients of a gateway, `client_of(gateway, key)`; closed at the end."""
    with ExitStack() as clients:

        def made(gateway: httpx2.Client, key: str = "unused") -> openai.OpenAI:
            url = str(gateway.base_url).rstrip("/")
            return clients.enter_context(openai.OpenAI(api_key=key, base_url=f"{url}/v1", max_retries=0))

        yield made


def until(done: Callable[[], Any]) -> Any:
    """What `done` gives as soon as it is true."""
    for _ in range(3000):
        if found := done():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come to pass")


@pytest.fixture
def strict(gateway: httpx2.Client) -> httpx2.Client:
    """A gateway that sends to public addresses only."""
    return gateway


@pytest.fixture(scope="module")
def _open_gateway(
    _stand_ins: tuple[StandIns, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx2.Client]:
    settings = settings_for(_stand_ins[1], tmp_path_factory.mktemp("home"), api_keys=frozenset({MINE, THEIRS}), **OPEN)
    with served(create_app(settings)) as url, opened(url) as client:
        client.headers["Authorization"] = f"Bearer {MINE}"
        until_ready(client, "safety", "text-to-image", "curation")
        yield client


@pytest.fixture
def open_gateway(_open_gateway: httpx2.Client, stages: StandIns) -> Iterator[httpx2.Client]:
    """A gateway that may send to this machine, without endpoints; its client is one of two tenants."""
    yield _open_gateway
    for each in _open_gateway.get("/v1/webhook_endpoints?limit=100").json()["data"]:
        _open_gateway.delete(f"/v1/webhook_endpoints/{each['id']}")


@pytest.fixture
def client(open_gateway: httpx2.Client, client_of: ClientOf) -> openai.OpenAI:
    return client_of(open_gateway, MINE)


def test_an_endpoint_lives_as_the_openai_client_knows_it(client: openai.OpenAI, receiver: Receiver) -> None:
    assert set(KINDS) < set(client.webhooks.event_types.list().data)
    made = client.webhooks.create(name="application", url=f"{receiver.url}/hook", event_types=KINDS)
    assert made.signing_secret.startswith("whsec_")
    assert made.object == "webhook_endpoint"
    seen = client.webhooks.retrieve(made.id)
    assert (seen.name, seen.url, seen.event_types) == ("application", f"{receiver.url}/hook", sorted(KINDS))
    assert seen.signing_secret_hint == f"whsec_…{made.signing_secret.rstrip('=')[-4:]}"
    assert not hasattr(seen, "signing_secret")
    changed = client.webhooks.update(made.id, name="renamed", event_types=["batch.completed"])
    assert (changed.name, changed.event_types, changed.url) == ("renamed", ["batch.completed"], seen.url)
    assert client.webhooks.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError) as raised:
        client.webhooks.retrieve(made.id)
    assert raised.value.code == "webhook_endpoint_not_found"


def test_endpoints_are_listed_newest_first_and_page_by_page(client: openai.OpenAI, receiver: Receiver) -> None:
    ids = [client.webhooks.create(name=f"{number}", url=receiver.url, event_types=KINDS).id for number in range(5)]
    assert [each.id for each in client.webhooks.list(limit=2)] == ids[::-1]
    page = client.webhooks.list(limit=2)
    assert (len(page.data), page.has_more) == (2, True)


def test_a_job_that_ends_is_told_in_a_way_that_the_client_believes(
    open_gateway: httpx2.Client, client: openai.OpenAI, receiver: Receiver
) -> None:
    gateway = open_gateway
    made = client.webhooks.create(name="application", url=f"{receiver.url}/hook", event_types=KINDS)
    job_id = draw(gateway, ASYNC).json()["id"]
    [heard] = until(lambda: receiver.heard)
    event = client.webhooks.unwrap(heard.body, heard.headers, secret=made.signing_secret)
    assert (event.type, event.data.id) == ("image.job.succeeded", job_id)  # type: ignore[union-attr]
    [delivery] = until(lambda: deliveries(gateway, made.id, "delivered"))
    assert (delivery["id"], delivery["subject"]) == (heard.headers["webhook-id"], job_id)
    [attempt] = delivery["attempts"]
    assert (attempt["outcome"], attempt["status_code"]) == ("delivered", 200)
    assert 'bowerbird_webhook_attempts_total{outcome="delivered"}' in gateway.get("/metrics").text


def deliveries(gateway: httpx2.Client, endpoint: str, status: str) -> list[dict[str, Any]]:
    answer = gateway.get(f"/v1/webhook_endpoints/{endpoint}/deliveries").json()
    return [each for each in answer["data"] if each["status"] == status]


def test_after_a_rotation_both_secrets_verify_until_the_former_ends(client: openai.OpenAI, receiver: Receiver) -> None:
    made = client.webhooks.create(name="application", url=receiver.url, event_types=KINDS)
    rotated = client.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
    assert client.webhooks.test(made.id, event_type="batch.completed").status_code == 200
    for secret in (made.signing_secret, rotated.signing_secret):
        client.webhooks.unwrap(receiver.heard[0].body, receiver.heard[0].headers, secret=secret)
    client.webhooks.rotate_secret(made.id)
    client.webhooks.test(made.id, event_type="batch.completed")
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.unwrap(receiver.heard[1].body, receiver.heard[1].headers, secret=rotated.signing_secret)


def test_a_test_says_how_the_receiver_answered_or_that_it_did_not(client: openai.OpenAI, receiver: Receiver) -> None:
    made = client.webhooks.create(name="application", url=receiver.url, event_types=KINDS)
    receiver.statuses = [500]
    tried = client.webhooks.test(made.id, event_type="batch.failed")
    assert (tried.success, tried.status_code, tried.webhook_endpoint_id) == (True, 500, made.id)
    client.webhooks.update(made.id, url="http://127.0.0.1:9/")
    with pytest.raises(openai.APIStatusError) as raised:
        client.webhooks.test(made.id, event_type="batch.failed")
    assert (raised.value.status_code, raised.value.code) == (502, "webhook_unreachable")


def test_what_could_not_be_told_is_told_after_a_restart_as_the_same_event(
    gateway_in: GatewayIn, client_of: ClientOf, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.statuses = [500]
    with gateway_in(tmp_path, **OPEN) as gateway:
        made = client_of(gateway).webhooks.create(name="application", url=receiver.url, event_types=KINDS)
        draw(gateway, ASYNC)
        until(lambda: deliveries(gateway, made.id, "waiting") and receiver.heard)
        until(lambda: deliveries(gateway, made.id, "waiting")[0]["attempts"])
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("UPDATE webhook_deliveries SET next_ms = 0")
    with gateway_in(tmp_path, **OPEN) as gateway:
        until(lambda: deliveries(gateway, made.id, "delivered"))
        client_of(gateway).webhooks.unwrap(
            receiver.heard[1].body, receiver.heard[1].headers, secret=made.signing_secret
        )
    assert receiver.ids()[0] == receiver.ids()[1]
    assert receiver.heard[0].body == receiver.heard[1].body


def test_no_secret_lies_in_the_home_in_the_clear(
    gateway_in: GatewayIn, client_of: ClientOf, receiver: Receiver, tmp_path: Path
) -> None:
    with gateway_in(tmp_path) as gateway:
        made = client_of(gateway).webhooks.create(name="a", url="https://birds.example/", event_types=KINDS)
        answer = gateway.get(f"/v1/webhook_endpoints/{made.id}")
        assert "signing_secret" not in answer.json()
    secret = made.signing_secret.removeprefix("whsec_")
    for file in tmp_path.rglob("*"):
        if file.is_file():
            stored = file.read_bytes()
            assert secret.encode() not in stored, file
            assert base64.b64decode(secret) not in stored, file


@pytest.mark.parametrize(
    "url",
    [
        "ftp://birds.example/",
        "https:///path",
        "birds.example",
        "https://user:word@birds.example/",
        "https://birds.example/#part",
        "https://10.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://169.254.169.254/latest/meta-data",
        "http://birds.example/",
        "https://birds.example:0/",
        "https://birds.example:99999/",
        "https://birds.example/a b",
        "https://birds.example/\r\nX: y",
        "https://birds.example/" + "x" * 2048,
    ],
)
def test_a_url_that_nothing_may_be_sent_to_is_refused_by_name_and_not_repeated(strict: httpx2.Client, url: str) -> None:
    answer = strict.post("/v1/webhook_endpoints", json={"name": "a", "url": url, "event_types": KINDS})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "url"
    assert url not in answer.text


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"url": "https://birds.example/", "event_types": KINDS}, "name"),
        ({"name": "a", "url": "https://birds.example/", "event_types": []}, "event_types"),
        ({"name": "a", "url": "https://birds.example/", "event_types": ["response.completed"]}, "event_types.0"),
        ({"name": "a\r\nX: y", "url": "https://birds.example/", "event_types": KINDS}, "name"),
        ({"name": "a", "url": "https://birds.example/", "event_types": KINDS, "secret": "mine"}, "secret"),
    ],
)
def test_a_body_that_is_not_understood_is_refused_by_its_field(
    strict: httpx2.Client, body: dict[str, Any], param: str
) -> None:
    answer = strict.post("/v1/webhook_endpoints", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_an_endpoint_of_another_tenant_is_unknown(open_gateway: httpx2.Client, client_of: ClientOf) -> None:
    mine, theirs = (client_of(open_gateway, key).webhooks for key in (MINE, THEIRS))
    made = mine.create(name="a", url="https://birds.example/", event_types=KINDS)
    for asking in (theirs.retrieve, theirs.delete, theirs.rotate_secret):
        with pytest.raises(openai.NotFoundError):
            asking(made.id)
    with pytest.raises(openai.NotFoundError):
        theirs.update(made.id, name="b")
    with pytest.raises(openai.NotFoundError):
        theirs.test(made.id, event_type="batch.completed")
    assert list(theirs.list()) == []
    assert [each.id for each in mine.list()] == [made.id]


def test_a_tenant_has_as_many_endpoints_as_it_may_and_no_more(client: openai.OpenAI) -> None:
    webhooks = client.webhooks
    for number in range(20):
        webhooks.create(name=f"{number}", url="https://birds.example/", event_types=KINDS)
    with pytest.raises(openai.ConflictError) as raised:
        webhooks.create(name="one more", url="https://birds.example/", event_types=KINDS)
    assert raised.value.code == "too_many_webhook_endpoints"


def test_gateways_that_share_a_database_need_a_key_that_they_share(
    start_gateway: StartGateway, client_of: ClientOf, postgresql: RunningPostgreSQL
) -> None:
    url = postgresql.create("webhooks")
    with pytest.raises(openai.InternalServerError) as raised:
        client_of(start_gateway(database_url=url)).webhooks.list()
    assert (raised.value.status_code, raised.value.code) == (501, "not_implemented")
    keys = (base64.b64encode(b"k" * 32).decode(),)
    one, two = (client_of(start_gateway(database_url=url, webhook_keys=keys, **OPEN)).webhooks for _ in range(2))
    made = one.create(name="a", url="https://birds.example/", event_types=KINDS)
    assert [each.id for each in two.list()] == [made.id]
