"""Outcomes of a batch on their way into its files: gathered for a moment, put as one part, recorded in one transaction.

A line each would be a transaction and an object each: fifty thousand of them for what a few hundred parts hold as well.
What is gathered is not recorded yet, so a process that dies has its last seconds' lines run again; they were written
nowhere, and nothing of them was counted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TypeVar

from bowerbird.errors import RecordsUnavailable
from bowerbird.gateway.batches.batch import BatchClaim, Outcome, Recorded
from bowerbird.gateway.batches.claims import BatchClaims, Filled
from bowerbird.gateway.files.file import PART_BYTES
from bowerbird.gateway.files.parts import FileParts, PartOvertaken, Rewritten

GATHER_SECONDS = 2.0
"""What a crash costs at most, in finished lines that are run again."""
MAX_LINES = 500
AGAIN_SECONDS = 1.0

Value = TypeVar("Value")


class Segments:
    """One batch's outcomes, recorded while `recorded()` is open."""

    def __init__(self, claim: BatchClaim, claims: BatchClaims, parts: FileParts) -> None:
        self._claim = claim
        self._claims = claims
        self._parts = parts
        self._gathered: deque[Outcome] = deque()
        self._bytes = 0
        self._closing = False
        self._due = asyncio.Event()
        self._room = asyncio.Event()

    async def add(self, outcome: Outcome) -> None:
        """One more, which will be recorded even if we are cancelled; waits while there are as many as may be."""
        self._gathered.append(outcome)
        self._bytes += len(outcome.text)
        while self._is_full:
            self._due.set()
            self._room.clear()
            await self._room.wait()

    @asynccontextmanager
    async def recorded(self) -> AsyncIterator[None]:
        """Records until the context ends, and then what is left; raises a group with ClaimVoid if it may not."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._record_until_closed())
            yield
            self._closing = True
            self._due.set()

    @property
    def _is_full(self) -> bool:
        return self._bytes >= PART_BYTES or len(self._gathered) >= MAX_LINES

    async def _record_until_closed(self) -> None:
        while self._gathered or not self._closing:
            with suppress(TimeoutError):
                async with asyncio.timeout(GATHER_SECONDS):
                    await self._due.wait()
            self._due.clear()
            while self._gathered:
                taken = self._take()
                self._room.set()
                await self._write(taken)

    def _take(self) -> list[Outcome]:
        taken: list[Outcome] = []
        length = 0
        while self._gathered and len(taken) < MAX_LINES and length < PART_BYTES:
            taken.append(self._gathered.popleft())
            length += len(taken[-1].text)
        self._bytes -= length
        return taken

    async def _write(self, taken: Sequence[Outcome]) -> None:
        filled = await _as_often_as_it_takes(partial(self._put, taken))
        while True:
            rewritten = await _as_often_as_it_takes(partial(self._erase, taken))
            record = partial(self._claims.record, self._claim, _sums(taken), filled, rewritten)
            with suppress(PartOvertaken):
                await _as_often_as_it_takes(record)
                break
        with suppress(RecordsUnavailable):  # the sweeper finds them
            await self._parts.forget(rewritten)

    async def _put(self, taken: Sequence[Outcome]) -> list[Filled]:
        """The outcomes as parts of the output and the error file."""
        kinds = (
            (self._claim.output_file_id, [each.text for each in taken if each.succeeded]),
            (self._claim.error_file_id, [each.text for each in taken if not each.succeeded]),
        )
        wanted = [(file_id, texts) for file_id, texts in kinds if file_id is not None and texts]
        named = await self._claims.name_parts(self._claim, [file_id for file_id, _ in wanted])
        filled = []
        for part, (_, texts) in zip(named, wanted, strict=True):
            body = b"".join(texts)
            await self._parts.put(part, body)
            filled.append((part, len(body), len(texts)))
        return filled

    async def _erase(self, taken: Sequence[Outcome]) -> list[Rewritten]:
        erasures = [each.erasure for each in taken if each.erasure is not None]
        return await self._parts.rewrite(self._claim.input_file_id, erasures) if erasures else []


def _sums(taken: Sequence[Outcome]) -> Recorded:
    return Recorded(
        lines={each.line: each.succeeded for each in taken},
        usage=[each.usage for each in taken if each.usage is not None],
        input_tokens=sum(each.input_tokens for each in taken),
        output_tokens=sum(each.output_tokens for each in taken),
    )


async def _as_often_as_it_takes(work: Callable[[], Awaitable[Value]]) -> Value:
    """While the records cannot be written; a claim that ends meanwhile ends this too."""
    while True:
        try:
            return await work()
        except RecordsUnavailable:
            await asyncio.sleep(AGAIN_SECONDS)
