"""Feedback is kept once for each who says it of each picture, and belongs to the tenant whose request it was."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bowerbird.errors import RequestInvalid, RequestUnknown
from bowerbird.gateway.feedback.feedback import WHOLE_ANSWER, Feedback, Reward, Said
from bowerbird.gateway.feedback.rewards import Kind
from bowerbird.gateway.records.usage import KEPT_DAYS

from ..records.conftest import DAY_SECONDS, Records, other, records  # noqa: F401 - fixtures
from ..records.rows import MODEL_DIGEST, TENANT, entry, recorded

REWARD = Reward(0.5, 1, "sha256:r")


@pytest.fixture
async def feedback(records: Records) -> Feedback:  # noqa: F811
    """Of a tenant with one request of two pictures."""
    await recorded(records, entry("req_1", pictures=2))
    return Feedback(records.database, records.writer, records.usage, b"c" * 32)


def said(**changes: Any) -> Said:
    facts: dict[str, Any] = {
        "request_id": "req_1",
        "image": 0,
        "kind": Kind.LIKE,
        "rater": "",
        "stars": None,
        "tags": (),
        "text": None,
    }
    return Said(**facts | changes)


async def test_it_names_the_request_the_variant_and_the_rewards(feedback: Feedback) -> None:
    about = await feedback.about(TENANT, "req_1")
    written = await feedback.write(about, said(tags=("too-dark",), text="nice"), REWARD)
    assert (written.request_id, written.variant, written.model_digest) == ("req_1", "fledgling", MODEL_DIGEST)
    assert (written.reward, written.rewards_version, written.rewards_digest) == (0.5, 1, "sha256:r")
    assert (written.tags, written.text, written.pictures) == (("too-dark",), "nice", 2)
    assert await feedback.page(TENANT, 10) == ([written], None)


async def test_saying_the_same_again_is_saying_it_once_and_the_last_word_counts(
    feedback: Feedback,
    records: Records,  # noqa: F811
) -> None:
    about = await feedback.about(TENANT, "req_1")
    stars = [said(kind=Kind.STARS, stars=number, rater="r") for number in (2, 5)]
    first = await feedback.write(about, stars[0], Reward(-0.5, 1, "sha256:r"))
    records.clock.advance(60)
    second = await feedback.write(about, stars[1], Reward(1.0, 1, "sha256:r"))
    assert (second.id, second.created_ms) == (first.id, first.created_ms)
    assert (second.stars, second.reward, second.updated_ms - first.updated_ms) == (5, 1.0, 60_000)
    assert await feedback.page(TENANT, 10) == ([second], None)


async def test_two_at_once_are_one(feedback: Feedback, records: Records, other: Records) -> None:  # noqa: F811
    about = await feedback.about(TENANT, "req_1")
    twin = Feedback(other.database, other.writer, other.usage, b"c" * 32)
    written = await asyncio.gather(*(each.write(about, said(), REWARD) for each in (feedback, twin) * 5))
    assert len({each.id for each in written}) == 1


async def test_other_pictures_kinds_and_people_are_other_feedback(feedback: Feedback) -> None:
    about = await feedback.about(TENANT, "req_1")
    others: list[dict[str, Any]] = [
        {},
        {"image": 1},
        {"image": WHOLE_ANSWER},
        {"kind": Kind.SHARE},
        {"rater": "somebody"},
    ]
    written = {(await feedback.write(about, said(**each), REWARD)).id for each in others}
    assert len(written) == len(others)


async def test_requests_of_other_tenants_and_of_long_ago_are_unknown(
    feedback: Feedback,
    records: Records,  # noqa: F811
) -> None:
    for tenant, request_id in (("another", "req_1"), (TENANT, "req_2")):
        with pytest.raises(RequestUnknown):
            await feedback.about(tenant, request_id)
    records.clock.advance(KEPT_DAYS * DAY_SECONDS)
    await records.usage.fold()
    assert (await feedback.about(TENANT, "req_1")).pictures == 2
    records.clock.advance(DAY_SECONDS)
    await records.usage.fold()
    with pytest.raises(RequestUnknown):
        await feedback.about(TENANT, "req_1")


async def test_what_was_answered_a_moment_ago_is_known(feedback: Feedback, records: Records) -> None:  # noqa: F811
    records.usage.record_soon(entry("req_now"))
    assert (await feedback.about(TENANT, "req_now")).work_id == "req_now"


async def test_pages_follow_each_other_for_their_tenant_only(feedback: Feedback, records: Records) -> None:  # noqa: F811
    about = await feedback.about(TENANT, "req_1")
    for number in range(5):
        await feedback.write(about, said(rater=f"{number}"), REWARD)
        records.clock.advance(number % 2)
    seen, cursor = [], None
    while True:
        page, cursor = await feedback.page(TENANT, 2, cursor)
        seen += [each.rater for each in page]
        if cursor is None:
            break
        with pytest.raises(RequestInvalid):
            await feedback.page("another", 2, cursor)
    assert sorted(seen) == ["0", "1", "2", "3", "4"]
    assert seen[0] == "4"
    assert await feedback.page(TENANT, 2, request_id="req_2") == ([], None)
