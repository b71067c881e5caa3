"""What must not be cut in two is not, whoever ends meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from bowerbird.gateway.background import in_background, to_its_end


async def test_who_is_cancelled_in_the_middle_of_a_claim_ends_after_it() -> None:
    committed, remembered = asyncio.Event(), []

    async def claim() -> None:
        committed.set()
        await asyncio.sleep(0.02)
        remembered.append("job_1")

    async with in_background(to_its_end(claim())):
        await committed.wait()
    assert remembered == ["job_1"]


async def test_what_fails_says_so() -> None:
    async def claim() -> None:
        await asyncio.sleep(0)
        raise LookupError("no such table")

    with pytest.raises(LookupError, match="no such table"):
        await to_its_end(claim())
