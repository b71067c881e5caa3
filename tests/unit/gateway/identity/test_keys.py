"""Tenants and keys as rows, on both databases: what opens, until when, and what the audit log says of it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest
from sqlalchemy import text

from bowerbird.errors import (
    KeyEnded,
    KeyExpired,
    KeyInvalid,
    KeyRevoked,
    KeyUnknown,
    RecordsUnavailable,
    TenantDisabled,
    TenantExists,
    TenantUnknown,
)
from bowerbird.gateway.identity.access_key import digest_of, make_key
from bowerbird.gateway.identity.audit_chain import first_break
from bowerbird.gateway.identity.keys import Issued, NewKey
from bowerbird.gateway.identity.known_keys import KnownKeys
from bowerbird.gateway.identity.last_use import LastUse
from bowerbird.gateway.identity.principal import Principal
from bowerbird.gateway.identity.remembered import AWAY_SECONDS, BELIEVED_SECONDS, REFRESH_SECONDS
from bowerbird.gateway.identity.scopes import SCOPES_OF, Role, Scope
from bowerbird.gateway.identity.tenants import NewTenant
from bowerbird.gateway.records.writer import Writer
from bowerbird.gateway.results.lookup import Cache

from .conftest import AUTHOR, Office


async def issued(office: Office, **changes: object) -> Issued:
    facts: dict[str, object] = {"tenant": "birds", "name": "web", **changes}
    return await office.keys.issue(NewKey(**facts), AUTHOR)  # type: ignore[arg-type]


async def opens(known: KnownKeys, key: str) -> Principal:
    return (await known.identify(digest_of(key)))[1]


async def test_a_key_stands_for_its_tenant_on_its_terms(office: Office) -> None:
    await office.tenant(tier="premium", weight=2.5, cache=Cache.ANY)
    one = await issued(office, role=Role.OPERATOR, scopes=frozenset({Scope.TENANTS_READ, Scope.IMAGES_WRITE}))
    principal = await opens(office.known, one.text)
    assert (principal.tenant, principal.actor, principal.role) == ("birds", f"key:{one.key.id}", Role.OPERATOR)
    assert (principal.tier.name, principal.weight, principal.cache) == ("premium", 2.5, Cache.ANY)
    assert principal.scopes == {Scope.TENANTS_READ}, "an operator draws nothing, whatever its list says"
    assert (await opens(office.known, (await issued(office)).text)).scopes == SCOPES_OF[Role.TENANT]


async def test_what_is_kept_of_a_key_is_its_digest_and_how_it_begins(office: Office) -> None:
    await office.tenant()
    one = await issued(office)
    async with office.database.reading() as connection:
        tables = ("tenants", "access_keys", "audit_log")
        rows = [(await connection.execute(text(f"SELECT * FROM {table}"))).all() for table in tables]  # noqa: S608
    kept = repr(rows)
    assert one.key.prefix in kept
    assert one.text not in kept
    assert one.text[9:] not in kept
    assert one.text not in repr(one)


async def test_a_key_that_was_never_issued_opens_nothing_nor_does_another_tenants(office: Office) -> None:
    await office.tenant("birds")
    await office.tenant("cats")
    theirs = await issued(office, tenant="cats")
    assert (await opens(office.known, theirs.text)).tenant == "cats"
    with pytest.raises(KeyInvalid) as raised:
        await opens(office.known, make_key().text)
    assert type(raised.value) is KeyInvalid
    with pytest.raises(TenantUnknown):
        await issued(office, tenant="dogs")


async def test_a_key_ends_when_it_expires_even_where_it_is_remembered(office: Office) -> None:
    await office.tenant()
    one = await issued(office, lifetime_seconds=3.0)
    await opens(office.known, one.text)
    office.clock.advance(2.5)
    await opens(office.known, one.text)
    office.clock.advance(0.5)
    for known in (office.known, office.replica()):
        with pytest.raises(KeyExpired):
            await opens(known, one.text)


async def test_a_key_is_known_at_once_only_while_what_is_remembered_is_fresh(office: Office) -> None:
    await office.tenant()
    digest = digest_of((await issued(office, lifetime_seconds=3.0)).text)
    assert office.known.at_once(digest) is None  # nobody has asked yet
    said = await office.known.identify(digest)
    assert office.known.at_once(digest) == said
    office.clock.advance(REFRESH_SECONDS)
    assert office.known.at_once(digest) is None
    office.known.forget()
    await office.known.identify(digest)
    office.clock.advance(1.0)
    assert office.known.at_once(digest) is None  # it has expired


async def test_a_revoked_key_is_refused_everywhere_within_seconds(office: Office) -> None:
    await office.tenant()
    one, elsewhere = await issued(office), office.replica()
    await opens(elsewhere, one.text)
    await office.keys.revoke(one.key.id, AUTHOR)
    office.clock.advance(BELIEVED_SECONDS)
    with pytest.raises(KeyRevoked):
        await opens(elsewhere, one.text)
    with pytest.raises(KeyRevoked):
        await opens(office.known, one.text)


async def test_a_key_in_use_is_asked_about_in_the_background_before_anybody_has_to_wait(office: Office) -> None:
    await office.tenant()
    one = await issued(office)
    await opens(office.known, one.text)
    await office.keys.revoke(one.key.id, AUTHOR)
    office.clock.advance(BELIEVED_SECONDS - 1)
    await opens(office.known, one.text)  # still believed, and asked about
    for _ in range(3000):
        await asyncio.sleep(0.01)
        try:
            await opens(office.known, one.text)
        except KeyRevoked:
            return
    raise AssertionError("nobody asked again")


async def test_a_disabled_tenants_keys_are_refused_until_it_is_enabled_again(office: Office) -> None:
    await office.tenant()
    one = await issued(office)
    disabled = await office.tenants.change("birds", {"disabled": True}, AUTHOR)
    office.clock.advance(60)
    assert (await office.tenants.change("birds", {"disabled": True}, AUTHOR)).disabled_ms == disabled.disabled_ms
    with pytest.raises(TenantDisabled):
        await opens(office.known, one.text)
    await office.tenants.change("birds", {"disabled": False}, AUTHOR)
    office.known.forget()
    await opens(office.known, one.text)


async def test_a_tenant_whose_tier_is_not_configured_is_not_served_without_limit(office: Office) -> None:
    await office.tenant(tier="retired")
    with pytest.raises(TenantDisabled):
        await opens(office.known, (await issued(office)).text)


async def test_a_rotated_key_and_its_successor_overlap_and_then_only_one_works(office: Office) -> None:
    await office.tenant()
    old = await issued(office, role=Role.REVIEWER)
    new = await office.keys.rotate(old.key.id, 60.0, 3_600.0, AUTHOR)
    assert new.key.role is Role.REVIEWER
    for each in (old, new):
        await opens(office.replica(), each.text)
    office.clock.advance(60)
    await opens(office.replica(), new.text)
    with pytest.raises(KeyExpired):
        await opens(office.replica(), old.text)
    with pytest.raises(KeyEnded):
        await office.keys.rotate(old.key.id, 60.0, None, AUTHOR)
    with pytest.raises(KeyUnknown):
        await office.keys.rotate("key_none", 60.0, None, AUTHOR)


async def test_rotation_never_lengthens_the_old_keys_life(office: Office) -> None:
    await office.tenant()
    old = await issued(office, lifetime_seconds=30.0)
    await office.keys.rotate(old.key.id, 3_600.0, None, AUTHOR)
    assert (await office.keys.get(old.key.id)).expires_ms == old.key.expires_ms


async def test_while_the_records_are_away_known_keys_go_on_for_a_while_and_others_are_not_let_in(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    await office.tenant()
    one, other = await issued(office), await issued(office)

    async def away(_: object) -> None:
        raise RecordsUnavailable("away")

    known = office.replica()
    await opens(known, one.text)
    monkeypatch.setattr(known._keys._reads, "_read", away)
    office.clock.advance(AWAY_SECONDS - 1)
    await opens(known, one.text)
    with pytest.raises(RecordsUnavailable):
        await opens(known, other.text)
    office.clock.advance(1)
    with pytest.raises(RecordsUnavailable):
        await opens(known, one.text)


async def test_the_last_use_is_written_for_many_keys_at_once_and_is_no_change(office: Office) -> None:
    await office.tenant()
    used, idle = [await issued(office) for _ in range(3)], await issued(office)
    writer = Writer(office.database)
    last_use = LastUse(office.database, writer)
    async with writer.running():
        for one in used:
            last_use.note(one.key.id)
        office.clock.advance(7)
        await last_use.write()
    assert {(await office.keys.get(one.key.id)).last_used_ms for one in used} == {office.clock.ms}
    assert (await office.keys.get(idle.key.id)).last_used_ms is None
    assert len(await office.audit.page(0, 100)) == 5


async def test_lists_are_in_the_order_of_ids_and_by_tenant(office: Office) -> None:
    for tenant in ("cats", "birds"):
        await office.tenant(tenant)
        await issued(office, tenant=tenant)
    assert [each.id for each in await office.tenants.page("", 10)] == ["birds", "cats"]
    assert [each.id for each in await office.tenants.page("birds", 10)] == ["cats"]
    assert [each.tenant for each in await office.keys.page("cats", "", 10)] == ["cats"]
    assert len(await office.keys.page(None, "", 10)) == 2


async def test_an_id_is_never_given_twice(office: Office) -> None:
    await office.tenant()
    with pytest.raises(TenantExists):
        await office.tenants.create(NewTenant("birds", "others", "free"), AUTHOR)
    with pytest.raises(TenantUnknown):
        await office.tenants.change("dogs", {"tier": "free"}, AUTHOR)
    assert [entry.action for entry in await office.audit.page(0, 10)] == ["tenant.create"]


async def test_every_change_is_in_the_log_with_what_was_before_and_nothing_that_is_none(office: Office) -> None:
    await office.tenant()
    await office.tenants.change("birds", {"tier": "premium"}, AUTHOR)
    await office.tenants.change("birds", {"tier": "premium"}, AUTHOR)
    one = await issued(office)
    new = await office.keys.rotate(one.key.id, 60.0, None, AUTHOR)
    await office.keys.revoke(one.key.id, AUTHOR)
    await office.keys.revoke(one.key.id, AUTHOR)
    entries = await office.audit.page(0, 100)
    assert [(entry.action, entry.subject) for entry in entries] == [
        ("tenant.create", "birds"),
        ("tenant.change", "birds"),
        ("key.issue", one.key.id),
        ("key.issue", new.key.id),
        ("key.rotate", one.key.id),
        ("key.revoke", one.key.id),
    ]
    changed = entries[1]
    assert changed.before is not None
    assert changed.after is not None
    assert (json.loads(changed.before)["tier"], json.loads(changed.after)["tier"]) == ("standard", "premium")
    assert (changed.actor, changed.request_id, changed.at_ms) == ("key:key_admin", "req_1", office.clock.ms)


async def test_replicas_that_change_at_once_make_one_unbroken_chain(office: Office) -> None:
    await asyncio.gather(*(office.tenant(f"t{number}") for number in range(12)))
    entries = await office.audit.page(0, 100)
    assert [entry.number for entry in entries] == list(range(1, 13))
    assert first_break(entries) is None
    assert first_break(entries[5:], entries[4].hash) is None
    assert [entry.number for entry in await office.audit.page(10, 100)] == [11, 12]


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit_log SET actor = 'nobody'", "DELETE FROM audit_log", "DELETE FROM audit_log WHERE number > 1"],
)
async def test_the_databases_refuse_to_alter_the_log(office: Office, statement: str) -> None:
    for tenant in ("birds", "cats"):
        await office.tenant(tenant)
    with pytest.raises(Exception, match=r"only grows|records cannot be written|cannot be read or written"):
        async with office.database.writing() as connection:
            await connection.execute(text(statement))
    assert first_break(await office.audit.page(0, 100)) is None


async def test_who_gets_around_the_triggers_is_seen_by_the_chain(office: Office) -> None:
    for tenant in ("birds", "cats", "dogs", "emus"):
        await office.tenant(tenant)
    entries = await office.audit.page(0, 100)
    assert first_break([entries[0], replace(entries[1], actor="nobody"), *entries[2:]]) == 2
    assert first_break([entries[0], *entries[2:]]) == 3
    assert first_break([replace(entries[0], previous_hash=b"x" * 32), *entries[1:]]) == 1
    assert first_break(entries[1:]) == 2
