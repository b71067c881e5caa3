"""Facts about the Python client, against a server that speaks the gateway's shapes."""

from __future__ import annotations

import httpx2
import pytest

from bowerbird.client import AsyncClient, Client, GatewayUnreachable
from bowerbird.embedded.ports import free_ports
from bowerbird.errors import (
    BowerbirdError,
    CrisisSupport,
    DeadlineExceeded,
    KeyInvalid,
    ModelUnknown,
    PromptRefused,
    SizeUnsupported,
    StageBroken,
    StageUnavailable,
)

from .conftest import DIGEST, TRACE_ID, Gateway, nonsense


def test_pictures_come_back_with_what_draws_them_again(gateway: Gateway) -> None:
    with Client(gateway.url) as client:
        first, second = client.draw("a blue jay", n=2, seed=41)
    assert (first.image, second.image) == (b"picture 0", b"picture 1")
    assert (first.seed, second.seed) == (41, 42)
    assert first.media_type == "image/png"
    assert first.scores == {"sharpness": 0.5}
    assert first.answer.trace_id == TRACE_ID
    assert first.answer.model_digest == DIGEST
    assert first.answer.seconds["draw.denoise"] == 1.2


async def test_the_async_client_draws_the_same(gateway: Gateway) -> None:
    with Client(gateway.url) as client:
        expected = client.draw("a blue jay", seed=41)
    async with AsyncClient(gateway.url) as client_:
        assert await client_.draw("a blue jay", seed=41) == expected


def test_only_what_was_said_is_sent(gateway: Gateway) -> None:
    with Client(gateway.url, "secret", timeout_seconds=12) as client:
        client.draw("a blue jay", steps=5, output_format="webp")
    assert gateway.asked == [
        {"prompt": "a blue jay", "response_format": "b64_json", "steps": 5, "output_format": "webp"}
    ]
    [headers] = gateway.headers
    assert headers["authorization"] == "Bearer secret"
    assert 11_000 < int(headers["bowerbird-deadline-ms"]) <= 12_000


def test_models_are_told_with_their_limits(gateway: Gateway) -> None:
    with Client(gateway.url) as client:
        [model] = client.models()
    assert (model.id, model.sizes, model.default_steps) == ("fledgling", ["256x256"], 20)


async def test_a_files_origin_is_read(gateway: Gateway) -> None:
    with Client(gateway.url) as client:
        assert client.check_provenance(b"picture 0").verdict == "made_here_intact"
    async with AsyncClient(gateway.url) as client_:
        assert (await client_.check_provenance(b"another")).verdict == "no_evidence"
        assert [model.id for model in await client_.models()] == ["fledgling"]


@pytest.mark.parametrize(
    "fact",
    [
        PromptRefused("No.", details={"categories": ["violence"]}),
        CrisisSupport("Help is here.", details={"help_text": "Call."}),
        SizeUnsupported("Not that size.", param="size"),
        ModelUnknown("No such model.", param="model"),
        KeyInvalid("No key."),
        StageUnavailable("curation is starting.", retry_after_seconds=3),
        BowerbirdError("The service failed."),
    ],
    ids=lambda fact: type(fact).__name__,
)
def test_an_error_is_the_same_fact_on_both_sides(gateway: Gateway, fact: BowerbirdError) -> None:
    gateway.error = fact
    with Client(gateway.url, max_retries=0) as client, pytest.raises(BowerbirdError) as raised:
        client.draw("a blue jay")
    received = raised.value
    assert type(received) is type(fact)
    assert (received.message, received.param, received.details) == (fact.message, fact.param, fact.details)
    assert received.retry_after_seconds == fact.retry_after_seconds


@pytest.mark.parametrize("text", ["<html>", "[]", "{}", '{"data": [{"b64_json": "no base64!"}]}', '{"data": 3}'])
def test_an_answer_that_is_not_the_gateways_is_said_to_be_broken(gateway: Gateway, text: str) -> None:
    gateway.raw = nonsense(text)
    with Client(gateway.url) as client:
        for ask in (lambda: client.draw("a blue jay"), client.models, lambda: client.check_provenance(b"")):
            with pytest.raises(StageBroken):
                ask()


def test_a_strangers_error_page_names_its_status(gateway: Gateway) -> None:
    gateway.raw = nonsense(status=502)
    with Client(gateway.url, max_retries=0) as client, pytest.raises(StageBroken, match="502"):
        client.draw("a blue jay")


async def test_nobody_there_is_a_fact_with_a_remedy() -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    with Client(url, max_retries=0) as client, pytest.raises(GatewayUnreachable, match="bowerbird up"):
        client.models()
    async with AsyncClient(url, max_retries=0) as client_:
        with pytest.raises(GatewayUnreachable, match="bowerbird up"):
            await client_.models()


def test_a_gateway_that_does_not_answer_in_time_is_a_deadline() -> None:
    def never(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadTimeout("too late", request=request)

    transport = httpx2.MockTransport(never)
    with Client(transport=transport, max_retries=0) as client, pytest.raises(DeadlineExceeded):
        client.draw("a blue jay")
