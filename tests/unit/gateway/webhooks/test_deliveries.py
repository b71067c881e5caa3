"""What has ended is told: written down with the fact, taken in hand by one, tried again, given up after a day."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest
from sqlalchemy import select, update

from bowerbird.errors import WebhookEndpointUnknown
from bowerbird.gateway.records.database import Database
from bowerbird.gateway.records.job import Failure, PutBack
from bowerbird.gateway.webhooks import outbox
from bowerbird.gateway.webhooks.deliveries import IN_HAND_SECONDS, LOG_DAYS, PER_ENDPOINT
from bowerbird.gateway.webhooks.endpoints import Change
from bowerbird.gateway.webhooks.events import EventType
from bowerbird.gateway.webhooks.outbox import Announcement
from bowerbird.gateway.webhooks.sending import Attempt, Outcome
from bowerbird.gateway.webhooks.tables import webhook_deliveries, webhook_endpoints, webhook_subscriptions

from ..records.conftest import DAY_SECONDS
from ..records.rows import LEASE_SECONDS, TENANT, new_job
from .conftest import AUTHOR, BAD, GOOD, NO_HANDS, Post

SUCCEEDED = EventType.IMAGE_JOB_SUCCEEDED
TIRED = Attempt(Outcome.ERROR_STATUS, 503, 12, 3600.0)
"""Wants to be left alone for an hour."""


async def columns(database: Database, endpoint_id: str) -> dict[str, object]:
    async with database.reading() as connection:
        found = await connection.execute(select(webhook_endpoints).where(webhook_endpoints.c.id == endpoint_id))
        return dict(found.mappings().one())


async def test_every_end_of_a_job_is_told_once_whoever_ends_it(post: Post) -> None:
    records, endpoint = post.records, await post.endpoint()
    [drawn] = await post.drawn()
    ids = [(await records.jobs.submit(new_job(lifetime_seconds=life))).job_id for life in (60.0, 60.0, 20.0)]
    failed, cancelled, expired = [each or "" for each in ids]
    await records.jobs.cancel(TENANT, cancelled)
    claims = {claim.job_id: claim for claim in await records.claims.claim(10, LEASE_SECONDS)}
    await records.claims.finish(claims[failed], Failure({"error": {}}))
    await records.claims.finish(claims[expired], PutBack("stage_unavailable"))  # no end
    records.clock.advance(30)
    await records.retention.expire()
    assert not await records.claims.finish(claims[expired], Failure({"error": {}}))  # in vain, and told to nobody
    assert sorted(await post.told(endpoint)) == sorted(
        [
            ("image.job.succeeded", drawn),
            ("image.job.failed", failed),
            ("image.job.cancelled", cancelled),
            ("image.job.expired", expired),
        ]
    )


async def test_only_endpoints_of_the_tenant_that_want_to_hear_it_are_told(post: Post) -> None:
    wants = [await post.endpoint(EventType.IMAGE_JOB_SUCCEEDED) for _ in range(2)]
    other_type = await post.endpoint(EventType.IMAGE_JOB_FAILED)
    foreign = await post.endpoint(tenant="another")
    off = await post.endpoint()
    await post.endpoints.change(TENANT, off, Change(enabled=False), AUTHOR)
    [drawn] = await post.drawn()
    assert [await post.told(each) for each in wants] == [[("image.job.succeeded", drawn)]] * 2
    assert [await post.told(each) for each in (other_type, foreign, off)] == [[], [], []]


async def test_whatever_undoes_the_fact_undoes_the_announcement(post: Post) -> None:
    endpoint, database = await post.endpoint(), post.records.database
    ended = Announcement(TENANT, EventType.BATCH_COMPLETED, "batch_1")

    async def half() -> None:
        async with database.writing() as connection:
            await outbox.write(connection, database.now(), [ended])
            raise KeyError("before the commit")

    with pytest.raises(KeyError):
        await half()
    assert await post.told(endpoint) == []
    async with database.writing() as connection:
        await outbox.write(connection, database.now(), [ended, Announcement("another", ended.type, "batch_2")])
    assert await post.told(endpoint) == [("batch.completed", "batch_1")]


async def test_two_replicas_never_have_the_same_in_hand(post: Post, other_post: Post) -> None:
    for _ in range(5):
        await post.endpoint()
    await post.drawn(3)
    taken = await asyncio.gather(*(each.deliveries.take(10, NO_HANDS) for each in (post, other_post) * 3))
    keys = [(each.receiver.endpoint_id, each.event.id) for some in taken for each in some]
    assert len(keys) == len(set(keys))
    while some := await post.deliveries.take(10, NO_HANDS):
        keys += [(each.receiver.endpoint_id, each.event.id) for each in some]
    assert len(set(keys)) == len(keys) == 15


async def test_what_a_dead_replica_had_in_hand_is_told_by_another_and_the_dead_one_changes_nothing(
    post: Post, other_post: Post
) -> None:
    endpoint = await post.endpoint()
    await post.drawn()
    dead = await post.take_one()
    assert await other_post.deliveries.take(10, NO_HANDS) == []
    post.records.clock.advance(IN_HAND_SECONDS)
    again = await other_post.take_one()
    assert (again.event, again.attempt) == (dead.event, 2)  # the same event, byte for byte: at least once
    assert await post.deliveries.finish(dead, GOOD) is None
    ended = await other_post.deliveries.finish(again, BAD)
    assert ended is not None
    assert ended.state == "waiting"
    [[logged], _] = await post.log.page(endpoint, 10)
    assert [each.number for each in logged.attempts] == [2]


async def test_an_end_that_was_written_down_is_not_written_down_twice(post: Post) -> None:
    await post.endpoint()
    await post.drawn()
    taken = await post.take_one()
    assert await post.deliveries.finish(taken, BAD)
    assert await post.deliveries.finish(taken, BAD) is None


async def test_a_receiver_with_a_thousand_waiting_does_not_keep_others_waiting(post: Post) -> None:
    database, crowded, lonely = post.records.database, await post.endpoint(), await post.endpoint(tenant="another")
    async with database.writing() as connection:
        many = [Announcement(TENANT, EventType.BATCH_COMPLETED, f"batch_{number}") for number in range(1000)]
        await outbox.write(connection, database.now(), many)
    post.records.clock.advance(1)
    async with database.writing() as connection:
        await outbox.write(connection, database.now(), [Announcement("another", EventType.BATCH_COMPLETED, "batch_x")])
    first = [each.receiver.endpoint_id for each in await post.deliveries.take(32, NO_HANDS)]
    assert first.count(lonely) == 1
    assert first.count(crowded) == PER_ENDPOINT
    assert await post.deliveries.take(32, {crowded: PER_ENDPOINT}) == []


async def test_a_type_of_a_later_version_is_told_all_the_same(post: Post) -> None:
    endpoint, database = await post.endpoint(), post.records.database
    await post.drawn()
    async with database.writing() as connection:
        for table in (webhook_deliveries, webhook_subscriptions):
            await connection.execute(update(table).where(table.c.event_type == SUCCEEDED).values(event_type="new.type"))
    assert json.loads((await post.take_one()).event.body)["type"] == "new.type"
    assert SUCCEEDED not in (await post.endpoints.get(TENANT, endpoint)).event_types


async def test_a_failure_is_tried_again_later_and_a_success_ends_it(post: Post) -> None:
    endpoint = await post.endpoint()
    await post.drawn()
    await post.deliveries.finish(await post.take_one(), BAD)
    assert await post.deliveries.take(10, NO_HANDS) == []
    assert (await post.endpoints.get(TENANT, endpoint)).failing_since_ms == post.records.clock.ms
    post.records.clock.advance(10)
    await post.deliveries.finish(await post.take_one(), GOOD)
    assert (await post.endpoints.get(TENANT, endpoint)).failing_since_ms is None
    post.records.clock.advance(DAY_SECONDS)
    assert await post.deliveries.take(10, NO_HANDS) == []
    [[logged], _] = await post.log.page(endpoint, 10)
    assert (logged.state, [each.outcome for each in logged.attempts]) == ("delivered", ["error_status", "delivered"])


async def test_a_receiver_that_asks_for_a_rest_gets_it(post: Post) -> None:
    await post.endpoint()
    await post.drawn()
    await post.deliveries.finish(await post.take_one(), Attempt(Outcome.ERROR_STATUS, 503, 1, 3000.0))
    post.records.clock.advance(2999)
    assert await post.deliveries.take(10, NO_HANDS) == []
    post.records.clock.advance(1)
    assert await post.take_one()


async def test_an_event_is_given_up_after_a_day_and_its_endpoint_disabled_until_it_is_enabled(post: Post) -> None:
    endpoint = await post.endpoint()
    await post.drawn()
    for _ in range(4):
        ended = await post.deliveries.finish(await post.take_one(), TIRED)
        assert ended is not None
        assert (ended.state, ended.disabled) == ("waiting", False)
        post.records.clock.advance(DAY_SECONDS / 4 - 600)
    ended = await post.deliveries.finish(await post.take_one(), TIRED)  # the next would be after more than a day
    assert ended is not None
    assert (ended.state, ended.disabled) == ("failed", True)
    assert (await post.endpoints.get(TENANT, endpoint)).disabled_reason == "no_delivery_for_a_day"
    await post.drawn()
    assert len(await post.told(endpoint)) == 1
    await post.endpoints.change(TENANT, endpoint, Change(enabled=True), AUTHOR)
    [drawn] = await post.drawn()
    assert (await post.take_one()).event.subject == drawn


async def test_an_endpoint_that_took_something_meanwhile_is_not_disabled(post: Post) -> None:
    endpoint = await post.endpoint()
    await post.drawn()
    bad = await post.take_one()
    await post.deliveries.finish(bad, BAD)
    post.records.clock.advance(DAY_SECONDS - 60)
    late = await post.take_one()
    await post.drawn()
    good = await post.take_one()
    assert await post.deliveries.finish(good, GOOD)
    ended = await post.deliveries.finish(late, Attempt(Outcome.TIMED_OUT, None, 10_000, 3600.0))
    assert ended is not None
    assert (ended.state, ended.disabled) == ("failed", False)
    assert (await post.endpoints.get(TENANT, endpoint)).disabled_ms is None


async def test_a_receiver_that_says_it_is_gone_is_believed(post: Post) -> None:
    endpoint = await post.endpoint()
    await post.drawn()
    ended = await post.deliveries.finish(await post.take_one(), Attempt(Outcome.ERROR_STATUS, 410, 5))
    assert ended is not None
    assert (ended.state, ended.disabled) == ("failed", True)
    assert (await post.endpoints.get(TENANT, endpoint)).disabled_reason == "gone"


async def test_what_waited_while_an_endpoint_was_disabled_is_told_within_a_day_or_never(post: Post) -> None:
    endpoint = await post.endpoint()
    await post.drawn(2)
    await post.endpoints.change(TENANT, endpoint, Change(enabled=False), AUTHOR)
    assert await post.deliveries.take(10, NO_HANDS) == []
    await post.deliveries.sweep()
    await post.endpoints.change(TENANT, endpoint, Change(enabled=True), AUTHOR)
    assert len(await post.deliveries.take(1, NO_HANDS)) == 1
    await post.endpoints.change(TENANT, endpoint, Change(enabled=False), AUTHOR)
    post.records.clock.advance(DAY_SECONDS)
    await post.deliveries.sweep()
    await post.endpoints.change(TENANT, endpoint, Change(enabled=True), AUTHOR)
    assert await post.deliveries.take(10, NO_HANDS) == []


async def test_the_log_is_kept_for_a_week_and_goes_with_its_endpoint(post: Post) -> None:
    endpoint, gone = await post.endpoint(), await post.endpoint()
    await post.drawn(3)
    for taken in await post.deliveries.take(10, NO_HANDS):
        await post.deliveries.finish(taken, GOOD)
    await post.endpoints.delete(TENANT, gone, AUTHOR)
    first, more = await post.log.page(endpoint, 2)
    rest, no_more = await post.log.page(endpoint, 2, first[-1].event_id)
    assert (len(first), more, len(rest), no_more) == (2, True, 1, False)
    assert await post.deliveries.sweep() == 0
    post.records.clock.advance(LOG_DAYS * DAY_SECONDS)
    assert await post.deliveries.sweep() == 3
    assert await post.log.page(endpoint, 2) == ([], False)
    with pytest.raises(WebhookEndpointUnknown):
        await post.endpoints.get(TENANT, gone)


async def test_a_rotated_secret_signs_beside_the_former_for_a_day_or_alone_at_once(post: Post) -> None:
    endpoint, database = await post.endpoint(), post.records.database

    async def signing() -> list[str]:
        receiver = await post.endpoints.receiver(TENANT, endpoint)
        opened = [post.sealer.open(each, endpoint) for each in receiver.sealed]
        return [f"whsec_{base64.b64encode(each).decode()}" for each in opened]

    [first] = await signing()
    second = (await post.endpoints.rotate(TENANT, endpoint, True, AUTHOR)).secret
    assert await signing() == [second, first]
    post.records.clock.advance(DAY_SECONDS)
    assert await signing() == [second]
    third = (await post.endpoints.rotate(TENANT, endpoint, False, AUTHOR)).secret
    assert await signing() == [third]
    row = await columns(database, endpoint)
    assert all(base64.b64decode(each[6:]) not in bytes(str(row), "utf-8") for each in (first, second, third))
    assert base64.b64decode(third[6:]) not in bytes(row["secret"])  # type: ignore[call-overload]
