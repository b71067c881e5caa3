"""What the gateway knows of the stages without asking them in a request: ready or not, since when, and which model.

A background task for each endpoint asks its `/readyz`; when one of text-to-image turns ready, its `/describe` says
which model it draws with, and requests are checked against that before any model is asked. The description outlives a
stage that goes away (a bad request is still told so), and is read again when it comes back. What a look at
text-to-image shows is also what admission knows of its endpoints.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

import aiohttp
from opentelemetry.instrumentation.utils import suppress_http_instrumentation

from bowerbird.contracts import ModelDescription
from bowerbird.errors import StageBroken, StageUnavailable
from bowerbird.gateway.admission.admission import Admission
from bowerbird.gateway.upstream import Stage, as_contract, unavailable

POLL_TIMEOUT = aiohttp.ClientTimeout(total=5.0)

logger = logging.getLogger(__name__)


class StageState(StrEnum):
    """What the last look at a stage showed; of several endpoints the first of these that one of them shows."""

    READY = "ready"
    NOT_READY = "not_ready"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class StageStatus:
    """A state and the moment (UTC) it began."""

    state: StageState = StageState.UNREACHABLE
    since: datetime = field(default_factory=lambda: datetime.now(UTC))


class Stages:
    """The last known state of every stage, kept up to date while `watched()` is open.

    A stage with several endpoints is ready when one of them is. The model is that of the first endpoint that is ready;
    those that draw with another one (an update that is under way) are no capacity for requests checked against it.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        urls: Mapping[Stage, Sequence[str]],
        poll_seconds: float,
        admission: Admission,
    ) -> None:
        self._session = session
        self._poll_seconds = poll_seconds
        self._admission = admission
        self._statuses = {stage: StageStatus() for stage in urls}
        self._endpoints = {stage: dict.fromkeys(each, StageState.UNREACHABLE) for stage, each in urls.items()}
        self._been_ready: set[Stage] = set()
        self._described: dict[str, ModelDescription] = {}
        self._model: ModelDescription | None = None
        self._changed = asyncio.Event()

    @property
    def statuses(self) -> Mapping[Stage, StageStatus]:
        """Every stage's status, in the order of the chain."""
        return self._statuses

    def model(self) -> ModelDescription:
        """What text-to-image draws with; raises StageUnavailable until it has been ready once."""
        if self._model is None:
            raise unavailable(Stage.TEXT_TO_IMAGE, "has not been ready yet")
        return self._model

    def forget_model(self) -> None:
        """Has the descriptions read again, after a stage answered with another model than it had described."""
        for url in self._endpoints[Stage.TEXT_TO_IMAGE]:
            self._note(Stage.TEXT_TO_IMAGE, url, StageState.NOT_READY)

    def require_coming(self, stage: Stage, within_seconds: float) -> None:
        """Raises StageUnavailable for a stage that nobody should wait for.

        One that starts is waited for, and one that cannot be reached only if it was ready before and has not been away
        for longer than one waits: whatever restarts it has had its time.
        """
        status = self._statuses[stage]
        away_seconds = (datetime.now(UTC) - status.since).total_seconds()
        if status.state is StageState.UNREACHABLE and (stage not in self._been_ready or away_seconds > within_seconds):
            raise unavailable(stage, "is unreachable")

    async def until_ready(self, stage: Stage, within_seconds: float) -> None:
        """Returns when the stage is ready; raises StageUnavailable when it is not in time, or will not be."""
        try:
            async with asyncio.timeout(within_seconds):
                while self._statuses[stage].state is not StageState.READY:
                    self.require_coming(stage, within_seconds)
                    await self._changed.wait()
        except TimeoutError as error:
            raise self.not_in_time(stage) from error

    def not_in_time(self, stage: Stage) -> StageUnavailable:
        """The fact that a stage was waited for in vain."""
        return unavailable(stage, f"is {self._statuses[stage].state.replace('_', ' ')} and was waited for in vain")

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Looks at every endpoint now and every `poll_seconds` until the context ends."""
        tasks = [
            asyncio.create_task(self._watch(stage, url)) for stage, urls in self._endpoints.items() for url in urls
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, stage: Stage, url: str) -> None:
        with suppress_http_instrumentation():
            while True:
                self._note(stage, url, await self._look(stage, url))
                await asyncio.sleep(self._poll_seconds)

    async def _look(self, stage: Stage, url: str) -> StageState:
        try:
            async with self._session.get(url + "/readyz", timeout=POLL_TIMEOUT) as answer:
                if answer.status != 200:
                    return StageState.NOT_READY
            if stage is Stage.TEXT_TO_IMAGE and self._endpoints[stage][url] is not StageState.READY:
                self._described[url] = await self._describe(stage, url)
        except (aiohttp.ClientError, TimeoutError):
            return StageState.UNREACHABLE
        except StageBroken as error:
            logger.warning("a stage cannot say what it draws with", extra={"stage": stage, "reason": error.message})
            return StageState.NOT_READY
        return StageState.READY

    async def _describe(self, stage: Stage, url: str) -> ModelDescription:
        async with self._session.get(url + "/describe", timeout=POLL_TIMEOUT) as answer:
            if answer.status != 200:
                raise StageBroken(f"/describe answered with status {answer.status}")
            return as_contract(ModelDescription, await answer.read(), stage)

    def _note(self, stage: Stage, url: str, state: StageState) -> None:
        """What a look showed of one endpoint, and what follows from it for the stage."""
        self._endpoints[stage][url] = state
        if stage is Stage.TEXT_TO_IMAGE:
            self._tell_admission()
        states = self._endpoints[stage].values()
        of_stage = next(each for each in StageState if each in states)
        if of_stage is not self._statuses[stage].state:
            self._statuses[stage] = StageStatus(of_stage)
            if of_stage is StageState.READY:
                self._been_ready.add(stage)
            self._changed.set()
            self._changed = asyncio.Event()
            logger.info("stage %s is %s", stage, of_stage, extra={"stage": stage, "state": of_stage})

    def _tell_admission(self) -> None:
        endpoints = self._endpoints[Stage.TEXT_TO_IMAGE]
        ready = [url for url, state in endpoints.items() if state is StageState.READY]
        if ready:
            self._model = self._described[ready[0]]
        for url in endpoints:
            if url in ready and self._described[url].digest == self._described[ready[0]].digest:
                costs = self._described[url].costs
                self._admission.seen_ready(url, self._described[url].slots, costs.unit_seconds if costs else None)
            else:
                self._admission.seen_away(url)
