"""The run: so many rows at a time are asked for until there are none.

What passes (a full queue, a stage that restarts, a gateway that is not there) is waited for, by all rows together; it
ends the run when nothing has succeeded for as long as the caller is patient. A row that is refused or breaks something
is written down, and the others go on. An error that is about every row ends the run at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from bowerbird.client import AsyncClient
from bowerbird.errors import BowerbirdError, DeadlineExceeded, StageBroken
from bowerbird.pregenerate.asking import OF_ALL_ROWS, Kept, column_of, keep, passes
from bowerbird.pregenerate.pace import Pace
from bowerbird.pregenerate.problems import ProblemFile
from bowerbird.pregenerate.progress import RunProgress, Tally
from bowerbird.pregenerate.rows import Fault, Row

SERVER = 500


MAYBE_ITS_OWN = (StageBroken, DeadlineExceeded)
"""What passes as a rule, and comes back where the row itself is the reason."""
TRIES = 3


class GivenUp(Exception):
    """Nothing has succeeded for as long as the caller is patient; `error` is what was said last."""

    def __init__(self, error: BowerbirdError) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass(frozen=True, slots=True)
class Terms:
    """How a run goes about it."""

    in_flight: int
    patience_seconds: float
    """How long nothing may succeed before the run ends."""


@dataclass(frozen=True, slots=True)
class Filled:
    """Where it is written down what became of the rows."""

    tally: Tally
    progress: RunProgress
    problems: ProblemFile


class Filling:
    """One run over one table."""

    def __init__(self, client: AsyncClient, terms: Terms, filled: Filled) -> None:
        self._client, self._terms = client, terms
        self._tally, self._progress, self._problems = filled.tally, filled.progress, filled.problems
        self._pace = Pace()

    async def run(self, rows: Iterator[Row | Fault]) -> None:
        """Asks for every row; raises what ends the run before its end. `rows` is read as far as they are asked for."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._terms.in_flight):
                    group.create_task(self._ask_on(rows))
        except BaseExceptionGroup as group_error:
            raise group_error.exceptions[0] from group_error

    async def _ask_on(self, rows: Iterator[Row | Fault]) -> None:
        for row in rows:
            if isinstance(row, Fault):
                self._tally.refused += 1
                self._problems.write(row.line, row.column, row.species, None, "row_invalid", row.fact)
            else:
                await self._ask(row)
            self._progress.moved()

    async def _ask(self, row: Row) -> None:
        try:
            kept = await self._kept(row)
        except OF_ALL_ROWS:
            raise
        except BowerbirdError as error:
            self._note(row, error)
            return
        self._tally.fresh += kept.fresh
        self._tally.drawn += not kept.fresh
        if kept.contradicted:
            self._tally.contradicted += 1
            fact = "The picture shows another species, says the check; another variation or more candidates may help."
            self._problems.write(row.line, None, row.species, None, "contradicted", fact)

    async def _kept(self, row: Row) -> Kept:
        """The row's answer; raises what is about it, or GivenUp."""
        own_failures = 0
        while True:
            await self._pace.turn()
            try:
                kept = await self._client.send(keep(row))
            except BowerbirdError as error:
                own_failures += isinstance(error, MAYBE_ITS_OWN)
                if not passes(error) or own_failures >= TRIES:
                    raise
                wait = error.retry_after_seconds
                failing_seconds = self._pace.failed(wait)
                if max(failing_seconds, wait or 0) > self._terms.patience_seconds:
                    raise GivenUp(error) from error
            else:
                self._pace.succeeded()
                return kept

    def _note(self, row: Row, error: BowerbirdError) -> None:
        if error.status >= SERVER:
            self._tally.failed += 1
        else:
            self._tally.refused += 1
        self._problems.write(row.line, column_of(error), row.species, error.status, error.code, error.message)
