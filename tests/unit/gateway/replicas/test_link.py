"""A follower whose owner says nothing of where anybody stands: what it says besides is heard at once."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any, cast

import aiohttp
import pytest

from bowerbird.errors import QueueFull
from bowerbird.gateway.admission import admission as front
from bowerbird.gateway.admission.admission import Admission
from bowerbird.gateway.admission.bounds import Amount, Bounds, Occupancy
from bowerbird.gateway.admission.ticket import Grant, Place, Ticket
from bowerbird.gateway.replicas import link as module
from bowerbird.gateway.replicas.link import Follower, Link, LinkFailed
from bowerbird.gateway.replicas.messages import FromOwner, Granted, Left, Refused

BOUNDS = Bounds()
NOTHING = Amount()


class Silent:
    """An owner that hears everything, answers no question, and says what the test says."""

    def __init__(self) -> None:
        self.admission = Admission(BOUNDS)
        nobody = cast(aiohttp.ClientSession, None)  # what it would be connected by
        self.link = Link(Follower("replica", self.admission, Occupancy(BOUNDS), nobody, b""))
        self.admission.follow(self.link)
        self._chunks = self.link.outbox.chunks()
        self.questions = 0

    async def asked(self, times: int) -> None:
        """Returns when it was asked so often where somebody stands."""
        while self.questions < times:
            lines: list[dict[str, Any]] = [json.loads(line) for line in (await anext(self._chunks)).splitlines()]
            self.questions += sum(line["kind"] == "where" for line in lines)

    async def says(self, message: FromOwner) -> None:
        async def lines() -> AsyncIterator[bytes]:
            yield message.line()

        with pytest.raises(LinkFailed):  # the end of what it said, not of the connection
            await self.link.listen(lines())


def ticket() -> Ticket:
    return Ticket("1", "t", 1.0, time.monotonic() + 600, arrived=time.monotonic())


@pytest.fixture
def told() -> list[Place]:
    return []


async def test_a_refusal_is_heard_although_the_place_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, told: list[Place]
) -> None:
    monkeypatch.setattr(module, "FORECAST_SECONDS", 3600.0)
    owner = Silent()
    async with asyncio.timeout(20), owner.admission.place(ticket(), told.append) as turn:
        waiting = asyncio.create_task(turn.grant())
        await owner.asked(1)
        await owner.says(Refused.of("1", QueueFull("full", retry_after_seconds=7), NOTHING))
        with pytest.raises(QueueFull) as refused:
            await waiting
    assert refused.value.retry_after_seconds == 7
    assert told == []


async def test_a_slot_is_taken_although_the_place_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, told: list[Place]
) -> None:
    monkeypatch.setattr(module, "FORECAST_SECONDS", 3600.0)
    owner, grant = Silent(), Grant("1", "http://a", 1, 1)
    async with asyncio.timeout(20), owner.admission.place(ticket(), told.append) as turn:
        waiting = asyncio.create_task(turn.grant())
        await owner.asked(1)
        await owner.says(Granted(grant=grant, left=Left.of(NOTHING)))
        assert await waiting == grant
    assert told == []


async def test_who_gets_no_answer_is_told_no_place(monkeypatch: pytest.MonkeyPatch, told: list[Place]) -> None:
    monkeypatch.setattr(module, "FORECAST_SECONDS", 0.01)
    monkeypatch.setattr(front, "TELL_SECONDS", 0.01)
    owner = Silent()
    async with asyncio.timeout(20), owner.admission.place(ticket(), told.append) as turn:
        waiting = asyncio.create_task(turn.grant())
        await owner.asked(3)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert told == []


async def test_a_question_ends_with_the_wait_that_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FORECAST_SECONDS", 3600.0)
    owner = Silent()
    async with asyncio.timeout(20):
        for question, ends in enumerate((owner.link.leave, None, owner.link.leave), start=1):
            asking = asyncio.create_task(owner.link.forecast(ticket()))
            await owner.asked(question)  # anew: an answer to the last one is waited for no more
            asking.cancel()
            if ends is not None:
                ends("1")
            else:
                await owner.says(Refused.of("1", QueueFull("full"), NOTHING))
