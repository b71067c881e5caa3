"""What the gateway knows of the stages without asking them in a request: ready or not, since when, and which model.

A background task for each stage asks its `/readyz`; when text-to-image turns ready, its `/describe` says which model it
draws with, and requests are checked against that before any model is asked. The description outlives a stage that goes
away (a bad request is still told so), and is read again when it comes back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

import aiohttp
from opentelemetry.instrumentation.utils import suppress_http_instrumentation

from bowerbird.contracts import ModelDescription
from bowerbird.errors import StageBroken
from bowerbird.gateway.upstream import Stage, as_contract, unavailable

POLL_TIMEOUT = aiohttp.ClientTimeout(total=5.0)
# What drawing one picture needs; `animation` is listed in /readyz, but nothing waits for it yet.
NEEDED_TO_DRAW = (Stage.SAFETY, Stage.TEXT_TO_IMAGE, Stage.CURATION)

logger = logging.getLogger(__name__)


class StageState(StrEnum):
    """What the last look at a stage showed."""

    READY = "ready"
    NOT_READY = "not_ready"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class StageStatus:
    """A state and the moment (UTC) it began."""

    state: StageState = StageState.UNREACHABLE
    since: datetime = field(default_factory=lambda: datetime.now(UTC))


class Stages:
    """The last known state of every stage, kept up to date while `watched()` is open."""

    def __init__(self, session: aiohttp.ClientSession, urls: Mapping[Stage, str], poll_seconds: float) -> None:
        self._session = session
        self._urls = urls
        self._poll_seconds = poll_seconds
        self._statuses = {stage: StageStatus() for stage in urls}
        self._model: ModelDescription | None = None

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
        """Has the description read again, after a stage answered with another model than it had described."""
        self._statuses[Stage.TEXT_TO_IMAGE] = StageStatus(StageState.NOT_READY)

    def require(self, *needed: Stage) -> None:
        """Raises StageUnavailable with the name of the first of these stages that is not ready."""
        for stage in needed:
            if self._statuses[stage].state is not StageState.READY:
                raise unavailable(stage, f"is {self._statuses[stage].state.replace('_', ' ')}")

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Looks at every stage now and every `poll_seconds` until the context ends."""
        tasks = [asyncio.create_task(self._watch(stage)) for stage in self._urls]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, stage: Stage) -> None:
        with suppress_http_instrumentation():
            while True:
                self._note(stage, await self._look(stage))
                await asyncio.sleep(self._poll_seconds)

    async def _look(self, stage: Stage) -> StageState:
        try:
            async with self._session.get(self._urls[stage] + "/readyz", timeout=POLL_TIMEOUT) as answer:
                if answer.status != 200:
                    return StageState.NOT_READY
            if stage is Stage.TEXT_TO_IMAGE and self._statuses[stage].state is not StageState.READY:
                self._model = await self._describe(stage)
        except (aiohttp.ClientError, TimeoutError):
            return StageState.UNREACHABLE
        except StageBroken as error:
            logger.warning("a stage cannot say what it draws with", extra={"stage": stage, "reason": error.message})
            return StageState.NOT_READY
        return StageState.READY

    async def _describe(self, stage: Stage) -> ModelDescription:
        async with self._session.get(self._urls[stage] + "/describe", timeout=POLL_TIMEOUT) as answer:
            if answer.status != 200:
                raise StageBroken(f"/describe answered with status {answer.status}")
            return as_contract(ModelDescription, await answer.read(), stage)

    def _note(self, stage: Stage, state: StageState) -> None:
        if state is not self._statuses[stage].state:
            self._statuses[stage] = StageStatus(state)
            logger.info("stage %s is %s", stage, state, extra={"stage": stage, "state": state})
