"""Rows and files of stored results, on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio

from bowerbird.gateway.results.result import Result
from bowerbird.gateway.results.store import ARRIVAL_SECONDS, Found

from .conftest import TTL_SECONDS, Shop, names
from .drawings import result


def given(found: Found | None) -> Result | None:
    return found.result if found else None


async def test_what_was_stored_is_found_byte_for_byte_with_its_facts(shop: Shop) -> None:
    drawn = result(b"robin", bytes(range(256)))
    assert await shop.store.put(names("k1"), 5.0, drawn)

    assert given(await shop.store.find("k1")) == drawn
    assert await shop.store.find("k2") is None
    assert await shop.store.find("robin") is None


async def test_any_seed_is_found_by_likeness_and_the_most_used_first(shop: Shop) -> None:
    for key in ("k1", "k2", "k3"):
        await shop.store.put(names(key), 5.0, result(key.encode()))
    assert given(await shop.store.find("k2")) == result(b"k2")
    await shop.store.sweep()

    assert given(await shop.store.find_like("robin")) == result(b"k2")
    assert await shop.store.find_like("jay") is None


async def test_a_result_drawn_again_stands_in_for_the_former(shop: Shop) -> None:
    await shop.store.put(names("k1"), 5.0, result(b"first"))
    await shop.store.put(names("k1"), 5.0, result(b"second"))
    assert given(await shop.store.find("k1")) == result(b"second")

    await shop.store.sweep()
    assert await shop.rows() == {"ready": 1}
    assert len(await shop.files()) == 1


async def test_after_its_time_a_result_is_not_found_and_then_gone(shop: Shop) -> None:
    await shop.store.put(names("k1"), 5.0, result(b"robin"))
    shop.clock.advance(TTL_SECONDS - 1)
    assert await shop.store.find("k1") is not None
    shop.clock.advance(1)
    assert await shop.store.find("k1") is None

    await shop.store.sweep()
    assert await shop.rows() == {}
    assert await shop.files() == set()
    assert shop.registry.get_sample_value("bowerbird_result_departures_total", {"why": "expired"}) == 1
    await shop.check_books(0)


async def test_what_is_cheapest_to_draw_again_for_its_bytes_makes_room(shop: Shop) -> None:
    store = shop.another(max_bytes=300)
    await store.put(names("cheap"), 1.0, result(b"a" * 100))
    await store.put(names("dear"), 9.0, result(b"b" * 100))
    await store.put(names("large"), 9.0, result(b"c" * 100))
    await store.put(names("new"), 5.0, result(b"d" * 100))

    assert await store.find("cheap") is None
    assert await store.find("dear") is not None
    assert await store.find("new") is not None
    await shop.check_books(300)


async def test_what_is_often_used_stays(shop: Shop) -> None:
    store = shop.another(max_bytes=200)
    await store.put(names("used"), 1.0, result(b"a" * 100))
    await store.put(names("idle"), 2.0, result(b"b" * 100))
    for _ in range(3):
        await store.find("used")
    await store.put(names("new"), 1.0, result(b"c" * 100))

    assert await store.find("used") is not None
    assert await store.find("idle") is None


async def test_what_is_larger_than_the_store_makes_nobody_leave(shop: Shop) -> None:
    await shop.store.put(names("k1"), 5.0, result(b"robin"))
    assert not await shop.store.put(names("k2"), 5.0, result(b"x" * 1_001))

    assert await shop.store.find("k1") is not None
    assert await shop.store.find("k2") is None


async def test_an_altered_file_is_not_given_out(shop: Shop) -> None:
    await shop.store.put(names("k1"), 5.0, result(b"robin"))
    [file] = await shop.files()
    await shop.pictures.delete([file])
    await shop.pictures.put(file, b"snake")

    assert await shop.store.find("k1") is None
    await shop.store.sweep()
    assert await shop.files() == set()
    assert shop.registry.get_sample_value("bowerbird_result_departures_total", {"why": "damaged"}) == 1


async def test_a_lost_file_is_a_miss_and_may_be_drawn_again(shop: Shop) -> None:
    await shop.store.put(names("k1"), 5.0, result(b"robin", b"jay"))
    await shop.pictures.delete(sorted(await shop.files())[:1])

    assert await shop.store.find("k1") is None
    assert await shop.store.put(names("k1"), 5.0, result(b"robin", b"jay"))
    assert given(await shop.store.find("k1")) == result(b"robin", b"jay")


async def test_files_that_no_row_names_are_found_and_deleted(shop: Shop) -> None:
    await shop.store.put(names("k1"), 5.0, result(b"robin"))
    mine = await shop.files()
    await shop.pictures.put(f"results/{'0' * 32}-0", b"lost")

    assert await shop.store.search() == 1
    assert await shop.files() == mine


async def test_a_writer_that_was_declared_dead_stores_nothing_and_leaves_nothing(shop: Shop) -> None:
    put = shop.pictures.put

    async def late(key: str, body: bytes, *, lasting: bool = True) -> None:
        shop.clock.advance(ARRIVAL_SECONDS + 1)
        await shop.another(1_000).sweep()
        await put(key, body, lasting=lasting)

    shop.pictures.put = late  # type: ignore[method-assign]
    assert not await shop.store.put(names("k1"), 5.0, result(b"robin"))

    assert await shop.store.find("k1") is None
    assert await shop.rows() == {}
    assert await shop.files() == set()


async def test_replicas_that_store_at_the_same_time_keep_within_the_bound(shop: Shop) -> None:
    stores = [shop.another(max_bytes=500) for _ in range(3)]
    puts = [
        store.put(names(f"k{number}"), 1.0 + number, result(bytes([number]) * 90, request_id=f"req_{number}"))
        for number in range(4)
        for store in stores
    ]
    stored = await asyncio.gather(*puts)
    await shop.check_books(500)
    assert any(stored)

    await stores[0].sweep()
    assert set(await shop.rows()) == {"ready"}
    for number in range(4):
        found = await stores[1].find(f"k{number}")
        assert found is None or found.result.facts.request_id == f"req_{number}"


async def test_a_result_that_leaves_while_it_is_read_is_a_miss_and_no_damage(shop: Shop) -> None:
    await shop.store.put(names("k1"), 5.0, result(b"robin"))
    get = shop.pictures.get

    async def late(key: str) -> bytes:
        shop.pictures.get = get  # type: ignore[method-assign]
        shop.clock.advance(TTL_SECONDS)
        await shop.another(1_000).sweep()
        return await get(key)

    shop.pictures.get = late  # type: ignore[method-assign]
    assert await shop.store.find("k1") is None
    assert shop.registry.get_sample_value("bowerbird_result_departures_total", {"why": "damaged"}) is None


async def test_who_hangs_up_during_a_look_up_takes_no_connection_away(shop: Shop) -> None:
    await shop.store.put(names("k1"), 5.0, result(b"robin"))
    for number in range(40):
        looking = asyncio.create_task(shop.store.find("k1"))
        await asyncio.sleep(0.0002 * number)
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)

    found = await asyncio.gather(*(shop.store.find("k1") for _ in range(20)))
    assert all(given(each) == result(b"robin") for each in found)


async def test_uses_are_counted_when_the_gateway_ends(shop: Shop) -> None:
    await shop.store.put(names("k1"), 5.0, result(b"robin"))
    await shop.store.put(names("k2"), 5.0, result(b"jayjay"))
    async with shop.store.swept():
        await shop.store.find("k2")

    assert given(await shop.another(1_000).find_like("robin")) == result(b"jayjay")
