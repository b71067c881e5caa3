"""Stored pictures of somebody who is erased: those that are there go, those that come too late do not stay."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.gateway.call import flow_of
from bowerbird.gateway.identity.audit import AuditLog, Author
from bowerbird.gateway.results.store import Owner
from bowerbird.gateway.rights.erasures import Erasures
from bowerbird.gateway.rights.holdings.results import ResultHolding
from bowerbird.gateway.rights.subject import Subject

from ..results.conftest import Shop, names, shop
from ..results.drawings import result

assert shop.__name__  # the fixture

BIRDS = flow_of("birds")
SOMEBODY = Subject("birds", "a" * 64)


async def ask_for_erasure(shop: Shop, subject: Subject = SOMEBODY) -> None:
    await Erasures(shop.database, AuditLog(shop.database)).request(subject, Author("local", "req_1"))


@pytest.mark.parametrize("subject", [SOMEBODY, Subject("birds", None)])
async def test_what_was_begun_before_an_erasure_leaves_neither_file_nor_row(shop: Shop, subject: Subject) -> None:
    await ask_for_erasure(shop, subject)
    before = Owner(BIRDS, SOMEBODY.person, time.perf_counter() - 60)
    assert await shop.store.put(names("k1"), 5.0, result(b"robin"), before) is None
    assert (await shop.files(), await shop.rows()) == (set(), {})
    await shop.check_books(1_000)


async def test_what_comes_after_an_erasure_was_asked_for_is_kept(shop: Shop) -> None:
    await ask_for_erasure(shop)
    shop.clock.advance(1)
    assert await shop.store.put(names("k1"), 5.0, result(b"robin"), Owner(BIRDS, SOMEBODY.person, time.perf_counter()))
    assert await shop.store.find("k1")


async def test_only_what_was_drawn_for_them_goes(shop: Shop) -> None:
    now = time.perf_counter()
    owners = {
        "theirs": Owner(BIRDS, SOMEBODY.person, now),
        "a colleague's": Owner(BIRDS, "b" * 64, now),
        "the tenant's": Owner(BIRDS, None, now),
        "another tenant's": Owner(flow_of("cats"), SOMEBODY.person, now),
    }
    for key, owner in owners.items():
        assert await shop.store.put(names(key, key), 5.0, result(b"robin", b"jay"), owner)
    counted: Counter[str] = Counter()

    async def count(_: AsyncConnection, gone: Mapping[str, int]) -> None:
        counted.update(gone)

    holding = ResultHolding(shop.database, shop.pictures)
    shown = [row["id"] for page in [each async for each in holding.pages(SOMEBODY)] for row in page.rows]
    assert len(shown) == 1
    await holding.remove(SOMEBODY, count)
    assert counted == {"cached_results": 1, "cached_pictures": 2}
    assert {key for key in owners if await shop.store.find(key)} == set(owners) - {"theirs"}
    assert len(await shop.files()) == 6
    await holding.remove(Subject("birds", None), count)
    assert {key for key in owners if await shop.store.find(key)} == {"another tenant's"}
    await shop.check_books(1_000)
