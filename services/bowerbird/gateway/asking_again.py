"""Asking a stage again that died under a question: for those without slots, whose answers nobody keeps.

The story asks safety and curation through `again`; who draws is admission's to say (`waiting.slot`). The endpoint that
died is left out for a moment (`in_flight.InFlight.avoid`), so that another one is asked at once where there is one;
where there is none the last try comes a second later, when a successor may be there. A refusal, a full stage or an
answer that breaks its contract is final: only a connection that could not be had, or broke, says nothing about the
question.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_fixed

from bowerbird.errors import StageBroken, StageUnavailable
from bowerbird.gateway.connections import BrokenOff, Unreachable

SUCCESSOR_SECONDS = 1.0
ATTEMPTS = 3

Answer = TypeVar("Answer")


async def again(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """What `ask` gives, which is called anew where its stage died; raises what the last call raised."""
    try:
        return await ask()  # nearly always; to count attempts takes as long as some hops
    except (StageUnavailable, StageBroken) as error:
        if not _died(error):
            raise
    async for attempt in AsyncRetrying(
        retry=retry_if_exception(_died),
        stop=stop_after_attempt(ATTEMPTS - 1),
        wait=wait_fixed(SUCCESSOR_SECONDS),
        reraise=True,
    ):
        with attempt:
            return await ask()
    raise AssertionError("tenacity gives an answer or raises")


def _died(error: BaseException) -> bool:
    return isinstance(error.__cause__, Unreachable | BrokenOff)
