"""What the gateway knows of the stages without asking them in a request: ready or not, since when, and which model.

A background task for each endpoint asks its `/readyz`; when one of text-to-image turns ready, its `/describe` says
which model it draws with, and requests are checked against that before any model is asked. The description outlives a
stage that goes away (a bad request is still told so), and is read again when it comes back. What a look at
text-to-image shows is also what admission knows of its endpoints. Curation says at every look what it chooses by and
signs with: it may have been restarted between two.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

import aiohttp

from bowerbird.contracts import CurationDescription, ModelDescription
from bowerbird.errors import StageBroken, StageUnavailable
from bowerbird.gateway.admission.admission import Admission
from bowerbird.gateway.upstream import Stage, as_contract, unavailable

Description = TypeVar("Description", ModelDescription, CurationDescription)

FIRST_LOOKS_SECONDS = 1.0
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
        self._curation: CurationDescription | None = None
        self.left_out: dict[str, str] = {}
        """Endpoints of text-to-image that are ready and given nothing -> the reason."""
        self._changed = asyncio.Event()

    @property
    def statuses(self) -> Mapping[Stage, StageStatus]:
        """Every stage's status, in the order of the chain."""
        return self._statuses

    @property
    def chain_is_ready(self) -> bool:
        """Whether every stage that a picture needs was ready when it was last looked at."""
        needed = (Stage.SAFETY, Stage.TEXT_TO_IMAGE, Stage.CURATION)
        return all(self._statuses[stage].state is StageState.READY for stage in needed)

    def model(self) -> ModelDescription:
        """What text-to-image draws with; raises StageUnavailable until it has been ready once."""
        if self._model is None:
            raise unavailable(Stage.TEXT_TO_IMAGE, "has not been ready yet")
        return self._model

    @property
    def curation(self) -> CurationDescription | None:
        """What curation chooses by and signs with; None until it has been ready once."""
        return self._curation

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
        """Looks at every endpoint now and every `poll_seconds` until the context ends.

        It begins when each was looked at once, or after FIRST_LOOKS_SECONDS: the first request finds what is there.
        """
        endpoints = [(stage, url) for stage, urls in self._endpoints.items() for url in urls]
        looked = [asyncio.Event() for _ in endpoints]
        tasks = [asyncio.create_task(self._watch(*each, seen)) for each, seen in zip(endpoints, looked, strict=True)]
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(FIRST_LOOKS_SECONDS):
                    await asyncio.gather(*(each.wait() for each in looked))
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, stage: Stage, url: str, looked: asyncio.Event) -> None:
        while True:
            self._note(stage, url, await self._look(stage, url))
            looked.set()
            await asyncio.sleep(self._poll_seconds)

    async def _look(self, stage: Stage, url: str) -> StageState:
        try:
            async with self._session.get(url + "/readyz", timeout=POLL_TIMEOUT) as answer:
                if answer.status != 200:
                    return StageState.NOT_READY
            if stage is Stage.TEXT_TO_IMAGE and self._endpoints[stage][url] is not StageState.READY:
                self._described[url] = await self._describe(stage, url, ModelDescription)
            elif stage is Stage.CURATION:
                self._curation = await self._describe(stage, url, CurationDescription)
        except (aiohttp.ClientError, TimeoutError):
            return StageState.UNREACHABLE
        except StageBroken as error:
            logger.warning("a stage cannot say what it works with", extra={"stage": stage, "reason": error.message})
            return StageState.NOT_READY
        return StageState.READY

    async def _describe(self, stage: Stage, url: str, contract: type[Description]) -> Description:
        async with self._session.get(url + "/describe", timeout=POLL_TIMEOUT) as answer:
            if answer.status != 200:
                raise StageBroken(f"/describe answered with status {answer.status}")
            return as_contract(contract, await answer.read(), stage)

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
        """Those that are ready and draw with the same model as the first of them are capacity; the others are not."""
        endpoints = self._endpoints[Stage.TEXT_TO_IMAGE]
        ready = [url for url, state in endpoints.items() if state is StageState.READY]
        if ready:
            self._model = self._described[ready[0]]
        left_out = {}
        for url in endpoints:
            if url not in ready:
                self._admission.seen_away(url)
                continue
            described, model = self._described[url], self._described[ready[0]]
            if described.digest == model.digest:
                costs = described.costs
                self._admission.seen_ready(url, described.slots, costs.unit_seconds if costs else None)
            else:
                self._admission.seen_away(url)
                left_out[url] = f"It draws with {described.digest}; the first that is ready, with {model.digest}."
        for url in left_out.keys() - self.left_out.keys():
            logger.warning("an endpoint draws with another model and is left out", extra={"endpoint": url})
        self.left_out = left_out
