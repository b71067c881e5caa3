"""One batch, run by who claimed it: line by line from the input, a few at a time, each outcome into a segment.

The input is read from its beginning even when most of it was run before: what two lines are called the same is told
from the first of them on, whoever reads, and to read two hundred megabytes takes a second or two.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from bowerbird.errors import BatchExpired, BowerbirdError, LineUnreadable, PictureLost
from bowerbird.gateway.batches.batch import BatchClaim, BatchState, Outcome
from bowerbird.gateway.batches.claims import BatchClaims
from bowerbird.gateway.batches.segments import Segments
from bowerbird.gateway.files.jsonl import RawLine, lines_of
from bowerbird.gateway.files.parts import FileParts

LINES_IN_HAND = 16
"""Of one batch: enough that a model's slots are never empty for want of lines, few enough for a crash to forget."""
BYTES_IN_HAND = 64 * 1024**2
"""Of all lines that this replica has in hand, of whatever batch: four of the largest edits."""


class Line(Protocol):
    """A line that was looked at."""

    @property
    def raw(self) -> RawLine:
        """Where it is."""

    @property
    def custom_id(self) -> str | None:
        """What its tenant calls it; None where that cannot be read."""


Failed = Callable[[], Awaitable[int]]
"""Writes down that the line failed by its own fault once more, and says how often by now, whoever ran it."""


@dataclass(frozen=True, slots=True)
class Trade:
    """What a batch's endpoint makes of lines; `api` knows how."""

    max_line_bytes: Callable[[str], int]
    """By endpoint."""
    read: Callable[[str, RawLine], Awaitable[Line]]
    """Of an endpoint."""
    answer: Callable[[BatchClaim, Line, Failed], Awaitable[Outcome]]
    """Tries until there is an outcome; raises nothing that is a line's own."""
    refuse: Callable[[BatchClaim, Line, BowerbirdError], Outcome]
    """The outcome of a line that is not run."""
    model: Callable[[str], str | None]
    """What the endpoint draws with now, if that is known."""


class BytesInHand:
    """Room for lines in memory, first come first served; one that is larger than all of it has it alone."""

    def __init__(self, limit: int = BYTES_IN_HAND) -> None:
        self._limit = limit
        self._held = 0
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()

    async def take(self, length: int) -> None:
        """Waits until there is room."""
        async with self._turn:
            while self._held and self._held + length > self._limit:
                self._freed.clear()
                await self._freed.wait()
            self._held += length

    def give_back(self, length: int) -> None:
        """Room for others."""
        self._held -= length
        self._freed.set()


class RunningBatch:
    """One claim, carried out by `run`; `stop` ends that early."""

    def __init__(
        self, claim: BatchClaim, claims: BatchClaims, parts: FileParts, trade: Trade, in_hand: BytesInHand
    ) -> None:
        self.claim = claim
        self._claims = claims
        self._parts = parts
        self._trade = trade
        self._in_hand = in_hand
        self._hands = asyncio.Semaphore(LINES_IN_HAND)
        self._lines: asyncio.Task[None] | None = None
        self._stopped = False
        self._cancelled = claim.state is BatchState.CANCELLING
        self._answered: set[int] = set()
        """Lines whose outcome is recorded, or will be."""

    def stop(self, *, cancelled: bool) -> None:
        """Runs no further line; what is finished is recorded, then the batch ends (`cancelled`) or is given back."""
        self._stopped = True
        self._cancelled = self._cancelled or cancelled
        if self._lines is not None:
            self._lines.cancel()

    async def run(self) -> BatchState | None:
        """How the batch ended; None when it was given back, to be gone on with.

        Raises a group with ClaimVoid when it is another's by now, or gone, and RecordsUnavailable.
        """
        begun = await self._claims.begin(self.claim, self._trade.model(self.claim.endpoint))
        if begun is None:
            return BatchState.FAILED
        self.claim = begun
        segments = Segments(begun, self._claims, self._parts)
        async with segments.recorded():
            state, errors = await self._brought_to_an_end(segments)
            if state is BatchState.EXPIRED:
                await self._expire_the_rest(segments)
        if state is None:
            await self._claims.release(begun)
        else:
            await self._claims.end(begun, state, errors)
        return state

    async def _brought_to_an_end(self, segments: Segments) -> tuple[BatchState | None, str | None]:
        """How it ends, with what is wrong with it as a whole; no line is run any more."""
        lost = {"code": "file_lost", "message": "The input file cannot be read to its end.", "param": "input_file_id"}
        try:
            finished = await self._run_lines(segments)
        except BaseExceptionGroup as group:
            if group.subgroup(PictureLost) is None:
                raise
            return BatchState.FAILED, json.dumps([lost | {"line": None}])
        if self._cancelled:
            return BatchState.CANCELLED, None
        if self._stopped:
            return None, None
        return (BatchState.COMPLETED if finished else BatchState.EXPIRED), None

    async def _run_lines(self, segments: Segments) -> bool:
        """Whether every line has an outcome."""
        if self._stopped or self._cancelled or self.claim.remaining_seconds <= 0:
            return False
        lines = self._lines = asyncio.create_task(self._every_line(segments))
        try:
            await asyncio.wait({lines}, timeout=self.claim.remaining_seconds)
        finally:
            if not lines.done():
                lines.cancel()
                await asyncio.gather(lines, return_exceptions=True)
        if lines.cancelled():
            return False
        lines.result()
        return True

    async def _every_line(self, segments: Segments) -> None:
        self._answered = await self._claims.done(self.claim)
        names: set[int] = set()
        async with asyncio.TaskGroup() as hands, aclosing(self._read_lines()) as lines:
            async for line in lines:
                twice = line.custom_id is not None and hash(line.custom_id) in names
                if line.custom_id is not None:
                    names.add(hash(line.custom_id))
                if line.raw.number in self._answered:
                    continue
                if twice:
                    fact = "custom_id: another line before this one has the same. Accepted: each once in a file."
                    error = LineUnreadable(fact, param="custom_id")
                    await self._finish(segments, self._trade.refuse(self.claim, line, error))
                    continue
                await self._hands.acquire()
                await self._in_hand.take(line.raw.length)
                hand = hands.create_task(self._carry(line, segments))
                hand.add_done_callback(partial(self._free, line.raw.length))  # also of one that never began

    async def _carry(self, line: Line, segments: Segments) -> None:
        failed = partial(self._claims.failed, self.claim, line.raw.number)
        await self._finish(segments, await self._trade.answer(self.claim, line, failed))

    def _free(self, length: int, _: asyncio.Task[None]) -> None:
        self._hands.release()
        self._in_hand.give_back(length)

    async def _finish(self, segments: Segments, outcome: Outcome) -> None:
        self._answered.add(outcome.line)
        await segments.add(outcome)

    async def _expire_the_rest(self, segments: Segments) -> None:
        """Every line that was not run is told that it will not be."""
        self._answered |= await self._claims.done(self.claim)
        error = BatchExpired("This line was not run before the completion window was over.")
        with suppress(PictureLost):  # of what cannot be read nothing can be said
            async with aclosing(self._read_lines()) as lines:
                async for line in lines:
                    if line.raw.number not in self._answered:
                        await self._finish(segments, self._trade.refuse(self.claim, line, error))

    async def _read_lines(self) -> AsyncGenerator[Line]:
        endpoint = self.claim.endpoint
        pieces = self._parts.read(self.claim.input_file_id)
        async with aclosing(lines_of(pieces, self._trade.max_line_bytes(endpoint))) as lines:
            async for raw in lines:
                yield await self._trade.read(endpoint, raw)
                await asyncio.sleep(0)  # thousands of lines that need nothing but to be read must not hold others up
