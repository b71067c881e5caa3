"""ServiceAccount tokens: the API server is asked over TLS, believed briefly, and nobody else's word is taken."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.responses import JSONResponse, PlainTextResponse

from bowerbird.errors import KeyExpired, KeyInvalid, StageUnavailable, TenantDisabled
from bowerbird.gateway.identity.principal import Principal
from bowerbird.gateway.identity.scopes import SCOPES_OF, Role
from bowerbird.gateway.identity.service_accounts import BELIEVED_SECONDS, ServiceAccounts, open_service_accounts
from bowerbird.gateway.identity.tiers import Tier
from bowerbird.settings import Settings

from .api_server import ApiServer, running_api_server, token_of
from .conftest import AUTHOR, Clock, Office

MAPPING = {
    "birds:painter": {"tenant": "birds"},
    "birds:*": {"tenant": "birds", "role": "reviewer"},
    "platform:boss": {"tenant": "platform", "role": "admin"},
}


@pytest.fixture(scope="module")
def _api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with running_api_server(tmp_path_factory.mktemp("cluster")) as server:
        yield server


@pytest.fixture
def api_server(_api_server: ApiServer) -> ApiServer:
    """The server, honest and without memory."""
    _api_server.answer, _api_server.knows_audiences = None, True
    _api_server.reviewed.clear()
    _api_server.accounts.clear()
    return _api_server


def settings_for(server: ApiServer, **changes: object) -> Settings:
    facts: dict[str, object] = {
        "service_accounts": MAPPING,
        "kubernetes_url": server.url,
        "kubernetes_ca": server.certificates / "ca.crt",
        "kubernetes_token": server.certificates / "token",
    }
    return Settings(**{**facts, **changes})  # type: ignore[arg-type]


async def principal_of(tenant: str, role: Role, actor: str) -> Principal:
    return Principal(tenant, actor, role, SCOPES_OF[role], Tier(name="standard"))


async def identified(server: ApiServer, *tokens: str, **changes: object) -> list[Principal]:
    async with open_service_accounts(settings_for(server, **changes), principal_of) as accounts:
        assert accounts is not None
        return [await accounts.identify(token) for token in tokens]


async def test_an_account_stands_for_the_tenant_and_role_that_the_settings_name(api_server: ApiServer) -> None:
    tokens = [api_server.vouch(name) for name in ("birds:painter", "birds:other", "platform:boss")]
    found = await identified(api_server, *tokens)
    assert [(each.tenant, each.role) for each in found] == [
        ("birds", Role.TENANT),
        ("birds", Role.REVIEWER),
        ("platform", Role.ADMIN),
    ]
    assert found[0].actor == "serviceaccount:birds:painter"


@pytest.mark.parametrize("name", ["cats:painter", "platform:other", "birds2:painter"])
async def test_a_real_token_of_an_account_that_is_not_named_opens_nothing(api_server: ApiServer, name: str) -> None:
    with pytest.raises(KeyInvalid):
        await identified(api_server, api_server.vouch(name))


async def test_a_token_that_the_api_server_does_not_vouch_for_opens_nothing(api_server: ApiServer) -> None:
    with pytest.raises(KeyInvalid):
        await identified(api_server, token_of("birds:painter"))
    assert api_server.reviewed


async def test_a_token_for_another_audience_is_not_even_asked_about(api_server: ApiServer) -> None:
    with pytest.raises(KeyInvalid, match="audience 'bowerbird'"):
        await identified(api_server, api_server.vouch("birds:painter", audience="https://kubernetes.default.svc"))
    assert not api_server.reviewed


async def test_an_api_server_that_ignores_audiences_is_not_believed(api_server: ApiServer) -> None:
    api_server.knows_audiences = False
    with pytest.raises(KeyInvalid):
        await identified(api_server, api_server.vouch("birds:painter"))


async def test_a_user_who_is_no_service_account_opens_nothing(api_server: ApiServer) -> None:
    token = api_server.vouch("birds:painter")
    api_server.accounts[token] = "birds:painter"
    with pytest.raises(KeyInvalid):
        await identified(api_server, token)


async def test_an_expired_token_is_refused_unasked(api_server: ApiServer) -> None:
    with pytest.raises(KeyExpired):
        await identified(api_server, api_server.vouch("birds:painter", lifetime_seconds=-1))
    assert not api_server.reviewed


async def test_a_time_that_no_clock_shows_is_no_time_to_expire_at(api_server: ApiServer) -> None:
    claims = b'{"aud": ["bowerbird"], "exp": 1%b}' % (b"0" * 400)
    payload = base64.urlsafe_b64encode(claims).rstrip(b"=").decode()
    with pytest.raises(KeyExpired):
        await identified(api_server, f"eyJh.{payload}.c2ln")
    assert not api_server.reviewed


async def test_a_review_is_remembered_briefly_and_asked_once_for_many(api_server: ApiServer) -> None:
    token, clock = api_server.vouch("birds:painter"), Clock()
    async with open_service_accounts(settings_for(api_server), principal_of) as accounts:
        assert accounts is not None
        remembering = ServiceAccounts(accounts._session, settings_for(api_server), principal_of, clock.monotonic)
        await asyncio.gather(*(remembering.identify(token) for _ in range(20)))
        clock.advance(BELIEVED_SECONDS - 1)
        await remembering.identify(token)
        assert len(api_server.reviewed) == 1
        api_server.accounts.clear()  # the pod is deleted
        clock.advance(1)
        with pytest.raises(KeyInvalid):
            await remembering.identify(token)
        assert token not in repr(vars(remembering)["_seen"])


async def test_a_review_is_never_remembered_past_the_tokens_own_end(api_server: ApiServer) -> None:
    token, clock = api_server.vouch("birds:painter", lifetime_seconds=5), Clock()
    async with open_service_accounts(settings_for(api_server), principal_of) as accounts:
        assert accounts is not None
        remembering = ServiceAccounts(accounts._session, settings_for(api_server), principal_of, clock.monotonic)
        await remembering.identify(token)
        clock.advance(5)
        await remembering.identify(token)
        assert len(api_server.reviewed) == 2


@pytest.mark.parametrize(
    "answer",
    [
        JSONResponse({"kind": "Status", "code": 403}, 403),
        JSONResponse({"kind": "TokenReview", "status": {"authenticated": "perhaps"}}, 201),
        PlainTextResponse("<html>a proxy's page</html>"),
        PlainTextResponse("", 302, {"Location": "https://127.0.0.1:1/"}),
    ],
)
async def test_an_api_server_that_answers_otherwise_lets_nobody_in(api_server: ApiServer, answer: object) -> None:
    token = api_server.vouch("birds:painter")
    api_server.answer = answer  # type: ignore[assignment]
    with pytest.raises(StageUnavailable) as raised:
        await identified(api_server, token)
    assert raised.value.retry_after_seconds is not None
    assert token not in repr(raised.value) + repr(raised.value.__context__)


async def test_nobody_at_the_address_and_another_ca_let_nobody_in(api_server: ApiServer, tmp_path: Path) -> None:
    token = api_server.vouch("birds:painter")
    with pytest.raises(StageUnavailable):
        await identified(api_server, token, kubernetes_url="https://127.0.0.1:9")
    with running_api_server(tmp_path) as other, pytest.raises(StageUnavailable):
        await identified(api_server, token, kubernetes_ca=other.certificates / "ca.crt")
    with pytest.raises(SystemExit, match="KUBERNETES_CA"):
        await identified(api_server, token, kubernetes_ca=tmp_path / "none.crt")


async def test_without_named_accounts_no_token_is_reviewed(api_server: ApiServer) -> None:
    async with open_service_accounts(Settings(), principal_of) as accounts:
        assert accounts is None


@pytest.mark.parametrize("payload", ["", "!!!!", "bnVsbA", "W10", "eyJhdWQiOjd9"])
async def test_a_token_that_cannot_be_read_is_refused(api_server: ApiServer, payload: str) -> None:
    with pytest.raises(KeyInvalid):
        await identified(api_server, f"eyJh.{payload}.c2ln")
    assert not api_server.reviewed


async def test_an_account_is_served_on_its_tenants_terms_and_not_when_that_is_disabled(office: Office) -> None:
    with pytest.raises(TenantDisabled):
        await office.known.of_tenant("birds", Role.TENANT, "serviceaccount:birds:painter")
    await office.tenant(tier="free")
    office.known.forget()
    assert (await office.known.of_tenant("birds", Role.TENANT, "a")).tier.name == "free"
    await office.tenants.change("birds", {"disabled": True}, AUTHOR)
    office.known.forget()
    with pytest.raises(TenantDisabled):
        await office.known.of_tenant("birds", Role.TENANT, "a")
