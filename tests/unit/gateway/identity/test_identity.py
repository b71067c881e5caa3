"""From an `Authorization` header to a principal: whatever is sent, nobody is taken for somebody else."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bowerbird.errors import KeyInvalid
from bowerbird.gateway.identity.access_key import MARK, make_key
from bowerbird.gateway.identity.configured import LOCAL_TENANT, ConfiguredKeys, open_binding
from bowerbird.gateway.identity.identity import Identity
from bowerbird.gateway.identity.known_keys import KnownKeys, Terms
from bowerbird.gateway.identity.scopes import SCOPES_OF, Role, Scope
from bowerbird.gateway.identity.service_accounts import ServiceAccounts, looks_like_token
from bowerbird.gateway.identity.tiers import read_tiers
from bowerbird.settings import ServiceAccount, Settings

ADMIN = "an administrators key"
TIERS = read_tiers(None)


class Nothing:
    """Rows that nobody has written."""

    async def find(self, _: Sequence[Any]) -> Mapping[Any, Any]:
        return {}

    def note(self, _: str) -> None:
        raise AssertionError("no key is known here")


class Unasked:
    """An API server that must not hear of what cannot be a token."""

    def post(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("this is no token for us")


def identity_of(stated: Settings) -> Identity:
    nothing: Any = Nothing()
    unasked: Any = Unasked()
    known = KnownKeys(nothing, nothing, Terms(TIERS, {}))
    accounts = ServiceAccounts(unasked, stated, known.of_tenant) if stated.service_accounts else None
    return Identity(ConfiguredKeys.of_settings(stated, TIERS), known, nothing, accounts)


CLOSED = Settings(
    api_keys=frozenset({"a tenants key", "both, and long enough"}),
    admin_keys=frozenset({ADMIN, "both, and long enough"}),
    service_accounts={"birds:painter": ServiceAccount(tenant="birds")},
)


def test_keys_of_the_settings_are_tenants_and_administrators() -> None:
    async def roles() -> None:
        identity = identity_of(CLOSED)
        for scheme in ("Bearer", "bearer", "BEARER"):
            tenant = await identity.identify(f"{scheme} a tenants key")
            assert (tenant.role, tenant.scopes, tenant.tier.counts) == (Role.TENANT, SCOPES_OF[Role.TENANT], False)
        assert (await identity.identify(f"Bearer  {ADMIN} ")).role is Role.ADMIN
        assert (await identity.identify("Bearer both, and long enough")).role is Role.ADMIN
        assert tenant.tenant.startswith("key-")

    asyncio.run(roles())


CREDENTIALS = st.one_of(
    st.text(max_size=60),
    st.text(max_size=60).map(lambda text: f"Bearer {text}"),
    st.text(alphabet="0aZ", min_size=49, max_size=49).map(lambda text: f"Bearer {MARK}{text}"),
    st.builds(lambda *parts: "Bearer eyJ" + ".".join(parts), *[st.text(alphabet="eyJ0aW_-=", max_size=20)] * 3),
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=5).map(
        lambda claim: (
            "Bearer eyJh."
            + base64.urlsafe_b64encode(json.dumps({"aud": claim, "exp": claim}).encode()).decode().rstrip("=")
            + ".c2ln"
        )
    ),
    st.builds(lambda: f"Bearer {make_key().text}"),
)


@given(st.lists(CREDENTIALS, max_size=20))
@settings(max_examples=40)
def test_whatever_is_sent_opens_nothing_that_it_does_not_open(headers: list[str]) -> None:
    async def ask() -> None:
        identity = identity_of(CLOSED)
        for header in headers:
            said, at_once = await refusal_of(identity, header), identity.at_once(header)
            assert at_once is None or at_once == await identity.identify(header)
            if said is None:
                assert at_once is not None
                assert header.split(" ", 1)[1].strip() in CLOSED.api_keys | CLOSED.admin_keys
            else:
                assert header not in said or len(header) < 10

    asyncio.run(ask())


async def refusal_of(identity: Identity, header: str) -> str | None:
    """What somebody is told who is not let in."""
    try:
        await identity.identify(header)
    except KeyInvalid as refused:
        return refused.message
    return None


@given(CREDENTIALS)
@settings(max_examples=60)
def test_on_loopback_everybody_is_local_unless_they_show_a_key_of_ours(header: str) -> None:
    async def ask() -> str:
        return (await identity_of(Settings()).identify(header)).tenant

    try:
        assert asyncio.run(ask()) == LOCAL_TENANT
    except KeyInvalid:
        assert header.startswith(f"Bearer {MARK}")


@pytest.mark.parametrize("credential", ["eyJh.b.c", "eyJh.b.c.d", "h.b.c", "eyJh." + "b" * 20_000 + ".c"])
def test_only_what_has_the_form_of_a_token_is_taken_for_one(credential: str) -> None:
    assert looks_like_token(credential) == (credential == "eyJh.b.c")


@pytest.mark.parametrize(
    "closed",
    [
        {"api_keys": frozenset({"key"})},
        {"admin_keys": frozenset({"a key of an administrator"})},
        {"service_accounts": {"birds:painter": ServiceAccount(tenant="birds")}},
    ],
)
def test_any_configured_credential_closes_the_gateway_and_lets_it_be_reached(closed: dict[str, Any]) -> None:
    reachable = Settings(host="10.0.0.1", **closed)
    assert open_binding(reachable) is None
    assert ConfiguredKeys.of_settings(reachable, TIERS).local is None
    assert open_binding(Settings(host="10.0.0.1")) is not None


def test_credentials_do_not_show_when_settings_are_printed_or_refused() -> None:
    assert ADMIN not in repr(CLOSED) + str(CLOSED)
    with pytest.raises(ValueError, match="at least 20 characters") as raised:
        Settings(admin_keys=frozenset({"short secret"}))
    assert "short secret" not in str(raised.value)


def test_no_role_but_admin_may_do_what_nobody_named_a_scope_for() -> None:
    assert {role for role in Role if Scope.ADMINISTRATION in SCOPES_OF[role]} == {Role.ADMIN}
    assert not SCOPES_OF[Role.OPERATOR] & {scope for scope in Scope if scope.endswith(":write")}
